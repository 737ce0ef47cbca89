//! `GET /v1/digest`: the digest of every scope held, which `verify` compares between nodes; with `held`,
//! also what the store really gives back of them.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use driftless_core::name::Scope;
use driftless_core::replica::{SCRUB_STEP_BYTES, Scrubbed};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Api, StatusError, request};

#[derive(Deserialize)]
struct DigestQuery {
    /// Only scopes whose text begins like this, such as `sites/acme/`.
    #[serde(default)]
    prefix: String,
    /// Whether the log is read back for the held-set hash of each scope.
    #[serde(default)]
    held: HeldQuery,
}

#[derive(Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum HeldQuery {
    /// Not at all.
    #[default]
    No,
    /// Where that was not done since the scope last changed.
    Known,
    /// In any case.
    Read,
}

/// Scopes by name with their digests, and one digest over all of those named.
pub(super) async fn digest(State(api): State<Api>, uri: Uri) -> Result<Json<Value>, StatusError> {
    let DigestQuery { prefix, held } = request::query(&uri)?;
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
    let mut answer = json!({
        "node": api.local().node,
        "digest": hasher.finalize().to_hex().as_str(),
        "scopes": scopes,
    });
    if held != HeldQuery::No {
        let (hashes, missing) =
            read_back(&api, digests.into_keys().collect(), held == HeldQuery::Read).await?;
        answer["held"] = hashes.into();
        answer["missing"] = missing.into();
    }
    Ok(Json(answer))
}

/// Held-set hashes by scope, each with the digest that it belongs to, and how many events are missing of
/// those scopes that miss any. In small steps, so that others are served in between.
async fn read_back(
    api: &Api,
    scopes: Vec<String>,
    afresh: bool,
) -> Result<(Map<String, Value>, Map<String, Value>), StatusError> {
    let (mut hashes, mut missing) = (Map::new(), Map::new());
    for name in scopes {
        let Ok(scope) = name.parse::<Scope>() else { continue };
        let of = scope.clone();
        let known = api.read(move |held| held.scrubbed(&of).cloned()).await?.filter(|_| !afresh);
        let found = match known {
            Some(known) => Some(known),
            None => scrub(api, scope).await?,
        };
        // A scope may have been left in between.
        let Some(found) = found else { continue };
        hashes.insert(name.clone(), json!(format!("{} {}", found.digest, found.held)));
        if found.missing > 0 {
            missing.insert(name, json!(found.missing));
        }
    }
    Ok((hashes, missing))
}

/// Reads one scope back in steps.
async fn scrub(api: &Api, scope: Scope) -> Result<Option<Scrubbed>, StatusError> {
    let Some(mut scrub) = api.read(move |held| held.begin_scrub(&scope)).await? else { return Ok(None) };
    loop {
        let step = api.write(move |held| {
            let found = held.scrub_part(&mut scrub, SCRUB_STEP_BYTES);
            (scrub, found)
        });
        let (under_way, found) = step.await?;
        if let Some(found) = found.map_err(StatusError::internal)? {
            return Ok(Some(found));
        }
        scrub = under_way;
    }
}
