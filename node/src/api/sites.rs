//! The sites of a namespace and what each should run, kept up to date with the replica.
//!
//! Counting what a profile reaches takes every site. So what was resolved once is kept, and when the replica
//! has moved on, only the sites that changed are read and resolved again; where a profile or an override changed,
//! those that it may matter to, by their labels; where the catalog changed, all. Whoever asks while that goes on
//! waits for the same answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use driftless_core::name::{Document, Kind};
use tokio::sync::Mutex as Turn;

use super::facts::{NAMESPACES_MAX, SitesFacts, every_fact};
use super::site_status::Resolved;
use super::status_error::StatusError;
use super::{Api, Held};
use crate::inputs::{NamespaceInputs, Reaches};

/// The clock ends local overrides without any event, so inputs are collected again after this time.
const COLLECT_AGAIN_MS: u64 = 60_000;

/// Every site that was resolved, by namespace.
#[derive(Default)]
pub(super) struct Sites(Mutex<BTreeMap<String, Arc<Turn<Option<Known>>>>>);

/// The sites of one namespace as of a position.
struct Known {
    position: u64,
    collected_ms: u64,
    desired: Arc<NamespaceInputs>,
    sites: BTreeMap<Document, Arc<Resolved>>,
}

/// Every site of a namespace with what it should run. Costs what changed since it was last asked, and a copy
/// of the list.
pub(super) async fn every_site(api: &Api, namespace: &str) -> Result<Vec<Arc<Resolved>>, StatusError> {
    let turn = api.0.sites.every.of(namespace);
    let mut known = turn.lock().await;
    let since = known.as_ref().map(|known| (known.position, known.collected_ms));
    let (of, now_ms) = (namespace.to_owned(), api.now_ms());
    let (position, is_outdated) = api.read(move |held| outdated(held, &of, since, now_ms)).await?;
    let facts = every_fact(api, namespace).await?;
    let (desired, collected_ms) = match known.as_ref() {
        Some(known) if !is_outdated => (Arc::clone(&known.desired), known.collected_ms),
        _ => (Arc::new(api.desired(namespace.to_owned(), None).await?), now_ms),
    };
    let sites = update(api, known.take(), facts, Arc::clone(&desired)).await?;
    let answer = sites.values().cloned().collect();
    *known = Some(Known { position, collected_ms, desired, sites });
    Ok(answer)
}

impl Sites {
    fn of(&self, namespace: &str) -> Arc<Turn<Option<Known>>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= NAMESPACES_MAX && !all.contains_key(namespace) {
            all.clear();
        }
        Arc::clone(all.entry(namespace.to_owned()).or_default())
    }
}

/// The position, and whether the objects by which every site is judged may have changed since another one.
/// Whatever is read after this is as new or newer.
fn outdated(held: &Held, namespace: &str, since: Option<(u64, u64)>, now_ms: u64) -> (u64, bool) {
    let position = held.position();
    let Some((since, collected_ms)) = since else { return (position, true) };
    let Ok(changes) = held.changes(since, usize::MAX) else { return (position, true) };
    let is_input = |document: &Document| {
        let kinds = [Kind::Profile, Kind::Override, Kind::App, Kind::Release];
        document.namespace() == namespace && kinds.contains(&document.kind())
    };
    let is_old = now_ms >= collected_ms.saturating_add(COLLECT_AGAIN_MS);
    (position, is_old || changes.iter().any(|change| is_input(&change.document)))
}

/// Resolves again what changed: the sites whose facts are others than before, and those that an object which
/// changed may matter to.
async fn update(
    api: &Api,
    before: Option<Known>,
    facts: SitesFacts,
    desired: Arc<NamespaceInputs>,
) -> Result<BTreeMap<Document, Arc<Resolved>>, StatusError> {
    let (before, then) = match before {
        Some(known) => (known.sites, known.desired),
        None => (BTreeMap::new(), Arc::clone(&desired)),
    };
    let is_same = |(site, facts): (&Document, &Arc<_>)| {
        before.get(site).is_some_and(|known| Arc::ptr_eq(&known.facts, facts))
    };
    if Arc::ptr_eq(&then, &desired) && before.len() == facts.len() && facts.iter().all(is_same) {
        return Ok(before);
    }
    let api = api.clone();
    // Ten thousand sites take seconds the first time: not on the threads that answer others.
    tokio::task::spawn_blocking(move || {
        let changed = desired.changed_since(&then);
        let reaches = Reaches::of(&then, &desired, &changed);
        let now = |(site, facts): (&Document, &Arc<_>)| {
            let known = before.get(site).filter(|known| Arc::ptr_eq(&known.facts, facts));
            let resolved = match known.filter(|_| !reaches.include(&desired.inputs(facts))) {
                Some(known) => Arc::clone(known),
                None => {
                    let outcome = api.0.sites.outcome(&desired, facts);
                    Arc::new(Resolved { facts: Arc::clone(facts), outcome })
                }
            };
            (site.clone(), resolved)
        };
        facts.iter().map(now).collect()
    })
    .await
    .map_err(StatusError::internal)
}
