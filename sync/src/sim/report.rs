//! What a run found.

use std::collections::BTreeMap;
use std::fmt;

use crate::proto::Footprint;

/// A property that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Virtual time.
    pub at_ms: u64,
    /// Which property.
    pub property: &'static str,
    /// What was seen.
    pub detail: String,
}

impl Broken {
    pub(crate) fn new(at_ms: u64, property: &'static str, detail: impl Into<String>) -> Self {
        Self { at_ms, property, detail: detail.into() }
    }
}

/// A run in which a property did not hold; prints the command that repeats it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// What did not hold.
    pub broken: Broken,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, seed, broken } = self;
        write!(
            f,
            "{scenario}, seed {seed}, at {} ms: {}: {}\nreplay: DRIFTLESS_SEED={seed} cargo test -p driftless-tests \
             --test suite simulation::{scenario}",
            broken.at_ms, broken.property, broken.detail
        )
    }
}

impl std::error::Error for Failure {}

/// Frames and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Traffic {
    pub(crate) fn note(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes as u64;
    }
}

/// What sync asked of hubs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Frames to and from edges.
    pub frames: u64,
    /// Bytes of these frames.
    pub bytes: u64,
    /// Events from peers that were new.
    pub received: u64,
    /// Events from peers that were held already.
    pub received_again: u64,
    /// Times that the log was searched for where to begin.
    pub log_searches: u64,
    /// Bytes of log read for sending.
    pub log_bytes_read: u64,
    /// Records read from the store, by searches, reads and everything else.
    pub store_records_read: u64,
    /// Bytes of these records.
    pub store_bytes_read: u64,
}

impl Cost {
    /// How often each event was received, on average; 1 is the least.
    pub fn times_received(&self) -> f64 {
        (self.received + self.received_again) as f64 / self.received.max(1) as f64
    }

    pub(crate) fn and(self, other: Self) -> Self {
        self.with(other, u64::wrapping_add)
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    fn with(self, other: Self, join: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            frames: join(self.frames, other.frames),
            bytes: join(self.bytes, other.bytes),
            received: join(self.received, other.received),
            received_again: join(self.received_again, other.received_again),
            log_searches: join(self.log_searches, other.log_searches),
            log_bytes_read: join(self.log_bytes_read, other.log_bytes_read),
            store_records_read: join(self.store_records_read, other.store_records_read),
            store_bytes_read: join(self.store_bytes_read, other.store_bytes_read),
        }
    }
}

/// What the return of all sites cost the hubs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    /// Edges that returned.
    pub edges: u64,
    /// What it cost, from the first return to convergence.
    pub cost: Cost,
}

/// A moment of a run, for whoever waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// Virtual time that has passed.
    pub virtual_ms: u64,
    /// Virtual time with work and faults.
    pub busy_ms: u64,
    /// Happenings so far.
    pub happenings: u64,
    /// Writes so far.
    pub writes: u64,
    /// Connections that are open.
    pub connections: usize,
}

/// Counts of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Happenings in virtual time.
    pub happenings: u64,
    /// Frames and bytes that engines sent.
    pub frames: u64,
    /// Bytes of these frames.
    pub bytes: u64,
    /// What hubs and edges sent each other.
    pub to_edges: Traffic,
    /// What hubs sent each other.
    pub between_hubs: Traffic,
    /// Connections that were opened.
    pub connections: u64,
    /// Writes that were made.
    pub writes: u64,
    /// Writes that somebody was told are durable.
    pub acknowledged: u64,
    /// Checkpoints that sites wrote.
    pub checkpoints: u64,
    /// Events that were signed without authority.
    pub void: u64,
    /// Acknowledged writes whose only disk was rolled back, at most.
    pub exempt: u64,
    /// Conditions that engines raised.
    pub conditions: u64,
    /// Events that hubs took from others.
    pub hub_events: u64,
    /// Events that hubs received and held already.
    pub hub_duplicates: u64,
    /// Crashes, rolled-back disks, copied disks, partitions, broken connections, cuts.
    pub faults: BTreeMap<&'static str, u64>,
    /// Why engines ended sessions.
    pub closes: BTreeMap<String, u64>,
}

impl Totals {
    /// How often a hub received an event that it took, on average.
    pub fn received_per_event(&self) -> f64 {
        (self.hub_events + self.hub_duplicates) as f64 / self.hub_events.max(1) as f64
    }

    pub(crate) fn note_close(&mut self, reason: &str) {
        let kind: String = reason.chars().take(60).take_while(|c| !c.is_ascii_digit()).collect();
        *self.closes.entry(kind).or_default() += 1;
    }

    pub(crate) fn note_fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }
}

/// A run in which every property held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Nodes at the end.
    pub nodes: usize,
    /// Events at the first hub.
    pub events: u64,
    /// Acknowledged writes that were looked for and found.
    pub acknowledged: u64,
    /// Virtual time from the last fault to convergence, in steps of a second.
    pub converged_ms: u64,
    /// Bytes of a reconnect with nothing new, the larger direction, over a sample of edges.
    pub greeting_bytes_max: u64,
    /// Virtual time in all.
    pub virtual_ms: u64,
    /// Counts.
    pub totals: Totals,
    /// What it cost all hubs together.
    pub hubs: Cost,
    /// The most that sessions took of one hub's memory.
    pub sessions_max: Footprint,
    /// For each followed change of a profile and each node, the time until the node held it durably, in
    /// milliseconds and in the order of arrival.
    pub policy_ms: Vec<u64>,
    /// The same for followed changes of machines and hubs.
    pub machine_ms: Vec<u64>,
    /// Followed changes that did not come to all whom they concern.
    pub not_arrived: usize,
    /// What the return of the sites after an outage cost the hubs, if there was one.
    pub returned: Option<Returned>,
    /// The hash of everything that happened, equal for equal scenario, seed and software.
    pub trace: String,
}
