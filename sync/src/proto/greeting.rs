//! Greeting and comparing: from two `Hello`s to the scopes that differ, and their vectors.
//!
//! Comparing ends with a vector of the peer for each scope that differs. For the others nothing is
//! kept: from the moment a session is live, whatever is committed is pushed, and a peer that lacks what
//! comes before asks for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use driftless_core::name::Scope;
use driftless_core::replica::Replica;
use driftless_core::store::Store;
use driftless_core::vector::Vector;

use super::engine::{Engine, Fault, Output, SCHEMA_VERSIONS};
use super::frame::{Ask, BUCKETS, Frame, Hello, Holdings, ShortDigest};
use super::interest::{Class, INTEREST_SCOPES_MAX, Interest};
use super::reason::{Reason, Violation};
use super::session::{Phase, Session, SessionId};
use super::status::Condition;

/// Most scopes of one session that may differ.
const DIFFERING_MAX: usize = 65_536;
/// Most vectors of one session that are asked for at a time.
const AWAITING_MAX: usize = 64;
/// Bytes of a frame of scopes' digests, about, and of one scope in it.
const DIGESTS_BYTES: usize = 48 << 10;
const SCOPE_BYTES: usize = 40;

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
        if self.replaced_by_twin(id, out) {
            return Ok(());
        }
        if self.sessions.iter().any(|(other, s)| *other != id && s.peer.key == key && s.is_live()) {
            self.raise(Condition::SameKeyTwice { key }, out);
        }
        if hub {
            self.hubs.insert(id);
        }
        match &hello.interest {
            Interest::All => {
                self.subscribers_of_all.insert(id);
                let scopes: Vec<Scope> = replica.scopes().cloned().collect();
                for scope in scopes {
                    if self.config.interest.contains(&scope) {
                        self.own_vector(&scope, replica);
                    }
                }
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
                    let buckets = bucket_digests(&all_digests(replica));
                    let offered = self.own.clone();
                    if let Some(session) = self.sessions.get_mut(&id) {
                        session.offered = offered;
                    }
                    self.send(id, &Frame::Buckets(buckets), Class::Control, out);
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
    fn compare_scope<S: Store>(
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
            session.offered.remove(scope);
            if session.is_hub() {
                session.shown.insert(scope.clone(), own.clone());
            }
            session.settle(scope, own);
            return Ok(());
        }
        if session.differing.len() >= DIFFERING_MAX {
            return Err(Violation::Limit { what: "differing scopes", max: DIFFERING_MAX }.into());
        }
        session.offered.remove(scope);
        session.differing.insert(scope.clone());
        self.ask_for_vectors(id, replica, out);
        Ok(())
    }

    /// Exchanges vectors of scopes that differ, a few at a time.
    fn ask_for_vectors<S: Store>(&mut self, id: SessionId, replica: &Replica<S>, out: &mut Vec<Output>) {
        while let Some(session) = self.sessions.get_mut(&id)
            && session.awaiting.len() < AWAITING_MAX
            && let Some(scope) = session.differing.pop_first()
        {
            session.awaiting.insert(scope.clone());
            session.told.insert(scope.clone());
            self.tell(id, &scope, Ask::Reply, replica, out);
        }
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
        let after = replica.start_for(scope, &vector)?;
        let own = self.own_vector(scope, replica);
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        session.offered.remove(scope);
        let told = session.told.remove(scope);
        if ask == Ask::Restart {
            let Some(left) = session.restarts_left.checked_sub(1) else {
                let max = self.config.limits.restarts_per_minute as usize;
                return Err(Violation::Limit { what: "restarts a minute", max }.into());
            };
            session.restarts_left = left;
        }
        session.pending.remove(scope);
        session.settle(scope, Arc::new(vector));
        if let Some(known) = session.known.get_mut(scope) {
            known.share(Some(&own));
        }
        session.send_from(scope, after, replica.position());
        self.ready.insert(id);
        match ask {
            Ask::Restart => self.send(id, &Frame::Restarted { scope: scope.clone() }, Class::Control, out),
            Ask::Reply if !told => self.tell(id, scope, Ask::Nothing, replica, out),
            Ask::Reply | Ask::Nothing => {}
        }
        self.ask_for_vectors(id, replica, out);
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

    pub(crate) fn buckets<S: Store>(
        &mut self,
        id: SessionId,
        theirs: &[[u8; 8]],
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        self.both_want_all(id, "buckets")?;
        let digests = all_digests(replica);
        let ours = bucket_digests(&digests);
        let mut equal = [0; BUCKETS / 8];
        for (scope, _) in &digests {
            let bucket = bucket_of(scope);
            let own = self.own_vector(scope, replica);
            let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
            if ours[bucket] == theirs[bucket] {
                session.equal(scope, &own);
            } else {
                session.offered.insert(scope.clone(), own);
            }
        }
        let (mut buckets, mut scopes, mut bytes) = ([0; BUCKETS / 8], vec![], 0);
        for bucket in 0..BUCKETS {
            let bit = 1 << (bucket % 8);
            if ours[bucket] == theirs[bucket] {
                equal[bucket / 8] |= bit;
                continue;
            }
            buckets[bucket / 8] |= bit;
            for (scope, digest) in digests.iter().filter(|(scope, _)| bucket_of(scope) == bucket) {
                bytes += SCOPE_BYTES;
                scopes.push((scope.clone(), first_bytes(digest)));
            }
            if bytes >= DIGESTS_BYTES {
                let frame = Frame::Digests { buckets, scopes: std::mem::take(&mut scopes) };
                self.send(id, &frame, Class::Control, out);
                (buckets, bytes) = ([0; BUCKETS / 8], 0);
            }
        }
        self.send(id, &Frame::Digests { buckets, scopes }, Class::Control, out);
        self.send(id, &Frame::Equal(equal), Class::Control, out);
        Ok(())
    }

    /// Takes what the peer found equal of the buckets that were described to it.
    pub(crate) fn equal(&mut self, id: SessionId, buckets: &[u8; BUCKETS / 8]) -> Result<(), Fault> {
        self.both_want_all(id, "equal buckets")?;
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        for (scope, vector) in std::mem::take(&mut session.offered) {
            if is_among(&scope, buckets) {
                session.equal(&scope, &vector);
            } else if !session.peer.dialled {
                session.offered.insert(scope, vector);
            }
        }
        Ok(())
    }

    pub(crate) fn digests<S: Store>(
        &mut self,
        id: SessionId,
        buckets: [u8; BUCKETS / 8],
        theirs: Vec<(Scope, [u8; 8])>,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        self.both_want_all(id, "digests")?;
        if let Some((scope, _)) = theirs.iter().find(|(scope, _)| !is_among(scope, &buckets)) {
            return Err(Violation::Scope(scope.clone()).into());
        }
        let mut scopes: BTreeMap<Scope, [u8; 8]> = replica
            .scopes()
            .filter(|scope| is_among(scope, &buckets))
            .map(|scope| (scope.clone(), [0; 8]))
            .collect();
        scopes.extend(theirs);
        for (scope, digest) in &scopes {
            self.compare_scope(id, scope, digest, replica, out)?;
        }
        self.send(id, &Frame::Equal(buckets), Class::Control, out);
        Ok(())
    }

    fn both_want_all(&self, id: SessionId, what: &'static str) -> Result<(), Violation> {
        let theirs = self.sessions.get(&id).and_then(|session| session.interest());
        match theirs == Some(&Interest::All) && self.config.interest == Interest::All {
            true => Ok(()),
            false => Err(Violation::Turn(what)),
        }
    }

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
    ) -> Result<(), driftless_core::store::StoreError> {
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
                self.subscribers.entry(scope.clone()).or_default().insert(id);
                self.compare_scope(id, scope, digest, replica, out)?;
            }
        }
        Ok(())
    }

    fn root_digest<S: Store>(&mut self, replica: &Replica<S>) -> ShortDigest {
        let position = replica.position();
        match self.root {
            Some((at, digest)) if at == position => digest,
            _ => {
                let mut hasher = blake3::Hasher::new_derive_key("driftless root digest v1");
                for (scope, digest) in all_digests(replica) {
                    hasher.update(scope.to_string().as_bytes());
                    hasher.update(&[0]);
                    hasher.update(&digest);
                }
                let digest = first_bytes(hasher.finalize().as_bytes());
                self.root = Some((position, digest));
                digest
            }
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

fn short_digest<S: Store>(scope: &Scope, replica: &Replica<S>) -> ShortDigest {
    first_bytes(&replica.digest(scope).0)
}

fn all_digests<S: Store>(replica: &Replica<S>) -> Vec<(Scope, [u8; 32])> {
    let mut digests: Vec<_> =
        replica.scopes().map(|scope| (scope.clone(), replica.digest(scope).0)).collect();
    digests.sort();
    digests
}

fn bucket_digests(digests: &[(Scope, [u8; 32])]) -> Vec<[u8; 8]> {
    let mut hashers = vec![blake3::Hasher::new(); BUCKETS];
    for (scope, digest) in digests {
        let hasher = &mut hashers[bucket_of(scope)];
        hasher.update(scope.to_string().as_bytes());
        hasher.update(&[0]);
        hasher.update(digest);
    }
    hashers.iter().map(|hasher| first_bytes(hasher.finalize().as_bytes())).collect()
}

fn bucket_of(scope: &Scope) -> usize {
    usize::from(blake3::hash(scope.to_string().as_bytes()).as_bytes()[0])
}

fn is_among(scope: &Scope, buckets: &[u8; BUCKETS / 8]) -> bool {
    let bucket = bucket_of(scope);
    buckets[bucket / 8] & (1 << (bucket % 8)) != 0
}

fn first_bytes<const N: usize>(bytes: &[u8; 32]) -> [u8; N] {
    let mut first = [0; N];
    first.copy_from_slice(&bytes[..N]);
    first
}
