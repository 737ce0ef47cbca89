//! From a change on a hub to its being visible on edges, over QUIC.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use driftless::daemon::Daemon;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::fleet::{Hub, join_edge, wait_events};
use crate::options::Options;
use crate::plot::Plot;
use crate::report::Section;
use crate::samples::Samples;
use crate::workload;

/// Between two changes, so that each travels alone: edges apply a change and report it for a while.
const PAUSE: Duration = Duration::from_millis(300);
/// Whatever takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(30);
/// Profiles that the edges hold.
const PROFILES: usize = 100;

/// One change seen by one edge.
struct Seen {
    value: u64,
    at: Instant,
}

/// Measures with a hub in a process of its own and edges in this one.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Section> {
    tokio::runtime::Runtime::new()?.block_on(run(options))
}

async fn run(options: &Options) -> anyhow::Result<Section> {
    let (edges, changes) = (options.edges.unwrap_or(options.size(3, 50)), options.size(10, 200));
    let (hub_dir, edge_dir) = (options.scratch()?, options.edge_scratch()?);
    let mut hub = Hub::start(hub_dir.path()).await?;
    let events = hub.make(PROFILES).await?;
    let mut daemons = vec![];
    let (seen, mut arrivals) = mpsc::channel(edges * 4);
    for number in 0..edges {
        let edge = join_edge(&mut hub, number, edge_dir.path(), vec![]).await?;
        wait_events(&edge, events).await?;
        daemons.push(edge);
    }
    let mut watches = tokio::task::JoinSet::new();
    daemons.iter().for_each(|edge| drop(watches.spawn(watch(edge, seen.clone()))));
    sleep(PAUSE).await;
    let (mut all, mut last, mut durable) = (vec![], vec![], vec![]);
    for value in 1..=changes {
        let started = Instant::now();
        hub.change(0, value).await?;
        durable.push(milliseconds(started.elapsed()));
        let mut slowest = 0.0_f64;
        for _ in 0..edges {
            let arrival = async {
                loop {
                    match arrivals.recv().await.context("an edge stopped")? {
                        arrival if arrival.value == value => return anyhow::Ok(arrival.at),
                        _ => continue,
                    }
                }
            };
            let at = timeout(PATIENCE, arrival).await.context("a change that does not arrive")??;
            let elapsed = milliseconds(at.saturating_duration_since(started));
            slowest = slowest.max(elapsed);
            all.push(elapsed);
        }
        last.push(slowest);
        sleep(PAUSE).await;
    }
    watches.shutdown().await;
    for edge in daemons {
        edge.stop().await?;
    }
    hub.stop().await?;
    let about = format!(
        "{changes} changes, one at a time, on a hub in its own process; {edges} edges in another, each with its own store, durable before visible"
    );
    let mut section = Section::new("visible", about);
    let kinds = [
        ("change durable on the hub", durable),
        ("change visible on an edge", all),
        ("change visible on all edges", last),
    ];
    let kinds = kinds.map(|(what, values)| (what, values.into_iter().collect::<Samples>()));
    kinds.iter().for_each(|(what, samples)| section.spread(what, samples, "ms"));
    let title = format!("From a change on a hub to {edges} edges, durable before visible");
    let kinds: Vec<_> = kinds.iter().map(|(what, samples)| (*what, samples)).collect();
    section.plot(Plot::percentiles("latency", &title, "ms", &kinds));
    Ok(section)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Says when an edge shows a new value, woken by its commits.
fn watch(edge: &Daemon, seen: mpsc::Sender<Seen>) -> impl Future<Output = ()> + Send + 'static {
    let (owner, mut positions) = (edge.runtime().owner.clone(), edge.runtime().positions());
    async move {
        let (document, mut before) = (workload::profile(0), 0);
        loop {
            let document = document.clone();
            let Ok(Ok(view)) = owner.read_async(move |node| node.replica.get(&document)).await else {
                return;
            };
            let value = view.and_then(|view| workload::value(&view.resource)).unwrap_or(0);
            if value != before {
                before = value;
                if seen.send(Seen { value, at: Instant::now() }).await.is_err() {
                    return;
                }
            }
            if positions.changed().await.is_err() {
                return;
            }
        }
    }
}
