//! The sites of a namespace and what each should run, kept up to date with the replica.
//!
//! Counting what a profile reaches takes every site. So what was resolved once is kept, and when the replica
//! has moved on, only the sites that changed are read and resolved again; where a profile, an override or the
//! catalog changed, all are looked at, and those that it touches are resolved. Whoever asks while that goes on
//! waits for the same answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use driftless_core::name::{Document, Kind};
use tokio::sync::Mutex as Turn;

use super::resources::DOCUMENTS_PER_READ;
use super::site_status::Resolved;
use super::status_error::StatusError;
use super::{Api, Held};
use crate::inputs::{NamespaceInputs, SiteFacts};

/// Most namespaces whose sites are kept.
const NAMESPACES_MAX: usize = 64;
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

/// What is not up to date any more.
struct Outdated {
    position: u64,
    /// The objects of the namespace, by which every site is judged.
    inputs: bool,
    sites: BTreeSet<Document>,
}

/// Every site of a namespace with what it should run. Costs what changed since it was last asked, and a copy
/// of the list.
pub(super) async fn every_site(api: &Api, namespace: &str) -> Result<Vec<Arc<Resolved>>, StatusError> {
    let turn = api.0.sites.every.of(namespace);
    let mut known = turn.lock().await;
    let since = known.as_ref().map(|known| (known.position, known.collected_ms));
    let (of, now_ms) = (namespace.to_owned(), api.now_ms());
    let outdated = api.read(move |held| outdated(held, &of, since, now_ms)).await?;
    if outdated.inputs || !outdated.sites.is_empty() {
        let updated = update(api, namespace, known.take(), outdated, now_ms).await?;
        *known = Some(updated);
    } else if let Some(known) = &mut *known {
        known.position = outdated.position;
    }
    Ok(known.iter().flat_map(|known| known.sites.values().cloned()).collect())
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

/// Compares what is known with the replica. Whatever is read after this is as new or newer.
fn outdated(held: &Held, namespace: &str, since: Option<(u64, u64)>, now_ms: u64) -> Outdated {
    let position = held.position();
    let changes = since.and_then(|(position, _)| held.changes(position, usize::MAX).ok());
    let Some(changes) = changes else {
        let sites = held.names(Kind::Site, Some(namespace), &BTreeMap::new()).into_iter().collect();
        return Outdated { position, inputs: true, sites };
    };
    let is_old =
        since.is_none_or(|(_, collected_ms)| now_ms >= collected_ms.saturating_add(COLLECT_AGAIN_MS));
    let mut outdated = Outdated { position, inputs: is_old, sites: BTreeSet::new() };
    for document in changes.into_iter().map(|change| change.document) {
        if document.namespace() != namespace {
            continue;
        }
        match document.kind() {
            Kind::Site | Kind::SiteStatus => {
                outdated.sites.extend(Document::new(Kind::Site, namespace, document.name()));
            }
            Kind::Profile | Kind::Override | Kind::App | Kind::Release => outdated.inputs = true,
            _ => {}
        }
    }
    outdated
}

async fn update(
    api: &Api,
    namespace: &str,
    known: Option<Known>,
    outdated: Outdated,
    now_ms: u64,
) -> Result<Known, StatusError> {
    let Outdated { position, inputs, sites: changed } = outdated;
    let mut facts: BTreeMap<Document, Option<SiteFacts>> = BTreeMap::new();
    let documents: Vec<Document> = changed.into_iter().collect();
    for documents in documents.chunks(DOCUMENTS_PER_READ) {
        let documents = documents.to_vec();
        let read = api.read(move |held| {
            let facts = |site: Document| SiteFacts::collect(held, &site).map(|facts| (site, facts));
            documents.into_iter().map(facts).collect::<Result<Vec<_>, _>>()
        });
        facts.extend(read.await?.map_err(StatusError::internal)?);
    }
    let (desired, collected_ms, sites) = match known {
        Some(known) if !inputs => (known.desired, known.collected_ms, known.sites),
        known => {
            let desired = api.desired(namespace.to_owned(), None).await?;
            (Arc::new(desired), now_ms, known.map(|known| known.sites).unwrap_or_default())
        }
    };
    let api = api.clone();
    // Ten thousand sites take seconds the first time: not on the threads that answer others.
    tokio::task::spawn_blocking(move || {
        let mut sites = sites;
        let resolve = |facts: SiteFacts| {
            let outcome = api.0.sites.outcome(&desired, &facts);
            Arc::new(Resolved { facts, outcome })
        };
        if inputs {
            sites.values_mut().for_each(|site| {
                let outcome = api.0.sites.outcome(&desired, &site.facts);
                if !Arc::ptr_eq(&outcome, &site.outcome) {
                    *site = Arc::new(Resolved { facts: site.facts.clone(), outcome });
                }
            });
        }
        for (document, facts) in facts {
            match facts {
                Some(facts) => drop(sites.insert(document, resolve(facts))),
                None => drop(sites.remove(&document)),
            }
        }
        Known { position, collected_ms, desired, sites }
    })
    .await
    .map_err(StatusError::internal)
}
