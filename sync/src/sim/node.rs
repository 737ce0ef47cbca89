//! A simulated node: the real replica and the real engine on a disk in memory.

use std::collections::BTreeSet;

use driftless_core::ids::{Author, Boot, EventId};
use driftless_core::name::{Document, Scope};
use driftless_core::replica::{Config, Replica};
use driftless_core::store::MemoryStore;

use super::follow::Audience;
use super::report::Cost;
use crate::proto::{Engine, EngineConfig, Interest, Limits, PeerInfo, PeerKind};

/// Index of a node in the world.
pub(crate) type NodeId = usize;

/// A machine with its disk, running or not.
pub(crate) struct Node {
    pub(crate) kind: PeerKind,
    /// Its fleet and key; a copy has its original's.
    pub(crate) identity: Config,
    author: Author,
    pub(crate) uplinks: Vec<Uplink>,
    pub(crate) running: Option<Running>,
    /// What survives while it is not running.
    pub(crate) disk: MemoryStore,
    /// An older state of the disk, and when it was taken.
    pub(crate) image: Option<(u64, MemoryStore)>,
    pub(crate) skew_ms: i64,
    /// Until then it has no link to anybody.
    pub(crate) away_until: u64,
    /// What earlier runs have cost.
    past: Cost,
    interest: Interest,
    /// Grows with every start, so that what was scheduled for an earlier run is ignored.
    pub(crate) run: u64,
}

/// A connection that the node wants to keep up.
#[derive(Clone)]
pub(crate) struct Uplink {
    pub(crate) targets: Vec<NodeId>,
    pub(crate) next: usize,
    pub(crate) attempts: u32,
    pub(crate) connection: Option<u64>,
    /// Whether the first target is tried first whenever a connection has ended.
    pub(crate) home_first: bool,
}

/// The part of a node that a crash loses.
pub(crate) struct Running {
    pub(crate) replica: Replica<MemoryStore>,
    pub(crate) engine: Engine,
    pub(crate) wake_at: Option<u64>,
    pub(crate) commit_due: bool,
    /// Writes that were not acknowledged yet.
    pub(crate) written: Vec<Written>,
}

/// A write that is not durable yet.
pub(crate) struct Written {
    pub(crate) document: Document,
    pub(crate) event: EventId,
    /// Whose getting it is to be followed.
    pub(crate) follow: Option<Audience>,
}

/// Writes in one chain that somebody was told are durable.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    pub(crate) node: NodeId,
    /// The last of them.
    pub(crate) at_ms: u64,
    pub(crate) document: Document,
    pub(crate) event: EventId,
    pub(crate) seq: u64,
    /// How many.
    pub(crate) writes: u64,
}

impl Node {
    pub(crate) fn new(kind: PeerKind, identity: Config, skew_ms: i64) -> Self {
        Self {
            interest: interest_of(&kind),
            kind,
            author: Author(identity.key.verifying_key().to_bytes()),
            identity,
            uplinks: vec![],
            running: None,
            disk: MemoryStore::new(),
            image: None,
            skew_ms,
            away_until: 0,
            past: Cost::default(),
            run: 0,
        }
    }

    /// What the node wants to hold.
    pub(crate) fn interest(&self) -> &Interest {
        &self.interest
    }

    /// What all of its runs have cost.
    pub(crate) fn cost(&self) -> Cost {
        self.running.as_ref().map_or(self.past, |running| self.past.and(running.cost()))
    }

    pub(crate) fn author(&self) -> Author {
        self.author
    }

    pub(crate) fn info(&self, dialled: bool) -> PeerInfo {
        PeerInfo { key: self.author(), kind: self.kind.clone(), dialled }
    }

    /// Starts from what the disk holds.
    pub(crate) fn start(&mut self, boot: Boot, limits: Limits) {
        let config = Config { boot, ..self.identity.clone() };
        let store = std::mem::take(&mut self.disk);
        let replica = Replica::open(store, config).expect("a disk in memory opens after any crash");
        let mut config = EngineConfig::new(self.info(false), self.interest.clone());
        config.limits = limits;
        let engine = Engine::new(config);
        self.run += 1;
        self.running = Some(Running { replica, engine, wake_at: None, commit_due: false, written: vec![] });
    }

    /// Loses power: what was not flushed is gone.
    pub(crate) fn crash(&mut self) {
        self.past = self.cost();
        if let Some(running) = self.running.take() {
            self.disk = running.replica.store().fork();
        }
        self.run += 1;
        self.uplinks.iter_mut().for_each(|uplink| uplink.connection = None);
    }
}

impl Running {
    fn cost(&self) -> Cost {
        let (counters, reads) = (self.engine.counters(), self.replica.store().reads());
        Cost {
            frames: 0,
            bytes: 0,
            received: counters.events_accepted,
            received_again: counters.events_duplicate,
            log_searches: counters.log_searches,
            log_bytes_read: counters.log_bytes_read,
            store_records_read: reads.records,
            store_bytes_read: reads.bytes,
        }
    }
}

fn interest_of(kind: &PeerKind) -> Interest {
    let PeerKind::Site { namespace, site, .. } = kind else { return Interest::All };
    Interest::Scopes(BTreeSet::from([
        Scope::Fleet,
        Scope::Profiles { namespace: namespace.clone() },
        Scope::Site { namespace: namespace.clone(), site: site.clone() },
        Scope::Catalog { namespace: namespace.clone(), app: "pos".into() },
    ]))
}
