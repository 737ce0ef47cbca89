//! OpenAPI: what `kubectl apply`, `diff` and `explain` read before they talk to resources.
//!
//! Version 2 is asked for in protobuf up to 1.28, see [`v2`]; version 3 is JSON, from the same tables of
//! fields that validate resources.

mod v2;

use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::kinds::{SERVED, Served};
use super::{GROUP, GROUP_VERSION};

/// What Kubernetes itself answers: with the "@" of the request, Go could not parse it.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// `GET /openapi/v2`.
pub(super) async fn v2(headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match accept.contains("protobuf") {
        true => ([(header::CONTENT_TYPE, PROTOBUF)], v2::document()).into_response(),
        false => Json(json!({
            "swagger": "2.0",
            "info": {"title": "Driftless", "version": "v1"},
            "paths": {},
        }))
        .into_response(),
    }
}

/// `GET /openapi/v3`.
pub(super) async fn index() -> Json<Value> {
    let url = "/openapi/v3/apis/driftless.dev/v1";
    Json(json!({"paths": {"apis/driftless.dev/v1": {"serverRelativeURL": url}}}))
}

/// `GET /openapi/v3/apis/driftless.dev/v1`.
pub(super) async fn group() -> Json<Value> {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for served in SERVED {
        let scope = if served.namespaced() { "namespaces/{namespace}/" } else { "" };
        let path = format!("/apis/{GROUP_VERSION}/{scope}{}/{{name}}", served.plural);
        paths.insert(path, operations(served));
        schemas.insert(schema_name(served), schema(served));
    }
    Json(json!({
        "openapi": "3.0.0",
        "info": {"title": "Driftless", "version": "v1"},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

fn group_version_kind(served: &Served) -> Value {
    json!({"group": GROUP, "version": "v1", "kind": served.kind.name()})
}

fn schema_name(served: &Served) -> String {
    format!("dev.driftless.v1.{}", served.kind.name())
}

/// The operations of a resource. kubectl looks for `patch` with the parameters `dryRun` and
/// `fieldValidation`, and for `get` to find the schema that `explain` shows.
fn operations(served: &Served) -> Value {
    let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    let reference = json!({"$ref": format!("#/components/schemas/{}", schema_name(served))});
    let ok = json!({"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}});
    let operation = |action: &str, parameters: Vec<Value>| {
        json!({
            "parameters": parameters,
            "responses": ok,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": group_version_kind(served),
        })
    };
    let mut operations = json!({"get": operation("get", vec![])});
    if served.writable {
        let mut patch = operation("patch", vec![parameter("dryRun"), parameter("fieldValidation")]);
        patch["requestBody"] = json!({"content": {
            "application/merge-patch+json": {"schema": {"type": "object"}},
            "application/json-patch+json": {"schema": {"type": "object"}},
        }});
        operations["patch"] = patch;
        operations["delete"] = operation("delete", vec![parameter("dryRun")]);
    }
    operations
}

fn schema(served: &Served) -> Value {
    json!({
        "type": "object",
        "description": served.about,
        "properties": {
            "apiVersion": {"type": "string", "description": GROUP_VERSION},
            "kind": {"type": "string", "description": served.kind.name()},
            "metadata": {"type": "object", "description": "Name, namespace, labels, annotations."},
            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
        "x-kubernetes-group-version-kind": [group_version_kind(served)],
    })
}
