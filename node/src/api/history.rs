//! `GET /v1/history/{kind}/{namespace}/{name}`: every event of a document that is held, oldest first.
//!
//! Each entry says who wrote what, through which node, when, why, and whether it counts. The kind is a kind or
//! a plural.

use axum::Json;
use axum::extract::{Path, State};
use driftless_core::document::Effect;
use driftless_core::event::{Event, Operation};
use driftless_core::name::{Document, Kind};
use driftless_core::replica::HistoryEntry;
use driftless_core::store::StoreError;
use serde_json::{Value, json};

use super::kinds::Served;
use super::status_error::StatusError;
use super::time::rfc3339;
use super::trace::{node_of, void};
use super::version::Versions;
use super::write::named;
use super::{Api, Held};

type Answer = Result<Json<Value>, StatusError>;

/// For kinds that have no namespace.
pub(super) async fn fleet_wide(State(api): State<Api>, Path((kind, name)): Path<(String, String)>) -> Answer {
    history(&api, &kind, None, &name).await
}

/// For kinds that have one.
pub(super) async fn namespaced(
    State(api): State<Api>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
) -> Answer {
    history(&api, &kind, Some(&namespace), &name).await
}

async fn history(api: &Api, kind: &str, namespace: Option<&str>, name: &str) -> Answer {
    let document = document(api, kind, namespace, name)?;
    let asked = document.clone();
    let entries = api.read(move |held| {
        let history = held.history(&asked)?;
        Ok(history.into_iter().map(|entry| Row::of(held, entry)).collect::<Vec<Row>>())
    });
    let entries = entries.await?.map_err(|error: StoreError| StatusError::internal(error))?;
    if entries.is_empty() {
        return Err(StatusError::not_found(named(&document)));
    }
    Ok(Json(json!({
        "kind": document.kind().name(),
        "namespace": document.namespace(),
        "name": document.name(),
        "entries": entries.iter().map(|entry| entry.to_json(api.versions())).collect::<Vec<Value>>(),
    })))
}

/// Reads a kind or a plural.
pub(super) fn kind_of(text: &str) -> Result<Kind, StatusError> {
    match (text.parse::<Kind>(), Served::by_plural(text)) {
        (Ok(kind), _) => Ok(kind),
        (Err(_), Some(served)) => Ok(served.kind),
        (Err(error), None) => Err(StatusError::bad_request(error.to_string())),
    }
}

/// Reads the name of a document; a kind that has namespaces has the node's own unless it is given.
pub(super) fn document(
    api: &Api,
    kind: &str,
    namespace: Option<&str>,
    name: &str,
) -> Result<Document, StatusError> {
    let kind = kind_of(kind)?;
    let namespace = match (kind.is_fleet_wide(), namespace) {
        (true, _) => "",
        (false, None | Some("")) => &api.local().namespace,
        (false, Some(namespace)) => namespace,
    };
    Document::new(kind, namespace, name).map_err(|error| StatusError::bad_request(error.to_string()))
}

/// An event, with what only the replica can tell of it.
pub(super) struct Row {
    pub(super) entry: HistoryEntry,
    /// The node that wrote it.
    node: String,
    /// Why it has no effect, if it has none.
    void: Option<String>,
}

impl Row {
    pub(super) fn of(held: &Held, entry: HistoryEntry) -> Self {
        let header = entry.event.header();
        let node = node_of(held, &header.chain.author);
        let void = (entry.effect == Effect::Void).then(|| void(held.authority(), header).message);
        Self { entry, node, void }
    }

    pub(super) fn to_json(&self, versions: Versions) -> Value {
        let Self { entry, node, void } = self;
        let header = entry.event.header();
        let mut shown = json!({
            "event": entry.event.id().to_string(),
            "resourceVersion": versions.format(entry.position),
            "time": rfc3339(header.time_ms),
            "timeMs": header.time_ms,
            "by": header.by,
            "reason": header.reason,
            "node": node,
            "author": header.chain.author.to_string(),
            "boot": header.chain.boot.to_string(),
            "authorSeq": header.author_seq,
            "lamport": header.lamport,
            "incarnation": header.incarnation,
            "dependencies": header.dependencies.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "effect": match entry.effect {
                Effect::Effective => "Effective",
                Effect::Void => "Void",
            },
            "needsNewerVersion": entry.event.needs_newer_version(),
            "operations": operations(&entry.event),
        });
        if let Some(why) = void {
            shown["why"] = json!(why);
        }
        shown
    }
}

fn operations(event: &Event) -> Vec<Value> {
    let operation = |operation: &Operation| match operation {
        Operation::Put { path, value } => json!({"op": "put", "path": path, "value": value_of(value)}),
        Operation::Delete { path } => json!({"op": "delete", "path": path}),
        Operation::Unknown { code, path, .. } => json!({"op": "unknown", "code": code, "path": path}),
    };
    event.operations().iter().map(operation).collect()
}

/// The JSON of a register's text, which was checked when it was taken.
pub(super) fn value_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}
