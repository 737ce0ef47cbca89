//! Edges in this process: real keys, certificates, QUIC endpoints and engines, and a replica in memory.
//!
//! An edge is what `driftless edge` is, without its API, its applier, its thread and its disk: a thousand
//! of those in one process would measure the machine's disk and scheduler, not the hub. Each has a UDP
//! socket of its own, as the hub sees from a thousand machines, and joins the fleet with a token.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use driftless::daemon::join;
use driftless::daemon::node::Node;
use driftless::daemon::options::SCRUB_WITHIN;
use driftless::identity::{
    ALPN_SYNC, JoiningNode, NodeIdentity, PeerIdentity, Principal, QUIC_SERVER_NAME, Role, Token,
    quic_client_config,
};
use driftless_core::ids::Boot;
use driftless_core::name::Scope;
use driftless_core::owner::Commit as _;
use driftless_core::replica::{Config, Replica};
use driftless_core::store::{MemoryStore, Store};
use driftless_sync::proto::{EngineConfig, Interest, PeerInfo, PeerKind, PeerState};
use driftless_sync::quic::{self, OUTGOING_FRAMES_MAX, Side};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::arrivals::Arrivals;
use crate::fleet::site;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Between attempts to connect; a node waits as long at first.
pub(super) const PAUSE: Duration = Duration::from_millis(250);
/// Attempts after which an edge gives up.
const ATTEMPTS_MAX: u32 = 40;

/// Who an edge is, and where it sends from.
#[derive(Clone)]
pub(super) struct Member {
    identity: Arc<NodeIdentity>,
    endpoint: quinn::Endpoint,
    config: quinn::ClientConfig,
}

/// An edge and what it holds.
pub(super) struct Edge {
    pub(super) member: Member,
    node: Node,
    /// The last target that it told of.
    noted: u64,
}

/// How an edge treats what arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// It takes everything at once.
    Prompt,
    /// It takes one delivery in this time.
    Slow(Duration),
    /// It takes what it is greeted with, and then nothing more.
    Stuck,
}

impl Member {
    /// Joins the hub's fleet; keys and certificates are kept in `dir`.
    pub(super) async fn join(
        number: usize,
        token: &str,
        hub: SocketAddr,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let (dir, token) = (dir.join(site(number)), Token::parse(token)?);
        let node = JoiningNode::begin(&dir)?;
        let identity = join(node, &token, &[hub.to_string()], "n1", Some(&site(number)), &[]).await?;
        let endpoint = quinn::Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let config = quic::client_config(quic_client_config(&identity, ALPN_SYNC)?)?;
        Ok(Self { identity: Arc::new(identity), endpoint, config })
    }

    /// A connection to the hub, tried as a node tries.
    pub(super) async fn connect(&self, hub: SocketAddr) -> anyhow::Result<quinn::Connection> {
        let mut last = None;
        for _ in 0..ATTEMPTS_MAX {
            let connecting = self.endpoint.connect_with(self.config.clone(), hub, QUIC_SERVER_NAME)?;
            match timeout(HANDSHAKE, connecting).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => last = Some(error.to_string()),
                Err(_) => last = Some("no answer".to_owned()),
            }
            sleep(PAUSE).await;
        }
        anyhow::bail!("{} was never let in: {last:?}", self.identity.display_name())
    }

    /// Who this is, and the scopes that it wants, as `driftless edge` wants them.
    fn engine(&self) -> anyhow::Result<EngineConfig> {
        let Role::Edge { namespace, site, node, .. } = self.identity.role.clone() else {
            anyhow::bail!("an edge's identity is an edge's")
        };
        let scopes = BTreeSet::from([
            Scope::Fleet,
            Scope::Profiles { namespace: namespace.clone() },
            Scope::Site { namespace: namespace.clone(), site: site.clone() },
        ]);
        let local = PeerInfo {
            key: self.identity.author(),
            kind: PeerKind::Site { namespace, site, node },
            dialled: false,
        };
        Ok(EngineConfig::new(local, Interest::Scopes(scopes)))
    }

    /// Who is at the other end.
    fn hub(&self, connection: &quinn::Connection) -> anyhow::Result<PeerInfo> {
        let chain = connection.peer_identity().context("a hub presents certificates")?;
        let chain = chain.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>();
        let chain = chain.map_err(|_| anyhow::anyhow!("certificates of rustls"))?;
        let peer = PeerIdentity::from_connection_certs(&self.identity.fleet, &chain)?;
        let Principal::Hub { name } = peer.principal else { anyhow::bail!("a hub was dialled") };
        Ok(PeerInfo { key: peer.key, kind: PeerKind::Hub { name, region: String::new() }, dialled: true })
    }
}

impl Edge {
    /// A member that holds nothing yet.
    pub(super) fn new(member: Member) -> anyhow::Result<Self> {
        let identity = &member.identity;
        // Any boot will do: it writes nothing.
        let (boot, key) = (Boot::default(), identity.key.signing_key().clone());
        let config = Config { fleet: identity.fleet, key, boot };
        let mut replica = Replica::open(Box::new(MemoryStore::new()) as Box<dyn Store>, config)?;
        replica.set_partial(true);
        let node = Node::new(replica, member.engine()?, SCRUB_WITHIN);
        Ok(Self { member, node, noted: 0 })
    }

    /// Keeps a session with the hub until the connection ends, and says when it is in sync, unless it
    /// was before, and when it holds what is looked out for.
    pub(super) async fn session(
        &mut self,
        connection: &quinn::Connection,
        manner: Manner,
        dialled: Instant,
        in_sync: &mut bool,
        arrivals: &Arrivals,
    ) -> anyhow::Result<()> {
        let peer = self.member.hub(connection)?;
        let (link, outgoing) = mpsc::channel(OUTGOING_FRAMES_MAX);
        let (node, noted) = (&mut self.node, &mut self.noted);
        let session = node.connected(peer, link);
        node.commit()?;
        let deliver = |frames: Vec<Vec<u8>>| {
            let going = node.frames(session, frames) && node.commit().is_ok();
            if !*in_sync && is_in_sync(node) && arrivals.suffices(held(node)) {
                *in_sync = true;
                arrivals.in_sync(dialled);
            }
            arrivals.note(noted, held(node));
            let pause = match manner {
                Manner::Prompt => None,
                Manner::Slow(pause) => Some(pause),
                Manner::Stuck => (*in_sync).then_some(Duration::MAX),
            };
            async move {
                if let Some(pause) = pause {
                    sleep(pause).await;
                }
                going
            }
        };
        let ended = quic::run(connection, Side::Dialled, outgoing, deliver).await;
        let silent_ms = u64::try_from(ended.silent.as_millis())?;
        self.node.closed(session, ended.reason, silent_ms);
        self.node.commit()?;
        Ok(())
    }
}

/// Whether the two have compared all scopes and this side owes nothing.
fn is_in_sync(node: &Node) -> bool {
    node.engine.peers().iter().any(|peer| peer.state == PeerState::InSync)
}

/// How many events of profiles an edge holds.
fn held(node: &Node) -> u64 {
    node.replica.vector(&Scope::Profiles { namespace: "default".to_owned() }).events()
}
