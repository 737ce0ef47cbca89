//! The world: nodes, network and virtual time, moved forward one happening at a time.
//!
//! Every happening and every number drawn is determined by the scenario and the seed, and goes into a
//! hash, so two runs can be compared whole.

use std::collections::BTreeMap;

use driftless_core::event::ChainId;
use driftless_core::ids::{Boot, FleetId};
use driftless_core::name::{Document, Scope};
use driftless_core::replica::{Replica, Write, WriteError};
use driftless_core::store::MemoryStore;
use driftless_core::testing;

use super::follow::{Audience, Followed, Follower};
use super::network::{Arrival, Network};
use super::node::{Acknowledged, Node, NodeId, Running, Written};
use super::outage;
use super::random::Random;
use super::report::{Broken, Totals};
use super::scenario::Scenario;
use super::workload;
use crate::proto::{CutTarget, Footprint, Input, Limits, Output, SessionId};

/// Time at which worlds begin; sessions and clocks start from anything but zero.
const BEGIN_MS: u64 = 1_000_000;
/// Most frames that one input may have an engine send to one peer; shells queue a thousand.
const BURST_FRAMES_MAX: usize = 512;
/// How long a commit takes.
const COMMIT_MS: std::ops::Range<u64> = 1..6;
/// How long a node waits before it dials again.
pub(crate) const BACKOFF_MS: std::ops::Range<u64> = 200..3_000;
/// How long a node is down after a crash.
pub(crate) const DOWN_MS: std::ops::Range<u64> = 100..8_000;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Happening {
    Arrive {
        connection: u64,
        to: usize,
        bytes: Vec<u8>,
    },
    Commit {
        node: NodeId,
        run: u64,
    },
    Wake {
        node: NodeId,
        run: u64,
    },
    Dial {
        node: NodeId,
        uplink: usize,
        run: u64,
    },
    /// An end learns that its connection is over, whose other end was last heard then.
    Lose {
        connection: u64,
        side: usize,
        reason: String,
        heard_at: u64,
    },
    /// A connection that stalled in a partition is given up unless it resumed.
    GiveUp {
        connection: u64,
        since: u64,
    },
    Start {
        node: NodeId,
    },
    Work(workload::Kind),
    Fault(super::faults::Kind),
    Heal {
        partition: u64,
    },
    HealCut {
        node: NodeId,
        run: u64,
        target: CutTarget,
    },
}

/// A fleet in virtual time.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    /// The simulated fleet's id.
    pub(crate) fleet: FleetId,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) random: Random,
    pub(crate) now: u64,
    /// What somebody was told is durable, by scope and chain.
    pub(crate) acknowledged: BTreeMap<(Scope, ChainId), Acknowledged>,
    pub(crate) totals: Totals,
    pub(crate) follower: Follower,
    pub(crate) before_return: Option<outage::Before>,
    /// The most that sessions took of one hub's memory.
    pub(crate) sessions_max: Footprint,
    /// Limits of every engine.
    pub(crate) limits: Limits,
    /// Whether work and faults go on.
    pub(crate) busy: bool,
    queue: BTreeMap<(u64, u64), Happening>,
    scheduled: u64,
    trace: blake3::Hasher,
}

impl World {
    /// Builds the fleet; the first hub has the authority's events, all others start empty.
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut world = Self {
            scenario: scenario.clone(),
            fleet: testing::fleet(),
            nodes: workload::fleet(scenario),
            network: Network::default(),
            random: Random::new(seed),
            now: BEGIN_MS,
            acknowledged: BTreeMap::new(),
            totals: Totals::default(),
            follower: Follower::default(),
            before_return: None,
            sessions_max: Footprint::default(),
            limits: Limits { sessions_max: 100_000, ..Limits::default() },
            busy: true,
            queue: BTreeMap::new(),
            scheduled: 0,
            trace: blake3::Hasher::new(),
        };
        let skew = world.scenario.faults.skew_ms;
        for node in 0..world.nodes.len() {
            world.nodes[node].skew_ms = world.random.below(2 * skew + 1) as i64 - skew as i64;
            let at = world.now + world.random.below(2_000);
            world.schedule(at, Happening::Start { node });
        }
        workload::schedule_all(&mut world);
        super::faults::schedule_all(&mut world);
        world
    }

    /// Runs until a time.
    pub(crate) fn run_until(&mut self, end: u64) -> Result<(), Broken> {
        while let Some(entry) = self.queue.first_entry() {
            let (at, _) = *entry.key();
            if at > end {
                break;
            }
            let happening = entry.remove();
            self.now = self.now.max(at);
            self.totals.happenings += 1;
            self.happen(happening)?;
        }
        self.now = end;
        Ok(())
    }

    /// The hash of everything that happened.
    pub(crate) fn trace_hash(&self) -> [u8; 32] {
        *self.trace.finalize().as_bytes()
    }

    /// Virtual time since the beginning.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        self.now - BEGIN_MS
    }

    /// When the world begins.
    pub(crate) fn begin_ms() -> u64 {
        BEGIN_MS
    }

    pub(crate) fn schedule(&mut self, at: u64, happening: Happening) {
        self.scheduled += 1;
        self.queue.insert((at.max(self.now), self.scheduled), happening);
    }

    pub(crate) fn note(&mut self, tag: u8, node: NodeId, detail: &[u8]) {
        self.trace.update(&self.now.to_le_bytes());
        self.trace.update(&[tag]);
        self.trace.update(&(node as u64).to_le_bytes());
        self.trace.update(&(detail.len() as u64).to_le_bytes());
        self.trace.update(detail);
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Broken> {
        match happening {
            Happening::Arrive { connection, to, bytes } => self.arrive(connection, to, bytes),
            Happening::Commit { node, run } => self.commit(node, run),
            Happening::Wake { node, run } => {
                let now = self.now;
                let due = |running: &Running| running.wake_at.is_some_and(|at| at <= now);
                if self.nodes[node].run == run && self.nodes[node].running.as_ref().is_some_and(due) {
                    if let Some(running) = &mut self.nodes[node].running {
                        running.wake_at = None;
                    }
                    return self.feed(node, Input::Tick);
                }
                Ok(())
            }
            Happening::Dial { node, uplink, run } => self.dial(node, uplink, run),
            Happening::Lose { connection, side, reason, heard_at } => {
                self.lose(connection, side, reason, heard_at)
            }
            Happening::GiveUp { connection, since } => {
                let stalled = self.network.connections.get(&connection).and_then(|c| c.stalled_since);
                if stalled == Some(since) {
                    self.break_connection(connection, since, "idle timeout")?;
                }
                Ok(())
            }
            Happening::Start { node } => self.start(node),
            Happening::Work(kind) => workload::work(self, kind),
            Happening::Fault(kind) => super::faults::strike(self, kind),
            Happening::Heal { partition } => self.heal(partition),
            Happening::HealCut { node, run, target } => {
                if self.nodes[node].run == run
                    && let Some(running) = &mut self.nodes[node].running
                {
                    running.engine.heal(&target);
                }
                Ok(())
            }
        }
    }

    /// Gives a node's engine an input and does what it asks for.
    pub(crate) fn feed(&mut self, node: NodeId, input: Input) -> Result<(), Broken> {
        let now = self.now;
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        let mut outputs = vec![];
        let handled = running.engine.handle(now, input, &mut running.replica, &mut outputs);
        handled.map_err(|error| Broken::new(self.now, "store", format!("node {node}: {error}")))?;
        self.carry_out(node, outputs)
    }

    /// Does what an engine asked for.
    pub(crate) fn carry_out(&mut self, node: NodeId, outputs: Vec<Output>) -> Result<(), Broken> {
        let mut burst: BTreeMap<SessionId, usize> = BTreeMap::new();
        for output in &outputs {
            if let Output::Send { session, .. } = output {
                *burst.entry(*session).or_default() += 1;
            }
        }
        if let Some(frames) = burst.values().find(|frames| **frames > BURST_FRAMES_MAX) {
            let detail = format!("node {node} sends {frames} frames to one peer at once");
            return Err(Broken::new(self.elapsed_ms(), "bounded queues", detail));
        }
        for output in outputs {
            match output {
                Output::Send { session, bytes, .. } => {
                    self.transmit(node, session, bytes);
                }
                Output::Close { session, reason, .. } => {
                    self.totals.note_close(&reason);
                    if let Some((connection, side)) = self.network.by_session.get(&(node, session)).copied() {
                        self.hang_up(connection, side, &reason);
                    }
                }
                Output::Condition(_) => self.totals.conditions += 1,
                // Nobody asks here.
                Output::Answered { .. } => {}
            }
        }
        self.end_needless_uplink(node)?;
        self.settle_timers(node)
    }

    pub(crate) fn has_uplink_elsewhere(&self, node: NodeId) -> bool {
        self.nodes[node].running.as_ref().is_some_and(|running| running.engine.uplink_elsewhere())
    }

    /// Does what an edge's shell does: one uplink for the nodes of a site that reach each other.
    fn end_needless_uplink(&mut self, node: NodeId) -> Result<(), Broken> {
        if !self.has_uplink_elsewhere(node) {
            return Ok(());
        }
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        let uplinks = running.engine.sessions.iter().filter(|(_, session)| session.is_hub());
        let uplinks: Vec<SessionId> = uplinks.map(|(id, _)| *id).collect();
        let mut outputs = vec![];
        uplinks.iter().for_each(|id| running.engine.end_moved(*id, &mut outputs));
        if uplinks.is_empty() { Ok(()) } else { self.carry_out(node, outputs) }
    }

    fn settle_timers(&mut self, node: NodeId) -> Result<(), Broken> {
        let (now, run) = (self.now, self.nodes[node].run);
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        let mut due = vec![];
        if running.engine.wants_commit() && !running.commit_due {
            running.commit_due = true;
            due.push(Happening::Commit { node, run });
        }
        let wake = running.engine.next_timeout().map(|at| at.max(now + 1));
        let sooner = wake.filter(|at| running.wake_at.is_none_or(|planned| *at < planned));
        if sooner.is_some() {
            running.wake_at = sooner;
        }
        for commit in due {
            let at = now + self.random.within(COMMIT_MS);
            self.schedule(at, commit);
        }
        if let Some(at) = sooner {
            self.schedule(at, Happening::Wake { node, run });
        }
        Ok(())
    }

    fn transmit(&mut self, node: NodeId, session: SessionId, bytes: Vec<u8>) {
        self.totals.frames += 1;
        self.totals.bytes += bytes.len() as u64;
        let Some((connection, side)) = self.network.by_session.get(&(node, session)).copied() else { return };
        let ends = self.network.connections.get(&connection).map(|connection| connection.ends);
        match ends.map(|ends| ends.iter().filter(|end| self.nodes[end.node].kind.is_hub()).count()) {
            Some(2) => self.totals.between_hubs.note(bytes.len()),
            Some(1) => self.totals.to_edges.note(bytes.len()),
            _ => {}
        }
        self.transmit_on(connection, side, bytes);
    }

    fn transmit_on(&mut self, connection: u64, side: usize, bytes: Vec<u8>) {
        let place = (connection, side);
        let arrivals = self.network.send(place, bytes, &self.scenario.faults, &mut self.random, self.now);
        for Arrival { at_ms, to, bytes } in arrivals {
            self.schedule(at_ms, Happening::Arrive { connection, to, bytes });
        }
    }

    fn arrive(&mut self, connection: u64, to: usize, bytes: Vec<u8>) -> Result<(), Broken> {
        let Some(end) = self.network.connections.get(&connection).map(|c| c.ends[to]) else { return Ok(()) };
        if !end.open {
            return Ok(());
        }
        self.note(1, end.node, &bytes);
        self.feed(end.node, Input::Frame { session: end.session, bytes })
    }

    fn commit(&mut self, node: NodeId, run: u64) -> Result<(), Broken> {
        if self.nodes[node].run != run {
            return Ok(());
        }
        let (now, away_until) = (self.now, self.nodes[node].away_until);
        let Some(running) = &mut self.nodes[node].running else { return Ok(()) };
        running.commit_due = false;
        let committed = running.replica.commit();
        let committed = committed.map_err(|error| Broken::new(now, "commit", error.to_string()))?;
        let written = std::mem::take(&mut running.written);
        let replica = &running.replica;
        let chain = ChainId { author: replica.author(), boot: replica.boot() };
        self.follower.committed((node, replica), &committed.scopes, (now, away_until));
        let durable = written.into_iter().map(|written| {
            let scope = written.document.scope();
            let seq = replica.vector(&scope).seq(&chain);
            (scope, seq, written)
        });
        for (scope, seq, written) in durable.collect::<Vec<_>>() {
            self.acknowledge(node, (scope, chain, seq), written);
        }
        self.note(2, node, &committed.position.to_le_bytes());
        self.feed(node, Input::Committed { changed: committed.scopes.into_iter().collect() })
    }

    /// Somebody is told that a write is durable.
    fn acknowledge(&mut self, node: NodeId, (scope, chain, seq): (Scope, ChainId, u64), written: Written) {
        let at_ms = self.now;
        self.totals.acknowledged += 1;
        if let Some(audience) = written.follow {
            let concerned = |other: &NodeId| {
                let kind = &self.nodes[*other];
                *other != node
                    && match audience {
                        Audience::Hubs => kind.kind.is_hub(),
                        Audience::Everybody => kind.interest().contains(&scope),
                    }
            };
            let lacking = (0..self.nodes.len()).filter(concerned).collect();
            let change = Followed { chain, seq, at_ms, audience, lacking };
            self.follower.follow(scope.clone(), change);
        }
        let Written { document, event, .. } = written;
        let writes = self.acknowledged.get(&(scope.clone(), chain)).map_or(0, |before| before.writes) + 1;
        self.acknowledged.insert((scope, chain), Acknowledged { node, at_ms, document, event, seq, writes });
    }

    /// Writes as a person or program at a node; false if the node may not or cannot.
    pub(crate) fn write(&mut self, node: NodeId, write: Write) -> Result<bool, Broken> {
        self.write_followed(node, write, None)
    }

    /// The same, and follows the change to whom it concerns.
    pub(crate) fn write_followed(
        &mut self,
        node: NodeId,
        write: Write,
        follow: Option<Audience>,
    ) -> Result<bool, Broken> {
        let (now, run) = (self.now, self.nodes[node].run);
        let document = write.document.clone();
        let Some(running) = &mut self.nodes[node].running else { return Ok(false) };
        match running.replica.write(write) {
            Ok(written) => {
                running.written.extend(written.event.map(|event| Written { document, event, follow }));
                self.commit_soon(node, run);
                self.totals.writes += 1;
                Ok(true)
            }
            Err(WriteError::Forbidden(_) | WriteError::NotFound(_)) => Ok(false),
            Err(error) => Err(Broken::new(now, "write", format!("node {node}: {error}"))),
        }
    }

    pub(crate) fn commit_soon(&mut self, node: NodeId, run: u64) {
        let Some(running) = &mut self.nodes[node].running else { return };
        if !std::mem::replace(&mut running.commit_due, true) {
            let at = self.now + self.random.within(COMMIT_MS);
            self.schedule(at, Happening::Commit { node, run });
        }
    }

    fn start(&mut self, node: NodeId) -> Result<(), Broken> {
        if self.nodes[node].running.is_some() {
            return Ok(());
        }
        let boot = Boot(self.random.bytes16());
        self.note(3, node, &boot.0);
        self.nodes[node].start(boot, self.limits);
        let run = self.nodes[node].run;
        for uplink in 0..self.nodes[node].uplinks.len() {
            let at = self.now + self.random.below(500);
            self.schedule(at, Happening::Dial { node, uplink, run });
        }
        Ok(())
    }

    /// A node loses power, and starts again after a while.
    pub(crate) fn crash(&mut self, node: NodeId, down_ms: std::ops::Range<u64>) {
        self.note(6, node, &[]);
        self.count_events_of(node);
        self.nodes[node].crash();
        for (connection, side) in self.network.of(node) {
            if let Some((_, _)) = self.network.close(connection, side) {
                let at = self.now + self.random.below(self.scenario.links.idle_timeout_ms);
                let (reason, heard_at) = ("idle timeout".to_owned(), self.now);
                self.schedule(at, Happening::Lose { connection, side: 1 - side, reason, heard_at });
            }
        }
        let at = self.now + self.random.within(down_ms);
        self.schedule(at, Happening::Start { node });
    }

    /// Adds what a hub has received, before its counters go with it.
    fn count_events_of(&mut self, node: NodeId) {
        let Node { kind, running: Some(running), .. } = &self.nodes[node] else { return };
        if kind.is_hub() {
            let counters = running.engine.counters();
            self.totals.hub_events += counters.events_accepted;
            self.totals.hub_duplicates += counters.events_duplicate;
        }
    }

    /// Adds what the hubs that run have received.
    pub(crate) fn count_hub_events(&mut self) {
        (0..self.scenario.hubs).for_each(|hub| self.count_events_of(hub));
    }

    /// Separates the nodes of one side from all others.
    pub(crate) fn partition(&mut self, id: u64, side: std::collections::BTreeSet<NodeId>) {
        self.network.partitions.insert(id, side);
        for connection in self.network.stall(self.now) {
            let since = self.network.connections[&connection].stalled_since.unwrap_or(self.now);
            let at = since + self.scenario.links.idle_timeout_ms;
            self.schedule(at, Happening::GiveUp { connection, since });
        }
    }

    pub(crate) fn heal(&mut self, partition: u64) -> Result<(), Broken> {
        self.network.partitions.remove(&partition);
        for (connection, side, bytes) in self.network.resume() {
            self.transmit_on(connection, side, bytes);
        }
        Ok(())
    }

    /// Running nodes, with their replicas.
    pub(crate) fn running(&self) -> impl Iterator<Item = (NodeId, &Node, &Running)> {
        self.nodes
            .iter()
            .enumerate()
            .filter_map(|(id, node)| node.running.as_ref().map(|running| (id, node, running)))
    }

    /// A running node that `wanted` accepts.
    pub(crate) fn any_running(&mut self, wanted: impl Fn(&Node) -> bool) -> Option<NodeId> {
        let candidates = self.running().filter(|(_, node, _)| wanted(node)).count();
        let chosen = self.random.below(candidates as u64) as usize;
        self.running().filter(|(_, node, _)| wanted(node)).nth(chosen).map(|(id, ..)| id)
    }

    /// The replica of a running node.
    pub(crate) fn replica(&self, node: NodeId) -> Option<&Replica<MemoryStore>> {
        self.nodes[node].running.as_ref().map(|running| &running.replica)
    }

    /// The clock that a node shows people.
    pub(crate) fn clock(&self, node: NodeId) -> u64 {
        (1_700_000_000_000 + self.now).saturating_add_signed(self.nodes[node].skew_ms)
    }

    /// Names a document of the simulated tenant.
    pub(crate) fn document(kind: driftless_core::name::Kind, name: &str) -> Document {
        Document::new(kind, workload::NAMESPACE, name).expect("the workload names documents well")
    }
}
