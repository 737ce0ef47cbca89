//! One hand-written case for each rule and pitfall of resolution.

use super::*;

/// Resolves layers of equal standing but rising priority, each a tree.
fn layered(trees: &[Value]) -> Fleet {
    let mut fleet = Fleet::new();
    for (index, tree) in trees.iter().enumerate() {
        let priority = u16::try_from(index).unwrap() * 100;
        fleet = fleet.profile(&format!("p{index}"), priority, tree.clone(), json!({}));
    }
    fleet
}

#[test]
fn maps_merge_and_scalars_and_lists_are_replaced() {
    for (case, layers, expected) in [
        ("maps merge", vec![json!({"a": {"x": 1}}), json!({"a": {"y": 2}})], json!({"a": {"x": 1, "y": 2}})),
        ("a scalar replaces", vec![json!({"a": 1}), json!({"a": "b"})], json!({"a": "b"})),
        ("a list replaces a list", vec![json!({"a": [1, 2]}), json!({"a": [3]})], json!({"a": [3]})),
        ("a list replaces a scalar", vec![json!({"a": 1}), json!({"a": [3]})], json!({"a": [3]})),
        (
            "maps in lists do not merge",
            vec![json!({"a": [{"x": 1}]}), json!({"a": [{"y": 2}]})],
            json!({"a": [{"y": 2}]}),
        ),
        (
            "an empty map changes nothing",
            vec![json!({"a": {"x": 1}}), json!({"a": {}})],
            json!({"a": {"x": 1}}),
        ),
        ("an empty map alone is kept", vec![json!({"a": {}})], json!({"a": {}})),
        ("an empty list replaces", vec![json!({"a": [1]}), json!({"a": []})], json!({"a": []})),
        (
            "delete removes",
            vec![json!({"a": {"x": 1, "y": 2}}), json!({"a": {"x": {"$delete": true}}})],
            json!({"a": {"y": 2}}),
        ),
        ("delete removes a map", vec![json!({"a": {"x": 1}}), json!({"a": {"$delete": true}})], json!({})),
        ("delete of what is not there", vec![json!({"a": {"$delete": true}})], json!({})),
        (
            "delete of the last key leaves the map",
            vec![json!({"a": {"x": 1}}), json!({"a": {"x": {"$delete": true}}})],
            json!({"a": {}}),
        ),
        (
            "after delete the type is free",
            vec![json!({"a": {"x": 1}}), json!({"a": {"$delete": true}}), json!({"a": 3})],
            json!({"a": 3}),
        ),
        (
            "after delete it can come back",
            vec![json!({"a": 1}), json!({"a": {"$delete": true}}), json!({"a": 2})],
            json!({"a": 2}),
        ),
        ("a literal null", vec![json!({"a": 1}), json!({"a": {"$null": true}})], json!({"a": null})),
        (
            "a literal null in a list",
            vec![json!({"a": [{"$null": true}, {"b": {"$null": true}}]})],
            json!({"a": [null, {"b": null}]}),
        ),
        (
            "replace a map by a scalar",
            vec![json!({"a": {"x": 1}}), json!({"a": {"$replace": 3}})],
            json!({"a": 3}),
        ),
        (
            "replace a map by a map",
            vec![json!({"a": {"x": 1}}), json!({"a": {"$replace": {"y": 2}}})],
            json!({"a": {"y": 2}}),
        ),
        (
            "replace a scalar by a map",
            vec![json!({"a": 1}), json!({"a": {"$replace": {"y": 2}}})],
            json!({"a": {"y": 2}}),
        ),
        (
            "replace by an empty map",
            vec![json!({"a": {"x": 1}}), json!({"a": {"$replace": {}}})],
            json!({"a": {}}),
        ),
        (
            "replace by a null",
            vec![json!({"a": {"x": 1}}), json!({"a": {"$replace": {"$null": true}}})],
            json!({"a": null}),
        ),
        (
            "a layer on top of a replacement merges",
            vec![json!({"a": 1}), json!({"a": {"$replace": {"y": 2}}}), json!({"a": {"z": 3}})],
            json!({"a": {"y": 2, "z": 3}}),
        ),
        (
            "other keys with a dollar are data",
            vec![json!({"$schema": "x", "a": {"$ref": "y"}})],
            json!({"$schema": "x", "a": {"$ref": "y"}}),
        ),
        (
            "keys with dots are one key",
            vec![json!({"a.b": 1}), json!({"a": {"b": 2}})],
            json!({"a.b": 1, "a": {"b": 2}}),
        ),
    ] {
        let resolution = layered(&layers).resolve();
        assert_eq!(resolution.failed, None, "{case}");
        assert_eq!(resolution.values, expected, "{case}");
    }
}

#[test]
fn a_map_and_something_else_do_not_replace_each_other_unnoticed() {
    for (lower, higher) in [
        (json!({"a": {"x": 1}}), json!({"a": 1})),
        (json!({"a": {"x": 1}}), json!({"a": [1]})),
        (json!({"a": {"x": 1}}), json!({"a": {"$null": true}})),
        (json!({"a": 1}), json!({"a": {"x": 1}})),
        (json!({"a": [1]}), json!({"a": {"x": 1}})),
        (json!({"a": {"$null": true}}), json!({"a": {"x": 1}})),
        (json!({"a": 1}), json!({"a": {}})),
        (json!({"a": {}}), json!({"a": 1})),
    ] {
        let (reason, message) = layered(&[lower.clone(), higher.clone()]).failure();
        assert_eq!(reason, "TypeChange", "{lower} under {higher}");
        assert!(message.starts_with("profile/p1: a: "), "{message}");
    }
}

#[test]
fn documents_that_no_api_checked_fail_the_site_and_name_the_place() {
    for (values, expected) in [
        (json!({"a": {"b": null}}), "profile/p: a.b: null"),
        (json!({"a": [1, null]}), "profile/p: a: null in a list"),
        (json!({"a": {"$delete": true, "b": 1}}), "does not stand alone"),
        (json!({"a": {"$null": false}}), "takes true"),
        (json!({"a": [{"$delete": true}]}), "not keyed"),
        (json!({"a": {"$replace": {"$replace": 1}}}), "$replace inside $replace"),
        (json!({"$replace": {}}), "not at the root"),
        (json!([1]), "spec.values: expected a map"),
        (json!({"n": 9_007_199_254_740_993_i64}), "no canonical form"),
    ] {
        let (_, message) = Fleet::new().profile("p", 1, values.clone(), json!({})).failure();
        assert!(message.contains(expected), "{values}: {message}");
    }
    let mut deep = json!(1);
    for _ in 0..60 {
        deep = json!({"a": deep});
    }
    assert_eq!(Fleet::new().profile("p", 1, deep.clone(), json!({})).failure().0, "InvalidValues");
    assert_eq!(Fleet::new().profile("p", 1, json!({"l": [deep]}), json!({})).failure().0, "InvalidValues");
}

#[test]
fn only_published_profiles_that_select_the_site_apply() {
    let of = |more: Value| Fleet::new().profile("p", 1, json!({"a": 1}), more).resolve();
    for (more, applies) in [
        (json!({"lifecycle": "Published"}), true),
        (json!({"lifecycle": "Draft"}), false),
        (json!({"lifecycle": "Archived"}), false),
        (json!({"selector": {"matchLabels": {"class": "store"}}}), true),
        (json!({"selector": {"matchLabels": {"class": "plant"}}}), false),
        (json!({"selector": {"matchLabels": {"driftless.dev/region": "eu"}}}), true),
        (json!({"selector": {"matchLabels": {"class": "store", "country": "be"}}}), false),
        (expression("country", "In", &["nl", "be"]), true),
        (expression("country", "NotIn", &["nl"]), false),
        (expression("colour", "NotIn", &["red"]), true),
        (expression("country", "Exists", &[]), true),
        (expression("country", "DoesNotExist", &[]), false),
        (expression("colour", "DoesNotExist", &[]), true),
        (json!({"selector": {"claims": [{"key": "gpu", "operator": "Exists"}]}}), false),
        (json!({"selector": {"claims": [{"key": "gpu", "operator": "DoesNotExist"}]}}), true),
    ] {
        let resolution = of(more.clone());
        assert_eq!(resolution.failed, None, "{more}");
        assert_eq!(resolution.profiles.len(), usize::from(applies), "{more}");
        assert_eq!(resolution.conditions.iter().any(|c| c.type_ == "NoProfile"), !applies, "{more}");
    }
}

#[test]
fn what_might_apply_and_cannot_be_read_fails_the_site() {
    for (more, reason) in [
        (json!({"selector": {}}), "InvalidProfile"),
        (json!({"selector": 3}), "InvalidProfile"),
        (json!({"priority": "high"}), "InvalidProfile"),
        (json!({"lifecycle": 1}), "InvalidProfile"),
        (json!({"enforced": ["a..b"]}), "InvalidProfile"),
        (json!({"listKeys": {"a": 1}}), "InvalidProfile"),
        (json!({"revision": "abc"}), "PinnedRevisionMissing"),
        (json!({"futureFeature": true}), "UnsupportedFeature"),
    ] {
        assert_eq!(Fleet::new().profile("p", 1, json!({}), more.clone()).failure().0, reason, "{more}");
    }
    let draft = Fleet::new().profile("p", 1, json!({}), json!({"lifecycle": "Draft", "selector": {}}));
    assert_eq!(draft.resolve().failed, None);
    let elsewhere = Fleet::new().exception("store-18.a", json!(3), json!({}));
    assert_eq!(elsewhere.resolve().failed, None, "an override of another site is none of ours");
}

#[test]
fn higher_priority_wins_and_at_equal_priority_the_later_name() {
    let fleet = Fleet::new().profile("z", 1, json!({"a": "z"}), json!({})).profile(
        "a",
        2,
        json!({"a": "a"}),
        json!({}),
    );
    assert_eq!(fleet.values(), json!({"a": "a"}));
    let fleet = Fleet::new().profile("b", 1, json!({"a": "b"}), json!({})).profile(
        "a",
        1,
        json!({"a": "a"}),
        json!({}),
    );
    assert_eq!(fleet.values(), json!({"a": "b"}));
    assert_eq!(fleet.conditions(), ["Ambiguous"]);
    let expected = Ambiguity { path: "a".into(), objects: vec!["profile/a".into(), "profile/b".into()] };
    assert_eq!(fleet.resolve().ambiguous, [expected]);
}

#[test]
fn equal_values_at_equal_priority_are_not_ambiguous_and_maps_against_leaves_are() {
    let pair = |a: Value, b: Value| {
        Fleet::new().profile("a", 1, a, json!({})).profile("b", 1, b, json!({})).resolve().ambiguous.len()
    };
    assert_eq!(pair(json!({"a": 1, "m": {"x": 1}}), json!({"a": 1.0, "m": {"y": 1}})), 0);
    assert_eq!(pair(json!({"m": {"x": 1}}), json!({"m": {"$delete": true}})), 1);
    assert_eq!(pair(json!({"m": {"x": {"y": 1}}}), json!({"m": {"$replace": {"z": 1}}})), 1);
    assert_eq!(pair(json!({"m": {"x": {"y": 1}}}), json!({"m": {}})), 0);
}

#[test]
fn the_layers_of_overrides_beat_profiles_and_each_other_whatever_their_priority() {
    let all = json!({"selector": {"matchAll": true}, "priority": 1000});
    let local = json!({"localOverride": {"allow": true, "paths": ["d"]}});
    let fleet = Fleet::new()
        .site(local)
        .profile("p", 1000, json!({"a": "p", "b": "p", "c": "p", "d": "p"}), json!({}))
        .exception("wide", json!({"b": "wide", "c": "wide", "d": "wide"}), all)
        .exception("store-17.a", json!({"c": "site", "d": "site"}), json!({"priority": 0}))
        .exception("store-17.local", json!({"d": "local"}), json!({}));
    assert_eq!(fleet.values(), json!({"a": "p", "b": "wide", "c": "site", "d": "local"}));
    assert_eq!(fleet.resolve().overrides, ["wide", "store-17.a", "store-17.local"]);
}

#[test]
fn overrides_of_other_sites_and_selectors_do_not_apply_and_expired_ones_end() {
    let base = || Fleet::new().profile("p", 1, json!({"a": 1}), json!({}));
    let plants = json!({"selector": {"matchLabels": {"class": "plant"}}});
    assert_eq!(base().exception("store-1.a", json!({"a": 2}), json!({})).values(), json!({"a": 1}));
    assert_eq!(base().exception("wide", json!({"a": 2}), plants).values(), json!({"a": 1}));
    let (t1, t2) = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
    let expired = json!({"expiresAt": t1, "expired": t1});
    assert_eq!(base().exception("store-17.a", json!({"a": 2}), expired).values(), json!({"a": 1}));
    let extended = json!({"expiresAt": t2, "expired": t1});
    assert_eq!(base().exception("store-17.a", json!({"a": 2}), extended).values(), json!({"a": 2}));
}

#[test]
fn a_local_override_acts_where_the_site_allows_it_and_is_shown_as_denied_elsewhere() {
    let base = |site: Value| {
        Fleet::new().site(site).profile("p", 1, json!({"pos": {"replicas": 1, "x": 1}}), json!({})).exception(
            "store-17.local",
            json!({"pos": {"replicas": 9, "x": 9}}),
            json!({"vars": {"v": 1}, "apps": [{"app": "pos", "channel": "c"}]}),
        )
    };
    let allowed = base(json!({"localOverride": {"allow": true, "paths": ["pos.replicas"]}}));
    assert_eq!(allowed.values(), json!({"pos": {"replicas": 9, "x": 1}}));
    let denied: Vec<String> = allowed.resolve().denied.into_iter().map(|d| d.path).collect();
    assert_eq!(denied, ["pos.x", "vars.v", "apps"]);
    for refused in [
        json!({}),
        json!({"localOverride": {"allow": false, "paths": ["pos"]}}),
        json!({"localOverride": {"allow": true}}),
    ] {
        let fleet = base(refused);
        assert_eq!(fleet.values(), json!({"pos": {"replicas": 1, "x": 1}}));
        assert_eq!(fleet.resolve().denied.len(), 4);
    }
}

#[test]
fn an_enforced_leaf_cannot_be_touched_at_below_or_above() {
    let tree = json!({"net": {"policy": "deny", "mtu": 1500}, "pos": 1});
    for (write, denied) in [
        (json!({"net": {"policy": "allow"}}), "net.policy"),
        (json!({"net": {"policy": "deny"}}), "net.policy"),
        (json!({"net": {"policy": {"x": 1}}}), "net.policy.x"),
        (json!({"net": {"policy": {}}}), "net.policy"),
        (json!({"net": {"policy": {"$delete": true}}}), "net.policy"),
        (json!({"net": {"$delete": true}}), "net"),
        (json!({"net": {"$replace": {"mtu": 1}}}), "net"),
        (json!({"net": 3}), "net"),
    ] {
        for name in ["store-17.a", "wide"] {
            let selector = if name == "wide" { json!({"selector": {"matchAll": true}}) } else { json!({}) };
            let mut both = write.clone();
            both["pos"] = json!(2);
            let fleet = Fleet::new()
                .profile("p", 1, tree.clone(), json!({"enforced": ["net.policy"]}))
                .exception(name, both, selector);
            let resolution = fleet.resolve();
            assert_eq!(resolution.values, with(tree.clone(), json!({"pos": 2})), "{write} by {name}");
            assert_eq!(resolution.denied[0].path, denied, "{write}");
            assert_eq!(resolution.denied[0].profile.as_deref(), Some("p"));
            assert_eq!(fleet.conditions(), ["Denied"]);
        }
    }
}

#[test]
fn enforcement_pins_leaves_and_leaves_their_neighbours_free() {
    let fleet = Fleet::new()
        .profile("p", 1, json!({"net": {"policy": "deny"}}), json!({"enforced": ["net"]}))
        .exception("store-17.a", json!({"net": {"mtu": 9000}}), json!({}));
    assert_eq!(fleet.values(), json!({"net": {"policy": "deny", "mtu": 9000}}));
    assert_eq!(fleet.conditions(), Vec::<String>::new());
    let unset = Fleet::new().profile("p", 1, json!({"a": 1}), json!({"enforced": ["net"]})).exception(
        "store-17.a",
        json!({"net": {"mtu": 9000}}),
        json!({}),
    );
    assert_eq!(unset.values(), json!({"a": 1, "net": {"mtu": 9000}}));
}

#[test]
fn an_enforced_leaf_beats_profiles_of_higher_priority_that_do_not_enforce_it() {
    let fleet = Fleet::new().profile("low", 1, json!({"a": "low"}), json!({"enforced": ["a"]})).profile(
        "high",
        9,
        json!({"a": "high"}),
        json!({}),
    );
    assert_eq!(fleet.values(), json!({"a": "low"}));
    let two = fleet.profile("mid", 5, json!({"a": "mid"}), json!({"enforced": ["a"]}));
    assert_eq!(two.values(), json!({"a": "mid"}));
}

#[test]
fn enforced_removals_replacements_and_whole_lists_hold() {
    let removed = Fleet::new()
        .profile("p", 1, json!({"a": {"$delete": true}}), json!({"enforced": ["a"]}))
        .profile("q", 2, json!({"a": 1}), json!({}))
        .exception("store-17.a", json!({"a": 2}), json!({}));
    assert_eq!(removed.values(), json!({}));
    let inner = Fleet::new()
        .profile(
            "p",
            1,
            json!({"net": {"$replace": {"policy": "deny", "mtu": 1}}}),
            json!({"enforced": ["net.policy"]}),
        )
        .exception("store-17.a", json!({"net": {"policy": "allow", "mtu": 2}}), json!({}));
    assert_eq!(inner.values(), json!({"net": {"policy": "deny", "mtu": 2}}));
    let whole = Fleet::new()
        .profile("p", 1, json!({"net": {"$replace": {"policy": "deny"}}}), json!({"enforced": ["net"]}))
        .exception("store-17.a", json!({"net": {"mtu": 2}}), json!({}));
    assert_eq!(whole.values(), json!({"net": {"policy": "deny"}}), "a replacement is one leaf");
    let list = Fleet::new().profile("p", 1, json!({"dns": ["a"]}), json!({"enforced": ["dns"]})).exception(
        "store-17.a",
        json!({"dns": ["b"]}),
        json!({}),
    );
    assert_eq!(list.values(), json!({"dns": ["a"]}));
}

#[test]
fn an_empty_map_enforces_nothing_and_a_replacement_by_one_does() {
    let enforcing = |values: Value, write: Value| {
        Fleet::new()
            .profile("p", 1, values, json!({"enforced": ["b.a"]}))
            .exception("store-17.a", write, json!({}))
            .values()
    };
    let replaced = enforcing(json!({"b": {"a": {}}}), json!({"b": {"$replace": {"a": 7}}}));
    assert_eq!(replaced, json!({"b": {"a": 7}}));
    let pinned = enforcing(json!({"b": {"a": {"$replace": {}}}}), json!({"b": {"a": {"x": 7}}}));
    assert_eq!(pinned, json!({"b": {"a": {}}}));
}

#[test]
fn an_override_cannot_change_an_enforced_value_through_its_variables() {
    let policy =
        json!({"enforced": ["net"], "variables": [{"name": "mode", "type": "string", "default": "deny"}]});
    let fleet = Fleet::new().profile("p", 1, json!({"net": "${mode}"}), policy).exception(
        "store-17.a",
        json!({}),
        json!({"vars": {"mode": "allow"}}),
    );
    assert_eq!(fleet.values(), json!({"net": "deny"}));
    assert_eq!(fleet.resolve().denied[0].path, "vars.mode");
}

#[test]
fn keyed_lists_merge_by_element_in_order_of_first_appearance() {
    let keys = json!({"listKeys": {"users": "name"}});
    let over = |higher: Value| {
        Fleet::new()
            .profile(
                "a",
                1,
                json!({"users": [{"name": "ops", "role": "admin"}, {"name": "dev", "role": "r"}]}),
                keys.clone(),
            )
            .profile("b", 2, json!({"users": higher}), json!({}))
    };
    for (higher, expected) in [
        (
            json!([{"name": "dev", "role": "w"}]),
            json!([{"name": "ops", "role": "admin"}, {"name": "dev", "role": "w"}]),
        ),
        (
            json!([{"name": "new"}, {"name": "ops", "x": 1}]),
            json!([{"name": "ops", "role": "admin", "x": 1}, {"name": "dev", "role": "r"}, {"name": "new"}]),
        ),
        (json!([{"name": "ops", "$delete": true}]), json!([{"name": "dev", "role": "r"}])),
        (
            json!([{"name": "nobody", "$delete": true}]),
            json!([{"name": "ops", "role": "admin"}, {"name": "dev", "role": "r"}]),
        ),
        (json!([]), json!([{"name": "ops", "role": "admin"}, {"name": "dev", "role": "r"}])),
        (json!({"$replace": [{"name": "only"}]}), json!([{"name": "only"}])),
        (
            json!([{"name": "ops", "role": {"$delete": true}}]),
            json!([{"name": "ops"}, {"name": "dev", "role": "r"}]),
        ),
    ] {
        assert_eq!(over(higher.clone()).values(), json!({"users": expected}), "{higher}");
    }
    let back = over(json!([{"name": "ops", "$delete": true}])).profile(
        "c",
        3,
        json!({"users": [{"name": "ops"}]}),
        json!({}),
    );
    assert_eq!(back.values()["users"][0], json!({"name": "ops"}), "an element keeps its first place");
    for (bad, reason) in [
        (json!([{"role": "x"}]), "KeyedList"),
        (json!([{"name": "a"}, {"name": "a"}]), "KeyedList"),
        (json!([{"name": 1}, {"name": "1"}]), "KeyedList"),
        (json!([{"name": true}]), "KeyedList"),
        (json!(["ops"]), "KeyedList"),
        (json!({"x": 1}), "TypeChange"),
        (json!([{"name": "a", "$delete": true, "x": 1}]), "InvalidValues"),
    ] {
        assert_eq!(over(bad.clone()).failure().0, reason, "{bad}");
    }
}

#[test]
fn the_highest_profile_that_declares_a_list_decides_its_key() {
    let list = |role: &str| json!({"users": [{"name": "ops", "id": 1, "role": role}]});
    let fleet = Fleet::new().profile("a", 1, list("x"), json!({"listKeys": {"users": "name"}})).profile(
        "b",
        2,
        json!({"users": [{"id": 1, "role": "y"}]}),
        json!({"listKeys": {"users": "id"}}),
    );
    assert_eq!(fleet.values(), json!({"users": [{"id": 1, "name": "ops", "role": "y"}]}));
}

#[test]
fn enforcement_reaches_into_keyed_lists_element_by_element() {
    let keys = json!({"listKeys": {"users": "name"}, "enforced": ["users"]});
    let fleet =
        Fleet::new().profile("a", 1, json!({"users": [{"name": "ops", "role": "admin"}]}), keys).exception(
            "store-17.a",
            json!({"users": [{"name": "ops", "role": "none", "shell": "sh"}, {"name": "me", "role": "x"}]}),
            json!({}),
        );
    let expected = json!([{"name": "ops", "role": "admin", "shell": "sh"}, {"name": "me", "role": "x"}]);
    assert_eq!(fleet.values(), json!({"users": expected}));
    assert_eq!(fleet.resolve().denied[0].path, "users.ops.role");
}

#[test]
fn the_hash_is_that_of_values_and_apps_alone() {
    let fleet = Fleet::new().profile("p", 1, json!({"b": 1, "a": 1.0}), json!({}));
    let expected = blake3::hash(br#"{"apps":{},"values":{"a":1,"b":1}}"#).to_hex().to_string();
    assert_eq!(fleet.resolve().config_hash, expected);
    let renamed = Fleet::new().profile("q", 2, json!({"b": 1, "a": 1}), json!({}));
    assert_eq!(renamed.resolve().config_hash, expected);
    let printed = fleet.resolve().to_json();
    assert_eq!(printed["profiles"][0]["revision"].as_str().unwrap().len(), REVISION_SHORT_DIGITS);
    assert_eq!((&printed["site"], &printed["values"]), (&json!("store-17"), &json!({"a": 1.0, "b": 1})));
}

#[test]
fn a_profile_can_pin_the_revision_that_it_is() {
    let fleet = Fleet::new().profile("p", 1, json!({"a": 1}), json!({}));
    let own = revision(&fleet.profiles[0].1);
    assert_eq!(own.len(), 64);
    let pinned = Fleet::new().profile("p", 1, json!({"a": 1}), json!({"revision": short(&own)}));
    assert_eq!(pinned.values(), json!({"a": 1}));
    assert_eq!(revision(&pinned.profiles[0].1), own);
    let edited = Fleet::new().profile("p", 1, json!({"a": 2}), json!({"revision": own}));
    assert_eq!(edited.failure().0, "PinnedRevisionMissing");
}

fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
    json!({"selector": {"matchExpressions": [{"key": key, "operator": operator, "values": values}]}})
}
