//! Nodes.
pub mod api;
pub mod identity;
