//! The daemons: a hub or an edge, from an empty directory or from what is left of the last run.
//!
//! [`start_hub`] and [`start_edge`] bring a node up and return a [`Daemon`] that runs until it is
//! stopped; [`run_hub`] and [`run_edge`] do that for a process, with signals. The pieces, each in its
//! own file: [`node`] is what the owner's thread owns, `links` dials and accepts, `joining` trades
//! tokens, `backend` is what the API sees, `status` what operators see,
//! `upkeep` what happens to the store when nobody asks for anything.
//!
//! The order of a start is the order of its dependencies: lock and open the store, identity, replica,
//! sockets, the node's own documents, tasks, and the line `ready` last.

mod backend;
pub mod clock;
mod expiry;
mod joining;
mod lag;
mod links;
pub mod node;
pub mod options;
mod presence;
mod process;
mod renewal;
mod runtime;
mod start;
mod status;
#[cfg(test)]
mod tests;
mod tokens;
mod trust;
mod upkeep;
mod uplink;

pub use joining::{JoinFailure, join};
pub(crate) use links::hubs as known_hubs;
pub use options::{EdgeOptions, HubOptions};
pub use process::{run_edge, run_hub};
pub use runtime::{Active, Runtime};
pub use start::{Daemon, DaemonError, start_edge, start_hub};
