//! `demo`: a real fleet on this machine.
//!
//! Every node is a process of this same program with a data directory, certificates and sockets of its own, and
//! nothing here does anything that an operator could not do by hand: hubs and edges join with tokens, samples are
//! applied through the API. The children stop when their standard input ends, so none outlives the demo, however
//! it ends.

mod child;
mod fleet;
mod load;
mod plan;
mod screen;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::commands::verify;
use super::failure::Failure;
use super::print;
use fleet::Fleet;
use plan::Plan;

/// Longest wait until all edges hold the policy.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Most regions.
const REGIONS_MAX: usize = 16;
/// Most sites: each is a process.
const SITES_MAX: usize = 200;
/// The list of nodes.
const LIST: &str = "demo.json";

/// Run a fleet on this machine, to try things out
///
/// A hub for each region and an edge for each site, as processes of their own with real certificates, stores and
/// QUIC on loopback. Loads samples, prints what to try, and stays up until Ctrl-C, which stops every process.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  driftless demo
  driftless demo --dir fleet
  driftless demo --regions 3 --sites 12 --load data/

With --dir the data stays, and the same command resumes it. DIR/demo.json lists the nodes, DIR/NODE.log is what each
of them logs (RUST_LOG says how much).")]
pub struct Demo {
    /// How many regions, with a hub each [default: 2]
    #[arg(long, value_name = "N")]
    pub regions: Option<usize>,
    /// How many sites, with an edge each [default: 6]
    #[arg(long, value_name = "N")]
    pub sites: Option<usize>,
    /// Where data is kept; without, it is removed at the end
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Load the manifests and other systems' files in this directory instead of the samples
    #[arg(long, value_name = "DIR")]
    pub load: Option<PathBuf>,
}

impl Demo {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let dir = match &self.dir {
            Some(dir) => Directory::kept(dir)?,
            None => Directory::temporary()?,
        };
        let plan = self.plan(dir.path())?;
        let mut stop = Stop::listen()?;
        let mut fleet = Fleet::new(dir.path())?;
        let up = tokio::select! {
            up = self.bring_up(&mut fleet, &plan) => Some(up),
            () = stop.told() => None,
        };
        let outcome = match up {
            None => Ok(()),
            Some(Err(failure)) => Err(failure),
            Some(Ok(())) => {
                screen::show(&fleet, &plan, dir.path(), self.dir.is_some())?;
                watch(&mut fleet, &mut stop).await;
                Ok(())
            }
        };
        print::note("stopping every node…");
        fleet.stop().await;
        match &outcome {
            Ok(()) => dir.end(),
            // What the nodes logged tells why.
            Err(_) => dir.keep(),
        }
        outcome
    }

    fn plan(&self, dir: &Path) -> Result<Plan, Failure> {
        if let Some(plan) = Plan::resume(&dir.join(LIST))? {
            let (hubs, sites) = (plan.hubs().count(), plan.edges().count());
            if self.regions.is_some_and(|regions| regions != hubs)
                || self.sites.is_some_and(|count| count != sites)
            {
                return Err(Failure::Usage(format!(
                    "{} holds a fleet of {hubs} regions and {sites} sites; leave --regions and --sites out to resume it, or name \
                     another directory",
                    dir.display()
                )));
            }
            return Ok(plan);
        }
        let (regions, sites) = (self.regions.unwrap_or(2), self.sites.unwrap_or(6));
        if !(1..=REGIONS_MAX).contains(&regions) || sites > SITES_MAX {
            return Err(Failure::Usage(format!(
                "a demo has 1 to {REGIONS_MAX} regions and at most {SITES_MAX} sites, each a process"
            )));
        }
        Ok(Plan::new(dir, regions, sites))
    }

    async fn bring_up(&self, fleet: &mut Fleet, plan: &Plan) -> Result<(), Failure> {
        let said = if plan.is_resumed() { "resuming" } else { "starting" };
        print::note(&format!("{said} {} hubs and {} edges…", plan.hubs().count(), plan.edges().count()));
        fleet.start(plan).await?;
        fleet.write_list(LIST)?;
        match (&self.load, plan.is_resumed()) {
            (Some(files), _) => load::directory(fleet, files).await?,
            (None, false) => load::samples(fleet).await?,
            // What was loaded is there, and what was changed since must not be undone.
            (None, true) => {}
        }
        print::note("waiting until every edge holds the policy…");
        match verify::same_within(&fleet.dir().join(LIST), SETTLE_TIMEOUT).await? {
            true => Ok(()),
            false => Err(Failure::Demo(format!(
                "the nodes do not hold the same after {} s; their logs are in {}",
                SETTLE_TIMEOUT.as_secs(),
                fleet.dir().display()
            ))),
        }
    }
}

/// Stays until told to stop; says so when a node dies.
async fn watch(fleet: &mut Fleet, stop: &mut Stop) {
    loop {
        let died = tokio::select! {
            () = stop.told() => return,
            died = fleet.next_death() => died,
        };
        print::note(&died);
    }
}

/// Ctrl-C, SIGTERM.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |source| Failure::io("listen for", "signals", source);
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Where the demo keeps its data.
struct Directory {
    path: PathBuf,
    temporary: bool,
}

impl Directory {
    fn kept(dir: &Path) -> Result<Self, Failure> {
        let path = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        create(&path)?;
        Ok(Self { path, temporary: false })
    }

    fn temporary() -> Result<Self, Failure> {
        let mut random = [0; 4];
        getrandom::fill(&mut random)
            .map_err(|error| Failure::Demo(format!("the system gives no random numbers: {error}")))?;
        let name = format!("driftless-demo-{:08x}", u32::from_be_bytes(random));
        let path = std::env::temp_dir().join(name);
        create(&path)?;
        Ok(Self { path, temporary: true })
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn end(&self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            print::note(&format!("{} could not be removed: {error}", self.path.display()));
        }
    }

    fn keep(&self) {
        if self.temporary {
            print::note(&format!("{} is kept, so that the logs can be read", self.path.display()));
        }
    }
}

/// A directory that only its owner can look into: there are keys in it.
fn create(path: &Path) -> Result<(), Failure> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|source| Failure::io("create", path.display().to_string(), source))
}
