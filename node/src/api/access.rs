//! Questions of a caller about itself, in the forms of Kubernetes: may I do that, and who am I.
//!
//! kubectl asks them for `auth can-i` and `auth whoami`. The answers are those that the request itself would get from
//! the checks of roles and of what this node writes; what a resource says is not looked at.

mod protobuf;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::Response;
use driftless_core::name::{Document, Kind};
use serde::Deserialize;
use serde_json::{Value, json};

use super::caller::Right;
use super::status_error::StatusError;
use super::{Api, Caller, GROUP, Local, Served, request};

/// Verbs that change nothing.
const READS: [&str; 3] = ["get", "list", "watch"];
/// Verbs that the API has beside those.
const WRITES: [&str; 4] = ["create", "update", "patch", "delete"];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    resource_attributes: Option<ResourceAttributes>,
    non_resource_attributes: Option<NonResourceAttributes>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ResourceAttributes {
    verb: String,
    group: String,
    resource: String,
    namespace: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NonResourceAttributes {
    verb: String,
}

/// `POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews`.
pub(super) async fn access_review(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, StatusError> {
    let mut review = match request::media_type(&headers) {
        protobuf::MEDIA_TYPE => protobuf::access_review(&request::body(body).await?)
            .ok_or_else(|| StatusError::bad_request("body is no SelfSubjectAccessReview in protobuf"))?,
        _ => request::json(&headers, body).await?,
    };
    let spec: Spec = serde_json::from_value(review["spec"].clone())
        .map_err(|error| StatusError::bad_request(format!("spec: {error}")))?;
    let answer = match (spec.resource_attributes, spec.non_resource_attributes) {
        (Some(wish), None) => may(&caller, api.local(), &wish),
        (None, Some(wish)) if wish.verb == "get" => Ok(()),
        (None, Some(_)) => caller.may_administer(api.local()),
        _ => {
            return Err(StatusError::bad_request(
                "spec needs one of resourceAttributes and nonResourceAttributes",
            ));
        }
    };
    review["status"] = match answer {
        Ok(()) => json!({"allowed": true}),
        Err(why) => json!({"allowed": false, "reason": why}),
    };
    Ok(request::created(review))
}

/// `POST /apis/authentication.k8s.io/v1/selfsubjectreviews`.
pub(super) async fn subject_review(Extension(caller): Extension<Caller>) -> Response {
    request::created(json!({
        "kind": "SelfSubjectReview",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"creationTimestamp": Value::Null},
        "status": {"userInfo": {"username": caller.name, "groups": caller.roles}},
    }))
}

fn may(caller: &Caller, local: &Local, wish: &ResourceAttributes) -> Result<(), String> {
    let verb = wish.verb.as_str();
    let served = Served::by_plural(&wish.resource).filter(|_| wish.group == GROUP);
    let Some(served) = served else {
        let is_namespaces = wish.group.is_empty() && wish.resource == "namespaces";
        return match is_namespaces && READS.contains(&verb) {
            true => caller.may(Right::Read, None),
            false if is_namespaces => Err("namespaces are there as soon as something is in them".to_owned()),
            false => Err(format!("this node has no resource type {:?}", wish.resource)),
        };
    };
    if READS.contains(&verb) {
        return caller
            .may(Right::Read, Some(wish.namespace.as_str()).filter(|namespace| !namespace.is_empty()));
    }
    if !WRITES.contains(&verb) {
        return Err(format!(
            "there is no verb {verb:?} here, only {}, {}",
            READS.join(", "),
            WRITES.join(", ")
        ));
    }
    served.may_be_written()?;
    let namespace = match (served.namespaced(), wish.namespace.as_str()) {
        (false, _) => "",
        (true, "") => &local.namespace,
        (true, namespace) => namespace,
    };
    if !wish.name.is_empty() {
        let document =
            Document::new(served.kind, namespace, &wish.name).map_err(|error| error.to_string())?;
        return caller.may_write_document(local, &document);
    }
    let mut refusal = None;
    for document in examples(local, served.kind, namespace) {
        match caller.may_write_document(local, &document) {
            Ok(()) => return Ok(()),
            Err(why) => refusal = Some(why),
        }
    }
    Err(refusal.unwrap_or_else(|| format!("nothing of {} is written here", served.plural)))
}

/// Names that stand for all that a kind can have: of nobody in particular, and of the node's own site.
fn examples(local: &Local, kind: Kind, namespace: &str) -> impl Iterator<Item = Document> {
    let site = local.site.as_ref().map_or("any", |(_, site)| site.as_str());
    [format!("{site}.local"), site.to_owned()]
        .into_iter()
        .filter_map(move |name| Document::new(kind, namespace, &name).ok())
}
