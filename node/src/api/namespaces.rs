//! Namespaces, read only: those in which anything exists, and the node's own.
//!
//! They are no documents. They are listed so that clients that ask for them first do not fail.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use driftless_core::name::{Kind, is_label};
use serde_json::{Value, json};

use super::Api;
use super::request::wants_table;
use super::status_error::{Named, StatusError};

/// `GET /api/v1/namespaces`.
pub(super) async fn list(State(api): State<Api>, headers: HeaderMap) -> Result<Json<Value>, StatusError> {
    let (names, position) = names(&api).await?;
    let metadata = json!({"resourceVersion": api.versions().format(position)});
    if !wants_table(&headers) {
        let items: Vec<Value> = names.iter().map(|name| namespace(name)).collect();
        return Ok(Json(
            json!({"kind": "NamespaceList", "apiVersion": "v1", "metadata": metadata, "items": items}),
        ));
    }
    let row = |name: &String| json!({"cells": [name, "Active"], "object": namespace(name)});
    Ok(Json(json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [
            {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0},
            {"name": "Status", "type": "string", "format": "", "description": "", "priority": 0},
        ],
        "rows": names.iter().map(row).collect::<Vec<Value>>(),
    })))
}

/// `GET /api/v1/namespaces/{name}`. Every name that could be a namespace is one: writing into it is
/// what makes it.
pub(super) async fn read(Path(name): Path<String>) -> Result<Json<Value>, StatusError> {
    match is_label(&name) {
        true => Ok(Json(namespace(&name))),
        false => Err(StatusError::not_found(Named { plural: "namespaces", kind: "Namespace", name: &name })),
    }
}

fn namespace(name: &str) -> Value {
    json!({
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {"name": name},
        "status": {"phase": "Active"},
    })
}

async fn names(api: &Api) -> Result<(BTreeSet<String>, u64), StatusError> {
    let own = api.local().namespace.clone();
    api.read(move |held| {
        let mut names = BTreeSet::from([own]);
        for kind in [Kind::Profile, Kind::Override, Kind::Site, Kind::App] {
            let documents = held.names(kind, None, &Default::default());
            names.extend(documents.iter().map(|document| document.namespace().to_owned()));
        }
        (names, held.position())
    })
    .await
}
