//! What goes wrong, and how all of it ends.

use std::collections::BTreeSet;

use super::node::{Node, NodeId, Uplink};
use super::outage;
use super::report::Broken;
use super::world::{DOWN_MS, Happening, World};
use crate::proto::CutTarget;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Break,
    Partition,
    RegionPartition,
    Crash,
    HubFailure,
    Outage,
    Return,
    Image,
    Rollback,
    Copy,
    Cut,
}

/// Plans the first fault of each kind.
pub(crate) fn schedule_all(world: &mut World) {
    for kind in [Kind::Break, Kind::Partition, Kind::Crash, Kind::Image, Kind::Rollback, Kind::Cut] {
        schedule(world, kind);
    }
    for kind in [Kind::RegionPartition, Kind::HubFailure] {
        schedule(world, kind);
    }
    if let Some(outage) = world.scenario.faults.outage {
        world.schedule(world.now + outage.at_ms, Happening::Fault(Kind::Outage));
    }
    for _ in 0..world.scenario.faults.copies {
        let at = world.now + world.random.below(world.scenario.busy_ms);
        world.schedule(at, Happening::Fault(Kind::Copy));
    }
}

fn schedule(world: &mut World, kind: Kind) {
    let faults = &world.scenario.faults;
    let every = match kind {
        Kind::Break => faults.break_every_ms,
        Kind::Partition => faults.partition_every_ms,
        Kind::RegionPartition => faults.region_partition_every_ms,
        Kind::Crash => faults.crash_every_ms,
        Kind::HubFailure => faults.hub_failure_every_ms,
        Kind::Image => faults.rollback_every_ms / 4,
        Kind::Rollback => faults.rollback_every_ms,
        Kind::Cut => faults.cut_every_ms,
        Kind::Copy | Kind::Outage | Kind::Return => 0,
    };
    if every > 0 && world.busy {
        let at = world.now + 1 + world.random.below(2 * every);
        world.schedule(at, Happening::Fault(kind));
    }
}

/// Lets one fault happen and plans the next of its kind.
pub(crate) fn strike(world: &mut World, kind: Kind) -> Result<(), Broken> {
    if !world.busy {
        return Ok(());
    }
    match kind {
        Kind::Break => break_one(world)?,
        Kind::Partition => partition(world),
        Kind::RegionPartition => partition_region(world),
        Kind::Crash => crash(world),
        Kind::HubFailure => fail_hub(world),
        Kind::Outage => {
            if let Some(all) = world.scenario.faults.outage {
                outage::begin(world, all)?;
            }
        }
        Kind::Return => outage::sites_return(world),
        Kind::Image => image(world),
        Kind::Rollback => roll_back(world),
        Kind::Copy => copy(world),
        Kind::Cut => cut(world)?,
    }
    schedule(world, kind);
    Ok(())
}

fn break_one(world: &mut World) -> Result<(), Broken> {
    let open: Vec<u64> = world.network.connections.keys().copied().collect();
    let Some(connection) = world.random.pick(&open).copied() else { return Ok(()) };
    world.totals.note_fault("broken connections");
    world.break_connection(connection, world.now, "connection reset")
}

fn partition(world: &mut World) {
    let nodes = world.nodes.len();
    let share = 100 + world.random.below(500);
    let side: BTreeSet<NodeId> = (0..nodes).filter(|_| world.random.chance(share)).collect();
    part(world, side);
}

/// Separates the hubs and sites of one region from all others.
fn partition_region(world: &mut World) {
    let region = world.random.below(world.scenario.regions as u64) as usize;
    let scenario = &world.scenario;
    let within = |node: &NodeId| match node.checked_sub(scenario.hubs) {
        None => scenario.region_of_hub(*node) == region,
        Some(place) => scenario.region_of_site(place / scenario.nodes_per_site) == region,
    };
    let side = (0..world.nodes.len()).filter(within).collect();
    part(world, side);
}

fn part(world: &mut World, side: BTreeSet<NodeId>) {
    let at = world.now + 1 + world.random.below(2 * world.scenario.faults.partition_ms);
    let id = world.random.bits();
    world.totals.note_fault("partitions");
    world.partition(id, side);
    world.schedule(at, Happening::Heal { partition: id });
}

fn crash(world: &mut World) {
    if let Some(node) = world.any_running(|_| true) {
        world.totals.note_fault("crashes");
        world.crash(node, DOWN_MS);
    }
}

fn fail_hub(world: &mut World) {
    if let Some(hub) = world.any_running(|node| node.kind.is_hub()) {
        world.totals.note_fault("hub failures");
        let down_ms = world.scenario.faults.hub_failure_ms;
        world.crash(hub, 1..2 * down_ms + 2);
    }
}

/// Keeps the state of a disk, as backups and snapshots of virtual machines do.
fn image(world: &mut World) {
    let Some(node) = world.any_running(|_| true) else { return };
    let now = world.now;
    if let Some(running) = &world.nodes[node].running {
        world.nodes[node].image = Some((now, running.replica.store().fork()));
    }
}

/// Restarts a node from an older state of its disk.
fn roll_back(world: &mut World) {
    let Some(node) = world.any_running(|node| node.image.is_some()) else { return };
    let Some((_, image)) = world.nodes[node].image.take() else { return };
    world.totals.note_fault("rolled-back disks");
    exempt_lost(world, node);
    world.crash(node, DOWN_MS);
    world.nodes[node].disk = image;
}

/// Whoever was told that a write is durable at one disk only cannot hold us to it when that disk goes
/// back in time.
fn exempt_lost(world: &mut World, rolled_back: NodeId) {
    let mut acknowledged = std::mem::take(&mut world.acknowledged);
    for ((scope, chain), writes) in &mut acknowledged {
        let others = world.running().filter(|(node, ..)| *node != rolled_back);
        let held = others.map(|(_, _, running)| running.replica.vector(scope).seq(chain)).max().unwrap_or(0);
        let lost = writes.seq.saturating_sub(held).min(writes.writes);
        writes.seq = writes.seq.min(held);
        writes.writes -= lost;
        world.totals.exempt += lost;
    }
    world.acknowledged = acknowledged;
}

/// Starts a second machine from a copy of a disk, key and all.
fn copy(world: &mut World) {
    let Some(original) = world.any_running(|node| !node.kind.is_hub()) else { return };
    let node = &world.nodes[original];
    let Some(running) = &node.running else { return };
    let mut copy = Node::new(node.kind.clone(), node.identity.clone(), node.skew_ms);
    copy.disk = running.replica.store().fork();
    copy.uplinks = node
        .uplinks
        .iter()
        .map(|uplink| Uplink { next: 1, attempts: 0, connection: None, ..uplink.clone() })
        .collect();
    let node = world.nodes.len();
    world.nodes.push(copy);
    world.totals.note_fault("copied disks");
    world.schedule(world.now, Happening::Start { node });
}

fn cut(world: &mut World) -> Result<(), Broken> {
    let Some(node) = world.any_running(|_| true) else { return Ok(()) };
    let others: Vec<NodeId> = (0..world.nodes.len()).filter(|other| *other != node).collect();
    let Some(peer) = world.random.pick(&others).copied() else { return Ok(()) };
    let target = match world.random.chance(200) {
        true => CutTarget::All,
        false => CutTarget::Named(world.nodes[peer].kind.to_string()),
    };
    let run = world.nodes[node].run;
    let at = world.now + 1_000 + world.random.below(20_000);
    let mut outputs = vec![];
    if let Some(running) = &mut world.nodes[node].running {
        running.engine.cut(target.clone(), None, &mut outputs);
    }
    world.totals.note_fault("cuts");
    world.schedule(at, Happening::HealCut { node, run, target });
    world.carry_out(node, outputs)
}

/// Ends every fault: the fleet has no more excuse.
pub(crate) fn end_all(world: &mut World) -> Result<(), Broken> {
    world.busy = false;
    let faults = &mut world.scenario.faults;
    (faults.faulty_links_per_mille, faults.faulty_frames_per_mille) = (0, 0);
    for partition in world.network.partitions.keys().copied().collect::<Vec<_>>() {
        world.heal(partition)?;
    }
    // A transport that lost frames is broken, and says so sooner or later.
    for connection in world.network.faulty() {
        world.break_connection(connection, world.now, "transport failed")?;
    }
    for node in 0..world.nodes.len() {
        match &mut world.nodes[node].running {
            Some(running) => {
                running.engine.heal(&CutTarget::All);
            }
            None => world.schedule(world.now, Happening::Start { node }),
        }
    }
    Ok(())
}
