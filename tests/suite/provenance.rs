//! A value that went through everything: who set what, when and why, told by each node, also by one that is cut off.

use serde_json::Value;

use crate::rig::{Fleet, until};

const ALL: [&str; 3] = ["hub-eu", "hub-us", "store-01"];

const BASE: &str = "
apiVersion: driftless.dev/v1
kind: Profile
metadata: {name: store-base}
spec:
  priority: 100
  selector: {matchLabels: {class: store}}
  variables: [{name: till_count, type: integer, default: 2}]
  values: {pos: {replicas: '${till_count}'}}
";
const ALL_STORES: &str = "
apiVersion: driftless.dev/v1
kind: Override
metadata: {name: summer}
spec: {selector: {matchLabels: {class: store}}, values: {pos: {replicas: 5}}, reason: season, owner: retail, permanent: true}
";
const ONE_STORE: &str = "
apiVersion: driftless.dev/v1
kind: Override
metadata: {name: store-01.tills}
spec: {values: {pos: {replicas: 4}}, reason: second till, owner: retail, permanent: true}
";
/// The site allows no local override.
const AT_THE_SITE: &str = "
apiVersion: driftless.dev/v1
kind: Override
metadata: {name: store-01.local}
spec: {values: {pos: {replicas: 9}}, reason: queue, permanent: true}
";

#[test]
fn every_node_says_how_a_value_came_about_also_one_that_is_cut_off() {
    let fleet = travelled();
    let shown = ALL.map(|node| why(&fleet, node));
    for why in &shown {
        is_explained(why);
        assert_eq!(facts(why), facts(&shown[0]));
    }
    fleet.cut("store-01");
    let cut_off = why(&fleet, "store-01");
    assert_eq!(facts(&cut_off), facts(&shown[0]));
    let said = fleet.cli("store-01", &["why", "site/store-01", "pos.replicas"]).ok().stdout;
    for reason in ["base", "three tills", "summer", "from-eu", "from-us", "queue"] {
        assert!(said.contains(&format!(": {reason}\n")), "{reason} is not in\n{said}");
    }
    one_command_each(&fleet);
}

/// A profile with a variable that the site sets, an override of all stores, one of this store that both hubs
/// change without each other, and one that people at the site wrote though they may not.
fn travelled() -> Fleet {
    let mut fleet = Fleet::of_two_regions();
    fleet.edge("hub-eu", "store-01");
    apply(&fleet, "hub-eu", BASE, "base");
    let vars = r#"{"spec":{"vars":{"till_count":3}}}"#;
    fleet.cli("hub-eu", &["patch", "site/store-01", "-p", vars, "--reason", "three tills"]).ok();
    apply(&fleet, "hub-eu", ALL_STORES, "summer");
    apply(&fleet, "hub-eu", ONE_STORE, "second till");
    fleet.agree(&ALL);
    for node in ALL {
        fleet.cut(node);
    }
    for (hub, replicas) in [("hub-eu", 6), ("hub-us", 8)] {
        let patch = format!(r#"{{"spec":{{"values":{{"pos":{{"replicas":{replicas}}}}}}}}}"#);
        let reason = hub.replace("hub", "from");
        fleet.cli(hub, &["patch", "override/store-01.tills", "-p", &patch, "--reason", &reason]).ok();
    }
    apply(&fleet, "store-01", AT_THE_SITE, "queue");
    for node in ALL {
        fleet.heal(node);
    }
    fleet.agree(&ALL);
    fleet
}

fn apply(fleet: &Fleet, node: &str, manifest: &str, reason: &str) {
    let file = fleet.file("manifest.yaml", manifest);
    fleet.cli(node, &["apply", "-f", &file, "--reason", reason]).ok();
}

fn why(fleet: &Fleet, node: &str) -> Value {
    fleet.json(node, &["why", "site/store-01", "pos.replicas"])
}

/// What does not depend on who answers, or when.
fn facts(why: &Value) -> Value {
    let mut facts = why.clone();
    for key in ["asOf", "node"] {
        facts.as_object_mut().unwrap().remove(key);
    }
    facts
}

fn is_explained(why: &Value) {
    let source = &why["source"];
    assert_eq!((&source["layer"], &source["name"]), (&"SiteOverride".into(), &"store-01.tills".into()));
    let conflict = &source["conflicts"][0];
    let mut values = [&conflict["winner"], &conflict["losers"][0]];
    values.sort_by_key(|value| value["reason"].as_str());
    is_told(values[0], "from-eu");
    is_told(values[1], "from-us");
    assert_eq!((&values[0]["value"], &values[1]["value"]), (&6.into(), &8.into()));
    let shadowed = &why["shadowed"];
    assert_eq!((&shadowed[0]["name"], &shadowed[1]["name"]), (&"store-base".into(), &"summer".into()));
    is_told(&shadowed[0]["writer"], "base");
    is_told(&shadowed[1]["writer"], "summer");
    let variable = &why["variables"]["till_count"];
    assert_eq!((&variable["value"], &variable["source"]), (&3.into(), &"site".into()));
    is_told(&variable["writer"], "three tills");
    let denied = &why["denied"][0];
    assert_eq!((&denied["layer"], &denied["value"]), (&"LocalOverride".into(), &9.into()));
    is_told(&denied["writer"], "queue");
}

/// Whether it says who wrote it, when, by which event, and why.
fn is_told(writer: &Value, reason: &str) {
    assert_eq!(writer["reason"], reason, "{writer}");
    assert!(writer["by"].as_str().is_some_and(|by| !by.is_empty()), "{writer}");
    assert!(writer["time"].as_str().is_some_and(|time| time.starts_with("20")), "{writer}");
    assert_eq!(writer["event"].as_str().map(str::len), Some(64), "{writer}");
}

/// `blame`, `audit`, `--at` and `revert`: one command each.
fn one_command_each(fleet: &Fleet) {
    let blame = |node: &str| fleet.cli(node, &["blame", "override/store-01.tills"]).ok().stdout;
    let (at_hub, at_edge) = (blame("hub-eu"), blame("store-01"));
    assert_eq!(at_hub, at_edge);
    let line =
        |text: &str| at_hub.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{at_hub}"));
    assert!(line(" owner: retail").contains("second till"), "{at_hub}");
    let won = line(" replicas: ");
    assert!(["from-eu", "from-us"].iter().any(|reason| won.contains(reason)), "{at_hub}");

    let first = fleet.json("hub-us", &["audit", "overrides", "--reason", "summer"]);
    let [summer] = first["items"].as_array().unwrap().as_slice() else { panic!("{first}") };
    let (from, event) = (summer["time"].as_str().unwrap(), summer["event"].as_str().unwrap());
    let audit = ["audit", "--since", from, "--until", "0s", "--site", "store-01"];
    let listed = fleet.cli("hub-us", &audit).ok().stdout;
    for (what, reason) in [
        ("override/summer", "summer"),
        ("override/store-01.tills", "second till"),
        ("override/store-01.tills", "from-eu"),
        ("override/store-01.tills", "from-us"),
        ("override/store-01.local", "queue"),
    ] {
        let is_it = |line: &&str| line.contains(what) && line.ends_with(reason) && line.contains("store-01");
        assert!(listed.lines().any(|line| is_it(&line)), "{what}: {reason} is not in\n{listed}");
    }
    let denied = fleet.cli("hub-us", &["audit", "--effect", "denied"]).ok().stdout;
    assert!(denied.contains("override/store-01.local") && denied.contains("Denied"), "{denied}");

    // What the site should have run when the override of all stores had just been written, or later in its second.
    let then = fleet.json("hub-us", &["resolve", "site/store-01", "--at", event]);
    assert!([5, 4].map(Value::from).contains(&then["values"]["pos"]["replicas"]), "{then}");
    fleet.cli("hub-us", &["get", "override/store-01.tills", "--at", "1h"]).refused(1, &["NotFound"]);

    let dry = fleet.cli("hub-eu", &["revert", event, "--dry-run"]).ok().stdout;
    assert!(dry.contains("-  name: summer") && dry.contains("(server dry run)"), "{dry}");
    fleet.cli("hub-eu", &["revert", event, "--reason", "autumn"]).ok();
    fleet.cli("hub-eu", &["get", "override/summer"]).refused(1, &["NotFound"]);
    until("the other hub holds the revert", || {
        fleet.cli("hub-us", &["history", "override/summer"]).stdout.contains("autumn")
    });
    fleet.cli("store-01", &["revert", event]).refused(1, &["hub"]);
}
