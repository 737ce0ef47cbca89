//! Bytes on the wire, counted by a relay between a hub and one of its edges.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use driftless::daemon::{Daemon, EdgeOptions, start_edge};
use tokio::time::sleep;

use crate::child::edge_options;
use crate::fleet::{Hub, join_edge, site, wait_events};
use crate::options::Options;
use crate::process::cpu_seconds;
use crate::progress::Progress;
use crate::relay::{Passed, Relay};
use crate::report::Section;
use crate::samples::Samples;

/// A link on which nothing passed for so long is at rest: longer than QUIC delays an acknowledgement.
const REST: Duration = Duration::from_millis(150);
/// A link that is never at rest is an error.
const PATIENCE: Duration = Duration::from_secs(60);
/// Writers that a burst comes from.
const WRITERS: u64 = 64;

/// Measures with a hub in a process of its own and edges in this one, one of them behind the relay.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Section> {
    tokio::runtime::Runtime::new()?.block_on(run(options))
}

async fn run(options: &Options) -> anyhow::Result<Section> {
    let edges = options.edges.unwrap_or(options.size(2, 50)).max(1);
    let profiles = options.size(100, 1_000);
    let (alone, burst) = (options.size(5, 100), options.size(500, 10_000));
    let (hub_dir, edge_dir) = (options.scratch()?, options.edge_scratch()?);
    let mut rig = Rig::start(hub_dir.path(), edge_dir.path(), edges, profiles).await?;
    let about = format!(
        "one of {edges} edges that hold {profiles} profiles of 1 KB, behind a relay that counts UDP payloads and 28 bytes of headers for each, both ways"
    );
    let mut section = Section::new("wire", about);
    rig.changes(&mut section, alone).await?;
    rig.burst(&mut section, burst).await?;
    let rig = rig.reconnect(&mut section).await?;
    let rig = rig.catch_up(&mut section, burst).await?;
    rig.stop().await?;
    Ok(section)
}

/// A hub, an edge behind the relay, and others.
struct Rig {
    hub: Hub,
    relay: Relay,
    measured: Daemon,
    /// How the measured edge starts again.
    options: EdgeOptions,
    others: Vec<Daemon>,
    profiles: usize,
}

impl Rig {
    /// Starts all of them, and waits until every edge holds the profiles and nothing passes any more.
    async fn start(hub_dir: &Path, edge_dir: &Path, edges: usize, profiles: usize) -> anyhow::Result<Self> {
        let mut progress = Progress::new("wire, edges that joined", edges as u64);
        let mut hub = Hub::start(hub_dir).await?;
        let made = hub.make(profiles).await?;
        let relay = Relay::open(hub.quic())?;
        let through = vec![relay.address().to_string()];
        let options = edge_options(&edge_dir.join(site(0)), None, through.clone());
        let measured = join_edge(&mut hub, 0, edge_dir, through).await?;
        let mut others = vec![];
        for number in 1..edges {
            others.push(join_edge(&mut hub, number, edge_dir, vec![]).await?);
            progress.at(number as u64);
        }
        let rig = Self { hub, relay, measured, options, others, profiles };
        rig.all_hold(made).await?;
        rest(&rig.relay).await?;
        Ok(rig)
    }

    async fn all_hold(&self, events: u64) -> anyhow::Result<()> {
        wait_events(&self.measured, events).await?;
        for edge in &self.others {
            wait_events(edge, events).await?;
        }
        Ok(())
    }

    /// One change at a time.
    async fn changes(&mut self, section: &mut Section, changes: u64) -> anyhow::Result<()> {
        let (made, mut bytes) = (self.hub.events().await?, vec![]);
        let start = self.relay.passed();
        for value in 1..=changes {
            let before = self.relay.passed();
            self.hub.change(0, value).await?;
            wait_events(&self.measured, made + value).await?;
            rest(&self.relay).await?;
            bytes.push(self.relay.passed().since(before).bytes() as f64);
        }
        let passed = self.relay.passed().since(start);
        ensure!(passed.bytes() > 0, "the measured edge does not sync through the relay");
        section.spread("update alone, bytes both ways", &bytes.into_iter().collect::<Samples>(), "B");
        section.figure("update alone, to the edge, mean", passed.down as f64 / changes as f64, "B");
        let datagrams = passed.datagrams as f64 / changes as f64;
        section.figure("update alone, datagrams both ways, mean", datagrams, "");
        Ok(())
    }

    /// Many changes from many writers.
    async fn burst(&mut self, section: &mut Section, burst: u64) -> anyhow::Result<()> {
        let pid = self.hub.pid()?;
        let (cpu, before, started) = (cpu_seconds(pid)?, self.relay.passed(), Instant::now());
        let (events, committing) = self.hub.burst(burst, self.profiles, WRITERS).await?;
        wait_events(&self.measured, events).await?;
        let measured_after = started.elapsed().as_secs_f64();
        self.all_hold(events).await?;
        let all_after = started.elapsed().as_secs_f64();
        rest(&self.relay).await?;
        let (passed, updates) = (self.relay.passed().since(before), burst as f64);
        let cpu = (cpu_seconds(pid)? - cpu) * 1e6 / updates;
        let edges = self.others.len() + 1;
        let figures = [
            ("bytes per update both ways", passed.bytes() as f64 / updates, "B"),
            ("of these to the edge", passed.down as f64 / updates, "B"),
            ("datagrams per update", passed.datagrams as f64 / updates, ""),
            ("rate at the hub", updates / committing, "commits/s"),
            ("until the measured edge has all", measured_after, "s"),
            ("until every edge has all", all_after, "s"),
            ("hub CPU per update, commits included", cpu, "µs"),
            ("hub CPU per update and edge, commits included", cpu / edges as f64, "µs"),
        ];
        for (what, value, unit) in figures {
            section.figure(format!("burst of {burst} from {WRITERS} writers, {what}"), value, unit);
        }
        Ok(())
    }

    /// The measured edge goes and comes back, and has missed nothing.
    async fn reconnect(mut self, section: &mut Section) -> anyhow::Result<Self> {
        let before = self.relay.passed();
        self.measured.stop().await?;
        rest(&self.relay).await?;
        let (farewell, before) = (self.relay.passed().since(before), self.relay.passed());
        self.measured = start_edge(self.options.clone()).await?;
        self.hub.wait_synced(self.others.len() as u64 + 1).await?;
        rest(&self.relay).await?;
        let what = "reconnect with nothing new, TLS handshake included";
        direction(section, what, self.relay.passed().since(before));
        direction(section, "farewell", farewell);
        Ok(self)
    }

    /// The measured edge goes, misses many changes, and comes back.
    async fn catch_up(mut self, section: &mut Section, burst: u64) -> anyhow::Result<Self> {
        self.measured.stop().await?;
        rest(&self.relay).await?;
        let (events, _) = self.hub.burst(burst, self.profiles, WRITERS).await?;
        let (before, started) = (self.relay.passed(), Instant::now());
        self.measured = start_edge(self.options.clone()).await?;
        wait_events(&self.measured, events).await?;
        let caught_up = started.elapsed().as_secs_f64();
        rest(&self.relay).await?;
        let what = format!("catch-up of {burst} after a restart");
        direction(section, &what, self.relay.passed().since(before));
        section.figure(format!("{what}, from the start of the edge until it has all"), caught_up, "s");
        Ok(self)
    }

    async fn stop(self) -> anyhow::Result<()> {
        for edge in self.others.into_iter().chain([self.measured]) {
            edge.stop().await?;
        }
        self.hub.stop().await
    }
}

fn direction(section: &mut Section, what: &str, passed: Passed) {
    section.figure(format!("{what}, to the hub"), passed.up as f64, "B");
    section.figure(format!("{what}, to the edge"), passed.down as f64, "B");
}

/// Waits until nothing passes.
async fn rest(relay: &Relay) -> anyhow::Result<()> {
    let at_rest = async {
        let mut before = relay.passed().datagrams;
        loop {
            sleep(REST).await;
            let now = relay.passed().datagrams;
            if std::mem::replace(&mut before, now) == now {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, at_rest).await.context("a link that is never at rest")
}
