//! What a run found.

use std::collections::BTreeMap;
use std::fmt;

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

/// Counts of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Happenings in virtual time.
    pub happenings: u64,
    /// Frames and bytes that engines sent.
    pub frames: u64,
    /// Bytes of these frames.
    pub bytes: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// Writes that were made.
    pub writes: u64,
    /// Checkpoints that sites wrote.
    pub checkpoints: u64,
    /// Events that were signed without authority.
    pub void: u64,
    /// Acknowledged writes whose only disk was rolled back.
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
    pub acknowledged: usize,
    /// Virtual time from the last fault to convergence, in steps of a second.
    pub converged_ms: u64,
    /// Bytes of a reconnect with nothing new, the larger direction, over a sample of edges.
    pub greeting_bytes_max: u64,
    /// Virtual time in all.
    pub virtual_ms: u64,
    /// Counts.
    pub totals: Totals,
    /// The hash of everything that happened, equal for equal scenario, seed and software.
    pub trace: String,
}
