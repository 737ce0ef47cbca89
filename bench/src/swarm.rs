//! Many edges on real QUIC in one process, against a hub in a process of its own.
//!
//! What is measured is the hub. Edges share this process and, with the hub, the machine: times are upper
//! bounds, CPU and memory are the hub's own.

mod api;
mod arrivals;
mod bad;
mod edge;
mod edges;
pub(crate) mod parts;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::fleet::Hub;
use crate::options::Options;
use crate::plot::{Bars, Content, Plot, Scale};
use crate::process::{cpu_seconds, resident};
use crate::progress::Progress;
use crate::report::Section;
use crate::samples::Samples;
use api::Prober;
use edge::Member;
use edges::Edges;
use parts::Parts;

/// Profiles of 1 KB that the edges hold.
const PROFILES: usize = 100;
/// Writers that a burst comes from.
const WRITERS: u64 = 64;
/// Edges that join at a time.
const JOINS_AT_A_TIME: usize = 16;
/// Most edges that one token is good for.
const TOKEN_USES_MAX: usize = 1_000;
/// Between two changes, so that each travels alone.
const PAUSE: Duration = Duration::from_millis(50);
/// Files that this process opens besides a socket for each edge.
const FILES_BESIDES: usize = 128;
const KIB: f64 = 1024.0;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    edges: usize,
    /// Edges that are watched while others misbehave, and how many misbehave.
    watched: usize,
    bad: usize,
    /// Within which time all edges come back.
    ramp: Duration,
    /// How long all is left alone between two steps, and before memory is looked at.
    calm: Duration,
    /// How long the API is asked while all is quiet.
    quiet: Duration,
    idle: Duration,
    changes: u64,
    burst: u64,
    rounds: usize,
}

impl Sizes {
    fn of(options: &Options) -> Self {
        let edges = options.edges.unwrap_or(options.size(20, 1_000)).max(8);
        let bad = (edges / 5).clamp(3, 30);
        Self {
            edges,
            bad,
            watched: (edges - bad).min(200),
            ramp: options.size(Duration::from_millis(500), Duration::from_secs(6)),
            calm: options.size(Duration::from_millis(300), Duration::from_secs(2)),
            quiet: options.size(Duration::from_secs(1), Duration::from_secs(10)),
            idle: options.size(Duration::from_secs(2), Duration::from_secs(60)),
            changes: options.size(10, 200),
            burst: options.size(50, 300),
            rounds: options.repeat.unwrap_or(options.size(1, 3)).max(1),
        }
    }
}

/// Measures with a hub in a process of its own and edges in this one.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Section> {
    let sizes = Sizes::of(options);
    files_suffice(sizes.edges + FILES_BESIDES)?;
    tokio::runtime::Runtime::new()?.block_on(run(options, sizes))
}

async fn run(options: &Options, sizes: Sizes) -> anyhow::Result<Section> {
    let (hub_dir, edge_dir) = (options.scratch()?, options.edge_scratch()?);
    let about = format!(
        "{} edges in one process, each with its own key, certificate, UDP socket, QUIC connection and engine, and a replica in memory of {PROFILES} profiles of 1 KB; a hub on disk in another process of this machine",
        sizes.edges
    );
    let mut section = Section::new("swarm", about);
    let mut hub = Hub::start(hub_dir.path()).await?;
    hub.make(PROFILES).await?;
    let members = join(&mut hub, sizes.edges, edge_dir.path()).await?;
    hub.stop().await?;

    let parts = parts::measure(&members, hub_dir.path(), edge_dir.path(), sizes.calm).await?;
    let mut hub = Hub::start(hub_dir.path()).await?;
    let mut edges = Edges::new(members)?;
    first(&mut section, &mut hub, &mut edges, sizes).await?;
    edges.leave().await?;
    hub.stop().await?;

    hub = Hub::start(hub_dir.path()).await?;
    idle(&mut section, &mut hub, &mut edges, sizes, parts).await?;
    storms(&mut section, &mut hub, &mut edges, sizes, hub_dir.path()).await?;
    changes(&mut section, &mut hub, &edges, sizes).await?;
    edges.leave().await?;
    bad::measure(&mut section, &mut hub, edges, sizes).await?;
    hub.stop().await?;
    Ok(section)
}

/// Lets edges join, several at a time.
async fn join(hub: &mut Hub, edges: usize, dir: &Path) -> anyhow::Result<Vec<Member>> {
    let mut progress = Progress::new("swarm, edges that joined", edges as u64);
    let (mut joining, mut members, mut token) = (JoinSet::new(), vec![], String::new());
    for number in 0..edges {
        if number % TOKEN_USES_MAX == 0 {
            token = hub.token_for_many(TOKEN_USES_MAX.min(edges - number)).await?;
        }
        if joining.len() == JOINS_AT_A_TIME {
            members.push(joining.join_next().await.context("some are joining")???);
            progress.at(members.len() as u64);
        }
        let (token, quic, dir) = (token.clone(), hub.quic(), dir.to_owned());
        joining.spawn(async move { Member::join(number, &token, quic, &dir).await });
    }
    while let Some(joined) = joining.join_next().await {
        members.push(joined??);
    }
    Ok(members)
}

/// Edges that hold nothing connect for the first time.
async fn first(section: &mut Section, hub: &mut Hub, edges: &mut Edges, sizes: Sizes) -> anyhow::Result<()> {
    let cpu = cpu_seconds(hub.pid()?)?;
    let came = edges.come(hub, sizes.ramp).await?;
    let cpu = cpu_seconds(hub.pid()?)? - cpu;
    let what = format!("first connect within {} s", sizes.ramp.as_secs_f64());
    section.figure(format!("{what}, until the last edge holds everything"), came.last, "s");
    section.spread(&format!("{what}, from dialling to holding everything"), &came.each, "ms");
    section.figure(format!("{what}, hub CPU per edge"), 1e3 * cpu / sizes.edges as f64, "ms");
    Ok(())
}

/// Edges that hold everything connect to a hub that has just started, and nothing happens then.
async fn idle(
    section: &mut Section,
    hub: &mut Hub,
    edges: &mut Edges,
    sizes: Sizes,
    parts: Parts,
) -> anyhow::Result<()> {
    let (pid, count) = (hub.pid()?, sizes.edges as f64);
    sleep(sizes.calm).await;
    let (alone, cpu) = (resident(pid)?, cpu_seconds(pid)?);
    let came = edges.come(hub, sizes.ramp).await?;
    let cpu = cpu_seconds(pid)? - cpu;
    let what = format!("reconnect within {} s with nothing new", sizes.ramp.as_secs_f64());
    section.figure(format!("{what}, until the last edge is in sync"), came.last, "s");
    section.spread(&format!("{what}, from dialling to in sync"), &came.each, "ms");
    section.figure(format!("{what}, hub CPU per edge"), 1e3 * cpu / count, "ms");

    sleep(sizes.calm).await;
    let connected = resident(pid)?;
    let before = cpu_seconds(pid)?;
    sleep(sizes.idle).await;
    let share = (cpu_seconds(pid)? - before) / sizes.idle.as_secs_f64();
    section.figure(
        format!("hub CPU with {} idle edges over {} s", sizes.edges, sizes.idle.as_secs_f64()),
        100.0 * share,
        "% of a core",
    );
    let grown = |of: fn(crate::process::Resident) -> u64| (of(connected) as f64 - of(alone) as f64) / count;
    let (all, own) = (grown(|memory| memory.total), grown(|memory| memory.own));
    let shares = [("TLS", parts.tls), ("QUIC", parts.quic - parts.tls), ("ours", own - parts.quic)];
    section.figure("hub memory per idle edge, resident", all / KIB, "KiB");
    section.figure("hub memory per idle edge, heap and stacks", own / KIB, "KiB");
    for (part, bytes) in shares {
        section.figure(format!("hub memory per idle edge, of heap and stacks {part}"), bytes / KIB, "KiB");
    }
    let bars = Bars {
        name: "hub".to_owned(),
        values: shares.iter().map(|(_, bytes)| Some(bytes.max(0.0) / KIB)).collect(),
    };
    section.plot(Plot {
        name: "memory",
        title: format!("Memory of the hub per idle edge, of {}", sizes.edges),
        x: "what it is for".to_owned(),
        y: "KiB per edge".to_owned(),
        y_scale: Scale::Linear,
        content: Content::Bars {
            groups: shares.iter().map(|(part, _)| (*part).to_owned()).collect(),
            series: vec![bars],
        },
    });
    Ok(())
}

/// All edges come back at once, several times, while the API is asked as it was when all was quiet.
async fn storms(
    section: &mut Section,
    hub: &mut Hub,
    edges: &mut Edges,
    sizes: Sizes,
    hub_dir: &Path,
) -> anyhow::Result<()> {
    let mut progress = Progress::new("swarm, storms", sizes.rounds as u64);
    let (mut quiet, mut stormy, mut ratios, mut last, mut lost) = (vec![], vec![], vec![], vec![], 0);
    for round in 0..sizes.rounds {
        progress.at(round as u64);
        let prober = Prober::start(hub_dir).await?;
        sleep(sizes.quiet).await;
        let before = prober.stop().await?;
        edges.leave().await?;
        sleep(sizes.calm).await;
        let prober = Prober::start(hub_dir).await?;
        let came = edges.come(hub, sizes.ramp).await?;
        last.push(came.last);
        lost += came.lost;
        let during = prober.stop().await?;
        if let (Some(before), Some(during)) = (before.percentile(99.0), during.percentile(99.0)) {
            ratios.push(during / before);
        }
        quiet.push(before);
        stormy.push(during);
        sleep(sizes.calm).await;
    }
    let (quiet, stormy): (Samples, Samples) = (quiet.iter().collect(), stormy.iter().collect());
    let what = format!("while {} edges come back within {} s", sizes.edges, sizes.ramp.as_secs_f64());
    section.rounds(format!("{what}, until the last is in sync"), &last.into_iter().collect(), "s");
    section.figure(format!("{what}, connections lost on the way, all rounds"), lost as f64, "");
    section.spread("API answers when all is quiet", &quiet, "ms");
    section.spread(&format!("API answers {what}"), &stormy, "ms");
    section.rounds("API p99 in the storm / when quiet", &ratios.into_iter().collect(), "x");
    section.plot(Plot::percentiles(
        "api",
        "Answers of the hub's API, when quiet and in a reconnect storm",
        "ms",
        &[("all edges connected and quiet", &quiet), ("all edges coming back", &stormy)],
    ));
    Ok(())
}

/// One change at a time, then a burst.
async fn changes(section: &mut Section, hub: &mut Hub, edges: &Edges, sizes: Sizes) -> anyhow::Result<()> {
    let cpu = cpu_seconds(hub.pid()?)?;
    let seen = one_at_a_time(hub, edges, sizes.changes).await?;
    let cpu = cpu_seconds(hub.pid()?)? - cpu;
    let what = format!("one change with {} edges", sizes.edges);
    section.spread(&format!("{what}, durable at the hub"), &seen.durable, "ms");
    section.spread(&format!("{what}, held by an edge"), &seen.each, "ms");
    section.spread(&format!("{what}, held by all edges"), &seen.last, "ms");
    let delivered = (sizes.changes * sizes.edges as u64) as f64;
    section.figure(format!("{what}, hub CPU per delivered event"), 1e6 * cpu / delivered, "µs");
    section.plot(Plot::percentiles(
        "latency",
        &format!("One profile change, {} edges", sizes.edges),
        "ms",
        &[
            ("durable at the hub", &seen.durable),
            ("held by an edge", &seen.each),
            ("held by all", &seen.last),
        ],
    ));

    let (cpu, started) = (cpu_seconds(hub.pid()?)?, Instant::now());
    edges.look_out_for(hub.events().await? + sizes.burst);
    hub.burst(sizes.burst, PROFILES, WRITERS).await?;
    edges.all_reached().await?;
    let (cpu, seconds) = (cpu_seconds(hub.pid()?)? - cpu, started.elapsed().as_secs_f64());
    let what = format!("burst of {} from {WRITERS} writers", sizes.burst);
    let delivered = (sizes.burst * sizes.edges as u64) as f64;
    section.figure(
        format!("{what}, hub CPU per delivered event, commits included"),
        1e6 * cpu / delivered,
        "µs",
    );
    section.figure(format!("{what}, until every edge has all"), seconds, "s");
    Ok(())
}

/// What became of changes that were made one at a time, in milliseconds since each was asked for.
struct Seen {
    durable: Samples,
    /// Of every edge.
    each: Samples,
    /// Of the slowest edge.
    last: Samples,
}

async fn one_at_a_time(hub: &mut Hub, edges: &Edges, changes: u64) -> anyhow::Result<Seen> {
    let (mut durable, mut each, mut last) = (vec![], vec![], vec![]);
    let mut progress = Progress::new("swarm, changes", changes);
    for change in 1..=changes {
        let held = hub.events().await?;
        edges.look_out_for(held + 1);
        let started = Instant::now();
        hub.change(0, FIRST_VALUE + held).await?;
        durable.push(milliseconds(started, Instant::now()));
        let before = each.len();
        each.extend(edges.all_reached().await?.into_iter().map(|at| milliseconds(started, at)));
        last.push(each[before..].iter().copied().fold(0.0, f64::max));
        progress.at(change);
        sleep(PAUSE).await;
    }
    let samples = |values: Vec<f64>| values.into_iter().collect();
    Ok(Seen { durable: samples(durable), each: samples(each), last: samples(last) })
}

/// Values of changes start here: no burst sets them, so that every change is one.
const FIRST_VALUE: u64 = 1_000_000_000;

fn milliseconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1e3
}

/// Refuses to start what would end half-way for want of file descriptors.
fn files_suffice(needed: usize) -> anyhow::Result<()> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()).context("the limit of open files")?;
    let enough = soft == "unlimited" || soft.parse::<usize>()? >= needed;
    ensure!(enough, "{needed} open files are needed and {soft} allowed: raise it with `ulimit -n {needed}`");
    Ok(())
}
