//! What resolution read at a past time, from the events of the documents that it reads.
//!
//! The same rules as for the present, over documents as they were: which revision was pinned, which local
//! override was over by then. Nothing of the present is mixed in, but for pinned revisions, which name their
//! content whenever it was written.

use std::collections::BTreeMap;
use std::sync::Arc;

use driftless_core::document::{DocumentState, RebuildError};
use driftless_core::name::{Document, Kind};
use driftless_core::replica::{HistoryEntry, PastError, View, as_of};
use driftless_core::resolve::revision;
use serde_json::{Value, json};

use super::{NamespaceInputs, Object, SiteFacts, is_too_old, spec_at};

/// Documents as of one time.
#[derive(Debug)]
pub struct PastDocuments {
    time_ms: u64,
    documents: BTreeMap<Document, Was>,
}

/// What is known of a document as of that time.
#[derive(Debug)]
enum Was {
    /// It was so; a profile that was pinned, with the spec of the pinned revision.
    So { state: Arc<DocumentState>, version: u64, pinned: Option<Arc<Value>> },
    /// A checkpoint took that away.
    Forgotten { since_ms: u64 },
}

/// A document is not known any more as it was then. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("what {document} was then is not kept any more")]
pub struct Forgotten {
    /// Which document.
    pub document: Document,
    /// From when on it is known, in milliseconds since 1970.
    pub since_ms: u64,
}

impl PastDocuments {
    /// No documents, as of a time in milliseconds since 1970.
    pub fn new(time_ms: u64) -> Self {
        Self { time_ms, documents: BTreeMap::new() }
    }

    /// Takes a document with all of its events that are held, in log order.
    pub fn add(&mut self, document: Document, history: &[HistoryEntry]) -> Result<(), RebuildError> {
        let was = match as_of(history, self.time_ms) {
            Ok(None) => return Ok(()),
            Ok(Some(past)) => {
                let view = past.view(&document).filter(|_| document.kind() == Kind::Profile);
                let pinned = view.and_then(|view| pinned(&document, history, &view));
                Was::So { state: Arc::new(past.state), version: past.version, pinned }
            }
            Err(PastError::Forgotten { since_ms }) => Was::Forgotten { since_ms },
            Err(PastError::Rebuild(error)) => return Err(error),
        };
        self.documents.insert(document, was);
        Ok(())
    }

    /// What was known of a document; `None` if there was nothing yet.
    pub fn state(&self, document: &Document) -> Result<Option<Arc<DocumentState>>, Forgotten> {
        match self.documents.get(document) {
            None => Ok(None),
            Some(Was::So { state, .. }) => Ok(Some(Arc::clone(state))),
            Some(Was::Forgotten { since_ms }) => {
                Err(Forgotten { document: document.clone(), since_ms: *since_ms })
            }
        }
    }

    /// A document's view, unless it did not exist.
    pub fn view(&self, document: &Document) -> Result<Option<View>, Forgotten> {
        let Some(state) = self.state(document)?.filter(|state| state.is_live()) else { return Ok(None) };
        let version = match &self.documents[document] {
            Was::So { version, .. } => *version,
            Was::Forgotten { .. } => 0,
        };
        let resource = Arc::new(driftless_core::view::resource(document, &state));
        Ok(Some(View { document: document.clone(), resource, version }))
    }

    /// The views of a kind, by namespace and name.
    pub fn views(&self, kind: Kind) -> Result<Vec<View>, Forgotten> {
        let of_kind = self.documents.keys().filter(|document| document.kind() == kind);
        let views = of_kind.map(|document| self.view(document));
        Ok(views.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// What decided what one site should run, and the site; `None` if there was no such site.
    ///
    /// What the site said of itself may be forgotten where nothing depends on it.
    pub fn inputs(&self, site: &Document) -> Result<Option<(NamespaceInputs, SiteFacts)>, Forgotten> {
        let Some(view) = self.view(site)? else { return Ok(None) };
        let objects = |kind| -> Result<Vec<Object>, Forgotten> {
            Ok(self.views(kind)?.into_iter().map(|view| self.applying(view)).collect())
        };
        let mut desired = NamespaceInputs {
            namespace: site.namespace().to_owned(),
            profiles: objects(Kind::Profile)?,
            selector_overrides: Vec::new(),
            site_overrides: BTreeMap::new(),
            apps: objects(Kind::App)?,
            releases: objects(Kind::Release)?,
        };
        for exception in self.views(Kind::Override)? {
            let document = exception.document.clone();
            let is_of_site = document.owner().is_none_or(|owner| owner == site.name());
            if is_of_site && !self.is_over(&document, &view)? {
                desired.overrides_of(document.owner()).push(Object::of(exception));
            }
        }
        let report = match Document::new(Kind::SiteStatus, site.namespace(), site.name()) {
            Ok(document) => self.view(&document),
            Err(_) => Ok(None),
        };
        let report = match report {
            Err(forgotten) if desired.asks_for_claims() => return Err(forgotten),
            report => report.ok().flatten().map(|report| report.resource),
        };
        let facts = SiteFacts::new(view.document, view.resource, report, [u64::MAX; 2]);
        Ok(Some((desired, facts)))
    }

    fn applying(&self, view: View) -> Object {
        match self.documents.get(&view.document) {
            Some(Was::So { pinned: Some(root), .. }) => Object { root: Arc::clone(root), ..Object::of(view) },
            _ => Object::of(view),
        }
    }

    /// Whether a local override had outlived what its site allowed.
    fn is_over(&self, document: &Document, site: &View) -> Result<bool, Forgotten> {
        let state = self.state(document)?.filter(|_| document.is_local_override());
        Ok(state.is_some_and(|state| is_too_old(Some(site), Some(&state), self.time_ms)))
    }
}

impl NamespaceInputs {
    /// Whether anything here depends on what sites report of themselves.
    fn asks_for_claims(&self) -> bool {
        let asks = |object: &Object| {
            let spec = &object.root["spec"];
            let terms = spec.pointer("/selector/claims").and_then(Value::as_array);
            let mut variables = spec["variables"].as_array().into_iter().flatten();
            let from_claims = |from: &str| from.starts_with("claims.");
            terms.is_some_and(|terms| !terms.is_empty())
                || variables.any(|variable| variable["from"].as_str().is_some_and(from_claims))
        };
        self.profiles.iter().chain(&self.selector_overrides).any(asks)
    }
}

/// The spec that a profile was pinned at, if that was not its own.
fn pinned(document: &Document, history: &[HistoryEntry], view: &View) -> Option<Arc<Value>> {
    let spec = &view.resource["spec"];
    let pin = spec["revision"].as_str().unwrap_or_default();
    let is_own = pin.is_empty() || revision(spec).starts_with(pin);
    (!is_own).then(|| Arc::new(json!({"spec": spec_at(document, history, pin)})))
}
