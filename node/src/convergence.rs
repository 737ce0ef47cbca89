//! How far events have come, over all hubs that can be asked.
//!
//! Each hub knows its own peers. What this node knows is put beside what the other hubs answer, and hubs that
//! are silent are named: what is only known there is unknown, never done. What a site makes of an event that
//! it holds is the API's part.

use std::collections::BTreeMap;
use std::time::Duration;

use driftless_core::owner::{Handle, Stopped};
use driftless_core::store::StoreError;
use driftless_sync::proto::{Answer, EventPlace, PeerDelivery, PeerKind, Question, SessionId, SiteReach};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::daemon::node::Node;

/// How long a hub may take to answer before it counts as silent.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Most pages that one hub is asked for: 20 hold every site that a hub is designed for.
const PAGES_MAX: usize = 20;

/// A hub, by name and region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HubName {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
}

/// What one hub says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told<T> {
    /// The hub; the node itself first.
    pub hub: HubName,
    /// What it says, or why it says nothing.
    pub said: Result<T, Silence>,
}

/// Why a hub says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// There is no session with it.
    NotConnected {
        /// For how long, in milliseconds; `None` if there was none since this node started.
        for_ms: Option<u64>,
        /// Why the last one ended.
        reason: String,
        /// Whether an operator has cut the link here.
        cut: bool,
    },
    /// It did not answer in time, or the session ended meanwhile.
    Late,
    /// It is asked too much.
    Busy,
}

/// How one event stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deliveries {
    /// Whether the node that was asked holds it.
    pub holds: bool,
    /// How it stands between that node and its peers that are no sites: the other hubs.
    pub hubs: Vec<PeerDelivery>,
    /// How it stands with the nodes of sites, as each hub says.
    pub sites: Vec<Told<Vec<PeerDelivery>>>,
}

/// Why nobody was asked.
#[derive(Debug, thiserror::Error)]
pub enum ConvergenceError {
    /// The node stops.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How one event stands with the other hubs, and with the nodes of one site or of all.
pub(crate) async fn deliveries(
    owner: &Handle<Node>,
    own: HubName,
    place: EventPlace,
    site: Option<(String, String)>,
) -> Result<Deliveries, ConvergenceError> {
    let asked = place.clone();
    let here = owner.read_async(move |node| {
        let hubs = node.engine.deliveries(&asked, PeerKind::is_hub, true, &node.replica);
        let holds = node.replica.vector(&asked.scope).covers(&asked.chain, asked.seq);
        hubs.map(|hubs| (holds, hubs))
    });
    let (holds, hubs) = here.await??;
    let question = Question::Deliveries { place, site, after: Default::default() };
    let sites = ask_all(owner, own, question, |answer| match answer {
        Answer::Deliveries { peers, .. } => Some(peers),
        Answer::Reach { .. } | Answer::Busy => None,
    });
    Ok(Deliveries { holds, hubs, sites: sites.await? })
}

/// Which sites hold which events, as each hub says.
pub(crate) async fn reach(
    owner: &Handle<Node>,
    own: HubName,
    places: Vec<EventPlace>,
) -> Result<Vec<Told<Vec<SiteReach>>>, ConvergenceError> {
    let question = Question::Reach { places, after: Default::default() };
    ask_all(owner, own, question, |answer| match answer {
        Answer::Reach { sites, .. } => Some(sites),
        Answer::Deliveries { .. } | Answer::Busy => None,
    })
    .await
}

/// Asks this node and every other hub of the fleet, these at the same time.
async fn ask_all<T: Send + 'static>(
    owner: &Handle<Node>,
    own: HubName,
    question: Question,
    entries: fn(Answer) -> Option<Vec<T>>,
) -> Result<Vec<Told<Vec<T>>>, ConvergenceError> {
    let name = own.name.clone();
    let others = owner.read_async(move |node| other_hubs(node, &name)).await?;
    let mut told = vec![Told { said: Ok(ask_here(owner, question.clone(), entries).await?), hub: own }];
    let mut asked = JoinSet::new();
    for (hub, link) in others {
        match link {
            Ok(session) => {
                let (owner, question) = (owner.clone(), question.clone());
                asked.spawn(
                    async move { Told { hub, said: ask_hub(&owner, session, question, entries).await } },
                );
            }
            Err(silence) => told.push(Told { hub, said: Err(silence) }),
        }
    }
    while let Some(answer) = asked.join_next().await {
        told.extend(answer);
    }
    told[1..].sort_by(|a, b| a.hub.cmp(&b.hub));
    Ok(told)
}

async fn ask_here<T>(
    owner: &Handle<Node>,
    question: Question,
    entries: fn(Answer) -> Option<Vec<T>>,
) -> Result<Vec<T>, ConvergenceError> {
    let (mut found, mut next) = (vec![], Some(question));
    for _ in 0..PAGES_MAX {
        let Some(question) = next else { break };
        let asked = question.clone();
        let answer = owner.read_async(move |node| node.engine.answer(&asked, &node.replica)).await??;
        next = question.next(&answer);
        found.extend(entries(answer).into_iter().flatten());
    }
    Ok(found)
}

async fn ask_hub<T>(
    owner: &Handle<Node>,
    session: SessionId,
    question: Question,
    entries: fn(Answer) -> Option<Vec<T>>,
) -> Result<Vec<T>, Silence> {
    let (mut found, mut next) = (vec![], Some(question));
    for _ in 0..PAGES_MAX {
        let Some(question) = next else { break };
        let asked = question.clone();
        let pending = owner.write_async(move |node| node.inquire(session, asked)).await;
        let pending = pending.map_err(|_| Silence::Late)?.ok_or(Silence::Busy)?;
        let answered = timeout(ANSWER_WITHIN, pending).await.map_err(|_| Silence::Late)?;
        let answer = answered.map_err(|_| Silence::Late)?;
        next = question.next(&answer);
        found.extend(entries(answer).ok_or(Silence::Busy)?);
    }
    Ok(found)
}

/// The other hubs of the fleet, with the session to ask them on, or why there is none. An edge asks none:
/// it speaks for itself.
fn other_hubs(node: &Node, own: &str) -> Vec<(HubName, Result<SessionId, Silence>)> {
    if !node.engine.is_hub() {
        return vec![];
    }
    let mut hubs: BTreeMap<HubName, Result<SessionId, Silence>> = BTreeMap::new();
    for hub in crate::daemon::known_hubs(&node.replica) {
        if hub.name != own {
            let kind = PeerKind::Hub { name: hub.name.clone(), region: hub.region.clone() };
            let reason = "no session since this node started".to_owned();
            let silence = Silence::NotConnected { for_ms: None, reason, cut: node.engine.is_cut(&kind) };
            hubs.insert(HubName { name: hub.name, region: hub.region }, Err(silence));
        }
    }
    for peer in node.engine.peers() {
        let PeerKind::Hub { name, .. } = &peer.peer.kind else { continue };
        let Some(entry) = hubs.iter_mut().find(|(hub, _)| hub.name == *name) else { continue };
        let cut = node.engine.is_cut(&peer.peer.kind);
        let since = node.now_ms().saturating_sub(peer.since_ms);
        match (entry.1.is_ok(), peer.session) {
            (true, _) => {}
            (false, Some(session)) if node.engine.hubs_to_ask().any(|(id, _)| id == session) => {
                *entry.1 = Ok(session);
            }
            (false, Some(_)) => {
                let reason = "the session is being opened".to_owned();
                *entry.1 = Err(Silence::NotConnected { for_ms: Some(since), reason, cut });
            }
            (false, None) => {
                let reason = peer.reason.unwrap_or_default();
                *entry.1 = Err(Silence::NotConnected { for_ms: Some(since), reason, cut });
            }
        }
    }
    hubs.into_iter().collect()
}
