//! `GET /v1/config`: what an edge runs, for programs of the site.
//!
//! The ETag is the `configHash`; with `If-None-Match` and `?wait=60s` the answer comes when there is
//! another configuration, or 304 when the wait is over.

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;

use super::changes::{wait, wait_for, waiter};
use super::server::Stop;
use super::{Api, StatusError, request};

#[derive(Deserialize)]
struct ConfigQuery {
    wait: Option<String>,
}

/// Answers with the active configuration.
pub(super) async fn config(
    State(api): State<Api>,
    stop: Option<Extension<Stop>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, StatusError> {
    let query: ConfigQuery = request::query(&uri)?;
    let wait = wait(query.wait.as_deref(), 0)?;
    let Some(mut active) = api.backend().active() else {
        return Err(StatusError::bad_request(
            "this node is a hub and runs no configuration; ask an edge, or POST /v1/resolve for what a site should run",
        ));
    };
    let known: Vec<String> = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"').to_owned())
        .collect();
    let is_news = |active: &Option<std::sync::Arc<Value>>| match active {
        Some(active) => !known.iter().any(|tag| tag == hash_of(active)),
        None => false,
    };
    if !wait.is_zero() && !is_news(&active.borrow()) {
        let _permit = waiter(&api)?;
        let news = async { drop(active.wait_for(|active| is_news(active)).await) };
        wait_for(news, wait, stop).await;
    }
    let current = active.borrow().clone();
    let Some(current) = current else {
        return Err(StatusError::unavailable(
            "this edge runs no configuration yet; see its site's conditions",
        ));
    };
    let etag = HeaderValue::from_str(&format!("\"{}\"", hash_of(&current))).map_err(StatusError::internal)?;
    Ok(match is_news(&Some(std::sync::Arc::clone(&current))) {
        true => ([(header::ETAG, etag)], axum::Json(&*current)).into_response(),
        false => (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response(),
    })
}

fn hash_of(active: &Value) -> &str {
    active["configHash"].as_str().unwrap_or_default()
}
