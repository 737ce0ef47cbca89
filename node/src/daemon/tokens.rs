//! The join tokens that this hub minted: one record each in the store, never replicated.

use std::time::Duration;

use driftless_core::store::StoreError;
use serde_json::{Value, json};

use super::Runtime;
use super::clock::now_seconds;
use crate::api::{Held, StatusError};
use crate::identity::{SitePattern, Token, TokenId, TokenPurpose, TokenRecord, TokenSpec};

/// How long a token is good for unless its request says otherwise.
const LIFETIME: Duration = Duration::from_secs(3_600);
/// Prefix of the records' names.
const PREFIX: &str = "token/";

fn name(id: TokenId) -> String {
    format!("{PREFIX}{id}")
}

/// The record of a token, if this hub minted it.
pub(super) fn load(replica: &Held, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
    let Some(bytes) = replica.local(&name(id))? else { return Ok(None) };
    TokenRecord::from_bytes(&bytes)
        .map(Some)
        .map_err(|error| StoreError::Damaged { key: None, reason: format!("token {id}: {error}") })
}

/// Keeps a record; durable when it returns.
pub(super) fn store(replica: &mut Held, record: &TokenRecord) -> Result<(), StoreError> {
    replica.set_local(&name(record.id()), Some(record.to_bytes()))
}

fn all(replica: &Held) -> Result<Vec<TokenRecord>, StoreError> {
    let names = replica.local_names(PREFIX)?;
    let ids = names.iter().filter_map(|name| name.strip_prefix(PREFIX)?.parse().ok());
    ids.filter_map(|id| load(replica, id).transpose()).collect()
}

/// The request of `token create`, as the API takes it: `role`, `site` or `newSites`, `namespace`,
/// `region`, `labels`, `uses`, `ttlSeconds`.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Request {
    role: String,
    site: Option<String>,
    new_sites: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    region: Option<String>,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
    uses: Option<u32>,
    ttl_seconds: Option<u64>,
}

impl Runtime {
    /// Mints a token and answers `{id, token, expires}`; its record is durable by then.
    pub(super) async fn mint(&self, request: Value) -> Result<Value, StatusError> {
        let request: Request =
            serde_json::from_value(request).map_err(|error| StatusError::bad_request(error.to_string()))?;
        let identity = self.identity();
        let spec = self.spec(request)?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| StatusError::internal(error.to_string()))?;
        let now = now_seconds();
        let (token, record) = Token::mint(&identity, spec, now, random)
            .map_err(|error| StatusError::bad_request(error.to_string()))?;
        let expires = record.spec().expires;
        let stored = self.owner.write_async(move |node| store(&mut node.replica, &record)).await;
        stored
            .map_err(|error| StatusError::unavailable(error.to_string()))?
            .map_err(|error| StatusError::internal(error.to_string()))?;
        Ok(json!({"id": token.id().to_string(), "token": token.as_str(), "expires": expires}))
    }

    fn spec(&self, request: Request) -> Result<TokenSpec, StatusError> {
        let bad = |message: &str| Err(StatusError::bad_request(message));
        let uses = request.uses.unwrap_or(1);
        let purpose = match (request.role.as_str(), request.site, request.new_sites) {
            ("hub", None, None) => TokenPurpose::Hub,
            ("hub", ..) => return bad("a token for a hub names no site"),
            ("edge", Some(site), None) => TokenPurpose::Edge {
                namespace: request.namespace.unwrap_or_else(|| "default".to_owned()),
                site: SitePattern::Named(site),
                labels: request.labels,
            },
            ("edge", None, Some(pattern)) => TokenPurpose::Edge {
                namespace: request.namespace.unwrap_or_else(|| "default".to_owned()),
                site: SitePattern::New(pattern),
                labels: request.labels,
            },
            ("edge", ..) => return bad("a token for an edge names either a site or a pattern of new sites"),
            _ => return bad("role is edge or hub"),
        };
        let region = request.region.unwrap_or_else(|| self.region());
        let addresses = self.own_addresses();
        let lifetime = request.ttl_seconds.unwrap_or(LIFETIME.as_secs());
        Ok(TokenSpec { purpose, region, addresses, uses, expires: now_seconds().saturating_add(lifetime) })
    }

    /// The tokens that were minted here, newest first.
    pub(super) async fn tokens(&self) -> Result<Value, StatusError> {
        let records = self.owner.read_async(|node| all(&node.replica)).await;
        let mut records = records
            .map_err(|error| StatusError::unavailable(error.to_string()))?
            .map_err(|error| StatusError::internal(error.to_string()))?;
        records.sort_by_key(|record| std::cmp::Reverse(record.minted()));
        let now = now_seconds();
        let rows = records.iter().map(|record| {
            let state = match () {
                () if record.is_revoked() => "Revoked",
                () if record.spec().expires <= now => "Expired",
                () if record.uses_left() == 0 => "Used",
                () => "Usable",
            };
            json!({
                "id": record.id().to_string(),
                "state": state,
                "minted": record.minted(),
                "usesLeft": record.uses_left(),
                "spec": record.spec(),
            })
        });
        Ok(json!({"tokens": rows.collect::<Vec<_>>()}))
    }

    /// Revokes a token.
    pub(super) async fn revoke_token(&self, id: &str) -> Result<Value, StatusError> {
        let id: TokenId = id.parse().map_err(|error: crate::identity::ParseTokenIdError| {
            StatusError::bad_request(error.to_string())
        })?;
        let revoked = self.owner.write_async(move |node| {
            let Some(mut record) = load(&node.replica, id)? else { return Ok(false) };
            record.revoke();
            store(&mut node.replica, &record).map(|()| true)
        });
        let revoked: Result<bool, StoreError> =
            revoked.await.map_err(|error| StatusError::unavailable(error.to_string()))?;
        match revoked {
            Ok(true) => Ok(json!({"id": id.to_string(), "state": "Revoked"})),
            Ok(false) => Err(StatusError::bad_request(format!("this hub minted no token {id}"))),
            Err(error) => Err(StatusError::internal(error.to_string())),
        }
    }
}
