//! `GET /v1/digest`: the digest of every scope held, which `verify` compares between nodes.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Api, StatusError, request};

#[derive(Deserialize)]
struct DigestQuery {
    /// Only scopes whose text begins like this, such as `sites/acme/`.
    #[serde(default)]
    prefix: String,
}

/// Scopes by name with their digests, and one digest over all of those named.
pub(super) async fn digest(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, StatusError> {
    let DigestQuery { prefix } = request::query(&uri)?;
    let digests = api
        .read(move |held| {
            let named = held.scopes().map(|scope| (scope.to_string(), held.digest(scope)));
            named.filter(|(name, _)| name.starts_with(&prefix)).collect::<std::collections::BTreeMap<_, _>>()
        })
        .await?;
    let mut hasher = blake3::Hasher::new_derive_key("driftless digest of scopes v1");
    for (name, digest) in &digests {
        hasher.update(&(name.len() as u64).to_be_bytes()).update(name.as_bytes()).update(&digest.0);
    }
    let scopes: Map<String, Value> =
        digests.iter().map(|(name, digest)| (name.clone(), json!(digest.to_string()))).collect();
    Ok(Json(json!({
        "node": api.local().node,
        "digest": hasher.finalize().to_hex().as_str(),
        "scopes": scopes,
    })))
}
