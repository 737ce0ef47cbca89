//! Scenario files: what of a fleet can be said in TOML, with its defaults.

use std::path::Path;

use anyhow::{Context as _, ensure};
use driftless_sync::sim::{Faults, Link, Links, Outage, Rate, Scenario, Work};
use serde::Deserialize;

use super::recordings::{self, RecordingFile};

/// Scenarios that come with the program.
pub(super) const BUILT_IN: [(&str, &str); 4] = [
    ("quick", include_str!("../../scenarios/quick.toml")),
    ("outage", include_str!("../../scenarios/outage.toml")),
    ("policy", include_str!("../../scenarios/policy.toml")),
    ("federation", include_str!("../../scenarios/federation.toml")),
];

/// Most nodes of a fleet; each has a key of its own.
const NODES_MAX: usize = 65_000;
const MS_PER_HOUR: f64 = 3_600_000.0;

/// A scenario as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(skip)]
    pub(super) name: String,
    pub(super) about: String,
    #[serde(default = "one")]
    pub(super) seed: u64,
    pub(super) regions: usize,
    pub(super) hubs_per_region: usize,
    pub(super) sites: usize,
    #[serde(default = "one_node")]
    pub(super) nodes_per_site: usize,
    pub(super) machines_per_site: usize,
    /// Events of operators in each site's scope before the run.
    #[serde(default)]
    pub(super) history_per_site: usize,
    pub(super) busy_seconds: u64,
    #[serde(default = "ten_minutes")]
    pub(super) settle_seconds: u64,
    #[serde(default = "one")]
    pub(super) step_seconds: u64,
    #[serde(default)]
    pub(super) links: LinksFile,
    #[serde(default)]
    pub(super) work: WorkFile,
    #[serde(default)]
    pub(super) faults: FaultsFile,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LinksFile {
    within_region: LinkFile,
    between_regions: LinkFile,
    edges: LinkFile,
    idle_timeout_seconds: u64,
}

/// One kind of link: a constant rate, or recordings of which each connection follows one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkFile {
    latency_ms: [u64; 2],
    #[serde(default)]
    jitter_ms: u64,
    kbit_per_second: Option<u64>,
    #[serde(default)]
    recordings: Vec<RecordingFile>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WorkFile {
    /// Of each machine.
    machine_changes_per_hour: f64,
    followed_one_in: u64,
    /// Of the whole fleet.
    operator_changes_per_hour: f64,
    pub(super) policies_at_seconds: Vec<u64>,
    until_seconds: Option<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FaultsFile {
    break_every_seconds: u64,
    partition_every_seconds: u64,
    region_partition_every_seconds: u64,
    partition_seconds: u64,
    crash_every_seconds: u64,
    hub_failure_every_seconds: u64,
    hub_failure_seconds: u64,
    pub(super) outage: Option<OutageFile>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutageFile {
    at_seconds: u64,
    down_seconds: u64,
    return_seconds: u64,
}

impl Default for LinksFile {
    fn default() -> Self {
        let link = |latency_ms, jitter_ms, kbit_per_second| LinkFile {
            latency_ms,
            jitter_ms,
            kbit_per_second: Some(kbit_per_second),
            recordings: vec![],
        };
        Self {
            within_region: link([1, 5], 1, 1_000_000),
            between_regions: link([30, 120], 10, 100_000),
            edges: link([10, 80], 20, 10_000),
            idle_timeout_seconds: 30,
        }
    }
}

impl File {
    /// Reads a scenario from a file.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let about = || {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            format!("reading the scenario {} (built in are {})", path.display(), names.join(", "))
        };
        let text = std::fs::read_to_string(path).with_context(about)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text)
    }

    /// Reads a scenario from its text.
    pub(super) fn parse(name: &str, text: &str) -> anyhow::Result<Self> {
        let file: Self = toml::from_str(text).with_context(|| format!("in the scenario {name}"))?;
        Ok(Self { name: name.to_owned(), ..file })
    }

    /// What is to be run; reads the recordings of links.
    pub(super) fn scenario(&self) -> anyhow::Result<Scenario> {
        let hubs = self.regions * self.hubs_per_region;
        ensure!(hubs > 0 && self.sites > 0, "a fleet has at least one hub and one site");
        ensure!(self.machines_per_site > 0, "a site has at least one machine");
        let nodes = self.sites.saturating_mul(self.nodes_per_site) + hubs;
        ensure!(nodes <= NODES_MAX, "{nodes} nodes are too many: at most {NODES_MAX}");
        Ok(Scenario {
            name: self.name.clone(),
            regions: self.regions,
            hubs,
            sites: self.sites,
            nodes_per_site: self.nodes_per_site,
            machines: self.machines_per_site,
            history: self.history_per_site,
            hubs_alike: true,
            busy_ms: ms(self.busy_seconds),
            settle_ms: ms(self.settle_seconds),
            step_ms: ms(self.step_seconds.max(1)),
            links: self.links.links()?,
            work: self.work.work(self.sites * self.machines_per_site),
            faults: self.faults.faults(),
        })
    }
}

impl LinksFile {
    fn links(&self) -> anyhow::Result<Links> {
        Ok(Links {
            within_region: self.within_region.link()?,
            between_regions: self.between_regions.link()?,
            edges: self.edges.link()?,
            idle_timeout_ms: ms(self.idle_timeout_seconds),
        })
    }
}

impl LinkFile {
    fn link(&self) -> anyhow::Result<Link> {
        let rate = match (self.kbit_per_second, self.recordings.is_empty()) {
            (Some(kbit), true) => Rate::Constant(kbit * 1_000 / 8),
            (None, false) => Rate::Recorded(recordings::read(&self.recordings)?),
            _ => anyhow::bail!("a link has either kbit_per_second or recordings"),
        };
        let [from_ms, to_ms] = self.latency_ms;
        Ok(Link { latency_ms: from_ms..to_ms.max(from_ms) + 1, jitter_ms: self.jitter_ms, rate })
    }
}

impl WorkFile {
    fn work(&self, machines: usize) -> Work {
        Work {
            operator_every_ms: every_ms(self.operator_changes_per_hour),
            burst_max: 1,
            machine_every_ms: every_ms(self.machine_changes_per_hour * machines as f64),
            machines_per_followed: self.followed_one_in,
            policies_ms: self.policies_at_seconds.iter().copied().map(ms).collect(),
            until_ms: self.until_seconds.map(ms),
            ..Work::default()
        }
    }
}

impl FaultsFile {
    fn faults(&self) -> Faults {
        Faults {
            break_every_ms: ms(self.break_every_seconds),
            partition_every_ms: ms(self.partition_every_seconds),
            region_partition_every_ms: ms(self.region_partition_every_seconds),
            partition_ms: ms(self.partition_seconds),
            crash_every_ms: ms(self.crash_every_seconds),
            hub_failure_every_ms: ms(self.hub_failure_every_seconds),
            hub_failure_ms: ms(self.hub_failure_seconds),
            outage: self.outage.as_ref().map(|outage| Outage {
                at_ms: ms(outage.at_seconds),
                down_ms: ms(outage.down_seconds),
                return_ms: ms(outage.return_seconds),
            }),
            ..Faults::default()
        }
    }
}

fn ms(seconds: u64) -> u64 {
    seconds * 1_000
}

/// The mean time between events of a rate; 0, which means never, for none.
fn every_ms(per_hour: f64) -> u64 {
    if per_hour > 0.0 { (MS_PER_HOUR / per_hour).round().max(1.0) as u64 } else { 0 }
}

fn one() -> u64 {
    1
}

fn one_node() -> usize {
    1
}

fn ten_minutes() -> u64 {
    600
}
