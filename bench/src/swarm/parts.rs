//! What a connection at rest takes of a hub's memory, in parts: TLS alone, QUIC with TLS, and, beyond
//! those, what is ours. Each part is measured in a process of its own that does nothing else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use driftless::identity::{
    ALPN_SYNC, NodeIdentity, QUIC_SERVER_NAME, quic_client_config, quic_server_config,
};
use driftless_sync::quic;
use rustls::quic::{ClientConnection, KeyChange, ServerConnection, Version};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::task::JoinSet;

use super::edge::Member;
use crate::child::{ANY, answer};
use crate::fleet::{Process, site};
use crate::process::resident;

/// What each side says first on a stream, so that it is open on both: as many bytes as a greeting.
const GREETING: [u8; 64] = [0x5a; 64];
/// Transport parameters take about as many bytes.
const PARAMETERS_BYTES: usize = 64;
/// Messages from side to side within a handshake.
const FLIGHTS_MAX: usize = 16;

/// Bytes that the server's side of a connection takes, heap and stacks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    pub(super) tls: f64,
    /// QUIC with its TLS.
    pub(super) quic: f64,
}

/// Measures both parts, with the identities of a hub that is not running and of its edges.
pub(super) async fn measure(
    members: &[Member],
    hub_dir: &Path,
    edges_dir: &Path,
    calm: Duration,
) -> anyhow::Result<Parts> {
    let count = members.len() as f64;
    // The child finds both identities below one directory.
    let pair = tempfile::tempdir()?;
    std::os::unix::fs::symlink(hub_dir, pair.path().join("hub"))?;
    std::os::unix::fs::symlink(edges_dir.join(site(0)), pair.path().join("edge"))?;
    let mut tls = Process::start(&["tls", &members.len().to_string()], pair.path())?;
    let found = tls.reply().await?;
    let tls_bytes = found["bytes"].as_f64().context("bytes")? / count;
    tls.stop().await?;

    let mut bare = Process::start(&["quic"], hub_dir)?;
    let address: SocketAddr = bare.reply().await?["quic"].as_str().context("an address")?.parse()?;
    let before = resident(bare.pid()?)?.own as f64;
    let mut connecting = JoinSet::new();
    for member in members {
        let member = member.clone();
        connecting.spawn(async move {
            let connection = member.connect(address).await?;
            let (mut send, mut receive) = connection.open_bi().await?;
            send.write_all(&GREETING).await?;
            receive.read_exact(&mut [0; GREETING.len()]).await?;
            anyhow::Ok((connection, send, receive))
        });
    }
    let mut open = vec![];
    while let Some(connected) = connecting.join_next().await {
        open.push(connected??);
    }
    tokio::time::sleep(calm).await;
    let after = resident(bare.pid()?)?.own as f64;
    drop(open);
    bare.stop().await?;
    Ok(Parts { tls: tls_bytes, quic: (after - before) / count })
}

/// The child that accepts connections and keeps them.
pub(crate) async fn accept(dir: &Path) -> anyhow::Result<()> {
    let identity = NodeIdentity::load(dir)?;
    let config = quic::server_config(quic_server_config(&identity)?)?;
    let endpoint = quinn::Endpoint::server(config, ANY)?;
    answer(json!({"quic": endpoint.local_addr()?.to_string()})).await?;
    let mut connections = JoinSet::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            Some(incoming) = endpoint.accept() => {
                connections.spawn(async move {
                    let connection = incoming.await?;
                    let (mut send, mut receive) = connection.accept_bi().await?;
                    receive.read_exact(&mut [0; GREETING.len()]).await?;
                    send.write_all(&GREETING).await?;
                    // Until the peer is gone.
                    let _ = receive.read(&mut [0]).await;
                    anyhow::Ok(())
                });
            }
            line = lines.next_line() => if line?.is_none() { return Ok(()) },
        }
    }
}

/// The child that keeps the server's side of handshakes without a transport.
pub(crate) fn handshakes(count: usize, dir: &Path) -> anyhow::Result<Value> {
    let load = |name: &str| -> anyhow::Result<NodeIdentity> {
        let path: PathBuf = dir.join(name);
        NodeIdentity::load(&path).with_context(|| format!("the identity in {}", path.display()))
    };
    let server = Arc::new(quic_server_config(&load("hub")?)?);
    let client = Arc::new(quic_client_config(&load("edge")?, ALPN_SYNC)?);
    // The first one fills caches that all share.
    let mut kept = vec![handshake(&client, &server)?];
    kept.reserve(count);
    let before = resident(std::process::id())?.own;
    for _ in 0..count {
        kept.push(handshake(&client, &server)?);
    }
    let bytes = resident(std::process::id())?.own - before;
    ensure!(kept.len() == count + 1, "all are kept until they are counted");
    Ok(json!({"bytes": bytes}))
}

/// What a QUIC server keeps of a handshake: the connection of TLS and the keys of packets.
type Kept = (ServerConnection, Option<KeyChange>);

fn handshake(client: &Arc<rustls::ClientConfig>, server: &Arc<rustls::ServerConfig>) -> anyhow::Result<Kept> {
    let parameters = || vec![0x5a; PARAMETERS_BYTES];
    let name = rustls::pki_types::ServerName::try_from(QUIC_SERVER_NAME)?;
    let mut client = ClientConnection::new(Arc::clone(client), Version::V1, name, parameters())?;
    let mut server = ServerConnection::new(Arc::clone(server), Version::V1, parameters())?;
    let mut keys = None;
    for _ in 0..FLIGHTS_MAX {
        // What is said under one key goes before what is said under the next.
        let mut said = vec![];
        client.write_hs(&mut said);
        server.read_hs(&said)?;
        said.clear();
        keys = server.write_hs(&mut said).or(keys);
        client.read_hs(&said)?;
        if !server.is_handshaking() && !client.is_handshaking() {
            return Ok((server, keys));
        }
    }
    anyhow::bail!("a handshake that does not end")
}
