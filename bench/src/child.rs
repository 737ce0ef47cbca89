//! Processes that measurements start: a hub as `driftless` runs it, told what to do by lines of JSON on
//! standard input, and a store that is opened by a process that has done nothing else.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use driftless::api::{Backend as _, Operation};
use driftless::daemon::{Daemon, EdgeOptions, HubOptions, start_hub};
use driftless_core::name::Scope;
use driftless_core::store::StoreError;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::join::corpus;
use crate::swarm::parts;
use crate::{reopen, workload};

/// Any free port on loopback.
pub(crate) const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The sites that a token for many is good for: all that [`crate::fleet::site`] names.
const SITES: &str = "store-*";

/// What a child is.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Role {
    /// A hub.
    Hub {
        /// Its data directory.
        dir: PathBuf,
    },
    /// Accepts QUIC connections as a hub does, and does nothing with them.
    Quic {
        /// The hub's data directory.
        dir: PathBuf,
    },
    /// Keeps the server's side of TLS handshakes, and says what they take.
    Tls {
        /// How many.
        count: usize,
        /// The hub's data directory, beside that of an edge.
        dir: PathBuf,
    },
    /// Opens a store and says what that cost.
    Reopen {
        /// The store.
        dir: PathBuf,
    },
}

/// Runs a child until its standard input ends.
pub(crate) fn run(role: Role) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    match role {
        Role::Hub { dir } => runtime.block_on(hub(&dir)),
        Role::Quic { dir } => runtime.block_on(parts::accept(&dir)),
        Role::Tls { count, dir } => runtime.block_on(answer(parts::handshakes(count, &dir)?)),
        Role::Reopen { dir } => runtime.block_on(answer(reopen::open(&dir)?)),
    }
}

/// The options of an edge in measurements.
pub(crate) fn edge_options(dir: &Path, join: Option<String>, hubs: Vec<String>) -> EdgeOptions {
    EdgeOptions { node: Some("n1".to_owned()), listen: ANY, api: ANY, join, hubs, ..EdgeOptions::new(dir) }
}

async fn hub(dir: &Path) -> anyhow::Result<()> {
    let options =
        HubOptions { name: Some("hub-1".to_owned()), listen: ANY, api: ANY, ..HubOptions::new(dir) };
    let daemon = Arc::new(start_hub(options).await?);
    answer(json!({"quic": daemon.quic_address().to_string()})).await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let reply = obey(&daemon, &serde_json::from_str(&line)?).await?;
        answer(reply).await?;
    }
    stop(daemon).await
}

async fn stop(daemon: Arc<Daemon>) -> anyhow::Result<()> {
    let daemon = Arc::into_inner(daemon).context("a task still holds the daemon")?;
    Ok(daemon.stop().await?)
}

pub(crate) async fn answer(reply: Value) -> anyhow::Result<()> {
    let mut stdout = tokio::io::stdout();
    stdout.write_all(format!("{reply}\n").as_bytes()).await?;
    Ok(stdout.flush().await?)
}

/// Does what one line says.
async fn obey(hub: &Arc<Daemon>, order: &Value) -> anyhow::Result<Value> {
    let number = |name: &str| order[name].as_u64().with_context(|| format!("{name} in {order}"));
    match order["do"].as_str() {
        Some("token") => {
            let request = json!({"role": "edge", "site": order["site"]});
            let minted =
                hub.runtime().operate(Operation::TokenCreate { request, by: "bench".to_owned() }).await;
            minted.map_err(|error| anyhow::anyhow!("no token: {error:?}"))
        }
        Some("tokens") => {
            let request = json!({"role": "edge", "newSites": SITES, "uses": number("uses")?});
            let minted =
                hub.runtime().operate(Operation::TokenCreate { request, by: "bench".to_owned() }).await;
            minted.map_err(|error| anyhow::anyhow!("no token: {error:?}"))
        }
        Some("make") => {
            for profile in 0..usize::try_from(number("profiles")?)? {
                write(hub, workload::make(profile)).await?;
            }
            events(hub).await
        }
        Some("fill") => fill(hub, usize::try_from(number("documents")?)?).await,
        Some("change") => {
            let (profile, value) = (usize::try_from(number("profile")?)?, number("value")?);
            write(hub, workload::change(profile, value)).await?;
            Ok(json!({}))
        }
        Some("burst") => burst(hub, number("changes")?, number("profiles")?, number("writers")?).await,
        Some("events") => events(hub).await,
        Some("synced") => synced(hub).await,
        _ => bail!("unknown order {order}"),
    }
}

async fn write(hub: &Daemon, write: driftless_core::replica::Write) -> anyhow::Result<()> {
    let written = hub.runtime().owner.write_async(move |node| node.replica.write(write).map(|_| ())).await?;
    Ok(written?)
}

/// Makes documents that every site wants, from several writers, and says what there is then to send.
async fn fill(hub: &Arc<Daemon>, documents: usize) -> anyhow::Result<Value> {
    const WRITERS: usize = 16;
    let (mut json, mut tasks) = (vec![], tokio::task::JoinSet::new());
    for (kind, name, spec) in corpus::documents(documents) {
        let resource = corpus::resource(kind, &name, &spec);
        serde_json::to_writer(&mut json, &resource)?;
        json.push(b'\n');
        if tasks.len() == WRITERS {
            tasks.join_next().await.context("a writer")???;
        }
        let (hub, made) = (Arc::clone(hub), corpus::write(kind, &name, resource)?);
        tasks.spawn(async move { write(&hub, made).await });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let counted = hub.runtime().owner.read_async(|node| {
        let (mut events, mut groups) = (0, 0);
        let wanted = |scope: &&Scope| matches!(scope, Scope::Catalog { .. } | Scope::Profiles { .. });
        for scope in node.replica.scopes().filter(wanted).cloned().collect::<Vec<_>>() {
            events += node.replica.vector(&scope).events();
            groups += node.replica.log(&scope, 0, usize::MAX)?.entries.len();
        }
        let configuration = node.replica.vector(&corpus::configuration()).events();
        Ok::<_, StoreError>((events, groups, configuration))
    });
    let (events, groups, configuration) = counted.await??;
    let compressed = zstd::bulk::compress(&json, 3)?.len();
    Ok(
        json!({"events": events, "groups": groups, "configuration": configuration, "jsonCompressed": compressed}),
    )
}

/// Changes profiles in turn, from several writers that each wait for their own change to be durable.
async fn burst(hub: &Arc<Daemon>, changes: u64, profiles: u64, writers: u64) -> anyhow::Result<Value> {
    let (next, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..writers {
        let (hub, next) = (Arc::clone(hub), Arc::clone(&next));
        tasks.spawn(async move {
            loop {
                let change = next.fetch_add(1, Ordering::Relaxed);
                if change >= changes {
                    return anyhow::Ok(());
                }
                // Values differ from those before, so that every change is an event.
                let profile = usize::try_from(change % profiles)?;
                write(&hub, workload::change(profile, 1_000_000 + change)).await?;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let seconds = started.elapsed().as_secs_f64();
    let mut reply = events(hub).await?;
    reply["seconds"] = seconds.into();
    Ok(reply)
}

/// How many events of profiles the hub holds.
async fn events(hub: &Daemon) -> anyhow::Result<Value> {
    let scope = Scope::Profiles { namespace: "default".to_owned() };
    let events = hub.runtime().owner.read_async(move |node| node.replica.vector(&scope).events()).await?;
    Ok(json!({"events": events}))
}

/// How many peers hold everything that they want.
async fn synced(hub: &Daemon) -> anyhow::Result<Value> {
    let count = hub.runtime().owner.read_async(|node| {
        let peers = node.engine.peers();
        peers.iter().filter(|peer| peer.session.is_some() && peer.lag_events == 0).count()
    });
    Ok(json!({"peers": count.await?}))
}
