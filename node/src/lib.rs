//! Nodes.
pub mod api;
pub mod cli;
pub mod identity;
#[doc(hidden)]
pub mod testing;
