//! Presence: every hub says of every site when it was last heard, and as of when it knows.

use serde_json::Value;

use crate::rig::{Fleet, until, until_timed_out};

const SITE: &str = "site/store-01";

/// What a hub says of the site's presence.
fn presence(fleet: &Fleet, hub: &str) -> Value {
    fleet.json(hub, &["get", SITE])["status"]["presence"].clone()
}

fn says(fleet: &Fleet, hub: &str, phase: &str, heard_by: &str) -> bool {
    let presence = presence(fleet, hub);
    presence["phase"] == phase && presence["hub"] == heard_by
}

#[test]
fn a_site_is_fresh_at_every_hub_and_stale_once_it_is_killed() {
    let mut fleet = Fleet::of_two_regions();
    fleet.edge("hub-us", "store-01");
    for hub in ["hub-us", "hub-eu"] {
        until("the site is fresh at both hubs", || says(&fleet, hub, "Fresh", "hub-us"));
        until("status counts it", || fleet.json(hub, &["status"])["sites"]["phases"]["Fresh"] == 1);
        let table = fleet.cli(hub, &["get", "sites", "-o", "wide"]).ok().stdout;
        assert!(
            table.contains("LAST-SEEN") && table.contains("Fresh") && table.contains("hub-us"),
            "{table}"
        );
        let described = fleet.cli(hub, &["describe", SITE]).ok().stdout;
        assert!(described.contains("phase:") && described.contains("Fresh"), "{described}");
    }
    let before = presence(&fleet, "hub-us")["lastSeen"].as_str().unwrap().to_owned();
    fleet.node("store-01").kill();
    let alive = presence(&fleet, "hub-us")["lastSeen"].as_str().unwrap().to_owned();
    for hub in ["hub-us", "hub-eu"] {
        until_timed_out("nobody hears the site any more", || says(&fleet, hub, "Stale", "hub-us"));
        let seen = presence(&fleet, hub)["lastSeen"].as_str().unwrap().to_owned();
        // An idle connection is heard every 20 seconds; nothing was heard after the end.
        assert!(seen <= alive, "{hub}: seen {seen}, killed before {alive}, fresh at {before}");
        let status = fleet.cli(hub, &["status"]).ok().stdout;
        assert!(status.contains("1: 1 Stale"), "{status}");
    }
    fleet.node("store-01").restart();
    until("it is back at both hubs", || {
        ["hub-us", "hub-eu"].iter().all(|hub| says(&fleet, hub, "Fresh", "hub-us"))
    });
}

#[test]
fn what_a_hub_that_is_cut_off_was_told_gets_no_younger() {
    let mut fleet = Fleet::of_two_regions();
    fleet.edge("hub-eu", "store-01");
    until("the site is fresh at both hubs", || says(&fleet, "hub-us", "Fresh", "hub-eu"));
    fleet.cut("hub-us");
    let as_of = |hub: &str| presence(&fleet, hub)["asOf"].as_str().unwrap().to_owned();
    let cut = as_of("hub-eu");
    until("the hub that is cut off knows that it is", || as_of("hub-us") <= cut);
    // Things go on at the other side, of which nothing is known here.
    for _ in 0..2 {
        let before = as_of("hub-eu");
        until("time passes there", || as_of("hub-eu") > before);
    }
    let told = presence(&fleet, "hub-us");
    assert!(told["asOf"].as_str().unwrap() <= cut.as_str(), "{told}, cut at {cut}");
    assert!(told["lastSeen"].as_str().unwrap() <= cut.as_str(), "{told}, cut at {cut}");
    let status = fleet.cli("hub-us", &["status"]).ok().stdout;
    assert!(status.contains("Heard as of:") && status.contains("hub-eu (eu): Fresh, heard"), "{status}");
    let peers = fleet.cli("hub-us", &["peers"]).ok().stdout;
    assert!(peers.contains("LAST-HEARD") && peers.contains("CutByOperator"), "{peers}");
    fleet.heal("hub-us");
    until("the hubs speak again", || as_of("hub-us") > cut && says(&fleet, "hub-us", "Fresh", "hub-eu"));
}

#[test]
fn an_edge_answers_for_itself_and_a_site_nobody_heard_is_unknown() {
    let mut fleet = Fleet::of_two_regions();
    fleet.edge("hub-us", "store-01");
    assert_eq!(presence(&fleet, "store-01")["phase"], "Fresh");
    fleet.cut("store-01");
    assert_eq!(presence(&fleet, "store-01")["phase"], "Fresh", "the site speaks of itself");
    let manifest = "
apiVersion: driftless.dev/v1
kind: Site
metadata: {name: store-02}
spec: {region: us}
";
    fleet.apply("hub-eu", manifest).ok();
    let never = fleet.json("hub-eu", &["get", "site/store-02"])["status"]["presence"].clone();
    assert_eq!((never["phase"].as_str(), &never["lastSeen"]), (Some("Unknown"), &Value::Null));
    until("it is the only one that is unknown", || {
        fleet.json("hub-eu", &["status"])["sites"]["phases"]["Unknown"] == 1
    });
}
