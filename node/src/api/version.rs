//! `resourceVersion`: a position in this replica's log, tagged with which log that is.
//!
//! Positions count the events of one replica in an order of its own; those of another replica mean
//! nothing here. The tag, random bits of the log, tells them apart, so that a client that fails over to
//! another node is told 410 and lists anew instead of missing changes.

use super::status_error::StatusError;

/// Bits of a version that hold the position: 2^40 events are more than any log holds.
const POSITION_BITS: u32 = 40;
const POSITION_MAX: u64 = (1 << POSITION_BITS) - 1;

/// Reads and writes the versions of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Versions {
    tag: u64,
}

impl Versions {
    /// The versions of the log with these random bits.
    pub(super) fn new(log_tag: u64) -> Self {
        // 23 bits keep the number positive as a signed one; never zero, so that no version is small.
        Self { tag: (log_tag & 0x7f_ffff).max(1) }
    }

    /// The version that stands for a position.
    pub(super) fn format(&self, position: u64) -> String {
        assert!(position <= POSITION_MAX, "a log of more than 2^40 events");
        (self.tag << POSITION_BITS | position).to_string()
    }

    /// The position of a version; an empty text and `0` mean "any", which is `None`.
    pub(super) fn parse(&self, text: &str) -> Result<Option<u64>, StatusError> {
        if text.is_empty() || text == "0" {
            return Ok(None);
        }
        let number: u64 = text.parse().map_err(|_| {
            StatusError::bad_request(format!("resourceVersion {:?} is no number", clip(text)))
        })?;
        match number >> POSITION_BITS == self.tag {
            true => Ok(Some(number & POSITION_MAX)),
            false => Err(StatusError::expired("the resourceVersion is of another replica; list again")),
        }
    }
}

fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn versions_come_back_as_positions() {
        let versions = Versions::new(0x12_3456);
        for position in [0, 1, 123_456_789, POSITION_MAX] {
            assert_eq!(versions.parse(&versions.format(position)).unwrap(), Some(position));
            assert!(versions.format(position).parse::<i64>().unwrap() > 0);
        }
        assert_eq!(versions.parse("0").unwrap(), None);
        assert_eq!(versions.parse("").unwrap(), None);
    }

    #[test]
    fn another_replica_has_other_versions() {
        let ours = Versions::new(0x12_3456);
        assert_eq!(ours.parse(&Versions::new(0x12_3457).format(7)).unwrap_err().reason(), "Expired");
        assert_eq!(ours.parse("7").unwrap_err().reason(), "Expired");
        assert_eq!(ours.parse("seven").unwrap_err().reason(), "BadRequest");
        assert_eq!(ours.parse("-1").unwrap_err().reason(), "BadRequest");
    }
}
