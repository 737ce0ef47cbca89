//! The body of event frames: records of the log, compressed when that pays.
//!
//! ```text
//! body = 0 | records            records = (length varint | record)*
//!      | 1 | raw length varint | zstd frame of records
//! ```
//! The raw length is bounded before anything is decompressed, and the decompressor never writes beyond
//! it.

use std::sync::Arc;

use driftless_core::group::GROUP_BYTES_MAX;
use driftless_core::wire::{DecodeError, Reader, Writer};
use zstd::bulk::{Compressor, Decompressor};

/// Most bytes of records in one frame before compression.
pub const EVENTS_BYTES_MAX: usize = super::frame::FRAME_BYTES_MAX - 1_024;
/// Below this, compression is not tried, in bytes.
const COMPRESS_BYTES_MIN: usize = 256;
const COMPRESS_LEVEL: i32 = 3;
const STORED: u8 = 0;
const COMPRESSED: u8 = 1;

/// An encoded body, ready for any number of sessions.
#[derive(Debug, Clone)]
pub(crate) struct EventsBody {
    pub(crate) bytes: Arc<[u8]>,
}

/// Compression contexts, made when first needed and dropped when the engine is idle.
#[derive(Default)]
pub(crate) struct Codec {
    compressor: Option<Compressor<'static>>,
    decompressor: Option<Decompressor<'static>>,
}

impl Codec {
    /// Encodes records; they must fit [`EVENTS_BYTES_MAX`] together.
    pub(crate) fn encode<'a>(&mut self, records: impl Iterator<Item = &'a [u8]>) -> EventsBody {
        let mut writer = Writer { bytes: vec![STORED] };
        records.for_each(|record| writer.blob(record));
        let raw = &writer.bytes[1..];
        assert!(raw.len() <= EVENTS_BYTES_MAX, "the sender reads no more of its log than fits a frame");
        let bytes = self.compress(raw).unwrap_or(writer.bytes);
        EventsBody { bytes: bytes.into() }
    }

    /// Reads records to the end of the frame.
    pub(crate) fn decode(&mut self, reader: &mut Reader<'_>) -> Result<Vec<Arc<[u8]>>, DecodeError> {
        match reader.byte("events encoding")? {
            STORED => split(reader),
            COMPRESSED => {
                let length = reader.varint("events length")? as usize;
                if length > EVENTS_BYTES_MAX {
                    return Err(reader.fault("events length"));
                }
                let fault = reader.fault("compressed events");
                let compressed = reader.take(reader.remaining(), "events")?;
                let raw = self.decompress(compressed, length).ok_or(fault)?;
                split(&mut Reader::new(&raw))
            }
            _ => Err(reader.fault("events encoding")),
        }
    }

    /// Frees the contexts; a later frame makes them anew.
    pub(crate) fn rest(&mut self) {
        *self = Self::default();
    }

    fn compress(&mut self, raw: &[u8]) -> Option<Vec<u8>> {
        if raw.len() < COMPRESS_BYTES_MIN {
            return None;
        }
        if self.compressor.is_none() {
            self.compressor = Compressor::new(COMPRESS_LEVEL).ok();
        }
        let compressed = self.compressor.as_mut()?.compress(raw).ok()?;
        let mut writer = Writer { bytes: vec![COMPRESSED] };
        writer.varint(raw.len() as u64);
        writer.fixed(&compressed);
        // A frame has to be smaller by an eighth to be worth the receiver's time.
        (writer.bytes.len() < raw.len() - raw.len() / 8).then_some(writer.bytes)
    }

    fn decompress(&mut self, compressed: &[u8], length: usize) -> Option<Vec<u8>> {
        if self.decompressor.is_none() {
            self.decompressor = Decompressor::new().ok();
        }
        let raw = self.decompressor.as_mut()?.decompress(compressed, length).ok()?;
        (raw.len() == length).then_some(raw)
    }
}

fn split(reader: &mut Reader<'_>) -> Result<Vec<Arc<[u8]>>, DecodeError> {
    let mut records = Vec::new();
    while reader.remaining() > 0 {
        records.push(reader.blob(GROUP_BYTES_MAX, "record")?.into());
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn round_trip(records: &[Vec<u8>]) -> usize {
        let mut codec = Codec::default();
        let body = codec.encode(records.iter().map(Vec::as_slice));
        let decoded = codec.decode(&mut Reader::new(&body.bytes)).unwrap();
        let decoded: Vec<Vec<u8>> = decoded.iter().map(|record| record.to_vec()).collect();
        assert_eq!(decoded, records);
        body.bytes.len()
    }

    #[test]
    fn records_are_compressed_when_it_pays() {
        assert_eq!(round_trip(&[vec![7; 100]]), 102, "small bodies are stored");
        assert!(round_trip(&[vec![7; 10_000], vec![8; 10_000]]) < 200);
        let noise: Vec<u8> = blake3::Hasher::new().finalize_xof_bytes(4_000);
        assert!(round_trip(std::slice::from_ref(&noise)) <= noise.len() + 3, "noise is stored");
        round_trip(&[]);
    }

    #[test]
    fn a_bomb_is_refused_by_its_length() {
        let mut codec = Codec::default();
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
        for claimed in [64 << 20, EVENTS_BYTES_MAX as u64, 10] {
            let mut writer = Writer { bytes: vec![COMPRESSED] };
            writer.varint(claimed);
            writer.fixed(&bomb);
            assert!(codec.decode(&mut Reader::new(&writer.bytes)).is_err());
        }
    }

    trait FinalizeXof {
        fn finalize_xof_bytes(&self, length: usize) -> Vec<u8>;
    }

    impl FinalizeXof for blake3::Hasher {
        fn finalize_xof_bytes(&self, length: usize) -> Vec<u8> {
            let mut bytes = vec![0; length];
            self.finalize_xof().fill(&mut bytes);
            bytes
        }
    }
}
