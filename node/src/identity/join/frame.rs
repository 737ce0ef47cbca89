//! The two frames of enrolment as bytes.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{JoinGrant, JoinRefused, JoinRequest};
use crate::identity::renewal::{RenewalGrant, RenewalRequest};

/// Longest frame without its length, in bytes: two chains, a root and addresses are 6 KiB.
pub const JOIN_FRAME_BYTES_MAX: usize = 64 * 1_024;
/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;

/// What a node asks of a hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JoinAsk {
    /// To become a member.
    Join(JoinRequest),
    /// To stay one.
    Renew(RenewalRequest),
}

/// The hub's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JoinReply {
    /// Welcome.
    Granted(Box<JoinGrant>),
    /// New certificates.
    Renewed(Box<RenewalGrant>),
    /// No, and why.
    Refused(JoinRefused),
}

/// Why bytes are not a frame of enrolment. The stream is of no further use; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinFrameError {
    /// The stream ended early, or went on.
    #[error("frame of {found} bytes, its length says {expected}")]
    Length {
        /// As the frame says.
        expected: usize,
        /// As received.
        found: usize,
    },
    /// Longer than a frame may be.
    #[error("frame of {0} bytes, at most {JOIN_FRAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Not what is expected here.
    #[error("not understood, perhaps of another release: {0}")]
    Content(String),
}

impl JoinAsk {
    /// The request as a frame.
    pub fn to_frame(&self) -> Vec<u8> {
        to_frame(self)
    }

    /// Reads a request from a whole frame. Read at most `JOIN_FRAME_BYTES_MAX + 4` bytes of a stream.
    pub fn from_frame(frame: &[u8]) -> Result<Self, JoinFrameError> {
        from_frame(frame)
    }
}

impl JoinReply {
    /// The reply as a frame.
    pub fn to_frame(&self) -> Vec<u8> {
        to_frame(self)
    }

    /// Reads a reply from a whole frame. Read at most `JOIN_FRAME_BYTES_MAX + 4` bytes of a stream.
    pub fn from_frame(frame: &[u8]) -> Result<Self, JoinFrameError> {
        from_frame(frame)
    }
}

fn to_frame<T: Serialize>(message: &T) -> Vec<u8> {
    let body = serde_json::to_vec(message).expect("text and numbers always have a JSON form");
    assert!(body.len() <= JOIN_FRAME_BYTES_MAX, "every part of a message of ours is bounded");
    let length = u32::try_from(body.len()).expect("JOIN_FRAME_BYTES_MAX fits into 32 bits");
    [&length.to_be_bytes()[..], &body].concat()
}

fn from_frame<T: DeserializeOwned>(frame: &[u8]) -> Result<T, JoinFrameError> {
    let short = JoinFrameError::Length { expected: LENGTH_BYTES, found: frame.len() };
    let (length, body) = frame.split_first_chunk::<LENGTH_BYTES>().ok_or(short)?;
    let expected = u32::from_be_bytes(*length) as usize;
    if expected > JOIN_FRAME_BYTES_MAX {
        return Err(JoinFrameError::TooLong(expected));
    }
    if body.len() != expected {
        return Err(JoinFrameError::Length { expected, found: body.len() });
    }
    serde_json::from_slice(body).map_err(|error| JoinFrameError::Content(error.to_string()))
}
