//! Changing interest while sessions go on: what is added is synchronised, what is left is forgotten.

use driftless_core::name::Scope;
use driftless_core::replica::Replica;
use driftless_core::store::{Store, StoreError};

use super::engine::{Engine, Fault, Output};
use super::frame::{Frame, ShortDigest};
use super::greeting::short_digest;
use super::interest::{Class, INTEREST_SCOPES_MAX, Interest};
use super::reason::{Reason, Violation};
use super::session::{Phase, SessionId};

impl Engine {
    /// Changes what this node wants to hold. Scopes that are left are forgotten by the replica, scopes
    /// that are new are synchronised with every peer that shares them.
    ///
    /// # Panics
    /// If the interest was or becomes everything: a node does not change its role while it runs.
    pub fn set_interest<S: Store>(
        &mut self,
        now_ms: u64,
        interest: Interest,
        replica: &mut Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        self.now_ms = self.now_ms.max(now_ms);
        let (Interest::Scopes(old), Interest::Scopes(new)) = (&self.config.interest, &interest) else {
            assert_eq!(self.config.interest, interest, "hubs want everything for ever, edges never");
            return Ok(());
        };
        let removed: Vec<Scope> = old.difference(new).cloned().collect();
        let added: Vec<Scope> = new.difference(old).cloned().collect();
        if removed.is_empty() && added.is_empty() {
            return Ok(());
        }
        self.config.interest = interest;
        for scope in &removed {
            self.subscribers.remove(scope);
            self.own.remove(scope);
            self.via_hubs.remove(scope);
            replica.forget(scope)?;
        }
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            self.tell_interest(id, &added, &removed, replica, out);
        }
        Ok(())
    }

    fn tell_interest<S: Store>(
        &mut self,
        id: SessionId,
        added: &[Scope],
        removed: &[Scope],
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        // A dialler that has not been greeted yet has told its old interest already; the acceptor has
        // not told any.
        if !session.is_live() && !session.peer.dialled {
            return;
        }
        removed.iter().for_each(|scope| session.leave(scope));
        for scope in added {
            session.left.remove(scope);
            if session.takes(scope) {
                self.subscribers.entry(scope.clone()).or_default().insert(id);
            }
        }
        let added = added.iter().map(|scope| (scope.clone(), short_digest(scope, replica))).collect();
        self.send(id, &Frame::Interest { added, removed: removed.to_vec() }, Class::Control, out);
    }

    /// Takes a change of a peer's interest.
    pub(crate) fn interest_changed<S: Store>(
        &mut self,
        id: SessionId,
        added: Vec<(Scope, ShortDigest)>,
        removed: Vec<Scope>,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        let kind = session.peer.kind.clone();
        if let Some((scope, _)) = added.iter().find(|(scope, _)| !kind.may_hold(scope)) {
            return Err(Reason::Interest { scope: scope.to_string(), peer: kind.to_string() }.into());
        }
        let Phase::Live { interest: Interest::Scopes(scopes), .. } = &mut session.phase else {
            return Err(Violation::Turn("interest").into());
        };
        removed.iter().for_each(|scope| {
            scopes.remove(scope);
        });
        scopes.extend(added.iter().map(|(scope, _)| scope.clone()));
        if scopes.len() > INTEREST_SCOPES_MAX {
            return Err(Violation::Limit { what: "scopes of interest", max: INTEREST_SCOPES_MAX }.into());
        }
        for scope in &removed {
            session.leave(scope);
            // The peer has stopped sending it, so nothing of it is on its way.
            session.left.remove(scope);
        }
        removed.iter().for_each(|scope| self.unsubscribe(id, scope));
        for (scope, digest) in &added {
            if self.shares(id, scope) {
                let max = self.config.limits.restarts_per_minute;
                self.sessions.get_mut(&id).map_or(Ok(()), |session| session.spend_restart(max))?;
                self.subscribers.entry(scope.clone()).or_default().insert(id);
                self.compare_scope(id, scope, digest, replica, out)?;
            }
        }
        Ok(())
    }
}
