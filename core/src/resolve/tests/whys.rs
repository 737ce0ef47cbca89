//! Explanations, refusals, and reasons for not matching.

use super::*;

fn store() -> Fleet {
    let declared = json!({"variables": [{"name": "n", "type": "integer", "default": 2}], "enforced": ["net.policy"],
        "listKeys": {"users": "name"}});
    let users = json!([{"name": "dev"}, {"name": "ops", "role": "admin"}]);
    Fleet::new()
        .profile(
            "base",
            1,
            json!({"pos": {"replicas": "${n}", "x": 1}, "net": {"policy": "deny"}, "users": users}),
            declared,
        )
        .profile("eu", 2, json!({"pos": {"replicas": 3}, "a.b": {"c/d": 1}}), json!({}))
        .exception("wide", json!({"pos": {"replicas": 5}}), json!({"selector": {"matchAll": true}}))
        .exception("store-17.a", json!({"pos": {"replicas": 4}, "net": {"policy": "allow"}}), json!({}))
}

#[test]
fn a_value_names_its_source_and_everything_that_it_shadowed_in_order() {
    let fleet = store();
    let why = explain(&fleet.inputs(), "pos.replicas").unwrap();
    assert_eq!(why.value, Some(json!(4)));
    assert_eq!(
        (why.source.layer, why.source.kind, why.source.name.as_str()),
        (Layer::SiteOverride, "Override", "store-17.a")
    );
    assert_eq!(why.source.pointer, "/spec/values/pos/replicas");
    assert_eq!(why.source.revision, revision(&fleet.overrides[1].1));
    let shadowed: Vec<(&str, &Value)> = why.shadowed.iter().map(|c| (c.name.as_str(), &c.value)).collect();
    assert_eq!(shadowed, [("base", &json!("${n}")), ("eu", &json!(3)), ("wide", &json!(5))]);
    assert!(why.denied.is_empty() && !why.ambiguous && why.leaves.is_empty());
}

#[test]
fn an_enforced_value_shows_what_was_denied() {
    let why = explain(&store().inputs(), "net.policy").unwrap();
    assert_eq!((why.value, why.source.layer), (Some(json!("deny")), Layer::Enforced));
    assert_eq!(why.source.name, "base");
    assert_eq!(why.shadowed, []);
    assert_eq!((why.denied[0].name.as_str(), &why.denied[0].value), ("store-17.a", &json!("allow")));
}

#[test]
fn pointers_lead_to_the_value_as_written() {
    let mut fleet = store();
    fleet.profiles[1].1["values"]["r"] = json!({"$replace": {"s": [1]}});
    for (path, pointer, value) in [
        ("[\"a.b\"][\"c/d\"]", "/spec/values/a.b/c~1d", json!(1)),
        ("users.ops.role", "/spec/values/users/1/role", json!("admin")),
        ("r.s", "/spec/values/r/$replace/s", json!([1])),
    ] {
        let why = explain(&fleet.inputs(), path).unwrap();
        assert_eq!((why.source.pointer.as_str(), &why.source.value), (pointer, &value), "{path}");
        assert_eq!(why.value, Some(value), "{path}");
    }
}

#[test]
fn a_map_lists_its_leaves_and_variables_name_their_source() {
    let fleet = store();
    let why = explain(&fleet.inputs(), "pos").unwrap();
    assert_eq!(why.value, Some(json!({"replicas": 4, "x": 1})));
    assert_eq!(why.leaves, ["pos.replicas", "pos.x"]);
    let mut alone = store();
    alone.overrides.clear();
    alone.profiles.truncate(1);
    let why = explain(&alone.inputs(), "pos.replicas").unwrap();
    let variable = Variable { value: json!(2), source: "default of profile/base".into() };
    assert_eq!(why.variables, [("n".to_owned(), Some(variable))]);
}

#[test]
fn a_removed_value_names_who_removed_it() {
    let fleet = store().exception("store-17.b", json!({"pos": {"$delete": true}}), json!({"priority": 5}));
    let why = explain(&fleet.inputs(), "pos.replicas").unwrap();
    assert_eq!((why.value, why.source.name.as_str()), (None, "store-17.b"));
    assert_eq!(why.source.pointer, "/spec/values/pos");
}

#[test]
fn what_cannot_be_explained_says_why() {
    let fleet = store();
    assert_eq!(explain(&fleet.inputs(), "nope"), Err(ExplainError::Unset("nope".into())));
    assert!(matches!(explain(&fleet.inputs(), "a..b"), Err(ExplainError::Path(_))));
    let broken = store().profile("x", 9, json!({"pos": 3}), json!({}));
    assert!(matches!(explain(&broken.inputs(), "net.policy"), Err(ExplainError::Failed(_))));
}

#[test]
fn equal_priority_shows_in_the_explanation() {
    let fleet = store().profile("eu2", 2, json!({"pos": {"replicas": 9}}), json!({}));
    assert!(explain(&fleet.inputs(), "pos.replicas").unwrap().ambiguous);
    assert!(!explain(&fleet.inputs(), "net").unwrap().ambiguous);
}

#[test]
fn why_not_names_the_term_that_failed() {
    let select = |selector: Value| {
        let fleet = Fleet::new().profile("p", 1, json!({}), json!({"selector": selector}));
        why_not(&fleet.inputs(), "p")
    };
    let term = |text: &str| WhyNot::Selector(text.into());
    assert_eq!(select(json!({"matchAll": true})), WhyNot::Matches);
    assert_eq!(
        select(json!({"matchLabels": {"class": "plant"}})),
        term("label class=plant, found \"store\"")
    );
    let expression = json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}]});
    assert_eq!(select(expression), term("label tier in (a,b), it is not set"));
    let claim = json!({"claims": [{"key": "gpu", "operator": "Exists"}]});
    assert_eq!(select(claim), term("claim gpu exists, it is not set"));
    assert!(matches!(select(json!({})), WhyNot::Invalid(_)));
    let draft = Fleet::new().profile("p", 1, json!({}), json!({"lifecycle": "Draft"}));
    assert!(matches!(why_not(&draft.inputs(), "p"), WhyNot::Lifecycle(_)));
    assert_eq!(why_not(&draft.inputs(), "q"), WhyNot::Unknown);
}

#[test]
fn the_api_learns_which_enforced_paths_an_override_touches_even_with_equal_values() {
    let fleet = store();
    let check = |name: &str, values: Value| {
        let spec = json!({"values": values, "reason": "x", "permanent": true});
        enforcement_violations(&fleet.inputs(), name, &spec)
    };
    let violation = |path: &str| vec![Violation { path: path.into(), profile: "base".into() }];
    assert_eq!(check("store-17.x", json!({"net": {"policy": "deny"}})), violation("net.policy"));
    assert_eq!(check("store-17.x", json!({"net": {"$delete": true}, "pos": {"x": 3}})), violation("net"));
    assert_eq!(check("store-17.x", json!({"net": {"mtu": 1}})), []);
    assert_eq!(check("store-18.x", json!({"net": {"policy": "deny"}})), []);
}
