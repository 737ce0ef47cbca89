//! The command line.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::environment::Environment;
use crate::report::{Section, print_environment, write_json};
use crate::virtual_fleet::VirtualFleet;
use crate::{child, commits, hello, memory, merge, reopen, visible, wire};

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
    /// Small sizes: shows that everything runs, in less than a minute; the figures mean little.
    #[arg(long, global = true)]
    pub(crate) quick: bool,
    /// Write the figures, with the environment, to this file.
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
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
    /// From a change on a hub to its being visible on edges over QUIC.
    Visible,
    /// Bytes on the wire per update, alone and in a burst, and of a reconnect with nothing new.
    Wire,
    /// The greeting of an edge that is in sync, frame by frame.
    Hello,
    /// Reopening a large store.
    Reopen,
    /// Resident memory of edges, and of a hub per connected edge.
    Memory,
    /// All of the above.
    All,
    /// A fleet in virtual time, from a scenario file: thousands of sites in one thread.
    Fleet(VirtualFleet),
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
        if let What::Child { role } = self.what {
            return child::run(role);
        }
        let options = &self.options;
        let environment = Environment::here(&options.root());
        print_environment(&environment);
        let mut sections = vec![];
        if let What::Fleet(fleet) = &self.what {
            let section = fleet.measure(options.quick)?;
            section.print();
            sections.push(section);
        }
        for measure in self.what.measurements() {
            let section = measure(options)?;
            section.print();
            sections.push(section);
        }
        match &options.json {
            Some(path) => write_json(path, &environment, &sections),
            None => Ok(()),
        }
    }
}

type Measure = fn(&Options) -> anyhow::Result<Section>;

impl What {
    fn measurements(&self) -> Vec<Measure> {
        match self {
            Self::Commits => vec![commits::measure],
            Self::Merge => vec![merge::measure],
            Self::Visible => vec![visible::measure],
            Self::Wire => vec![wire::measure],
            Self::Hello => vec![hello::measure],
            Self::Reopen => vec![reopen::measure],
            Self::Memory => vec![memory::measure],
            Self::All => vec![
                commits::measure,
                merge::measure,
                visible::measure,
                wire::measure,
                hello::measure,
                reopen::measure,
                memory::measure,
            ],
            Self::Fleet(_) | Self::Child { .. } => vec![],
        }
    }
}
