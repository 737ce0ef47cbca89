//! Fleets in virtual time: the engine, the replicas and the signatures of production, everything else
//! simulated.
//!
//! A scenario file says what the fleet is and what happens to it; with a seed it determines the whole
//! run. Counts and virtual times are exact and repeat on any machine. What is real, the wall time and the
//! memory, is that of one thread of this process.

mod file;
mod recordings;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::anyhow;
use clap::Args;
use driftless_sync::sim::{Glance, Report, Scenario, run_watched};

use crate::process::{resident, thread_cpu_seconds};
use crate::report::Section;
use crate::samples::Samples;
use file::File;

/// How often progress is shown, in seconds.
const PROGRESS_SECONDS: f64 = 2.0;

/// Which fleet, and what differs from its file.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct VirtualFleet {
    /// A scenario file, or the name of a built-in scenario; `outage` unless given, `quick` with --quick.
    #[arg(long, value_name = "FILE")]
    scenario: Option<String>,
    /// List the built-in scenarios.
    #[arg(long)]
    list: bool,
    /// How many sites.
    #[arg(long)]
    sites: Option<usize>,
    /// How many regions.
    #[arg(long)]
    regions: Option<usize>,
    /// How many hubs in each region.
    #[arg(long)]
    hubs_per_region: Option<usize>,
    /// How many machines at each site.
    #[arg(long)]
    machines: Option<usize>,
    /// How many events the log holds of each site before; several numbers give several runs.
    #[arg(long, value_delimiter = ',', value_name = "EVENTS")]
    history: Vec<usize>,
    /// How long work and faults go on, in virtual seconds.
    #[arg(long, value_name = "SECONDS")]
    busy: Option<u64>,
    /// Determines, with the scenario, everything that happens.
    #[arg(long)]
    seed: Option<u64>,
}

impl VirtualFleet {
    /// Runs the scenario, once for each history.
    pub(crate) fn measure(&self, quick: bool) -> anyhow::Result<Section> {
        if self.list {
            return Ok(list());
        }
        let file = self.file(quick)?;
        let about = format!("{}, in virtual time", file.about);
        let mut section = Section::new(format!("fleet-{}", file.name), about);
        let histories =
            if self.history.is_empty() { vec![file.history_per_site] } else { self.history.clone() };
        let several = histories.len() > 1;
        for history in histories {
            let file = File { history_per_site: history, ..file.clone() };
            let prefix =
                if several { format!("{history} events of history per site: ") } else { String::new() };
            run_one(&file, &prefix, &mut section)?;
        }
        Ok(section)
    }

    /// The command that repeats this.
    pub(crate) fn command(&self) -> String {
        let history: Vec<String> = self.history.iter().map(usize::to_string).collect();
        let number = |value: Option<usize>| value.map(|value| value.to_string());
        let given = [
            ("--scenario", self.scenario.clone()),
            ("--sites", number(self.sites)),
            ("--regions", number(self.regions)),
            ("--hubs-per-region", number(self.hubs_per_region)),
            ("--machines", number(self.machines)),
            ("--history", (!history.is_empty()).then(|| history.join(","))),
            ("--busy", self.busy.map(|seconds| seconds.to_string())),
            ("--seed", self.seed.map(|seed| seed.to_string())),
        ];
        let options = given.into_iter().filter_map(|(option, value)| Some(format!(" {option} {}", value?)));
        "fleet".to_owned() + &options.collect::<String>()
    }

    fn file(&self, quick: bool) -> anyhow::Result<File> {
        let name = self.scenario.as_deref().unwrap_or(if quick { "quick" } else { "outage" });
        let mut file = match file::BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            Some((name, text)) => File::parse(name, text)?,
            None => File::read(&PathBuf::from(name))?,
        };
        let over = |given: Option<usize>, value: &mut usize| *value = given.unwrap_or(*value);
        over(self.sites, &mut file.sites);
        over(self.regions, &mut file.regions);
        over(self.hubs_per_region, &mut file.hubs_per_region);
        over(self.machines, &mut file.machines_per_site);
        file.busy_seconds = self.busy.unwrap_or(file.busy_seconds);
        file.seed = self.seed.unwrap_or(file.seed);
        Ok(file)
    }
}

fn list() -> Section {
    let mut section = Section::new("fleet", "the built-in scenarios, and the sites of each");
    for (name, text) in file::BUILT_IN {
        if let Ok(file) = File::parse(name, text) {
            section.figure(format!("{name}: {}", file.about), file.sites as f64, "sites");
        }
    }
    section
}

fn run_one(file: &File, prefix: &str, section: &mut Section) -> anyhow::Result<()> {
    let scenario = file.scenario()?;
    let started = Instant::now();
    let mut shown = 0.0;
    let cpu_before = thread_cpu_seconds();
    let outcome = run_watched(&scenario, file.seed, &mut |glance| {
        let seconds = started.elapsed().as_secs_f64();
        if seconds - shown >= PROGRESS_SECONDS {
            shown = seconds;
            progress(&scenario, &glance, seconds);
        }
    });
    let report = outcome.map_err(|failure| {
        let broken = failure.broken;
        let (name, seed) = (failure.scenario, failure.seed);
        anyhow!("{name}, seed {seed}, at {} ms: {}: {}", broken.at_ms, broken.property, broken.detail)
    })?;
    let cpu_seconds = thread_cpu_seconds() - cpu_before;
    let mut figures = Figures { section, prefix };
    figures.run(&scenario, &report);
    figures.took("wall time", started.elapsed().as_secs_f64(), "s");
    figures.took("CPU time", cpu_seconds, "s");
    let peak = resident(std::process::id())?.peak;
    figures.took("peak memory of this process so far", peak as f64 / 1e6, "MB");
    eprintln!("{}: seed {}, trace {}", scenario.name, report.seed, report.trace);
    Ok(())
}

fn progress(scenario: &Scenario, glance: &Glance, seconds: f64) {
    eprintln!(
        "{}: {} of {} s virtual, {} happenings, {} writes, {} connections, {seconds:.0} s",
        scenario.name,
        glance.virtual_ms / 1_000,
        glance.busy_ms / 1_000,
        glance.happenings,
        glance.writes,
        glance.connections,
    );
}

/// Figures of one run among several in a section.
struct Figures<'a> {
    section: &'a mut Section,
    prefix: &'a str,
}

impl Figures<'_> {
    fn took(&mut self, what: &str, value: f64, unit: &'static str) {
        self.section.figure(format!("{}{what}", self.prefix), value, unit);
    }

    fn count(&mut self, what: &str, value: u64, unit: &'static str) {
        self.took(what, value as f64, unit);
    }

    fn spread(&mut self, what: &str, took_ms: &[u64]) {
        let samples: Samples = took_ms.iter().map(|ms| *ms as f64).collect();
        if samples.len() > 0 {
            self.section.spread(&format!("{}{what}", self.prefix), &samples, "ms");
        }
    }

    fn run(&mut self, scenario: &Scenario, report: &Report) {
        self.count("nodes", report.nodes as u64, "");
        self.count("hubs", scenario.hubs as u64, "");
        self.count("virtual time", report.virtual_ms / 1_000, "s");
        self.count("happenings", report.totals.happenings, "");
        for (fault, times) in &report.totals.faults {
            self.count(fault, *times, "");
        }
        self.count("events in the log of a hub", report.events, "");
        self.count("writes", report.totals.writes, "");
        self.count("acknowledged writes", report.totals.acknowledged, "");
        self.count("of these held by every hub in the end", report.acknowledged, "");
        self.count("converged after the last fault, within", report.converged_ms, "ms");
        self.spread("a profile's change durable at a node", &report.policy_ms);
        self.spread("a machine's change durable at another hub", &report.machine_ms);
        self.count("followed changes that did not arrive", report.not_arrived as u64, "");
        self.took("each event received by a hub", report.hubs.times_received(), "times");
        self.count("between hubs and edges", report.totals.to_edges.bytes, "B");
        self.count("between hubs", report.totals.between_hubs.bytes, "B");
        self.count("a reconnect with nothing new, larger direction", report.greeting_bytes_max, "B");
        let sessions = &report.sessions_max;
        self.count("sessions at a hub, most memory", sessions.bytes as u64, "B");
        self.count("of these sessions", sessions.sessions as u64, "");
        self.count("chains in their vectors", sessions.chains as u64, "");
        let Some(returned) = &report.returned else { return };
        self.count("edges that returned", returned.edges, "");
        let cost = &returned.cost;
        let rows = [
            ("frames to and from a hub", cost.frames, "frames"),
            ("bytes of these", cost.bytes, "B"),
            ("events taken by hubs", cost.received, "events"),
            ("searches of the log", cost.log_searches, "searches"),
            ("bytes of log read for sending", cost.log_bytes_read, "B"),
            ("records read from the store", cost.store_records_read, "records"),
            ("bytes of these records", cost.store_bytes_read, "B"),
        ];
        for (what, total, unit) in rows {
            let each = total as f64 / returned.edges.max(1) as f64;
            self.took(&format!("per returning edge, {what}"), each, unit);
        }
    }
}
