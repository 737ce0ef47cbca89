//! The replica of Driftless: signed events, documents, views, resolution and storage.
//!
//! A replica is a set of immutable signed events; everything that is read is a projection of that
//! set. This crate holds the set ([`event`], [`group`], [`vector`]) and what follows from it. It knows
//! nothing of networks, clocks or files, except for the store adapter that keeps it on disk.

pub mod authority;
pub mod canonical;
pub mod checkpoint;
pub mod document;
pub mod event;
pub mod group;
mod held;
pub mod ids;
pub mod log;
pub mod name;
pub mod owner;
pub mod pack;
pub mod replica;
pub mod resolve;
pub mod schema;
pub mod store;
pub mod testing;
pub mod vector;
pub mod view;
pub mod wire;
