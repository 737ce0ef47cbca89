//! What a hub remembers of a token that it minted.

use driftless_core::ids::Author;
use serde::{Deserialize, Serialize};

use super::{TokenId, TokenSpec, USES_MAX};
use crate::identity::key::hex_text;

/// How much of a node's key is remembered to recognise its next attempt.
const USER_BYTES: usize = 8;

/// The use of one token, kept by the hub that minted it under the token's id.
///
/// Small enough for one record of the store: at most 13 KiB, with a thousand uses behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    head: Head,
    /// The first bytes of the keys that joined, in order.
    used_by: Vec<[u8; USER_BYTES]>,
}

/// The bytes are not a token's record. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("damaged token record")]
pub struct TokenRecordError;

impl TokenRecord {
    pub(super) fn new(id: TokenId, spec: TokenSpec, minted: u64) -> Self {
        Self { head: Head { id, spec, minted, revoked: false }, used_by: Vec::new() }
    }

    /// The token's name.
    pub fn id(&self) -> TokenId {
        self.head.id
    }

    /// What the token allows.
    pub fn spec(&self) -> &TokenSpec {
        &self.head.spec
    }

    /// When it was minted, in Unix seconds.
    pub fn minted(&self) -> u64 {
        self.head.minted
    }

    /// Whether it was revoked.
    pub fn is_revoked(&self) -> bool {
        self.head.revoked
    }

    /// How many more nodes may join with it.
    pub fn uses_left(&self) -> u32 {
        // `used_by` never outgrows `uses`: see `record_use` and `from_bytes`.
        self.head.spec.uses - self.used_by.len() as u32
    }

    /// Whether this node joined with the token before, so that its next attempt costs no use.
    pub fn was_used_by(&self, key: &Author) -> bool {
        self.used_by.contains(&user(key))
    }

    /// Ends the token's life, for nodes that have not joined yet.
    pub fn revoke(&mut self) {
        self.head.revoked = true;
    }

    /// Notes that a node joined; nothing, if it did before. False when no use is left.
    pub(in crate::identity) fn record_use(&mut self, key: &Author) -> bool {
        if self.was_used_by(key) {
            return true;
        }
        if self.uses_left() == 0 {
            return false;
        }
        self.used_by.push(user(key));
        true
    }

    /// The record for the store: the length of the JSON part (4 bytes, big-endian), that, and the users.
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = serde_json::to_vec(&self.head).expect("text and numbers always have a JSON form");
        let length = u32::try_from(head.len()).expect("a token's body is bounded by BODY_BYTES_MAX");
        [&length.to_be_bytes()[..], &head, self.used_by.as_flattened()].concat()
    }

    /// Reads what [`TokenRecord::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenRecordError> {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or(TokenRecordError)?;
        let (head, users) =
            rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or(TokenRecordError)?;
        let head: Head = serde_json::from_slice(head).map_err(|_| TokenRecordError)?;
        let (used_by, rest) = users.as_chunks::<USER_BYTES>();
        let fits = used_by.len() <= head.spec.uses as usize && head.spec.uses <= USES_MAX;
        match rest.is_empty() && fits {
            true => Ok(Self { head, used_by: used_by.to_vec() }),
            false => Err(TokenRecordError),
        }
    }
}

fn user(key: &Author) -> [u8; USER_BYTES] {
    *key.0.first_chunk().expect("a key has 32 bytes")
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Head {
    #[serde(with = "hex_text")]
    id: TokenId,
    spec: TokenSpec,
    minted: u64,
    revoked: bool,
}
