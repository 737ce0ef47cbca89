//! Repair: asking peers for what the own store lost.
//!
//! The replica knows what is missing and says with which vector to ask; the answer comes as any other
//! events do. One peer at a time is asked, hubs first, the next one with each call: whoever drives the
//! engine calls again until nothing is missing.

use driftless_core::name::Scope;
use driftless_core::replica::Replica;
use driftless_core::store::Store;

use super::engine::{Engine, Output};
use super::frame::Ask;
use super::session::SessionId;

impl Engine {
    /// Asks a peer for every scope of which something is missing, and returns how many were asked for.
    /// A peer is asked that was not asked last; a peer that is being compared, or still owes the answer
    /// to such a demand, is left alone.
    pub fn ask_for_missing<S: Store>(
        &mut self,
        now_ms: u64,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> usize {
        self.now_ms = self.now_ms.max(now_ms);
        let scopes: Vec<Scope> = replica.faults().map(|(scope, _)| scope.clone()).collect();
        let mut asked = 0;
        for scope in scopes {
            let Some(id) = self.whom_to_ask(&scope) else { continue };
            self.asked_last.insert(scope.clone(), id);
            self.counters.repairs += 1;
            self.tell(id, &scope, Ask::Restart, replica, out);
            asked += 1;
        }
        self.asked_last.retain(|scope, _| replica.is_faulty(scope));
        asked
    }

    fn whom_to_ask(&self, scope: &Scope) -> Option<SessionId> {
        let last = self.asked_last.get(scope);
        let may_be_asked = |id: &SessionId| {
            let is_busy = self.sessions.get(id).is_none_or(|session| {
                session.is_comparing(scope)
                    || session.restarts.get(scope).is_some_and(|restart| restart.waiting)
            });
            !is_busy && self.shares(*id, scope)
        };
        let others = self.sessions.keys().filter(|id| !self.hubs.contains(id));
        let order: Vec<SessionId> = self.hubs.iter().chain(others).copied().filter(may_be_asked).collect();
        let turn = last.and_then(|last| order.iter().position(|id| id == last)).map_or(0, |at| at + 1);
        order.get(turn).or_else(|| order.first()).copied()
    }
}
