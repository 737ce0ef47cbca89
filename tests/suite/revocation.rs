//! A machine that is stolen while its region is cut off, and the machine that takes its place.

use crate::rig::{Fleet, MACHINE, PROFILE, until};

/// What goes on without the stolen machine.
const HONEST: [&str; 3] = ["hub-eu", "hub-us", "store-01.n2"];

#[test]
fn what_a_stolen_machine_wrote_after_the_cut_counts_nowhere_and_what_built_on_it_does() {
    let mut fleet = Fleet::of_two_regions();
    fleet.edge("hub-us", "store-01");
    fleet.edge_beside("hub-us", "store-01", "n2");
    fleet.apply("store-01", MACHINE).ok();
    for node in HONEST {
        fleet.shows(node, "machine/store-01.till-1", ".spec.capacity.cpu", "4");
    }

    fleet.cut("hub-eu");
    set(&fleet, "store-01", r#"{"spec":{"capacity":{"cpu":"64"}}}"#);
    fleet.shows("store-01.n2", "machine/store-01.till-1", ".spec.capacity.cpu", "64");
    set(&fleet, "store-01.n2", r#"{"metadata":{"labels":{"seen-by":"n2"}}}"#);
    let revoke = ["revoke", "--site", "store-01", "--node", "n1", "--reason", "stolen"];
    fleet.cli("hub-us", &revoke).refused(1, &["does not hold the fleet's authority"]);
    let revoked = fleet.cli("hub-eu", &revoke).ok().stdout;
    assert!(revoked.starts_with("default/store-01.n1 revoked as "), "{revoked}");

    fleet.heal("hub-eu");
    for node in HONEST {
        fleet.shows(node, "machine/store-01.till-1", ".spec.capacity.cpu", "4");
        fleet.shows(node, "machine/store-01.till-1", ".metadata.labels.seen-by", "n2");
    }
    fleet.agree(&HONEST);
    until("the other region and the other node of the site have ended their sessions with it", || {
        ["hub-us", "store-01.n2"].into_iter().all(|node| {
            let peers = fleet.json(node, &["peers"]);
            let rows = peers["peers"].as_array().cloned().unwrap_or_default();
            rows.iter()
                .filter(|row| row["name"] == "default/store-01.n1")
                .all(|row| row["state"] == "NotConnected")
        })
    });
    let history = fleet.cli("hub-us", &["history", "machine/store-01.till-1"]).ok().stdout;
    assert!(history.contains("Void"), "{history}");
    // It may go on writing: that stays where it is.
    set(&fleet, "store-01", r#"{"spec":{"capacity":{"cpu":"128"}}}"#);
    fleet.apply("hub-eu", PROFILE).ok();
    fleet.shows("store-01.n2", "profile/store-base", ".spec.priority", "100");
    fleet.shows("hub-eu", "machine/store-01.till-1", ".spec.capacity.cpu", "4");
    fleet.cli("hub-eu", &revoke).refused(1, &["not revoked yet"]);
}

#[test]
fn a_new_machine_takes_the_name_and_the_place_of_the_old() {
    let mut fleet = Fleet::new();
    fleet.edge("hub-eu", "store-01");
    fleet.apply("store-01", MACHINE).ok();
    fleet.shows("hub-eu", "machine/store-01.till-1", ".spec.capacity.cpu", "4");
    fleet.node("store-01").kill();
    let replaced = fleet.cli("hub-eu", &["site", "replace", "store-01"]).ok();
    assert!(replaced.stderr.contains("default/store-01.n1 revoked as "), "{}", replaced.stderr);
    let token = fleet.file("replacement.token", &replaced.stdout);
    fleet.replace("store-01", std::path::Path::new(&token));
    fleet.shows("store-01", "machine/store-01.till-1", ".spec.capacity.cpu", "4");
    set(&fleet, "store-01", r#"{"spec":{"capacity":{"cpu":"8"}}}"#);
    fleet.shows("hub-eu", "machine/store-01.till-1", ".spec.capacity.cpu", "8");
    fleet.agree(&["hub-eu", "store-01"]);
}

fn set(fleet: &Fleet, node: &str, change: &str) {
    fleet.cli(node, &["patch", "machine", "store-01.till-1", "-p", change]).ok();
}
