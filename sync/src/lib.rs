//! Synchronisation of Driftless replicas.
//!
//! [`proto`] is the protocol as a state machine without input or output, [`sim`] a fleet of such
//! machines in virtual time, and [`quic`] carries frames between real ones. The first two import
//! neither a runtime nor a network, and read neither clock nor randomness.

pub mod proto;
pub mod quic;
pub mod sim;
