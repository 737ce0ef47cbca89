//! A hub and its edges on links with a rate and a latency, in virtual time.

use std::collections::{BTreeMap, BTreeSet};

use driftless_core::name::Kind;
use driftless_core::replica::{ChangeRequest, Write};
use driftless_core::store::MemoryStore;
use driftless_core::testing::{self, carry, enrolled};
use serde_json::json;

use super::super::*;
use super::corpus;
use super::table::{Seat, is_events, kind_of};
use crate::proto::PeerKind;

const HUB_KEY: u16 = 1;
/// How long a commit takes.
const COMMIT_US: u64 = 5_000;

/// Index of a node; the hub is 0, edge `n` serves `store-<n>`.
pub(super) type Node = usize;
pub(super) const HUB: Node = 0;

/// A frame that a node handed to its transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) at_ms: u64,
    pub(super) from: Node,
    pub(super) to: Node,
    pub(super) bytes: usize,
    pub(super) is_events: bool,
}

enum Happening {
    Arrive { session: SessionId, bytes: Vec<u8> },
    Commit,
    Tick,
}

/// One direction of a link.
struct Line {
    bytes_per_second: u64,
    latency_us: u64,
    free_at_us: u64,
}

pub(super) struct Star {
    pub(super) seats: Vec<Seat>,
    pub(super) sent: Vec<Sent>,
    /// Of each edge, the session at the hub's end and at its own.
    sessions: BTreeMap<Node, (SessionId, SessionId)>,
    lines: BTreeMap<(Node, Node), Line>,
    queue: BTreeMap<(u64, u64), (Node, Happening)>,
    commits_due: BTreeMap<Node, u64>,
    count: u64,
    /// Documents written so far; people's clocks go by it, so that they do not depend on the links.
    written: u64,
    now_us: u64,
    /// Nodes of which nothing is heard.
    pub(super) muted: BTreeSet<Node>,
}

impl Star {
    /// A hub at which some edges are enrolled, and these edges, empty.
    pub(super) fn new(edges: usize, interest: impl Fn(&str) -> Interest, limits: Limits) -> Self {
        let sites: Vec<String> = (1..=edges).map(|edge| format!("store-{edge}")).collect();
        let key = |edge: usize| 10 + edge as u16;
        let members: Vec<(&str, &str, u16)> =
            sites.iter().enumerate().map(|(place, site)| ("acme", site.as_str(), key(place + 1))).collect();
        let kind = PeerKind::Hub { name: "hub".into(), region: "eu".into() };
        let mut hub = Seat::new(kind, HUB_KEY, 1, MemoryStore::new(), Interest::All);
        carry(&enrolled(&[("hub", HUB_KEY)], &members), &mut hub.replica);
        let mut seats = vec![hub];
        for (place, site) in sites.iter().enumerate() {
            seats.push(Seat::new(kind_of(site), key(place + 1), 1, MemoryStore::new(), interest(site)));
        }
        for seat in &mut seats {
            seat.engine.config.limits = limits;
        }
        Self {
            seats,
            sent: vec![],
            sessions: BTreeMap::new(),
            lines: BTreeMap::new(),
            queue: BTreeMap::new(),
            commits_due: BTreeMap::new(),
            count: 0,
            written: 0,
            now_us: 0,
            muted: BTreeSet::new(),
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_us / 1_000
    }

    /// An edge dials the hub.
    pub(super) fn connect(&mut self, edge: Node, bytes_per_second: u64, latency_ms: u64) {
        for ends in [(HUB, edge), (edge, HUB)] {
            let line = Line { bytes_per_second, latency_us: latency_ms * 1_000, free_at_us: self.now_us };
            self.lines.insert(ends, line);
        }
        self.count += 2;
        let (at_hub, at_edge) = (SessionId(self.count), SessionId(self.count + 1));
        self.sessions.insert(edge, (at_hub, at_edge));
        let info = |seat: &Seat, dialled| PeerInfo {
            key: testing::author(seat.key),
            kind: seat.kind.clone(),
            dialled,
        };
        let (hub, own) = (info(&self.seats[HUB], true), info(&self.seats[edge], false));
        self.feed(HUB, Input::Connected { session: at_hub, peer: own });
        self.feed(edge, Input::Connected { session: at_edge, peer: hub });
    }

    /// The link breaks; what is on its way is lost.
    pub(super) fn disconnect(&mut self, edge: Node) {
        let Some((at_hub, at_edge)) = self.sessions.remove(&edge) else { return };
        self.feed(HUB, Input::Closed { session: at_hub, reason: "link lost".into(), silent_ms: 0 });
        self.feed(edge, Input::Closed { session: at_edge, reason: "link lost".into(), silent_ms: 0 });
    }

    /// A frame of the hostile kind, made for the hub's session with an edge.
    pub(super) fn forge(&mut self, edge: Node, frame: &Frame) {
        let Some((at_hub, _)) = self.sessions.get(&edge).copied() else { return };
        let Some(session) = self.seats[HUB].engine.sessions.get(&at_hub) else { return };
        let bytes = frame::encode(session.next_received, frame);
        self.feed(HUB, Input::Frame { session: at_hub, bytes });
    }

    /// The hub's session with an edge.
    pub(super) fn session(&self, edge: Node) -> Option<&Session> {
        self.seats[HUB].engine.sessions.get(&self.sessions.get(&edge)?.0)
    }

    /// Writes documents at a node, so many to a commit.
    pub(super) fn write(&mut self, node: Node, documents: &[corpus::Written], group: usize) {
        for part in documents.chunks(group) {
            for written in part {
                let change = ChangeRequest::Put(written.resource.clone());
                self.written += 1;
                let time_ms = 1_700_000_000_000 + 1_237 * self.written;
                let write = Write::new(written.document(), change, "ann@acme.example", time_ms);
                self.seats[node].replica.write(write).unwrap();
            }
            self.commit(node);
        }
    }

    /// One small profile, written at the hub.
    pub(super) fn write_profile(&mut self, name: &str, value: u64) {
        let values = json!({"replicas": value});
        let spec = json!({"priority": 1, "selector": {"matchAll": true}, "values": values});
        testing::put(&mut self.seats[HUB].replica, Kind::Profile, "acme", name, json!({"spec": spec}));
        self.commit(HUB);
    }

    pub(super) fn holds_profile(&self, node: Node, name: &str) -> bool {
        let document = driftless_core::name::Document::new(Kind::Profile, "acme", name).unwrap();
        self.seats[node].replica.get(&document).unwrap().is_some()
    }

    /// Whether an edge holds what the hub holds of those scopes of its interest that `which` names.
    pub(super) fn is_complete(&self, edge: Node, which: impl Fn(&Scope) -> bool) -> bool {
        let interest = self.seats[edge].engine.config.interest.clone();
        let mut scopes = interest.listed().filter(|scope| which(scope));
        scopes.all(|scope| self.seats[edge].replica.digest(scope) == self.seats[HUB].replica.digest(scope))
    }

    /// Runs until something is so, and returns when that was; `None` if it is not within a time.
    pub(super) fn run_until(&mut self, within_ms: u64, done: impl Fn(&Self) -> bool) -> Option<u64> {
        let (end_us, mut looked_us) = (self.now_us + within_ms * 1_000, self.now_us);
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end_us) {
            let ((at_us, _), (node, happening)) = entry.remove_entry();
            self.now_us = self.now_us.max(at_us);
            match happening {
                Happening::Arrive { session, bytes } => self.feed(node, Input::Frame { session, bytes }),
                Happening::Commit => self.commit(node),
                Happening::Tick => self.feed(node, Input::Tick),
            }
            // To look costs more than to run: ten times a second is enough.
            if self.now_us >= looked_us + 100_000 {
                looked_us = self.now_us;
                if done(self) {
                    return Some(self.now_ms());
                }
            }
        }
        self.now_us = end_us;
        done(self).then_some(self.now_ms())
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.run_until(ms, |_| false);
    }

    /// Bytes of all frames in both directions between the hub and an edge.
    pub(super) fn bytes(&self, edge: Node) -> usize {
        self.sent.iter().filter(|sent| sent.from == edge || sent.to == edge).map(|sent| sent.bytes).sum()
    }

    fn commit(&mut self, node: Node) {
        self.commits_due.remove(&node);
        let changed = self.seats[node].replica.commit().unwrap().scopes.into_iter().collect();
        self.feed(node, Input::Committed { changed });
    }

    fn feed(&mut self, node: Node, input: Input) {
        let (mut outputs, now_ms) = (vec![], self.now_ms());
        let seat = &mut self.seats[node];
        seat.engine.handle(now_ms, input, &mut seat.replica, &mut outputs).unwrap();
        for output in outputs {
            match output {
                Output::Send { session, bytes, .. } => self.transmit(node, session, bytes),
                Output::Close { session, .. } => {
                    let edge = self.sessions.iter().find(|(_, ends)| ends.0 == session || ends.1 == session);
                    if let Some(edge) = edge.map(|(edge, _)| *edge) {
                        self.disconnect(edge);
                    }
                }
                Output::Condition(_) | Output::Answered { .. } => {}
            }
        }
        let seat = &self.seats[node];
        if seat.engine.wants_commit() && seat.commits && !self.commits_due.contains_key(&node) {
            self.commits_due.insert(node, self.now_us);
            self.schedule(self.now_us + COMMIT_US, node, Happening::Commit);
        }
        if let Some(at_ms) = self.seats[node].engine.next_timeout() {
            let next = (at_ms * 1_000).max(self.now_us + 1_000);
            let planned = self.queue.iter().take_while(|((at, _), _)| *at <= next);
            if !planned.into_iter().any(|(_, (n, what))| *n == node && matches!(what, Happening::Tick)) {
                self.schedule(next, node, Happening::Tick);
            }
        }
    }

    fn transmit(&mut self, from: Node, session: SessionId, bytes: Vec<u8>) {
        let link = self.sessions.iter().find(|(_, ends)| ends.0 == session || ends.1 == session);
        let Some((edge, (at_hub, at_edge))) = link.map(|(edge, ends)| (*edge, *ends)) else { return };
        let (to, session) = if from == HUB { (edge, at_edge) } else { (HUB, at_hub) };
        if self.muted.contains(&from) {
            return;
        }
        let is_events = is_events(&bytes);
        self.sent.push(Sent { at_ms: self.now_ms(), from, to, bytes: bytes.len(), is_events });
        let Some(line) = self.lines.get_mut(&(from, to)) else { return };
        let takes_us = bytes.len() as u64 * 1_000_000 / line.bytes_per_second;
        line.free_at_us = line.free_at_us.max(self.now_us) + takes_us;
        let at_us = line.free_at_us + line.latency_us;
        self.schedule(at_us, to, Happening::Arrive { session, bytes });
    }

    fn schedule(&mut self, at_us: u64, node: Node, happening: Happening) {
        self.count += 1;
        self.queue.insert((at_us, self.count), (node, happening));
    }
}
