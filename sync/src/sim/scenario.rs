//! What a run consists of: a fleet, links, a workload, faults. With a seed it determines everything.

use std::ops::Range;

/// One experiment. All times are virtual milliseconds.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name, as in the command that replays it.
    pub name: String,
    /// Number of hubs, at least one; all hold everything and peer with each other.
    pub hubs: usize,
    /// Number of sites.
    pub sites: usize,
    /// Nodes of each site; those of one site peer with each other.
    pub nodes_per_site: usize,
    /// How long work and faults go on.
    pub busy_ms: u64,
    /// How long the fleet may take to converge once every fault has ended.
    pub settle_ms: u64,
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
    /// Time from one end to the other.
    pub latency_ms: Range<u64>,
    /// What may be added to it for each frame.
    pub jitter_ms: u64,
    /// Bytes per second in each direction.
    pub bytes_per_second: u64,
    /// After how long without the other side a connection ends.
    pub idle_timeout_ms: u64,
}

/// Mean times between writes; 0 for never.
#[derive(Debug, Clone)]
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
}

/// Mean times between faults; 0 for never.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Between broken connections.
    pub break_every_ms: u64,
    /// Between partitions.
    pub partition_every_ms: u64,
    /// How long a partition lasts.
    pub partition_ms: u64,
    /// Between crashes; the node starts again with what was durable.
    pub crash_every_ms: u64,
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
}

impl Scenario {
    /// A small fleet on decent links, at work, without faults.
    pub fn calm(hubs: usize, sites: usize) -> Self {
        Self {
            name: "calm".into(),
            hubs,
            sites,
            nodes_per_site: 1,
            busy_ms: 20_000,
            settle_ms: 60_000,
            links: Links {
                latency_ms: 5..60,
                jitter_ms: 10,
                bytes_per_second: 10_000_000,
                idle_timeout_ms: 15_000,
            },
            work: Work {
                operator_every_ms: 400,
                site_every_ms: 300,
                checkpoint_every_ms: 0,
                void_every_ms: 5_000,
                burst_max: 8,
            },
            faults: Faults::default(),
        }
    }

    /// Twenty nodes and everything that can go wrong.
    pub fn storm() -> Self {
        let mut scenario = Self::calm(3, 15);
        scenario.name = "storm".into();
        scenario.nodes_per_site = 1;
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
}
