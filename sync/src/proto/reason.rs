//! Why a session ended.

use driftless_core::name::Scope;
use driftless_core::wire::DecodeError;

/// The peer did what the protocol forbids. Its session ends; what it sent before stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Violation {
    /// The bytes are no frame.
    #[error("malformed frame: {0}")]
    Malformed(#[from] DecodeError),
    /// A frame was lost, repeated or moved.
    #[error("frame {found} where {expected} was due")]
    Order { expected: u64, found: u64 },
    /// The peer spoke out of turn.
    #[error("{0} out of turn")]
    Turn(&'static str),
    /// The peer sent or asked for what this session does not share.
    #[error("{0} is outside this session")]
    Scope(Scope),
    /// An acknowledgement of what was never sent.
    #[error("acknowledged frame {0}, which was not sent")]
    Ack(u64),
    /// Events whose predecessors the sender cannot show.
    #[error("the events of {0} lack what comes before them, and asking did not help")]
    Unanswered(Scope),
    /// A digest list that does not fit the interest.
    #[error("{found} digests for {expected} scopes")]
    Digests { expected: usize, found: usize },
    /// The peer demands more than a session may.
    #[error("more than {max} {what}")]
    Limit { what: &'static str, max: usize },
    /// The replica refused what was sent.
    #[error("{0}")]
    Events(String),
}

/// Why a session ended, or was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Reason {
    /// The peer broke the protocol.
    #[error("protocol violation: {0}")]
    Violation(#[from] Violation),
    /// No version in common.
    #[error("no common {what} version: here {}..{}, there {}..{}", .here.0, .here.1, .there.0, .there.1)]
    Versions { what: &'static str, here: (u32, u32), there: (u32, u32) },
    /// The peer belongs to another fleet.
    #[error("the peer belongs to another fleet")]
    Fleet,
    /// The peer asks for what its certificate does not allow.
    #[error("{scope} is not for {peer}")]
    Interest { scope: String, peer: String },
    /// The peer did not greet in time.
    #[error("no greeting within {ms} ms")]
    Greeting { ms: u64 },
    /// The peer owes an answer and gave none.
    #[error("no answer within {ms} ms")]
    Stalled { ms: u64 },
    /// Another session with the same node took over.
    #[error("replaced by another session of the same node")]
    Replaced,
    /// The site's uplink is another session now.
    #[error("the uplink has moved")]
    Moved,
    /// The peer's key was revoked.
    #[error("the node's key was revoked")]
    Revoked,
    /// An operator cut this link.
    #[error("cut by operator")]
    Cut,
    /// This node has no room for more sessions.
    #[error("more than {max} sessions")]
    Full { max: usize },
    /// This node stops.
    #[error("the node stops")]
    Stopping,
    /// The transport ended, or the peer said farewell.
    #[error("{0}")]
    Peer(String),
}

impl Reason {
    /// The number that travels with the close of the connection.
    pub fn code(&self) -> u32 {
        match self {
            Self::Stopping => 0,
            Self::Violation(_) => 1,
            Self::Versions { .. } => 2,
            Self::Fleet => 3,
            Self::Interest { .. } => 4,
            Self::Greeting { .. } => 5,
            Self::Replaced => 6,
            Self::Cut => 7,
            Self::Full { .. } => 8,
            Self::Peer(_) => 9,
            Self::Stalled { .. } => 10,
            Self::Moved => 11,
            Self::Revoked => 12,
        }
    }
}
