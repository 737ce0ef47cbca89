//! OpenAPI: what `kubectl apply`, `diff` and `explain` read before they talk to resources.
//!
//! Version 2 is asked for in protobuf up to 1.28, see [`v2`]; version 3 is JSON, from the same tables of
//! fields that validate resources.

mod described;
mod v2;

use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use driftless_core::schema::kinds;
use driftless_core::schema::shape::{Field, Shape};
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
    for served in SERVED {
        let scope = if served.namespaced() { "namespaces/{namespace}/" } else { "" };
        let path = format!("/apis/{GROUP_VERSION}/{scope}{}/{{name}}", served.plural);
        paths.insert(path, operations(served));
    }
    Json(json!({
        "openapi": "3.0.0",
        "info": {"title": "Driftless", "version": "v1"},
        "paths": paths,
        "components": {"schemas": schemas()},
    }))
}

/// The schema of every kind, by name.
pub fn schemas() -> Value {
    SERVED.iter().map(|served| (schema_name(served), schema(served))).collect::<Map<String, Value>>().into()
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

/// The schema of a kind; the fields are those that validation reads.
fn schema(served: &Served) -> Value {
    let mut schema = match kinds::by_name(served.kind.name()) {
        Some(kind) => fields_schema(kind.fields),
        // What only daemons write is described, not validated.
        None => {
            json!({"type": "object", "properties": {"spec": open(described::spec(served.kind), "What the node says.")},
            "x-kubernetes-preserve-unknown-fields": true})
        }
    };
    let status = described::status(served.kind);
    if !status.is_empty() {
        schema["properties"]["status"] =
            open(status, "What nodes report and compute; ignored in what clients write.");
    }
    schema["description"] = json!(served.about);
    schema["x-kubernetes-group-version-kind"] = json!([group_version_kind(served)]);
    schema
}

/// Fields beside which there may be others.
fn open(fields: &[Field], about: &str) -> Value {
    let mut schema = fields_schema(fields);
    schema["description"] = json!(about);
    schema["x-kubernetes-preserve-unknown-fields"] = json!(true);
    schema
}

fn fields_schema(fields: &[Field]) -> Value {
    let described = fields.iter().map(|field| {
        let mut schema = shape_schema(&field.shape);
        schema["description"] = json!(field.doc);
        (field.name.to_owned(), schema)
    });
    let properties: Map<String, Value> = described.collect();
    let required: Vec<&str> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    let mut schema = json!({"type": "object", "properties": properties});
    // OpenAPI wants the list absent where it would be empty.
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn shape_schema(shape: &Shape) -> Value {
    match shape {
        Shape::Text | Shape::Checked(_) => json!({"type": "string"}),
        Shape::Word(words) => json!({"type": "string", "enum": words}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::Integer(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
        Shape::Number => json!({"type": "number"}),
        Shape::List(item) => json!({"type": "array", "items": shape_schema(item)}),
        Shape::Map(item) => json!({"type": "object", "additionalProperties": shape_schema(item)}),
        Shape::Labels | Shape::PathMap => {
            json!({"type": "object", "additionalProperties": {"type": "string"}})
        }
        Shape::Fields(fields) => fields_schema(fields),
        Shape::Paths => json!({"type": "array", "items": {"type": "string"}}),
        Shape::Selector => selector_schema(),
        Shape::Tree => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        Shape::Scalar | Shape::Value(_) | Shape::Open => {
            json!({"x-kubernetes-preserve-unknown-fields": true})
        }
    }
}

fn selector_schema() -> Value {
    let terms = json!({"type": "array", "items": {"type": "object", "properties": {
        "key": {"type": "string", "description": "Of the label, or of the fact."},
        "operator": {
            "type": "string",
            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
            "description": "How it is compared, as in Kubernetes.",
        },
        "values": {
            "type": "array",
            "items": {"type": "string"},
            "description": "For In and NotIn, one at least; for the others none.",
        },
    }}});
    let described = |mut schema: Value, about: &str| {
        schema["description"] = json!(about);
        schema
    };
    json!({"type": "object", "properties": {
        "matchAll": described(json!({"type": "boolean"}), "true: every site; stands alone."),
        "matchLabels": described(
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            "Labels that a site carries, all of them.",
        ),
        "matchExpressions": described(terms.clone(), "Requirements on labels, all of which hold."),
        "claims": described(terms, "Requirements on facts that the site reports."),
    }})
}
