//! A fleet in virtual time: the real engines and replicas on simulated links, disks and clocks.
//!
//! A run is a [`Scenario`] and a seed, and nothing else: the same two give the same run, down to the
//! hash of all that happened. Connections are ordered streams that break and stall, as QUIC's are; on
//! links that a scenario calls faulty, single frames are lost, repeated, moved or damaged besides, which
//! no transport of ours does and which the engine survives by ending the session. Nodes crash and keep
//! what was durable, start from older images of their disk, or twice from one disk. Keys, signatures and
//! enrolments are real.
//!
//! Virtual time has no processor: counts and bytes are measured here, times are not.
//!
//! ```
//! use driftless_sync::sim::{Scenario, run};
//! let report = run(&Scenario::calm(1, 2), 7).expect("every property holds");
//! assert_eq!(report.trace, run(&Scenario::calm(1, 2), 7).expect("the same run").trace);
//! assert!(report.acknowledged > 0 && report.greeting_bytes_max <= 300);
//! ```

mod capacity;
mod checkers;
mod dialling;
mod faults;
mod follow;
mod network;
mod node;
mod outage;
pub mod random;
pub mod report;
pub mod scenario;
mod watch;
mod workload;
mod world;

use driftless_core::ids::hex;

pub use capacity::Capacity;
pub use checkers::GREETING_BYTES_MAX;
use follow::Audience;
pub use report::{Broken, Cost, Failure, Glance, Report, Returned, Totals, Traffic};
pub use scenario::{Faults, Link, Links, Outage, Rate, Recording, Scenario, Work};
use world::World;

/// How often it is looked whether the fleet has converged.
const STEP_MS: u64 = 1_000;
/// Nodes whose views and logs are looked at, evenly spread.
const NODES_COMPARED: usize = 64;
/// Nodes that reconnect to have their greeting measured.
const NODES_RECONNECTED: usize = 5;
/// How long an idle fleet is watched.
const IDLE_MS: u64 = 60_000;

/// Runs a scenario and checks every property.
pub fn run(scenario: &Scenario, seed: u64) -> Result<Report, Failure> {
    run_watched(scenario, seed, &mut |_| {})
}

/// The same, and shows `look` from time to time how far it is. What that does has no effect on the run.
pub fn run_watched(scenario: &Scenario, seed: u64, look: &mut dyn FnMut(Glance)) -> Result<Report, Failure> {
    let mut world = World::new(scenario, seed);
    let failed = |broken| Failure { scenario: scenario.name.clone(), seed, broken };
    let converged_ms = work_and_converge(&mut world, look).map_err(failed)?;
    let returned = outage::returned(&world);
    let acknowledged = check_everything(&world).map_err(failed)?;
    let hubs = outage::hub_cost(&world);
    let greeting_bytes_max = idle_and_reconnect(&mut world).map_err(failed)?;
    world.count_hub_events();
    Ok(Report {
        scenario: scenario.name.clone(),
        seed,
        nodes: world.nodes.len(),
        events: world.replica(0).map_or(0, |replica| replica.position()),
        acknowledged,
        converged_ms,
        greeting_bytes_max,
        virtual_ms: world.elapsed_ms(),
        trace: hex(&world.trace_hash()),
        hubs,
        sessions_max: world.sessions_max,
        policy_ms: world.follower.took_ms(Audience::Everybody).to_vec(),
        machine_ms: world.follower.took_ms(Audience::Hubs).to_vec(),
        not_arrived: world.follower.under_way(),
        returned,
        totals: world.totals,
    })
}

/// The time with faults, and then the time that the fleet needs without.
fn work_and_converge(world: &mut World, look: &mut dyn FnMut(Glance)) -> Result<u64, Broken> {
    let busy_until = World::begin_ms() + world.scenario.busy_ms;
    while world.now < busy_until {
        step(world, (world.now + world.scenario.step_ms.max(1)).min(busy_until))?;
        look(watch::glance(world));
    }
    faults::end_all(world)?;
    let healed_at = world.now;
    loop {
        step(world, world.now + STEP_MS)?;
        look(watch::glance(world));
        match checkers::convergence(world) {
            Ok(()) => return Ok(world.now - healed_at),
            Err(broken) if world.now - healed_at >= world.scenario.settle_ms => return Err(broken),
            Err(_) => {}
        }
    }
}

fn step(world: &mut World, until: u64) -> Result<(), Broken> {
    world.run_until(until)?;
    watch::sessions(world);
    checkers::bounded_queues(world)?;
    checkers::interest(world)
}

fn check_everything(world: &World) -> Result<u64, Broken> {
    checkers::views(world, NODES_COMPARED)?;
    checkers::causality(world, NODES_COMPARED)?;
    checkers::void(world, NODES_COMPARED)?;
    checkers::acknowledged(world)
}

/// An idle fleet does nothing; a node that reconnects with nothing new costs one greeting.
fn idle_and_reconnect(world: &mut World) -> Result<u64, Broken> {
    // Announcements, acknowledgements and late reconnects come to rest first.
    world.run_until(world.now + IDLE_MS)?;
    checkers::convergence(world)?;
    checkers::status(world)?;
    checkers::presence(world)?;
    if world.scenario.faults.copies == 0 {
        checkers::uplinks(world)?;
    }
    let before = checkers::work_so_far(world);
    world.run_until(world.now + IDLE_MS)?;
    checkers::idle_work(world, &before)?;
    let edges: Vec<usize> = (world.scenario.hubs..world.nodes.len()).take(NODES_RECONNECTED).collect();
    for edge in &edges {
        for (connection, _) in world.network.of(*edge) {
            world.break_connection(connection, world.now, "measured")?;
        }
    }
    world.run_until(world.now + IDLE_MS)?;
    let mut bytes_max = 0;
    for edge in edges {
        let Some(running) = &world.nodes[edge].running else { continue };
        for session in running.engine.sessions.values().filter(|session| session.peer.kind.is_hub()) {
            bytes_max = bytes_max.max(session.bytes_sent).max(session.bytes_received);
        }
    }
    if bytes_max == 0 || bytes_max > GREETING_BYTES_MAX {
        let detail = format!("{bytes_max} bytes for a reconnect with nothing new");
        return Err(Broken::new(world.elapsed_ms(), "greeting", detail));
    }
    Ok(bytes_max)
}

#[cfg(test)]
mod tests;
