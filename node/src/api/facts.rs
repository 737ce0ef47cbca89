//! The sites of a namespace and what they say of themselves, kept up to date with the replica.
//!
//! Whoever asks after a change pays for reading the sites that it is about, and for nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use driftless_core::name::{Document, Kind};
use tokio::sync::Mutex as Turn;

use super::resources::DOCUMENTS_PER_READ;
use super::status_error::StatusError;
use super::{Api, Held};
use crate::inputs::SiteFacts;

/// Most namespaces whose sites are kept.
pub(super) const NAMESPACES_MAX: usize = 64;

/// The sites of a namespace.
pub(super) type SitesFacts = Arc<BTreeMap<Document, Arc<SiteFacts>>>;

/// What was read, by namespace.
#[derive(Default)]
pub(super) struct Facts(Mutex<BTreeMap<String, Arc<Turn<Known>>>>);

/// The sites of one namespace as of a position; `None` before they were read.
#[derive(Default)]
struct Known {
    position: Option<u64>,
    sites: SitesFacts,
}

/// Every site of a namespace. Those that did not change since are the same allocation as before.
pub(super) async fn every_fact(api: &Api, namespace: &str) -> Result<SitesFacts, StatusError> {
    let turn = api.0.sites.facts.of(namespace);
    let mut known = turn.lock().await;
    let (of, since) = (namespace.to_owned(), known.position);
    let (position, changed) = api.read(move |held| outdated(held, &of, since)).await?;
    if let Some(changed) = changed {
        let mut sites = if since.is_some() { (*known.sites).clone() } else { BTreeMap::new() };
        for (site, facts) in read(api, changed).await? {
            match facts {
                Some(facts) => drop(sites.insert(site, Arc::new(facts))),
                None => drop(sites.remove(&site)),
            }
        }
        known.sites = Arc::new(sites);
    }
    known.position = Some(position);
    Ok(Arc::clone(&known.sites))
}

impl Facts {
    fn of(&self, namespace: &str) -> Arc<Turn<Known>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= NAMESPACES_MAX && !all.contains_key(namespace) {
            all.clear();
        }
        Arc::clone(all.entry(namespace.to_owned()).or_default())
    }
}

/// The position, and the sites that changed since another one; all where that is not known, `None` if none
/// did. Whatever is read after this is as new or newer.
fn outdated(held: &Held, namespace: &str, since: Option<u64>) -> (u64, Option<BTreeSet<Document>>) {
    let position = held.position();
    let Some(changes) = since.and_then(|since| held.changes(since, usize::MAX).ok()) else {
        let sites = held.names(Kind::Site, Some(namespace), &BTreeMap::new());
        return (position, Some(sites.into_iter().collect()));
    };
    let is_of_site = |document: &Document| {
        document.namespace() == namespace && matches!(document.kind(), Kind::Site | Kind::SiteStatus)
    };
    let documents = changes.into_iter().map(|change| change.document).filter(is_of_site);
    let sites: BTreeSet<Document> =
        documents.filter_map(|document| Document::new(Kind::Site, namespace, document.name()).ok()).collect();
    (position, (!sites.is_empty()).then_some(sites))
}

async fn read(
    api: &Api,
    sites: BTreeSet<Document>,
) -> Result<Vec<(Document, Option<SiteFacts>)>, StatusError> {
    let sites: Vec<Document> = sites.into_iter().collect();
    let mut found = Vec::with_capacity(sites.len());
    for sites in sites.chunks(DOCUMENTS_PER_READ) {
        let sites = sites.to_vec();
        let read = api.read(move |held| {
            let facts = |site: Document| SiteFacts::collect(held, &site).map(|facts| (site, facts));
            sites.into_iter().map(facts).collect::<Result<Vec<_>, _>>()
        });
        found.extend(read.await?.map_err(StatusError::internal)?);
    }
    Ok(found)
}
