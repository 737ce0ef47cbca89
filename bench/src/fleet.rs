//! A hub in a process of its own and edges around it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use driftless::daemon::{Daemon, start_edge};
use driftless_core::name::Scope;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::child::{ANY, edge_options};

/// Whatever takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A child process and the way to it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    replies: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts this program in another role. Logs go to standard error, warnings only unless asked.
    pub(crate) fn start(arguments: &[&str], dir: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("child").args(arguments).arg(dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("starting a child process")?;
        let stdin = child.stdin.take().context("a pipe to the child")?;
        let stdout = child.stdout.take().context("a pipe from the child")?;
        Ok(Self { child, stdin, replies: BufReader::new(stdout).lines() })
    }

    /// Writes a line to the child.
    pub(crate) async fn say(&mut self, line: &str) -> anyhow::Result<()> {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(self.stdin.flush().await?)
    }

    /// The child's next answer.
    pub(crate) async fn reply(&mut self) -> anyhow::Result<Value> {
        let line =
            timeout(PATIENCE, self.replies.next_line()).await.context("a child that does not answer")??;
        Ok(serde_json::from_str(&line.context("a child ended before it answered")?)?)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the child has ended")
    }

    /// Ends it in good order.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.stdin);
        let status = timeout(PATIENCE, self.child.wait()).await.context("a child that does not end")??;
        ensure!(status.success(), "a child failed: {status}");
        Ok(())
    }
}

/// A daemon of the binary that users run.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    stdin: ChildStdin,
}

impl Program {
    /// The binary: beside this one, where `cargo build` puts both.
    pub(crate) fn path() -> anyhow::Result<PathBuf> {
        let path = std::env::current_exe()?.with_file_name("driftless");
        ensure!(
            path.exists(),
            "{} is missing: build it with `cargo build -p driftless` in the same profile",
            path.display()
        );
        Ok(path)
    }

    /// Starts a hub or an edge on a data directory that it has used before, and waits until it serves.
    pub(crate) async fn start(role: &str, dir: &Path, listen: SocketAddr) -> anyhow::Result<Self> {
        let mut command = Command::new(Self::path()?);
        command.arg(role).arg("--data-dir").arg(dir).arg("--exit-with-stdin");
        command.args(["--api", &ANY.to_string(), "--listen", &listen.to_string()]).env("RUST_LOG", "warn");
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("starting driftless")?;
        let stdin = child.stdin.take().context("a pipe to the child")?;
        let mut log = BufReader::new(child.stderr.take().context("a pipe from the child")?).lines();
        let ready = async {
            while let Some(line) = log.next_line().await? {
                if line.starts_with("ready ") {
                    return anyhow::Ok(());
                }
                eprintln!("{line}");
            }
            anyhow::bail!("driftless {role} ended before it was ready")
        };
        timeout(PATIENCE, ready).await.context("a daemon that does not get ready")??;
        tokio::spawn(async move {
            while let Ok(Some(line)) = log.next_line().await {
                eprintln!("{line}");
            }
        });
        Ok(Self { child, stdin })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the daemon has ended")
    }

    /// Ends it in good order.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.stdin);
        let status = timeout(PATIENCE, self.child.wait()).await.context("a daemon that does not end")??;
        ensure!(status.success(), "a daemon failed: {status}");
        Ok(())
    }
}

/// Waits until the hub with this data directory says that so many peers are in sync.
pub(crate) async fn wait_in_sync(hub_dir: &Path, peers: usize) -> anyhow::Result<()> {
    let in_sync = async {
        loop {
            let mut command = Command::new(Program::path()?);
            let output = command.args(["peers", "-o", "json", "--data-dir"]).arg(hub_dir).output().await?;
            ensure!(output.status.success(), "driftless peers: {}", String::from_utf8_lossy(&output.stderr));
            let answer: Value = serde_json::from_slice(&output.stdout)?;
            let rows = answer["peers"].as_array().context("peers")?;
            let ready = rows.iter().filter(|row| row["state"] == "InSync" && row["lagEvents"] == 0);
            if ready.count() >= peers {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(PATIENCE, in_sync).await.context("edges that do not get in sync")?
}

/// A hub in a process of its own.
#[derive(Debug)]
pub(crate) struct Hub {
    process: Process,
    quic: SocketAddr,
}

impl Hub {
    /// Starts a hub in `dir`, which makes a fleet of its own.
    pub(crate) async fn start(dir: &Path) -> anyhow::Result<Self> {
        let mut process = Process::start(&["hub"], dir)?;
        let ready = process.reply().await?;
        let quic = ready["quic"].as_str().context("an address")?.parse()?;
        Ok(Self { process, quic })
    }

    /// Where it listens.
    pub(crate) fn quic(&self) -> SocketAddr {
        self.quic
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.process.pid()
    }

    /// A token for a new edge.
    pub(crate) async fn token(&mut self, site: &str) -> anyhow::Result<String> {
        let minted = self.order(json!({"do": "token", "site": site})).await?;
        Ok(minted["token"].as_str().context("a token")?.to_owned())
    }

    /// A token for so many edges of new sites.
    pub(crate) async fn token_for_many(&mut self, uses: usize) -> anyhow::Result<String> {
        let minted = self.order(json!({"do": "tokens", "uses": uses})).await?;
        Ok(minted["token"].as_str().context("a token")?.to_owned())
    }

    /// Makes profiles; returns how many events of profiles there are then.
    pub(crate) async fn make(&mut self, profiles: usize) -> anyhow::Result<u64> {
        let made = self.order(json!({"do": "make", "profiles": profiles})).await?;
        made["events"].as_u64().context("a number of events")
    }

    /// Makes documents of several kinds, of which every site wants all; says what they are.
    pub(crate) async fn fill(&mut self, documents: usize) -> anyhow::Result<Value> {
        self.order(json!({"do": "fill", "documents": documents})).await
    }

    /// Changes a field of a profile; returns when that is durable.
    pub(crate) async fn change(&mut self, profile: usize, value: u64) -> anyhow::Result<()> {
        self.order(json!({"do": "change", "profile": profile, "value": value})).await.map(drop)
    }

    /// Changes fields of profiles in turn; returns how many events of profiles there are then, and how
    /// many seconds it took until the last was durable.
    pub(crate) async fn burst(
        &mut self,
        changes: u64,
        profiles: usize,
        writers: u64,
    ) -> anyhow::Result<(u64, f64)> {
        let order = json!({"do": "burst", "changes": changes, "profiles": profiles, "writers": writers});
        let done = self.order(order).await?;
        Ok((done["events"].as_u64().context("events")?, done["seconds"].as_f64().context("seconds")?))
    }

    /// How many events of profiles it holds.
    pub(crate) async fn events(&mut self) -> anyhow::Result<u64> {
        self.order(json!({"do": "events"})).await?["events"].as_u64().context("a number of events")
    }

    /// Waits until this many peers hold everything that they want.
    pub(crate) async fn wait_synced(&mut self, peers: u64) -> anyhow::Result<()> {
        let synced = async {
            while self.order(json!({"do": "synced"})).await?["peers"].as_u64() < Some(peers) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, synced).await.context("edges that do not get in sync")?
    }

    /// Ends it in good order.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.process.stop().await
    }

    async fn order(&mut self, order: Value) -> anyhow::Result<Value> {
        self.process.say(&order.to_string()).await?;
        self.process.reply().await
    }
}

/// The name of the site with this number.
pub(crate) fn site(number: usize) -> String {
    format!("store-{number:04}")
}

/// Starts an edge in this process that joins with a token.
pub(crate) async fn join_edge(
    hub: &mut Hub,
    number: usize,
    dir: &Path,
    hubs: Vec<String>,
) -> anyhow::Result<Daemon> {
    let token = hub.token(&site(number)).await?;
    Ok(start_edge(edge_options(&dir.join(site(number)), Some(token), hubs)).await?)
}

/// Waits until an edge holds this many events of profiles.
pub(crate) async fn wait_events(edge: &Daemon, events: u64) -> anyhow::Result<()> {
    let mut positions = edge.runtime().positions();
    let arrived = async {
        loop {
            let scope = Scope::Profiles { namespace: "default".to_owned() };
            let held =
                edge.runtime().owner.read_async(move |node| node.replica.vector(&scope).events()).await?;
            if held >= events {
                return anyhow::Ok(());
            }
            positions.changed().await?;
        }
    };
    timeout(PATIENCE, arrived).await.context("events that do not arrive")?
}
