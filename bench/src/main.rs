//! Measurements of Driftless. `docs/BENCHMARKS.md` holds the commands, the figures and what they say.
//!
//! Every figure is computed from what a run observed; none is written in the code. Where a time
//! matters, what it is compared with is measured in the same run, on the same disk.

#![allow(clippy::disallowed_methods, reason = "measuring means reading clocks")]

mod child;
mod commits;
mod compare;
mod document;
mod environment;
mod fleet;
mod hello;
mod join;
mod memory;
mod merge;
mod options;
mod pair;
mod plot;
mod process;
mod progress;
mod relay;
mod reopen;
mod replay;
mod report;
mod resolve;
mod samples;
mod swarm;
mod virtual_fleet;
mod visible;
mod wire;
mod workload;

use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    options::Command::parse().run()
}
