//! One session: what is known of a peer, what is on its way to it, and what is owed to it.
//!
//! Owns the state of one peer and nothing else; the engine decides when to send.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use driftless_core::event::ChainId;
use driftless_core::ids::{Boot, EventId};
use driftless_core::name::Scope;
use driftless_core::vector::{Head, Vector};

use super::find::Finding;
use super::flow::Flow;
use super::frame::ScopeTag;
use super::inquiry::Inquiries;
use super::interest::{Interest, PeerInfo};
use super::limits::Limits;
use super::presence::Telling;
use super::reason::Violation;
use super::summary::tag;

/// Most times in a row that a scope is asked for again without any progress.
const FRUITLESS_RESTARTS_MAX: u32 = 8;

/// Identifies a session; the shell counts them and never uses one twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// How far a session has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waiting for the peer's `Hello` until then.
    Greeting {
        /// When the wait ends.
        deadline_ms: u64,
        /// What this node said that it wants, if it has spoken: the answer is in that order.
        listed: Option<Interest>,
    },
    /// Both have greeted.
    Live {
        /// What the peer wants.
        interest: Interest,
        /// The peer's boot.
        boot: Boot,
    },
}

/// What is known of a peer's part of a scope. Vectors are shared with everybody who has the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// What the peer said that it durably holds.
    pub(crate) acked: Arc<Vector>,
    /// The same and what it sent or was sent: it is not sent again.
    pub(crate) held: Arc<Vector>,
}

/// A place in the log from which a scope is still to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor {
    /// Everything up to here was sent or is held.
    pub(crate) after: u64,
    /// Up to here also what came from hubs is sent to a hub.
    pub(crate) all_until: u64,
}

/// The last place of each of some records.
pub(crate) type Places = Arc<[(ChainId, u64)]>;

/// A frame of events that is not acknowledged yet.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) number: u64,
    pub(crate) bytes: usize,
    pub(crate) sent_ms: u64,
    /// The last place of each record.
    pub(crate) heads: Vec<(Scope, Places)>,
}

/// A request to start a scope anew.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Restart {
    /// Asked for, and the answer has not begun.
    pub(crate) waiting: bool,
    /// Events held when it was last asked for.
    events: u64,
    /// How often in a row nothing came of it.
    fruitless: u32,
}

/// One peer.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) peer: PeerInfo,
    pub(crate) phase: Phase,
    pub(crate) since_ms: u64,
    /// Number of the next frame to send, and of the next to arrive.
    pub(crate) next_sent: u64,
    pub(crate) next_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) last_acked_ms: Option<u64>,
    /// Since when the peer owes what it owes: an acknowledgement, a vector, a restart.
    pub(crate) owed_since_ms: u64,
    /// Scopes whose state at the peer has been settled or at least touched.
    pub(crate) known: BTreeMap<Scope, Known>,
    /// Scopes of which the peer's vector was asked for and has not come.
    pub(crate) awaiting: BTreeSet<Scope>,
    /// Scopes that differ and whose turn to be compared has not come.
    pub(crate) differing: BTreeSet<Scope>,
    /// The own vectors that were sent in this comparison, until the peer answers.
    pub(crate) told: BTreeMap<Scope, Arc<Vector>>,
    /// Scopes that the peer found to differ and of which its vector is on its way; and their tags.
    pub(crate) expected: BTreeMap<Scope, ScopeTag>,
    /// How far the two replicas of everything have come with finding what differs.
    pub(crate) finding: Option<Finding>,
    /// Scopes that were shared and no longer are; what is still on its way of them is ignored.
    pub(crate) left: BTreeSet<Scope>,
    pub(crate) pending: BTreeMap<Scope, Cursor>,
    pub(crate) in_flight: VecDeque<InFlight>,
    pub(crate) in_flight_bytes: usize,
    pub(crate) flow: Flow,
    /// Number of the last frame of events that was taken and not acknowledged.
    pub(crate) unacknowledged: Option<u64>,
    pub(crate) incomplete: Vec<u64>,
    /// Scopes to ask for again once what was staged is durable.
    pub(crate) wanted: BTreeSet<Scope>,
    pub(crate) restarts: BTreeMap<Scope, Restart>,
    /// Restarts that the peer may still demand; grows with time.
    pub(crate) restarts_left: u32,
    /// Hub to hub: scopes whose heads are to be announced, and what the peer knows to be held here,
    /// because it was announced, sent, or acknowledged.
    pub(crate) announce: BTreeSet<Scope>,
    pub(crate) shown: BTreeMap<Scope, Arc<Vector>>,
    pub(crate) announce_at_ms: Option<u64>,
    /// Hub to hub: scopes of which the peer announced more than is held, to fetch if it stays so.
    pub(crate) fetch: BTreeMap<Scope, u64>,
    /// No later than the first of them is due.
    pub(crate) fetch_at_ms: Option<u64>,
    /// Hub to hub: how much of the own presence was told.
    pub(crate) telling: Telling,
    /// Between nodes of a site: whether the peer says that it has a session with a hub.
    pub(crate) has_uplink: bool,
    /// Hub to hub: questions about other peers.
    pub(crate) inquiries: Inquiries,
}

impl Session {
    pub(crate) fn new(peer: PeerInfo, now_ms: u64, limits: &Limits) -> Self {
        let deadline_ms = now_ms + limits.greeting_ms;
        Self {
            peer,
            phase: Phase::Greeting { deadline_ms, listed: None },
            since_ms: now_ms,
            next_sent: 0,
            next_received: 0,
            bytes_sent: 0,
            bytes_received: 0,
            last_acked_ms: None,
            owed_since_ms: now_ms,
            known: BTreeMap::new(),
            awaiting: BTreeSet::new(),
            differing: BTreeSet::new(),
            told: BTreeMap::new(),
            expected: BTreeMap::new(),
            finding: None,
            left: BTreeSet::new(),
            pending: BTreeMap::new(),
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            flow: Flow::new(limits, now_ms),
            unacknowledged: None,
            incomplete: Vec::new(),
            wanted: BTreeSet::new(),
            restarts: BTreeMap::new(),
            restarts_left: limits.restarts_per_minute,
            announce: BTreeSet::new(),
            shown: BTreeMap::new(),
            announce_at_ms: None,
            fetch: BTreeMap::new(),
            fetch_at_ms: None,
            telling: Telling::default(),
            has_uplink: false,
            inquiries: Inquiries::default(),
        }
    }

    /// Whether a scope is known to differ and the peer's vector has not come.
    pub(crate) fn is_comparing(&self, scope: &Scope) -> bool {
        self.awaiting.contains(scope) || self.differing.contains(scope) || self.expected.contains_key(scope)
    }

    /// How many scopes are known to differ without the peer's vector having come.
    pub(crate) fn scopes_comparing(&self) -> usize {
        self.awaiting.len() + self.differing.len() + self.expected.len()
    }

    /// Whether the peer's part of a scope has been compared and found equal, or said by it.
    pub(crate) fn is_compared(&self, scope: &Scope) -> bool {
        self.is_live() && !self.is_comparing(scope) && self.finding.is_none()
    }

    /// Whether an answer of the peer is due.
    pub(crate) fn is_owed(&self) -> bool {
        !self.in_flight.is_empty()
            || !self.awaiting.is_empty()
            || !self.expected.is_empty()
            || self.finding.is_some()
            || self.restarts.values().any(|restart| restart.waiting)
            || self.inquiries.is_owed()
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live { .. })
    }

    pub(crate) fn is_hub(&self) -> bool {
        self.peer.kind.is_hub()
    }

    /// The peer's interest, once it has greeted.
    pub(crate) fn interest(&self) -> Option<&Interest> {
        match &self.phase {
            Phase::Live { interest, .. } => Some(interest),
            Phase::Greeting { .. } => None,
        }
    }

    /// Whether the peer wants a scope and may hold it.
    pub(crate) fn takes(&self, scope: &Scope) -> bool {
        self.interest().is_some_and(|interest| interest.contains(scope)) && self.peer.kind.may_hold(scope)
    }

    /// What is known of the peer's part of a scope. If nothing was said of it, the scope was equal when
    /// sessions were compared, and `own` is what was held since.
    pub(crate) fn known(&mut self, scope: &Scope, own: Option<&Arc<Vector>>) -> &mut Known {
        let equal = if self.is_comparing(scope) { None } else { own };
        let equal = || equal.cloned().unwrap_or_default();
        self.known.entry(scope.clone()).or_insert_with(|| Known { acked: equal(), held: equal() })
    }

    /// Notes that the peer holds an event and everything before it in its chain.
    pub(crate) fn note_held(&mut self, scope: &Scope, chain: ChainId, seq: u64) {
        let known = self.known(scope, None);
        if !known.held.covers(&chain, seq) {
            Arc::make_mut(&mut known.held).advance(chain, Head { seq, id: EventId::default() });
        }
    }

    /// Notes that another hub knows an event to be held here.
    pub(crate) fn note_shown(&mut self, scope: &Scope, chain: ChainId, seq: u64) {
        if let Some(shown) = self.shown.get_mut(scope)
            && !shown.covers(&chain, seq)
        {
            Arc::make_mut(shown).advance(chain, Head { seq, id: EventId::default() });
        }
    }

    /// Notes that the peer sent an event, which it does only with what is durable there.
    pub(crate) fn note_sent_by_peer(&mut self, scope: &Scope, chain: ChainId, seq: u64) {
        self.note_held(scope, chain, seq);
        self.note_shown(scope, chain, seq);
        let Some(known) = self.known.get_mut(scope) else { return };
        if !known.acked.covers(&chain, seq) {
            Arc::make_mut(&mut known.acked).advance(chain, Head { seq, id: EventId::default() });
        }
    }

    /// A vector came of a scope that was not expected: of which expected ones the peer may have meant
    /// that, by their tag, so that theirs will not come by itself.
    pub(crate) fn mistaken(&self, scope: &Scope) -> Vec<Scope> {
        if self.expected.is_empty() || self.expected.contains_key(scope) {
            return vec![];
        }
        let tag = tag(scope);
        self.expected
            .iter()
            .filter(|(_, expected)| **expected == tag)
            .map(|(scope, _)| scope.clone())
            .collect()
    }

    /// Takes the peer's own statement of what it durably holds; more may be on its way.
    pub(crate) fn settle(&mut self, scope: &Scope, vector: Arc<Vector>) {
        self.awaiting.remove(scope);
        self.differing.remove(scope);
        self.expected.remove(scope);
        self.fetch.remove(scope);
        self.known.insert(scope.clone(), Known { acked: vector.clone(), held: vector });
    }

    /// Notes that the peer held a scope as this node did when it had `vector`. Where nothing was noted
    /// of the scope since, that is what [`Session::known`] assumes anyway.
    pub(crate) fn equal(&mut self, scope: &Scope, vector: &Arc<Vector>) {
        if let Some(known) = self.known.get_mut(scope) {
            Arc::make_mut(&mut known.acked).join(vector);
            Arc::make_mut(&mut known.held).join(vector);
            known.share(Some(vector));
        }
        if let Some(shown) = self.shown.get_mut(scope) {
            Arc::make_mut(shown).join(vector);
        }
    }

    /// Has a scope sent from a place in the log; an earlier place wins.
    pub(crate) fn send_from(&mut self, scope: &Scope, after: u64, all_until: u64) {
        let cursor = self.pending.entry(scope.clone()).or_insert(Cursor { after, all_until });
        cursor.after = cursor.after.min(after);
        cursor.all_until = cursor.all_until.max(all_until);
    }

    /// Takes an acknowledgement. `own` gives the vector to share where the peer holds as much.
    pub(crate) fn acknowledge(
        &mut self,
        through: u64,
        incomplete: &[u64],
        own: &BTreeMap<Scope, Arc<Vector>>,
        (limits, now_ms): (&Limits, u64),
    ) -> Result<(), Violation> {
        if through >= self.next_sent {
            return Err(Violation::Ack(through));
        }
        let before = self.in_flight_bytes;
        let last = self.in_flight.iter().take_while(|frame| frame.number <= through).last();
        let last = last.map(|frame| (frame.number, now_ms.saturating_sub(frame.sent_ms)));
        while self.in_flight.front().is_some_and(|frame| frame.number <= through) {
            let Some(frame) = self.in_flight.pop_front() else { break };
            self.in_flight_bytes -= frame.bytes;
            if incomplete.contains(&frame.number) {
                // The peer notes nothing of such a frame, not even that what it carried is held here.
                let told_anew = frame.heads.into_iter().filter(|_| self.peer.kind.is_hub());
                for (scope, _) in told_anew {
                    self.shown.insert(scope.clone(), Arc::default());
                    self.announce.insert(scope);
                    self.announce_at_ms.get_or_insert(now_ms + limits.announce_ms);
                }
                continue;
            }
            for (scope, heads) in frame.heads {
                let Some(known) = self.known.get_mut(&scope) else { continue };
                for (chain, seq) in heads.iter() {
                    if !known.acked.covers(chain, *seq) {
                        let head = Head { seq: *seq, id: EventId::default() };
                        Arc::make_mut(&mut known.acked).advance(*chain, head);
                    }
                }
                known.share(own.get(&scope));
            }
        }
        if let Some((number, flight_ms)) = last {
            let (bytes, limited) =
                (before - self.in_flight_bytes, before >= self.flow.window_bytes(limits) / 2);
            self.flow.acknowledged((number, self.next_sent), flight_ms, bytes, limited, limits);
        }
        Ok(())
    }

    /// Decides whether to ask for a scope again; `events` counts what is held of it.
    pub(crate) fn may_restart(&mut self, scope: &Scope, events: u64) -> Result<bool, Violation> {
        let restart = self.restarts.entry(scope.clone()).or_default();
        if restart.waiting {
            return Ok(false);
        }
        restart.fruitless = if restart.events == events { restart.fruitless + 1 } else { 0 };
        if restart.fruitless > FRUITLESS_RESTARTS_MAX {
            return Err(Violation::Unanswered(scope.clone()));
        }
        *restart = Restart { waiting: true, events, ..*restart };
        Ok(true)
    }

    /// Uses up one of the searches of the log that the peer may cause in a minute.
    pub(crate) fn spend_restart(&mut self, max: u32) -> Result<(), Violation> {
        let limit = Violation::Limit { what: "searches of the log a minute", max: max as usize };
        self.restarts_left = self.restarts_left.checked_sub(1).ok_or(limit)?;
        Ok(())
    }

    /// Drops everything about a scope that is no longer shared.
    pub(crate) fn leave(&mut self, scope: &Scope) {
        self.known.remove(scope);
        self.awaiting.remove(scope);
        self.differing.remove(scope);
        self.expected.remove(scope);
        self.told.remove(scope);
        self.pending.remove(scope);
        self.wanted.remove(scope);
        self.restarts.remove(scope);
        self.announce.remove(scope);
        self.shown.remove(scope);
        self.fetch.remove(scope);
        self.left.insert(scope.clone());
    }
}

impl Known {
    /// Replaces vectors by equal ones that are shared.
    pub(crate) fn share(&mut self, own: Option<&Arc<Vector>>) {
        if let Some(own) = own {
            if same_places(&self.acked, own) {
                self.acked = own.clone();
            }
            if same_places(&self.held, own) {
                self.held = own.clone();
            }
        }
        if !Arc::ptr_eq(&self.acked, &self.held) && same_places(&self.acked, &self.held) {
            self.held = self.acked.clone();
        }
    }
}

/// Whether two vectors cover the same places; ids are not known of every head.
fn same_places(a: &Vector, b: &Vector) -> bool {
    a.len() == b.len() && a.missing_in(b) == 0 && b.missing_in(a) == 0
}
