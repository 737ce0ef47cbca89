//! A simulated node: the real replica and the real engine on a disk in memory.

use std::collections::BTreeSet;

use driftless_core::event::ChainId;
use driftless_core::ids::{Author, Boot, EventId};
use driftless_core::name::{Document, Scope};
use driftless_core::replica::{Config, Replica};
use driftless_core::store::MemoryStore;
use driftless_core::testing;

use crate::proto::{Engine, EngineConfig, Interest, Limits, PeerInfo, PeerKind};

/// Index of a node in the world.
pub(crate) type NodeId = usize;

/// A machine with its disk, running or not.
pub(crate) struct Node {
    pub(crate) kind: PeerKind,
    /// Number of its key; a copy has its original's.
    pub(crate) key: u16,
    pub(crate) uplinks: Vec<Uplink>,
    pub(crate) running: Option<Running>,
    /// What survives while it is not running.
    pub(crate) disk: MemoryStore,
    /// An older state of the disk, and when it was taken.
    pub(crate) image: Option<(u64, MemoryStore)>,
    pub(crate) skew_ms: i64,
    /// Grows with every start, so that what was scheduled for an earlier run is ignored.
    pub(crate) run: u64,
}

/// A connection that the node wants to keep up.
pub(crate) struct Uplink {
    pub(crate) targets: Vec<NodeId>,
    pub(crate) next: usize,
    pub(crate) attempts: u32,
    pub(crate) connection: Option<u64>,
}

/// The part of a node that a crash loses.
pub(crate) struct Running {
    pub(crate) replica: Replica<MemoryStore>,
    pub(crate) engine: Engine,
    pub(crate) wake_at: Option<u64>,
    pub(crate) commit_due: bool,
    /// Writes that were not acknowledged yet.
    pub(crate) written: Vec<(Document, EventId)>,
}

/// A write that somebody was told is durable.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    pub(crate) node: NodeId,
    pub(crate) at_ms: u64,
    pub(crate) document: Document,
    pub(crate) event: EventId,
    pub(crate) chain: ChainId,
    pub(crate) seq: u64,
    /// The only disk that held it was rolled back.
    pub(crate) exempt: bool,
}

impl Node {
    pub(crate) fn new(kind: PeerKind, key: u16, skew_ms: i64) -> Self {
        Self {
            kind,
            key,
            uplinks: vec![],
            running: None,
            disk: MemoryStore::new(),
            image: None,
            skew_ms,
            run: 0,
        }
    }

    /// What the node wants to hold.
    pub(crate) fn interest(&self) -> Interest {
        let PeerKind::Site { namespace, site, .. } = &self.kind else { return Interest::All };
        Interest::Scopes(BTreeSet::from([
            Scope::Fleet,
            Scope::Profiles { namespace: namespace.clone() },
            Scope::Site { namespace: namespace.clone(), site: site.clone() },
            Scope::Catalog { namespace: namespace.clone(), app: "pos".into() },
        ]))
    }

    pub(crate) fn author(&self) -> Author {
        testing::author(self.key)
    }

    pub(crate) fn info(&self, dialled: bool) -> PeerInfo {
        PeerInfo { key: self.author(), kind: self.kind.clone(), dialled }
    }

    /// Starts from what the disk holds.
    pub(crate) fn start(&mut self, boot: Boot, limits: Limits) {
        let config = Config { fleet: testing::fleet(), key: testing::key(self.key), boot };
        let store = std::mem::take(&mut self.disk);
        let replica = Replica::open(store, config).expect("a disk in memory opens after any crash");
        let mut config = EngineConfig::new(self.info(false), self.interest());
        config.limits = limits;
        let engine = Engine::new(config);
        self.run += 1;
        self.running = Some(Running { replica, engine, wake_at: None, commit_due: false, written: vec![] });
    }

    /// Loses power: what was not flushed is gone.
    pub(crate) fn crash(&mut self) {
        if let Some(running) = self.running.take() {
            self.disk = running.replica.store().fork();
        }
        self.run += 1;
        self.uplinks.iter_mut().for_each(|uplink| uplink.connection = None);
    }
}
