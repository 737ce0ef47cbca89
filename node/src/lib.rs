//! Nodes.
pub mod api;
