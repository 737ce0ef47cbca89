//! What must hold, one property each. The first node, a hub, is what others are compared with.

use std::collections::{BTreeMap, BTreeSet};

use driftless_core::event::ChainId;
use driftless_core::group::Record;
use driftless_core::ids::EventId;
use driftless_core::name::{Document, Kind, Scope};
use driftless_core::replica::{LabelSelector, Replica};
use driftless_core::store::MemoryStore;
use serde_json::Value;

use super::node::NodeId;
use super::report::Broken;
use super::workload::VOID_VALUE;
use super::world::World;
use crate::proto::frame::FRAME_BYTES_MAX;
use crate::proto::{Interest, PeerState};

/// Most bytes of a reconnect with nothing new, in one direction.
pub const GREETING_BYTES_MAX: u64 = 300;

/// Whether nodes with the same interest hold the same events; says what differs.
pub(crate) fn convergence(world: &World) -> Result<(), Broken> {
    let differs = |detail: String| Err(Broken::new(world.elapsed_ms(), "convergence", detail));
    let Some(reference) = world.replica(0) else { return differs("node 0 is down".into()) };
    let everything: BTreeSet<Scope> = reference.scopes().cloned().collect();
    for id in 0..world.nodes.len() {
        let Some(replica) = world.replica(id) else { return differs(format!("node {id} is down")) };
        let scopes: Vec<&Scope> = match world.nodes[id].interest() {
            Interest::All => everything.iter().chain(replica.scopes()).collect(),
            Interest::Scopes(scopes) => scopes.iter().collect(),
        };
        for scope in scopes {
            if replica.digest(scope) != reference.digest(scope) {
                let (here, there) = (replica.vector(scope), reference.vector(scope));
                let detail = format!(
                    "{scope} at node {id} ({}): {} events are missing here, {} at the first hub",
                    world.nodes[id].kind,
                    there.missing_in(&here),
                    here.missing_in(&there)
                );
                return differs(detail);
            }
        }
    }
    Ok(())
}

/// Equal events give equal views.
pub(crate) fn views(world: &World, nodes_max: usize) -> Result<(), Broken> {
    let step = world.nodes.len().div_ceil(nodes_max).max(1);
    let reference = world.replica(0).map(shown).unwrap_or_default();
    for id in (0..world.nodes.len()).step_by(step) {
        let Some(replica) = world.replica(id) else { continue };
        let interest = world.nodes[id].interest();
        let here = shown(replica);
        let expected: BTreeMap<&Document, &Value> =
            reference.iter().filter(|(document, _)| interest.contains(&document.scope())).collect();
        let found: BTreeMap<&Document, &Value> = here.iter().collect();
        if expected != found {
            let wrong = expected
                .iter()
                .find(|(document, view)| found.get(*document) != Some(view))
                .map(|(document, view)| format!("{document}: {:?} instead of {view}", found.get(*document)))
                .or_else(|| found.keys().find(|d| !expected.contains_key(*d)).map(ToString::to_string));
            let detail = format!("node {id}: {}", wrong.unwrap_or_default());
            return Err(Broken::new(world.elapsed_ms(), "views", detail));
        }
    }
    Ok(())
}

/// What was acknowledged is held by every hub. Returns how many writes were looked for.
pub(crate) fn acknowledged(world: &World) -> Result<u64, Broken> {
    for ((scope, chain), writes) in &world.acknowledged {
        for hub in 0..world.scenario.hubs {
            let held = world.replica(hub).map_or(0, |replica| replica.vector(scope).seq(chain));
            if held < writes.seq {
                let detail = format!(
                    "{} ({}) and what came before it, acknowledged by node {} until {} ms, is not at hub {hub}",
                    writes.document,
                    writes.event.short(),
                    writes.node,
                    writes.at_ms - World::begin_ms()
                );
                return Err(Broken::new(world.elapsed_ms(), "acknowledged writes", detail));
            }
        }
    }
    Ok(world.acknowledged.values().map(|writes| writes.writes).sum())
}

/// Nobody holds what it may not hold or does not want.
pub(crate) fn interest(world: &World) -> Result<(), Broken> {
    for (id, node, running) in world.running() {
        let wanted = node.interest();
        let outside = |scope: &&Scope| !wanted.contains(scope) || !node.kind.may_hold(scope);
        if let Some(scope) = running.replica.scopes().find(outside) {
            let detail = format!("node {id} ({}) holds {scope}", node.kind);
            return Err(Broken::new(world.elapsed_ms(), "interest", detail));
        }
    }
    Ok(())
}

/// In the log of every node, what an event builds on comes before it.
pub(crate) fn causality(world: &World, nodes_max: usize) -> Result<(), Broken> {
    let step = world.nodes.len().div_ceil(nodes_max).max(1);
    for id in (0..world.nodes.len()).step_by(step) {
        let Some(replica) = world.replica(id) else { continue };
        for scope in replica.scopes() {
            log_is_causal(world, id, replica, scope)?;
        }
    }
    Ok(())
}

fn log_is_causal(
    world: &World,
    id: NodeId,
    replica: &Replica<MemoryStore>,
    scope: &Scope,
) -> Result<(), Broken> {
    let broken = |detail: String| {
        Broken::new(world.elapsed_ms(), "causality", format!("node {id}, {scope}: {detail}"))
    };
    let mut seen: BTreeSet<EventId> = BTreeSet::new();
    let mut places: BTreeMap<ChainId, u64> = BTreeMap::new();
    let mut after = 0;
    loop {
        let read = replica.log(scope, after, 1 << 20).map_err(|error| broken(error.to_string()))?;
        for entry in &read.entries {
            let record =
                Record::decode(world.fleet, &entry.bytes).map_err(|error| broken(error.to_string()))?;
            let place = places.entry(record.chain()).or_default();
            if record.first_seq() > *place + 1 {
                return Err(broken(format!(
                    "{:?} jumps from {place} to {}",
                    record.chain(),
                    record.first_seq()
                )));
            }
            *place = record.last().seq.max(*place);
            let Record::Group(group) = record else { continue };
            for item in group.items() {
                seen.insert(item.id());
            }
            // Checkpoints drop what they cover, so only operators' documents keep all of their past.
            let mut kept = group.events().filter(|event| !event.header().document.is_site_written());
            let dangling = kept.find(|event| event.header().dependencies.iter().any(|id| !seen.contains(id)));
            if let Some(event) = dangling {
                return Err(broken(format!("{} depends on what is not there", event.id().short())));
            }
        }
        if read.end {
            return Ok(());
        }
        after = read.next;
    }
}

/// What was signed without authority shows nowhere.
pub(crate) fn void(world: &World, nodes_max: usize) -> Result<(), Broken> {
    let step = world.nodes.len().div_ceil(nodes_max).max(1);
    for id in (0..world.nodes.len()).step_by(step) {
        let views = world.replica(id).map(shown).unwrap_or_default();
        if let Some((document, _)) = views.iter().find(|(_, view)| view.to_string().contains(VOID_VALUE)) {
            let detail = format!("node {id} shows a void write in {document}");
            return Err(Broken::new(world.elapsed_ms(), "void", detail));
        }
    }
    Ok(())
}

/// What is on its way to a peer stays within its window.
pub(crate) fn bounded_queues(world: &World) -> Result<(), Broken> {
    for (id, _, running) in world.running() {
        let window = running.engine.config.limits.window_bytes;
        let scopes = running.replica.scopes().count();
        for session in running.engine.sessions.values() {
            let within = session.in_flight_bytes <= window + FRAME_BYTES_MAX
                && session.in_flight.len() <= window / 64 + 1
                && session.pending.len() <= scopes + 1;
            if !within {
                let detail = format!(
                    "node {id} to {}: {} bytes in {} frames",
                    session.peer.kind,
                    session.in_flight_bytes,
                    session.in_flight.len()
                );
                return Err(Broken::new(world.elapsed_ms(), "bounded queues", detail));
            }
        }
    }
    Ok(())
}

/// After convergence every connected peer is reported as in sync and behind by nothing.
pub(crate) fn status(world: &World) -> Result<(), Broken> {
    for (id, _, running) in world.running() {
        for peer in running.engine.peers().iter().filter(|peer| peer.session.is_some()) {
            if peer.state != PeerState::InSync || peer.lag_events != 0 {
                let detail = format!(
                    "node {id} says of {}: {:?}, behind by {}",
                    peer.peer.kind, peer.state, peer.lag_events
                );
                return Err(Broken::new(world.elapsed_ms(), "status", detail));
            }
        }
    }
    Ok(())
}

/// Every hub knows of every site whether it is connected, and to which hub.
pub(crate) fn presence(world: &World) -> Result<(), Broken> {
    let mut connected: BTreeMap<Scope, BTreeSet<String>> = BTreeMap::new();
    for (_, node, running) in world.running().filter(|(_, node, _)| node.kind.is_hub()) {
        let live = running.engine.sessions.values().filter(|session| session.is_live());
        for site in live.filter_map(|session| session.peer.kind.own_scope()) {
            connected.entry(site).or_default().insert(node.kind.to_string());
        }
    }
    let sites: BTreeSet<Scope> = world.nodes.iter().filter_map(|node| node.kind.own_scope()).collect();
    for (_, node, running) in world.running().filter(|(_, node, _)| node.kind.is_hub()) {
        for site in &sites {
            let heard = running.engine.presence().site(site).filter(|heard| heard.lease.is_connected());
            let at =
                heard.map(|heard| heard.hub.map_or_else(|| node.kind.to_string(), |hub| hub.name.clone()));
            let right = match connected.get(site) {
                None => at.is_none(),
                Some(hubs) => at.as_ref().is_some_and(|hub| hubs.contains(hub)),
            };
            if !right {
                let detail = format!(
                    "{} says of {site}: connected to {at:?}, not {:?}",
                    node.kind,
                    connected.get(site)
                );
                return Err(Broken::new(world.elapsed_ms(), "presence", detail));
            }
        }
    }
    Ok(())
}

/// Of the nodes of a site that are all there, one has an uplink.
pub(crate) fn uplinks(world: &World) -> Result<(), Broken> {
    let mut holders: BTreeMap<Scope, BTreeSet<NodeId>> = BTreeMap::new();
    for (id, node, running) in world.running() {
        if let Some(site) = node.kind.own_scope() {
            let holds = running.engine.sessions.values().any(|session| session.is_live() && session.is_hub());
            holders.entry(site).or_default().extend(holds.then_some(id));
        }
    }
    match holders.into_iter().find(|(_, holders)| holders.len() != 1) {
        None => Ok(()),
        Some((site, holders)) => {
            let detail = format!("{site} has uplinks at nodes {holders:?}");
            Err(Broken::new(world.elapsed_ms(), "uplinks", detail))
        }
    }
}

/// Frames and bytes of log that idle engines have spent since `before`; both have to be none.
pub(crate) fn idle_work(world: &World, before: &BTreeMap<NodeId, (u64, u64)>) -> Result<(), Broken> {
    for (id, spent) in work_so_far(world) {
        if before.get(&id).is_some_and(|before| *before != spent) {
            let detail =
                format!("node {id} went from {:?} to {spent:?} (frames, bytes read)", before.get(&id));
            return Err(Broken::new(world.elapsed_ms(), "idle work", detail));
        }
    }
    Ok(())
}

/// Frames sent in live sessions and bytes of log read, by node.
pub(crate) fn work_so_far(world: &World) -> BTreeMap<NodeId, (u64, u64)> {
    world
        .running()
        .map(|(id, _, running)| {
            let frames = running.engine.sessions.values().map(|session| session.next_sent).sum();
            (id, (frames, running.engine.counters().log_bytes_read))
        })
        .collect()
}

/// Every view of a replica, without what counts this replica's own log.
fn shown(replica: &Replica<MemoryStore>) -> BTreeMap<Document, Value> {
    let mut views = BTreeMap::new();
    for kind in Kind::ALL {
        for document in replica.names(kind, None, &LabelSelector::default()) {
            if let Ok(Some(view)) = replica.get(&document) {
                let mut resource = Value::clone(&view.resource);
                if let Some(metadata) = resource.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.remove("resourceVersion");
                }
                views.insert(document, resource);
            }
        }
    }
    views
}
