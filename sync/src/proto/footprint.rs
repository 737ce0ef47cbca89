//! What an engine keeps in memory for its peers.

use std::collections::BTreeSet;
use std::sync::Arc;

use driftless_core::event::ChainId;
use driftless_core::name::Scope;
use driftless_core::vector::{Head, Vector};

use super::engine::Engine;
use super::session::{Cursor, InFlight, Known, Session, SessionId};

/// What sessions keep, counted; vectors that are shared count once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Sessions.
    pub sessions: usize,
    /// Scopes of which something is noted of a peer, over all sessions.
    pub scopes: usize,
    /// Chains in vectors, the engine's own included.
    pub chains: usize,
    /// Places in the log from which a scope is still to be sent.
    pub cursors: usize,
    /// Bytes of frames that are sent and not acknowledged; the frames themselves are not kept.
    pub in_flight_bytes: usize,
    /// About how many bytes of memory this takes: entries by their size, without what allocators and
    /// trees add.
    pub bytes: usize,
}

impl Engine {
    /// Counts what is kept for peers. Costs a visit of every session.
    pub fn footprint(&self) -> Footprint {
        let (mut found, mut seen) = (Footprint::default(), BTreeSet::new());
        let mut vectors = |vector: &Arc<Vector>| match seen.insert(Arc::as_ptr(vector)) {
            true => vector.len(),
            false => 0,
        };
        found.chains += self.own.values().map(&mut vectors).sum::<usize>();
        let mut places = 0;
        for session in self.sessions.values() {
            found.sessions += 1;
            found.scopes += session.known.len() + session.shown.len() + session.told.len();
            found.cursors += session.pending.len();
            found.in_flight_bytes += session.in_flight_bytes;
            let known = session.known.values().flat_map(|known| [&known.acked, &known.held]);
            let noted = known.chain(session.shown.values()).chain(session.told.values());
            found.chains += noted.map(&mut vectors).sum::<usize>();
            places += session.in_flight.len() * size_of::<InFlight>();
            let parts = session.in_flight.iter().flat_map(|frame| &frame.heads);
            places += parts.map(|(_, places)| places.len() * size_of::<(ChainId, u64)>()).sum::<usize>();
        }
        found.bytes = found.sessions * size_of::<(SessionId, Session)>()
            + (found.scopes + self.own.len()) * size_of::<(Scope, Known)>()
            + found.chains * size_of::<(ChainId, Head)>()
            + found.cursors * size_of::<(Scope, Cursor)>()
            + places;
        found
    }
}
