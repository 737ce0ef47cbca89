//! Variables and apps: one hand-written case for each rule and pitfall.

use super::*;

#[test]
fn variables_take_the_first_value_found_and_keep_their_type_when_alone() {
    let declared = json!({"variables": [
        {"name": "n", "type": "integer", "default": 2, "min": 1, "max": 40},
        {"name": "c", "type": "string", "from": "site.labels.country"},
        {"name": "r", "type": "string", "from": "site.labels[\"driftless.dev/region\"]"},
        {"name": "f", "type": "number", "default": 1.5}, {"name": "b", "type": "boolean", "default": true}]});
    let tree = json!({"n": "${n}", "t": "n=${n} c=${c}/${r} f=${f} b=${b}", "l": ["${n}", {"x": "${b}"}],
        "lit": "$${n} $ $5 $$${n}"});
    let fleet = || Fleet::new().profile("p", 1, tree.clone(), declared.clone());
    let values = fleet().values();
    assert_eq!(values["n"], json!(2));
    assert_eq!(values["t"], json!("n=2 c=nl/eu f=1.5 b=true"));
    assert_eq!(values["l"], json!([2, {"x": true}]));
    assert_eq!(values["lit"], json!("${n} $ $5 $${n}"));
    let site = fleet().site(json!({"region": "eu", "vars": {"n": 3, "unknown": 1}}));
    assert_eq!(site.values()["n"], json!(3));
    let over = site.exception("store-17.a", json!({}), json!({"vars": {"n": 4}}));
    assert_eq!(over.values()["n"], json!(4));
    assert_eq!(over.resolve().variables["n"], json!({"value": 4, "source": "override/store-17.a"}));
    assert_eq!(over.resolve().variables["c"]["source"], json!("from site.labels.country"));
}

#[test]
fn substitution_happens_once_and_in_profile_values_only() {
    let declared = json!({"variables": [{"name": "x", "type": "string", "default": "${y}"}]});
    let fleet = Fleet::new().profile("p", 1, json!({"a": "${x}"}), declared).exception(
        "store-17.a",
        json!({"b": "${x} $${x}"}),
        json!({}),
    );
    assert_eq!(fleet.values(), json!({"a": "${y}", "b": "${x} $${x}"}));
}

#[test]
fn variables_that_do_not_hold_fail_the_site() {
    let with_site = |declaration: Value, text: &str, vars: Value| {
        Fleet::new()
            .site(json!({"vars": vars}))
            .profile("p", 1, json!({"a": text}), json!({"variables": [declaration]}))
            .failure()
            .1
    };
    for (declaration, text, vars, expected) in [
        (json!({"name": "n", "type": "integer"}), "${m}", json!({}), "m is not declared"),
        (json!({"name": "n", "type": "integer"}), "${n}", json!({}), "n has no value"),
        (json!({"name": "n", "type": "integer", "required": true}), "", json!({}), "is required"),
        (json!({"name": "n", "type": "integer"}), "", json!({"n": "3"}), "found a string (site)"),
        (json!({"name": "n", "type": "integer"}), "", json!({"n": 3.5}), "type integer"),
        (json!({"name": "n", "type": "integer", "min": 1}), "", json!({"n": 0}), "below the minimum 1"),
        (json!({"name": "n", "type": "integer", "max": 4}), "", json!({"n": 5}), "above the maximum 4"),
        (
            json!({"name": "n", "type": "integer", "from": "site.labels.country"}),
            "",
            json!({}),
            "\"nl\" is not",
        ),
        (json!({"name": "n", "type": "integer"}), "${n", json!({}), "never closed"),
        (json!({"name": "n", "type": "colour"}), "", json!({}), "must be string"),
    ] {
        let message = with_site(declaration.clone(), text, vars);
        assert!(message.contains(expected), "{declaration}: {message}");
    }
}

#[test]
fn declarations_merge_and_all_bounds_apply() {
    let declare = |more: Value| json!({"variables": [with(json!({"name": "n", "type": "integer"}), more)]});
    let fleet = |vars: Value| {
        Fleet::new()
            .site(json!({"vars": vars}))
            .profile("a", 1, json!({"n": "${n}"}), declare(json!({"default": 2, "min": 2, "max": 50})))
            .profile("b", 2, json!({}), declare(json!({"default": 7, "min": 1, "max": 40})))
    };
    assert_eq!(fleet(json!({})).values(), json!({"n": 7}));
    assert_eq!(fleet(json!({})).resolve().variables["n"]["source"], json!("default of profile/b"));
    assert_eq!(fleet(json!({"n": 1})).failure().0, "Variable");
    assert_eq!(fleet(json!({"n": 41})).failure().0, "Variable");
    let clash =
        fleet(json!({})).profile("c", 3, json!({}), json!({"variables": [{"name": "n", "type": "string"}]}));
    assert!(clash.failure().1.contains("declared as integer and as string"));
}

#[test]
fn apps_merge_by_app_and_channels_become_versions_and_digests() {
    let catalog = |mut fleet: Fleet| {
        fleet.apps.push(("pos".into(), json!({"channels": {"stable": "2.3.1", "beta": "2.4.0"}})));
        fleet.apps.push(("till".into(), json!({"channels": {"stable": "1.0.0"}})));
        for (name, app, version) in
            [("pos.1", "pos", "2.3.1"), ("pos.2", "pos", "2.4.0"), ("till.1", "till", "1.0.0")]
        {
            let spec = json!({"app": app, "version": version, "digest": format!("sha256:{app}-{version}")});
            fleet.releases.push((name.into(), spec));
        }
        fleet
    };
    let apps = |list: Value| json!({"apps": list});
    let both = apps(json!([{"app": "pos", "channel": "stable"}, {"app": "till", "channel": "stable"}]));
    let base = || catalog(Fleet::new().profile("p", 1, json!({}), both.clone()));
    let pos = json!({"version": "2.3.1", "digest": "sha256:pos-2.3.1", "channel": "stable"});
    assert_eq!(base().resolve().apps["pos"], pos);
    let beta = base().exception(
        "store-17.a",
        json!({}),
        apps(json!([{"app": "pos", "channel": "beta"}, {"app": "till", "$delete": true}])),
    );
    let expected = json!({"pos": {"version": "2.4.0", "digest": "sha256:pos-2.4.0", "channel": "beta"}});
    assert_eq!(beta.resolve().apps, expected);
    let fixed = base().exception("store-17.a", json!({}), apps(json!([{"app": "pos", "version": "2.4.0"}])));
    assert_eq!(fixed.resolve().apps["pos"], json!({"version": "2.4.0", "digest": "sha256:pos-2.4.0"}));
    for (entry, reason) in [
        (json!({"app": "nope", "channel": "stable"}), "UnknownApp"),
        (json!({"app": "pos", "channel": "nightly"}), "UnknownChannel"),
        (json!({"app": "pos", "version": "9"}), "UnknownRelease"),
        (json!({"app": "pos"}), "InvalidApps"),
        (json!({"channel": "stable"}), "InvalidApps"),
    ] {
        let fleet = base().exception("store-17.a", json!({}), apps(json!([entry])));
        assert_eq!(fleet.failure().0, reason);
        assert_eq!(fleet.resolve().config_hash, "", "a failure gives no configuration");
    }
    let mut yanked = base();
    yanked.releases[0].1["yanked"] = json!(true);
    assert_eq!(yanked.failure().0, "ReleaseYanked");
    let mut twice = base();
    twice
        .releases
        .push(("pos.3".into(), json!({"app": "pos", "version": "2.3.1", "digest": "sha256:other"})));
    assert_eq!(twice.failure().0, "AmbiguousRelease");
    let mut deprecated = base();
    deprecated.releases[0].1["deprecated"] = json!(true);
    assert_eq!(deprecated.conditions(), ["Deprecated"]);
}
