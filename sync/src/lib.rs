//! Synchronisation of Driftless replicas.
//!
//! [`proto`] is the protocol as a state machine without input or output, `sim` a fleet of such machines
//! in virtual time; [`quic`] carries its frames. The first two import neither a runtime nor a network, and read neither clock nor randomness.

pub mod proto;
pub mod quic;
