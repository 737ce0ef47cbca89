//! Inquiries: hubs ask each other how far events have come, when somebody wants to know.
//!
//! Each hub knows its own peers. Whoever asks a hub about the whole fleet has that hub ask the others over
//! the sessions that they have anyway; an answer is read off the engine at once, so nothing queues, and an
//! idle fleet asks nothing. Answers are pages of bounded size; whoever asks goes on after the last entry.
//! Only hubs ask and are asked.

mod wire;

use std::collections::{BTreeMap, BTreeSet};

use driftless_core::ids::Author;
use driftless_core::name::Scope;
use driftless_core::replica::Replica;
use driftless_core::store::{Store, StoreError};

use super::delivery::{EventPlace, PeerDelivery, Standing};
use super::engine::{Engine, Fault, Output};
use super::frame::Frame;
use super::interest::{Class, PeerInfo, PeerKind};
use super::reason::Violation;
use super::session::SessionId;

/// Most events that one inquiry is about.
pub const PLACES_MAX: usize = 256;
/// Most peers, or sites, that one answer lists.
pub const ANSWER_ENTRIES_MAX: usize = 2_048;
/// Most inquiries to one hub that wait for an answer.
pub const OPEN_INQUIRIES_MAX: usize = 64;
/// Most inquiries of one hub that are looked into within a minute; further ones are answered with
/// [`Answer::Busy`].
pub const INQUIRIES_PER_MINUTE: u32 = 3_000;
/// Up to so many peers, deliveries are told with the bytes that they wait behind.
const EXACT_PEERS_MAX: usize = 16;

/// What a hub asks another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// How one event stands with the nodes of one site, or of every site.
    Deliveries {
        /// The event.
        place: EventPlace,
        /// Namespace and name.
        site: Option<(String, String)>,
        /// Only peers with a key after this one.
        after: Author,
    },
    /// Which sites hold which of some events.
    Reach {
        /// The events, at most [`PLACES_MAX`].
        places: Vec<EventPlace>,
        /// Only sites after this namespace and name.
        after: (String, String),
    },
}

/// What the other hub says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Question::Deliveries`]: peers by key.
    Deliveries {
        /// At most [`ANSWER_ENTRIES_MAX`].
        peers: Vec<PeerDelivery>,
        /// Whether there are more after the last one.
        more: bool,
    },
    /// To [`Question::Reach`]: sites by namespace and name.
    Reach {
        /// At most [`ANSWER_ENTRIES_MAX`].
        sites: Vec<SiteReach>,
        /// Whether there are more after the last one.
        more: bool,
    },
    /// The hub was asked more often than [`INQUIRIES_PER_MINUTE`].
    Busy,
}

/// Which of the events that were asked about one site wants and holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteReach {
    /// Namespace and name.
    pub site: (String, String),
    /// Whether a session with a node of the site is open.
    pub connected: bool,
    /// By event, in the order of the question: whether the site wants it and may hold it.
    pub wants: Bits,
    /// By event: whether it is durable there. With several nodes connected: at each that wants it.
    pub holds: Bits,
}

/// One bit for each event of a question, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bits([u8; PLACES_MAX / 8]);

impl Bits {
    /// Whether a bit is set; none is beyond [`PLACES_MAX`].
    pub fn get(&self, at: usize) -> bool {
        self.0.get(at / 8).is_some_and(|byte| byte & (1 << (at % 8)) != 0)
    }

    /// Sets a bit, or clears it.
    ///
    /// # Panics
    /// Beyond [`PLACES_MAX`].
    pub fn set(&mut self, at: usize, value: bool) {
        let bit = 1 << (at % 8);
        match value {
            true => self.0[at / 8] |= bit,
            false => self.0[at / 8] &= !bit,
        }
    }

    /// The bits that are set in either.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(byte, other)| *byte |= other);
        self
    }

    fn any(&self) -> bool {
        self.0.iter().any(|byte| *byte != 0)
    }
}

/// The inquiries of one session.
#[derive(Debug)]
pub(crate) struct Inquiries {
    next: u64,
    /// Asked, and not answered yet.
    open: BTreeSet<u64>,
    /// How many of the peer's will be looked into until the next sweep.
    pub(crate) allowance: u32,
}

impl Default for Inquiries {
    fn default() -> Self {
        Self { next: 1, open: BTreeSet::new(), allowance: INQUIRIES_PER_MINUTE }
    }
}

impl Inquiries {
    /// Whether an answer of the peer is due.
    pub(crate) fn is_owed(&self) -> bool {
        !self.open.is_empty()
    }
}

impl Engine {
    /// Whether this node is a hub.
    pub fn is_hub(&self) -> bool {
        self.config.local.kind.is_hub()
    }

    /// The hubs that can be asked.
    pub fn hubs_to_ask(&self) -> impl Iterator<Item = (SessionId, &PeerInfo)> {
        self.hubs.iter().filter_map(|id| Some((*id, &self.sessions.get(id)?.peer)))
    }

    /// Asks a hub; [`Output::Answered`] will carry the number that is returned. `None` if the session is
    /// none with a hub, or [`OPEN_INQUIRIES_MAX`] inquiries wait there for answers.
    ///
    /// # Panics
    /// If the question is about more than [`PLACES_MAX`] events.
    pub fn inquire(&mut self, id: SessionId, question: Question, out: &mut Vec<Output>) -> Option<u64> {
        assert!(question.places() <= PLACES_MAX, "a question is about {PLACES_MAX} events at most");
        let session = self.sessions.get_mut(&id).filter(|session| session.is_hub() && session.is_live())?;
        if session.inquiries.open.len() >= OPEN_INQUIRIES_MAX {
            return None;
        }
        if !session.is_owed() {
            session.owed_since_ms = self.now_ms;
        }
        let number = session.inquiries.next;
        session.inquiries.next += 1;
        session.inquiries.open.insert(number);
        self.send(id, &Frame::Inquiry { number, question }, Class::Control, out);
        Some(number)
    }

    /// What this node itself says to a question.
    ///
    /// # Panics
    /// If the question is about more than [`PLACES_MAX`] events.
    pub fn answer<S: Store>(&self, question: &Question, replica: &Replica<S>) -> Result<Answer, StoreError> {
        match question {
            Question::Deliveries { place, site, after } => {
                let asked = |peer: &PeerKind| match (peer, site) {
                    (PeerKind::Hub { .. }, _) => false,
                    (PeerKind::Site { .. }, None) => true,
                    (PeerKind::Site { namespace, site, .. }, Some(asked)) => {
                        *namespace == asked.0 && *site == asked.1
                    }
                };
                let exact =
                    self.standings().filter(|standing| asked(standing.peer)).take(EXACT_PEERS_MAX + 1);
                let exact = exact.count() <= EXACT_PEERS_MAX;
                let mut peers = self.deliveries(place, asked, exact, replica)?;
                peers.retain(|peer| peer.key > *after);
                let more = peers.len() > ANSWER_ENTRIES_MAX;
                peers.truncate(ANSWER_ENTRIES_MAX);
                Ok(Answer::Deliveries { peers, more })
            }
            Question::Reach { places, after } => {
                assert!(places.len() <= PLACES_MAX, "a question is about {PLACES_MAX} events at most");
                let (sites, more) = self.reach(places, after);
                Ok(Answer::Reach { sites, more })
            }
        }
    }

    pub(crate) fn inquired<S: Store>(
        &mut self,
        id: SessionId,
        number: u64,
        question: &Question,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let asked = self.sessions.get_mut(&id).filter(|session| session.is_hub());
        let Some(session) = asked.filter(|_| self.config.local.kind.is_hub()) else {
            return Err(Violation::Turn("inquiry").into());
        };
        let allowed = session.inquiries.allowance > 0;
        session.inquiries.allowance = session.inquiries.allowance.saturating_sub(1);
        let answer = if allowed { self.answer(question, replica)? } else { Answer::Busy };
        self.send(id, &Frame::Answer { number, answer }, Class::Control, out);
        Ok(())
    }

    pub(crate) fn answered(
        &mut self,
        id: SessionId,
        number: u64,
        answer: Answer,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        if !session.inquiries.open.remove(&number) {
            return Err(Violation::Turn("answer").into());
        }
        session.owed_since_ms = self.now_ms;
        out.push(Output::Answered { session: id, number, answer });
        Ok(())
    }

    /// Which sites want and hold which events, for a page of sites.
    fn reach(&self, places: &[EventPlace], after: &(String, String)) -> (Vec<SiteReach>, bool) {
        let asked = Asked::new(places);
        let mut sites: BTreeMap<(&str, &str), Vec<Standing<'_>>> = BTreeMap::new();
        for standing in self.standings() {
            let PeerKind::Site { namespace, site, .. } = standing.peer else { continue };
            let key = (namespace.as_str(), site.as_str());
            if key > (after.0.as_str(), after.1.as_str()) {
                sites.entry(key).or_default().push(standing);
            }
        }
        let more = sites.len() > ANSWER_ENTRIES_MAX;
        let page = sites.into_iter().take(ANSWER_ENTRIES_MAX);
        (page.map(|(site, nodes)| self.reach_of(site, &nodes, &asked)).collect(), more)
    }

    fn reach_of(&self, site: (&str, &str), nodes: &[Standing<'_>], asked: &Asked<'_>) -> SiteReach {
        let connected = nodes.iter().any(|node| node.session.is_some());
        // Nodes that are away speak for a site only while none is here.
        let nodes = || nodes.iter().filter(|node| node.session.is_some() == connected);
        let (mut wants, mut holds) = (Bits::default(), Bits::default());
        for (scope, events) in asked.of_site(site) {
            if !nodes().any(|node| node.wants(scope)) {
                continue;
            }
            let own = self.own.get(scope).cloned().unwrap_or_default();
            for (at, place) in events {
                let mut that_want = nodes().filter(|node| node.wants(scope));
                let held = match connected {
                    true => that_want.all(|node| node.holds(place, &own)),
                    false => that_want.any(|node| node.holds(place, &own)),
                };
                wants.set(*at, true);
                holds.set(*at, held);
            }
        }
        SiteReach { site: (site.0.to_owned(), site.1.to_owned()), connected, wants, holds }
    }
}

/// The events of a question by scope: those that several sites share, and those of one site.
struct Asked<'a> {
    shared: ByScope<'a>,
    own: ByScope<'a>,
}

/// Events of a question, each with its place there.
type ByScope<'a> = BTreeMap<&'a Scope, Vec<(usize, &'a EventPlace)>>;

impl<'a> Asked<'a> {
    fn new(places: &'a [EventPlace]) -> Self {
        let mut asked = Self { shared: BTreeMap::new(), own: BTreeMap::new() };
        for (at, place) in places.iter().enumerate() {
            let is_own = matches!(place.scope, Scope::Site { .. });
            let by_scope = if is_own { &mut asked.own } else { &mut asked.shared };
            by_scope.entry(&place.scope).or_default().push((at, place));
        }
        asked
    }

    /// What can concern a site.
    fn of_site(&self, site: (&str, &str)) -> Vec<(&'a Scope, &[(usize, &'a EventPlace)])> {
        let scope = Scope::Site { namespace: site.0.to_owned(), site: site.1.to_owned() };
        let shared = self.shared.iter().map(|(scope, events)| (*scope, events.as_slice()));
        shared
            .chain(self.own.get_key_value(&scope).map(|(scope, events)| (*scope, events.as_slice())))
            .collect()
    }
}

impl Question {
    /// What to ask next, if an answer says that there is more.
    pub fn next(&self, answer: &Answer) -> Option<Self> {
        match (self, answer) {
            (Self::Deliveries { place, site, .. }, Answer::Deliveries { peers, more: true }) => {
                let after = peers.last()?.key;
                Some(Self::Deliveries { place: place.clone(), site: site.clone(), after })
            }
            (Self::Reach { places, .. }, Answer::Reach { sites, more: true }) => {
                let after = sites.last()?.site.clone();
                Some(Self::Reach { places: places.clone(), after })
            }
            _ => None,
        }
    }

    fn places(&self) -> usize {
        match self {
            Self::Deliveries { .. } => 1,
            Self::Reach { places, .. } => places.len(),
        }
    }
}

#[cfg(test)]
mod tests;
