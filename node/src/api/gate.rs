//! What every request passes: who is it, is there room, is the replica fresh enough; and the headers
//! that every answer carries.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::caller::Right;
use super::request::query;
use super::status_error::{Named, StatusError};
use super::time::{human_duration, parse_duration, rfc3339};
use super::{Api, Freshness};

/// Paths that answer anybody.
const OPEN_PATHS: [&str; 3] = ["/healthz", "/readyz", "/version"];

const POSITION: HeaderName = HeaderName::from_static("x-driftless-position");
const AS_OF: HeaderName = HeaderName::from_static("x-driftless-as-of");
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-driftless-last-contact");
const NODE: HeaderName = HeaderName::from_static("x-driftless-node");

/// The middleware.
pub(super) async fn gate(State(api): State<Api>, request: Request, next: Next) -> Response {
    let mut response = match admit(&api, request) {
        Ok((request, permit)) => {
            let response = next.run(request).await;
            // The body of a watch outlives this; it holds a permit of its own.
            drop(permit);
            response
        }
        Err(error) => error.into_response(),
    };
    api.0.counters.answered(response.status());
    say_how_fresh(&api, response.headers_mut());
    response
}

fn admit(
    api: &Api,
    mut request: Request,
) -> Result<(Request, Option<tokio::sync::OwnedSemaphorePermit>), StatusError> {
    if OPEN_PATHS.contains(&request.uri().path()) {
        return Ok((request, None));
    }
    if request.extensions().get::<super::Caller>().is_none() {
        let caller = bearer(request.headers()).and_then(|token| api.backend().bearer(token));
        request.extensions_mut().insert(caller.ok_or_else(StatusError::unauthorized)?);
    }
    if let Some(caller) = request.extensions().get::<super::Caller>() {
        check_reading(caller, request.uri().path())?;
    }
    check_staleness(api, request.uri())?;
    let permit = std::sync::Arc::clone(&api.0.requests).try_acquire_owned();
    let permit =
        permit.map_err(|_| StatusError::too_many_requests("this node answers 256 requests at a time"))?;
    Ok((request, Some(permit)))
}

/// Whoever may read in some namespaces only is let through to what names one of these in its path, and to what
/// tells of no namespace.
fn check_reading(caller: &super::Caller, path: &str) -> Result<(), StatusError> {
    let Err(why) = caller.may(Right::Read, None) else { return Ok(()) };
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let namespace = match parts[..] {
        ["v1", "whoami"] | ["openapi", ..] | ["api" | "apis"] | ["api", "v1"] => return Ok(()),
        ["apis", "authorization.k8s.io" | "authentication.k8s.io", ..] | ["apis", _] => return Ok(()),
        ["apis", _, _] => return Ok(()),
        // These look at the caller themselves: what is asked for is not in the path.
        ["v1", "audit"] | ["v1", "revert", _] => return Ok(()),
        // Names its namespaces in its body, and checks them itself.
        ["v1", "impact"] => return Ok(()),
        ["apis", _, _, "namespaces", namespace, _, ..] => namespace,
        ["v1", "blame" | "history" | "trace" | "progress", _, namespace, _] => namespace,
        _ => return Err(StatusError::forbidden(unnamed(), &why)),
    };
    caller.may(Right::Read, Some(namespace)).map_err(|why| StatusError::forbidden(unnamed(), &why))
}

fn unnamed() -> Named<'static> {
    Named { plural: "namespaces", kind: "Namespace", name: "" }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ").map(str::trim)
}

#[derive(Deserialize)]
struct StalenessQuery {
    #[serde(rename = "max-staleness")]
    max_staleness: Option<String>,
}

fn check_staleness(api: &Api, uri: &Uri) -> Result<(), StatusError> {
    let Some(text) = query::<StalenessQuery>(uri)?.max_staleness else { return Ok(()) };
    let limit_ms = parse_duration(&text).ok_or_else(|| {
        StatusError::bad_request(format!("max-staleness: {text:?} is no duration such as 30s"))
    })?;
    let Some(as_of_ms) = api.backend().freshness().as_of_ms else {
        return Err(StatusError::unavailable(
            "this node cannot say how stale it is: it has not been in sync with a hub since it started",
        ));
    };
    let age_ms = api.now_ms().saturating_sub(as_of_ms);
    match age_ms > limit_ms {
        true => Err(StatusError::unavailable(format!(
            "what this node knows is {} old, more than the {text} asked for",
            human_duration(age_ms)
        ))),
        false => Ok(()),
    }
}

fn say_how_fresh(api: &Api, headers: &mut HeaderMap) {
    let Freshness { as_of_ms, last_contact_ms } = api.backend().freshness();
    let time = |time_ms: Option<u64>| time_ms.map_or("unknown".to_owned(), rfc3339);
    let position = *api.backend().positions().borrow();
    for (name, value) in [
        (POSITION, position.to_string()),
        (AS_OF, time(as_of_ms)),
        (LAST_CONTACT, time(last_contact_ms)),
        (NODE, api.local().node.clone()),
    ] {
        // Node names are host names; one that cannot stand in a header is left out, not mangled.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}
