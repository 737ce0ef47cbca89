//! One binary for all tests across crates.
//!
//! `rig` starts real processes: hubs and edges with data directories of their own, on QUIC, TLS and sled. Each file
//! of tests tells one story about them; `tidy` holds the rules of the source tree, `simulation` runs without
//! processes.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod commands;
mod crash;
mod demo;
mod disks;
mod federation;
mod fleet;
mod import;
mod kubectl;
mod layers;
mod netns;
mod partition;
mod policy;
mod presence;
mod provenance;
mod replay;
mod revocation;
mod rig;
mod roles;
mod simulation;
mod tidy;
mod trace;
