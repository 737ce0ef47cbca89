//! A fleet in one process: real replicas and engines, each behind its owner, frames carried by tasks.

use std::collections::BTreeMap;

use driftless_core::name::{Document, Kind, Scope};
use driftless_core::owner::Handle;
use driftless_core::resolve::resolve;
use driftless_core::store::MemoryStore;
use driftless_core::testing::{self, author, carry, enrolled};
use driftless_sync::proto::{
    CutTarget, EngineConfig, EventPlace, Interest, PeerInfo, PeerKind, SessionId, SiteReach,
};
use driftless_sync::quic::Outgoing;
use tokio::sync::{mpsc, watch};

use super::super::*;
use crate::convergence::{self, Deliveries, HubName, Told};
use crate::daemon::node::Node;
use crate::daemon::options::SCRUB_WITHIN;
use crate::inputs::SiteFacts;

pub(super) const EU: u16 = 1;
pub(super) const US: u16 = 2;
pub(super) const STORE_1: u16 = 11;
pub(super) const STORE_2: u16 = 12;
/// How long anything may take that has to happen in the end.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_millis(5);

/// Nodes by key number.
pub(super) struct Fleet {
    members: BTreeMap<u16, Member>,
    links: Vec<Link>,
}

/// A node.
struct Member {
    owner: Handle<Node>,
    kind: PeerKind,
    backend: Arc<Speaker>,
}

/// What the API of a node speaks for.
struct Speaker {
    owner: Handle<Node>,
    local: Local,
    positions: signal::Receiver<u64>,
}

/// A connection, each end with its session and a gate for what the end sends.
struct Link {
    ends: [(u16, SessionId, watch::Sender<bool>); 2],
}

impl Fleet {
    /// Nobody yet.
    pub(super) fn new() -> Self {
        Self { members: BTreeMap::new(), links: vec![] }
    }

    /// `hub-eu` and `hub-us`, connected; `store-1` at the one and `store-2` at the other.
    pub(super) async fn two_hubs(&mut self) {
        self.hubs(|_| {}).await;
        for (key, hub, site) in [(STORE_1, EU, "store-1"), (STORE_2, US, "store-2")] {
            self.edge(key, |_| {}).await;
            self.connect(key, hub).await;
            // Until it has heard that it is enrolled, nothing that it writes would have effect.
            self.agree(key, hub, &format!("sites/acme/{site}")).await;
        }
    }

    /// Two hubs, connected, that know who is enrolled; `adjust` is for `hub-eu`.
    pub(super) async fn hubs(&mut self, adjust: fn(&mut EngineConfig)) {
        for (key, name) in [(EU, "hub-eu"), (US, "hub-us")] {
            let kind = PeerKind::Hub { name: name.into(), region: "eu".into() };
            self.add(key, kind, Interest::All, if key == EU { adjust } else { |_| {} }).await;
            self.with(key, |node| {
                let sites = [("acme", "store-1", STORE_1), ("acme", "store-2", STORE_2)];
                carry(&enrolled(&[("hub-eu", EU), ("hub-us", US)], &sites), &mut node.replica);
            })
            .await;
        }
        self.connect(US, EU).await;
    }

    /// Waits until two nodes hold the same of a scope.
    pub(super) async fn agree(&self, a: u16, b: u16, scope: &str) {
        let scope: Scope = scope.parse().unwrap();
        let agreeing = async {
            loop {
                let digest = |key: u16| {
                    let scope = scope.clone();
                    self.with(key, move |node| node.replica.digest(&scope))
                };
                let (here, there) = (digest(a).await, digest(b).await);
                if here == there && here.0 != [0; 32] {
                    return;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(PATIENCE, agreeing).await.expect("what one holds the other gets");
    }

    /// Waits until a hub has no session with an edge, if the cause is that.
    pub(super) async fn gone(&self, edge: u16, hub: u16, cause: &str) {
        let stays = [
            "sent and not acknowledged",
            "behind others",
            "the session is being opened",
            "its hub lost the edge",
        ];
        while !stays.contains(&cause)
            && self.with(hub, move |node| node.engine.is_connected(author(edge))).await
        {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// An edge of `store-1` or `store-2`.
    pub(super) async fn edge(&mut self, key: u16, adjust: fn(&mut EngineConfig)) {
        let site = if key == STORE_1 { "store-1" } else { "store-2" };
        let kind = PeerKind::Site { namespace: "acme".into(), site: site.into(), node: "n1".into() };
        let scopes = ["fleet", "profiles/acme", &format!("sites/acme/{site}")];
        let interest = Interest::Scopes(scopes.map(|scope| scope.parse().unwrap()).into());
        self.add(key, kind, interest, adjust).await;
    }

    /// Adds a node.
    pub(super) async fn add(
        &mut self,
        key: u16,
        kind: PeerKind,
        interest: Interest,
        adjust: fn(&mut EngineConfig),
    ) {
        let local = PeerInfo { key: author(key), kind: kind.clone(), dialled: false };
        let make = move || {
            let store: Box<dyn Store> = Box::new(MemoryStore::default());
            let mut config = EngineConfig::new(local, interest);
            adjust(&mut config);
            Ok::<_, Stopping>(Node::new(testing::open(store, key, u64::from(key)), config, SCRUB_WITHIN))
        };
        let (owner, _) = Handle::spawn(&kind.to_string(), make).unwrap();
        let (positions, log_tag) =
            owner.read_async(|node| (node.positions(), node.replica.tag())).await.unwrap();
        let (node, region, site) = match &kind {
            PeerKind::Hub { name, region } => (name.clone(), region.clone(), None),
            PeerKind::Site { namespace, site, node } => {
                (node.clone(), "eu".to_owned(), Some((namespace.clone(), site.clone())))
            }
        };
        let local = Local { node, site, region, namespace: "acme".into(), fleet: testing::fleet(), log_tag };
        let backend = Arc::new(Speaker { owner: owner.clone(), local, positions });
        self.members.insert(key, Member { owner, kind, backend });
    }

    /// Opens a session; the dialler's side first.
    pub(super) async fn connect(&mut self, dialler: u16, acceptor: u16) {
        self.connect_through(dialler, acceptor, [true, true]).await;
    }

    /// The same, with gates that let frames of each end through, or hold them back.
    pub(super) async fn connect_through(&mut self, dialler: u16, acceptor: u16, open: [bool; 2]) {
        let ends = [dialler, acceptor];
        let mut sessions = vec![];
        // The acceptor has to be there when the dialler speaks.
        for (own, other, dialled) in [(acceptor, dialler, false), (dialler, acceptor, true)] {
            let (link, outgoing) = mpsc::channel(1_024);
            let peer = PeerInfo { key: author(other), kind: self.members[&other].kind.clone(), dialled };
            let session = self.with(own, move |node| node.connected(peer, link)).await;
            sessions.push((session, outgoing));
        }
        let (dialled, from_dialler) = sessions.pop().unwrap();
        let (accepted, from_acceptor) = sessions.pop().unwrap();
        let gates = open.map(watch::Sender::new);
        let owner = |end: usize| self.members[&ends[end]].owner.clone();
        let ids = [dialled, accepted];
        for (from, outgoing) in [(0, from_dialler), (1, from_acceptor)] {
            let (own, other) = ((owner(from), ids[from]), (owner(1 - from), ids[1 - from]));
            tokio::spawn(carry_frames(outgoing, gates[from].subscribe(), own, other));
        }
        let [first, second] = gates;
        self.links.push(Link { ends: [(dialler, dialled, first), (acceptor, accepted, second)] });
    }

    /// Holds back, or lets through, what `from` sends to `to`.
    pub(super) fn gate(&self, from: u16, to: u16, open: bool) {
        for link in &self.links {
            for (at, (key, _, gate)) in link.ends.iter().enumerate() {
                if *key == from && link.ends[1 - at].0 == to {
                    gate.send_replace(open);
                }
            }
        }
    }

    /// Ends the connection of two nodes as a transport does.
    pub(super) async fn lose(&self, a: u16, b: u16, reason: &'static str) {
        for link in self.links.iter().filter(|link| link.ends.iter().all(|(key, ..)| [a, b].contains(key))) {
            for (key, session, _) in &link.ends {
                let session = *session;
                self.with(*key, move |node| node.closed(session, reason.to_owned(), 0)).await;
            }
        }
    }

    /// Has `from` send bytes that are no frame.
    pub(super) async fn garble(&self, from: u16, to: u16) {
        let link = self.links.iter().find(|link| link.ends.iter().all(|(key, ..)| [from, to].contains(key)));
        let (_, session, _) = link.unwrap().ends.iter().find(|(key, ..)| *key == to).unwrap();
        let session = *session;
        self.with(to, move |node| node.frames(session, vec![vec![3, 1, 2, 3]])).await;
    }

    /// Cuts links on behalf of an operator.
    pub(super) async fn cut(&self, at: u16, target: CutTarget) {
        self.with(at, |node| node.cut(target, None)).await;
    }

    /// Runs something at a node; durable when it returns.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        key: u16,
        run: impl FnOnce(&mut Node) -> T + Send + 'static,
    ) -> T {
        self.members[&key].owner.write_async(run).await.unwrap()
    }

    /// Writes a resource of the namespace acme at a node.
    pub(super) async fn put(&self, key: u16, kind: Kind, name: &str, resource: Value) -> String {
        let name = name.to_owned();
        let written =
            self.with(key, move |node| testing::put(&mut node.replica, kind, "acme", &name, resource)).await;
        written.event.map(|event| event.to_string()).unwrap_or_default()
    }

    /// A profile of every site, or of those that a spec selects, with these values.
    pub(super) async fn profile(&self, key: u16, name: &str, spec: Value) -> String {
        let mut whole =
            json!({"priority": 100, "selector": {"matchAll": true}, "values": {"pos": {"replicas": 2}}});
        for (field, value) in spec.as_object().unwrap() {
            whole[field] = value.clone();
        }
        self.put(key, Kind::Profile, name, json!({"spec": whole})).await
    }

    /// What the hub `hub-eu` says that the site should run.
    pub(super) async fn desired(&self, site: &str) -> String {
        let (api, document) = (self.api(EU), Document::new(Kind::Site, "acme", site).unwrap());
        let desired = api.desired("acme".into(), Some(site.to_owned())).await.unwrap();
        let facts = api.read(move |held| SiteFacts::collect(held, &document)).await.unwrap().unwrap();
        resolve(&desired.inputs(&facts.unwrap())).config_hash
    }

    /// The site says of itself what it runs, what it wants to run, and how that goes.
    pub(super) async fn report(&self, site: (u16, &str), active: &str, desired: &str, conditions: Value) {
        let status = json!({
            "active": {"configHash": active}, "desired": {"configHash": desired}, "conditions": conditions,
        });
        self.put(site.0, Kind::SiteStatus, site.1, json!({"status": status})).await;
    }

    pub(super) fn api(&self, key: u16) -> Api {
        let backend: Arc<dyn Backend> = Arc::clone(&self.members[&key].backend) as Arc<dyn Backend>;
        Api::new(backend)
    }

    /// Asks `hub-eu` until it says of a site what is expected; returns what it said last.
    pub(super) async fn trace_until(
        &self,
        change: &ChangeName,
        namespace: &str,
        site: &str,
        is_expected: impl Fn(&Value) -> bool,
    ) -> Value {
        let (api, mut last) = (self.api(EU), Value::Null);
        let asking = async {
            loop {
                match api.trace(change, Some(namespace), Some(site)).await {
                    Ok(trace) => last = trace["sites"][0].clone(),
                    Err(error) => last = json!({"error": error.to_string()}),
                }
                if is_expected(&last) {
                    return;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        // What is said then is compared with what is expected.
        let _ = tokio::time::timeout(PATIENCE, asking).await;
        last
    }
}

/// Carries what one end sends, while its gate is open, until either end has had enough.
async fn carry_frames(
    mut outgoing: mpsc::Receiver<Outgoing>,
    mut gate: watch::Receiver<bool>,
    own: (Handle<Node>, SessionId),
    other: (Handle<Node>, SessionId),
) {
    while let Some(sent) = outgoing.recv().await {
        if gate.wait_for(|open| *open).await.is_err() {
            return;
        }
        match sent {
            Outgoing::Frame(bytes) => {
                let session = other.1;
                let _ = other.0.write_async(move |node| node.frames(session, vec![bytes])).await;
            }
            Outgoing::Close { reason, .. } => {
                for (owner, session) in [&other, &own] {
                    let (session, reason) = (*session, reason.clone());
                    let _ = owner.write_async(move |node| node.closed(session, reason, 0)).await;
                }
                return;
            }
        }
    }
}

impl Backend for Speaker {
    fn read(&self, query: Query) -> Pending<'_, Result<(), Stopping>> {
        let answer = self.owner.read_async(move |node| query(&node.replica));
        Box::pin(async { answer.await.map_err(|_| Stopping) })
    }

    fn write(&self, command: Command) -> Pending<'_, Result<(), Stopping>> {
        let answer = self.owner.write_async(move |node| command(&mut node.replica));
        Box::pin(async { answer.await.map_err(|_| Stopping) })
    }

    fn local(&self) -> &Local {
        &self.local
    }

    fn now_ms(&self) -> u64 {
        NOON_MS
    }

    fn positions(&self) -> signal::Receiver<u64> {
        self.positions.clone()
    }

    fn freshness(&self) -> Freshness {
        Freshness::default()
    }

    fn operate(&self, _operation: Operation) -> Pending<'_, Result<Value, StatusError>> {
        Box::pin(std::future::ready(Err(StatusError::internal("nothing of this kind is asked here"))))
    }

    fn deliveries(
        &self,
        place: EventPlace,
        site: Option<(String, String)>,
    ) -> Pending<'_, Result<Deliveries, StatusError>> {
        let own = HubName { name: self.local.node.clone(), region: self.local.region.clone() };
        Box::pin(async move {
            convergence::deliveries(&self.owner, own, place, site).await.map_err(StatusError::internal)
        })
    }

    fn reach(&self, places: Vec<EventPlace>) -> Pending<'_, Result<Vec<Told<Vec<SiteReach>>>, StatusError>> {
        let own = HubName { name: self.local.node.clone(), region: self.local.region.clone() };
        Box::pin(
            async move { convergence::reach(&self.owner, own, places).await.map_err(StatusError::internal) },
        )
    }
}
