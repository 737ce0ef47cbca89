//! `GET /v1/changes?since=N`: which documents changed after a position, waiting if none did.
//!
//! The answer names documents, not their content; whoever is interested reads them. `since` and `position`
//! are `resourceVersion`s, so another replica's are refused as they are in watches.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::Uri;
use serde::Deserialize;
use serde_json::{Value, json};

use super::server::Stop;
use super::time::parse_duration;
use super::{Api, StatusError, request};

/// Longest wait.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Wait unless the client says.
const WAIT_DEFAULT_MS: u64 = 30_000;
/// Most changes in one answer, unless the client wants fewer.
const CHANGES_MAX: usize = 1_000;

#[derive(Deserialize)]
struct ChangesQuery {
    #[serde(default)]
    since: String,
    wait: Option<String>,
    limit: Option<usize>,
}

/// Answers at once if something changed, else when something does, else empty when the wait is over.
pub(super) async fn changes(
    State(api): State<Api>,
    stop: Option<Extension<Stop>>,
    uri: Uri,
) -> Result<Json<Value>, StatusError> {
    let query: ChangesQuery = request::query(&uri)?;
    let wait = wait(query.wait.as_deref(), WAIT_DEFAULT_MS)?;
    let limit = query.limit.unwrap_or(CHANGES_MAX).clamp(1, CHANGES_MAX);
    let since = api.versions().parse(&query.since)?;
    let mut positions = api.backend().positions();
    let since = since.unwrap_or(*positions.borrow());
    if *positions.borrow() <= since {
        let _permit = waiter(&api)?;
        let grown = async { drop(positions.wait_for(|position| *position > since).await) };
        wait_for(grown, wait, stop).await;
    }
    let (changes, position) = api.read(move |held| (held.changes(since, limit), held.position())).await?;
    let changes = changes.map_err(|error| StatusError::expired(error.to_string()))?;
    let last = match changes.last() {
        Some(last) if changes.len() == limit => last.position,
        _ => position,
    };
    let entries: Vec<Value> = changes
        .iter()
        .map(|change| {
            json!({
                "kind": change.document.kind().name(),
                "namespace": change.document.namespace(),
                "name": change.document.name(),
                "deleted": change.deleted,
                "created": change.created,
                "resourceVersion": api.versions().format(change.position),
            })
        })
        .collect();
    Ok(Json(json!({"changes": entries, "position": api.versions().format(last)})))
}

/// Waits for something, until the client's patience ends or the node stops: in every case the answer is
/// what there is then.
pub(super) async fn wait_for(news: impl Future<Output = ()>, wait: Duration, stop: Option<Extension<Stop>>) {
    let mut stop = stop.map(|Extension(stop)| stop);
    tokio::select! {
        () = news => {}
        () = tokio::time::sleep(wait) => {}
        () = Stop::stopped(&mut stop) => {}
    }
}

/// Reads how long a client wants to wait.
pub(super) fn wait(text: Option<&str>, default_ms: u64) -> Result<Duration, StatusError> {
    let ms = match text {
        None => default_ms,
        Some(text) => parse_duration(text)
            .ok_or_else(|| StatusError::bad_request(format!("wait: {text:?} is no duration such as 60s")))?,
    };
    Ok(Duration::from_millis(ms).min(WAIT_MAX))
}

/// Room for one that waits.
pub(super) fn waiter(api: &Api) -> Result<tokio::sync::OwnedSemaphorePermit, StatusError> {
    std::sync::Arc::clone(&api.0.waiters)
        .try_acquire_owned()
        .map_err(|_| StatusError::too_many_requests("this node serves 1024 watches and long polls at a time"))
}
