//! What the node says of its site: one `SiteStatus` document, written when it says something new.
//!
//! `status.active` `{configHash, appliedAt, profiles}`, `status.desired` `{configHash}`, `status.hook`
//! `{configHash, exitCode}` (or `outcome` where there is no exit code), `status.conditions`, and
//! `status.expired`, of the site's own overrides that are over the `expiresAt` that has passed, and
//! `status.node`, who said so. Other fields of the document are others'.
//!
//! A site can have several nodes and has one status. Each writes when its own report changes, never because
//! another's differs, so two of them do not answer each other for ever: the last one to change has the word.

use std::collections::BTreeMap;

use driftless_core::name::{Document, Kind};
use driftless_core::replica::{ChangeRequest, Write, WriteError};
use serde_json::{Map, Value, json};

use super::Place;
use crate::api::{GROUP_VERSION, Held};

/// Longest message of a condition, in characters.
const MESSAGE_CHARS_MAX: usize = 512;

/// One condition, as Kubernetes has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What it is about, as `Applied`.
    pub kind: &'static str,
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

impl Condition {
    /// A condition; a long message is cut.
    pub(super) fn new(
        kind: &'static str,
        status: &'static str,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let message: String = message.into().chars().take(MESSAGE_CHARS_MAX).collect();
        Self { kind, status, reason: reason.into(), message }
    }

    fn to_json(&self) -> Value {
        json!({"type": self.kind, "status": self.status, "reason": self.reason, "message": self.message})
    }
}

/// What there is to say.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Report {
    pub(super) active: Option<Value>,
    /// The hash of the desired configuration, if there is one.
    pub(super) desired: Option<String>,
    pub(super) hook: Option<Value>,
    pub(super) conditions: Vec<Condition>,
    /// By override.
    pub(super) expired: BTreeMap<String, String>,
}

impl Report {
    /// The fields of the status that are this report's, absent ones included.
    fn fields(&self, place: &Place) -> [(&'static str, Option<Value>); 6] {
        let desired = self.desired.as_ref().map(|hash| json!({"configHash": hash}));
        let mut conditions = self.conditions.clone();
        conditions.sort_by_key(|condition| condition.kind);
        let conditions: Vec<Value> = conditions.iter().map(Condition::to_json).collect();
        [
            ("active", self.active.clone()),
            ("desired", desired),
            ("hook", self.hook.clone()),
            ("conditions", Some(json!(conditions))),
            ("expired", (!self.expired.is_empty()).then(|| json!(self.expired))),
            ("node", Some(json!(place.node))),
        ]
    }
}

/// Writes a report, unless the document says it already.
pub(super) fn write(held: &mut Held, place: &Place, report: &Report, now_ms: u64) -> Result<(), WriteError> {
    let Ok(document) = Document::new(Kind::SiteStatus, &place.namespace, &place.site) else { return Ok(()) };
    let current = held.get(&document)?;
    let current = current.as_ref().map(|view| &*view.resource);
    let mut status = match current.and_then(|resource| resource.get("status")) {
        Some(Value::Object(status)) => status.clone(),
        _ => Map::new(),
    };
    for (field, value) in report.fields(place) {
        match value {
            Some(value) => drop(status.insert(field.to_owned(), value)),
            None => drop(status.remove(field)),
        }
    }
    let mut resource = current.cloned().unwrap_or_else(|| {
        json!({
            "apiVersion": GROUP_VERSION, "kind": document.kind().name(),
            "metadata": {"name": place.site, "namespace": place.namespace},
        })
    });
    resource["status"] = Value::Object(status);
    held.write(Write::new(document, ChangeRequest::Put(resource), &place.by(), now_ms)).map(drop)
}
