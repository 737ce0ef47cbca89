//! `apply`'s three-way patch: what was applied last, what is to be, what is there.
//!
//! As kubectl does it for kinds that have no strategic merge: a JSON merge patch (RFC 7396) that sets what the
//! manifest sets and differs, and removes what the last apply set and the manifest sets no more. What others
//! set, and no apply ever did, stays.

use serde_json::{Map, Value, json};

/// The annotation in which the last applied manifest is kept.
pub(in crate::cli) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Adds the annotation that remembers a manifest to it.
pub(in crate::cli) fn with_last_applied(manifest: &Value) -> Value {
    let mut remembered = manifest.clone();
    // As kubectl writes it: with annotations even if there are none, without this one, and a line feed.
    match remembered["metadata"]["annotations"].as_object_mut() {
        Some(annotations) => drop(annotations.remove(LAST_APPLIED)),
        None => remembered["metadata"]["annotations"] = json!({}),
    }
    let mut annotated = remembered.clone();
    annotated["metadata"]["annotations"][LAST_APPLIED] = json!(format!("{remembered}\n"));
    annotated
}

/// The manifest that was applied last, if what is there remembers one.
pub(in crate::cli) fn last_applied(live: &Value) -> Option<Value> {
    serde_json::from_str(live["metadata"]["annotations"][LAST_APPLIED].as_str()?).ok()
}

/// The merge patch that takes `live` to what `wanted` says; `None` if there is nothing to do.
///
/// `wanted` has its annotation already, see [`with_last_applied`].
pub(in crate::cli) fn patch(live: &Value, wanted: &Value) -> Option<Value> {
    let last = last_applied(live).unwrap_or_default();
    let patch = between(&last, wanted, live);
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// The merge patch that makes one resource another; `None` if they are the same.
pub(in crate::cli) fn difference(from: &Value, to: &Value) -> Option<Value> {
    let patch = between(from, to, from);
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn between(last: &Value, wanted: &Value, live: &Value) -> Map<String, Value> {
    let empty = Map::new();
    let fields = |value: &'_ Value| value.as_object().cloned().unwrap_or_default();
    let (last_fields, live_fields) = (fields(last), fields(live));
    let wanted_fields = wanted.as_object().unwrap_or(&empty);
    let mut patch = Map::new();
    for key in last_fields.keys() {
        if !wanted_fields.contains_key(key) && live_fields.contains_key(key) {
            patch.insert(key.clone(), Value::Null);
        }
    }
    for (key, value) in wanted_fields {
        match (value, live_fields.get(key)) {
            (value, Some(live)) if value == live => {}
            (Value::Object(_), Some(live @ Value::Object(_))) => {
                let last = last_fields.get(key).unwrap_or(&Value::Null);
                let below = between(last, value, live);
                if !below.is_empty() {
                    patch.insert(key.clone(), Value::Object(below));
                }
            }
            (value, _) => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn profile(values: Value) -> Value {
        json!({
            "apiVersion": "driftless.dev/v1",
            "kind": "Profile",
            "metadata": {"name": "store-base", "namespace": "acme"},
            "spec": {"priority": 200, "values": values},
        })
    }

    /// What a node has after the first apply, with what it adds itself.
    fn applied(values: Value) -> Value {
        let mut live = with_last_applied(&profile(values));
        live["metadata"]["uid"] = json!("u");
        live["metadata"]["generation"] = json!(1);
        live["status"] = json!({"matched": 3});
        live
    }

    fn wanted(values: Value) -> Value {
        with_last_applied(&profile(values))
    }

    fn merged(mut target: Value, patch: &Value) -> Value {
        fn merge(target: &mut Value, patch: &Value) {
            let Value::Object(fields) = patch else {
                *target = patch.clone();
                return;
            };
            if !target.is_object() {
                *target = json!({});
            }
            for (key, value) in fields {
                match value {
                    Value::Null => drop(target.as_object_mut().unwrap().remove(key)),
                    value => merge(&mut target[key], value),
                }
            }
        }
        merge(&mut target, patch);
        target
    }

    #[test]
    fn applying_the_same_again_does_nothing() {
        let values = json!({"pos": {"replicas": 2}, "dns": [1, 2]});
        assert_eq!(patch(&applied(values.clone()), &wanted(values)), None);
    }

    #[test]
    fn only_what_differs_is_sent() {
        let live = applied(json!({"pos": {"replicas": 2, "channel": "stable"}}));
        let patch = patch(&live, &wanted(json!({"pos": {"replicas": 4, "channel": "stable"}}))).unwrap();
        assert_eq!(patch["spec"], json!({"values": {"pos": {"replicas": 4}}}));
        assert!(patch["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap().contains("\"replicas\":4"));
    }

    #[test]
    fn what_the_manifest_dropped_is_removed_and_what_others_set_stays() {
        let mut live = applied(json!({"pos": {"replicas": 2, "channel": "stable"}}));
        live["spec"]["values"]["pos"]["colour"] = json!("blue");
        live["metadata"]["labels"] = json!({"team": "retail"});
        let patch = patch(&live, &wanted(json!({"pos": {"replicas": 2}}))).unwrap();
        assert_eq!(patch["spec"], json!({"values": {"pos": {"channel": null}}}));
        assert!(patch["metadata"].get("labels").is_none());
    }

    #[test]
    fn what_somebody_removed_already_is_not_removed_again() {
        let mut live = applied(json!({"a": 1, "b": 2}));
        live["spec"]["values"].as_object_mut().unwrap().remove("b");
        let patch = patch(&live, &wanted(json!({"a": 1}))).unwrap();
        assert!(patch.get("spec").is_none(), "{patch}");
    }

    #[test]
    fn what_was_created_without_apply_is_taken_over() {
        let live = profile(json!({"a": 1}));
        let patch = patch(&live, &wanted(json!({"a": 1}))).unwrap();
        assert!(patch.get("spec").is_none());
        assert!(patch["metadata"]["annotations"][LAST_APPLIED].is_string());
        assert_eq!(self::patch(&merged(live, &patch), &wanted(json!({"a": 1}))), None);
    }

    #[test]
    fn a_map_that_becomes_a_list_or_text_is_replaced_whole() {
        for values in [json!({"a": [1]}), json!({"a": "x"})] {
            let live = applied(json!({"a": {"deep": {"er": 1}}}));
            let patch = patch(&live, &wanted(values.clone())).unwrap();
            assert_eq!(merged(live, &patch)["spec"]["values"], values);
        }
    }

    #[test]
    fn the_annotation_remembers_the_manifest_without_itself() {
        let once = with_last_applied(&profile(json!({})));
        assert_eq!(with_last_applied(&once), once);
        assert_eq!(last_applied(&once).unwrap()["kind"], "Profile");
        assert!(once["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap().ends_with("}\n"));
    }
}
