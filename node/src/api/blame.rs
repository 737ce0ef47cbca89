//! `GET /v1/blame/{kind}/{namespace}/{name}`: who set each value of a resource, when and why.
//!
//! The answer holds the resource and one entry for each register that it shows. Whoever prints it line by
//! line finds a line's entry by its pointer. `?at=` asks the same of a past time.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use driftless_core::document::DocumentState;
use driftless_core::event::ChainId;
use driftless_core::ids::EventId;
use driftless_core::name::Document;
use driftless_core::view;
use serde::Deserialize;
use serde_json::{Value, json};

use super::conflicts::value_json;
use super::history::document;
use super::status_error::StatusError;
use super::time::rfc3339;
use super::trace::node_of;
use super::write::named;
use super::{Api, Held, past, request};

type Answer = Result<Json<Value>, StatusError>;

#[derive(Default, Deserialize)]
#[serde(default)]
struct BlameQuery {
    at: Option<String>,
}

/// For kinds that have no namespace.
pub(super) async fn fleet_wide(
    State(api): State<Api>,
    Path((kind, name)): Path<(String, String)>,
    uri: Uri,
) -> Answer {
    blame(&api, document(&api, &kind, None, &name)?, &uri).await
}

/// For kinds that have one.
pub(super) async fn namespaced(
    State(api): State<Api>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
    uri: Uri,
) -> Answer {
    blame(&api, document(&api, &kind, Some(&namespace), &name)?, &uri).await
}

async fn blame(api: &Api, document: Document, uri: &Uri) -> Answer {
    let query: BlameQuery = request::query(uri)?;
    let at_ms = past::moment_of(api, query.at.as_deref()).await?;
    let state = state(api, &document, at_ms).await?;
    let state =
        state.filter(|state| state.is_live()).ok_or_else(|| StatusError::not_found(named(&document)))?;
    let resource = view::resource(&document, &state);
    let answer = json!({
        "kind": document.kind().name(),
        "namespace": document.namespace(),
        "name": document.name(),
        "resource": resource,
        "asOf": at_ms.or(api.backend().freshness().as_of_ms).map(rfc3339),
    });
    let values = api.read(move |held| {
        let created = state.first().map(|first| origin_json(held, &state, &first.id));
        (created, values(held, &state))
    });
    let (created, values) = values.await?;
    let mut answer = answer;
    answer["created"] = json!(created);
    answer["values"] = Value::Array(values);
    Ok(Json(answer))
}

async fn state(
    api: &Api,
    document: &Document,
    at_ms: Option<u64>,
) -> Result<Option<Arc<DocumentState>>, StatusError> {
    let asked = document.clone();
    match at_ms {
        None => api.read(move |held| held.state(&asked)).await?.map_err(StatusError::internal),
        Some(at_ms) => {
            let past = past::documents(api, [asked].into(), at_ms).await?;
            past.state(document).map_err(|forgotten| past::gone(&forgotten))
        }
    }
}

/// The winner of each register, by ascending path.
fn values(held: &Held, state: &DocumentState) -> Vec<Value> {
    let entry = |(path, values): (&str, &[driftless_core::document::Stamped])| {
        let winner = values.first()?;
        let mut entry = value_json(state, winner);
        entry["path"] = json!(path);
        entry["concurrent"] = json!(values.len() - 1);
        if let Some(origin) = state.origin(&winner.stamp.id) {
            entry["node"] = json!(node(held, &origin.chain));
        }
        Some(entry)
    };
    state.registers().filter_map(entry).collect()
}

/// Who wrote an event that a state refers to.
fn origin_json(held: &Held, state: &DocumentState, id: &EventId) -> Value {
    match state.origin(id) {
        Some(origin) => json!({
            "event": id.to_string(),
            "by": &*origin.by,
            "reason": &*origin.reason,
            "time": rfc3339(origin.time_ms),
            "author": origin.chain.author.to_string(),
            "node": node(held, &origin.chain),
        }),
        None => json!({"event": id.to_string()}),
    }
}

fn node(held: &Held, chain: &ChainId) -> String {
    node_of(held, &chain.author)
}
