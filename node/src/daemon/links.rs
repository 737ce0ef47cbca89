//! Links: QUIC connections to other nodes, dialled and accepted, and the sessions on them.
//!
//! Who is dialled follows from the fleet's documents, read anew at each attempt: an edge keeps one
//! [uplink](super::uplink); hubs keep one to every hub. A link that ends is dialled again after a
//! growing, jittered pause. What is said on a link is the engine's business.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use driftless_core::ids::Author;
use driftless_core::name::Kind;
use driftless_sync::proto::{PeerInfo, PeerKind, SessionId};
use driftless_sync::quic::{self, Ended, OUTGOING_FRAMES_MAX, Side};
use quinn::crypto::rustls::HandshakeData;
use rustls_pki_types::CertificateDer;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{Runtime, joining, uplink};
use crate::api::Held;
use crate::identity::{
    ALPN_JOIN, ALPN_SYNC, PeerIdentity, PeerIdentityError, Principal, QUIC_SERVER_NAME, TlsError,
    quic_client_config,
};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// First and longest pause before a link is dialled again.
pub(super) const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(20));
/// A link that lasted this long ended for a reason of its own: the pause starts anew.
pub(super) const SETTLED: Duration = Duration::from_secs(10);
/// How often a hub looks for hubs that it has no link to.
const LOOK_AROUND: Duration = Duration::from_secs(1);
/// How long after its start a hub leaves it to others to dial it.
const FIRST_TURN_MS: u64 = 5_000;
/// Handshakes under way from which on unproven addresses have to answer first.
const HANDSHAKES_BUSY: usize = 64;
/// Most handshakes under way.
const HANDSHAKES_MAX: usize = 1_024;

/// Why a node was not reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The address is none, or unknown.
    #[error("{address:?} is not an address that can be reached: {source}")]
    Address {
        /// As given.
        address: String,
        /// What the resolver says.
        source: std::io::Error,
    },
    /// No socket.
    #[error("no UDP socket: {0}")]
    Socket(#[from] std::io::Error),
    /// No TLS configuration.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Not QUIC's TLS.
    #[error(transparent)]
    Cipher(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// Not a remote address.
    #[error(transparent)]
    Connect(#[from] quinn::ConnectError),
    /// The handshake failed.
    #[error("{0}")]
    Connection(#[from] quinn::ConnectionError),
    /// The handshake took too long.
    #[error("no answer within {} s", HANDSHAKE.as_secs())]
    Timeout,
}

/// TLS's alert `unknown_ca`: whoever answered has certificates of another authority.
const UNKNOWN_AUTHORITY: u8 = 48;

impl DialError {
    /// Whether somebody answered, who is of another fleet.
    pub(super) fn is_other_fleet(&self) -> bool {
        let Self::Connection(quinn::ConnectionError::TransportError(error)) = self else { return false };
        error.code == quinn::TransportErrorCode::crypto(UNKNOWN_AUTHORITY)
    }
}

/// An endpoint that only dials.
pub(super) fn client_endpoint() -> Result<quinn::Endpoint, DialError> {
    let any = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);
    let endpoint = quinn::Endpoint::client(any)
        .or_else(|_| quinn::Endpoint::client(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)));
    Ok(endpoint?)
}

/// Connects to `host:port`, trying each address that the name has.
pub(super) async fn dial(
    endpoint: &quinn::Endpoint,
    address: &str,
    tls: rustls::ClientConfig,
) -> Result<quinn::Connection, DialError> {
    let unknown = |source| DialError::Address { address: address.to_owned(), source };
    let config = quic::client_config(tls)?;
    let is_v6 = endpoint.local_addr()?.is_ipv6();
    let mut outcome = Err(unknown(std::io::ErrorKind::NotFound.into()));
    for found in tokio::net::lookup_host(address).await.map_err(unknown)? {
        let target = match (found, is_v6) {
            (SocketAddr::V4(v4), true) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
            (SocketAddr::V6(_), false) => continue,
            _ => found,
        };
        let connecting = endpoint.connect_with(config.clone(), target, QUIC_SERVER_NAME)?;
        outcome = match timeout(HANDSHAKE, connecting).await {
            Ok(connected) => connected.map_err(DialError::from),
            Err(_) => Err(DialError::Timeout),
        };
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// Accepts connections until the endpoint closes.
pub(super) async fn accept(runtime: Runtime) {
    let mut sessions = JoinSet::new();
    let handshakes = std::sync::Arc::new(tokio::sync::Semaphore::new(HANDSHAKES_MAX));
    while let Some(incoming) = runtime.endpoint().accept().await {
        while sessions.try_join_next().is_some() {}
        let busy = HANDSHAKES_MAX - handshakes.available_permits() >= HANDSHAKES_BUSY;
        if busy && !incoming.remote_address_validated() {
            // An address that has proven nothing costs one packet; it comes back with the proof.
            if let Err(unable) = incoming.retry() {
                unable.into_incoming().refuse();
            }
            continue;
        }
        let Ok(permit) = std::sync::Arc::clone(&handshakes).try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let runtime = runtime.clone();
        sessions.spawn(async move {
            let Ok(connecting) = incoming.accept() else { return };
            let Ok(Ok(connection)) = timeout(HANDSHAKE, connecting).await else { return };
            drop(permit);
            match alpn(&connection).as_deref() {
                Some(ALPN_JOIN) if runtime.identity().is_hub() => {
                    // Boxed, or the task of each session would be as large as a join.
                    Box::pin(joining::serve(&runtime, connection)).await;
                }
                Some(ALPN_SYNC) => {
                    let reason = session(&runtime, &connection, Side::Accepted, None).await;
                    tracing::debug!(peer = %connection.remote_address(), reason, "accepted link ended");
                }
                _ => connection.close(1u32.into(), b"only hubs enrol nodes"),
            }
        });
    }
}

fn alpn(connection: &quinn::Connection) -> Option<Vec<u8>> {
    connection.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
}

/// Why a connection carries no session.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("no certificate was presented")]
    Anonymous,
    #[error(transparent)]
    Identity(#[from] PeerIdentityError),
    #[error("{0} is no node")]
    NotANode(Principal),
    #[error("this is the node itself")]
    Oneself,
    #[error("its key was revoked")]
    Revoked,
    #[error("the node is stopping")]
    Stopping,
}

/// Runs one session on a connection; returns why it ended. Tells `opened` which session, and with whom.
pub(super) async fn session(
    runtime: &Runtime,
    connection: &quinn::Connection,
    side: Side,
    opened: Option<oneshot::Sender<(SessionId, Author)>>,
) -> String {
    let peer = match peer(runtime, connection, side).await {
        Ok(peer) => peer,
        Err(refused) => {
            tracing::warn!(remote = %connection.remote_address(), %refused, "a peer was refused");
            connection.close(2u32.into(), refused.to_string().as_bytes());
            return refused.to_string();
        }
    };
    let (link, outgoing) = mpsc::channel(OUTGOING_FRAMES_MAX);
    let (name, key) = (peer.kind.to_string(), peer.key);
    let Ok(id) = runtime.owner.write_async(move |node| node.connected(peer, link)).await else {
        return Refused::Stopping.to_string();
    };
    tracing::info!(session = id.0, peer = name, ?side, "session opened");
    // Whoever asked may have given up meanwhile.
    let _ = opened.map(|opened| opened.send((id, key)));
    let owner = runtime.owner.clone();
    let deliver = |frames| {
        let taken = owner.write_async(move |node| node.frames(id, frames));
        async { taken.await.unwrap_or(false) }
    };
    let Ended { reason, silent } = quic::run(connection, side, outgoing, deliver).await;
    tracing::info!(session = id.0, peer = name, reason, "session ended");
    let closed = reason.clone();
    let silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
    // A node that stops has closed its sessions itself.
    let _ = runtime.owner.write_async(move |node| node.closed(id, closed, silent_ms)).await;
    reason
}

async fn peer(runtime: &Runtime, connection: &quinn::Connection, side: Side) -> Result<PeerInfo, Refused> {
    let chain =
        connection.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    let chain = chain.ok_or(Refused::Anonymous)?;
    let identity = runtime.identity();
    let peer = PeerIdentity::from_connection_certs(&identity.fleet, &chain)?;
    let key = peer.key;
    if key == identity.author() && matches!(&peer.principal, Principal::Hub { .. }) {
        return Err(Refused::Oneself);
    }
    let facts = runtime
        .owner
        .read_async(move |node| (node.replica.authority().is_revoked(&key), hubs(&node.replica)));
    let (revoked, hubs) = facts.await.map_err(|_| Refused::Stopping)?;
    if revoked {
        return Err(Refused::Revoked);
    }
    let kind = match peer.principal {
        Principal::Hub { name } => {
            let region = hubs.iter().find(|hub| hub.name == name).map(|hub| hub.region.clone());
            PeerKind::Hub { region: region.unwrap_or_default(), name }
        }
        Principal::Node { namespace, site, node } => PeerKind::Site { namespace, site, node },
        other => return Err(Refused::NotANode(other)),
    };
    Ok(PeerInfo { key, kind, dialled: side == Side::Dialled })
}

/// A hub as the fleet's documents know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KnownHub {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) key: Option<Author>,
    pub(crate) addresses: Vec<String>,
    pub(crate) api: String,
}

/// The hubs of the fleet by name. A store that fails shows none, and stops the node soon after.
pub(crate) fn hubs(replica: &Held) -> Vec<KnownHub> {
    let any = driftless_core::replica::LabelSelector::new();
    let text = |value: &Value, pointer: &str| {
        value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let statuses = replica.list(Kind::HubStatus, None, &any).unwrap_or_default();
    let hubs = replica.list(Kind::Hub, None, &any).unwrap_or_default();
    let known = hubs.iter().map(|hub| {
        let name = hub.document.name().to_owned();
        let status =
            statuses.iter().find(|status| status.document.name() == name).map(|status| &*status.resource);
        let addresses = status.and_then(|status| status.pointer("/spec/addresses")?.as_array());
        KnownHub {
            region: text(&hub.resource, "/spec/region"),
            key: text(&hub.resource, "/spec/key").parse().ok(),
            addresses: addresses.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
            api: status.map(|status| text(status, "/spec/api")).unwrap_or_default(),
            name,
        }
    });
    known.collect()
}

/// Dials one address and stays until the session ends; returns why, and who was there.
async fn dial_session(runtime: &Runtime, address: &str) -> Result<(String, Option<Author>), DialError> {
    let tls = quic_client_config(&runtime.identity(), ALPN_SYNC)?;
    let connection = dial(runtime.endpoint(), address, tls).await?;
    let (opened, mut met) = oneshot::channel();
    let reason = session(runtime, &connection, Side::Dialled, Some(opened)).await;
    Ok((reason, met.try_recv().ok().map(|(_, key)| key)))
}

/// A pause that grows with each failure and differs from node to node.
pub(super) struct Backoff {
    pause: Duration,
    first: Duration,
    longest: Duration,
}

impl Backoff {
    pub(super) fn new((first, longest): (Duration, Duration)) -> Self {
        Self { pause: first, first, longest }
    }

    pub(super) async fn wait(&mut self) {
        sleep(self.pause.mul_f64(0.5 + random_fraction() / 2.0)).await;
        self.pause = (self.pause * 2).min(self.longest);
    }

    pub(super) fn reset(&mut self) {
        self.pause = self.first;
    }
}

/// A random number from 0 to 1; 0 without randomness, which then only does not jitter.
pub(super) fn random_fraction() -> f64 {
    let mut random = [0; 2];
    let _ = getrandom::fill(&mut random);
    f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX)
}

/// Whom a link is for; its addresses are asked for anew before each round.
enum Target {
    /// This address, whoever is there.
    Given(String),
    /// These addresses until the fleet's documents name other hubs.
    Seeds(Vec<String>),
    /// The hub of this name.
    Hub(String),
}

impl Target {
    async fn addresses(&self, runtime: &Runtime) -> Vec<String> {
        match self {
            Self::Given(address) => vec![address.clone()],
            Self::Seeds(addresses) if runtime.other_hubs().await.is_empty() => addresses.clone(),
            Self::Seeds(_) => vec![],
            Self::Hub(name) => runtime.addresses_of(name).await,
        }
    }
}

/// Keeps one link to a target.
async fn keep_link(runtime: Runtime, target: Target) {
    let mut backoff = Backoff::new(PAUSE);
    let mut failures: BTreeSet<String> = BTreeSet::new();
    // Who answered at an address that was given: it may dial as well, and one session is enough.
    let mut met = None;
    loop {
        for address in target.addresses(&runtime).await {
            if runtime.is_connected(met).await {
                break;
            }
            let since = Instant::now();
            match dial_session(&runtime, &address).await {
                Ok((reason, peer)) => {
                    met = peer;
                    tracing::debug!(address, reason, "dialled link ended");
                }
                Err(error) if failures.insert(error.to_string()) => {
                    tracing::warn!(address, %error, "cannot be reached; trying on");
                }
                Err(error) => tracing::debug!(address, %error, "cannot be reached; trying on"),
            }
            if since.elapsed() >= SETTLED {
                backoff.reset();
                failures.clear();
                break;
            }
        }
        backoff.wait().await;
    }
}

/// Keeps an edge's uplink, and its links to the other nodes of its site.
pub(super) async fn keep_edge_links(runtime: Runtime, hubs: Vec<String>, peers: Vec<String>) {
    let mut links = JoinSet::new();
    links.spawn(uplink::keep(runtime.clone(), hubs));
    for peer in peers {
        links.spawn(keep_link(runtime.clone(), Target::Given(peer)));
    }
    while links.join_next().await.is_some() {}
}

/// Keeps a hub's links to all other hubs.
pub(super) async fn keep_hub_links(runtime: Runtime) {
    let mut dialling: BTreeSet<String> = BTreeSet::new();
    let mut links = JoinSet::new();
    let seeds = runtime.identity().hub_addresses.clone();
    if !seeds.is_empty() {
        links.spawn(keep_link(runtime.clone(), Target::Seeds(seeds)));
    }
    loop {
        for hub in runtime.other_hubs().await {
            if dialling.insert(hub.name.clone()) {
                links.spawn(keep_link(runtime.clone(), Target::Hub(hub.name)));
            }
        }
        sleep(LOOK_AROUND).await;
    }
}

impl Runtime {
    /// The hubs but this one.
    async fn other_hubs(&self) -> Vec<KnownHub> {
        let own = self.identity().display_name();
        let hubs = self.owner.read_async(|node| hubs(&node.replica)).await.unwrap_or_default();
        hubs.into_iter().filter(|hub| hub.name != own).collect()
    }

    async fn is_connected(&self, peer: Option<Author>) -> bool {
        let Some(key) = peer else { return false };
        self.owner.read_async(move |node| node.engine.is_connected(key)).await.unwrap_or_default()
    }

    /// Where to dial a hub. Nowhere while there is a session with it; and of two hubs that have just
    /// started, the one whose name comes first dials, and the other waits and sees.
    async fn addresses_of(&self, name: &str) -> Vec<String> {
        let (own, name) = (self.identity().display_name(), name.to_owned());
        let found = self.owner.read_async(move |node| {
            let linked = node.engine.peers().iter().any(|peer| {
                peer.session.is_some()
                    && matches!(&peer.peer.kind, PeerKind::Hub { name: other, .. } if *other == name)
            });
            if linked || (own > name && node.now_ms() < FIRST_TURN_MS) {
                return vec![];
            }
            let hub = hubs(&node.replica).into_iter().find(|hub| hub.name == name);
            hub.map(|hub| hub.addresses).unwrap_or_default()
        });
        found.await.unwrap_or_default()
    }

    /// Where hubs listen, this one first, for a node that joins.
    pub(super) async fn hub_addresses(&self) -> Vec<String> {
        let others = self.other_hubs().await.into_iter().flat_map(|hub| hub.addresses);
        self.own_addresses().into_iter().chain(others).take(16).collect()
    }
}
