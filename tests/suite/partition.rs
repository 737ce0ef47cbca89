//! Cut off from each other, hubs and an edge go on working; joined again, they are the same.

use serde_json::Value;

use crate::rig::{Fleet, LOCAL_OVERRIDE, MACHINE, PROFILE, until};

const ALL: [&str; 3] = ["hub-eu", "hub-us", "store-01"];

#[test]
fn what_was_written_on_both_sides_of_a_cut_is_there_after_it() {
    let fleet = cut_off();
    the_hubs_write(&fleet);
    the_edge_writes(&fleet);
    assert!(fleet.differ(&ALL), "nodes that are cut off from each other hold the same");
    for node in ALL {
        fleet.heal(node);
    }
    fleet.agree(&ALL);
    nothing_is_lost(&fleet);
    the_same_field_has_one_winner_and_the_loser_is_listed(&fleet);
}

#[test]
fn a_frozen_hub_catches_up() {
    let mut fleet = Fleet::of_two_regions();
    fleet.edge("hub-us", "store-01");
    fleet.apply("hub-eu", PROFILE).ok();
    fleet.shows("store-01", "profile/store-base", ".spec.priority", "100");
    fleet.node("hub-eu").signal("STOP");
    patch(&fleet, "hub-us", r#"{"spec":{"values":{"from-us":1}}}"#);
    fleet.shows("store-01", "profile/store-base", ".spec.values.from-us", "1");
    fleet.node("hub-eu").signal("CONT");
    patch(&fleet, "hub-eu", r#"{"spec":{"values":{"from-eu":1}}}"#);
    fleet.agree(&ALL);
    for node in ALL {
        let values = &fleet.json(node, &["get", "profile/store-base"])["spec"]["values"];
        assert_eq!((&values["from-us"], &values["from-eu"]), (&1.into(), &1.into()), "{node}");
    }
}

/// Two hubs and an edge that hold one profile, each without any session.
fn cut_off() -> Fleet {
    let mut fleet = Fleet::of_two_regions();
    fleet.edge("hub-eu", "store-01");
    fleet.apply("hub-eu", PROFILE).ok();
    for node in ALL {
        fleet.shows(node, "profile/store-base", ".spec.priority", "100");
    }
    for node in ALL {
        fleet.cut(node);
    }
    fleet
}

fn the_hubs_write(fleet: &Fleet) {
    patch(fleet, "hub-eu", r#"{"spec":{"values":{"from-eu":1}}}"#);
    patch(fleet, "hub-us", r#"{"spec":{"values":{"from-us":1}}}"#);
    patch(fleet, "hub-eu", r#"{"spec":{"values":{"pos":{"replicas":3}}}}"#);
    patch(fleet, "hub-us", r#"{"spec":{"values":{"pos":{"replicas":5}}}}"#);
    // One side deletes a whole branch, the other sets a field in it.
    patch(fleet, "hub-eu", r#"{"spec":{"values":{"pos":{"limits":null}}}}"#);
    patch(fleet, "hub-us", r#"{"spec":{"values":{"pos":{"limits":{"memory":512}}}}}"#);
}

fn the_edge_writes(fleet: &Fleet) {
    fleet.apply("store-01", MACHINE).ok();
    fleet.apply("store-01", LOCAL_OVERRIDE).ok();
}

fn nothing_is_lost(fleet: &Fleet) {
    for node in ALL {
        let values = &fleet.json(node, &["get", "profile/store-base"])["spec"]["values"];
        assert_eq!(values["from-eu"], 1, "{node}: {values}");
        assert_eq!(values["from-us"], 1, "{node}: {values}");
        assert_eq!(values["pos"]["limits"]["memory"], 512, "{node}: {values}");
        fleet.cli(node, &["get", "machine/store-01.till-1", "override/store-01.local"]).ok();
    }
}

fn the_same_field_has_one_winner_and_the_loser_is_listed(fleet: &Fleet) {
    let path = "/spec/values/pos/replicas";
    let seen: Vec<(Value, Value)> = ALL
        .iter()
        .map(|node| {
            let profile = fleet.json(node, &["get", "profile/store-base"]);
            let conflicts = fleet.json(node, &["conflicts", "list"]);
            let listed = conflicts["items"][0]["conflicts"].as_array().cloned().unwrap_or_default();
            let found = listed.into_iter().find(|conflict| conflict["path"] == path);
            (profile.pointer(path).cloned().unwrap(), found.unwrap_or_else(|| panic!("{node}: {conflicts}")))
        })
        .collect();
    assert!(seen.iter().all(|found| found == &seen[0]), "{seen:?}");
    let (shown, conflict) = &seen[0];
    let loser = &conflict["losers"][0];
    assert_eq!(shown, &conflict["winner"]["value"]);
    let mut values = [shown.as_u64(), loser["value"].as_u64()];
    values.sort_unstable();
    assert_eq!(values, [Some(3), Some(5)]);
    assert_eq!(loser["by"], "user/admin");
    assert!(loser["time"].as_str().is_some_and(|time| time.starts_with("20")), "{loser}");
    let lines = fleet.cli("hub-eu", &["conflicts", "list"]).ok().stdout;
    let line = lines.lines().find(|line| line.contains("pos.replicas")).unwrap();
    assert!(line.contains("user/admin") && line.contains(loser["time"].as_str().unwrap()), "{line}");
    // A write that has seen both ends it, everywhere.
    patch(fleet, "hub-us", r#"{"spec":{"values":{"pos":{"replicas":4}}}}"#);
    until("the conflict is settled on the other hub", || {
        !fleet.cli("hub-eu", &["conflicts", "list"]).ok().stdout.contains("pos.replicas")
    });
}

fn patch(fleet: &Fleet, node: &str, change: &str) {
    fleet.cli(node, &["patch", "profile", "store-base", "-p", change]).ok();
}
