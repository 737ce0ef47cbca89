//! The active configuration: what the site runs, kept on the node itself.
//!
//! It is not derived from what the replica holds now, so it survives a restart with nobody to ask, a
//! profile that is withdrawn, and a resolution that fails.

use std::sync::Arc;

use driftless_core::resolve::{Resolution, short};
use driftless_core::store::StoreError;
use serde_json::{Value, json};

use super::Place;
use crate::api::Held;
use crate::api::time::rfc3339;

/// The key of the record, among those of the node's own.
const KEY: &str = "active";

/// A configuration that was applied, or is to be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Config(Arc<Value>);

impl Config {
    /// What a resolution says.
    pub(super) fn new(place: &Place, resolution: &Resolution) -> Self {
        let profiles = resolution.profiles.iter();
        let profiles: Vec<Value> = profiles
            .map(|profile| json!({"name": profile.name, "revision": short(&profile.revision)}))
            .collect();
        Self(Arc::new(json!({
            "site": place.site,
            "namespace": place.namespace,
            "configHash": resolution.config_hash,
            "values": resolution.values,
            "apps": resolution.apps,
            "profiles": profiles,
        })))
    }

    /// The same, applied at this time.
    pub(super) fn applied_at(&self, now_ms: u64) -> Self {
        let mut value = Value::clone(&self.0);
        value["appliedAt"] = rfc3339(now_ms).into();
        Self(Arc::new(value))
    }

    pub(super) fn hash(&self) -> &str {
        self.0["configHash"].as_str().unwrap_or_default()
    }

    pub(super) fn value(&self) -> &Arc<Value> {
        &self.0
    }

    /// What a site's status says of it.
    pub(super) fn summary(&self) -> Value {
        json!({
            "configHash": self.0["configHash"],
            "appliedAt": self.0["appliedAt"],
            "profiles": self.0["profiles"],
        })
    }

    /// The same configuration, out of other profiles or revisions, that was applied when `self` was.
    pub(super) fn with_profiles_of(&self, other: &Self) -> Option<Self> {
        if self.hash() != other.hash() || self.0["profiles"] == other.0["profiles"] {
            return None;
        }
        let mut value = Value::clone(&other.0);
        value["appliedAt"] = self.0["appliedAt"].clone();
        Some(Self(Arc::new(value)))
    }
}

impl From<Arc<Value>> for Config {
    fn from(value: Arc<Value>) -> Self {
        Self(value)
    }
}

/// Reads what was active when the node last ran.
pub(super) fn load(held: &Held) -> Result<Option<Config>, StoreError> {
    let Some(bytes) = held.local(KEY)? else { return Ok(None) };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(Config(Arc::new(value)))),
        Err(error) => Err(StoreError::Damaged {
            key: None,
            reason: format!("the record of the active configuration cannot be read: {error}"),
        }),
    }
}

/// Keeps what is active; durable when it returns.
pub(super) fn store(held: &mut Held, config: &Config) -> Result<(), StoreError> {
    held.set_local(KEY, Some(config.0.to_string().into_bytes()))
}
