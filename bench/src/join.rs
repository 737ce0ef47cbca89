//! An empty edge that joins over a thin link: a hub in a process of its own, a real edge in this one, and a
//! relay between them that carries no more than the link would.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use driftless::daemon::Daemon;
use driftless_core::name::Scope;
use tokio::time::{Instant, sleep, timeout};

pub(crate) mod corpus;

use crate::fleet::{Hub, join_edge};
use crate::options::Options;
use crate::progress::Progress;
use crate::relay::{Link, Relay};
use crate::report::Section;

/// The link.
const LINK: Link = Link { kbit_per_second: 50, latency: Duration::from_millis(60) };
/// How often the edge is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// A join that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// What an event and a signature group may cost besides their content, in bytes.
const EVENT_BYTES: f64 = 20.0;
const GROUP_BYTES: f64 = 64.0;

/// Lets an edge without anything join a hub that has ten thousand documents for it.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Section> {
    tokio::runtime::Runtime::new()?.block_on(run(options))
}

async fn run(options: &Options) -> anyhow::Result<Section> {
    let documents = options.size(300, 10_000);
    let (hub_dir, edge_dir) = (options.scratch()?, options.edge_scratch()?);
    let mut hub = Hub::start(hub_dir.path()).await?;
    let filled = hub.fill(documents).await?;
    let number = |name: &str| filled[name].as_f64().with_context(|| format!("{name} in {filled}"));
    let (events, configuration) = (number("events")? as u64, number("configuration")? as u64);

    let relay = Relay::over(hub.quic(), Some(LINK))?;
    let started = Instant::now();
    let edge = join_edge(&mut hub, 0, edge_dir.path(), vec![relay.address().to_string()]).await?;
    let joined = started.elapsed();
    let mut progress = Progress::new("join, documents that arrived", documents as u64);
    let arriving = async {
        let (mut usable, mut ahead) = (None, 0);
        loop {
            let (of_configuration, of_catalog) = held(&edge).await?;
            if usable.is_none() && of_configuration >= configuration {
                (usable, ahead) = (Some(started.elapsed()), of_catalog);
            }
            progress.at(of_configuration + of_catalog);
            match usable {
                Some(usable) if of_configuration + of_catalog >= events => {
                    return anyhow::Ok((usable, ahead, started.elapsed()));
                }
                _ => sleep(LOOK).await,
            }
        }
    };
    let (usable, ahead, complete) =
        timeout(PATIENCE, arriving).await.context("documents that do not arrive")??;
    let passed = relay.passed();
    ensure!(passed.bytes() > 0, "the edge does not sync through the relay");
    edge.stop().await?;
    hub.stop().await?;

    let about = format!(
        "an empty edge that joins over {} kbit/s and {} ms each way, with {documents} documents in its interest; UDP payloads and 28 bytes of headers for each, both ways, from the token on",
        LINK.kbit_per_second,
        LINK.latency.as_millis()
    );
    let mut section = Section::new("join", about);
    section.figure("enrolled", joined.as_secs_f64(), "s");
    section.figure("configuration complete", usable.as_secs_f64(), "s");
    section.figure("events of the catalog that came before it", ahead as f64, "");
    section.figure("everything complete", complete.as_secs_f64(), "s");
    let (bytes, json) = (passed.bytes() as f64, number("jsonCompressed")?);
    let (groups, overhead) =
        (number("groups")?, EVENT_BYTES * events as f64 + GROUP_BYTES * number("groups")?);
    section.figure("events", events as f64, "");
    section.figure("signature groups", groups, "");
    section.figure("the documents as JSON, compressed with zstd", json, "B");
    section.figure("bytes both ways", bytes, "B");
    section.figure("of these to the hub", passed.up as f64, "B");
    section.figure("lost on the link for want of room", passed.dropped as f64, "datagrams");
    let what = "bytes both ways, less 20 an event and 64 a signature group, in terms of the compressed JSON";
    section.figure(what, (bytes - overhead) / json, "x");
    Ok(section)
}

/// How many events of its configuration and of the catalog an edge holds.
async fn held(edge: &Daemon) -> anyhow::Result<(u64, u64)> {
    let held = edge.runtime().owner.read_async(|node| {
        let events = |scope: &Scope| node.replica.vector(scope).events();
        let configuration = corpus::configuration();
        let catalog = node.replica.scopes().filter(|scope| matches!(scope, Scope::Catalog { .. }));
        (events(&configuration), catalog.map(events).sum())
    });
    Ok(held.await?)
}
