//! What a change reaches, and what keeps it from reaching.

use super::*;
use proptest::prelude::*;

fn store(replicas: u64) -> Fleet {
    let users = json!([{"name": "ops", "role": "admin"}, {"name": "dev", "role": "r"}]);
    let declared = json!({"listKeys": {"users": "name"}, "variables": [{"name": "n", "type": "integer", "default": replicas}]});
    let values =
        json!({"pos": {"replicas": replicas, "tills": "${n}"}, "net": {"mtu": 1500}, "users": users});
    Fleet::new().profile("base", 1, values, declared)
}

fn changed(before: &Fleet, after: &Fleet) -> Vec<String> {
    let impact = impact(&before.inputs(), &after.inputs());
    impact.paths.into_iter().map(|change| change.path).collect()
}

fn masked(before: &Fleet, after: &Fleet) -> Vec<(String, Vec<String>)> {
    let impact = impact(&before.inputs(), &after.inputs());
    impact.masked.into_iter().map(|masked| (masked.path, masked.overrides)).collect()
}

#[test]
fn only_the_paths_that_change_are_named_with_what_they_were() {
    assert!(impact(&store(2).inputs(), &store(2).inputs()).is_none());
    let found = impact(&store(2).inputs(), &store(3).inputs());
    let change = |path: &str| PathChange { path: path.into(), before: Some(json!(2)), after: Some(json!(3)) };
    assert_eq!(found.paths, [change("pos.replicas"), change("pos.tills")]);
    assert!(
        matches!((&found.before, &found.after), (Standing::Resolved(a), Standing::Resolved(b)) if a != b)
    );
}

#[test]
fn maps_and_keyed_lists_are_compared_leaf_by_leaf_and_other_lists_whole() {
    let over = |values: Value| store(2).exception("store-17.a", values, json!({}));
    for (values, expected) in [
        (json!({"net": {"$delete": true}}), vec!["net.mtu"]),
        (json!({"new": {"a": 1, "b.c": {"d": 2}}}), vec!["new.a", "new[\"b.c\"].d"]),
        (json!({"empty": {}}), vec!["empty"]),
        (json!({"net": {"$replace": 3}}), vec!["net"]),
        (json!({"list": [1]}), vec!["list"]),
        (json!({"users": [{"name": "ops", "role": "none"}]}), vec!["users.ops.role"]),
        (json!({"users": [{"name": "new", "role": "x"}]}), vec!["users.new.name", "users.new.role"]),
        (
            json!({"users": {"$replace": [{"name": "dev", "role": "r"}, {"name": "ops", "role": "admin"}]}}),
            vec!["users"],
        ),
        (json!({"pos": {"replicas": 2.0}}), vec![]),
    ] {
        assert_eq!(changed(&store(2), &over(values.clone())), expected, "{values}");
    }
}

#[test]
fn an_exception_masks_what_it_decides_and_nothing_else() {
    let over = |replicas| store(replicas).exception("store-17.a", json!({"pos": {"replicas": 9}}), json!({}));
    assert_eq!(changed(&over(2), &over(3)), ["pos.tills"]);
    assert_eq!(masked(&over(2), &over(3)), [("pos.replicas".into(), vec!["store-17.a".into()])]);
    let var = |replicas| store(replicas).exception("store-17.a", json!({}), json!({"vars": {"n": 9}}));
    assert_eq!(changed(&var(2), &var(3)), ["pos.replicas"]);
    assert_eq!(masked(&var(2), &var(3)), [("pos.tills".into(), vec!["store-17.a".into()])]);
    assert_eq!(masked(&over(2), &over(2)), []);
}

#[test]
fn a_denied_exception_masks_nothing() {
    let over = |replicas, name: &str| {
        let mut fleet = store(replicas).exception(name, json!({"pos": {"replicas": 9}}), json!({}));
        fleet.profiles[0].1["enforced"] = json!(["pos.replicas"]);
        fleet
    };
    assert_eq!(changed(&over(2, "store-17.a"), &over(3, "store-17.a")), ["pos.replicas", "pos.tills"]);
    assert_eq!(masked(&over(2, "store-17.a"), &over(3, "store-17.a")), []);
}

#[test]
fn a_site_that_breaks_or_loses_its_profiles_changes_no_path_and_says_so() {
    let broken = store(2).exception("store-17.a", json!({"pos": 1}), json!({}));
    let found = impact(&store(2).inputs(), &broken.inputs());
    assert!(matches!(&found.after, Standing::Failed(failure) if failure.reason == "TypeChange"));
    assert!(found.paths.is_empty() && !found.is_none());
    let found = impact(&store(2).inputs(), &Fleet::new().inputs());
    assert_eq!(found.after, Standing::NoProfile);
}

#[test]
fn apps_are_named_as_such() {
    let fleet = |version: &str| {
        let mut fleet = store(2);
        fleet.profiles[0].1["apps"] = json!([{"app": "pos", "channel": "stable"}]);
        fleet.apps.push(("pos".into(), json!({"channels": {"stable": version}})));
        for version in ["1", "2"] {
            let spec = json!({"app": "pos", "version": version, "digest": format!("sha256:{version}")});
            fleet.releases.push((format!("pos.{version}"), spec));
        }
        fleet
    };
    assert_eq!(changed(&fleet("1"), &fleet("2")), ["app pos"]);
    let pinned = |version: &str| {
        let apps = json!({"apps": [{"app": "pos", "version": "1"}]});
        fleet(version).exception("store-17.a", json!({}), apps)
    };
    assert_eq!(masked(&pinned("1"), &pinned("2")), [("app pos".into(), vec!["store-17.a".into()])]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_does_not_reach_a_site_can_be_left_out(fleet in agreement::fleet()) {
        let inputs = fleet.inputs();
        let subject = Subject::of(&inputs).unwrap();
        let mut reaching = inputs.clone();
        reaching.profiles.retain(|o| Reach::of_profile(o.spec).includes(&subject));
        reaching.overrides.retain(|o| Reach::of_override(o.name, o.spec).includes(&subject));
        prop_assert_eq!(resolve(&reaching), resolve(&inputs));
        let all = inputs.clone();
        let namespace = Reaching::new(all.profiles, all.overrides, all.apps, all.releases);
        prop_assert_eq!(resolve(&namespace.inputs(inputs.site, inputs.claims.clone())), resolve(&inputs));
    }

    #[test]
    fn equal_hashes_and_no_changed_path_are_the_same_thing(before in agreement::fleet(), after in agreement::fleet()) {
        let found = impact(&before.inputs(), &after.inputs());
        if let (Standing::Resolved(a), Standing::Resolved(b)) = (&found.before, &found.after) {
            prop_assert_eq!(a == b, found.paths.is_empty());
        }
    }
}
