//! `GET /v1/conflicts` and `POST /v1/conflicts/ack`: values that lost without anybody having seen
//! them lose.
//!
//! The winner is the same on every replica; the losers stay listed until a write that has seen them, or
//! an acknowledgement. What kubectl remembers of the last apply is no conflict that people care about.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, Uri};
use driftless_core::document::{Conflict, ConflictKind, DocumentState, Stamp, Stamped};
use driftless_core::name::Document;
use driftless_core::replica::{ChangeRequest, Precondition, Write};
use serde::Deserialize;
use serde_json::{Value, json};

use super::history::{document, value_of};
use super::status_error::StatusError;
use super::time::rfc3339;
use super::write::{check_enrolled, named, refusal};
use super::{Api, Caller, request};

/// Where kubectl keeps what it applied last.
pub(super) const LAST_APPLIED: &str =
    "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";
/// Most documents in one answer.
const DOCUMENTS_MAX: usize = 1_000;

#[derive(Default, Deserialize)]
#[serde(default)]
struct ConflictsQuery {
    namespace: Option<String>,
    kind: Option<String>,
    name: Option<String>,
}

/// Lists documents with conflicts, by name; `truncated` says that there are more.
pub(super) async fn list(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, StatusError> {
    let query: ConflictsQuery = request::query(&uri)?;
    let wanted = move |document: &Document| {
        let is =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        is(&query.namespace, document.namespace())
            && is(&query.kind, document.kind().name())
            && is(&query.name, document.name())
    };
    let (items, truncated) = api
        .read(move |held| {
            let documents: Vec<Document> =
                held.conflicted().into_iter().filter(|document| wanted(document)).collect();
            let truncated = documents.len() > DOCUMENTS_MAX;
            let items = documents.into_iter().take(DOCUMENTS_MAX).map(|document| {
                let state = held.state(&document)?;
                Ok(state.and_then(|state| document_json(&document, &state)))
            });
            let items: Result<Vec<Option<Value>>, driftless_core::store::StoreError> = items.collect();
            items.map(|items| (items, truncated))
        })
        .await?
        .map_err(StatusError::internal)?;
    let items: Vec<Value> = items.into_iter().flatten().collect();
    Ok(Json(json!({"items": items, "truncated": truncated})))
}

#[derive(Deserialize)]
struct Acknowledgement {
    kind: String,
    namespace: Option<String>,
    name: String,
    /// Pointers; empty for all of the document's conflicts.
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    reason: String,
}

/// Confirms the values that are shown.
pub(super) async fn acknowledge(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, StatusError> {
    let body = request::json(&headers, body).await?;
    let wish: Acknowledgement = serde_json::from_value(body).map_err(|error| {
        StatusError::bad_request(format!("expected {{kind, namespace, name, paths, reason}}: {error}"))
    })?;
    let document = document(&api, &wish.kind, wish.namespace.as_deref(), &wish.name)?;
    caller
        .may_write_document(api.local(), &document)
        .map_err(|why| StatusError::forbidden(named(&document), &why))?;
    let write = Write {
        document: document.clone(),
        change: ChangeRequest::Acknowledge(wish.paths),
        by: caller.name,
        reason: wish.reason,
        time_ms: api.now_ms(),
        precondition: Precondition::None,
        author: None,
    };
    let written = api.write(move |held| {
        check_enrolled(held)?;
        held.write(write).map_err(|error| refusal(&document, error))
    });
    let written = written.await??;
    Ok(Json(json!({"event": written.event.map(|event| event.to_string())})))
}

fn document_json(document: &Document, state: &DocumentState) -> Option<Value> {
    let conflicts: Vec<Value> = state
        .conflicts()
        .iter()
        .filter(|conflict| conflict.path != LAST_APPLIED)
        .map(|conflict| conflict_json(state, conflict))
        .collect();
    (!conflicts.is_empty()).then(|| {
        json!({
            "kind": document.kind().name(),
            "namespace": document.namespace(),
            "name": document.name(),
            "conflicts": conflicts,
        })
    })
}

/// One conflict, with who wrote each value; a removal that lost is a loser without a value.
pub(super) fn conflict_json(state: &DocumentState, conflict: &Conflict) -> Value {
    let removals = conflict.removals.iter().map(|stamp| removal_json(state, stamp));
    let losers = conflict.losers.iter().map(|loser| value_json(state, loser)).chain(removals);
    json!({
        "path": conflict.path,
        "kind": match conflict.kind {
            ConflictKind::Concurrent => "Concurrent",
            ConflictKind::Shadowed => "Shadowed",
            ConflictKind::DeletedUnder => "DeletedUnder",
        },
        "winner": value_json(state, &conflict.winner),
        "losers": losers.collect::<Vec<_>>(),
    })
}

/// A value and its provenance.
pub(super) fn value_json(state: &DocumentState, stamped: &Stamped) -> Value {
    let mut value = event_json(state, &stamped.stamp);
    value["value"] = value_of(&stamped.value);
    value
}

fn removal_json(state: &DocumentState, stamp: &Stamp) -> Value {
    let mut removal = event_json(state, stamp);
    removal["removed"] = json!(true);
    removal
}

/// An event to which a document's state refers, and its provenance.
fn event_json(state: &DocumentState, stamp: &Stamp) -> Value {
    let mut event = json!({"event": stamp.id.to_string()});
    // A checkpoint keeps origins of the values that it keeps, so there is one for every value.
    if let Some(origin) = state.origin(&stamp.id) {
        event["by"] = json!(&*origin.by);
        event["reason"] = json!(&*origin.reason);
        event["time"] = json!(rfc3339(origin.time_ms));
        event["author"] = json!(origin.chain.author.to_string());
    }
    event
}
