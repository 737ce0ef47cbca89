//! One outage of all sites: what their return asks of the hubs.

use super::report::{Broken, Cost, Returned};
use super::scenario::Outage;
use super::world::{Happening, World};

/// What the hubs had done when the sites began to return.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    cost: Cost,
    returning: u64,
}

/// Takes the links of all sites away and says when each of them gets its back.
pub(crate) fn begin(world: &mut World, outage: Outage) -> Result<(), Broken> {
    world.totals.note_fault("outages");
    let return_at = world.now + outage.down_ms;
    world.schedule(return_at, Happening::Fault(super::faults::Kind::Return));
    for edge in world.scenario.hubs..world.nodes.len() {
        world.nodes[edge].away_until = return_at + world.random.below(outage.return_ms);
        for (connection, _) in world.network.of(edge) {
            world.break_connection(connection, world.now, "outage")?;
        }
    }
    Ok(())
}

/// Remembers what the hubs have done so far, to tell what the return costs them.
pub(crate) fn sites_return(world: &mut World) {
    let returning = (world.nodes.len() - world.scenario.hubs) as u64;
    world.before_return = Some(Before { cost: hub_cost(world), returning });
}

/// What the return of the sites has cost the hubs until now.
pub(crate) fn returned(world: &World) -> Option<Returned> {
    let before = world.before_return?;
    Some(Returned { edges: before.returning, cost: hub_cost(world).since(before.cost) })
}

/// What everything has cost all hubs together.
pub(crate) fn hub_cost(world: &World) -> Cost {
    let carried = &world.totals.to_edges;
    let carried = Cost { frames: carried.frames, bytes: carried.bytes, ..Cost::default() };
    (0..world.scenario.hubs).fold(carried, |total, hub| total.and(world.nodes[hub].cost()))
}
