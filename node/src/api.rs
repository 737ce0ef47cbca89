//! The HTTP API: the Kubernetes surface for kubectl, and the project's own endpoints under `/v1`.
//!
//! [`Api`] answers requests from a [`Backend`], which is the node: its replica, its links, its clock.
//! The API owns no state of the fleet. It checks what a client asks for against schema, enforcement
//! and roles, turns it into one write or one read of the replica, and renders the answer. It never
//! decides what has effect in the fleet.
//!
//! [`server::Server`] puts TLS and connections around the router.

mod access;
mod audit;
mod blame;
pub mod caller;
mod changes;
mod conflicts;
mod digest;
mod discovery;
mod edge_config;
mod enforcement;
mod facts;
mod gate;
mod history;
mod impact;
mod kinds;
mod limit;
mod metrics;
mod namespaces;
mod openapi;
mod operations;
mod past;
mod patch;
mod profile_status;
mod progress;
mod render;
mod request;
mod resolve;
mod resources;
mod revert;
mod selector;
pub mod server;
mod site_status;
mod sites;
mod status_error;
mod table;
pub mod time;
mod trace;
mod version;
mod watch;
mod why;
mod write;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use driftless_core::ids::FleetId;
use driftless_core::replica::Replica;
use driftless_core::store::Store;
use driftless_sync::proto::{EventPlace, SiteReach};
use serde_json::Value;
use tokio::sync::{Semaphore, watch as signal};

pub use caller::{Caller, Right};
pub use kinds::{SERVED, Served};
pub use metrics::{Metric, MetricKind};
pub use openapi::schemas;
pub use progress::RECENT_MAX;
pub use site_status::phase;
pub use status_error::{Cause, Named, StatusError};
pub use trace::ChangeName;
use version::Versions;

use crate::convergence::{Deliveries, Told};

/// The API group of all kinds.
pub const GROUP: &str = "driftless.dev";
/// Group and version, as in `apiVersion`.
pub const GROUP_VERSION: &str = "driftless.dev/v1";
/// Largest request body, in bytes.
pub const BODY_BYTES_MAX: usize = 3 << 20;
/// Most requests under way at a time, not counting those that wait for changes.
pub const REQUESTS_MAX: usize = 256;
/// Most watches and long polls at a time.
pub const WAITERS_MAX: usize = 1_024;

/// The replica as a node holds it.
pub type Held = Replica<Box<dyn Store>>;
/// A read on the owner's thread.
pub type Query = Box<dyn FnOnce(&Held) + Send>;
/// A write on the owner's thread.
pub type Command = Box<dyn FnOnce(&mut Held) + Send>;
/// An answer that takes a while.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The node stops; nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopping")]
pub struct Stopping;

/// What the API needs of the node that it speaks for.
pub trait Backend: Send + Sync + 'static {
    /// Runs a read on durable state.
    fn read(&self, query: Query) -> Pending<'_, Result<(), Stopping>>;

    /// Runs a write; returns once what it staged is durable.
    fn write(&self, command: Command) -> Pending<'_, Result<(), Stopping>>;

    /// Who answers; the same until the node stops.
    fn local(&self) -> &Local;

    /// The wall clock, in milliseconds since 1970.
    fn now_ms(&self) -> u64;

    /// The last durable position, and a wake-up whenever it grows.
    fn positions(&self) -> signal::Receiver<u64>;

    /// How fresh the replica is.
    fn freshness(&self) -> Freshness;

    /// What is known of a site's liveness; the default says that nothing is.
    fn presence(&self, _namespace: &str, _site: &str) -> Presence {
        Presence::default()
    }

    /// Why the node is not ready to serve, if it is not.
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    /// Who holds this bearer token, if anybody does.
    fn bearer(&self, _token: &str) -> Option<Caller> {
        None
    }

    /// An operation of the node that is not about its replica: see [`Operation`].
    fn operate(&self, operation: Operation) -> Pending<'_, Result<Value, StatusError>>;

    /// What an edge runs, and a wake-up whenever that changes; `None` at a hub.
    fn active(&self) -> Option<signal::Receiver<Option<Arc<Value>>>> {
        None
    }

    /// How an event stands with the other hubs, and with the nodes of one site or of all, as every hub says
    /// that can be asked; the default asks nobody.
    fn deliveries(
        &self,
        _place: EventPlace,
        _site: Option<(String, String)>,
    ) -> Pending<'_, Result<Deliveries, StatusError>> {
        Box::pin(std::future::ready(Ok(Deliveries::default())))
    }

    /// Which sites hold which events, as every hub says that can be asked; the default asks nobody.
    fn reach(&self, _places: Vec<EventPlace>) -> Pending<'_, Result<Vec<Told<Vec<SiteReach>>>, StatusError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// The node's own metrics, beside those of the API.
    fn metrics(&self) -> Pending<'_, Vec<Metric>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

/// The node that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Its name.
    pub node: String,
    /// For an edge: namespace and site.
    pub site: Option<(String, String)>,
    /// Its region.
    pub region: String,
    /// The namespace of requests that name none.
    pub namespace: String,
    /// The fleet.
    pub fleet: FleetId,
    /// [`Replica::tag`] of its replica.
    pub log_tag: u64,
}

/// How fresh a replica is, as far as the node can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freshness {
    /// The replica holds what a hub held at this time, in milliseconds since 1970; a hub's is now.
    pub as_of_ms: Option<u64>,
    /// When a hub was last heard, in milliseconds since 1970; `None` if never in this run.
    pub last_contact_ms: Option<u64>,
}

/// What the hubs say of a site's liveness.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Presence {
    /// When a node of the site was last heard, in milliseconds since 1970.
    pub last_seen_ms: Option<u64>,
    /// As of when that is known, in milliseconds since 1970: when the hub that says so was last heard.
    pub as_of_ms: Option<u64>,
    /// The other hub that says so; `None` if the site has or had a session with this node.
    pub hub: Option<String>,
    /// Whether the site holds everything of ours that concerns it; `None` if nobody can say.
    pub synced: Option<bool>,
    /// In one sentence why it is not synced, or not known to be.
    pub why: Option<String>,
    /// Whether an operator cut the site off here.
    pub cut_by_operator: bool,
}

/// What a client can ask of the node itself. Answers are JSON, passed on as they are.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// The fleet at a glance.
    Status,
    /// Peers and links.
    Peers,
    /// Refuse sessions with a peer, or with all of them, for a time.
    Cut {
        /// The peer's name; `None` for all.
        peer: Option<String>,
        /// For how long, in milliseconds; `None` until healed.
        for_ms: Option<u64>,
        /// On whose behalf.
        by: String,
    },
    /// Allow sessions again.
    Heal {
        /// The peer's name; `None` for all.
        peer: Option<String>,
        /// On whose behalf.
        by: String,
    },
    /// The join tokens that this node issued.
    Tokens,
    /// Issue a join token.
    TokenCreate {
        /// The request, as the client sent it.
        request: Value,
        /// On whose behalf.
        by: String,
    },
    /// Revoke keys, in the name of the fleet's authority.
    Revoke {
        /// The request, as the client sent it.
        request: Value,
        /// On whose behalf.
        by: String,
    },
    /// Withdraw a join token.
    TokenRevoke {
        /// Its id.
        id: String,
        /// On whose behalf.
        by: String,
    },
}

/// The API of one node. Clones share everything.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    backend: Arc<dyn Backend>,
    versions: Versions,
    requests: Arc<Semaphore>,
    waiters: Arc<Semaphore>,
    sites: site_status::Cache,
    recent: progress::Recent,
    counters: metrics::Counters,
}

impl Api {
    /// An API that speaks for a node.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        let versions = Versions::new(backend.local().log_tag);
        Self(Arc::new(Shared {
            backend,
            versions,
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            waiters: Arc::new(Semaphore::new(WAITERS_MAX)),
            sites: site_status::Cache::default(),
            recent: progress::Recent::default(),
            counters: metrics::Counters::default(),
        }))
    }

    /// The routes, behind authentication and limits.
    pub fn router(self) -> Router {
        let routes = Router::new().merge(kubernetes()).merge(own()).merge(unauthenticated());
        routes
            .fallback(request::no_such_path)
            .method_not_allowed_fallback(request::method_not_allowed)
            .layer(axum::middleware::from_fn_with_state(self.clone(), gate::gate))
            .with_state(self)
    }

    fn backend(&self) -> &dyn Backend {
        &*self.0.backend
    }

    fn local(&self) -> &Local {
        self.0.backend.local()
    }

    fn now_ms(&self) -> u64 {
        self.0.backend.now_ms()
    }

    fn versions(&self) -> Versions {
        self.0.versions
    }

    /// Reads durable state on the owner's thread.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Held) -> T + Send + 'static,
    ) -> Result<T, StatusError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // A request that was abandoned does not want its answer.
        let query = Box::new(|held: &Held| drop(sender.send(query(held))));
        self.backend().read(query).await.map_err(|error| StatusError::unavailable(error.to_string()))?;
        receiver.await.map_err(|_| StatusError::internal("the replica's owner dropped a read"))
    }

    /// Writes on the owner's thread; what it staged is durable when this returns.
    async fn write<T: Send + 'static>(
        &self,
        command: impl FnOnce(&mut Held) -> T + Send + 'static,
    ) -> Result<T, StatusError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let command = Box::new(|held: &mut Held| drop(sender.send(command(held))));
        self.backend().write(command).await.map_err(|error| StatusError::unavailable(error.to_string()))?;
        receiver.await.map_err(|_| StatusError::internal("the replica's owner dropped a write"))
    }
}

/// What kubectl speaks.
fn kubernetes() -> Router<Api> {
    const V1: &str = "/apis/driftless.dev/v1";
    Router::new()
        .route("/api", get(async || axum::Json(discovery::core_versions())))
        .route("/api/v1", get(async || axum::Json(discovery::core_resources())))
        .route("/api/v1/namespaces", get(namespaces::list))
        .route("/api/v1/namespaces/{name}", get(namespaces::read))
        .route("/apis", get(async || axum::Json(discovery::groups())))
        .route("/apis/driftless.dev", get(async || axum::Json(discovery::group())))
        .route(V1, get(async || axum::Json(discovery::resources())))
        .route("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", post(access::access_review))
        .route("/apis/authentication.k8s.io/v1/selfsubjectreviews", post(access::subject_review))
        .route("/openapi/v2", get(openapi::v2))
        .route("/openapi/v3", get(openapi::index))
        .route("/openapi/v3/apis/driftless.dev/v1", get(openapi::group))
        .route(&format!("{V1}/{{plural}}"), get(resources::list).post(resources::create))
        .route(
            &format!("{V1}/{{plural}}/{{name}}"),
            get(resources::read).put(resources::replace).patch(resources::patch).delete(resources::delete),
        )
        .route(
            &format!("{V1}/namespaces/{{namespace}}/{{plural}}"),
            get(resources::list).post(resources::create),
        )
        .route(
            &format!("{V1}/namespaces/{{namespace}}/{{plural}}/{{name}}"),
            get(resources::read).put(resources::replace).patch(resources::patch).delete(resources::delete),
        )
}

/// What only this system has.
fn own() -> Router<Api> {
    Router::new()
        .route("/v1/resolve", post(resolve::resolve))
        .route("/v1/impact", post(impact::of_question))
        .route("/v1/render", get(render::render))
        .route("/v1/why", get(why::why))
        .route("/v1/why-not", get(why::why_not))
        .route("/v1/history/{kind}/{name}", get(history::fleet_wide))
        .route("/v1/history/{kind}/{namespace}/{name}", get(history::namespaced))
        .route("/v1/blame/{kind}/{name}", get(blame::fleet_wide))
        .route("/v1/blame/{kind}/{namespace}/{name}", get(blame::namespaced))
        .route("/v1/audit", get(audit::audit))
        .route("/v1/revert/{event}", post(revert::revert))
        .route("/v1/conflicts", get(conflicts::list))
        .route("/v1/conflicts/ack", post(conflicts::acknowledge))
        .route("/v1/changes", get(changes::changes))
        .route("/v1/digest", get(digest::digest))
        .route("/v1/config", get(edge_config::config))
        .route("/v1/status", get(operations::status))
        .route("/v1/peers", get(operations::peers))
        .route("/v1/peers/cut", post(operations::cut))
        .route("/v1/peers/heal", post(operations::heal))
        .route("/v1/trace/{event}", get(trace::of_event))
        .route("/v1/trace/{kind}/{name}", get(trace::of_fleet_wide))
        .route("/v1/trace/{kind}/{namespace}/{name}", get(trace::of_namespaced))
        .route("/v1/progress", get(progress::recent))
        .route("/v1/progress/{event}", get(progress::of_event))
        .route("/v1/progress/{kind}/{name}", get(progress::of_fleet_wide))
        .route("/v1/progress/{kind}/{namespace}/{name}", get(progress::of_namespaced))
        .route("/v1/tokens", get(operations::tokens).post(operations::token_create))
        .route("/v1/tokens/{id}", axum::routing::delete(operations::token_revoke))
        .route("/v1/revoke", post(operations::revoke))
        .route("/v1/whoami", get(operations::whoami))
        .route("/metrics", get(metrics::metrics))
}

/// What answers before anybody has said who they are; [`gate`] names the same paths.
fn unauthenticated() -> Router<Api> {
    Router::new()
        .route("/version", get(async || axum::Json(discovery::version())))
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(operations::readyz))
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
