//! Event-sourced replica.
pub mod event;
pub mod ids;
pub mod name;
pub mod wire;
