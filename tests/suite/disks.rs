//! Disks that are older than they should be, disks that exist twice, and clients that were tampered with.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use driftless::identity::NodeIdentity;
use driftless_core::event::{ChainId, Event, Header, Operation, SCHEMA_VERSION};
use driftless_core::group::{Group, Record};
use driftless_core::ids::Boot;
use driftless_core::name::{Document, Kind};
use driftless_core::replica::{Config, Replica};
use driftless_core::store::{Batch, Order, SledOptions, SledStore, Store as _};

use crate::rig::{Fleet, PROFILE, copy_dir, until};

#[test]
fn a_disk_rolled_back_to_yesterday_gets_its_history_back() {
    let mut fleet = Fleet::new();
    fleet.edge("hub-eu", "store-01");
    machine(&fleet, "store-01", "monday");
    agree(&fleet);
    fleet.node("store-01").stop();
    copy_dir(&fleet.path("store-01"), &fleet.path("backup"));
    fleet.node("store-01").restart();
    machine(&fleet, "store-01", "tuesday");
    agree(&fleet);
    fleet.node("store-01").kill();
    std::fs::remove_dir_all(fleet.path("store-01")).unwrap();
    copy_dir(&fleet.path("backup"), &fleet.path("store-01"));
    // It starts alone, and is written to before it hears what it has lost.
    fleet.node("hub-eu").kill();
    fleet.node("store-01").restart();
    fleet.cli("store-01", &["get", "machine/store-01.tuesday"]).refused(1, &["NotFound"]);
    machine(&fleet, "store-01", "wednesday");
    fleet.node("hub-eu").restart();
    agree(&fleet);
    for node in ["hub-eu", "store-01"] {
        for day in ["monday", "tuesday", "wednesday"] {
            fleet.cli(node, &["get", &format!("machine/store-01.{day}")]).ok();
        }
    }
    until("the edge tells that its disk was rolled back", || {
        conditions(&fleet, "store-01").contains("OwnHistoryRecovered")
    });
}

#[test]
fn what_a_disk_lost_of_its_log_is_found_and_fetched() {
    let mut fleet = Fleet::new();
    fleet.edge("hub-eu", "store-01");
    for day in 0..12 {
        machine(&fleet, "store-01", &format!("day-{day}"));
    }
    agree(&fleet);
    fleet.node("store-01").stop();
    {
        // A page of the store is gone, as if it had never been written.
        let dir = fleet.path("store-01").join("store");
        let mut store = SledStore::open(&dir, SledOptions::default()).unwrap();
        let mut batch = Batch::default();
        let mut note = |key: &[u8], _: &[u8]| {
            batch.delete(key);
            ControlFlow::Break(())
        };
        store.scan(b"rsites/", b"rsites0", Order::Ascending, &mut note).unwrap();
        assert_eq!(batch.len(), 1);
        store.apply(batch).unwrap();
        store.flush().unwrap();
    }
    fleet.node("hub-eu").stop();
    fleet.node("store-01").restart();
    // Nobody is there to ask: what is missing is shown, and everything goes on.
    let url = fleet.url("hub-eu");
    let alone = fleet.cli("store-01", &["verify", "--peers", &url, "--read", "-o", "json"]);
    alone.refused(2, &["nothing was compared"]);
    assert!(conditions(&fleet, "store-01").contains("EventsMissing"));
    fleet.cli("store-01", &["get", "machine/store-01.day-3"]).ok();
    machine(&fleet, "store-01", "afterwards");
    fleet.node("hub-eu").restart();
    let url = fleet.url("hub-eu");
    fleet.cli("store-01", &["verify", "--peers", &url, "--read", "--within", "60s"]).ok();
    assert!(!conditions(&fleet, "store-01").contains("EventsMissing"));
    agree(&fleet);
}

#[test]
fn a_data_directory_on_two_machines_loses_nothing_and_is_seen() {
    let mut fleet = Fleet::new();
    fleet.edge("hub-eu", "store-01");
    machine(&fleet, "store-01", "before");
    agree(&fleet);
    fleet.node("store-01").stop();
    copy_dir(&fleet.path("store-01"), &fleet.path("copy"));
    fleet.node("hub-eu").kill();
    fleet.node("store-01").restart();
    fleet.edge_again("copy");
    machine(&fleet, "store-01", "first");
    machine(&fleet, "copy", "second");
    fleet.node("hub-eu").restart();
    fleet.agree(&["hub-eu", "store-01", "copy"]);
    for node in ["hub-eu", "store-01", "copy"] {
        for name in ["before", "first", "second"] {
            fleet.cli(node, &["get", &format!("machine/store-01.{name}")]).ok();
        }
    }
    until("the hub tells that a key is used twice", || conditions(&fleet, "hub-eu").contains("SameKeyTwice"));
}

#[test]
fn what_a_tampered_edge_writes_is_void_everywhere_and_harms_nobody() {
    let mut fleet = Fleet::of_two_regions();
    fleet.edge("hub-eu", "store-01");
    fleet.edge("hub-eu", "store-02");
    fleet.apply("hub-eu", PROFILE).ok();
    // The edge of another site holds neither the forger's site nor its enrolment.
    let nodes = ["hub-eu", "hub-us", "store-01", "store-02"];
    fleet.agree(&nodes);
    fleet.node("store-01").stop();
    forge(&fleet.path("store-01"));
    fleet.node("store-01").restart();
    // An honest change that has seen the forged one.
    until("the forged event is on the hub", || is_void(&fleet, "hub-eu"));
    fleet
        .cli("hub-eu", &["patch", "profile", "store-base", "-p", r#"{"spec":{"values":{"honest":true}}}"#])
        .ok();
    fleet.agree(&nodes);
    for node in nodes {
        assert!(is_void(&fleet, node), "{node}");
        let values = &fleet.json(node, &["get", "profile/store-base"])["spec"]["values"];
        assert_eq!((&values["pos"]["replicas"], &values["honest"]), (&2.into(), &true.into()), "{node}");
    }
    machine(&fleet, "store-01", "still-works");
    fleet.agree(&nodes);
    fleet.cli("hub-eu", &["get", "machine/store-01.still-works"]).ok();
}

/// Signs, with the key of an edge, a change of a profile, and puts it in the edge's own store.
fn forge(data_dir: &Path) {
    let identity = NodeIdentity::load(data_dir).unwrap();
    let key = identity.key.signing_key().clone();
    let store = SledStore::open(&data_dir.join("store"), SledOptions::default()).unwrap();
    let config = Config { fleet: identity.fleet, key: key.clone(), boot: Boot([1; 16]) };
    let mut replica = Replica::open(store, config).unwrap();
    let document = Document::new(Kind::Profile, "default", "store-base").unwrap();
    let seen = replica.history(&document).unwrap();
    let header = Header {
        schema: SCHEMA_VERSION,
        fleet: identity.fleet,
        document,
        incarnation: 1,
        chain: ChainId { author: replica.author(), boot: Boot([2; 16]) },
        author_seq: 1,
        previous: None,
        succeeds: None,
        dependencies: vec![seen.last().unwrap().event.id()],
        lamport: seen.last().unwrap().event.header().lamport + 1,
        time_ms: 1,
        by: "mallory".into(),
        reason: String::new(),
        extensions: BTreeMap::new(),
    };
    let put = Operation::Put { path: "/spec/values/pos/replicas".into(), value: "99".into() };
    let group = Group::sign(&key, vec![Arc::new(Event::new(header, vec![put]))]);
    let merged = replica.merge(&[Record::Group(group).encode()]).unwrap();
    assert_eq!(merged.void, 1, "{merged:?}");
    replica.commit().unwrap();
}

/// Whether a node's history shows what mallory wrote, and shows it as void.
fn is_void(fleet: &Fleet, node: &str) -> bool {
    let history = fleet.json(node, &["history", "profile/store-base"]);
    let entries = history["entries"].as_array().unwrap();
    entries.iter().any(|entry| entry["by"] == "mallory" && entry["effect"] == "Void")
}

fn machine(fleet: &Fleet, node: &str, name: &str) {
    let manifest = format!(
        "{{apiVersion: driftless.dev/v1, kind: Machine, metadata: {{name: store-01.{name}}}, spec: {{}}}}"
    );
    fleet.apply(node, &manifest).ok();
}

fn agree(fleet: &Fleet) {
    fleet.agree(&["hub-eu", "store-01"]);
}

fn conditions(fleet: &Fleet, node: &str) -> String {
    let shown = fleet.cli(node, &["status"]).ok().stdout;
    let told = fleet.json(node, &["status"])["conditions"].to_string();
    assert!(
        told == "[]"
            || ["OwnHistoryRecovered", "SameKeyTwice", "EventsMissing"]
                .iter()
                .any(|name| shown.contains(name)),
        "{shown}"
    );
    told
}
