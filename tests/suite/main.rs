//! One binary for all tests across crates.
mod kubectl;
mod simulation;
