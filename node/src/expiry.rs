//! Expiry of overrides, as a fact that somebody writes once the time has come.
//!
//! What a site should run is the same wherever it is computed, so no clock decides it. Some node sees that an
//! `expiresAt` has passed and says so: a hub in the override, as `spec.expired`; the site in its status, as
//! `status.expired`, because it may have no hub to talk to. Both name the `expiresAt` that passed, so that an
//! extension always wins, also one that nobody has heard of yet.

use std::collections::BTreeMap;

use driftless_core::name::{Document, Kind};
use driftless_core::replica::{LabelSelector, Replica};
use driftless_core::store::{Store, StoreError};

use crate::api::time::parse_rfc3339;

/// When overrides end.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Expiries {
    /// By override, the `expiresAt` that nobody has said to have passed: the time, and its text.
    open: BTreeMap<Document, (u64, String)>,
}

impl Expiries {
    /// Those of a namespace, or of all; of one site's own overrides, or of all. Costs a read of each override.
    pub(crate) fn collect<S: Store>(
        replica: &Replica<S>,
        namespace: Option<&str>,
        site: Option<&str>,
    ) -> Result<Self, StoreError> {
        let mut open = BTreeMap::new();
        for document in replica.names(Kind::Override, namespace, &LabelSelector::new()) {
            if site.is_some() && document.owner() != site {
                continue;
            }
            let Some(view) = replica.get(&document)? else { continue };
            let spec = &view.resource["spec"];
            let Some(text) = spec["expiresAt"].as_str() else { continue };
            // What is no time was refused by the API, or came past it; then it never ends.
            let Some(at_ms) = parse_rfc3339(text).filter(|_| spec["expired"] != text) else { continue };
            open.insert(document, (at_ms, text.to_owned()));
        }
        Ok(Self { open })
    }

    /// Those that have passed, each with its `expiresAt`.
    pub(crate) fn passed(&self, now_ms: u64) -> impl Iterator<Item = (&Document, &str)> {
        self.open
            .iter()
            .filter(move |(_, (at_ms, _))| *at_ms <= now_ms)
            .map(|(document, (_, text))| (document, text.as_str()))
    }

    /// Leaves one alone until it is collected anew.
    pub(crate) fn leave(&mut self, document: &Document) {
        self.open.remove(document);
    }

    /// When the next one ends that has not.
    pub(crate) fn next_ms(&self, now_ms: u64) -> Option<u64> {
        self.open.values().map(|(at_ms, _)| *at_ms).filter(|at_ms| *at_ms > now_ms).min()
    }
}
