//! What operators see of a node: peers, and the fleet at a glance.

use std::collections::BTreeMap;

use driftless_core::name::Kind;
use driftless_sync::proto::{Condition, CutTarget, PeerKind, PeerStatus};
use serde_json::{Value, json};

use super::Runtime;
use super::clock::now_ms;
use super::links::{KnownHub, hubs};
use super::node::Node;
use super::presence::{Presences, why_not_synced};
use super::upkeep;
use crate::api::{Backend as _, StatusError, phase};

impl Runtime {
    /// `{peers: [{name, kind, region, state, since, lastHeard, lagEvents, lagBytes, lagSeconds, inFlightBytes,
    /// lastAcked, reason, cut}]}`.
    pub(super) async fn peers_json(&self) -> Result<Value, StatusError> {
        let peers = self.owner.read_async(|node| {
            let (now, engine_now) = (now_ms(), node.now_ms());
            let wall = |engine_ms: u64| now.saturating_sub(engine_now.saturating_sub(engine_ms));
            let presences = Presences::of(node);
            let peers = node.engine.peers();
            let lags = super::lag::lags(node, &peers, now);
            let row = |peer: &PeerStatus| {
                let mut row = peer_row(node, peer, &wall);
                row["lastHeard"] = json!(presences.wall(peer.lease));
                super::lag::add_to_row(&mut row, lags.get(&peer.peer.key));
                row
            };
            let rows: Vec<Value> = peers.iter().map(row).collect();
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
        let (presences, runtime) = (self.presences(), self.clone());
        let (identity, advertised) = (self.identity(), self.own_addresses());
        let status = self.owner.read_async(move |node| {
            let any = driftless_core::replica::LabelSelector::new();
            let sites = node.replica.names(Kind::Site, None, &any);
            let mut phases: BTreeMap<&str, u64> = BTreeMap::new();
            let mut as_of_ms: Option<u64> = None;
            for site in &sites {
                let presence = runtime.presence(site.namespace(), site.name());
                *phases.entry(phase(presence.last_seen_ms, now_ms())).or_default() += 1;
                let older = presence.as_of_ms.filter(|at| as_of_ms.is_none_or(|oldest| *at < oldest));
                as_of_ms = older.or(as_of_ms);
            }
            let others = hubs(&node.replica).into_iter().filter(|hub| hub.name != identity.display_name());
            let others: Vec<Value> = others.map(|hub| hub_row(&presences, &hub)).collect();
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
                "sites": {"total": sites.len(), "phases": phases, "asOf": as_of_ms},
                "hubs": others,
                "profiles": node.replica.names(Kind::Profile, None, &any).len(),
                "conflicts": node.replica.conflicted().len(),
                "peers": {"connected": connected.count(), "behind": behind},
                "lastContact": presences.hub_ms,
                "conditions": conditions(node),
            })
        });
        status.await.map_err(|error| StatusError::unavailable(error.to_string()))
    }
}

/// Another hub, and when this node last heard it.
fn hub_row(presences: &Presences, hub: &KnownHub) -> Value {
    let heard_ms = hub.key.and_then(|key| presences.hub(key));
    let phase = phase(heard_ms, now_ms());
    json!({"name": hub.name, "region": hub.region, "phase": phase, "lastHeard": heard_ms})
}

fn peer_row(node: &Node, peer: &PeerStatus, wall: &impl Fn(u64) -> u64) -> Value {
    let region = match &peer.peer.kind {
        PeerKind::Hub { region, .. } => Some(region.clone()),
        PeerKind::Site { .. } => None,
    };
    let cut = node.engine.is_cut(&peer.peer.kind);
    json!({
        "name": peer.peer.kind.to_string(),
        "kind": if peer.peer.kind.is_hub() { "hub" } else { "site" },
        "region": region,
        "key": peer.peer.key.short(),
        "state": super::lag::state(node, peer),
        "dialled": peer.peer.dialled,
        "since": wall(peer.since_ms),
        "lagEvents": peer.lag_events,
        "inFlightBytes": peer.in_flight_bytes,
        "lastAcked": peer.last_acked_ms.map(wall),
        "reason": peer.reason.as_ref().map(ToString::to_string).or_else(|| why_not_synced(peer)),
        "cut": cut,
    })
}

fn conditions(node: &Node) -> Vec<Value> {
    node.engine.conditions().iter().map(condition_json).chain(upkeep::conditions(node)).collect()
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
