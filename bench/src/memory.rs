//! Resident memory of edges and of a hub, each a `driftless` process of its own.

use std::time::Duration;

use tokio::time::sleep;

use crate::child::ANY;
use crate::fleet::{Hub, Program, join_edge, site, wait_in_sync};
use crate::options::Options;
use crate::process::{cpu_seconds, resident};
use crate::report::Section;
use crate::samples::Samples;

/// Profiles of 1 KB that every node holds.
const PROFILES: usize = 1_000;
const MIB: f64 = (1 << 20) as f64;
const KIB: f64 = 1024.0;

/// Starts a hub without edges, then with them, and looks at each process when all is quiet.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Section> {
    tokio::runtime::Runtime::new()?.block_on(run(options))
}

async fn run(options: &Options) -> anyhow::Result<Section> {
    let edges = options.edges.unwrap_or(options.size(2, 50)).max(1);
    let quiet = options.size(Duration::from_millis(500), Duration::from_secs(10));
    let dir = options.scratch()?;
    let hub_dir = dir.path().join("hub-1");
    let edge_dir = |number| dir.path().join(site(number));

    // All join first: what a hub keeps of an edge that is not there is not what a connection takes.
    let mut hub = Hub::start(&hub_dir).await?;
    hub.make(PROFILES).await?;
    for number in 0..edges {
        join_edge(&mut hub, number, dir.path(), vec![]).await?.stop().await?;
    }
    let address = hub.quic();
    hub.stop().await?;

    let hub = Program::start("hub", &hub_dir, address).await?;
    sleep(quiet).await;
    let alone = resident(hub.pid()?)?;
    let mut processes = vec![];
    for number in 0..edges {
        processes.push(Program::start("edge", &edge_dir(number), ANY).await?);
    }
    wait_in_sync(&hub_dir, edges).await?;
    sleep(quiet).await;
    let connected = resident(hub.pid()?)?;
    let (mut totals, mut owns, mut cpus) = (vec![], vec![], vec![]);
    for edge in &processes {
        let memory = resident(edge.pid()?)?;
        totals.push(memory.total as f64 / MIB);
        owns.push(memory.own as f64 / MIB);
        cpus.push(cpu_seconds(edge.pid()?)?);
    }
    sleep(quiet).await;
    let mut idle = vec![];
    for (edge, before) in processes.iter().zip(cpus) {
        idle.push(100.0 * (cpu_seconds(edge.pid()?)? - before) / quiet.as_secs_f64());
    }
    for edge in processes {
        edge.stop().await?;
    }
    hub.stop().await?;

    let about = format!(
        "{edges} edges that hold {PROFILES} profiles of 1 KB, in sync and quiet for {} s",
        quiet.as_secs_f64()
    );
    let mut section = Section::new("memory", about);
    let samples = |values: Vec<f64>| values.into_iter().collect::<Samples>();
    section.spread("edge, resident", &samples(totals), "MiB");
    section.spread("edge, of that heap and stacks", &samples(owns), "MiB");
    section.median("edge, CPU when idle, median", &samples(idle), "% of a core");
    section.figure("hub without edges, resident", alone.total as f64 / MIB, "MiB");
    section.figure("hub with all edges, resident", connected.total as f64 / MIB, "MiB");
    let per_edge = (connected.total as f64 - alone.total as f64) / edges as f64 / KIB;
    section.figure("hub, per connected edge", per_edge, "KiB");
    Ok(section)
}
