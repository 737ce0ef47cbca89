//! What a run consists of: a fleet, links, a workload, faults. With a seed it determines everything.

use std::ops::Range;
use std::sync::Arc;

use super::capacity::Capacity;

/// One experiment. All times are virtual milliseconds.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name, as in the command that replays it.
    pub name: String,
    /// Number of regions; hubs and sites are spread over them evenly.
    pub regions: usize,
    /// Number of hubs, at least one for each region; all hold everything and peer with each other.
    pub hubs: usize,
    /// Number of sites.
    pub sites: usize,
    /// Nodes of each site; those of one site peer with each other.
    pub nodes_per_site: usize,
    /// Machines of each site.
    pub machines: usize,
    /// Events of operators in the scope of each site before the run begins.
    pub history: usize,
    /// Whether all hubs hold what was written before; if not, the first does and the others fetch it.
    pub hubs_alike: bool,
    /// How long work and faults go on.
    pub busy_ms: u64,
    /// How long the fleet may take to converge once every fault has ended.
    pub settle_ms: u64,
    /// How often properties are looked at while work and faults go on.
    pub step_ms: u64,
    /// What connections are like.
    pub links: Links,
    /// What people and sites write.
    pub work: Work,
    /// What goes wrong.
    pub faults: Faults,
}

/// What connections are like.
#[derive(Debug, Clone)]
pub struct Links {
    /// Between nodes of one site and hubs of one region.
    pub within_region: Link,
    /// Between hubs of different regions.
    pub between_regions: Link,
    /// Between edges and hubs.
    pub edges: Link,
    /// After how long without the other side a connection ends.
    pub idle_timeout_ms: u64,
}

/// What one kind of connection is like.
#[derive(Debug, Clone)]
pub struct Link {
    /// Time from one end to the other; drawn once for each connection.
    pub latency_ms: Range<u64>,
    /// What may be added to it for each frame.
    pub jitter_ms: u64,
    /// How fast it carries.
    pub rate: Rate,
}

/// How fast connections carry bytes.
#[derive(Debug, Clone)]
pub enum Rate {
    /// Bytes per second in each direction.
    Constant(u64),
    /// As one of these recordings, from a random place in it.
    Recorded(Vec<Recording>),
}

/// The recorded capacity of a link.
#[derive(Debug, Clone)]
pub struct Recording {
    /// From the node that dialled.
    pub up: Arc<Capacity>,
    /// Towards it.
    pub down: Arc<Capacity>,
}

/// Mean times between writes; 0 for never.
#[derive(Debug, Clone, Default)]
pub struct Work {
    /// Between writes of operators, at any hub.
    pub operator_every_ms: u64,
    /// Between writes of sites, at any of their nodes.
    pub site_every_ms: u64,
    /// Between checkpoints of what a site says of itself.
    pub checkpoint_every_ms: u64,
    /// Between events that a site signs without being allowed to.
    pub void_every_ms: u64,
    /// Most events of one write of an operator.
    pub burst_max: u64,
    /// Between changes of machines, each written by a node of its site.
    pub machine_every_ms: u64,
    /// Of so many changes of machines, the way of one to all hubs is followed; 0 for none.
    pub machines_per_followed: u64,
    /// When an operator changes a profile that every site holds; its way to all nodes is followed.
    pub policies_ms: Vec<u64>,
    /// When writing ends, if before faults do.
    pub until_ms: Option<u64>,
}

/// Mean times between faults; 0 for never.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Between broken connections.
    pub break_every_ms: u64,
    /// Between partitions.
    pub partition_every_ms: u64,
    /// Between partitions of a whole region from the others.
    pub region_partition_every_ms: u64,
    /// How long a partition lasts.
    pub partition_ms: u64,
    /// Between crashes; the node starts again with what was durable.
    pub crash_every_ms: u64,
    /// Between failures of hubs.
    pub hub_failure_every_ms: u64,
    /// How long a hub that has failed is down.
    pub hub_failure_ms: u64,
    /// Between restarts from an older image of the disk.
    pub rollback_every_ms: u64,
    /// Disks that are copied and started as a second node with the same key.
    pub copies: usize,
    /// Of a thousand connections, how many lose, repeat, reorder or damage frames.
    pub faulty_links_per_mille: u64,
    /// Of a thousand frames on such a connection, how many.
    pub faulty_frames_per_mille: u64,
    /// How far clocks are off, either way.
    pub skew_ms: u64,
    /// Between cuts by an operator.
    pub cut_every_ms: u64,
    /// The one time when all edges are away.
    pub outage: Option<Outage>,
}

/// All sites lose their links to hubs and get them back, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When it begins.
    pub at_ms: u64,
    /// How long no site has a link.
    pub down_ms: u64,
    /// Within how long after that all of them have one again.
    pub return_ms: u64,
}

impl Scenario {
    /// A small fleet on decent links, at work, without faults.
    pub fn calm(hubs: usize, sites: usize) -> Self {
        let link = Link { latency_ms: 5..60, jitter_ms: 10, rate: Rate::Constant(10_000_000) };
        Self {
            name: "calm".into(),
            regions: 1,
            hubs,
            sites,
            nodes_per_site: 1,
            machines: 3,
            history: 0,
            hubs_alike: false,
            busy_ms: 20_000,
            settle_ms: 60_000,
            step_ms: 1_000,
            links: Links {
                within_region: link.clone(),
                between_regions: link.clone(),
                edges: link,
                idle_timeout_ms: 15_000,
            },
            work: Work {
                operator_every_ms: 400,
                site_every_ms: 300,
                void_every_ms: 5_000,
                burst_max: 8,
                ..Work::default()
            },
            faults: Faults::default(),
        }
    }

    /// Twenty nodes and everything that can go wrong.
    pub fn storm() -> Self {
        let mut scenario = Self::calm(3, 15);
        scenario.name = "storm".into();
        scenario.busy_ms = 60_000;
        scenario.settle_ms = 180_000;
        scenario.faults = Faults {
            break_every_ms: 1_500,
            partition_every_ms: 12_000,
            partition_ms: 25_000,
            crash_every_ms: 4_000,
            rollback_every_ms: 15_000,
            copies: 2,
            faulty_links_per_mille: 200,
            faulty_frames_per_mille: 40,
            skew_ms: 3_600_000,
            cut_every_ms: 20_000,
            ..Faults::default()
        };
        scenario
    }

    /// The same with sites of three nodes each, which peer with each other and write checkpoints.
    pub fn several_nodes() -> Self {
        let mut scenario = Self::storm();
        scenario.name = "several_nodes".into();
        (scenario.sites, scenario.nodes_per_site) = (5, 3);
        scenario.work.checkpoint_every_ms = 1_500;
        scenario
    }

    /// Many sites, few faults: what a large fleet does to one hub.
    pub fn large(sites: usize) -> Self {
        let mut scenario = Self::calm(2, sites);
        scenario.name = "large".into();
        scenario.busy_ms = 20_000;
        scenario.work.site_every_ms = 10;
        scenario.work.burst_max = 2;
        scenario.faults.break_every_ms = 500;
        scenario
    }

    /// The region of a hub, by number.
    pub(crate) fn region_of_hub(&self, hub: usize) -> usize {
        hub * self.regions / self.hubs
    }

    /// What a connection between two nodes, by number and hubs first, is like.
    pub(crate) fn link_between(&self, a: usize, b: usize) -> &Link {
        match (a < self.hubs, b < self.hubs) {
            (true, true) if self.region_of_hub(a) != self.region_of_hub(b) => &self.links.between_regions,
            (true, true) | (false, false) => &self.links.within_region,
            (true, false) | (false, true) => &self.links.edges,
        }
    }

    /// The region of a site, by number.
    pub(crate) fn region_of_site(&self, site: usize) -> usize {
        site % self.regions
    }

    /// The hubs of a region.
    pub(crate) fn hubs_of(&self, region: usize) -> Vec<usize> {
        (0..self.hubs).filter(|hub| self.region_of_hub(*hub) == region).collect()
    }
}
