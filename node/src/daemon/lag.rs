//! How far peers are behind: in events, in bytes, and in seconds.
//!
//! Events come from vectors, for every peer. Bytes and seconds are read from the log, for as many peers as
//! are worth it: what a peer lacks is in the log, so nothing has to be counted while it accumulates.

use std::collections::BTreeMap;

use driftless_core::ids::Author;
use driftless_sync::proto::{Backlog, PeerState, PeerStatus};
use serde_json::{Value, json};

use super::clock::now_ms;
use super::node::Node;
use crate::api::{Metric, MetricKind};

/// Most peers whose backlog is read at a time.
const BACKLOGS_MAX: usize = 64;
/// Most bytes of backlog that are read at a time, a peer more or less.
const BACKLOG_BYTES_MAX: u64 = 8 << 20;
/// Most peers that metrics name.
const NAMED_MAX: usize = 64;

/// How far one peer is behind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lag {
    backlog: Backlog,
    /// Age of the oldest event that it has not acknowledged, by the clock of its author.
    seconds: f64,
}

/// The backlog of those peers that have one: hubs first, then whoever lags most, while there is room.
pub(super) fn lags(node: &Node, peers: &[PeerStatus], now_ms: u64) -> BTreeMap<Author, Lag> {
    let mut behind: Vec<&PeerStatus> = peers.iter().filter(|peer| peer.lag_events > 0).collect();
    behind.sort_by_key(|peer| (!peer.peer.kind.is_hub(), std::cmp::Reverse(peer.lag_events)));
    let (mut lags, mut bytes) = (BTreeMap::new(), 0);
    for peer in behind.into_iter().take(BACKLOGS_MAX) {
        if bytes >= BACKLOG_BYTES_MAX {
            break;
        }
        match node.engine.backlog(peer.peer.key, &node.replica) {
            Ok(backlog) => {
                bytes += backlog.bytes;
                let age_ms = backlog.oldest_ms.map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms));
                lags.insert(peer.peer.key, Lag { backlog, seconds: age_ms as f64 / 1_000.0 });
            }
            Err(error) => tracing::warn!(%error, "the backlog of a peer cannot be read"),
        }
    }
    lags
}

/// Adds `lagBytes`, `lagSeconds` and whether there is more than that; null where they were not read.
pub(super) fn add_to_row(row: &mut Value, lag: Option<&Lag>) {
    let is_behind = row["lagEvents"].as_u64().is_some_and(|events| events > 0);
    (row["lagBytes"], row["lagSeconds"]) = match lag {
        Some(lag) => (json!(lag.backlog.bytes), json!(lag.seconds)),
        None if is_behind => (Value::Null, Value::Null),
        None => (json!(0), json!(0.0)),
    };
    row["lagMore"] = json!(lag.is_some_and(|lag| lag.backlog.more));
}

/// Peers by kind and state, and the lag of hubs and of whoever else lags.
pub(super) fn metrics(node: &Node) -> Vec<Metric> {
    let peers = node.engine.peers();
    let lags = lags(node, &peers, now_ms());
    let mut counts: BTreeMap<(&str, &str), f64> = BTreeMap::new();
    for peer in &peers {
        *counts.entry((kind(peer), state(node, peer))).or_default() += 1.0;
    }
    let counts = counts
        .into_iter()
        .map(|((kind, state), count)| (vec![("kind", kind.to_owned()), ("state", state.to_owned())], count));
    let mut named: Vec<&PeerStatus> =
        peers.iter().filter(|peer| peer.peer.kind.is_hub() || peer.lag_events > 0).collect();
    named.sort_by_key(|peer| (!peer.peer.kind.is_hub(), std::cmp::Reverse(peer.lag_events)));
    named.truncate(NAMED_MAX);
    let samples = |value: &dyn Fn(&PeerStatus) -> Option<f64>| {
        let sample = |peer: &&PeerStatus| Some((vec![("peer", peer.peer.kind.to_string())], value(peer)?));
        named.iter().filter_map(sample).collect::<Vec<_>>()
    };
    let lag = |peer: &PeerStatus| lags.get(&peer.peer.key);
    let in_sync = |peer: &PeerStatus| (peer.lag_events == 0).then_some(0.0);
    let gauge = |name, help, samples| Metric { name, help, kind: MetricKind::Gauge, samples };
    vec![
        gauge("driftless_peers", "Peers seen since the start, by kind and state.", counts.collect()),
        gauge(
            "driftless_peer_lag_events",
            "Events that a peer wants and has not acknowledged; hubs, and the 64 that lag most.",
            samples(&|peer| Some(peer.lag_events as f64)),
        ),
        gauge(
            "driftless_peer_lag_bytes",
            "Bytes of these events, up to 1 MiB a peer.",
            samples(&|peer| lag(peer).map(|lag| lag.backlog.bytes as f64).or(in_sync(peer))),
        ),
        gauge(
            "driftless_peer_lag_seconds",
            "Age of the oldest of these events, by the clock of its author.",
            samples(&|peer| lag(peer).map(|lag| lag.seconds).or(in_sync(peer))),
        ),
    ]
}

fn kind(peer: &PeerStatus) -> &'static str {
    if peer.peer.kind.is_hub() { "hub" } else { "site" }
}

/// How a peer stands, in the word that operators see.
pub(super) fn state(node: &Node, peer: &PeerStatus) -> &'static str {
    match &peer.state {
        _ if node.engine.is_cut(&peer.peer.kind) => "CutByOperator",
        PeerState::Greeting => "Greeting",
        PeerState::Comparing { .. } => "Comparing",
        PeerState::Sending => "Sending",
        PeerState::InSync => "InSync",
        PeerState::Gone { .. } => "NotConnected",
    }
}
