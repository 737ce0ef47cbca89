//! Reading requests: query, body, media types. Everything malformed becomes a `Status`.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use driftless_core::name::Document;
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::kinds::Served;
use super::limit::MaxSites;
use super::status_error::{Named, StatusError};
use super::table::RowObject;
use super::{Api, BODY_BYTES_MAX};

/// Longest wait for a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of a body that is too large is read, so that its sender can be told.
const DROPPED_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;

/// Answers paths that do not exist.
pub(super) async fn no_such_path(uri: Uri) -> StatusError {
    StatusError::no_such_path(uri.path())
}

/// Answers methods that a path does not have.
pub(super) async fn method_not_allowed(method: Method) -> StatusError {
    StatusError::method_not_allowed(method.as_str())
}

/// Reads the query of a request.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, StatusError> {
    match Query::<T>::try_from_uri(uri) {
        Ok(Query(query)) => Ok(query),
        Err(error) => Err(StatusError::bad_request(error.body_text())),
    }
}

/// Reads a body within the limits, as bytes.
pub(super) async fn body(body: Body) -> Result<Bytes, StatusError> {
    match tokio::time::timeout(BODY_TIMEOUT, within_limit(body)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(StatusError::too_large("a request body holds at most 3 MiB")),
        Ok(Err(error)) => Err(StatusError::bad_request(format!("body could not be read: {error}"))),
        Err(_) => Err(StatusError::bad_request("body did not arrive within 60 s")),
    }
}

/// Reads a body; `None` if it is too large. Some of what is too much is read and dropped: a client that still
/// sends when the connection is closed sees a reset and not the answer.
async fn within_limit(body: Body) -> Result<Option<Bytes>, axum::Error> {
    let (mut frames, mut kept, mut seen) = (body.into_data_stream(), Vec::new(), 0);
    while let Some(frame) = frames.next().await {
        let frame = frame?;
        seen += frame.len();
        if seen <= BODY_BYTES_MAX {
            kept.extend_from_slice(&frame);
        } else if seen > DROPPED_BYTES_MAX {
            break;
        } else {
            kept = Vec::new();
        }
    }
    Ok((seen <= BODY_BYTES_MAX).then(|| kept.into()))
}

/// Reads a body as JSON; an absent one is null.
pub(super) async fn json(headers: &HeaderMap, raw: Body) -> Result<Value, StatusError> {
    let bytes = body(raw).await?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    match media_type(headers) {
        "" | "application/json" => parse(&bytes),
        other => Err(StatusError::unsupported_media_type(other, "application/json")),
    }
}

/// Parses JSON.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, StatusError> {
    serde_json::from_slice(bytes)
        .map_err(|error| StatusError::bad_request(format!("body is no JSON: {error}")))
}

/// The media type of a request's body, without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Whether the client wants a `Table`; the first alternative that we know decides.
pub(super) fn wants_table(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    for alternative in accept.split(',') {
        let mut parameters = alternative.split(';').map(str::trim);
        match parameters.next() {
            Some("application/json" | "*/*" | "application/*") => {}
            _ => continue,
        }
        let table_of_v1 = parameters.fold((false, false, true), |(table, v1, group), parameter| {
            match parameter.split_once('=') {
                Some(("as", form)) => (form == "Table", v1, group),
                Some(("v", version)) => (table, version == "v1", group),
                Some(("g", name)) => (table, v1, name == "meta.k8s.io"),
                _ => (table, v1, group),
            }
        });
        match table_of_v1 {
            (true, true, true) => return true,
            // Plain JSON; a Table of a version that we do not know is passed over.
            (false, _, _) => return false,
            _ => {}
        }
    }
    false
}

/// What list and watch requests say.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ListQuery {
    pub(super) label_selector: String,
    pub(super) field_selector: String,
    pub(super) watch: Option<String>,
    pub(super) resource_version: String,
    pub(super) resource_version_match: String,
    pub(super) allow_watch_bookmarks: Option<String>,
    pub(super) send_initial_events: Option<String>,
    pub(super) timeout_seconds: Option<u64>,
    pub(super) include_object: Option<String>,
    /// Ours: a moment, as [`super::past::moment`] reads it; now unless given.
    pub(super) at: Option<String>,
    #[serde(rename = "continue")]
    pub(super) continued: String,
}

impl ListQuery {
    pub(super) fn rows(&self) -> RowObject {
        RowObject::parse(self.include_object.as_deref())
    }
}

/// Whether a parameter says yes, as Go's clients write it.
pub(super) fn is_true(parameter: Option<&str>) -> bool {
    matches!(parameter, Some("true" | "1" | "True" | "t" | "T"))
}

/// What write requests say.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WriteQuery {
    dry_run: Option<String>,
    /// Ours: why, in the client's words; becomes the event's reason.
    pub(super) reason: String,
    /// Ours: refuse if more sites than this would change.
    max_sites: Option<String>,
}

impl WriteQuery {
    pub(super) fn max_sites(&self) -> Result<Option<MaxSites>, StatusError> {
        MaxSites::parse(self.max_sites.as_deref())
    }

    pub(super) fn dry_run(&self) -> Result<bool, StatusError> {
        match self.dry_run.as_deref() {
            None | Some("") => Ok(false),
            Some("All") => Ok(true),
            Some(other) => {
                Err(StatusError::bad_request(format!("dryRun: {other:?} is not supported, only \"All\"")))
            }
        }
    }
}

/// Which resource, or list of resources, a path names.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) served: &'static Served,
    /// `None`: all namespaces, or a kind that has none.
    pub(super) namespace: Option<String>,
}

/// The parts of a path that name a resource.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ResourcePath {
    plural: String,
    namespace: Option<String>,
    name: Option<String>,
}

impl ResourcePath {
    /// The kind and namespace; a kind that has namespaces is never found without one here but by `list`.
    pub(super) fn target(&self) -> Result<Target, StatusError> {
        let missing = || StatusError::no_such_path(&format!("{}/{}", super::GROUP_VERSION, self.plural));
        let served = Served::by_plural(&self.plural).ok_or_else(missing)?;
        if !served.namespaced() && self.namespace.is_some() {
            return Err(missing());
        }
        Ok(Target { served, namespace: self.namespace.clone() })
    }

    /// The one resource that the path names.
    pub(super) fn document(&self, api: &Api) -> Result<(Target, Document), StatusError> {
        let mut target = self.target()?;
        let name = self.name.as_deref().unwrap_or_default();
        if target.served.namespaced() && target.namespace.is_none() {
            target.namespace = Some(api.local().namespace.clone());
        }
        let namespace = target.namespace.as_deref().unwrap_or_default();
        let named = target.named(name);
        match Document::new(target.served.kind, namespace, name) {
            Ok(document) => Ok((target, document)),
            // A name that cannot exist does not exist.
            Err(_) => Err(StatusError::not_found(named)),
        }
    }
}

impl Target {
    pub(super) fn named<'a>(&self, name: &'a str) -> Named<'a> {
        Named { plural: self.served.plural, kind: self.served.kind.name(), name }
    }
}

/// A JSON answer with a status other than 200.
pub(super) fn created(value: Value) -> Response {
    (axum::http::StatusCode::CREATED, axum::Json(value)).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn accepts(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, value.parse().unwrap());
        wants_table(&headers)
    }

    #[test]
    fn tables_are_for_those_who_ask_in_a_version_that_we_speak() {
        assert!(accepts(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
        ));
        assert!(accepts(
            "application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json;g=meta.k8s.io;v=v1;as=Table"
        ));
        assert!(!accepts("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"));
        assert!(!accepts("application/json"));
        assert!(!accepts("application/json, application/json;as=Table;v=v1;g=meta.k8s.io"));
        assert!(!accepts(""));
    }

    #[test]
    fn queries_that_make_no_sense_are_bad_requests() {
        let uri = |text: &'static str| Uri::from_static(text);
        let list: ListQuery =
            query(&uri("/x?labelSelector=a%3Db&watch=true&timeoutSeconds=5&unknown=1")).unwrap();
        assert_eq!((list.label_selector.as_str(), list.timeout_seconds), ("a=b", Some(5)));
        assert!(is_true(list.watch.as_deref()));
        assert_eq!(query::<ListQuery>(&uri("/x?timeoutSeconds=soon")).unwrap_err().reason(), "BadRequest");
        let write: WriteQuery = query(&uri("/x?dryRun=Some")).unwrap();
        assert!(write.dry_run().is_err());
    }
}
