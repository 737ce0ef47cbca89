//! Laws over generated inputs.

use super::agreement::{PATHS, fleet};
use super::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn overrides_never_change_what_profiles_enforce(fleet in fleet(), path in prop::sample::select(PATHS.to_vec())) {
        let mut bare = fleet.clone();
        bare.overrides.clear();
        let why = (explain(&fleet.inputs(), path), explain(&bare.inputs(), path));
        if let (Ok(with_overrides), Ok(without)) = why
            && without.source.layer == Layer::Enforced
            && without.leaves.is_empty()
            && fleet.resolve().failed.is_none()
        {
            let (with, without_any) = (&with_overrides.value, &without.value);
            prop_assert!(stands_in(without_any, with), "{:?} in {:?}", without_any, with);
            if with == without_any {
                prop_assert_eq!(with_overrides.source, without.source);
            }
        }
    }

    #[test]
    fn whatever_stands_in_an_explanation_is_what_resolution_says(
        fleet in fleet(),
        path in prop::sample::select(PATHS.to_vec()),
    ) {
        let resolution = fleet.resolve();
        match explain(&fleet.inputs(), path) {
            Ok(why) => {
                if resolution.failed.is_none() {
                    prop_assert_eq!(why.value.as_ref(), look_up(&fleet, &resolution, path));
                }
                let mut all = fleet.profiles.iter().chain(&fleet.overrides);
                let spec = all.find(|(name, _)| *name == why.source.name).map(|(_, spec)| json!({"spec": spec}));
                let spec = spec.unwrap();
                prop_assert_eq!(spec.pointer(&why.source.pointer), Some(&why.source.value));
            }
            Err(ExplainError::Unset(_)) => prop_assert_eq!(look_up(&fleet, &resolution, path), None),
            Err(ExplainError::Failed(_)) => prop_assert!(resolution.failed.is_some()),
            Err(ExplainError::Path(error)) => prop_assert!(false, "{}", error),
        }
    }
}

/// Whether all of an enforced value is in another. An override may add beside it, also within an element of
/// a keyed list that enforces no more than that it is there.
fn stands_in(enforced: &Option<Value>, found: &Option<Value>) -> bool {
    fn all(enforced: &Value, found: &Value) -> bool {
        match (enforced, found) {
            (Value::Array(enforced), Value::Array(found)) if enforced.iter().all(Value::is_object) => {
                enforced.iter().all(|item| found.iter().any(|other| all(item, other)))
            }
            (Value::Object(enforced), Value::Object(found)) => {
                enforced.iter().all(|(key, value)| found.get(key).is_some_and(|other| all(value, other)))
            }
            _ => enforced == found,
        }
    }
    match (enforced, found) {
        (Some(enforced), Some(found)) => all(enforced, found),
        _ => enforced == found,
    }
}

/// Elements of keyed lists are found by their name; into other lists no path leads.
fn look_up<'v>(fleet: &Fleet, resolution: &'v Resolution, path: &str) -> Option<&'v Value> {
    let spec = |name: &str| fleet.profiles.iter().find(|(other, _)| other == name).map(|(_, spec)| spec);
    let mut declared =
        resolution.profiles.iter().rev().filter_map(|profile| spec(&profile.name)?["listKeys"].get("users"));
    let field = declared.next().and_then(Value::as_str);
    let path = path::Path::parse(path).unwrap();
    path.keys().iter().try_fold(&resolution.values, |value, key| match value {
        Value::Array(items) => items.iter().find(|item| field.is_some_and(|field| item[field] == **key)),
        value => value.get(key),
    })
}
