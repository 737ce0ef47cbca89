//! Bringing a node up, and taking it down.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use driftless_core::ids::{Author, Boot};
use driftless_core::name::Scope;
use driftless_core::owner::{Handle, Owner};
use driftless_core::replica::{Config, OpenError, Replica, WriteError};
use driftless_core::store::{SledOptions, SledStore, Store, StoreError};
use driftless_sync::proto::{EngineConfig, Interest, PeerInfo, PeerKind};
use driftless_sync::quic;
use ed25519_dalek::SigningKey;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::clock::now_seconds;
use super::expiry;
use super::joining::{self, JoinFailure};
use super::links;
use super::node::Node;
use super::options::{EdgeOptions, HubOptions};
use super::presence;
use super::renewal;
use super::runtime::{Active, Runtime, Shared};
use super::upkeep;
use crate::api::server::Server;
use crate::api::{Api, Caller, Local};
use crate::edge;
use crate::identity::{
    IdentityError, JoiningNode, KubeconfigError, NodeIdentity, ParseTokenError, PeerIdentity, Role,
    SecretKey, SitePattern, TlsError, Token, TokenPurpose, https_server_config, hub_resource,
    hub_status_resource, quic_server_config, write_admin_kubeconfig,
};

/// How long a node that stops waits for its peers to hear of it.
const FAREWELL: std::time::Duration = std::time::Duration::from_millis(500);

/// Why a node did not start. What is on disk is as it was, but for what a first start had made by then;
/// starting again goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The replica.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The token is none.
    #[error(transparent)]
    Token(#[from] ParseTokenError),
    /// The fleet did not take the node.
    #[error("joining failed: {0}")]
    Join(#[from] JoinFailure),
    /// An edge without identity and without token.
    #[error("{} holds no identity yet: give a token with --join @FILE (made by `driftless token create --role edge` at a hub)", .0.display())]
    NotJoined(PathBuf),
    /// A hub's directory given to an edge, or the other way round.
    #[error("{} belongs to a {found}; start it with `driftless {found}`", dir.display())]
    OtherRole {
        /// The directory.
        dir: PathBuf,
        /// What it belongs to.
        found: &'static str,
    },
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// QUIC's TLS.
    #[error(transparent)]
    Cipher(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {what}: {source}; choose another address with {flag}")]
    Listen {
        /// What for.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// The flag that changes it.
        flag: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// The kubeconfig cannot be written.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// A file or directory of the data directory.
    #[error("{} cannot be used: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The node's own documents.
    #[error("the node cannot describe itself: {0}")]
    Write(#[from] WriteError),
    /// No randomness.
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// The node stopped by itself.
    #[error("the node stopped: {0}")]
    Stopped(String),
}

/// A node that runs until it is stopped or dropped.
pub struct Daemon {
    runtime: Runtime,
    quic: SocketAddr,
    stop: watch::Sender<bool>,
    api: tokio::task::JoinHandle<()>,
    tasks: JoinSet<()>,
    owner: Owner,
}

impl Daemon {
    /// The node, as its tasks see it.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The address of its QUIC socket.
    pub fn quic_address(&self) -> SocketAddr {
        self.quic
    }

    /// The API's URL.
    pub fn api_url(&self) -> String {
        api_url(self.runtime.api_address())
    }

    /// What the node's API answers, for programs that embed the node: [`Api::trace`], [`Api::progress`].
    pub fn api(&self) -> Api {
        Api::new(Arc::new(self.runtime.clone()))
    }

    /// Waits until the node ends by itself, which only a failing store makes it do.
    pub async fn ended(&self) {
        let mut positions = self.runtime.positions();
        while positions.changed().await.is_ok() {}
    }

    /// Answers what is under way, says farewell to peers, and closes the store in good order.
    pub async fn stop(mut self) -> Result<(), DaemonError> {
        self.stop.send_replace(true);
        // A panicking API task has been reported by its own task; the store is closed all the same.
        let _ = self.api.await;
        // A node whose owner has ended has no sessions.
        let _ = self.runtime.owner.write_async(Node::stop).await;
        // Peers learn why before their connection ends; whoever does not answer only loses it.
        let _ = tokio::time::timeout(FAREWELL, self.runtime.endpoint().wait_idle()).await;
        self.runtime.endpoint().close(0u32.into(), b"the node stops");
        let idle = self.runtime.endpoint().wait_idle();
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), idle).await;
        self.tasks.shutdown().await;
        let owner = self.owner;
        drop(self.runtime);
        let closed = tokio::task::spawn_blocking(move || owner.join()).await;
        closed.map_err(|panic| DaemonError::Stopped(panic.to_string()))??;
        Ok(())
    }
}

/// Starts a hub; the first start creates a fleet, or joins one with a token.
pub async fn start_hub(options: HubOptions) -> Result<Daemon, DaemonError> {
    let store = open_store(&options.data_dir)?;
    let socket = bind(options.listen)?;
    let advertised = match options.advertise.is_empty() {
        true => vec![advertised(local_address(&socket, options.listen)?).to_string()],
        false => options.advertise.clone(),
    };
    let identity = hub_identity(&options, &advertised).await?;
    let Role::Hub { name, region } = identity.role.clone() else {
        return Err(DaemonError::OtherRole { dir: options.data_dir, found: "edge" });
    };
    let kind = PeerKind::Hub { name: name.clone(), region };
    let start = Start {
        identity,
        kind,
        interest: Interest::All,
        rate_limit: options.rate_limit,
        advertised,
        site: None,
        active: None,
        scrub_within: options.scrub_within,
    };
    let daemon = start.run(store, socket, options.api, &options.data_dir).await?;
    let mut daemon = daemon;
    let runtime = daemon.runtime.clone();
    daemon.tasks.spawn(links::keep_hub_links(runtime.clone()));
    daemon.tasks.spawn(describe_hub(runtime, name));
    Ok(daemon)
}

/// Starts an edge; the first start needs a token.
pub async fn start_edge(options: EdgeOptions) -> Result<Daemon, DaemonError> {
    let store = open_store(&options.data_dir)?;
    let socket = bind(options.listen)?;
    let identity = edge_identity(&options).await?;
    let Role::Edge { namespace, site, node, .. } = identity.role.clone() else {
        return Err(DaemonError::OtherRole { dir: options.data_dir, found: "hub" });
    };
    let scopes = [
        Scope::Fleet,
        Scope::Profiles { namespace: namespace.clone() },
        Scope::Site { namespace: namespace.clone(), site: site.clone() },
    ];
    let place = edge::Place { namespace: namespace.clone(), site: site.clone(), node: node.clone() };
    let kind = PeerKind::Site { namespace: namespace.clone(), site: site.clone(), node };
    let (applier, inventory, active) = edge::tasks(place, edge::EdgeConfig::from(&options));
    let start = Start {
        identity,
        kind,
        interest: Interest::Scopes(scopes.into()),
        rate_limit: options.rate_limit,
        advertised: vec![],
        site: Some((namespace, site)),
        active: Some(active),
        scrub_within: options.scrub_within,
    };
    let mut daemon = start.run(store, socket, options.api, &options.data_dir).await?;
    let runtime = daemon.runtime.clone();
    // Whoever sees that the node is ready sees what it runs, with or without anybody to reach.
    applier.restore(&runtime).await.map_err(|stopping| DaemonError::Stopped(stopping.to_string()))?;
    daemon.tasks.spawn(links::keep_edge_links(runtime.clone(), options.hubs, options.peers));
    daemon.tasks.spawn(edge::run(runtime, applier, inventory));
    Ok(daemon)
}

fn open_store(data_dir: &Path) -> Result<SledStore, DaemonError> {
    let dir = data_dir.join("store");
    std::fs::create_dir_all(&dir).map_err(|source| DaemonError::File { path: dir.clone(), source })?;
    Ok(SledStore::open(&dir, SledOptions::default())?)
}

async fn hub_identity(options: &HubOptions, advertised: &[String]) -> Result<NodeIdentity, DaemonError> {
    let dir = &options.data_dir;
    if NodeIdentity::exists(dir) {
        return Ok(NodeIdentity::load(dir)?);
    }
    let name = options.name.clone().unwrap_or_else(host_name);
    let hosts: Vec<String> = advertised.iter().filter_map(|address| host_of(address)).collect();
    let Some(text) = &options.join else {
        let identity = NodeIdentity::create_fleet(dir, &name, &options.region, &hosts, now_seconds())?;
        tracing::info!(fleet = %identity.fleet, hub = name, "a fleet was created");
        return Ok(identity);
    };
    let token = Token::parse(text)?;
    Ok(joining::join(JoiningNode::begin(dir)?, &token, &[], &name, None, &hosts).await?)
}

async fn edge_identity(options: &EdgeOptions) -> Result<NodeIdentity, DaemonError> {
    let dir = &options.data_dir;
    if NodeIdentity::exists(dir) {
        return Ok(NodeIdentity::load(dir)?);
    }
    let Some(text) = &options.join else { return Err(DaemonError::NotJoined(dir.clone())) };
    let token = Token::parse(text)?;
    let named = match &token.spec().purpose {
        TokenPurpose::Edge { site: SitePattern::Named(site), .. } => Some(site.clone()),
        _ => None,
    };
    let site = options.site.clone().or(named);
    let node = options.node.clone().unwrap_or_else(host_name);
    Ok(joining::join(JoiningNode::begin(dir)?, &token, &options.hubs, &node, site.as_deref(), &[]).await?)
}

/// Everything that differs between the roles.
struct Start {
    identity: NodeIdentity,
    kind: PeerKind,
    interest: Interest,
    rate_limit: Option<NonZeroU64>,
    advertised: Vec<String>,
    site: Option<(String, String)>,
    active: Option<Active>,
    scrub_within: std::time::Duration,
}

impl Start {
    async fn run(
        self,
        store: SledStore,
        socket: UdpSocket,
        api: SocketAddr,
        data_dir: &Path,
    ) -> Result<Daemon, DaemonError> {
        let (local, key) =
            (PeerInfo { key: self.identity.author(), kind: self.kind, dialled: false }, &self.identity);
        let config = Config { fleet: key.fleet, key: signing_key(&key.key), boot: random_boot()? };
        let authority = match &key.authority {
            Some(authority) => Some((signing_key(authority), random_boot()?)),
            None => None,
        };
        let mut engine = EngineConfig::new(local, self.interest);
        engine.limits.rate_bytes_per_second = self.rate_limit.map(NonZeroU64::get);
        let scrub_within = self.scrub_within;
        let (handle, owner) = Handle::spawn("driftless-owner", move || -> Result<Node, OpenError> {
            let mut replica = Replica::open(Box::new(store) as Box<dyn Store>, config)?;
            replica.set_partial(matches!(engine.interest, Interest::Scopes(_)));
            if let Some((key, boot)) = authority {
                replica.add_author(key, boot);
            }
            Ok(Node::new(replica, engine, scrub_within))
        })?;
        if let (Some(_), Role::Hub { name, region }) = (&self.identity.authority, &self.identity.role) {
            let resource = hub_resource(name, region, &self.identity.author());
            let by = self.identity.principal().to_string();
            let enrolled = handle.write_async(move |node| {
                let author = Author(node.replica.fleet().0);
                joining::put(&mut node.replica, &resource, &by, Some(author))
            });
            enrolled.await.map_err(|stopped| DaemonError::Stopped(stopped.to_string()))??;
        }
        let quic = local_address(&socket, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
        let endpoint = endpoint(&self.identity, socket, quic)?;
        let listener = TcpListener::bind(api).await.map_err(|source| DaemonError::Listen {
            what: "the API",
            address: api,
            flag: "--api",
            source,
        })?;
        let api = listener.local_addr().unwrap_or(api);
        write_admin_kubeconfig(data_dir, &self.identity, &api_url(api))?;
        let (positions, deadline, tag) = handle
            .read_async(|node| (node.positions(), node.deadline(), node.replica.tag()))
            .await
            .map_err(|stopped| DaemonError::Stopped(stopped.to_string()))?;
        let local = local_of(&self.identity, self.site, tag);
        let tls = https_server_config(&self.identity)?;
        let fleet = self.identity.fleet;
        let shared = Shared {
            identity: RwLock::new(Arc::new(self.identity)),
            endpoint,
            local,
            advertised: self.advertised,
            api,
            positions,
            active: self.active,
            presences: RwLock::default(),
            metrics: RwLock::default(),
        };
        let runtime = Runtime::new(handle, shared);
        let (stop, stopping) = watch::channel(false);
        let server = Server {
            tls: Arc::new(tls),
            identify: Arc::new(move |chain| {
                PeerIdentity::from_connection_certs(&fleet, chain).ok().map(Caller::from)
            }),
            router: Api::new(Arc::new(runtime.clone())).router(),
        };
        let api = tokio::spawn(server.run(listener, stopping));
        let mut tasks = JoinSet::new();
        tasks.spawn(links::accept(runtime.clone()));
        tasks.spawn(tick(runtime.clone(), deadline));
        tasks.spawn(presence::watch(runtime.clone()));
        tasks.spawn(upkeep::keep(runtime.clone()));
        if matches!(runtime.identity().role, Role::Hub { .. }) {
            tasks.spawn(expiry::watch(runtime.clone()));
        }
        tasks.spawn(renewal::keep_certificates(runtime.clone(), data_dir.to_owned()));
        Ok(Daemon { runtime, quic, stop, api, tasks, owner })
    }
}

/// Gives the engine its ticks.
async fn tick(runtime: Runtime, mut deadline: watch::Receiver<Option<std::time::Instant>>) {
    loop {
        let next = *deadline.borrow_and_update();
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = deadline.changed() => if changed.is_err() { return },
            () = due => if runtime.owner.write_async(Node::tick).await.is_err() { return },
        }
    }
}

/// Writes where this hub is reached, as soon as the fleet has told it that it may.
async fn describe_hub(runtime: Runtime, name: String) {
    let mut positions = runtime.positions();
    let resource = hub_status_resource(
        &name,
        &runtime.own_addresses(),
        &api_url(runtime.api_address()),
        env!("CARGO_PKG_VERSION"),
    );
    let by = runtime.identity().principal().to_string();
    loop {
        let (resource, by) = (resource.clone(), by.clone());
        let written = runtime
            .owner
            .write_async(move |node| joining::put(&mut node.replica, &resource, &by, None))
            .await;
        match written {
            Ok(Ok(())) | Err(_) => return,
            Ok(Err(WriteError::Forbidden(_))) => {}
            Ok(Err(error)) => {
                return tracing::error!(%error, "this hub's addresses are not known to the fleet");
            }
        }
        if positions.changed().await.is_err() {
            return;
        }
    }
}

fn local_of(identity: &NodeIdentity, site: Option<(String, String)>, log_tag: u64) -> Local {
    let region = match &identity.role {
        Role::Hub { region, .. } | Role::Edge { region, .. } => region.clone(),
    };
    let namespace = site.as_ref().map_or_else(|| "default".to_owned(), |(namespace, _)| namespace.clone());
    Local { node: identity.display_name(), site, region, namespace, fleet: identity.fleet, log_tag }
}

fn bind(address: SocketAddr) -> Result<UdpSocket, DaemonError> {
    UdpSocket::bind(address).map_err(|source| DaemonError::Listen {
        what: "QUIC",
        address,
        flag: "--listen",
        source,
    })
}

fn local_address(socket: &UdpSocket, asked: SocketAddr) -> Result<SocketAddr, DaemonError> {
    socket.local_addr().map_err(|source| DaemonError::Listen {
        what: "QUIC",
        address: asked,
        flag: "--listen",
        source,
    })
}

fn endpoint(
    identity: &NodeIdentity,
    socket: UdpSocket,
    address: SocketAddr,
) -> Result<quinn::Endpoint, DaemonError> {
    let config = quic::server_config(quic_server_config(identity)?)?;
    let runtime = Arc::new(quinn::TokioRuntime);
    quinn::Endpoint::new(quinn::EndpointConfig::default(), Some(config), socket, runtime)
        .map_err(|source| DaemonError::Listen { what: "QUIC", address, flag: "--listen", source })
}

/// The address to tell others: the one listened on, or if that is any, the one that routes outwards.
fn advertised(listening: SocketAddr) -> SocketAddr {
    if !listening.ip().is_unspecified() {
        return listening;
    }
    // Connecting a UDP socket sends nothing; it asks the system which address it would send from.
    let outward = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    let ip = outward.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip());
    SocketAddr::new(ip, listening.port())
}

fn api_url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
    };
    format!("https://{}", SocketAddr::new(ip, address.port()))
}

fn host_of(address: &str) -> Option<String> {
    let (host, _) = address.rsplit_once(':')?;
    Some(host.trim_matches(['[', ']']).to_owned())
}

/// The host's name as a DNS label.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("HOSTNAME").map_err(std::io::Error::other));
    let name = name.unwrap_or_default().trim().to_lowercase();
    let first = name.split('.').next().unwrap_or_default();
    let label: String = first.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let label = label.trim_matches('-').chars().take(63).collect::<String>();
    if driftless_core::name::is_label(&label) { label } else { "node".to_owned() }
}

fn signing_key(key: &SecretKey) -> SigningKey {
    key.signing_key().clone()
}

fn random_boot() -> Result<Boot, getrandom::Error> {
    let mut boot = Boot::default();
    getrandom::fill(&mut boot.0)?;
    Ok(boot)
}
