//! Nodes.
pub mod api;
pub mod cli;
pub mod daemon;
pub mod desired;
pub mod edge;
pub mod identity;
#[doc(hidden)]
pub mod testing;
