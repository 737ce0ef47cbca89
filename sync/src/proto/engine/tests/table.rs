//! A table at which nodes sit: frames are carried between them in order, commits happen at once.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use driftless_core::name::{Document, Kind};
use driftless_core::replica::{LabelSelector, Replica};
use driftless_core::store::{Batch, MemoryStore, Order, Store as _};
use driftless_core::testing::{self, carry, enrolled, put};
use serde_json::json;

use super::super::*;
use crate::proto::{Answer, Delivery, EventPlace, PeerKind};

pub(super) const HUB_EU: u16 = 1;
pub(super) const HUB_US: u16 = 2;
pub(super) const STORE_1: u16 = 11;
pub(super) const STORE_2: u16 = 12;

pub(super) struct Seat {
    pub(super) kind: PeerKind,
    pub(super) key: u16,
    pub(super) replica: Replica<MemoryStore>,
    pub(super) engine: Engine,
    /// Whether frames that were taken are committed at once.
    pub(super) commits: bool,
}

pub(super) struct Table {
    pub(super) nodes: Vec<Seat>,
    pub(super) now: u64,
    pub(super) links: BTreeMap<(usize, SessionId), (usize, SessionId)>,
    pub(super) waiting: VecDeque<(usize, Input)>,
    pub(super) sessions: u64,
    pub(super) carried: Vec<((usize, usize), Vec<u8>)>,
    pub(super) burst_max: usize,
    /// Who was answered what.
    pub(super) answers: Vec<(usize, Answer)>,
}

impl Seat {
    pub(super) fn new(kind: PeerKind, key: u16, boot: u64, store: MemoryStore, interest: Interest) -> Self {
        let replica = testing::open(store, key, boot);
        let local = PeerInfo { key: testing::author(key), kind: kind.clone(), dialled: false };
        Self { kind, key, replica, engine: Engine::new(EngineConfig::new(local, interest)), commits: true }
    }
}

pub(super) fn kind_of(site: &str) -> PeerKind {
    PeerKind::Site { namespace: "acme".into(), site: site.into(), node: "n1".into() }
}

pub(super) fn interest(scopes: &[&str]) -> Interest {
    Interest::Scopes(scopes.iter().map(|scope| scope.parse().unwrap()).collect())
}

pub(super) fn edge_interest(site: &str) -> Interest {
    interest(&["fleet", "profiles/acme", &format!("sites/acme/{site}")])
}

pub(super) fn is_events(frame: &[u8]) -> bool {
    let decoded = frame::decode(frame);
    matches!(decoded, Ok((_, Frame::Events { .. })))
}

impl Table {
    pub(super) fn set() -> Self {
        Self {
            nodes: vec![],
            now: 50_000,
            links: BTreeMap::new(),
            waiting: VecDeque::new(),
            sessions: 0,
            carried: vec![],
            burst_max: 0,
            answers: vec![],
        }
    }

    /// A hub; it knows who is enrolled.
    pub(super) fn hub(&mut self, name: &str, key: u16, boot: u64) -> usize {
        let kind = PeerKind::Hub { name: name.into(), region: "eu".into() };
        let mut seat = Seat::new(kind, key, boot, MemoryStore::new(), Interest::All);
        let hubs = [("hub-eu", HUB_EU), ("hub-us", HUB_US), ("hub-ap", 3)];
        let sites = [("acme", "store-1", STORE_1), ("acme", "store-2", STORE_2)];
        carry(&enrolled(&hubs, &sites), &mut seat.replica);
        self.nodes.push(seat);
        self.commit(self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    pub(super) fn edge(&mut self, site: &str, key: u16, boot: u64) -> usize {
        self.nodes.push(Seat::new(kind_of(site), key, boot, MemoryStore::new(), edge_interest(site)));
        self.nodes.len() - 1
    }

    pub(super) fn connect(&mut self, dialler: usize, acceptor: usize) {
        self.start(dialler, acceptor);
        self.run();
    }

    /// Opens a connection; the dialler's greeting waits to be carried.
    pub(super) fn start(&mut self, dialler: usize, acceptor: usize) {
        self.sessions += 2;
        let (ours, theirs) = (SessionId(self.sessions), SessionId(self.sessions + 1));
        self.links.insert((dialler, ours), (acceptor, theirs));
        self.links.insert((acceptor, theirs), (dialler, ours));
        let info = |seat: &Seat, dialled| PeerInfo {
            key: testing::author(seat.key),
            kind: seat.kind.clone(),
            dialled,
        };
        let peer = info(&self.nodes[dialler], false);
        self.input(acceptor, Input::Connected { session: theirs, peer });
        let peer = info(&self.nodes[acceptor], true);
        self.input(dialler, Input::Connected { session: ours, peer });
    }

    pub(super) fn disconnect(&mut self, a: usize, b: usize, reason: &str) {
        let (ours, theirs) = (self.session(a, b), self.session(b, a));
        self.links.remove(&(a, ours));
        self.links.remove(&(b, theirs));
        for (node, session) in [(a, ours), (b, theirs)] {
            self.input(node, Input::Closed { session, reason: reason.into(), silent_ms: 0 });
        }
    }

    pub(super) fn input(&mut self, node: usize, input: Input) {
        let mut outputs = vec![];
        let seat = &mut self.nodes[node];
        seat.engine.handle(self.now, input, &mut seat.replica, &mut outputs).unwrap();
        self.carry(node, outputs);
        if self.nodes[node].commits && self.nodes[node].engine.wants_commit() {
            self.commit(node);
        }
    }

    pub(super) fn carry(&mut self, node: usize, outputs: Vec<Output>) {
        let mut bursts: BTreeMap<SessionId, usize> = BTreeMap::new();
        for output in outputs {
            match output {
                Output::Send { session, bytes, .. } => {
                    *bursts.entry(session).or_default() += 1;
                    if let Some((peer, theirs)) = self.links.get(&(node, session)).copied() {
                        self.carried.push(((node, peer), bytes.clone()));
                        self.waiting.push_back((peer, Input::Frame { session: theirs, bytes }));
                    }
                }
                Output::Close { session, reason, .. } => {
                    if let Some((peer, session)) = self.links.remove(&(node, session)) {
                        self.links.remove(&(peer, session));
                        self.waiting.push_back((peer, Input::Closed { session, reason, silent_ms: 0 }));
                    }
                }
                Output::Condition(_) => {}
                Output::Answered { answer, .. } => self.answers.push((node, answer)),
            }
        }
        self.burst_max = bursts.into_values().max().unwrap_or(0).max(self.burst_max);
    }

    /// Carries frames until nobody has anything to say.
    pub(super) fn run(&mut self) {
        while self.step() {}
    }

    /// Carries one frame; false if there was none.
    pub(super) fn step(&mut self) -> bool {
        let Some((node, input)) = self.waiting.pop_front() else { return false };
        self.input(node, input);
        let more = |node: usize, table: &Self| {
            table.nodes[node].engine.next_timeout().is_some_and(|at| at <= table.now)
        };
        for node in 0..self.nodes.len() {
            if self.waiting.is_empty() && more(node, self) {
                self.input(node, Input::Tick);
            }
        }
        true
    }

    /// Has `node` take frames that `peer` did not send; returns the reason for which the session ended.
    pub(super) fn inject(&mut self, node: usize, peer: usize, frames: Vec<Frame>) -> String {
        let session = self.session(node, peer);
        for frame in frames {
            let Some(state) = self.nodes[node].engine.sessions.get(&session) else { break };
            let bytes = frame::encode(state.next_received, &frame);
            self.input(node, Input::Frame { session, bytes });
        }
        self.reason(node, peer)
    }

    pub(super) fn pass(&mut self, ms: u64) {
        for _ in 0..4 {
            self.now += ms / 4;
            for node in 0..self.nodes.len() {
                self.input(node, Input::Tick);
            }
            self.run();
        }
    }

    pub(super) fn commit(&mut self, node: usize) {
        let seat = &mut self.nodes[node];
        let changed = seat.replica.commit().unwrap().scopes.into_iter().collect();
        self.input(node, Input::Committed { changed });
    }

    pub(super) fn write(&mut self, node: usize, kind: Kind, name: &str, value: u64) {
        let mut spec = match kind {
            Kind::Profile => json!({"priority": 1, "selector": {"matchAll": true}}),
            Kind::Override => json!({"reason": "test", "permanent": true, "priority": value}),
            Kind::Machine => json!({"versions": {"kernel": value.to_string()}}),
            _ => json!({"description": value.to_string()}),
        };
        if matches!(kind, Kind::Profile | Kind::Override) {
            spec["values"] = json!({"replicas": value});
        }
        put(&mut self.nodes[node].replica, kind, "acme", name, json!({"spec": spec}));
        self.commit(node);
    }

    /// Random writes: by whom, of what, which value.
    pub(super) fn act(&mut self, writes: &[(usize, u8, u64)]) {
        for (node, what, value) in writes {
            match (*node, *what) {
                (2, _) if self.nodes[2].replica.scopes().count() < 2 => {}
                (2, what) => self.write(2, Kind::Machine, &format!("store-1.m{}", what % 2), *value),
                (hub, what @ 0..3) => self.write(hub, Kind::Profile, &format!("p{what}"), *value),
                (hub, what @ 3..5) => self.write(hub, Kind::Override, &format!("store-1.o{what}"), *value),
                (hub, _) => self.write(hub, Kind::App, "pos", *value),
            }
        }
    }

    pub(super) fn set_interest(&mut self, node: usize, interest: Interest) {
        let mut outputs = vec![];
        let seat = &mut self.nodes[node];
        seat.engine.set_interest(self.now, interest, &mut seat.replica, &mut outputs).unwrap();
        self.carry(node, outputs);
    }

    /// Restarts a node from a disk that lost one run of the profiles' log.
    pub(super) fn lose_run(&mut self, node: usize, key: u16, run: usize) {
        self.nodes[node].replica.settle().unwrap();
        self.nodes[node].replica.flush_store().unwrap();
        let mut disk = self.nodes[node].replica.store().fork();
        let mut keys = vec![];
        let mut note = |key: &[u8], _: &[u8]| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        };
        disk.scan(b"rprofiles/", b"rprofiles0", Order::Ascending, &mut note).unwrap();
        let mut batch = Batch::default();
        batch.delete(keys[run].clone());
        disk.apply(batch).unwrap();
        disk.flush().unwrap();
        let peers: Vec<usize> = (0..self.nodes.len()).filter(|peer| self.is_connected(node, *peer)).collect();
        peers.into_iter().for_each(|peer| self.disconnect(node, peer, "power lost"));
        let kind = self.nodes[node].kind.clone();
        self.nodes[node] = Seat::new(kind, key, 77, disk, Interest::All);
    }

    pub(super) fn ask_for_missing(&mut self, node: usize) -> usize {
        let mut outputs = vec![];
        let seat = &mut self.nodes[node];
        let asked = seat.engine.ask_for_missing(self.now, &seat.replica, &mut outputs);
        self.carry(node, outputs);
        self.run();
        asked
    }

    pub(super) fn resource(&self, node: usize, kind: Kind, name: &str) -> Option<serde_json::Value> {
        let document = Document::new(kind, "acme", name).unwrap();
        self.nodes[node].replica.get(&document).unwrap().map(|view| (*view.resource).clone())
    }

    pub(super) fn shows(&self, node: usize, kind: Kind, name: &str, value: u64) -> bool {
        let Some(resource) = self.resource(node, kind, name) else { return false };
        let found = match kind {
            Kind::Machine => resource.pointer("/spec/versions/kernel").cloned(),
            Kind::Profile | Kind::Override => resource.pointer("/spec/values/replicas").cloned(),
            _ => resource.pointer("/spec/description").cloned(),
        };
        found == Some(json!(value)) || found == Some(json!(value.to_string()))
    }

    pub(super) fn shows_values(&self, node: usize, profile: &str, value: u64) -> bool {
        self.shows(node, Kind::Profile, profile, value)
    }

    pub(super) fn chain(&self, node: usize) -> ChainId {
        let replica = &self.nodes[node].replica;
        ChainId { author: replica.author(), boot: replica.boot() }
    }

    pub(super) fn session(&self, node: usize, peer: usize) -> SessionId {
        let link = self.links.iter().find(|((n, _), (p, _))| (*n, *p) == (node, peer));
        link.map(|((_, session), _)| *session).unwrap()
    }

    pub(super) fn is_connected(&self, a: usize, b: usize) -> bool {
        self.links.keys().any(|(node, _)| *node == a)
            && self.nodes[a].engine.is_connected(testing::author(self.nodes[b].key))
    }

    pub(super) fn peer(&self, node: usize, peer: usize) -> crate::proto::PeerStatus {
        let key = testing::author(self.nodes[peer].key);
        self.nodes[node].engine.peers().into_iter().find(|status| status.peer.key == key).unwrap()
    }

    pub(super) fn reason(&self, node: usize, peer: usize) -> String {
        self.peer(node, peer).reason.unwrap_or_default()
    }

    pub(super) fn delivery(
        &self,
        node: usize,
        peer: usize,
        scope: &Scope,
        chain: ChainId,
        seq: u64,
    ) -> Delivery {
        let (seat, key) = (&self.nodes[node], testing::author(self.nodes[peer].key));
        let place = EventPlace { scope: scope.clone(), chain, seq };
        let all = seat.engine.deliveries(&place, |_| true, true, &seat.replica).unwrap();
        all.into_iter().find(|peer| peer.key == key).unwrap().delivery
    }

    /// What a node's log holds of a scope.
    pub(super) fn records(&self, node: usize, scope: &str) -> Vec<Arc<[u8]>> {
        let read = self.nodes[node].replica.log(&scope.parse().unwrap(), 0, 1 << 20).unwrap();
        read.entries.into_iter().map(|entry| entry.bytes).collect()
    }

    /// Digests at `node` of the scopes that `like` wants.
    pub(super) fn digests(&self, node: usize, like: usize) -> Vec<String> {
        let interest = &self.nodes[like].engine.config.interest;
        interest.listed().map(|scope| self.nodes[node].replica.digest(scope).to_string()).collect()
    }

    pub(super) fn views(&self, node: usize) -> Vec<serde_json::Value> {
        let replica = &self.nodes[node].replica;
        let names =
            Kind::ALL.into_iter().flat_map(|kind| replica.names(kind, None, &LabelSelector::default()));
        let views = names.filter_map(|document| replica.get(&document).unwrap());
        views
            .map(|view| {
                let mut resource = (*view.resource).clone();
                resource["metadata"]["resourceVersion"] = json!(null);
                resource
            })
            .collect()
    }
}
