//! What the tasks of a daemon share: the way to the owner, the identity, the sockets' addresses.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use driftless_core::owner::Handle;
use serde_json::Value;
use tokio::sync::watch;

use super::node::Node;
use super::presence::Presences;
use crate::api::{Local, Metric};
use crate::identity::{NodeIdentity, Role};

/// What an edge runs: its active configuration, `None` until there is one.
pub type Active = watch::Receiver<Option<Arc<Value>>>;

/// A running node, as its tasks see it. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    /// The way to the replica and the engine.
    pub owner: Handle<Node>,
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    /// Replaced when certificates are renewed.
    pub(super) identity: RwLock<Arc<NodeIdentity>>,
    pub(super) endpoint: quinn::Endpoint,
    pub(super) local: Local,
    /// Addresses by which others reach this node's QUIC.
    pub(super) advertised: Vec<String>,
    pub(super) api: SocketAddr,
    pub(super) positions: watch::Receiver<u64>,
    pub(super) active: Option<Active>,
    /// Who was heard when, as of the last look at the engine.
    pub(super) presences: RwLock<Arc<Presences>>,
    /// Counts of the store's upkeep, as of its last beat.
    pub(super) metrics: RwLock<Vec<Metric>>,
}

impl Runtime {
    pub(super) fn new(owner: Handle<Node>, shared: Shared) -> Self {
        Self { owner, shared: Arc::new(shared) }
    }

    /// The node's keys and certificates as they are now.
    pub fn identity(&self) -> Arc<NodeIdentity> {
        Arc::clone(&self.shared.identity.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_identity(&self, identity: NodeIdentity) {
        *self.shared.identity.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(identity);
    }

    /// The API's address.
    pub fn api_address(&self) -> SocketAddr {
        self.shared.api
    }

    /// What an edge runs; `None` at a hub.
    pub fn active(&self) -> Option<Active> {
        self.shared.active.clone()
    }

    /// Wakes whenever the durable position grows.
    pub fn positions(&self) -> watch::Receiver<u64> {
        self.shared.positions.clone()
    }

    pub(super) fn endpoint(&self) -> &quinn::Endpoint {
        &self.shared.endpoint
    }

    pub(super) fn local(&self) -> &Local {
        &self.shared.local
    }

    pub(super) fn own_addresses(&self) -> Vec<String> {
        self.shared.advertised.clone()
    }

    pub(super) fn region(&self) -> String {
        match &self.identity().role {
            Role::Hub { region, .. } | Role::Edge { region, .. } => region.clone(),
        }
    }

    pub(super) fn presences(&self) -> Arc<Presences> {
        Arc::clone(&self.shared.presences.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn upkeep_metrics(&self) -> Vec<Metric> {
        self.shared.metrics.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_metrics(&self, metrics: Vec<Metric>) {
        *self.shared.metrics.write().unwrap_or_else(PoisonError::into_inner) = metrics;
    }

    pub(super) fn set_presences(&self, presences: Presences) {
        *self.shared.presences.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(presences);
    }
}
