//! The daemons: a hub and an edge, from their options to their last flush.

pub mod options;

pub use options::{EdgeOptions, HubOptions};

/// Why a daemon did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// This build has no daemon. Nothing was touched.
    #[error("this build cannot run a {0} yet")]
    Absent(&'static str),
}

/// Runs a hub until it is told to stop.
#[expect(clippy::unused_async, reason = "its shape is what callers need until there is a daemon")]
pub async fn run_hub(_options: HubOptions) -> Result<(), DaemonError> {
    Err(DaemonError::Absent("hub"))
}

/// Runs an edge until it is told to stop.
#[expect(clippy::unused_async, reason = "its shape is what callers need until there is a daemon")]
pub async fn run_edge(_options: EdgeOptions) -> Result<(), DaemonError> {
    Err(DaemonError::Absent("edge"))
}
