//! The command line.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};

use crate::environment::Environment;
use crate::report::{Section, print_environment};
use crate::virtual_fleet::VirtualFleet;
use crate::{
    child, commits, compare, document, hello, join, memory, merge, reopen, replay, resolve, swarm, visible,
    wire,
};

/// Measures Driftless; docs/BENCHMARKS.md says how to read it.
#[derive(Debug, Parser)]
#[command(name = "driftless-bench", version)]
pub(crate) struct Command {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    options: Options,
}

/// What all measurements share.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Small sizes: shows that everything runs, in a minute or two; the figures mean little.
    #[arg(long, global = true)]
    pub(crate) quick: bool,
    /// Write figures with their environment (JSON) and plots (SVG) into this directory, for `report`.
    #[arg(long, global = true, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where to make stores; the system's temporary directory unless given.
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Where edges in this process make theirs, such as /dev/shm; beside the others unless given.
    /// Fifty edges on the disk of one machine wait for one another as those of a fleet do not.
    #[arg(long, global = true, value_name = "DIR")]
    edge_dir: Option<PathBuf>,
    /// How many edges.
    #[arg(long, global = true)]
    pub(crate) edges: Option<usize>,
    /// How often to repeat what is timed; medians are reported.
    #[arg(long, global = true)]
    pub(crate) repeat: Option<usize>,
}

impl Options {
    /// `quick` in a smoke run, else `full`.
    pub(crate) fn size<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Where results are written to, if anywhere.
    pub(crate) fn out_dir(&self) -> Option<&Path> {
        self.out.as_deref()
    }

    /// How many times to measure.
    pub(crate) fn rounds(&self) -> usize {
        self.repeat.unwrap_or(self.size(1, 5)).max(1)
    }

    /// A new directory for stores, removed when it is dropped.
    pub(crate) fn scratch(&self) -> anyhow::Result<tempfile::TempDir> {
        scratch_in(&self.root())
    }

    /// A new directory for the stores of edges.
    pub(crate) fn edge_scratch(&self) -> anyhow::Result<tempfile::TempDir> {
        scratch_in(&self.edge_dir.clone().unwrap_or_else(|| self.root()))
    }

    /// The command that makes a section with these options; where it writes to is not said.
    fn command(&self, name: &str) -> String {
        let options = Self { out: None, ..self.clone() };
        ["driftless-bench", name]
            .into_iter()
            .map(str::to_owned)
            .chain(options.arguments())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// These options as another process takes them.
    fn arguments(&self) -> Vec<String> {
        let number = |value: Option<usize>| value.map(|value| value.to_string());
        let dir = |dir: &Option<PathBuf>| dir.as_ref().map(|dir| dir.display().to_string());
        let options = [
            ("--out", dir(&self.out)),
            ("--dir", dir(&self.dir)),
            ("--edge-dir", dir(&self.edge_dir)),
            ("--edges", number(self.edges)),
            ("--repeat", number(self.repeat)),
        ];
        let given = options.into_iter().filter_map(|(option, value)| Some([option.to_owned(), value?]));
        self.quick.then(|| "--quick".to_owned()).into_iter().chain(given.flatten()).collect()
    }

    fn root(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(std::env::temp_dir)
    }
}

fn scratch_in(dir: &Path) -> anyhow::Result<tempfile::TempDir> {
    let made = tempfile::Builder::new().prefix("driftless-bench-").tempdir_in(dir);
    made.with_context(|| format!("making a directory in {}", dir.display()))
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// Durable commits per second, beside raw fdatasync appends and raw sled.
    Commits,
    /// Events merged per second, bytes per event, share of signatures.
    Merge,
    /// The same reconciliation by vectors, rateless IBLT, negentropy and automerge's sync protocol.
    Compare,
    /// From a change on a hub to its being visible on edges over QUIC.
    Visible,
    /// Bytes on the wire per update, alone and in a burst, and of a reconnect with nothing new.
    Wire,
    /// An empty edge that joins over a link of 50 kbit/s: what comes first, how long, how many bytes.
    Join,
    /// The greeting of an edge that is in sync, frame by frame.
    Hello,
    /// Many edges on real QUIC in one process against a hub: storms, latencies, memory, bad peers.
    Swarm,
    /// What many sites should run: resolving, explaining, and what a changed profile reaches.
    Resolve,
    /// Real histories of many writers: whether replicas converge, and our merges beside people's.
    Replay,
    /// Reopening a large store.
    Reopen,
    /// Resident memory of edges, and of a hub per connected edge.
    Memory,
    /// All of the above.
    All,
    /// A fleet in virtual time, from a scenario file: thousands of sites in one thread.
    Fleet(VirtualFleet),
    /// Makes docs/BENCHMARKS.md of what was written with --out.
    Report {
        /// Where the results are.
        results: PathBuf,
        /// The directory of the documents; figures go to `figures` in it.
        #[arg(long, value_name = "DIR", default_value = "docs")]
        to: PathBuf,
    },
    /// A process that another measurement starts.
    #[command(hide = true)]
    Child {
        #[command(subcommand)]
        role: child::Role,
    },
}

impl Command {
    /// Measures what was asked for, prints and writes it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let what = match self.what {
            What::Child { role } => return child::run(role),
            What::Report { results, to } => return document::write(&results, &to),
            what => what,
        };
        let options = &self.options;
        if let Some(dir) = &options.out {
            std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        }
        if let What::All = what {
            return all(options);
        }
        if let What::Fleet(fleet) = what {
            return run(&fleet.command(), |options| fleet.measure(options.quick), options);
        }
        let mut measured = MEASUREMENTS.into_iter().filter(|(name, _)| what.includes(name));
        measured.try_for_each(|(name, measure)| run(name, measure, options))
    }
}

/// Runs every measurement in a process of its own: what one leaves in memory is no figure of the next, and
/// what one found is not lost when another fails.
fn all(options: &Options) -> anyhow::Result<()> {
    let mut failed = vec![];
    for (name, _) in MEASUREMENTS {
        let mut command = std::process::Command::new(std::env::current_exe()?);
        if !command.arg(name).args(options.arguments()).status()?.success() {
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn run(
    name: &str,
    measure: impl FnOnce(&Options) -> anyhow::Result<Section>,
    options: &Options,
) -> anyhow::Result<()> {
    let environment = Environment::here(&options.root());
    print_environment(&environment);
    let section = measure(options)?;
    section.print();
    match &options.out {
        Some(dir) => section.write(dir, &options.command(name), &environment),
        None => Ok(()),
    }
}

type Measure = fn(&Options) -> anyhow::Result<Section>;

/// Every measurement, by the name of its command.
const MEASUREMENTS: [(&str, Measure); 12] = [
    ("commits", commits::measure),
    ("merge", merge::measure),
    ("compare", compare::measure),
    ("visible", visible::measure),
    ("wire", wire::measure),
    ("join", join::measure),
    ("hello", hello::measure),
    ("swarm", swarm::measure),
    ("resolve", resolve::measure),
    ("replay", replay::measure),
    ("reopen", reopen::measure),
    ("memory", memory::measure),
];

impl What {
    fn includes(&self, name: &str) -> bool {
        let only = match self {
            Self::Commits => "commits",
            Self::Merge => "merge",
            Self::Compare => "compare",
            Self::Visible => "visible",
            Self::Wire => "wire",
            Self::Join => "join",
            Self::Hello => "hello",
            Self::Swarm => "swarm",
            Self::Resolve => "resolve",
            Self::Replay => "replay",
            Self::Reopen => "reopen",
            Self::Memory => "memory",
            Self::All | Self::Fleet(_) | Self::Report { .. } | Self::Child { .. } => return false,
        };
        name == only
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &str) -> Command {
        let program = ["driftless-bench"].into_iter();
        Command::try_parse_from(program.chain(arguments.split(' '))).expect("arguments of this program")
    }

    #[test]
    fn a_command_runs_the_measurement_of_its_name_and_no_other() {
        for (name, _) in MEASUREMENTS {
            let what = parsed(name).what;
            let run: Vec<&str> =
                MEASUREMENTS.iter().map(|(name, _)| *name).filter(|name| what.includes(name)).collect();
            assert_eq!(run, [name]);
            assert!(!parsed("report results").what.includes(name));
        }
    }

    #[test]
    fn a_fleet_says_what_differs_from_its_scenario() {
        let What::Fleet(fleet) = parsed("fleet --scenario outage --history 0,20 --sites 7").what else {
            panic!()
        };
        assert_eq!(fleet.command(), "fleet --scenario outage --sites 7 --history 0,20");
    }

    #[test]
    fn a_section_says_which_command_makes_it_again() {
        let options = parsed("all --quick --edges 7 --out results --edge-dir /dev/shm").options;
        assert_eq!(options.command("wire"), "driftless-bench wire --quick --edge-dir /dev/shm --edges 7");
        assert_eq!(parsed("wire").options.command("wire"), "driftless-bench wire");
        let passed_on = format!("wire {}", options.arguments().join(" "));
        assert_eq!(parsed(&passed_on).options.arguments(), options.arguments());
    }
}
