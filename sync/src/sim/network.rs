//! Simulated connections: ordered streams that break, stall in partitions, and, where the scenario says
//! so, lose, repeat, reorder or damage single frames.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::capacity::Capacity;
use super::node::NodeId;
use super::random::Random;
use super::scenario::{Faults, Link, Rate};
use crate::proto::SessionId;

/// One end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) node: NodeId,
    pub(crate) session: SessionId,
    /// Whether this end still believes in the connection.
    pub(crate) open: bool,
    /// When the line out of this end is free, and when what was sent last arrives.
    free_at: u64,
    arrives_at: u64,
}

/// A connection between two nodes.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) ends: [End; 2],
    latency_ms: u64,
    jitter_ms: u64,
    lines: Lines,
    faulty: bool,
    /// Frames that wait for a partition to heal.
    stalled: Vec<(usize, Vec<u8>)>,
    pub(crate) stalled_since: Option<u64>,
}

/// How fast the two directions of a connection are, the dialler's first.
#[derive(Debug)]
enum Lines {
    Constant(u64),
    /// From this time of the recordings on.
    Recorded([Arc<Capacity>; 2], u64),
}

impl Lines {
    fn draw(rate: &Rate, random: &mut Random) -> Self {
        match rate {
            Rate::Constant(bytes_per_second) => Self::Constant((*bytes_per_second).max(1)),
            Rate::Recorded(recordings) => match random.pick(recordings) {
                Some(recording) => {
                    let from_ms = random.below(recording.up.period_ms());
                    Self::Recorded([recording.up.clone(), recording.down.clone()], from_ms)
                }
                None => Self::Constant(u64::MAX),
            },
        }
    }

    /// When bytes that one end begins to send at a time have left it.
    fn carried_at(&self, side: usize, start_ms: u64, bytes: u64) -> u64 {
        match self {
            Self::Constant(bytes_per_second) => start_ms + bytes * 1_000 / bytes_per_second,
            Self::Recorded(capacities, from_ms) => {
                capacities[side].carried_at(start_ms + from_ms, bytes) - from_ms
            }
        }
    }
}

/// All connections and partitions.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) connections: BTreeMap<u64, Connection>,
    pub(crate) by_session: BTreeMap<(NodeId, SessionId), (u64, usize)>,
    /// For each partition, the nodes on one side.
    pub(crate) partitions: BTreeMap<u64, BTreeSet<NodeId>>,
    next: u64,
}

/// A frame on its way.
pub(crate) struct Arrival {
    pub(crate) at_ms: u64,
    /// The end that receives it.
    pub(crate) to: usize,
    pub(crate) bytes: Vec<u8>,
}

impl Network {
    /// Whether two nodes can reach each other.
    pub(crate) fn reachable(&self, a: NodeId, b: NodeId) -> bool {
        self.partitions.values().all(|side| side.contains(&a) == side.contains(&b))
    }

    /// Opens a connection, the dialling node first.
    pub(crate) fn open(
        &mut self,
        nodes: [NodeId; 2],
        link: &Link,
        faults: &Faults,
        random: &mut Random,
        now: u64,
    ) -> u64 {
        self.next += 1;
        let id = self.next;
        let end = |side: usize| End {
            node: nodes[side],
            session: SessionId(id * 2 + side as u64),
            open: true,
            free_at: now,
            arrives_at: now,
        };
        let ends = [end(0), end(1)];
        for (side, end) in ends.iter().enumerate() {
            self.by_session.insert((end.node, end.session), (id, side));
        }
        let connection = Connection {
            ends,
            latency_ms: random.within(link.latency_ms.clone()),
            faulty: random.chance(faults.faulty_links_per_mille),
            jitter_ms: link.jitter_ms,
            lines: Lines::draw(&link.rate, random),
            stalled: vec![],
            stalled_since: None,
        };
        self.connections.insert(id, connection);
        id
    }

    /// Sends a frame from one end; returns when and how it arrives, if at all.
    pub(crate) fn send(
        &mut self,
        (id, from): (u64, usize),
        bytes: Vec<u8>,
        faults: &Faults,
        random: &mut Random,
        now: u64,
    ) -> Vec<Arrival> {
        let partitions = &self.partitions;
        let Some(connection) = self.connections.get_mut(&id) else { return vec![] };
        let [a, b] = connection.ends.map(|end| end.node);
        if partitions.values().any(|side| side.contains(&a) != side.contains(&b)) {
            connection.stalled.push((from, bytes));
            connection.stalled_since.get_or_insert(now);
            return vec![];
        }
        let latency = connection.latency_ms + random.below(connection.jitter_ms + 1);
        let end = &mut connection.ends[from];
        end.free_at = connection.lines.carried_at(from, end.free_at.max(now), bytes.len() as u64);
        let in_order = (end.free_at + latency).max(end.arrives_at);
        let to = 1 - from;
        if !connection.faulty || !random.chance(faults.faulty_frames_per_mille) {
            end.arrives_at = in_order;
            return vec![Arrival { at_ms: in_order, to, bytes }];
        }
        tamper(bytes, to, in_order, random)
    }

    /// Notes which connections stall in the partitions of now; returns those that do.
    pub(crate) fn stall(&mut self, now: u64) -> Vec<u64> {
        let partitions = &self.partitions;
        let crosses = |a: NodeId, b: NodeId| partitions.values().any(|s| s.contains(&a) != s.contains(&b));
        let mut stalled = vec![];
        for (id, connection) in &mut self.connections {
            if crosses(connection.ends[0].node, connection.ends[1].node) {
                connection.stalled_since.get_or_insert(now);
                stalled.push(*id);
            }
        }
        stalled
    }

    /// Takes what waited in connections that are whole again, in order.
    pub(crate) fn resume(&mut self) -> Vec<(u64, usize, Vec<u8>)> {
        let partitions = &self.partitions;
        let crosses = |a: NodeId, b: NodeId| partitions.values().any(|s| s.contains(&a) != s.contains(&b));
        let mut frames = vec![];
        for (id, connection) in &mut self.connections {
            if !crosses(connection.ends[0].node, connection.ends[1].node) {
                connection.stalled_since = None;
                let waiting = std::mem::take(&mut connection.stalled);
                frames.extend(waiting.into_iter().map(|(from, bytes)| (*id, from, bytes)));
            }
        }
        frames
    }

    /// One end gives the connection up; it is removed when both have. Returns the other end if that one
    /// still believes in it, and when the news can have reached it.
    pub(crate) fn close(&mut self, id: u64, side: usize) -> Option<(End, u64)> {
        let connection = self.connections.get_mut(&id)?;
        connection.ends[side].open = false;
        let end = connection.ends[side];
        self.by_session.remove(&(end.node, end.session));
        let other = connection.ends[1 - side];
        if !other.open {
            self.connections.remove(&id);
            return None;
        }
        Some((other, end.arrives_at))
    }

    /// The connections that tamper with frames.
    pub(crate) fn faulty(&self) -> Vec<u64> {
        self.connections.iter().filter(|(_, connection)| connection.faulty).map(|(id, _)| *id).collect()
    }

    /// The connections of a node.
    pub(crate) fn of(&self, node: NodeId) -> Vec<(u64, usize)> {
        let from = (node, SessionId(0));
        let to = (node, SessionId(u64::MAX));
        self.by_session.range(from..=to).map(|(_, place)| *place).collect()
    }
}

/// Loses, repeats, moves or damages a frame.
fn tamper(mut bytes: Vec<u8>, to: usize, at_ms: u64, random: &mut Random) -> Vec<Arrival> {
    match random.below(4) {
        0 => vec![],
        1 => {
            let again = Arrival { at_ms: at_ms + random.below(50), to, bytes: bytes.clone() };
            vec![Arrival { at_ms, to, bytes }, again]
        }
        2 => vec![Arrival { at_ms: at_ms + random.below(200), to, bytes }],
        _ => {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
            vec![Arrival { at_ms, to, bytes }]
        }
    }
}
