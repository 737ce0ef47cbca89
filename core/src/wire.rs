//! Bytes as Driftless writes them by hand: varints, length-prefixed strings, fixed arrays.
//!
//! Everything that is hashed or signed is encoded with these, never with a serialisation library, so
//! that the bytes outlive it. Reading checks every length against what is there before it allocates.

/// The bytes are not what was expected at this place. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what} at byte {at}")]
pub struct DecodeError {
    /// What was being read.
    pub what: &'static str,
    /// Offset of the fault.
    pub at: usize,
}

/// Appends encoded values to a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    /// What was written so far.
    pub bytes: Vec<u8>,
}

impl Writer {
    /// Appends an unsigned LEB128 integer, one to ten bytes.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// Appends a signed integer in zigzag form.
    pub fn signed(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// Appends one byte.
    pub fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Appends bytes of a length that the reader knows.
    pub fn fixed(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
    }

    /// Appends a length and that many bytes.
    pub fn blob(&mut self, value: &[u8]) {
        self.varint(value.len() as u64);
        self.fixed(value);
    }

    /// Appends a string as its UTF-8 bytes.
    pub fn text(&mut self, value: &str) {
        self.blob(value.as_bytes());
    }
}

/// Reads encoded values from a slice, front to back.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Offset of the next byte.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// An error that names this place.
    pub fn fault(&self, what: &'static str) -> DecodeError {
        DecodeError { what, at: self.at }
    }

    /// Reads one byte.
    pub fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        let byte = *self.bytes.get(self.at).ok_or_else(|| self.fault(what))?;
        self.at += 1;
        Ok(byte)
    }

    /// Reads an unsigned LEB128 integer in its shortest form.
    pub fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let part = u64::from(byte & 0x7f);
            let overlong = shift > 0 && byte == 0;
            if overlong || (part << shift) >> shift != part {
                return Err(self.fault(what));
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.fault(what))
    }

    /// Reads a signed integer in zigzag form.
    pub fn signed(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        let value = self.varint(what)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Reads a count of things that take at least one byte each, so never more than remain.
    pub fn count(&mut self, max: usize, what: &'static str) -> Result<usize, DecodeError> {
        let count = self.varint(what)?;
        match usize::try_from(count) {
            Ok(count) if count <= max && count <= self.remaining() => Ok(count),
            _ => Err(self.fault(what)),
        }
    }

    /// Reads `length` bytes.
    pub fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        if length > self.remaining() {
            return Err(self.fault(what));
        }
        let taken = &self.bytes[self.at..self.at + length];
        self.at += length;
        Ok(taken)
    }

    /// Reads an array of a known length.
    pub fn fixed<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    /// Reads a length of at most `max` and that many bytes.
    pub fn blob(&mut self, max: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.count(max, what)?;
        self.take(length, what)
    }

    /// Reads a string of at most `max` bytes.
    pub fn text(&mut self, max: usize, what: &'static str) -> Result<&'a str, DecodeError> {
        let bytes = self.blob(max, what)?;
        std::str::from_utf8(bytes).map_err(|_| self.fault(what))
    }

    /// Succeeds only at the end.
    pub fn end(&self, what: &'static str) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            _ => Err(self.fault(what)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn integers_round_trip_in_one_form_only() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut writer = Writer::default();
            writer.varint(value);
            assert_eq!(Reader::new(&writer.bytes).varint("x").unwrap(), value);
        }
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            let mut writer = Writer::default();
            writer.signed(value);
            assert_eq!(Reader::new(&writer.bytes).signed("x").unwrap(), value);
        }
        assert!(Reader::new(&[0x80, 0x00]).varint("overlong").is_err());
        assert!(Reader::new(&[0xff; 10]).varint("too large").is_err());
        assert!(Reader::new(&[0xff; 3]).varint("cut").is_err());
    }

    #[test]
    fn lengths_are_checked_before_allocation() {
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0x7f, 1]).blob(usize::MAX, "x").is_err());
    }
}
