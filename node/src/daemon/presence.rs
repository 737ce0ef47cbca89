//! Presence as this node can tell it: read off the engine once a second, kept for whoever asks.
//!
//! The engine knows ages by its own clock; here they become times of the wall clock, at the moment of the
//! question, so a connected site was seen now.

use std::collections::BTreeMap;
use std::time::Duration;

use driftless_core::ids::Author;
use driftless_core::name::Scope;
use driftless_sync::proto::{self, Lease, PeerId, PeerState, PeerStatus};

use super::Runtime;
use super::clock::now_ms;
use super::node::Node;
use crate::api::Presence;

/// How often presence is read off the engine.
const LOOK: Duration = Duration::from_secs(1);

/// What was known at the last look.
#[derive(Debug, Clone, Default)]
pub(super) struct Presences {
    known: proto::Presence,
    /// The time of the look, by the engine's clock and by the wall's.
    engine_ms: u64,
    wall_ms: u64,
    /// Sites that have or had a session here.
    links: BTreeMap<Scope, Link>,
    /// When a hub was last heard, in milliseconds since 1970, here or by a node of the same site.
    pub(super) hub_ms: Option<u64>,
}

/// How a site's sessions with this node stand.
#[derive(Debug, Clone, Default)]
struct Link {
    synced: Option<bool>,
    why: Option<String>,
    cut_by_operator: bool,
    since_ms: u64,
}

/// Reads presence off the engine for as long as the node runs.
pub(super) async fn watch(runtime: Runtime) {
    loop {
        let Ok(presences) = runtime.owner.read_async(Presences::of).await else { return };
        runtime.set_presences(presences);
        tokio::time::sleep(LOOK).await;
    }
}

impl Presences {
    pub(super) fn of(node: &Node) -> Self {
        let (wall_ms, engine_ms) = (now_ms(), node.now_ms());
        let known = node.engine.presence().clone();
        let mut presences = Self { known, engine_ms, wall_ms, links: BTreeMap::new(), hub_ms: None };
        for peer in node.engine.peers() {
            let Some(site) = peer.peer.kind.own_scope() else { continue };
            let link = presences.links.entry(site).or_default();
            let newer = (peer.session.is_some(), peer.since_ms) >= (link.synced.is_some(), link.since_ms);
            if newer {
                link.since_ms = peer.since_ms;
                link.synced = peer.session.map(|_| peer.state == PeerState::InSync && peer.lag_events == 0);
                link.why = why_not_synced(&peer);
            }
            link.cut_by_operator |= node.engine.is_cut(&peer.peer.kind);
        }
        let hubs = presences.known.hubs().map(|(_, hub)| presences.wall(hub.lease)).max();
        presences.hub_ms = if node.engine.site_has_uplink() { Some(wall_ms) } else { hubs };
        presences
    }

    /// What is known of a site.
    pub(super) fn site(&self, namespace: &str, site: &str) -> Presence {
        let scope = Scope::Site { namespace: namespace.to_owned(), site: site.to_owned() };
        let link = self.links.get(&scope).cloned().unwrap_or_default();
        let Some(heard) = self.known.site(&scope) else {
            let why = "no hub that this node has spoken with has heard the site";
            return Presence {
                why: Some(why.to_owned()),
                cut_by_operator: link.cut_by_operator,
                ..Presence::default()
            };
        };
        let presence = Presence {
            last_seen_ms: Some(self.wall(heard.lease)),
            as_of_ms: Some(heard.hub.map_or_else(now_ms, |hub| self.wall(hub.lease))),
            hub: heard.hub.map(|hub| hub.name.clone()),
            cut_by_operator: link.cut_by_operator && !heard.lease.is_connected(),
            synced: None,
            why: None,
        };
        match &presence.hub {
            None => Presence { synced: link.synced, why: link.why, ..presence },
            Some(hub) if heard.lease.is_connected() => {
                Presence { why: Some(format!("connected to {hub}; ask it")), ..presence }
            }
            Some(hub) => Presence { why: Some(format!("last heard by {hub}; not connected")), ..presence },
        }
    }

    /// When another hub was last heard by this node, in milliseconds since 1970.
    pub(super) fn hub(&self, key: Author) -> Option<u64> {
        self.known.hubs().find(|(id, _)| **id == PeerId(key)).map(|(_, hub)| self.wall(hub.lease))
    }

    /// When the holder of a lease was last heard, in milliseconds since 1970.
    pub(super) fn wall(&self, lease: Lease) -> u64 {
        match lease {
            Lease::Connected => now_ms(),
            Lease::Gone { .. } => {
                let ago = i64::try_from(self.engine_ms).unwrap_or(i64::MAX);
                let ago = ago.saturating_sub(lease.heard_ms(self.engine_ms));
                self.wall_ms.saturating_sub(u64::try_from(ago).unwrap_or_default())
            }
        }
    }
}

/// In one sentence why a peer of this node is not known to hold everything.
pub(super) fn why_not_synced(peer: &PeerStatus) -> Option<String> {
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
