//! Laws over generated inputs, and a naive reference that resolution must agree with.

use super::*;
use proptest::prelude::*;

/// Trees of few keys, so that layers meet, with every marker in them.
fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => (0..3i64).prop_map(Value::from),
        1 => Just(json!([1, 2])),
        1 => Just(json!({"$delete": true})),
        1 => Just(json!({"$null": true})),
        1 => Just(json!({})),
        1 => Just(json!({"$replace": {"a": 7}})),
    ];
    let node = leaf
        .prop_recursive(3, 12, 3, |inner| prop::collection::btree_map("[abc]", inner, 0..3).prop_map(object));
    prop::collection::btree_map("[abc]", node, 0..3).prop_map(object)
}

fn object(map: BTreeMap<String, Value>) -> Value {
    Value::Object(map.into_iter().collect())
}

fn enforced() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(vec!["a", "b.a", "b.c.a", "c"], 0..3)
}

pub(super) fn fleet() -> impl Strategy<Value = Fleet> {
    let profile = (0..4u16, tree(), enforced());
    let exception = (0..2u16, tree(), any::<bool>());
    (prop::collection::vec(profile, 1..4), prop::collection::vec(exception, 0..4)).prop_map(
        |(profiles, exceptions)| {
            let mut fleet = Fleet::new();
            for (index, (priority, values, enforced)) in profiles.into_iter().enumerate() {
                fleet = fleet.profile(&format!("p{index}"), priority, values, json!({"enforced": enforced}));
            }
            for (index, (priority, values, is_wide)) in exceptions.into_iter().enumerate() {
                let more = json!({"priority": priority});
                fleet = match is_wide {
                    true => fleet.exception(
                        &format!("w{index}"),
                        values,
                        with(more, json!({"selector": {"matchAll": true}})),
                    ),
                    false => fleet.exception(&format!("store-17.o{index}"), values, more),
                };
            }
            fleet
        },
    )
}

/// Fleets in which some profiles and overrides select other sites, are drafts, are over, or cannot be read.
pub(super) fn fleet_of_selectors() -> impl Strategy<Value = Fleet> {
    let odd = prop::sample::select(vec![
        json!({}),
        json!({"selector": {"matchLabels": {"class": "plant"}}}),
        json!({"selector": {"matchLabels": {"driftless.dev/region": "eu"}}}),
        json!({"selector": {"claims": [{"key": "gpu", "operator": "Exists"}]}}),
        json!({"selector": {"matchLabels": {"class": "plant"}}, "values": 3}),
        json!({"lifecycle": "Draft", "selector": {}}),
        json!({"expiresAt": "x", "expired": "x"}),
        json!({"expiresAt": "x", "expired": "x", "futureFeature": true}),
        json!({"priority": "high", "selector": {"matchLabels": {"class": "plant"}}}),
    ]);
    (fleet(), prop::collection::vec(odd, 8)).prop_map(|(mut fleet, odds)| {
        let Fleet { profiles, overrides, .. } = &mut fleet;
        for ((_, spec), odd) in profiles.iter_mut().chain(overrides).zip(odds) {
            *spec = with(spec.take(), odd);
        }
        fleet
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn the_order_of_inputs_never_changes_the_answer(fleet in fleet(), turn in 0..4usize) {
        let expected = fleet.resolve();
        let mut inputs = fleet.inputs();
        inputs.profiles.reverse();
        inputs.overrides.reverse();
        let turn_by = |length: usize| if length == 0 { 0 } else { turn % length };
        let (profiles, overrides) = (turn_by(inputs.profiles.len()), turn_by(inputs.overrides.len()));
        inputs.profiles.rotate_left(profiles);
        inputs.overrides.rotate_left(overrides);
        prop_assert_eq!(resolve(&inputs), expected);
    }

    #[test]
    fn resolution_agrees_with_the_reference(fleet in fleet()) {
        let found = fleet.resolve();
        match reference(&fleet) {
            Some(expected) => {
                prop_assert_eq!(&found.failed, &None);
                prop_assert_eq!(found.values, expected);
            }
            None => prop_assert_eq!(found.failed.map(|f| f.reason), Some("TypeChange")),
        }
    }

    #[test]
    fn overrides_never_change_what_profiles_enforce(fleet in fleet()) {
        let with_overrides = fleet.resolve();
        let mut bare = fleet;
        bare.overrides.clear();
        let without = bare.resolve();
        if with_overrides.failed.is_none() && without.failed.is_none() {
            for (path, _) in reference_leaves(&bare) {
                let pointer = format!("/{}", path.join("/"));
                prop_assert_eq!(with_overrides.values.pointer(&pointer), without.values.pointer(&pointer));
            }
        }
    }

    #[test]
    fn whatever_stands_in_an_explanation_is_what_resolution_says(fleet in fleet(), path in "[abc](\\.[abc]){0,2}") {
        let resolution = fleet.resolve();
        let pointer = path::Path::parse(&path).unwrap().to_pointer();
        match explain(&fleet.inputs(), &path) {
            Ok(why) => {
                prop_assert_eq!(why.value.as_ref(), resolution.values.pointer(&pointer));
                let all = fleet.profiles.iter().chain(&fleet.overrides);
                let spec = all.clone().find(|(name, _)| *name == why.source.name).map(|(_, spec)| json!({"spec": spec}));
                let spec = spec.unwrap();
                prop_assert_eq!(spec.pointer(&why.source.pointer), Some(&why.source.value));
            }
            Err(ExplainError::Unset(_)) => prop_assert_eq!(resolution.values.pointer(&pointer), None),
            Err(ExplainError::Failed(failure)) => prop_assert_eq!(Some(failure), resolution.failed),
            Err(ExplainError::Path(error)) => prop_assert!(false, "{}", error),
        }
    }
}

#[test]
fn the_reference_disagrees_with_a_wrong_answer() {
    let fleet = Fleet::new().profile("p0", 1, json!({"a": 1}), json!({})).profile(
        "p1",
        2,
        json!({"a": 2}),
        json!({}),
    );
    assert_eq!(reference(&fleet), Some(json!({"a": 2})));
    let clash = Fleet::new().profile("p0", 1, json!({"a": 1}), json!({})).profile(
        "p1",
        2,
        json!({"a": {"b": 2}}),
        json!({}),
    );
    assert_eq!(reference(&clash), None);
}

type Leaf = (Vec<String>, Value);

/// Resolves by cloning: flattens every layer to leaves, drops what is enforced from overrides, and merges
/// whole JSON values. `None` for a change of type.
fn reference(fleet: &Fleet) -> Option<Value> {
    let sorted = |mut list: Vec<(String, Value)>| {
        list.sort_by_key(|(name, spec)| (name.contains('.'), spec["priority"].as_u64(), name.clone()));
        list
    };
    let enforced = reference_leaves(fleet);
    let mut tree = json!({});
    for (_, spec) in sorted(fleet.profiles.clone()) {
        for (path, value) in leaves(&spec["values"], &[]) {
            put(&mut tree, &path, &value)?;
        }
    }
    for (_, spec) in sorted(fleet.overrides.clone()) {
        for (path, value) in leaves(&spec["values"], &[]) {
            let touches = enforced
                .iter()
                .any(|(leaf, _)| path.starts_with(leaf) || (leaf.starts_with(&path) && value != json!({})));
            if !touches {
                put(&mut tree, &path, &value)?;
            }
        }
    }
    for (path, value) in enforced {
        put(&mut tree, &path, &value)?;
    }
    Some(tree)
}

/// The leaves that profiles enforce, those of lower profiles first.
fn reference_leaves(fleet: &Fleet) -> Vec<Leaf> {
    let mut profiles = fleet.profiles.clone();
    profiles.sort_by_key(|(name, spec)| (spec["priority"].as_u64(), name.clone()));
    let mut out = Vec::new();
    for (_, spec) in profiles {
        for path in spec["enforced"].as_array().into_iter().flatten() {
            let path: Vec<String> = path.as_str().unwrap().split('.').map(str::to_owned).collect();
            for (leaf, value) in leaves(&spec["values"], &[]) {
                if leaf.starts_with(&path) && value != json!({}) {
                    out.push((leaf, value));
                } else if path.starts_with(&leaf) && path != leaf {
                    // Inside a replacement, the leaves that it holds at the path are enforced.
                    if let Some(inner) = value.get("$replace") {
                        let inner = leaves(inner, &leaf).into_iter();
                        out.extend(
                            inner.filter(|(leaf, value)| leaf.starts_with(&path) && *value != json!({})),
                        );
                    }
                }
            }
        }
    }
    out
}

fn leaves(tree: &Value, above: &[String]) -> Vec<Leaf> {
    let mut out = Vec::new();
    for (key, value) in tree.as_object().unwrap() {
        let path = [above, std::slice::from_ref(key)].concat();
        match value {
            Value::Object(map) if !map.is_empty() && !map.keys().any(|key| key.starts_with('$')) => {
                out.extend(leaves(value, &path));
            }
            _ => out.push((path, value.clone())),
        }
    }
    out
}

fn put(tree: &mut Value, path: &[String], value: &Value) -> Option<()> {
    let (last, parents) = path.split_last().unwrap();
    let mut map = tree.as_object_mut()?;
    for key in parents {
        map = map.entry(key.clone()).or_insert_with(|| json!({})).as_object_mut()?;
    }
    let was_map = map.get(last).map(Value::is_object);
    if value.get("$delete").is_some() {
        map.remove(last);
    } else if value.get("$null").is_some() {
        (was_map != Some(true)).then(|| map.insert(last.clone(), Value::Null))?;
    } else if let Some(replaced) = value.get("$replace") {
        map.insert(last.clone(), replaced.clone());
    } else if *value == json!({}) {
        (was_map != Some(false)).then_some(())?;
        map.entry(last.clone()).or_insert_with(|| json!({}));
    } else {
        (was_map != Some(true)).then(|| map.insert(last.clone(), value.clone()))?;
    }
    Some(())
}
