//! The nodes of a demo together: started in the order in which they join, listed, stopped.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::child::{Child, Ready};
use super::plan::{Listed, Plan, Planned, Role};
use crate::cli::args::Global;
use crate::cli::failure::Failure;
use crate::cli::query::Query;
use crate::cli::session::Session;
use crate::identity::{ADMIN_KUBECONFIG, NodeIdentity};

/// How many nodes start at a time.
const STARTS_MAX: usize = 4;
/// Any port on loopback.
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A running demo.
pub(super) struct Fleet {
    dir: PathBuf,
    nodes: Vec<Node>,
}

/// A running node.
pub(super) struct Node {
    pub(super) planned: Planned,
    pub(super) ready: Ready,
    child: Child,
    mourned: bool,
}

impl Node {
    /// A session with the node, as its local operator.
    pub(super) fn session(&self) -> Result<Session, Failure> {
        session(&self.planned.data_dir)
    }
}

fn session(data_dir: &Path) -> Result<Session, Failure> {
    let kubeconfig = Some(data_dir.join(ADMIN_KUBECONFIG));
    Session::open(&Global { kubeconfig, ..Global::default() })
}

impl Fleet {
    pub(super) fn new(dir: &Path) -> Result<Self, Failure> {
        Ok(Self { dir: dir.to_owned(), nodes: Vec::new() })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The hub that created the fleet.
    pub(super) fn first_hub(&self) -> Result<&Node, Failure> {
        self.nodes.first().ok_or_else(|| Failure::Demo("the fleet has no hub".to_owned()))
    }

    /// The edge of a site.
    pub(super) fn edge_of(&self, site: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.planned.site.as_deref() == Some(site))
    }

    /// Starts every node: the first hub, then the others, then the edges, some at a time.
    pub(super) async fn start(&mut self, plan: &Plan) -> Result<(), Failure> {
        for hub in plan.hubs() {
            let node =
                start(&self.dir, hub, self.nodes.first().map(|node| node.planned.clone()), &[]).await?;
            self.nodes.push(node);
        }
        // An edge dials the hub of its region first; with all named, it has somewhere to go when that is down.
        let hubs: Vec<(String, String, Planned)> = self
            .nodes
            .iter()
            .map(|node| (node.planned.region.clone(), node.ready.quic.clone(), node.planned.clone()))
            .collect();
        let dir = &self.dir;
        let starts = plan.edges().map(|edge| {
            let mut ordered = hubs.clone();
            ordered.sort_by_key(|(region, ..)| *region != edge.region);
            async move {
                let addresses: Vec<String> = ordered.iter().map(|(_, address, _)| address.clone()).collect();
                start(dir, edge, ordered.first().map(|(_, _, hub)| hub.clone()), &addresses).await
            }
        });
        let mut started = futures_util::stream::iter(starts).buffered(STARTS_MAX);
        let mut failure = None;
        while let Some(node) = started.next().await {
            match node {
                Ok(node) => self.nodes.push(node),
                // The others come up first: each is known then, and can be stopped in order.
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Writes the list of nodes, whole.
    pub(super) fn write_list(&self, name: &str) -> Result<(), Failure> {
        let listed: Vec<Listed> = self
            .nodes
            .iter()
            .map(|node| Listed {
                name: node.planned.name.clone(),
                role: node.planned.role,
                region: node.planned.region.clone(),
                site: node.planned.site.clone(),
                api: node.ready.api.clone(),
                quic: node.ready.quic.clone(),
                pid: node.child.pid(),
                data_dir: node.planned.data_dir.clone(),
                kubeconfig: node.planned.data_dir.join(ADMIN_KUBECONFIG),
            })
            .collect();
        let text = format!("{:#}\n", json!(listed));
        let (beside, target) = (self.dir.join(format!(".{name}")), self.dir.join(name));
        let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &target));
        written.map_err(|source| Failure::io("write", target.display().to_string(), source))
    }

    /// Waits for a node to die, and says what is known of it.
    pub(super) async fn next_death(&mut self) -> String {
        let deaths = self.nodes.iter_mut().filter(|node| !node.mourned).map(|node| {
            Box::pin(async move {
                let how = node.child.ended().await;
                node.mourned = true;
                let again = arguments(&node.planned, &[])
                    .iter()
                    .map(|word| word.to_string_lossy())
                    .collect::<Vec<_>>()
                    .join(" ");
                format!(
                    "{}\nThe others go on. To start it again: driftless {again}",
                    node.child.obituary(&how)
                )
            })
        });
        let deaths: Vec<_> = deaths.collect();
        if deaths.is_empty() {
            return std::future::pending().await;
        }
        futures_util::future::select_all(deaths).await.0
    }

    /// Stops every node.
    pub(super) async fn stop(&mut self) {
        futures_util::future::join_all(self.nodes.iter_mut().map(|node| node.child.stop())).await;
    }
}

/// Starts a node; one that is new joins with a token of the hub that is named, or creates the fleet.
async fn start(
    dir: &Path,
    planned: &Planned,
    joins: Option<Planned>,
    hubs: &[String],
) -> Result<Node, Failure> {
    let join = match joins {
        Some(hub) if !NodeIdentity::exists(&planned.data_dir) => Some(token(&hub, planned).await?),
        _ => None,
    };
    let mut arguments = arguments(planned, hubs);
    arguments.push("--exit-with-stdin".into());
    let (child, ready) = Child::start(&planned.name, dir, arguments, join).await?;
    debug_assert_eq!(child.name(), planned.name);
    Ok(Node { planned: planned.clone(), ready, child, mourned: false })
}

fn arguments(planned: &Planned, hubs: &[String]) -> Vec<OsString> {
    let free = |address: Option<SocketAddr>, is_free: fn(SocketAddr) -> bool| {
        address.filter(|address| is_free(*address)).unwrap_or(ANY).to_string()
    };
    let listen = free(planned.quic, |address| UdpSocket::bind(address).is_ok());
    let api = free(planned.api, |address| TcpListener::bind(address).is_ok());
    let mut words: Vec<OsString> = match (planned.role, &planned.site) {
        (Role::Hub, _) => vec!["hub".into(), "--name".into(), (&planned.name).into()],
        (Role::Edge, site) => {
            let site = site.as_ref().unwrap_or(&planned.name);
            vec!["edge".into(), "--site".into(), site.into(), "--node".into(), "a".into()]
        }
    };
    if planned.role == Role::Hub {
        words.extend(["--region".into(), (&planned.region).into()]);
    }
    words.extend(["--data-dir".into(), planned.data_dir.clone().into()]);
    words.extend(["--listen".into(), listen.into(), "--api".into(), api.into()]);
    for hub in hubs {
        words.extend(["--hub".into(), hub.into()]);
    }
    words
}

async fn token(hub: &Planned, planned: &Planned) -> Result<String, Failure> {
    let session = session(&hub.data_dir)?;
    let request = match &planned.site {
        None => json!({"role": "hub", "region": planned.region}),
        Some(site) => {
            let mut labels = json!({"class": "store"});
            if planned.is_canary {
                labels["canary"] = json!("true");
            }
            json!({"role": "edge", "site": site, "region": planned.region, "labels": labels})
        }
    };
    let answer: Value = session.post(&Query::new("/v1/tokens"), &request).await?;
    let token = answer["token"].as_str().map(str::to_owned);
    token.ok_or_else(|| Failure::answer("token create", "it has no token"))
}
