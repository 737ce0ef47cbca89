//! Where an event is on its way to each peer, and how far behind a peer is.
//!
//! Everything here is read off what sessions know anyway: nothing is kept for its sake. The engine answers
//! for its own peers; what other hubs say of theirs is asked for with an [inquiry](super::inquiry).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use driftless_core::event::ChainId;
use driftless_core::group::Record;
use driftless_core::ids::Author;
use driftless_core::log::Entry;
use driftless_core::name::Scope;
use driftless_core::replica::Replica;
use driftless_core::store::{Store, StoreError};
use driftless_core::vector::Vector;

use super::engine::Engine;
use super::interest::{Interest, PeerId, PeerKind};
use super::session::{InFlight, Known, Session};
use super::status::Gone;

/// Most bytes of log that are read to measure how far behind one peer is.
pub const BACKLOG_BYTES_MAX: u64 = 1 << 20;
/// About as many bytes of log are read at a time.
const BACKLOG_READ_BYTES: usize = 64 << 10;

/// Which event: its place in a chain. No index by id is needed to find it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPlace {
    /// The scope of its document.
    pub scope: Scope,
    /// Its author and that author's boot.
    pub chain: ChainId,
    /// Its place in the chain, from 1.
    pub seq: u64,
}

/// Where one event is on its way to one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The peer has acknowledged that it is durable there.
    Durable,
    /// Sent, and not acknowledged yet.
    InFlight,
    /// Behind others, the link or the peer being slower than what is written.
    Waiting {
        /// Events of the scope that the peer lacks: up to this one where `bytes` is given, else all.
        events: u64,
        /// Bytes of their records; not counted where many peers are asked about.
        bytes: Option<u64>,
    },
    /// The node that answers does not hold the event itself.
    NotHere,
    /// The peer is not connected.
    NotConnected {
        /// For how long, in milliseconds.
        for_ms: u64,
        /// Why the last session ended.
        reason: String,
    },
    /// The peer does not want the scope, or may not hold it.
    OutsideInterest,
    /// The peer has not greeted, or its part of the scope is not known yet.
    Comparing,
}

/// How one event stands with one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerDelivery {
    /// The peer's key.
    pub key: Author,
    /// Who it is.
    pub peer: PeerKind,
    /// Whether a session is open.
    pub connected: bool,
    /// Whether an operator has cut this link at the node that answers.
    pub cut: bool,
    /// How long ago the peer last acknowledged something or, if it has not, the session began, in
    /// milliseconds: what is durable there was so by then.
    pub heard_ms: u64,
    /// Where the event is.
    pub delivery: Delivery,
}

/// How far behind a peer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Events that it lacks.
    pub events: u64,
    /// Bytes of their records, as they are signed and stored.
    pub bytes: u64,
    /// When the oldest of them was written, by its author's clock, in milliseconds since 1970.
    pub oldest_ms: Option<u64>,
    /// Whether it is more than that: [`BACKLOG_BYTES_MAX`] ended the count.
    pub more: bool,
}

/// A peer's state, as far as deliveries are concerned: of a session, or of what was remembered of one.
pub(crate) struct Standing<'a> {
    pub(crate) key: Author,
    pub(crate) peer: &'a PeerKind,
    pub(crate) session: Option<&'a Session>,
    gone: Option<&'a Gone>,
}

impl Engine {
    /// How an event stands with each peer that `which` picks, by key; remembered peers included.
    ///
    /// With `exact`, the log is read for what is before the event, [`BACKLOG_BYTES_MAX`] for each peer at
    /// most; it is meant for a handful of peers.
    pub fn deliveries<S: Store>(
        &self,
        place: &EventPlace,
        which: impl Fn(&PeerKind) -> bool,
        exact: bool,
        replica: &Replica<S>,
    ) -> Result<Vec<PeerDelivery>, StoreError> {
        let mut found = BTreeMap::new();
        let kept = self.own.get(&place.scope).cloned();
        let own = kept.unwrap_or_else(|| Arc::new(replica.vector(&place.scope)));
        for standing in self.standings().filter(|standing| which(standing.peer)) {
            let mut delivery = self.delivery_of(&standing, place, &own);
            if let (true, Delivery::Waiting { events, bytes }, Some(known)) =
                (exact, &mut delivery, standing.known(&place.scope))
            {
                let backlog = backlog(replica, &place.scope, &known.acked, Some(place), BACKLOG_BYTES_MAX)?;
                (*events, *bytes) = (backlog.events, Some(backlog.bytes));
            }
            found.insert(standing.key, self.told(&standing, delivery));
        }
        Ok(found.into_values().collect())
    }

    /// How far behind a peer is, over all scopes: exactly, from the log. Reads [`BACKLOG_BYTES_MAX`] of it
    /// at most. Zero for a peer that is not known.
    pub fn backlog<S: Store>(&self, key: Author, replica: &Replica<S>) -> Result<Backlog, StoreError> {
        let mut total = Backlog::default();
        let Some(standing) = self.standing(key) else { return Ok(total) };
        for (scope, known) in standing.all_known() {
            if self.own.get(scope).is_none_or(|own| own.missing_in(&known.acked) == 0) {
                continue;
            }
            let room = BACKLOG_BYTES_MAX.saturating_sub(total.bytes);
            let part = backlog(replica, scope, &known.acked, None, room)?;
            total.events += part.events;
            total.bytes += part.bytes;
            total.more |= part.more;
            total.oldest_ms = total.oldest_ms.into_iter().chain(part.oldest_ms).min();
            if total.more {
                break;
            }
        }
        Ok(total)
    }

    /// Every peer once, connected or remembered. Of two sessions with one key the newer counts: the other is
    /// most likely that of a run that died, and lasts until the transport gives it up.
    pub(crate) fn standings(&self) -> impl Iterator<Item = Standing<'_>> {
        let newest: BTreeMap<Author, &Session> =
            self.sessions.values().map(|session| (session.peer.key, session)).collect();
        let keys: BTreeSet<Author> = newest.keys().copied().collect();
        let gone = self.gone.values().filter(move |gone| !keys.contains(&gone.peer.key));
        newest.into_values().map(Standing::of_session).chain(gone.map(Standing::of_gone))
    }

    fn standing(&self, key: Author) -> Option<Standing<'_>> {
        let session = self.sessions.values().rev().find(|session| session.peer.key == key);
        session.map(Standing::of_session).or_else(|| self.gone.get(&PeerId(key)).map(Standing::of_gone))
    }

    /// Where one event is on its way to one peer: the one place where that is decided.
    fn delivery_of(&self, standing: &Standing<'_>, place: &EventPlace, own: &Vector) -> Delivery {
        if !standing.wants(&place.scope) {
            return Delivery::OutsideInterest;
        }
        if standing.holds(place, own) {
            return Delivery::Durable;
        }
        let session = match (standing.session, standing.gone) {
            (Some(session), _) => session,
            (None, gone) => {
                let (for_ms, reason) = gone.map_or((0, String::new()), |gone| {
                    (self.now_ms.saturating_sub(gone.since_ms), gone.reason.clone())
                });
                return Delivery::NotConnected { for_ms, reason };
            }
        };
        if !own.covers(&place.chain, place.seq) {
            return Delivery::NotHere;
        }
        let is_sent = |frame: &InFlight| {
            let heads = frame.heads.iter().filter(|(sent, _)| *sent == place.scope);
            heads
                .flat_map(|(_, heads)| heads.iter())
                .any(|(chain, last)| *chain == place.chain && *last >= place.seq)
        };
        if session.in_flight.iter().any(is_sent) {
            return Delivery::InFlight;
        }
        match session.known.get(&place.scope) {
            Some(known) if !session.is_comparing(&place.scope) => {
                Delivery::Waiting { events: own.missing_in(&known.acked), bytes: None }
            }
            _ => Delivery::Comparing,
        }
    }

    fn told(&self, standing: &Standing<'_>, delivery: Delivery) -> PeerDelivery {
        let heard = standing.session.map(|session| session.last_acked_ms.unwrap_or(session.since_ms));
        let heard = heard.or(standing.gone.map(|gone| gone.since_ms)).unwrap_or(self.now_ms);
        PeerDelivery {
            key: standing.key,
            peer: standing.peer.clone(),
            connected: standing.session.is_some(),
            cut: self.is_cut(standing.peer),
            heard_ms: self.now_ms.saturating_sub(heard),
            delivery,
        }
    }
}

impl<'a> Standing<'a> {
    fn of_session(session: &'a Session) -> Self {
        Self { key: session.peer.key, peer: &session.peer.kind, session: Some(session), gone: None }
    }

    fn of_gone(gone: &'a Gone) -> Self {
        Self { key: gone.peer.key, peer: &gone.peer.kind, session: None, gone: Some(gone) }
    }

    /// Whether the peer wants a scope and may hold it. One that has not greeted is taken to want it.
    pub(crate) fn wants(&self, scope: &Scope) -> bool {
        let interest = match (self.session, self.gone) {
            (Some(session), _) => session.interest(),
            (None, gone) => gone.and_then(|gone| gone.interest.as_ref()),
        };
        self.peer.may_hold(scope) && interest.is_none_or(|interest: &Interest| interest.contains(scope))
    }

    /// Whether the peer has said that it durably holds an event. A scope of which nothing was said since
    /// sessions were compared is held there as it is here.
    pub(crate) fn holds(&self, place: &EventPlace, own: &Vector) -> bool {
        match (self.known(&place.scope), self.session) {
            (Some(known), _) => known.acked.covers(&place.chain, place.seq),
            (None, Some(session)) => session.is_compared(&place.scope) && own.covers(&place.chain, place.seq),
            (None, None) => false,
        }
    }

    pub(crate) fn known(&self, scope: &Scope) -> Option<&'a Known> {
        match (self.session, self.gone) {
            (Some(session), _) => session.known.get(scope),
            (None, gone) => gone.and_then(|gone| gone.known.get(scope)),
        }
    }

    fn all_known(&self) -> impl Iterator<Item = (&'a Scope, &'a Known)> + use<'a> {
        let known = match (self.session, self.gone) {
            (Some(session), _) => Some(&session.known),
            (None, gone) => gone.map(|gone| &gone.known),
        };
        known.into_iter().flatten()
    }
}

/// What the log of a scope holds that `acked` does not, up to an event if one is given. Reads about
/// `bytes_max` at most.
fn backlog<S: Store>(
    replica: &Replica<S>,
    scope: &Scope,
    acked: &Vector,
    until: Option<&EventPlace>,
    bytes_max: u64,
) -> Result<Backlog, StoreError> {
    let mut backlog = Backlog::default();
    let (mut after, mut read_bytes) = (replica.start_for(scope, acked)?, 0);
    loop {
        let read = replica.log(scope, after, BACKLOG_READ_BYTES)?;
        for entry in &read.entries {
            read_bytes += entry.bytes.len() as u64;
            let lacking = entry.last_seq.saturating_sub(acked.seq(&entry.chain).max(entry.first_seq - 1));
            if lacking > 0 {
                backlog.events += lacking;
                backlog.bytes += entry.bytes.len() as u64;
                if backlog.oldest_ms.is_none() {
                    backlog.oldest_ms = written_ms(replica, entry, acked.seq(&entry.chain));
                }
            }
            if until.is_some_and(|place| entry.chain == place.chain && entry.last_seq >= place.seq) {
                return Ok(backlog);
            }
        }
        if read.end {
            return Ok(backlog);
        }
        if read_bytes >= bytes_max {
            return Ok(Backlog { more: true, ..backlog });
        }
        after = read.next;
    }
}

/// When the first event of an entry after a place in its chain was written.
fn written_ms<S: Store>(replica: &Replica<S>, entry: &Entry, after_seq: u64) -> Option<u64> {
    let Ok(Record::Group(group)) = Record::decode(replica.fleet(), &entry.bytes) else { return None };
    let mut events = group.events().filter(|event| event.header().author_seq > after_seq);
    events.next().map(|event| event.header().time_ms)
}
