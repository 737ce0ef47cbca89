//! What is written in measurements: profiles of about 1 KB, changed one field at a time.

use driftless_core::name::{Document, Kind};
use driftless_core::replica::{ChangeRequest, Write};
use serde_json::{Value, json};

/// Any time will do; events carry it, nothing depends on it.
pub(crate) const TIME_MS: u64 = 1_700_000_000_000;
/// On whose behalf.
const BY: &str = "fleet/operator/ann";
/// Values that no change touches, so that a profile has about 1 KB of JSON.
const SETTINGS: usize = 24;

/// The profile with this number.
pub(crate) fn profile(number: usize) -> Document {
    Document::new(Kind::Profile, "default", &format!("profile-{number}")).expect("a valid name")
}

/// Makes a profile of about 1 KB. It selects no site: what is measured is replication, not what an
/// edge then does with its configuration.
pub(crate) fn make(number: usize) -> Write {
    Write::new(profile(number), ChangeRequest::Put(resource(number)), BY, TIME_MS)
}

/// Changes one field of a profile.
pub(crate) fn change(number: usize, value: u64) -> Write {
    let patch = json!({"spec": {"values": {"service": {"replicas": value}}}});
    Write::new(profile(number), ChangeRequest::MergePatch(patch), BY, TIME_MS)
}

/// What [`change`] last set.
pub(crate) fn value(resource: &Value) -> Option<u64> {
    resource.pointer("/spec/values/service/replicas")?.as_u64()
}

fn resource(number: usize) -> Value {
    let settings: serde_json::Map<String, Value> = (0..SETTINGS)
        .map(|setting| (format!("setting-{setting:02}"), format!("value of {setting:02}").into()))
        .collect();
    json!({
        "apiVersion": "driftless.dev/v1", "kind": "Profile",
        "metadata": {
            "name": format!("profile-{number}"), "namespace": "default",
            "labels": {"team": "retail", "tier": "store"},
        },
        "spec": {
            "priority": 100,
            "selector": {"matchLabels": {"measured": "never"}},
            "values": {"service": {"image": "registry.example.com/retail/service:2.4.1", "replicas": 0}, "settings": settings},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_about_a_kilobyte() {
        let bytes = resource(1).to_string().len();
        assert!((900..1_200).contains(&bytes), "{bytes}");
        assert_eq!(value(&resource(1)), Some(0));
    }
}
