//! Upkeep: what the owner does for its store when a second has passed, in small steps.
//!
//! - Scrubbing: the log is read back a little at a time, so that each scope is read once in a while
//!   and what the disk lost is found before somebody needs it.
//! - Repair: what is missing is asked of peers, one after the other, until one has it.
//! - Settling: a node that has been idle for a while moves the tail of its log to where it stays.

use std::time::Duration;

use serde_json::{Value, json};

use super::Runtime;
use super::node::Node;
use crate::api::{Metric, MetricKind};

/// How often the owner is asked to do a little.
const BEAT: Duration = Duration::from_secs(1);
/// Shortest and longest time between two steps of scrubbing.
const STEP_MIN: Duration = Duration::from_secs(1);
const STEP_MAX: Duration = Duration::from_secs(10);
/// Events of one step, about.
const EVENTS_PER_STEP: u64 = 200;
/// How long an answer to what was asked for may take before another peer is asked.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// How long nothing may have been committed until the node counts as idle.
const IDLE: Duration = Duration::from_secs(5);

/// When what is due next.
#[derive(Debug)]
pub(super) struct Upkeep {
    /// Within this time every scope is to be read back once, if [`STEP_MIN`] allows.
    round: Duration,
    scrub_at_ms: u64,
    ask_at_ms: u64,
    /// The last position seen, and since when nothing has been committed.
    position: u64,
    idle_since_ms: u64,
}

/// Keeps the store for as long as the node runs.
pub(super) async fn keep(runtime: Runtime) {
    loop {
        tokio::time::sleep(BEAT).await;
        let kept = runtime.owner.write_async(|node| {
            node.keep_up();
            metrics(node)
        });
        let Ok(metrics) = kept.await else { return };
        runtime.set_metrics(metrics);
    }
}

impl Upkeep {
    pub(super) fn new(round: Duration) -> Self {
        Self { round, scrub_at_ms: 0, ask_at_ms: 0, position: 0, idle_since_ms: 0 }
    }

    /// What is to be done now.
    pub(super) fn due(&mut self, now_ms: u64, position: u64, scopes: usize) -> Due {
        if self.position != position {
            (self.position, self.idle_since_ms) = (position, now_ms);
        }
        let due = Due {
            scrub: now_ms >= self.scrub_at_ms,
            ask: now_ms >= self.ask_at_ms,
            settle: now_ms >= self.idle_since_ms + milliseconds(IDLE),
        };
        if due.scrub {
            // Each scope takes a step for its log and one for its documents, and more if it is large.
            let steps = scopes as u64 * 2 + position / EVENTS_PER_STEP + 1;
            let steps = u32::try_from(steps).unwrap_or(u32::MAX);
            self.scrub_at_ms = now_ms + milliseconds((self.round / steps).clamp(STEP_MIN, STEP_MAX));
        }
        due
    }

    /// Notes that peers were asked for what is missing.
    pub(super) fn asked(&mut self, now_ms: u64) {
        self.ask_at_ms = now_ms + milliseconds(ASK_AGAIN);
    }
}

/// What is to be done in one beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) scrub: bool,
    pub(super) ask: bool,
    pub(super) settle: bool,
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What is missing, as conditions of the node's status.
pub(super) fn conditions(node: &Node) -> Vec<Value> {
    let own = node.replica.author();
    let missing = node.replica.faults().map(|(scope, faults)| {
        let places = |mine: bool| {
            let ours = faults.iter().filter(move |fault| (fault.chain.author == own) == mine);
            ours.map(|fault| fault.places()).sum::<u64>()
        };
        let (ours, others) = (places(true), places(false));
        let own_part = match ours {
            0 => String::new(),
            ours => format!(", {ours} of them written here"),
        };
        json!({
            "type": "EventsMissing",
            "message": format!(
                "the store does not hold {} events of {scope} that this node took{own_part}; peers are asked for them, and nothing else is affected",
                ours + others
            ),
            "scope": scope.to_string(),
            "events": ours + others,
        })
    });
    missing.collect()
}

/// Counts of scrubbing and repair.
fn metrics(node: &Node) -> Vec<Metric> {
    let counts = node.replica.scrub_counts();
    let missing: u64 = node
        .replica
        .faults()
        .flat_map(|(_, faults)| faults)
        .map(driftless_core::replica::Fault::places)
        .sum();
    let counter = |name, help, value: u64| Metric::one(name, help, MetricKind::Counter, value as f64);
    vec![
        counter("driftless_scrubbed_scopes", "Scopes whose log was read back whole.", counts.scopes),
        counter("driftless_scrubbed_events", "Events that were read back from the store.", counts.events),
        counter(
            "driftless_scrub_missing_events",
            "Events that were found missing from the store.",
            counts.places_missing,
        ),
        counter(
            "driftless_scrub_mended_events",
            "Missing events that peers gave back.",
            counts.places_mended,
        ),
        counter(
            "driftless_scrub_mended_documents",
            "Documents that were executed anew.",
            counts.documents_mended,
        ),
        counter(
            "driftless_scrub_dropped_runs",
            "Records of the log that could not be read.",
            counts.runs_dropped,
        ),
        counter(
            "driftless_repairs_asked",
            "Times that a peer was asked for what is missing.",
            node.engine.counters().repairs,
        ),
        Metric::one(
            "driftless_missing_events",
            "Events that the store should hold and does not.",
            MetricKind::Gauge,
            missing as f64,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrubbing_takes_a_day_for_many_scopes_and_settling_waits_for_quiet() {
        let mut upkeep = Upkeep::new(Duration::from_secs(24 * 60 * 60));
        let at = |upkeep: &mut Upkeep, now_ms, position| upkeep.due(now_ms, position, 5_000);
        assert_eq!(at(&mut upkeep, 100, 7), Due { scrub: true, ask: true, settle: false });
        upkeep.asked(100);
        assert_eq!(at(&mut upkeep, 5_099, 7), Due { scrub: false, ask: false, settle: false });
        assert_eq!(at(&mut upkeep, 8_700, 7), Due { scrub: false, ask: false, settle: true });
        assert_eq!(at(&mut upkeep, 8_740, 8), Due { scrub: true, ask: false, settle: false });
        assert!(at(&mut upkeep, 10_100, 8).ask);
    }
}
