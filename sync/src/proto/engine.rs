//! The engine: one per node, all of its peers in it.
//!
//! Owns sessions and decides what to send to whom. It reads and merges through the node's replica,
//! which the caller owns, commits and lends for the duration of a call. It refuses to do anything but
//! that: it opens no connection, reads no clock and keeps nothing on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use driftless_core::event::{ChainId, SCHEMA_VERSION};
use driftless_core::ids::{Author, Boot};
use driftless_core::name::Scope;
use driftless_core::replica::Replica;
use driftless_core::store::{Store, StoreError};
use driftless_core::vector::Vector;
use driftless_core::wire::DecodeError;

use super::codec::Codec;
use super::frame::{self, Ask, Frame};
use super::inquiry::{Answer, INQUIRIES_PER_MINUTE};
use super::interest::{Class, Interest, PeerId, PeerInfo};
use super::limits::Limits;
use super::presence::Teller;
use super::reason::{Reason, Violation};
use super::session::{Phase, Session, SessionId};
use super::status::{Condition, CutTarget, Gone};
use super::summary::Summary;

/// The protocol versions that this software speaks, lowest and highest.
pub const PROTOCOL_VERSIONS: (u32, u32) = (1, 1);
/// The schema versions that this software executes, lowest and highest.
pub const SCHEMA_VERSIONS: (u32, u32) = (1, SCHEMA_VERSION);
/// Most conditions that are kept.
const CONDITIONS_MAX: usize = 64;
/// How often all sessions are looked at.
const SWEEP_MS: u64 = 60_000;

/// What an engine is and how much it may use.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// This node, as its peers know it.
    pub local: PeerInfo,
    /// What it wants to hold.
    pub interest: Interest,
    /// Its limits.
    pub limits: Limits,
    /// The protocol versions that it speaks.
    pub protocol: (u32, u32),
}

impl EngineConfig {
    /// A node with this software's versions and limits.
    pub fn new(local: PeerInfo, interest: Interest) -> Self {
        Self { local, interest, limits: Limits::default(), protocol: PROTOCOL_VERSIONS }
    }
}

/// What happens to an engine.
#[derive(Debug)]
pub enum Input {
    /// A connection to an authenticated peer is open.
    Connected {
        /// Its number, never used before.
        session: SessionId,
        /// The peer.
        peer: PeerInfo,
    },
    /// One whole frame arrived, as [`frame::frame_length`] cut it.
    Frame {
        /// The session.
        session: SessionId,
        /// The frame with its length prefix.
        bytes: Vec<u8>,
    },
    /// The connection is gone.
    Closed {
        /// The session.
        session: SessionId,
        /// What the transport says about it.
        reason: String,
        /// For how long it had heard nothing, in milliseconds.
        silent_ms: u64,
    },
    /// Time has passed.
    Tick,
    /// The replica was committed: everything merged and written before is durable.
    Committed {
        /// The scopes that changed.
        changed: Vec<Scope>,
    },
}

/// What an engine wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes; frames of a session in this order.
    Send {
        /// The session.
        session: SessionId,
        /// One frame with its length prefix.
        bytes: Vec<u8>,
        /// Its urgency.
        class: Class,
    },
    /// Close the connection after what was sent before; the session is over.
    Close {
        /// The session.
        session: SessionId,
        /// Why, as a number.
        code: u32,
        /// Why, for people.
        reason: String,
    },
    /// Something that an operator should know; also kept in [`Engine::conditions`].
    Condition(Condition),
    /// A hub has answered an [`Engine::inquire`].
    Answered {
        /// The session.
        session: SessionId,
        /// The inquiry.
        number: u64,
        /// What the hub says.
        answer: Answer,
    },
}

/// Why handling an input stopped.
pub(crate) enum Fault {
    End(Reason),
    Store(StoreError),
}

impl From<Violation> for Fault {
    fn from(violation: Violation) -> Self {
        Self::End(violation.into())
    }
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Self {
        Self::End(reason)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The sessions of one node. See the [module](super) for the order of calls.
pub struct Engine {
    pub(crate) config: EngineConfig,
    pub(crate) now_ms: u64,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    /// The same by the peer's key, so that a storm of connections costs each of them nothing for the rest.
    pub(crate) by_key: BTreeMap<Author, BTreeSet<SessionId>>,
    /// Sessions that still wait for a greeting, and live ones with hubs: only these have timers.
    pub(crate) greeting: BTreeSet<SessionId>,
    pub(crate) hubs: BTreeSet<SessionId>,
    /// Live sessions by listed scope, and those that want everything.
    pub(crate) subscribers: BTreeMap<Scope, BTreeSet<SessionId>>,
    pub(crate) subscribers_of_all: BTreeSet<SessionId>,
    /// Own durable vectors of scopes that some session shares and had to do with.
    pub(crate) own: BTreeMap<Scope, Arc<Vector>>,
    /// The log position of the last [`Input::Committed`].
    pub(crate) position: u64,
    /// What arrived from hubs and has not yet been passed by every hub's cursor.
    pub(crate) via_hubs: BTreeMap<Scope, BTreeMap<ChainId, u64>>,
    /// Sessions that await a commit to be acknowledged or asked again.
    pub(crate) uncommitted: BTreeSet<SessionId>,
    /// Sessions with something to send and room for it; whose turn was last.
    pub(crate) ready: BTreeSet<SessionId>,
    pub(crate) turn: SessionId,
    /// Sessions that have used up their rate, by when they may go on.
    pub(crate) paced: BTreeSet<(u64, SessionId)>,
    pub(crate) codec: Codec,
    /// Of everything that is held, once another replica of everything was met.
    pub(crate) summary: Option<Summary>,
    pub(crate) sweep_at_ms: u64,
    pub(crate) gone: BTreeMap<PeerId, Gone>,
    pub(crate) presence: Teller,
    /// What the other nodes of the site were told last of this one's uplink.
    pub(crate) uplink_told: bool,
    pub(crate) cuts: BTreeMap<CutTarget, Option<u64>>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) counters: super::status::Counters,
    /// Who was last asked for what is missing of a scope.
    pub(crate) asked_last: BTreeMap<Scope, SessionId>,
}

impl Engine {
    /// An engine without sessions.
    pub fn new(config: EngineConfig) -> Self {
        Self {
            config,
            now_ms: 0,
            sessions: BTreeMap::new(),
            by_key: BTreeMap::new(),
            greeting: BTreeSet::new(),
            hubs: BTreeSet::new(),
            subscribers: BTreeMap::new(),
            subscribers_of_all: BTreeSet::new(),
            own: BTreeMap::new(),
            position: 0,
            via_hubs: BTreeMap::new(),
            uncommitted: BTreeSet::new(),
            ready: BTreeSet::new(),
            turn: SessionId(0),
            paced: BTreeSet::new(),
            codec: Codec::default(),
            summary: None,
            sweep_at_ms: 0,
            gone: BTreeMap::new(),
            presence: Teller::default(),
            uplink_told: false,
            cuts: BTreeMap::new(),
            conditions: Vec::new(),
            counters: super::status::Counters::default(),
            asked_last: BTreeMap::new(),
        }
    }

    /// Takes one input at `now_ms` (monotonic, from any start) and appends what is to be done.
    ///
    /// An error is the replica's disk failing: the node has to stop. Whatever a peer does wrong ends
    /// its session only.
    pub fn handle<S: Store>(
        &mut self,
        now_ms: u64,
        input: Input,
        replica: &mut Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        self.now_ms = self.now_ms.max(now_ms);
        if self.sessions.is_empty() && !matches!(input, Input::Committed { .. }) {
            // What is durable by now is compared when a session begins, and never pushed.
            self.position = replica.position();
        }
        match input {
            Input::Connected { session, peer } => self.connected(session, peer, replica, out),
            Input::Frame { session, bytes } => {
                let handled = self.frame(session, &bytes, replica, out);
                self.conclude(session, handled, out)?;
            }
            Input::Closed { session, reason, silent_ms } => {
                self.forget(session, Reason::Peer(reason), silent_ms);
            }
            Input::Tick => self.tick(out),
            Input::Committed { changed } => self.committed(&changed, replica, out)?,
        }
        self.tell_uplink(out);
        self.pump(replica, out)
    }

    /// Whether frames were merged that wait for a commit of the replica and [`Input::Committed`].
    pub fn wants_commit(&self) -> bool {
        !self.uncommitted.is_empty()
    }

    /// When to give the next [`Input::Tick`] if nothing else happens before; a time that has passed
    /// means at once, after other inputs had their turn.
    pub fn next_timeout(&self) -> Option<u64> {
        if !self.ready.is_empty() {
            return Some(self.now_ms);
        }
        let greetings = self.greeting.iter().filter_map(|id| match self.sessions.get(id)?.phase {
            Phase::Greeting { deadline_ms, .. } => Some(deadline_ms),
            Phase::Live { .. } => None,
        });
        let hubs = self.hubs.iter().filter_map(|id| self.sessions.get(id)).flat_map(|session| {
            let due = session.announce_at_ms.into_iter().chain(session.telling.at_ms);
            due.chain(session.fetch_at_ms)
        });
        let sweep = (!self.sessions.is_empty()).then_some(self.sweep_at_ms);
        let paced = self.paced.first().map(|(at, _)| *at);
        greetings.chain(hubs).chain(paced).chain(self.cuts.values().copied().flatten()).chain(sweep).min()
    }

    /// Ends all sessions because the node stops.
    pub fn stop(&mut self, out: &mut Vec<Output>) {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        ids.into_iter().for_each(|id| self.end(id, Reason::Stopping, out));
    }

    fn connected<S: Store>(
        &mut self,
        id: SessionId,
        peer: PeerInfo,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) {
        let refusal = if self.sessions.len() >= self.config.limits.sessions_max {
            Some(Reason::Full { max: self.config.limits.sessions_max })
        } else if replica.authority().is_revoked(&peer.key) {
            Some(Reason::Revoked)
        } else {
            self.is_cut(&peer.kind).then_some(Reason::Cut)
        };
        if self.sessions.is_empty() {
            self.sweep_at_ms = self.now_ms + SWEEP_MS;
        }
        let dialled = peer.dialled;
        self.by_key.entry(peer.key).or_default().insert(id);
        let session = Session::new(peer, self.now_ms, &self.config.limits);
        let replaced = self.sessions.insert(id, session);
        assert!(replaced.is_none(), "the shell never uses a session's number twice");
        self.greeting.insert(id);
        match refusal {
            Some(reason) => self.end(id, reason, out),
            None if dialled => self.greet(id, None, replica, out),
            None => {}
        }
    }

    fn frame<S: Store>(
        &mut self,
        id: SessionId,
        bytes: &[u8],
        replica: &mut Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        session.bytes_received += bytes.len() as u64;
        let (number, frame) = frame::decode(bytes).map_err(Violation::Malformed)?;
        if number != session.next_received {
            return Err(Violation::Order { expected: session.next_received, found: number }.into());
        }
        session.next_received += 1;
        if frame.is_answer() {
            session.owed_since_ms = self.now_ms;
        }
        let live = session.is_live();
        match frame {
            Frame::Hello(hello) => match live {
                false => self.hello(id, hello, replica, out),
                true => Err(Violation::Turn("hello").into()),
            },
            Frame::Bye { reason, .. } => Err(Reason::Peer(format!("the peer said: {reason}")).into()),
            Frame::Unknown { .. } => Ok(()),
            _ if !live => Err(Violation::Turn("frame before hello").into()),
            Frame::Vector { scope, vector, ask } => self.vector(id, &scope, vector, ask, replica, out),
            Frame::Restarted { scope } => {
                if let Some(restart) = session.restarts.get_mut(&scope) {
                    restart.waiting = false;
                }
                Ok(())
            }
            Frame::Events { body } => self.events(id, number, &body, replica),
            Frame::Ack { through, incomplete } => {
                let flow = (&self.config.limits, self.now_ms);
                session.acknowledge(through, &incomplete, &self.own, flow)?;
                session.last_acked_ms = Some(self.now_ms);
                self.ready.insert(id);
                Ok(())
            }
            Frame::Covers { scope } => self.covers(id, &scope, replica, out),
            Frame::Cells(cells) => self.cells(id, cells, replica, out),
            Frame::More { cells } => self.more(id, cells, out),
            Frame::Found { differing, lacking } => self.found(id, differing, lacking, replica, out),
            Frame::Page { scopes, last } => self.page(id, scopes, last, replica, out),
            Frame::Interest { added, removed } => self.interest_changed(id, added, removed, replica, out),
            Frame::Announce(entries) => self.announced(id, entries, replica),
            Frame::Presence(told) => self.presence_told(id, told),
            Frame::Uplink(has_uplink) => self.uplink_said(id, has_uplink),
            Frame::Inquiry { number, question } => self.inquired(id, number, &question, replica, out),
            Frame::Answer { number, answer } => self.answered(id, number, answer, out),
        }
    }

    fn tick(&mut self, out: &mut Vec<Output>) {
        let late: Vec<SessionId> = self
            .greeting
            .iter()
            .filter(|id| match self.sessions.get(id).map(|session| &session.phase) {
                Some(Phase::Greeting { deadline_ms, .. }) => *deadline_ms <= self.now_ms,
                _ => false,
            })
            .copied()
            .collect();
        let ms = self.config.limits.greeting_ms;
        late.into_iter().for_each(|id| self.end(id, Reason::Greeting { ms }, out));
        let now_ms = self.now_ms;
        self.cuts.retain(|_, until| until.is_none_or(|until| until > now_ms));
        if now_ms >= self.sweep_at_ms {
            self.sweep(out);
        }
        self.resume_paced();
        self.announce_due(out);
        self.fetch_due(out);
        self.tell_presence(out);
    }

    /// Once a minute: ends sessions whose peer does not answer, and renews allowances.
    fn sweep(&mut self, out: &mut Vec<Output>) {
        self.sweep_at_ms = self.now_ms + SWEEP_MS;
        let ms = self.config.limits.stalled_ms;
        let mut stalled = vec![];
        for (id, session) in &mut self.sessions {
            session.restarts_left = self.config.limits.restarts_per_minute;
            session.inquiries.allowance = INQUIRIES_PER_MINUTE;
            if !session.is_owed() {
                session.owed_since_ms = self.now_ms;
            } else if self.now_ms >= session.owed_since_ms + ms {
                stalled.push(*id);
            }
        }
        stalled.into_iter().for_each(|id| self.end(id, Reason::Stalled { ms }, out));
    }

    /// Ends a session for cause, or passes a failing disk on.
    pub(crate) fn conclude(
        &mut self,
        id: SessionId,
        handled: Result<(), Fault>,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        match handled {
            Ok(()) => Ok(()),
            Err(Fault::End(reason)) => {
                self.end(id, reason, out);
                Ok(())
            }
            Err(Fault::Store(error)) => Err(error),
        }
    }

    /// Says farewell, closes and forgets a session.
    pub(crate) fn end(&mut self, id: SessionId, reason: Reason, out: &mut Vec<Output>) {
        let (code, text) = (reason.code(), reason.to_string());
        if matches!(reason, Reason::Violation(_)) {
            self.counters.violations += 1;
        }
        if !matches!(reason, Reason::Peer(_)) {
            self.send(id, &Frame::Bye { code, reason: text.clone() }, Class::Control, out);
        }
        if self.forget(id, reason, 0) {
            out.push(Output::Close { session: id, code, reason: text });
        }
    }

    /// Removes a session and remembers why it ended; false if there was none.
    fn forget(&mut self, id: SessionId, reason: Reason, silent_ms: u64) -> bool {
        let Some(session) = self.sessions.remove(&id) else { return false };
        for sessions in [&mut self.greeting, &mut self.hubs, &mut self.subscribers_of_all] {
            sessions.remove(&id);
        }
        if let Some(sessions) = self.by_key.get_mut(&session.peer.key) {
            sessions.remove(&id);
            if sessions.is_empty() {
                self.by_key.remove(&session.peer.key);
            }
        }
        self.uncommitted.remove(&id);
        self.ready.remove(&id);
        for scope in session.interest().into_iter().flat_map(Interest::listed) {
            self.unsubscribe(id, scope);
        }
        let heard_ms = self.presence_ends(&session, silent_ms);
        session.flow.paced_until_ms.map(|at| self.paced.remove(&(at, id)));
        self.remember(session, reason, heard_ms);
        true
    }

    pub(crate) fn unsubscribe(&mut self, id: SessionId, scope: &Scope) {
        if let Some(sessions) = self.subscribers.get_mut(scope) {
            sessions.remove(&id);
            if sessions.is_empty() {
                self.subscribers.remove(scope);
            }
        }
    }

    /// Sends one frame that is not events.
    pub(crate) fn send(&mut self, id: SessionId, frame: &Frame, class: Class, out: &mut Vec<Output>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let bytes = frame::encode(session.next_sent, frame);
        session.next_sent += 1;
        session.bytes_sent += bytes.len() as u64;
        session.flow.spend(bytes.len());
        out.push(Output::Send { session: id, bytes, class });
    }

    /// Sends the own vector of a scope. A demand to start anew leaves out what the store lost.
    pub(crate) fn tell<S: Store>(
        &mut self,
        id: SessionId,
        scope: &Scope,
        ask: Ask,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) {
        let own = self.own_vector(scope, replica);
        let vector = if ask == Ask::Restart { replica.asking(scope) } else { Vector::clone(&own) };
        if let Some(session) = self.sessions.get_mut(&id) {
            if ask == Ask::Reply {
                session.told.insert(scope.clone(), own.clone());
            }
            if session.is_hub() {
                session.shown.insert(scope.clone(), own);
            }
        }
        self.send(id, &Frame::Vector { scope: scope.clone(), vector, ask }, Class::Control, out);
    }

    /// The own durable vector of a scope, kept from now on.
    pub(crate) fn own_vector<S: Store>(&mut self, scope: &Scope, replica: &Replica<S>) -> Arc<Vector> {
        if let Some(vector) = self.own.get(scope) {
            return vector.clone();
        }
        let vector = Arc::new(replica.vector(scope));
        self.own.insert(scope.clone(), vector.clone());
        vector
    }

    /// Whether this node and the peer of a session both want a scope and the peer may hold it.
    pub(crate) fn shares(&self, id: SessionId, scope: &Scope) -> bool {
        self.config.interest.contains(scope)
            && self.sessions.get(&id).is_some_and(|session| session.takes(scope))
    }

    pub(crate) fn raise(&mut self, condition: Condition, out: &mut Vec<Output>) {
        if self.conditions.contains(&condition) {
            return;
        }
        if self.conditions.len() == CONDITIONS_MAX {
            self.conditions.remove(0);
        }
        self.conditions.push(condition.clone());
        out.push(Output::Condition(condition));
    }

    /// Live sessions with one node and one boot, other than `id`.
    pub(crate) fn twins(&self, id: SessionId, key: Author, boot: Boot) -> Vec<SessionId> {
        let same = |session: &Session| matches!(session.phase, Phase::Live { boot: b, .. } if b == boot);
        self.others_live(id, key).filter(|(_, session)| same(session)).map(|(other, _)| other).collect()
    }

    /// Live sessions with one key, other than `id`.
    pub(crate) fn others_live(
        &self,
        id: SessionId,
        key: Author,
    ) -> impl Iterator<Item = (SessionId, &Session)> {
        let with_key = self.by_key.get(&key).into_iter().flatten().filter(move |other| **other != id);
        with_key.filter_map(|other| Some((*other, self.sessions.get(other)?))).filter(|(_, s)| s.is_live())
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Violation::Malformed(error).into()
    }
}

#[cfg(test)]
mod tests;
