//! Several hubs in several regions: edges go where one answers, and come home.

use serde_json::Value;

use crate::rig::{Fleet, PROFILE, until, until_timed_out};

const REPLICAS: &str = ".spec.values.pos.replicas";

/// The hubs that an edge has a session with.
fn uplinks(fleet: &Fleet, edge: &str) -> Vec<String> {
    let peers = fleet.json(edge, &["peers"]);
    let live = |peer: &&Value| {
        peer["kind"] == "hub"
            && ["InSync", "Sending", "Comparing"].iter().any(|state| peer["state"] == *state)
    };
    let hubs = peers["peers"].as_array().unwrap().iter().filter(live);
    hubs.map(|peer| peer["name"].as_str().unwrap().to_owned()).collect()
}

fn replicas(fleet: &Fleet, hub: &str, replicas: u64) {
    let change = format!(r#"{{"spec":{{"values":{{"pos":{{"replicas":{replicas}}}}}}}}}"#);
    fleet.cli(hub, &["patch", "profile", "store-base", "-p", &change]).ok();
    fleet.shows("store-01", "profile/store-base", REPLICAS, &replicas.to_string());
}

#[test]
fn an_edge_goes_to_its_region_then_to_a_fallback_and_comes_home() {
    let mut fleet = Fleet::of_two_regions();
    fleet.hub("hub-eu2", "eu");
    fleet.hub("hub-us2", "us");
    fleet.hub("hub-ap", "ap");
    fleet.edge("hub-eu", "store-01");
    let fallback = r#"{"spec":{"fallbackRegions":["us"]}}"#;
    fleet.cli("hub-eu", &["patch", "site", "store-01", "-p", fallback]).ok();
    fleet.apply("hub-us", PROFILE).ok();
    fleet.shows("store-01", "profile/store-base", REPLICAS, "2");
    fleet.shows("store-01", "site/store-01", ".spec.fallbackRegions[0]", "us");
    until("the edge knows where all hubs are", || {
        let known = |hub: &str| fleet.cli("store-01", &["get", &format!("hubstatus/{hub}")]).code == 0;
        ["hub-eu", "hub-eu2", "hub-us", "hub-us2", "hub-ap"].iter().all(|hub| known(hub))
    });

    let first = uplinks(&fleet, "store-01").pop().unwrap();
    let second = if first == "hub-eu" { "hub-eu2" } else { "hub-eu" };
    assert!(first.starts_with("hub-eu"), "an edge begins at home, not at {first}");
    fleet.node(&first).kill();
    until_timed_out("the other hub of the region has the edge", || uplinks(&fleet, "store-01") == [second]);
    replicas(&fleet, second, 3);

    fleet.node(second).stop();
    until("a hub of the fallback region has the edge", || {
        uplinks(&fleet, "store-01").iter().any(|hub| hub.starts_with("hub-us"))
    });
    let away = uplinks(&fleet, "store-01").pop().unwrap();
    replicas(&fleet, "hub-us", 4);
    until("every hub that is left knows where the site is", || {
        ["hub-us", "hub-us2", "hub-ap"].iter().all(|hub| {
            let site = fleet.json(hub, &["get", "site/store-01"]);
            let presence = &site["status"]["presence"];
            presence["phase"] == "Fresh" && presence["hub"] == away.as_str()
        })
    });

    fleet.node(second).restart();
    until("the edge is at home again", || uplinks(&fleet, "store-01") == [second]);
    let peers = fleet.json(&away, &["peers"]);
    let left = peers["peers"].as_array().unwrap().iter().find(|peer| peer["kind"] == "site").unwrap();
    assert!(left["reason"].as_str().unwrap().contains("the uplink has moved"), "{left}");
    fleet.node(&first).restart();
    fleet.shows(&first, "profile/store-base", REPLICAS, "4");
    replicas(&fleet, &first, 5);
    fleet.agree(&["hub-eu", "hub-eu2", "hub-us", "hub-us2", "hub-ap", "store-01"]);
}

#[test]
fn nodes_of_one_site_share_one_uplink_and_take_it_over() {
    let mut fleet = Fleet::new();
    fleet.edge("hub-eu", "store-01");
    fleet.edge_beside("hub-eu", "store-01", "n2");
    let nodes = ["store-01", "store-01.n2"];
    fleet.apply("hub-eu", PROFILE).ok();
    let one = |fleet: &Fleet| {
        let holders: Vec<&str> = nodes.into_iter().filter(|node| !uplinks(fleet, node).is_empty()).collect();
        if let [holder] = holders[..] { Some(holder) } else { None }
    };
    until("one of the two has an uplink", || one(&fleet).is_some());
    let holder = one(&fleet).unwrap();
    let other = if holder == nodes[0] { nodes[1] } else { nodes[0] };
    // Both directions go through the other node.
    fleet.shows(other, "profile/store-base", REPLICAS, "2");
    let machine = "
apiVersion: driftless.dev/v1
kind: Machine
metadata: {name: store-01.till-1}
spec: {capacity: {cpu: '4'}}
";
    fleet.apply(other, machine).ok();
    fleet.shows("hub-eu", "machine/store-01.till-1", ".spec.capacity.cpu", "4");

    fleet.node(holder).stop();
    until("the other takes over", || !uplinks(&fleet, other).is_empty());
    let change = r#"{"spec":{"values":{"pos":{"replicas":6}}}}"#;
    fleet.cli("hub-eu", &["patch", "profile", "store-base", "-p", change]).ok();
    fleet.shows(other, "profile/store-base", REPLICAS, "6");
    fleet.node(holder).restart();
    until("the first has it again, alone", || one(&fleet) == Some(holder));
    fleet.agree(&["hub-eu", nodes[0], nodes[1]]);
}
