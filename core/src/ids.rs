//! Identifiers: fixed-size byte strings that print as lower-case hex.
//!
//! Each is its own type, so that a node key is never taken for an event id. Short forms, as people
//! read them, are the first twelve hex characters.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The text is not the hex form of an identifier. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hex characters, found {found:?}")]
pub struct ParseIdError {
    expected: usize,
    found: String,
}

macro_rules! id_type {
    ($(#[$meta:meta])* $name:ident, $bytes:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// Length in bytes.
            pub const BYTES: usize = $bytes;

            /// The first twelve hex characters, for people.
            pub fn short(&self) -> String {
                hex(&self.0[..6])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; $bytes];
                match unhex(text, &mut bytes) {
                    true => Ok(Self(bytes)),
                    false => Err(ParseIdError {
                        expected: $bytes * 2,
                        found: text.chars().take(80).collect(),
                    }),
                }
            }
        }
    };
}

id_type! {
    /// The fleet: the Ed25519 public key of its authority. All trust starts here.
    FleetId, 32
}
id_type! {
    /// An author of events: the Ed25519 public key of a node, or of the authority.
    Author, 32
}
id_type! {
    /// One run of an author: random at every start, so that copied and restored disks are ordinary
    /// concurrent authors.
    Boot, 16
}
id_type! {
    /// An event: BLAKE3 over its header, which holds the BLAKE3 of its operations.
    EventId, 32
}
id_type! {
    /// A hash that stands for a set: of a scope's vector, or of many scopes.
    Digest, 32
}

impl From<FleetId> for Author {
    /// The authority is the author whose key names the fleet.
    fn from(fleet: FleetId) -> Self {
        Self(fleet.0)
    }
}

/// Lower-case hex of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Fills `out` from hex of exactly that length; false leaves `out` unspecified.
fn unhex(text: &str, out: &mut [u8]) -> bool {
    let digits = text.as_bytes();
    if digits.len() != out.len() * 2 {
        return false;
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let (Some(high), Some(low)) = ((pair[0] as char).to_digit(16), (pair[1] as char).to_digit(16)) else {
            return false;
        };
        *byte = (high * 16 + low) as u8;
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_print_and_parse_back() {
        let id = EventId([0xab; 32]);
        assert_eq!(id.to_string().parse::<EventId>().unwrap(), id);
        assert_eq!(id.short(), "abababababab");
        assert!("xy".parse::<Boot>().is_err());
        assert!("zz".repeat(16).parse::<Boot>().is_err());
    }
}
