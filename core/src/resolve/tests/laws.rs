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
            match elements_alone(&without.value) {
                Some(elements) => {
                    prop_assert!(are_in(elements, &with_overrides.value), "{:?}", with_overrides.value)
                }
                None => {
                    prop_assert_eq!(with_overrides.value, without.value);
                    prop_assert_eq!(with_overrides.source, without.source);
                }
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

/// The elements of a list that are enforced to be there and no more, each being its key alone. Of such an
/// element an override may set other fields, as it may set what is beside any enforced leaf.
fn elements_alone(enforced: &Option<Value>) -> Option<&[Value]> {
    let elements = enforced.as_ref()?.as_array()?;
    let is_alone = |element: &Value| element.as_object().is_some_and(|fields| fields.len() == 1);
    (!elements.is_empty() && elements.iter().all(is_alone)).then_some(elements.as_slice())
}

fn are_in(elements: &[Value], found: &Option<Value>) -> bool {
    let found = found.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let has = |other: &Value, element: &Value| {
        element.as_object().into_iter().flatten().all(|(key, value)| other.get(key) == Some(value))
    };
    elements.iter().all(|element| found.iter().any(|other| has(other, element)))
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
