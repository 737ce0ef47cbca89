//! Bytes on the wire, counted by a relay between a hub and one of its edges.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use driftless::daemon::start_edge;
use tokio::time::sleep;

use crate::child::edge_options;
use crate::fleet::{Hub, join_edge, site, wait_events};
use crate::options::Options;
use crate::process::cpu_seconds;
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
    let mut hub = Hub::start(hub_dir.path()).await?;
    let made = hub.make(profiles).await?;
    let relay = Relay::open(hub.quic())?;
    let through = vec![relay.address().to_string()];
    let measured = join_edge(&mut hub, 0, edge_dir.path(), through.clone()).await?;
    let mut others = vec![];
    for number in 1..edges {
        others.push(join_edge(&mut hub, number, edge_dir.path(), vec![]).await?);
    }
    wait_events(&measured, made).await?;
    for edge in &others {
        wait_events(edge, made).await?;
    }
    rest(&relay).await?;
    let about = format!(
        "one of {edges} edges that hold {profiles} profiles of 1 KB, behind a relay that counts UDP payloads and 28 bytes of headers for each, both ways"
    );
    let mut section = Section::new("wire", about);

    let mut bytes = vec![];
    let before = relay.passed();
    for value in 1..=alone {
        let before = relay.passed();
        hub.change(0, value).await?;
        wait_events(&measured, made + value).await?;
        rest(&relay).await?;
        bytes.push(relay.passed().since(before).bytes() as f64);
    }
    let passed = relay.passed().since(before);
    ensure!(passed.bytes() > 0, "the measured edge does not sync through the relay");
    section.spread("update alone, bytes both ways", &bytes.into_iter().collect::<Samples>(), "B");
    section.figure("update alone, to the edge, mean", passed.down as f64 / alone as f64, "B");
    section.figure("update alone, datagrams both ways, mean", passed.datagrams as f64 / alone as f64, "");

    let (cpu, before, started) = (cpu_seconds(hub.pid()?)?, relay.passed(), Instant::now());
    let (events, committing) = hub.burst(burst, profiles, WRITERS).await?;
    wait_events(&measured, events).await?;
    let measured_after = started.elapsed().as_secs_f64();
    for edge in &others {
        wait_events(edge, events).await?;
    }
    let all_after = started.elapsed().as_secs_f64();
    rest(&relay).await?;
    let (passed, updates) = (relay.passed().since(before), burst as f64);
    let what = format!("burst of {burst} from {WRITERS} writers");
    section.figure(format!("{what}, bytes per update both ways"), passed.bytes() as f64 / updates, "B");
    section.figure(format!("{what}, of these to the edge"), passed.down as f64 / updates, "B");
    section.figure(format!("{what}, datagrams per update"), passed.datagrams as f64 / updates, "");
    section.figure(format!("{what}, rate at the hub"), updates / committing, "commits/s");
    section.figure(format!("{what}, until the measured edge has all"), measured_after, "s");
    section.figure(format!("{what}, until every edge has all"), all_after, "s");
    let cpu = (cpu_seconds(hub.pid()?)? - cpu) * 1e6 / updates;
    section.figure(format!("{what}, hub CPU per update, commits included"), cpu, "µs");
    section.figure(
        format!("{what}, hub CPU per update and edge, commits included"),
        cpu / edges as f64,
        "µs",
    );

    let join = relay.passed();
    measured.stop().await?;
    rest(&relay).await?;
    let farewell = relay.passed().since(join);
    let before = relay.passed();
    let measured = start_edge(edge_options(&edge_dir.path().join(site(0)), None, through.clone())).await?;
    hub.wait_synced(edges as u64).await?;
    rest(&relay).await?;
    direction(
        &mut section,
        "reconnect with nothing new, TLS handshake included",
        relay.passed().since(before),
    );
    direction(&mut section, "farewell", farewell);

    measured.stop().await?;
    rest(&relay).await?;
    let (events, _) = hub.burst(burst, profiles, WRITERS).await?;
    let (before, started) = (relay.passed(), Instant::now());
    let measured = start_edge(edge_options(&edge_dir.path().join(site(0)), None, through)).await?;
    wait_events(&measured, events).await?;
    let caught_up = started.elapsed().as_secs_f64();
    rest(&relay).await?;
    let what = format!("catch-up of {burst} after a restart");
    direction(&mut section, &what, relay.passed().since(before));
    section.figure(format!("{what}, from the start of the edge until it has all"), caught_up, "s");

    for edge in others.into_iter().chain([measured]) {
        edge.stop().await?;
    }
    hub.stop().await?;
    Ok(section)
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
