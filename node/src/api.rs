//! The HTTP API.
pub mod caller;
pub mod discovery;
pub mod kinds;
pub mod patch;
pub mod selector;
pub mod server;
pub mod status_error;
pub mod table;
pub mod time;
pub mod version;

pub use caller::Caller;

/// The API group of all kinds.
pub const GROUP: &str = "driftless.dev";
/// Group and version, as in `apiVersion`.
pub const GROUP_VERSION: &str = "driftless.dev/v1";

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
    /// Contexts of hubs, as in the kubeconfig that the node hands out.
    pub hub_contexts: Vec<String>,
}
