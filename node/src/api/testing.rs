//! A node in memory, for tests: a replica that the fleet's authority writes, and a clock that stands.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use driftless_core::replica::Config;
use driftless_core::store::MemoryStore;
use ed25519_dalek::SigningKey;

use super::*;
use driftless_core::ids::Boot;

/// 2026-11-22T14:00:00Z.
pub(crate) const NOON_MS: u64 = 1_795_356_000_000;

/// The node.
pub(crate) struct Bench {
    held: Mutex<Held>,
    positions: signal::Sender<u64>,
    local: Local,
    now_ms: AtomicU64,
    /// What [`Backend::freshness`] answers.
    pub(crate) freshness: Mutex<Freshness>,
    /// What [`Backend::operate`] was asked for.
    pub(crate) operations: Mutex<Vec<Operation>>,
    /// What an edge runs.
    pub(crate) active: Option<signal::Sender<Option<Arc<Value>>>>,
}

impl Bench {
    /// A hub.
    pub(crate) fn hub() -> Self {
        Self::with_key(authority())
    }

    fn with_key(key: SigningKey) -> Self {
        let fleet = FleetId(authority().verifying_key().to_bytes());
        let store: Box<dyn Store> = Box::new(MemoryStore::default());
        let config = Config { fleet, key, boot: Boot([1; 16]) };
        let held = Replica::open(store, config).expect("an empty store opens");
        let local = Local {
            node: "hub-eu-1".into(),
            site: None,
            region: "eu".into(),
            namespace: "default".into(),
            fleet,
            log_tag: held.tag(),
        };
        Self {
            held: Mutex::new(held),
            positions: signal::Sender::new(0),
            local,
            now_ms: AtomicU64::new(NOON_MS),
            freshness: Mutex::new(Freshness { as_of_ms: Some(NOON_MS), last_contact_ms: Some(NOON_MS) }),
            operations: Mutex::new(Vec::new()),
            active: None,
        }
    }

    /// An edge of a site.
    pub(crate) fn edge(namespace: &str, site: &str) -> Self {
        Self::hub().at(namespace, site)
    }

    /// An edge that has not heard of its enrolment yet.
    pub(crate) fn newcomer(namespace: &str, site: &str) -> Self {
        Self::with_key(SigningKey::from_bytes(&[8; 32])).at(namespace, site)
    }

    fn at(self, namespace: &str, site: &str) -> Self {
        let node = format!("{site}-a");
        let local = Local { node, site: Some((namespace.into(), site.into())), ..self.local };
        Self { local, active: Some(signal::Sender::new(None)), ..self }
    }

    /// Lets the clock run.
    pub(crate) fn pass(&self, milliseconds: u64) {
        self.now_ms.fetch_add(milliseconds, Ordering::Relaxed);
    }
}

/// The key that the fleet is named by.
fn authority() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

impl Backend for Bench {
    fn read(&self, query: Query) -> Pending<'_, Result<(), Stopping>> {
        query(&self.held.lock().expect("no test panics while it holds the replica"));
        Box::pin(std::future::ready(Ok(())))
    }

    fn write(&self, command: Command) -> Pending<'_, Result<(), Stopping>> {
        let mut held = self.held.lock().expect("no test panics while it holds the replica");
        command(&mut held);
        let committed = held.commit().expect("memory does not fail");
        self.positions.send_replace(committed.position);
        Box::pin(std::future::ready(Ok(())))
    }

    fn local(&self) -> &Local {
        &self.local
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn positions(&self) -> signal::Receiver<u64> {
        self.positions.subscribe()
    }

    fn freshness(&self) -> Freshness {
        *self.freshness.lock().expect("no test panics while it holds this")
    }

    fn operate(&self, operation: Operation) -> Pending<'_, Result<Value, StatusError>> {
        let answer = serde_json::json!({"asked": format!("{operation:?}")});
        self.operations.lock().expect("no test panics while it holds this").push(operation);
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn active(&self) -> Option<signal::Receiver<Option<Arc<Value>>>> {
        self.active.as_ref().map(signal::Sender::subscribe)
    }
}
