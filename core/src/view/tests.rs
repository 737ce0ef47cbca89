#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::document::Effect;
use crate::document::tests::Story;
use crate::event::tests::{put, sample_header};
use crate::ids::EventId;

#[test]
fn a_resource_has_what_its_name_implies() {
    let mut story = Story::default();
    story.write("ann", &[], vec![put("/metadata/labels/tier", "\"edge\""), put("/spec/replicas", "2")]);
    let state = story.rebuild();
    let uid = uid(&state.first().unwrap().id);
    let expected = json!({
        "apiVersion": "driftless.dev/v1",
        "kind": "Profile",
        "metadata": {
            "name": "store-base",
            "namespace": "acme",
            "uid": uid,
            "generation": 1,
            "creationTimestamp": "2023-11-14T22:13:20Z",
            "labels": { "tier": "edge" },
        },
        "spec": { "replicas": 2 },
    });
    assert_eq!(resource(&document(), &state), expected);
    assert_eq!(uid.len(), 36);
    assert_eq!(uid.as_bytes()[14], b'8');
}

#[test]
fn hostile_registers_cannot_pose_as_what_is_implied() {
    let mut story = Story::default();
    let hostile =
        [put("/kind", "1"), put("/metadata", "5"), put("/metadata/name", "\"x\""), put("/a/b", "1")];
    let operations = [hostile.to_vec(), vec![put("/a", "[1]"), put("/metadata/uid", "\"x\"")]].concat();
    story.write("eve", &[], operations);
    let shown = resource(&document(), &story.rebuild());
    assert_eq!(shown["kind"], "Profile");
    assert_eq!(shown["metadata"]["name"], "store-base");
    assert_ne!(shown["metadata"]["uid"], "x");
    assert_eq!(shown["a"], json!({ "b": 1 }), "the deeper path wins");
}

#[test]
fn keys_may_hold_any_character() {
    let spec = json!({ "a/b": { "~": 1, "~1": 2, "": { "": 3 } }, "ü": [] });
    let flat = flatten(&json!({ "spec": spec })).unwrap();
    let paths: Vec<&str> = flat.keys().map(String::as_str).collect();
    assert_eq!(paths, ["/spec/a~1b//", "/spec/a~1b/~0", "/spec/a~1b/~01", "/spec/ü"]);
    assert_eq!(resource(&document(), &shown(&flat))["spec"], spec);
}

#[test]
fn limits_are_named() {
    let deep = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({ "k": inner }));
    let list = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    let many: Map<String, Value> = (0..5_000).map(|n| (n.to_string(), json!(n))).collect();
    let large: Map<String, Value> = (0..10).map(|n| (n.to_string(), json!("x".repeat(30_000)))).collect();
    let error = |resource: Value| flatten(&resource).unwrap_err();
    assert_eq!(error(json!([])), FlattenError::NotAMap(String::new()));
    assert_eq!(error(json!({ "metadata": 1 })), FlattenError::NotAMap("/metadata".into()));
    assert!(flatten(&json!({ "spec": deep(31) })).is_ok());
    assert!(matches!(error(json!({ "spec": deep(32) })), FlattenError::TooDeep(_)));
    assert!(matches!(error(json!({ "spec": deep(5_000) })), FlattenError::TooDeep(_)));
    assert!(flatten(&json!({ "spec": list(32) })).is_ok());
    assert!(matches!(error(json!({ "spec": list(33) })), FlattenError::TooDeep(_)));
    assert!(matches!(error(json!({ "spec": { "k".repeat(600): 1 } })), FlattenError::PathTooLong(_)));
    let text = json!({ "spec": "x".repeat(VALUE_BYTES_MAX - 1) });
    assert!(matches!(error(text), FlattenError::ValueTooLarge { bytes, .. } if bytes == VALUE_BYTES_MAX + 1));
    assert_eq!(error(json!({ "spec": many })), FlattenError::TooManyValues);
    assert_eq!(error(json!({ "spec": large })), FlattenError::TooLarge);
}

#[test]
fn a_difference_touches_what_differs() {
    let flat = |resource: Value| flatten(&resource).unwrap();
    let state = shown(&flat(json!({ "spec": { "a": 1, "b": 2, "c": 3, "m": {} } })));
    let wanted = flat(json!({ "spec": { "a": 1, "b": 9, "d": 4, "m": { "x": 1 } } }));
    let expected = [put("/spec/b", "9"), Operation::Delete { path: "/spec/c".into() }, put("/spec/d", "4")];
    // The empty map goes with the path below it and stays.
    assert_eq!(difference(&state, &wanted), [expected.as_slice(), &[put("/spec/m/x", "1")]].concat());
}

#[test]
fn a_shadowed_value_that_is_wanted_is_put_again() {
    let mut story = Story::default();
    story.write("ann", &[], vec![put("/spec/a", "1"), put("/spec/a/b", "2")]);
    let wanted = flatten(&json!({ "spec": { "a": 1 } })).unwrap();
    let expected = [put("/spec/a", "1"), Operation::Delete { path: "/spec/a/b".into() }];
    assert_eq!(difference(&story.rebuild(), &wanted), expected);
}

#[test]
fn a_deleted_document_is_created_from_nothing() {
    let mut story = Story::default();
    let base = story.write("ann", &[], vec![put("/spec/a", "1")]);
    story.write("ann", &[base], vec![put("", "true"), Operation::Delete { path: "/spec/a".into() }]);
    let wanted = flatten(&json!({ "spec": { "a": 1 } })).unwrap();
    assert_eq!(difference(&story.rebuild(), &wanted), [put("/spec/a", "1")]);
}

proptest! {
    #[test]
    fn what_is_taken_apart_is_shown_again(spec in json_value(), status in json_value(), labels in json_value()) {
        let given = json!({ "kind": "Any", "metadata": { "name": "any", "labels": labels }, "spec": spec, "status": status });
        let flat = flatten(&given).unwrap();
        let again = resource(&document(), &shown(&flat));
        for key in ["spec", "status"] {
            prop_assert_eq!(&again[key], &given[key]);
        }
        prop_assert_eq!(&again["metadata"]["labels"], &given["metadata"]["labels"]);
        prop_assert_eq!(flatten(&again).unwrap(), flat);
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c/~]{0,3}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn document() -> Document {
    sample_header().document
}

/// A document created with these registers.
fn shown(flat: &BTreeMap<String, Arc<str>>) -> DocumentState {
    let mut story = Story::default();
    let id: EventId = story.write("ann", &[], difference(&DocumentState::new(), flat));
    let mut state = DocumentState::new();
    state.apply(story.event(&id), Effect::Effective).unwrap();
    state
}
