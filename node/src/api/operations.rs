//! Endpoints that the node itself answers: status, peers, cutting links, tokens, revoking keys.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::status_error::{Named, StatusError};
use super::time::parse_duration;
use super::{Api, Caller, Operation, request};

type Answer = Result<Json<Value>, StatusError>;

/// Changes that a fleet at a glance shows.
const CHANGES_SHOWN: usize = 5;

/// `GET /readyz`: 200 from the moment at which the node says `ready`: it answers reads, and writes as soon as it
/// holds its enrolment, which a node that has just joined may still be waiting for.
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    match api.backend().ready() {
        Ok(()) => "ok".into_response(),
        Err(why) => StatusError::unavailable(format!("not ready: {why}")).into_response(),
    }
}

/// `GET /v1/whoami`.
pub(super) async fn whoami(State(api): State<Api>, Extension(caller): Extension<Caller>) -> Json<Value> {
    let may_write = caller.may_write(api.local());
    Json(json!({
        "name": caller.name,
        "roles": caller.roles,
        "mayWrite": may_write.is_ok(),
        "why": may_write.err(),
        "node": api.local().node,
        "fleet": api.local().fleet.to_string(),
    }))
}

/// `GET /v1/status`.
pub(super) async fn status(State(api): State<Api>) -> Answer {
    let Json(mut status) = operate(&api, Operation::Status).await?;
    // Only hubs know of other sites.
    if api.local().site.is_none() {
        status["changes"] = api.progress(CHANGES_SHOWN).await?.into();
    }
    Ok(Json(status))
}

/// `GET /v1/peers`.
pub(super) async fn peers(State(api): State<Api>) -> Answer {
    operate(&api, Operation::Peers).await
}

/// `POST /v1/peers/cut`: `{"peer": NAME | "all", "for": "10m"}`.
pub(super) async fn cut(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let by = administrator(&api, caller, "peers")?;
    let link: Link = link(&headers, body).await?;
    let for_ms = link.duration.as_deref().map(|text| {
        parse_duration(text)
            .ok_or_else(|| StatusError::bad_request(format!("for: {text:?} is no duration such as 10m")))
    });
    operate(&api, Operation::Cut { peer: link.peer(), for_ms: for_ms.transpose()?, by }).await
}

/// `POST /v1/peers/heal`: `{"peer": NAME | "all"}`.
pub(super) async fn heal(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let by = administrator(&api, caller, "peers")?;
    let link = link(&headers, body).await?;
    operate(&api, Operation::Heal { peer: link.peer(), by }).await
}

/// `GET /v1/tokens`.
pub(super) async fn tokens(State(api): State<Api>, Extension(caller): Extension<Caller>) -> Answer {
    // Who may not issue tokens need not know which there are.
    administrator(&api, caller, "tokens")?;
    operate(&api, Operation::Tokens).await
}

/// `POST /v1/tokens`.
pub(super) async fn token_create(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, StatusError> {
    let by = administrator(&api, caller, "tokens")?;
    let request = request::json(&headers, body).await?;
    let Json(token) = operate(&api, Operation::TokenCreate { request, by }).await?;
    Ok(request::created(token))
}

/// `DELETE /v1/tokens/{id}`.
pub(super) async fn token_revoke(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer {
    let by = administrator(&api, caller, "tokens")?;
    operate(&api, Operation::TokenRevoke { id, by }).await
}

/// `POST /v1/revoke`: `{"hub": NAME}`, `{"site": NAME, "namespace": NAMESPACE, "node": NODE}` or `{"key": KEY}`.
pub(super) async fn revoke(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let by = administrator(&api, caller, "revocations")?;
    let request = request::json(&headers, body).await?;
    operate(&api, Operation::Revoke { request, by }).await
}

async fn operate(api: &Api, operation: Operation) -> Answer {
    api.backend().operate(operation).await.map(Json)
}

fn administrator(api: &Api, caller: Caller, plural: &'static str) -> Result<String, StatusError> {
    let named = Named { plural, kind: plural, name: &api.local().node };
    caller.may_administer(api.local()).map_err(|why| StatusError::forbidden(named, &why))?;
    Ok(caller.name)
}

#[derive(Deserialize)]
struct Link {
    peer: String,
    #[serde(rename = "for")]
    duration: Option<String>,
}

impl Link {
    fn peer(&self) -> Option<String> {
        (self.peer != "all").then(|| self.peer.clone())
    }
}

async fn link(headers: &HeaderMap, body: Body) -> Result<Link, StatusError> {
    let value = request::json(headers, body).await?;
    serde_json::from_value(value)
        .map_err(|error| StatusError::bad_request(format!("expected {{\"peer\": NAME or \"all\"}}: {error}")))
}
