//! What an engine can say about its peers: how far behind, since when, and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use driftless_core::ids::{Author, Boot};
use driftless_core::name::Scope;
use driftless_core::vector::Vector;

use super::engine::{Engine, Output};
use super::interest::{Interest, PeerId, PeerInfo, PeerKind};
use super::presence::Lease;
use super::reason::Reason;
use super::session::{Known, Phase, Session, SessionId};

/// Something that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// A peer held more of this node's own history than the own disk: it was rolled back, and the
    /// history is being fetched.
    OwnHistoryRecovered {
        /// This node's key.
        author: Author,
        /// The run whose events were lost.
        boot: Boot,
        /// The scope.
        scope: Scope,
        /// How many events.
        events: u64,
    },
    /// Two runs of one key were connected at a time: a copied node, or a restart whose old connection
    /// had not ended yet.
    SameKeyTwice {
        /// The key.
        key: Author,
    },
}

/// Whom an operator's cut concerns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CutTarget {
    /// Every peer.
    All,
    /// The peers that answer to a name, see [`PeerKind::answers_to`].
    Named(String),
}

/// How a peer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerState {
    /// Connected, has not greeted yet.
    Greeting,
    /// Greeted; so many scopes are still being compared.
    Comparing {
        /// Scopes whose vector has not come.
        scopes: usize,
    },
    /// Events are on their way, or wait for room.
    Sending,
    /// Holds everything that it wants and this node has.
    InSync,
    /// Not connected.
    Gone {
        /// Since when.
        since_ms: u64,
    },
}

/// One peer, connected or remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Who.
    pub peer: PeerInfo,
    /// The session, if connected.
    pub session: Option<SessionId>,
    /// How it stands.
    pub state: PeerState,
    /// When the session began or ended.
    pub since_ms: u64,
    /// Whether it is heard, or when it was.
    pub lease: Lease,
    /// Events that this node holds and the peer wants and has not acknowledged.
    pub lag_events: u64,
    /// Bytes of frames that are sent and not acknowledged.
    pub in_flight_bytes: usize,
    /// When the peer last acknowledged something in this session.
    pub last_acked_ms: Option<u64>,
    /// Bytes sent in this session.
    pub bytes_sent: u64,
    /// Bytes received in this session.
    pub bytes_received: u64,
    /// Why the last session ended.
    pub reason: Option<String>,
}

/// Counts since the engine was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sessions ended for a violation.
    pub violations: u64,
    /// Events taken from peers.
    pub events_accepted: u64,
    /// Events received that were held already.
    pub events_duplicate: u64,
    /// Events that the replica refused one by one.
    pub events_refused: u64,
    /// Frames of events sent.
    pub frames_sent: u64,
    /// Times that a scope was asked for again.
    pub restarts: u64,
    /// Bytes of log read for sending.
    pub log_bytes_read: u64,
    /// Times that the log of a scope was searched for where to begin sending.
    pub log_searches: u64,
    /// Times that a peer was asked for what the own store lost of a scope.
    pub repairs: u64,
}

/// A peer whose session has ended.
#[derive(Debug, Clone)]
pub(crate) struct Gone {
    pub(crate) peer: PeerInfo,
    pub(crate) since_ms: u64,
    pub(crate) heard_ms: i64,
    pub(crate) reason: String,
    pub(crate) interest: Option<Interest>,
    pub(crate) known: BTreeMap<Scope, Known>,
}

impl Engine {
    /// Every peer, the connected ones first by session.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let connected = self.sessions.iter().map(|(id, session)| self.status(*id, session));
        let gone = self.gone.values().filter(|gone| !self.is_connected(gone.peer.key));
        let gone = gone.map(|gone| PeerStatus {
            peer: gone.peer.clone(),
            session: None,
            state: PeerState::Gone { since_ms: gone.since_ms },
            since_ms: gone.since_ms,
            lease: Lease::Gone { heard_ms: gone.heard_ms },
            lag_events: self.lag(&gone.known),
            in_flight_bytes: 0,
            last_acked_ms: None,
            bytes_sent: 0,
            bytes_received: 0,
            reason: Some(gone.reason.clone()),
        });
        connected.chain(gone).collect()
    }

    /// What an operator should know, oldest first.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Counts since the engine was made.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Bytes of events that are on their way to all peers.
    pub fn in_flight_bytes(&self) -> usize {
        self.sessions.values().map(|session| session.in_flight_bytes).sum()
    }

    /// Cuts links on behalf of an operator: sessions end, new ones are refused until `until_ms` or
    /// [`Engine::heal`].
    pub fn cut(&mut self, target: CutTarget, until_ms: Option<u64>, out: &mut Vec<Output>) {
        self.cuts.insert(target, until_ms);
        let cut: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| self.is_cut(&session.peer.kind))
            .map(|(id, _)| *id)
            .collect();
        cut.into_iter().for_each(|id| self.end(id, Reason::Cut, out));
    }

    /// Lifts a cut; healing [`CutTarget::All`] lifts every cut. False if there was none.
    pub fn heal(&mut self, target: &CutTarget) -> bool {
        match target {
            CutTarget::All => !std::mem::take(&mut self.cuts).is_empty(),
            CutTarget::Named(_) => self.cuts.remove(target).is_some(),
        }
    }

    /// The cuts in force and when they end.
    pub fn cuts(&self) -> impl Iterator<Item = (&CutTarget, Option<u64>)> {
        self.cuts.iter().map(|(target, until_ms)| (target, *until_ms))
    }

    /// Whether an operator has cut the link to a peer; a shell does not dial it then.
    pub fn is_cut(&self, peer: &PeerKind) -> bool {
        self.cuts.iter().filter(|(_, until)| until.is_none_or(|until| until > self.now_ms)).any(
            |(target, _)| match target {
                CutTarget::All => true,
                CutTarget::Named(name) => peer.answers_to(name),
            },
        )
    }

    /// Keeps what is known of a peer whose session ended.
    pub(crate) fn remember(&mut self, session: Session, reason: Reason, heard_ms: i64) {
        if self.gone.len() >= self.config.limits.gone_max {
            let oldest = self.gone.iter().min_by_key(|(_, gone)| gone.since_ms).map(|(id, _)| *id);
            oldest.map(|id| self.gone.remove(&id));
        }
        let id = PeerId(session.peer.key);
        let interest = session.interest().cloned();
        let (known, since_ms) = (session.known, self.now_ms);
        let (peer, reason) = (session.peer, reason.to_string());
        let gone = Gone { peer, since_ms, heard_ms, reason, interest, known };
        self.gone.insert(id, gone);
    }

    fn status(&self, id: SessionId, session: &Session) -> PeerStatus {
        let state = match session.phase {
            Phase::Greeting { .. } => PeerState::Greeting,
            Phase::Live { .. } if session.scopes_comparing() > 0 || session.finding.is_some() => {
                PeerState::Comparing { scopes: session.scopes_comparing() }
            }
            Phase::Live { .. } if !session.pending.is_empty() || !session.in_flight.is_empty() => {
                PeerState::Sending
            }
            Phase::Live { .. } => PeerState::InSync,
        };
        PeerStatus {
            peer: session.peer.clone(),
            session: Some(id),
            state,
            since_ms: session.since_ms,
            lease: Lease::Connected,
            lag_events: self.lag(&session.known),
            in_flight_bytes: session.in_flight_bytes,
            last_acked_ms: session.last_acked_ms,
            bytes_sent: session.bytes_sent,
            bytes_received: session.bytes_received,
            reason: self.gone.get(&PeerId(session.peer.key)).map(|gone| gone.reason.clone()),
        }
    }

    fn lag(&self, known: &BTreeMap<Scope, Known>) -> u64 {
        let missing = |(scope, known): (&Scope, &Known)| {
            self.own.get(scope).map_or(0, |own: &Arc<Vector>| own.missing_in(&known.acked))
        };
        known.iter().map(missing).sum()
    }

    /// Whether a session with a node is open; a shell does not dial it then.
    pub fn is_connected(&self, key: Author) -> bool {
        self.by_key.contains_key(&key)
    }
}
