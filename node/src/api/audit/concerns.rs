//! Which sites an event concerns, and which of its writes resolution denies, as things are now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use driftless_core::document::Effect;
use driftless_core::name::{Document, Kind, Scope};
use driftless_core::replica::HistoryEntry;
use driftless_core::resolve::path::Path;
use serde_json::{Value, json};

use super::SITES_NAMED_MAX;
use crate::api::Api;
use crate::api::selector::LabelSelector;
use crate::api::site_status::Resolved;
use crate::api::sites::every_site;
use crate::api::status_error::StatusError;

/// What applies to the sites of some namespaces.
#[derive(Default)]
pub(super) struct Concerns(BTreeMap<String, OfNamespace>);

#[derive(Default)]
struct OfNamespace {
    sites: BTreeMap<String, Arc<Resolved>>,
    /// The sites to which a profile, an override or an app applies, by kind and name.
    applies: BTreeMap<(Kind, String), BTreeSet<String>>,
    /// Writes of overrides that do not stand: pointer, path and profile, by the override's name.
    denied: BTreeMap<String, BTreeSet<DeniedWrite>>,
}

/// Pointer, path, and the profile that enforces it.
type DeniedWrite = (String, String, Option<String>);

impl Concerns {
    /// Works out a namespace, unless that was done.
    pub(super) async fn learn(&mut self, api: &Api, namespace: &str) -> Result<(), StatusError> {
        if self.0.contains_key(namespace) {
            return Ok(());
        }
        let mut found = OfNamespace::default();
        for resolved in every_site(api, namespace).await? {
            let (site, outcome) = (resolved.facts.document.name().to_owned(), &resolved.outcome);
            let profiles = outcome.profiles.iter().map(|name| (Kind::Profile, name));
            let overrides = outcome.overrides.iter().map(|name| (Kind::Override, name));
            let apps = outcome.apps.iter().map(|name| (Kind::App, name));
            for (kind, name) in profiles.chain(overrides).chain(apps) {
                found.applies.entry((kind, name.clone())).or_default().insert(site.clone());
            }
            for denied in &outcome.denied {
                let name = denied.object.strip_prefix("override/").unwrap_or(&denied.object).to_owned();
                let write = (pointer(&denied.path), denied.path.clone(), denied.profile.clone());
                found.denied.entry(name).or_default().insert(write);
            }
            found.sites.insert(site, resolved);
        }
        self.0.insert(namespace.to_owned(), found);
        Ok(())
    }

    /// Whether a document concerns a site of this name, with these labels. One that applies to no site any
    /// more, or was deleted, may have concerned any.
    pub(super) fn include(&self, document: &Document, site: Option<&str>, labels: &LabelSelector) -> bool {
        let Some(namespace) = self.0.get(document.namespace()) else { return false };
        let is_meant = |name: &str| {
            site.is_none_or(|site| site == name)
                && (labels.is_empty()
                    || namespace.sites.get(name).is_some_and(|site| labels.matches(&site.facts.resource)))
        };
        match self.sites(document) {
            Some(sites) => sites.iter().any(|name| is_meant(name)),
            None => true,
        }
    }

    /// The sites that a document concerns; `None` where that cannot be told.
    fn sites(&self, document: &Document) -> Option<BTreeSet<String>> {
        if let Scope::Site { site, .. } = document.scope() {
            return Some([site].into());
        }
        let key = match document.kind() {
            Kind::Release => (Kind::App, document.name().split('.').next().unwrap_or_default().to_owned()),
            kind => (kind, document.name().to_owned()),
        };
        self.0.get(document.namespace())?.applies.get(&key).cloned()
    }

    pub(super) fn sites_json(&self, entry: &HistoryEntry) -> Value {
        match self.sites(&entry.event.header().document) {
            Some(sites) => {
                json!({"count": sites.len(), "names": sites.iter().take(SITES_NAMED_MAX).collect::<Vec<_>>()})
            }
            None => Value::Null,
        }
    }

    /// The writes of an event that resolution denies somewhere.
    pub(super) fn denied(&self, entry: &HistoryEntry) -> Vec<&DeniedWrite> {
        let document = &entry.event.header().document;
        if entry.effect == Effect::Void || document.kind() != Kind::Override {
            return vec![];
        }
        let denied = self.0.get(document.namespace()).and_then(|found| found.denied.get(document.name()));
        let wrote = |pointer: &str| {
            entry.event.operations().iter().any(|operation| is_related(operation.path(), pointer))
        };
        denied.into_iter().flatten().filter(|(pointer, ..)| wrote(pointer)).collect()
    }

    pub(super) fn denied_json(&self, entry: &HistoryEntry) -> Value {
        let shown = |(_, path, profile): &DeniedWrite| json!({"path": path, "profile": profile});
        self.denied(entry).into_iter().map(shown).collect()
    }
}

/// Where an override writes what resolution calls by this path.
fn pointer(path: &str) -> String {
    let Ok(parsed) = Path::parse(path) else { return "/spec".to_owned() };
    let keys = parsed.keys();
    // Variables and apps are named by where they stand in the spec, all else by its place in the tree.
    let root = match keys.first().map(String::as_str) {
        Some("vars" | "apps") => "/spec",
        _ => "/spec/values",
    };
    keys.iter().fold(root.to_owned(), |pointer, key| {
        format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
    })
}

fn is_related(a: &str, b: &str) -> bool {
    let below = |deep: &str, top: &str| {
        deep.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    // A deletion writes no path in particular.
    !a.is_empty() && (below(a, b) || below(b, a))
}
