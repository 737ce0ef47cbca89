//! Looking at a run while it goes on.

use super::report::Glance;
use super::world::World;

/// How far the run is.
pub(crate) fn glance(world: &World) -> Glance {
    Glance {
        virtual_ms: world.elapsed_ms(),
        busy_ms: world.scenario.busy_ms,
        happenings: world.totals.happenings,
        writes: world.totals.writes,
        connections: world.network.connections.len(),
    }
}

/// Notes what sessions take of a hub's memory, if it is more than before.
pub(crate) fn sessions(world: &mut World) {
    let hubs = world.running().filter(|(_, node, _)| node.kind.is_hub());
    let found = hubs.map(|(_, _, running)| running.engine.footprint()).max_by_key(|found| found.bytes);
    if let Some(found) = found.filter(|found| found.bytes > world.sessions_max.bytes) {
        world.sessions_max = found;
    }
}
