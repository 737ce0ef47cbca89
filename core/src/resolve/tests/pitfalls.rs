//! Pitfalls by name, each of which the naive reference answers as well.

use super::agreement::agree;
use super::*;

/// What a case comes to: the values, or the word of a failure.
type Outcome = Result<Value, &'static str>;

#[track_caller]
fn check(cases: Vec<(&str, Fleet, Outcome)>) {
    for (name, fleet, expected) in cases {
        let found = fleet.resolve();
        match expected {
            Ok(values) => {
                assert_eq!(found.failed, None, "{name}");
                assert_eq!(found.values, values, "{name}");
            }
            Err(reason) => assert_eq!(found.failed.as_ref().map(|f| f.reason), Some(reason), "{name}"),
        }
        agree(&fleet, &found).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

fn base(values: Value) -> Fleet {
    Fleet::new().profile("base", 100, values, json!({}))
}

fn users(values: Value, more: Value) -> Fleet {
    Fleet::new().profile("base", 100, values, with(json!({"listKeys": {"users": "name"}}), more))
}

impl Fleet {
    fn over(self, values: Value) -> Self {
        self.exception("store-17.a", values, json!({}))
    }
}

#[test]
fn types_nulls_and_emptiness() {
    check(vec![
        (
            "a site override below a scalar",
            base(json!({"a": 1})).over(json!({"a": {"b": 1}})),
            Err("TypeChange"),
        ),
        (
            "a removal below a scalar",
            base(json!({"a": 1})).over(json!({"a": {"b": {"$delete": true}}})),
            Err("TypeChange"),
        ),
        (
            "a removal below nothing leaves the map, as RFC 7396 does",
            base(json!({"a": {"b": {"$delete": true}}})),
            Ok(json!({"a": {}})),
        ),
        (
            "an empty map on a null",
            base(json!({"a": {"$null": true}})).over(json!({"a": {}})),
            Err("TypeChange"),
        ),
        (
            "a scalar on a null",
            base(json!({"a": {"$null": true}})).over(json!({"a": 1})),
            Ok(json!({"a": 1})),
        ),
        ("a null in an override", base(json!({"a": 1})).over(json!({"a": null})), Err("InvalidValues")),
        (
            "a null inside a replacement",
            base(json!({"a": 1})).over(json!({"a": {"$replace": {"b": null}}})),
            Err("InvalidValues"),
        ),
        ("an empty text is a value", base(json!({"a": "x"})).over(json!({"a": ""})), Ok(json!({"a": ""}))),
        ("false is a value", base(json!({"a": true})).over(json!({"a": false})), Ok(json!({"a": false}))),
        (
            "a replacement of what is not there",
            base(json!({})).over(json!({"a": {"b": {"$replace": [1]}}})),
            Ok(json!({"a": {"b": [1]}})),
        ),
        (
            "a removal inside a replacement",
            base(json!({"a": 1})).over(json!({"a": {"$replace": {"b": {"$delete": true}, "c": 1}}})),
            Ok(json!({"a": {"c": 1}})),
        ),
        ("nothing at all", Fleet::new(), Ok(json!({}))),
        ("an override without a profile", Fleet::new().over(json!({"a": 1})), Ok(json!({"a": 1}))),
    ]);
}

#[test]
fn keys_and_numbers() {
    let big = 9_007_199_254_740_992_i64;
    check(vec![
        (
            "keys with dots and slashes are single keys",
            base(json!({"a.b/c": {"~": 1}})).over(json!({"a.b/c": {"~": 2}, "a": {"b/c": 3}})),
            Ok(json!({"a.b/c": {"~": 2}, "a": {"b/c": 3}})),
        ),
        ("an empty key", base(json!({"": {"": 1}})), Ok(json!({"": {"": 1}}))),
        (
            "an enforced key with a dot and a slash",
            Fleet::new()
                .profile("p", 1, json!({"a.b/c": 1, "a": {"b/c": 1}}), json!({"enforced": ["[\"a.b/c\"]"]}))
                .over(json!({"a.b/c": 2, "a": {"b/c": 2}})),
            Ok(json!({"a.b/c": 1, "a": {"b/c": 2}})),
        ),
        ("2^53 is a number", base(json!({"a": big, "b": -big})), Ok(json!({"a": big, "b": -big}))),
        ("2^53 + 1 in a profile", base(json!({"a": big + 1})), Err("InvalidProfile")),
        ("2^53 + 1 in an override", base(json!({"a": 1})).over(json!({"a": big + 1})), Err("InvalidValues")),
        (
            "2^53 + 1 in an override that does not stand",
            Fleet::new()
                .profile("p", 1, json!({"a": 1}), json!({"enforced": ["a"]}))
                .over(json!({"a": big + 1})),
            Ok(json!({"a": 1})),
        ),
        (
            "2^53 + 1 as a variable",
            Fleet::new().site(json!({"vars": {"n": big + 1}})).profile(
                "p",
                1,
                json!({"a": "${n}"}),
                json!({"variables": [{"name": "n", "type": "integer"}]}),
            ),
            Err("InvalidValues"),
        ),
    ]);
}

#[test]
fn enforced_leaves_and_what_is_above_them() {
    let enforced =
        |values: Value, paths: &[&str]| Fleet::new().profile("p", 5, values, json!({"enforced": paths}));
    check(vec![
        (
            "the highest profile that enforces a leaf decides",
            enforced(json!({"a": {"b": 1}}), &["a.b"])
                .profile("q", 9, json!({"a": {"b": 2}}), json!({"enforced": ["a"]}))
                .profile("r", 99, json!({"a": {"b": 3}}), json!({})),
            Ok(json!({"a": {"b": 2}})),
        ),
        (
            "a higher profile removes the map around an enforced leaf",
            enforced(json!({"a": {"b": 1, "c": 1}}), &["a.b"]).profile(
                "q",
                9,
                json!({"a": {"$delete": true}}),
                json!({}),
            ),
            Ok(json!({"a": {"b": 1}})),
        ),
        (
            "a selector override cannot remove the grandparent",
            enforced(json!({"a": {"b": {"c": 1}}}), &["a.b.c"]).exception(
                "wide",
                json!({"a": {"$delete": true}}),
                json!({"selector": {"matchAll": true}}),
            ),
            Ok(json!({"a": {"b": {"c": 1}}})),
        ),
        (
            "an enforced path below a scalar enforces nothing",
            enforced(json!({"a": 1}), &["a.b"]).over(json!({"a": 2})),
            Ok(json!({"a": 2})),
        ),
        (
            "an enforced path that is not set enforces nothing",
            enforced(json!({}), &["a"]).over(json!({"a": 2})),
            Ok(json!({"a": 2})),
        ),
        (
            "a draft enforces nothing",
            enforced(json!({"a": 1}), &[])
                .profile("q", 9, json!({"a": 2}), json!({"enforced": ["a"], "lifecycle": "Draft"}))
                .over(json!({"a": 3})),
            Ok(json!({"a": 3})),
        ),
        (
            "an element of its key alone cannot be removed where the list is enforced",
            users(json!({"users": [{"name": "ops"}]}), json!({"enforced": ["users"]}))
                .over(json!({"users": [{"name": "ops", "$delete": true}, {"name": "me"}]})),
            Ok(json!({"users": [{"name": "ops"}, {"name": "me"}]})),
        ),
        (
            "an enforced list cannot be replaced around its elements",
            users(json!({"users": [{"name": "ops"}]}), json!({"enforced": ["users"]}))
                .over(json!({"users": {"$replace": []}})),
            Ok(json!({"users": [{"name": "ops"}]})),
        ),
        (
            "a profile of higher priority removes an enforced element in vain",
            users(json!({"users": [{"name": "ops"}]}), json!({"enforced": ["users"]})).profile(
                "q",
                200,
                json!({"users": [{"name": "ops", "$delete": true}]}),
                json!({}),
            ),
            Ok(json!({"users": [{"name": "ops"}]})),
        ),
    ]);
}

#[test]
fn keyed_lists() {
    let variable = json!({"variables": [{"name": "s", "type": "string", "from": "site.labels.country"}]});
    check(vec![
        (
            "a variable in the key of an element",
            users(json!({"users": [{"name": "${s}-ops", "x": 1}]}), variable.clone()),
            Ok(json!({"users": [{"name": "nl-ops", "x": 1}]})),
        ),
        (
            "a variable that makes two keys one",
            users(json!({"users": [{"name": "${s}"}, {"name": "nl"}]}), variable.clone()),
            Err("KeyedList"),
        ),
        (
            "what looks like a variable in the key that an override adds",
            users(json!({}), variable).over(json!({"users": [{"name": "${s}"}]})),
            Ok(json!({"users": [{"name": "${s}"}]})),
        ),
        (
            "a removal of an element from no list leaves an empty one",
            users(json!({}), json!({})).over(json!({"users": [{"name": "ops", "$delete": true}]})),
            Ok(json!({"users": []})),
        ),
        (
            "a removal of an element from a map",
            users(json!({"users": {"a": 1}}), json!({}))
                .over(json!({"users": [{"name": "x", "$delete": true}]})),
            Err("TypeChange"),
        ),
        (
            "a removal of what is not there takes no place",
            users(json!({"users": [{"name": "b", "$delete": true}, {"name": "a"}]}), json!({}))
                .over(json!({"users": [{"name": "b"}]})),
            Ok(json!({"users": [{"name": "a"}, {"name": "b"}]})),
        ),
        (
            "a keyed list on a scalar replaces it, as lists do",
            users(json!({"users": 3}), json!({})).over(json!({"users": [{"name": "b"}]})),
            Ok(json!({"users": [{"name": "b"}]})),
        ),
    ]);
}

#[test]
fn variables_and_expiry() {
    let declare = |default: i64| json!({"variables": [{"name": "n", "type": "integer", "default": default}]});
    let (t1, t2) = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
    check(vec![
        (
            "one variable declared twice: the later profile's default",
            Fleet::new().profile("a", 1, json!({"x": "${n}"}), declare(1)).profile(
                "b",
                1,
                json!({}),
                declare(2),
            ),
            Ok(json!({"x": 2})),
        ),
        (
            "one variable declared twice with two types",
            Fleet::new().profile("a", 1, json!({}), declare(1)).profile(
                "b",
                2,
                json!({}),
                json!({"variables": [{"name": "n", "type": "string"}]}),
            ),
            Err("Variable"),
        ),
        (
            "an expiry that nobody wrote down at a dark site is none yet",
            base(json!({"a": 1})).exception("store-17.a", json!({"a": 2}), json!({"expiresAt": t1})),
            Ok(json!({"a": 2})),
        ),
        (
            "an expiry that the dark site wrote down itself",
            base(json!({"a": 1})).exception(
                "store-17.a",
                json!({"a": 2}),
                json!({"expiresAt": t1, "expired": t1}),
            ),
            Ok(json!({"a": 1})),
        ),
        (
            "an extension that the dark site had not heard of",
            base(json!({"a": 1})).exception(
                "store-17.a",
                json!({"a": 2}),
                json!({"expiresAt": t2, "expired": t1}),
            ),
            Ok(json!({"a": 2})),
        ),
    ]);
}

#[test]
fn equal_ranks() {
    let pair = |a: Value, b: Value| {
        let found = Fleet::new().profile("a", 1, a, json!({})).profile("b", 1, b, json!({}));
        check(vec![("", found.clone(), Ok(found.values()))]);
        found.resolve().ambiguous.into_iter().map(|ambiguity| ambiguity.path).collect::<Vec<_>>()
    };
    assert_eq!(pair(json!({"m": {"$delete": true}}), json!({"m": {}})), ["m"]);
    assert_eq!(pair(json!({"m": {"x": {"$replace": 1}}}), json!({"m": {"$replace": 1}})), ["m.x"]);
    assert_eq!(pair(json!({"m": {"$delete": true}}), json!({"m": {"x": {"$delete": true}}})), [""; 0]);
}

#[test]
fn a_path_that_is_ambiguous_in_two_layers_names_both() {
    let mut fleet = Fleet::new();
    for (name, priority, value) in [("a", 1, 1), ("b", 1, 2), ("c", 2, 3), ("d", 2, 4)] {
        fleet = fleet.profile(name, priority, json!({"x": value}), json!({}));
    }
    assert_eq!(
        fleet.resolve().ambiguous[0].objects,
        ["profile/a", "profile/b", "profile/c", "profile/d"],
        "the winner last"
    );
}

#[test]
fn defaults_and_values_of_variables_can_be_ambiguous() {
    let declare = |default: i64| json!({"variables": [{"name": "n", "type": "integer", "default": default}]});
    let fleet = Fleet::new().profile("a", 1, json!({}), declare(1)).profile("b", 1, json!({}), declare(2));
    assert_eq!(fleet.resolve().ambiguous[0].path, "variable n");
    let fleet = fleet.exception("store-17.a", json!({}), json!({"vars": {"n": 1}})).exception(
        "store-17.b",
        json!({}),
        json!({"vars": {"n": 2}}),
    );
    let objects = ["profile/a", "profile/b", "override/store-17.a", "override/store-17.b"];
    assert_eq!(fleet.resolve().ambiguous[0].objects, objects);
}

#[test]
fn of_two_failures_the_same_one_is_told_in_any_order() {
    let fleet = Fleet::new().profile("b", 1, json!(1), json!({})).profile("a", 1, json!(1), json!({}));
    let mut turned = fleet.clone();
    turned.profiles.reverse();
    assert_eq!(fleet.resolve(), turned.resolve());
}
