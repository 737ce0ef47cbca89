//! The protocol.
pub mod codec;
pub mod engine;
pub mod frame;
mod greeting;
pub mod interest;
pub mod reason;
pub mod session;
pub mod status;
mod transfer;

pub use engine::{Engine, EngineConfig, Input, Limits, Output};
pub use interest::{Class, Interest, PeerId, PeerInfo, PeerKind};
pub use reason::{Reason, Violation};
pub use session::SessionId;
pub use status::{Condition, Counters, CutTarget, Delivery, PeerState, PeerStatus};
