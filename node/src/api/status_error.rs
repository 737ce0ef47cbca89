//! Refusals in the shape that kubectl understands: a `Status` object with code, reason and details.
//!
//! Every error that leaves the API is one of these, so that a client can always tell what happened.
//! The constructors are the whole vocabulary: reasons are those of `meta/v1`, nothing invented.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// A field of a resource that is not acceptable, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Where, as people write paths: `spec.priority`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// What a resource is called in messages: `profiles.driftless.dev "store-base"`.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// Plural, as in the URL.
    pub plural: &'a str,
    /// Kind, as in the resource.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// A refusal. Nothing was changed by the request that it answers.
#[derive(Debug, Clone)]
pub struct StatusError {
    code: StatusCode,
    reason: &'static str,
    message: String,
    details: Value,
    retry_after_s: Option<u32>,
}

impl StatusError {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null, retry_after_s: None }
    }

    fn about(mut self, named: Named<'_>) -> Self {
        self.details = json!({"name": named.name, "group": super::GROUP, "kind": named.plural});
        self
    }

    /// The request itself makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// The client presented nothing that says who it is.
    pub fn unauthorized() -> Self {
        let message = "no client certificate or bearer token of this fleet; use the kubeconfig of the node's data directory";
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", message)
    }

    /// This node, or this person, may not do that.
    pub fn forbidden(named: Named<'_>, why: &str) -> Self {
        let message = format!("{}.{} {:?} is forbidden: {why}", named.plural, super::GROUP, named.name);
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).about(named)
    }

    /// No such resource.
    pub fn not_found(named: Named<'_>) -> Self {
        let message = format!("{}.{} {:?} not found", named.plural, super::GROUP, named.name);
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).about(named)
    }

    /// No such path.
    pub fn no_such_path(path: &str) -> Self {
        let message = format!("the server could not find the requested resource ({path})");
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// What was asked about is not there.
    pub fn absent(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// The question makes sense and what it is about cannot be worked out.
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    /// The path exists, the method does not.
    pub fn method_not_allowed(method: &str) -> Self {
        let message = format!("{method} is not allowed on this path");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// Creation of what exists.
    pub fn already_exists(named: Named<'_>) -> Self {
        let message = format!("{}.{} {:?} already exists", named.plural, super::GROUP, named.name);
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).about(named)
    }

    /// The resource changed since the client read it.
    pub fn conflict(named: Named<'_>) -> Self {
        let message = format!(
            "operation cannot be fulfilled on {}.{} {:?}: the object has been modified; please apply your changes to the latest version and try again",
            named.plural,
            super::GROUP,
            named.name
        );
        Self::new(StatusCode::CONFLICT, "Conflict", message).about(named)
    }

    /// A `resourceVersion` of another replica, of an earlier run, or too old.
    pub fn expired(why: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", why)
    }

    /// The resource breaks its schema.
    pub fn invalid(named: Named<'_>, causes: Vec<Cause>) -> Self {
        let said: Vec<String> =
            causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let message = match said.as_slice() {
            [] => format!("{} {:?} is invalid", named.kind, named.name),
            [one] => format!("{} {:?} is invalid: {one}", named.kind, named.name),
            many => format!("{} {:?} is invalid: [{}]", named.kind, named.name, many.join(", ")),
        };
        let causes: Vec<Value> = causes
            .into_iter()
            .map(|cause| {
                json!({"reason": "FieldValueInvalid", "message": cause.message, "field": cause.field})
            })
            .collect();
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).about(named);
        error.details["kind"] = json!(named.kind);
        error.details["causes"] = Value::Array(causes);
        error
    }

    /// A change that reaches further than the client allowed.
    pub fn too_many_sites(message: impl Into<String>) -> Self {
        // Not a conflict: clients would try that again by themselves.
        let mut error = Self::new(StatusCode::FORBIDDEN, "Forbidden", message);
        error.details = json!({"causes": [{"reason": "TooManySites", "field": "maxSites"}]});
        error
    }

    /// More bytes than the named limit.
    pub fn too_large(limit: &str) -> Self {
        let message = format!("request is too large: {limit}");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    /// A content type that this node does not read.
    pub fn unsupported_media_type(found: &str, accepted: &str) -> Self {
        let message = format!("content type {found:?} is not supported here; send one of: {accepted}");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    /// More work than the named limit; the client may come back.
    pub fn too_many_requests(limit: &str) -> Self {
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", limit);
        error.retry_after_s = Some(1);
        error
    }

    /// This node cannot answer as asked, now.
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", why)
    }

    /// This node cannot do that yet; the client may come back.
    pub fn not_yet(why: impl Into<String>) -> Self {
        Self { retry_after_s: Some(1), ..Self::unavailable(why) }
    }

    /// A disk or an invariant failed here.
    pub fn internal(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", format!("internal error: {what}"))
    }

    /// The HTTP status.
    pub fn code(&self) -> StatusCode {
        self.code
    }

    /// The reason, a word of `meta/v1`.
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// What it says.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The `Status` object.
    pub fn to_json(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code.as_u16(),
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        if let Some(seconds) = self.retry_after_s {
            // Indexing makes the object where there are no details yet.
            status["details"]["retryAfterSeconds"] = json!(seconds);
        }
        status
    }
}

impl std::fmt::Display for StatusError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.reason)
    }
}

impl std::error::Error for StatusError {}

impl IntoResponse for StatusError {
    fn into_response(self) -> Response {
        let mut response = (self.code, axum::Json(self.to_json())).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE_BASE: Named<'_> = Named { plural: "profiles", kind: "Profile", name: "store-base" };

    #[test]
    fn a_missing_profile_is_named_in_full() {
        let status = StatusError::not_found(STORE_BASE).to_json();
        assert_eq!(status["message"], "profiles.driftless.dev \"store-base\" not found");
        assert_eq!(status["reason"], "NotFound");
        assert_eq!(status["code"], 404);
        assert_eq!(status["details"]["kind"], "profiles");
    }

    #[test]
    fn an_invalid_profile_lists_every_cause() {
        let cause = |field: &str| Cause { field: field.into(), message: "required".into() };
        let status =
            StatusError::invalid(STORE_BASE, vec![cause("spec.priority"), cause("spec.selector")]).to_json();
        assert_eq!(status["code"], 422);
        assert_eq!(status["details"]["causes"].as_array().map(Vec::len), Some(2));
        assert_eq!(
            status["message"],
            "Profile \"store-base\" is invalid: [spec.priority: required, spec.selector: required]"
        );
    }

    #[test]
    fn a_busy_node_says_when_to_come_back() {
        let response = StatusError::too_many_requests("256 requests at once").into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
