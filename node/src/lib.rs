//! Nodes.
pub mod api;
pub mod cli;
pub mod convergence;
pub mod daemon;
pub mod desired;
pub mod edge;
mod expiry;
pub mod formats;
pub mod identity;
pub mod inputs;
pub mod telemetry;
#[doc(hidden)]
pub mod testing;
