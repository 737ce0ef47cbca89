#![allow(clippy::unwrap_used)]
use std::ops::ControlFlow;

use driftless_core::name::{Kind, Scope};
use driftless_core::store::{Batch, Order, Store as _};
use driftless_core::testing;
use serde_json::json;

use super::node::NodeId;
use super::world::DOWN_MS;
use super::*;
use crate::proto::Input;

fn passes(scenario: &Scenario, seed: u64) -> Report {
    run(scenario, seed).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn a_calm_fleet_converges() {
    let report = passes(&Scenario::calm(2, 4), 1);
    assert!(report.acknowledged > 100 && report.totals.void > 0, "{report:?}");
    assert_eq!(report.totals.closes.len(), 0, "nobody ends a session without a reason: {report:?}");
}

/// In a storm, which breaks a link every second and kills a node every three, it is more: what is on its way
/// when a link breaks is fetched another way, and comes twice if it arrived after all.
#[test]
fn hubs_receive_each_event_close_to_once() {
    const SEEDS: u64 = 4;
    for hubs in [4, 10] {
        let mut scenario = Scenario::calm(hubs, 2 * hubs);
        scenario.busy_ms = 60_000;
        let calm = passes(&scenario, 1).totals;
        assert!(calm.hub_events > 1_000 && calm.received_per_event() <= 1.02, "{hubs} hubs: {calm:?}");
        let storm = Scenario::storm();
        scenario.faults = Faults { copies: 0, ..storm.faults };
        (scenario.busy_ms, scenario.settle_ms) = (storm.busy_ms, storm.settle_ms);
        let each: Vec<f64> =
            (1..=SEEDS).map(|seed| passes(&scenario, seed).totals.received_per_event()).collect();
        let mean = each.iter().sum::<f64>() / each.len() as f64;
        assert!(mean <= 1.3, "{hubs} hubs: {each:?}");
    }
}

#[test]
fn wrong_presence_is_noticed() {
    let mut world = converged();
    world.run_until(world.now + IDLE_MS).unwrap();
    checkers::presence(&world).unwrap();
    let running = world.nodes[0].running.as_mut().unwrap();
    let edge = running.engine.sessions.iter().find(|(_, session)| !session.is_hub()).map(|(id, _)| *id);
    let gone = Input::Closed { session: edge.unwrap(), reason: "unnoticed".into(), silent_ms: 0 };
    running.engine.handle(world.now, gone, &mut running.replica, &mut vec![]).unwrap();
    assert_eq!(checkers::presence(&world).unwrap_err().property, "presence");
}

#[test]
fn a_seed_is_a_run() {
    let scenario = Scenario::storm();
    let (first, second) = (passes(&scenario, 3), passes(&scenario, 3));
    assert_eq!(first, second);
    assert_ne!(first.trace, passes(&scenario, 4).trace);
}

#[test]
fn a_storm_contains_every_fault() {
    let report = passes(&Scenario::storm(), 1);
    for fault in ["broken connections", "copied disks", "crashes", "cuts", "partitions", "rolled-back disks"]
    {
        assert!(report.totals.faults.contains_key(fault), "{fault}: {report:?}");
    }
    assert!(report.totals.conditions > 0, "rolled-back and copied disks are told: {report:?}");
    assert!(report.totals.closes.keys().any(|reason| reason.starts_with("protocol violation")), "{report:?}");
}

#[test]
fn a_site_of_several_nodes_survives_a_storm_with_checkpoints() {
    let report = passes(&Scenario::several_nodes(), 1);
    assert!(report.totals.checkpoints > 10, "{report:?}");
}

#[test]
fn nodes_of_a_site_come_to_rest_with_one_uplink() {
    let mut scenario = Scenario::several_nodes();
    scenario.faults.copies = 0;
    for seed in 0..3 {
        let report = passes(&scenario, seed);
        let moved = report.totals.closes.get("the uplink has moved");
        assert!(moved.is_some_and(|moved| *moved > 0), "{report:?}");
    }
    let mut world = World::new(&scenario, 3);
    work_and_converge(&mut world, &mut |_| {}).unwrap();
    world.run_until(world.now + IDLE_MS).unwrap();
    checkers::uplinks(&world).unwrap();
    let holds = |node: &NodeId| {
        let running = world.nodes[*node].running.as_ref().unwrap();
        running.engine.sessions.values().any(|session| session.is_hub())
    };
    let holder = (world.scenario.hubs..world.nodes.len()).find(holds).unwrap();
    world.crash(holder, DOWN_MS);
    assert_eq!(checkers::uplinks(&world).unwrap_err().property, "uplinks");
}

#[test]
fn a_hundred_sites_converge() {
    let report = passes(&Scenario::large(100), 1);
    assert_eq!(report.nodes, 102);
    assert!(report.acknowledged > 500, "{report:?}");
}

#[test]
fn sites_that_return_after_an_outage_get_what_they_missed() {
    let mut scenario = Scenario::calm(4, 12);
    (scenario.regions, scenario.busy_ms) = (2, 90_000);
    scenario.work.until_ms = Some(50_000);
    scenario.work.policies_ms = vec![45_000];
    scenario.faults.outage = Some(Outage { at_ms: 30_000, down_ms: 30_000, return_ms: 20_000 });
    let report = passes(&scenario, 1);
    let returned = report.returned.unwrap();
    assert_eq!(returned.edges, 12);
    assert!(returned.cost.frames > 0 && returned.cost.received > 0, "sites wrote while they were away");
    assert_eq!((report.policy_ms.len(), report.not_arrived), (15, 0));
    assert!(report.policy_ms.iter().all(|ms| *ms < 10_000), "counted from the return: {report:?}");
    assert!(report.sessions_max.sessions >= 3 && report.sessions_max.bytes > 0, "{:?}", report.sessions_max);
}

#[test]
fn regions_that_are_cut_off_and_hubs_that_fail_lose_nothing() {
    let mut scenario = Scenario::calm(4, 8);
    (scenario.regions, scenario.busy_ms) = (2, 120_000);
    scenario.work.machine_every_ms = 200;
    scenario.work.machines_per_followed = 4;
    scenario.faults = Faults {
        region_partition_every_ms: 30_000,
        partition_ms: 15_000,
        hub_failure_every_ms: 20_000,
        hub_failure_ms: 10_000,
        ..Faults::default()
    };
    let report = passes(&scenario, 1);
    assert!(report.totals.faults["hub failures"] > 1 && report.totals.faults["partitions"] > 1);
    assert!(report.machine_ms.len() > 100 && report.not_arrived == 0, "{report:?}");
    assert_eq!(report.acknowledged, report.totals.acknowledged);
    assert!(report.hubs.times_received() < 1.2, "{:?}", report.hubs);
    assert!(report.totals.to_edges.bytes > 0 && report.totals.between_hubs.bytes > 0);
}

#[test]
fn disks_that_lose_old_parts_of_their_logs_are_repaired_while_work_goes_on() {
    for seed in 0..6 {
        let mut world = World::new(&Scenario::calm(3, 4), seed);
        world.run_until(World::begin_ms() + 12_000).unwrap();
        let mut lost = 0;
        for node in [1, 3, 2] {
            lost += lose_first_runs(&mut world, node);
            world.run_until(world.now + 9_000).unwrap();
            keep_up(&mut world);
        }
        assert!(lost > 3, "{lost}");
        work_and_converge(&mut world, &mut |_| {}).unwrap();
        for _ in 0..6 {
            keep_up(&mut world);
            world.run_until(world.now + 2_000).unwrap();
        }
        for (id, _, running) in world.running() {
            assert_eq!(running.replica.faults().collect::<Vec<_>>(), [], "seed {seed}, node {id}");
        }
        check_everything(&world).unwrap();
        checkers::convergence(&world).unwrap();
        let mended: u64 =
            world.running().map(|(_, _, running)| running.replica.scrub_counts().places_mended).sum();
        assert!(mended >= lost, "{mended} of {lost}");
        let held = |world: &World, node: usize| {
            let replica = world.replica(node).unwrap();
            replica.scopes().map(|scope| replica.scrubbed(scope).map(|s| s.held)).collect::<Vec<_>>()
        };
        assert_eq!(held(&world, 0), held(&world, 1));
        assert_eq!(held(&world, 0), held(&world, 2));
    }
}

/// Crashes a node, and deletes the first run of every scope from its disk that the first hub holds whole.
/// Returns how many.
fn lose_first_runs(world: &mut World, node: usize) -> u64 {
    let reference = world.replica(0).unwrap();
    let held: Vec<_> = reference.scopes().map(|scope| (scope.clone(), reference.vector(scope))).collect();
    let running = world.nodes[node].running.as_mut().unwrap();
    running.replica.settle().unwrap();
    running.replica.flush_store().unwrap();
    let replica = &running.replica;
    let whole = held.iter().filter(|(scope, held)| replica.vector(scope).missing_in(held) == 0);
    let scopes: Vec<Scope> = whole.map(|(scope, _)| scope.clone()).filter(|s| *s != Scope::Fleet).collect();
    world.crash(node, DOWN_MS);
    let disk = &mut world.nodes[node].disk;
    let mut lost = 0;
    for scope in scopes {
        let (start, end) = (format!("r{scope}\0"), format!("r{scope}\u{1}"));
        let mut batch = Batch::default();
        let mut first = |key: &[u8], _: &[u8]| {
            batch.delete(key);
            ControlFlow::Break(())
        };
        disk.scan(start.as_bytes(), end.as_bytes(), Order::Ascending, &mut first).unwrap();
        lost += batch.len() as u64;
        disk.apply(batch).unwrap();
    }
    disk.flush().unwrap();
    lost
}

/// What daemons do all day: read everything back, ask for what is missing.
fn keep_up(world: &mut World) {
    for node in 0..world.nodes.len() {
        let now = world.now;
        let Some(running) = &mut world.nodes[node].running else { continue };
        for scope in running.replica.scopes().cloned().collect::<Vec<_>>() {
            running.replica.scrub_scope(&scope).unwrap();
        }
        let mut outputs = vec![];
        running.engine.ask_for_missing(now, &running.replica, &mut outputs);
        world.carry_out(node, outputs).unwrap();
    }
}

/// A fleet that has just converged.
fn converged() -> World {
    let mut world = World::new(&Scenario::calm(2, 3), 5);
    work_and_converge(&mut world, &mut |_| {}).unwrap();
    check_everything(&world).unwrap();
    world
}

#[test]
fn a_missing_event_is_noticed() {
    let mut world = converged();
    let running = world.nodes[1].running.as_mut().unwrap();
    testing::put(&mut running.replica, Kind::Site, "acme", "store-0001", json!({"spec": {"region": "us"}}));
    running.replica.commit().unwrap();
    assert_eq!(checkers::convergence(&world).unwrap_err().property, "convergence");
    assert_eq!(checkers::views(&world, 64).unwrap_err().property, "views");
}

#[test]
fn a_lost_write_is_noticed() {
    let mut world = converged();
    world.acknowledged.values_mut().next().unwrap().seq += 1_000;
    assert_eq!(checkers::acknowledged(&world).unwrap_err().property, "acknowledged writes");
}

#[test]
fn a_scope_in_the_wrong_hands_is_noticed() {
    let mut world = converged();
    let scope = "sites/acme/store-0001".parse().unwrap();
    let read = world.replica(0).unwrap().log(&scope, 0, 1 << 20).unwrap();
    let records: Vec<_> = read.entries.iter().map(|entry| entry.bytes.clone()).collect();
    let running = world.nodes[2].running.as_mut().unwrap();
    running.replica.merge(&records).unwrap();
    running.replica.commit().unwrap();
    assert_eq!(checkers::interest(&world).unwrap_err().property, "interest");
}

#[test]
fn work_in_an_idle_fleet_is_noticed() {
    let mut world = converged();
    world.run_until(world.now + IDLE_MS).unwrap();
    let before = checkers::work_so_far(&world);
    let document = World::document(Kind::Site, "store-0001");
    let patch = json!({"metadata": {"labels": {"tier": "noticed"}}});
    let change = driftless_core::replica::ChangeRequest::MergePatch(patch);
    world.write(0, driftless_core::replica::Write::new(document, change, "ann", 1)).unwrap();
    world.run_until(world.now + IDLE_MS).unwrap();
    assert_eq!(checkers::idle_work(&world, &before).unwrap_err().property, "idle work");
}

#[test]
fn an_engine_that_never_fetches_is_noticed() {
    let failed = (0..12).any(|seed| {
        let mut world = World::new(&Scenario::storm(), seed);
        world.limits.fetch_ms = u64::MAX / 4;
        work_and_converge(&mut world, &mut |_| {}).is_err_and(|broken| broken.property == "convergence")
            || checkers::status(&world).is_err()
    });
    assert!(failed, "hubs need to fetch what was announced and did not come");
}
