//! A partition that no program knows of: the link itself is down.
//!
//! A hub and an edge run in network namespaces of their own, with one cable between them. Needs root and iproute2;
//! where namespaces cannot be made the test says so and passes.

use std::collections::BTreeMap;

use crate::rig::{Cable, Fleet, LOCAL_OVERRIDE, MACHINE, PROFILE, Place, until};

const NODES: [&str; 2] = ["hub-eu", "store-01"];

#[test]
fn both_sides_of_an_unplugged_cable_go_on_and_are_the_same_when_it_is_back() {
    let cable = match Cable::lay() {
        Ok(cable) => cable,
        Err(why) => return eprintln!("skipped: no network namespaces here: {why}"),
    };
    let places: BTreeMap<&str, Place> = NODES.into_iter().zip(cable.ends()).collect();
    // Declared after the cable, so that its processes end before their namespaces do.
    let mut fleet = Fleet::at(places);
    fleet.edge("hub-eu", "store-01");
    fleet.apply("hub-eu", PROFILE).ok();
    fleet.shows("store-01", "profile/store-base", ".spec.priority", "100");

    cable.unplug();
    fleet
        .cli("hub-eu", &["patch", "profile", "store-base", "-p", r#"{"spec":{"values":{"from-hub":1}}}"#])
        .ok();
    fleet.apply("store-01", MACHINE).ok();
    // The edge also comes back in the dark: its next session has to be dialled through the cable.
    fleet.node("store-01").kill();
    fleet.node("store-01").restart();
    fleet.apply("store-01", LOCAL_OVERRIDE).ok();
    fleet.cli("hub-eu", &["get", "machine/store-01.till-1"]).refused(1, &["NotFound"]);
    assert_eq!(profile(&fleet, "store-01")["from-hub"], serde_json::Value::Null);
    assert!(!hold_the_same(&fleet), "what was written behind an unplugged cable is on both sides");

    cable.plug();
    until("both sides have the same digests", || hold_the_same(&fleet));
    for node in NODES {
        fleet.cli(node, &["get", "machine/store-01.till-1", "override/store-01.local"]).ok();
        assert_eq!(profile(&fleet, node)["from-hub"], 1, "{node}");
    }
}

/// Whether the hub has the digests of all scopes that the edge holds. Each is asked on its own side of the cable.
fn hold_the_same(fleet: &Fleet) -> bool {
    let [hub, edge] = NODES.map(|node| fleet.cli(node, &["get", "--raw", "/v1/digest"]).ok().json());
    let scopes = edge["scopes"].as_object().unwrap();
    let expected = ["fleet", "profiles/default", "sites/default/store-01"];
    assert_eq!(scopes.keys().collect::<Vec<_>>(), expected);
    scopes.iter().all(|(scope, digest)| hub["scopes"][scope] == *digest)
}

fn profile(fleet: &Fleet, node: &str) -> serde_json::Value {
    fleet.json(node, &["get", "profile/store-base"])["spec"]["values"].clone()
}
