//! What operators see of a node: peers, presence, the fleet at a glance.
//!
//! Presence is what this node's own sessions tell: a site that is linked to another hub is Unknown
//! here, and is said to be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use driftless_core::name::Kind;
use driftless_sync::proto::{Condition, CutTarget, PeerKind, PeerState, PeerStatus};
use serde_json::{Value, json};

use super::Runtime;
use super::clock::now_ms;
use super::node::Node;
use crate::api::{Presence, StatusError};

/// How often presence is read off the engine.
const LOOK: Duration = Duration::from_secs(1);
/// A site that was heard this recently is Fresh; and so on, until Lost.
const FRESH_MS: u64 = 60_000;
const STALE_MS: u64 = 5 * 60_000;
const UNREACHABLE_MS: u64 = 24 * 60 * 60_000;

/// Who was heard, and when: sites by namespace and name, and hubs.
#[derive(Debug, Clone, Default)]
pub(super) struct Presences {
    pub(super) sites: Arc<BTreeMap<(String, String), Presence>>,
    /// When a hub was last heard, in milliseconds since 1970.
    pub(super) hub_ms: Option<u64>,
}

/// Reads presence off the engine for as long as the node runs.
pub(super) async fn watch(runtime: Runtime) {
    loop {
        let presences = runtime.owner.read_async(presences).await;
        let Ok(presences) = presences else { return };
        runtime.set_presences(presences);
        tokio::time::sleep(LOOK).await;
    }
}

fn presences(node: &Node) -> Presences {
    let (now, engine_now) = (now_ms(), node.now_ms());
    let wall = |engine_ms: u64| now.saturating_sub(engine_now.saturating_sub(engine_ms));
    let mut sites: BTreeMap<(String, String), Presence> = BTreeMap::new();
    let mut hub_ms = None;
    for peer in node.engine.peers() {
        // A live session is kept alive by the transport: its peer is heard now.
        let heard = if peer.session.is_some() { now } else { wall(peer.since_ms) };
        match &peer.peer.kind {
            PeerKind::Hub { .. } => hub_ms = hub_ms.max(Some(heard)),
            PeerKind::Site { namespace, site, .. } => {
                let presence = sites.entry((namespace.clone(), site.clone())).or_default();
                if presence.last_seen_ms.is_none_or(|seen| seen < heard) {
                    presence.last_seen_ms = Some(heard);
                    presence.synced =
                        peer.session.map(|_| peer.state == PeerState::InSync && peer.lag_events == 0);
                    presence.why = why_not_synced(&peer);
                }
                presence.cut_by_operator |= node.engine.is_cut(&peer.peer.kind);
            }
        }
    }
    Presences { sites: Arc::new(sites), hub_ms }
}

fn why_not_synced(peer: &PeerStatus) -> Option<String> {
    match &peer.state {
        PeerState::InSync if peer.lag_events == 0 => None,
        PeerState::InSync | PeerState::Sending => {
            Some(format!("{} events are on their way", peer.lag_events))
        }
        PeerState::Greeting => Some("the session is being opened".to_owned()),
        PeerState::Comparing { scopes } => Some(format!("{scopes} scopes are being compared")),
        PeerState::Gone { .. } => {
            let reason = peer.reason.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string);
            Some(format!("not connected: {reason}"))
        }
    }
}

/// `Fresh`, `Stale`, `Unreachable`, `Lost`, or `Unknown` for a site that was never heard here.
pub(super) fn phase(last_seen_ms: Option<u64>, now_ms: u64) -> &'static str {
    match last_seen_ms.map(|seen| now_ms.saturating_sub(seen)) {
        None => "Unknown",
        Some(silent) if silent < FRESH_MS => "Fresh",
        Some(silent) if silent < STALE_MS => "Stale",
        Some(silent) if silent < UNREACHABLE_MS => "Unreachable",
        Some(_) => "Lost",
    }
}

impl Runtime {
    /// `{peers: [{name, kind, region, state, since, lagEvents, inFlightBytes, lastAcked, reason, cut}]}`.
    pub(super) async fn peers_json(&self) -> Result<Value, StatusError> {
        let peers = self.owner.read_async(|node| {
            let (now, engine_now) = (now_ms(), node.now_ms());
            let wall = |engine_ms: u64| now.saturating_sub(engine_now.saturating_sub(engine_ms));
            let rows: Vec<Value> =
                node.engine.peers().iter().map(|peer| peer_row(node, peer, &wall)).collect();
            let cuts: Vec<Value> = node.engine.cuts().map(|(target, until_ms)| {
                let peer = match target {
                    CutTarget::All => "all".to_owned(),
                    CutTarget::Named(name) => name.clone(),
                };
                json!({"peer": peer, "until": until_ms.map(|until| now + until.saturating_sub(engine_now))})
            }).collect();
            json!({"peers": rows, "cuts": cuts})
        });
        peers.await.map_err(|error| StatusError::unavailable(error.to_string()))
    }

    /// The fleet at a glance, as far as this node can tell.
    pub(super) async fn status_json(&self) -> Result<Value, StatusError> {
        let presences = self.presences();
        let (identity, advertised) = (self.identity(), self.own_addresses());
        let status = self.owner.read_async(move |node| {
            let now = now_ms();
            let any = driftless_core::replica::LabelSelector::new();
            let sites = node.replica.names(Kind::Site, None, &any);
            let mut phases: BTreeMap<&str, u64> = BTreeMap::new();
            for site in &sites {
                let key = (site.namespace().to_owned(), site.name().to_owned());
                let seen = presences.sites.get(&key).and_then(|presence| presence.last_seen_ms);
                *phases.entry(phase(seen, now)).or_default() += 1;
            }
            let peers = node.engine.peers();
            let connected = peers.iter().filter(|peer| peer.session.is_some());
            let behind = connected.clone().filter(|peer| peer.lag_events > 0).count();
            json!({
                "node": identity.display_name(),
                "role": if identity.is_hub() { "hub" } else { "edge" },
                "fleet": identity.fleet.to_string(),
                "addresses": advertised,
                "position": node.replica.position(),
                "scopes": node.replica.scopes().count(),
                "diskBytes": driftless_core::store::Store::disk_bytes(node.replica.store()),
                "sites": {"total": sites.len(), "phases": phases},
                "profiles": node.replica.names(Kind::Profile, None, &any).len(),
                "conflicts": node.replica.conflicted().len(),
                "peers": {"connected": connected.count(), "behind": behind},
                "lastContact": presences.hub_ms,
                "conditions": node.engine.conditions().iter().map(condition_json).collect::<Vec<_>>(),
            })
        });
        status.await.map_err(|error| StatusError::unavailable(error.to_string()))
    }
}

fn peer_row(node: &Node, peer: &PeerStatus, wall: &impl Fn(u64) -> u64) -> Value {
    let region = match &peer.peer.kind {
        PeerKind::Hub { region, .. } => Some(region.clone()),
        PeerKind::Site { .. } => None,
    };
    let cut = node.engine.is_cut(&peer.peer.kind);
    let state = match &peer.state {
        _ if cut => "CutByOperator",
        PeerState::Greeting => "Greeting",
        PeerState::Comparing { .. } => "Comparing",
        PeerState::Sending => "Sending",
        PeerState::InSync => "InSync",
        PeerState::Gone { .. } => "NotConnected",
    };
    json!({
        "name": peer.peer.kind.to_string(),
        "kind": if peer.peer.kind.is_hub() { "hub" } else { "site" },
        "region": region,
        "key": peer.peer.key.short(),
        "state": state,
        "dialled": peer.peer.dialled,
        "since": wall(peer.since_ms),
        "lagEvents": peer.lag_events,
        "inFlightBytes": peer.in_flight_bytes,
        "lastAcked": peer.last_acked_ms.map(wall),
        "reason": peer.reason.as_ref().map(ToString::to_string).or_else(|| why_not_synced(peer)),
        "cut": cut,
    })
}

fn condition_json(condition: &Condition) -> Value {
    match condition {
        Condition::OwnHistoryRecovered { author, boot, scope, events } => json!({
            "type": "OwnHistoryRecovered",
            "message": format!(
                "peers held {events} events of this node in {scope} (boot {boot}) that its own disk did not: it was lost, restored or rolled back; they were fetched"
            ),
            "author": author.to_string(),
        }),
        Condition::SameKeyTwice { key } => json!({
            "type": "SameKeyTwice",
            "message": "two live nodes use one key: a data directory was copied; stop one of them and enrol it anew",
            "author": key.to_string(),
        }),
    }
}
