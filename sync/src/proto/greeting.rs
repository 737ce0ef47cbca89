//! Greeting and comparing: from two `Hello`s to the scopes that differ, and their vectors.
//!
//! Comparing ends with a vector of the peer for each scope that differs. For the others nothing is
//! kept: from the moment a session is live, whatever is committed is pushed, and a peer that lacks what
//! comes before asks for it.

use std::sync::Arc;

use driftless_core::name::Scope;
use driftless_core::replica::Replica;
use driftless_core::store::{Store, StoreError};
use driftless_core::vector::Vector;

use super::engine::{Engine, Fault, Output, SCHEMA_VERSIONS};
use super::frame::{Ask, Frame, Hello, Holdings, ShortDigest};
use super::interest::{Class, Interest};
use super::reason::{Reason, Violation};
use super::session::{Phase, Session, SessionId};
use super::status::Condition;
use super::summary::first_bytes;

/// Most scopes of one session that may differ.
const DIFFERING_MAX: usize = 65_536;
/// Most vectors of one session that are asked for at a time.
const AWAITING_MAX: usize = 64;

impl Engine {
    /// Sends `Hello`; the acceptor knows what the dialler listed and answers for that.
    pub(crate) fn greet<S: Store>(
        &mut self,
        id: SessionId,
        peer: Option<&Interest>,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) {
        let listed: Option<Vec<&Scope>> = match (&self.config.interest, peer) {
            (Interest::Scopes(scopes), _) | (Interest::All, Some(Interest::Scopes(scopes))) => {
                Some(scopes.iter().collect())
            }
            (Interest::All, _) => None,
        };
        let holdings = match listed {
            Some(scopes) => {
                Holdings::Scopes(scopes.into_iter().map(|scope| short_digest(scope, replica)).collect())
            }
            None => Holdings::Root(self.root_digest(replica)),
        };
        let hello = Hello {
            protocol: self.config.protocol,
            schema: SCHEMA_VERSIONS,
            fleet: replica.fleet(),
            boot: replica.boot(),
            interest: self.config.interest.clone(),
            holdings,
        };
        self.send(id, &Frame::Hello(hello), Class::Control, out);
        if let Some(Session { phase: Phase::Greeting { listed, .. }, .. }) = self.sessions.get_mut(&id) {
            *listed = Some(self.config.interest.clone());
        }
    }

    pub(crate) fn hello<S: Store>(
        &mut self,
        id: SessionId,
        hello: Hello,
        replica: &mut Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        common("protocol", self.config.protocol, hello.protocol)?;
        common("schema", SCHEMA_VERSIONS, hello.schema)?;
        if hello.fleet != replica.fleet() {
            return Err(Reason::Fleet.into());
        }
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        let kind = &session.peer.kind;
        let refused = match &hello.interest {
            Interest::All => (!kind.is_hub()).then(|| "everything".to_owned()),
            Interest::Scopes(scopes) => {
                scopes.iter().find(|scope| !kind.may_hold(scope)).map(ToString::to_string)
            }
        };
        if let Some(scope) = refused {
            return Err(Reason::Interest { scope, peer: kind.to_string() }.into());
        }
        let (key, dialled, hub) = (session.peer.key, session.peer.dialled, kind.is_hub());
        let live = Phase::Live { interest: hello.interest.clone(), boot: hello.boot };
        let Phase::Greeting { listed, .. } = std::mem::replace(&mut session.phase, live) else {
            return Err(Violation::Turn("hello").into());
        };
        let listed = listed.unwrap_or_else(|| self.config.interest.clone());
        self.greeting.remove(&id);
        if hub {
            self.hubs.insert(id);
        }
        self.presence_begins(id);
        if self.replaced_by_twin(id, out) {
            return Ok(());
        }
        if self.others_live(id, key).next().is_some() {
            self.raise(Condition::SameKeyTwice { key }, out);
        }
        match &hello.interest {
            Interest::All => {
                self.subscribers_of_all.insert(id);
            }
            Interest::Scopes(scopes) => {
                for scope in scopes {
                    if self.config.interest.contains(scope) {
                        self.subscribers.entry(scope.clone()).or_default().insert(id);
                        self.own_vector(scope, replica);
                    }
                }
            }
        }
        if !dialled {
            self.greet(id, Some(&hello.interest), replica, out);
        }
        self.uplink_begins(id, out);
        self.compare(id, &hello, &listed, replica, out)
    }

    /// Two sessions with one run of one node: the one dialled by the smaller key stays; of two that the
    /// same side dialled, the newer. True if `id` is the one that goes.
    fn replaced_by_twin(&mut self, id: SessionId, out: &mut Vec<Output>) -> bool {
        let Some(session) = self.sessions.get(&id) else { return true };
        let Phase::Live { boot, .. } = session.phase else { return false };
        let (key, dialled) = (session.peer.key, session.peer.dialled);
        let own_key_smaller = self.config.local.key < key;
        for twin in self.twins(id, key, boot) {
            let other = self.sessions.get(&twin).is_some_and(|session| session.peer.dialled);
            let newer_stays = dialled == other || dialled == own_key_smaller;
            let goes = if newer_stays { twin } else { id };
            self.end(goes, Reason::Replaced, out);
            if goes == id {
                return true;
            }
        }
        false
    }

    fn compare<S: Store>(
        &mut self,
        id: SessionId,
        hello: &Hello,
        listed: &Interest,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let digests = match &hello.holdings {
            Holdings::Scopes(digests) => digests,
            Holdings::Root(root) => {
                let everything =
                    [&hello.interest, &self.config.interest].iter().all(|i| **i == Interest::All);
                let dialled = self.sessions.get(&id).is_some_and(|session| session.peer.dialled);
                if everything && dialled && *root != self.root_digest(replica) {
                    self.describe(id, replica, out)?;
                }
                return Ok(());
            }
        };
        let listing = if hello.interest == Interest::All { listed } else { &hello.interest };
        let scopes: Vec<Scope> = listing.listed().cloned().collect();
        if scopes.len() != digests.len() {
            return Err(Violation::Digests { expected: scopes.len(), found: digests.len() }.into());
        }
        for (scope, digest) in scopes.iter().zip(digests) {
            self.compare_scope(id, scope, digest, replica, out)?;
        }
        Ok(())
    }

    /// Settles a scope that is equal on both sides, and exchanges vectors of one that is not.
    pub(crate) fn compare_scope<S: Store>(
        &mut self,
        id: SessionId,
        scope: &Scope,
        digest: &[u8],
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        if !self.shares(id, scope) {
            return Ok(());
        }
        let own = self.own_vector(scope, replica);
        let equal = short_digest(scope, replica).starts_with(digest);
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        if equal {
            if session.is_hub() {
                session.shown.insert(scope.clone(), own.clone());
            }
            session.settle(scope, own);
            return Ok(());
        }
        if session.differing.len() >= DIFFERING_MAX {
            return Err(Violation::Limit { what: "differing scopes", max: DIFFERING_MAX }.into());
        }
        session.differing.insert(scope.clone());
        self.ask_for_vectors(id, replica, out);
        Ok(())
    }

    /// Exchanges vectors of scopes that differ, a few at a time.
    pub(crate) fn ask_for_vectors<S: Store>(
        &mut self,
        id: SessionId,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) {
        while let Some(session) = self.sessions.get_mut(&id)
            && session.awaiting.len() < AWAITING_MAX
            && let Some(scope) = session.differing.pop_first()
        {
            session.awaiting.insert(scope.clone());
            self.tell(id, &scope, Ask::Reply, replica, out);
        }
        self.say_what_was_found(id, out);
    }

    /// Takes the peer's vector of a scope: the one place where what a peer lacks is decided.
    pub(crate) fn vector<S: Store>(
        &mut self,
        id: SessionId,
        scope: &Scope,
        vector: Vector,
        ask: Ask,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        if !self.shares(id, scope) {
            return self.outside(id, scope);
        }
        self.check_own_history(scope, &vector, replica, out);
        let own = self.own_vector(scope, replica);
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        let told = session.told.remove(scope).is_some();
        let mistaken = session.mistaken(scope);
        session.differing.extend(mistaken);
        // The peer was promised a vector whose turn has not come: what follows settles the scope here.
        let is_promised = session.differing.contains(scope);
        // A vector costs a search of the log. The first of each scope, and what was asked for, is free.
        if ask == Ask::Restart || (session.known.contains_key(scope) && !session.is_comparing(scope)) {
            session.spend_restart(self.config.limits.restarts_per_minute)?;
        }
        let covered = vector
            .iter()
            .all(|(chain, head)| own.head(&chain).is_some_and(|own| own == head || own.seq > head.seq));
        // What a site claims to hold and nobody here knows is not remembered: it could be anything.
        let vector = match session.is_hub() {
            true => vector,
            false => vector.iter().filter(|(chain, _)| own.head(chain).is_some()).collect(),
        };
        self.catch_up(id, scope, vector, replica)?;
        match ask {
            Ask::Restart => {
                self.send(id, &Frame::Restarted { scope: scope.clone() }, Class::Control, out);
                if is_promised {
                    self.tell(id, scope, Ask::Nothing, replica, out);
                }
            }
            Ask::Reply if !told && covered => self.say_covered(id, scope, out),
            Ask::Reply if !told => self.tell(id, scope, Ask::Nothing, replica, out),
            Ask::Reply | Ask::Nothing => {}
        }
        self.ask_for_vectors(id, replica, out);
        Ok(())
    }

    /// Answers a vector that says nothing new: the peer gets what it lacks, and no vector.
    fn say_covered(&mut self, id: SessionId, scope: &Scope, out: &mut Vec<Output>) {
        if let Some(session) = self.sessions.get_mut(&id).filter(|session| session.is_hub())
            && let Some(known) = session.known.get(scope)
        {
            session.shown.insert(scope.clone(), known.held.clone());
        }
        self.send(id, &Frame::Covers { scope: scope.clone() }, Class::Control, out);
    }

    /// Takes the peer's word that it holds all that it was told to be held here.
    pub(crate) fn covers<S: Store>(
        &mut self,
        id: SessionId,
        scope: &Scope,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        if !self.shares(id, scope) {
            return self.outside(id, scope);
        }
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        let Some(told) = session.told.remove(scope) else { return Err(Violation::Turn("covers").into()) };
        self.catch_up(id, scope, Arc::unwrap_or_clone(told), replica)?;
        self.ask_for_vectors(id, replica, out);
        Ok(())
    }

    /// Takes what a peer holds of a scope for certain and has what it lacks of it sent.
    pub(crate) fn catch_up<S: Store>(
        &mut self,
        id: SessionId,
        scope: &Scope,
        vector: Vector,
        replica: &Replica<S>,
    ) -> Result<(), StoreError> {
        self.counters.log_searches += 1;
        let after = replica.start_for(scope, &vector)?;
        let own = self.own_vector(scope, replica);
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        session.pending.remove(scope);
        session.settle(scope, Arc::new(vector));
        if let Some(known) = session.known.get_mut(scope) {
            known.share(Some(&own));
        }
        session.send_from(scope, after, replica.position());
        self.ready.insert(id);
        Ok(())
    }

    /// What to do with a frame about a scope that is not shared: ignored if it was until lately.
    pub(crate) fn outside(&self, id: SessionId, scope: &Scope) -> Result<(), Fault> {
        match self.sessions.get(&id) {
            Some(session) if session.left.contains(scope) => Ok(()),
            _ => Err(Violation::Scope(scope.clone()).into()),
        }
    }

    /// A peer that holds more of this node's own history shows that the own disk lost it.
    fn check_own_history<S: Store>(
        &mut self,
        scope: &Scope,
        vector: &Vector,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) {
        let own = self.own_vector(scope, replica);
        let author = replica.author();
        let lost = vector.iter().filter(|(chain, head)| chain.author == author && head.seq > own.seq(chain));
        for (chain, head) in lost.collect::<Vec<_>>() {
            let events = head.seq - own.seq(&chain);
            let scope = scope.clone();
            self.raise(Condition::OwnHistoryRecovered { author, boot: chain.boot, scope, events }, out);
        }
    }
}

/// The highest version that both speak, or both ranges in words.
fn common(what: &'static str, here: (u32, u32), there: (u32, u32)) -> Result<u32, Reason> {
    let highest = here.1.min(there.1);
    match highest >= here.0.max(there.0) {
        true => Ok(highest),
        false => Err(Reason::Versions { what, here, there }),
    }
}

/// The start of a scope's digest.
pub(crate) fn short_digest<S: Store>(scope: &Scope, replica: &Replica<S>) -> ShortDigest {
    first_bytes(&replica.digest(scope).0)
}
