//! The body of event frames: a pack of records, compressed when that pays.
//!
//! ```text
//! body  = flags u8 | noise length varint | noise | plain          plain and noise: see core's pack
//!       | flags u8 | noise length varint | noise | plain length varint | zstd frame of plain
//! flags = 1 compressed | 2 builds on what came before | 4 the next may build on this
//! ```
//! While a peer is being filled, its frames build on each other: what the last of them said is a
//! prefix for the compression of the next, so that small frames compress almost as well as one large
//! one. The prefix is the end of what both sides have in hand anyway; the sender says when it is to be
//! kept. Frames that build on nothing are the same for every peer and are encoded once.
//!
//! How strongly bytes are compressed is a constant; no measurement of the link has a part in it. The
//! plain length is bounded before anything is decompressed, and the decompressor never writes beyond it.

use std::sync::Arc;

use driftless_core::ids::FleetId;
use driftless_core::pack::{Pack, Unpacked};
use driftless_core::wire::{DecodeError, Reader, Writer};
use zstd::zstd_safe::{CCtx, CParameter, DCtx, compress_bound};

/// Most bytes of a pack in one frame before compression.
pub const EVENTS_BYTES_MAX: usize = super::frame::FRAME_BYTES_MAX - 1_024;
/// Most bytes that are kept for the next frame to build on, of each direction of a session.
pub const PREFIX_BYTES_MAX: usize = 64 << 10;
/// Below this, compression is not tried, in bytes.
const COMPRESS_BYTES_MIN: usize = 128;
const COMPRESS_LEVEL: i32 = 3;
const COMPRESSED: u8 = 1;
const BUILDS: u8 = 2;
const KEEP: u8 = 4;

/// What the next frame of one direction may build on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prefix {
    bytes: Arc<[u8]>,
    /// Tells equal prefixes of several sessions apart from others; 0 for none.
    pub(crate) serial: u64,
}

/// An encoded body, ready for any number of sessions at the same place.
#[derive(Debug, Clone)]
pub(crate) struct EventsBody {
    /// The body without [`KEEP`].
    pub(crate) bytes: Arc<[u8]>,
    /// What the next frame may build on.
    pub(crate) next: Prefix,
}

impl EventsBody {
    /// The flags of the frame.
    pub(crate) fn flags(&self, keep: bool) -> u8 {
        self.bytes[0] | if keep { KEEP } else { 0 }
    }
}

/// Encodes bodies and tells them apart.
#[derive(Debug, Default)]
pub(crate) struct Codec {
    bodies: u64,
}

impl Codec {
    /// Encodes a pack, which must fit [`EVENTS_BYTES_MAX`].
    pub(crate) fn encode(&mut self, pack: &Pack, prefix: &Prefix) -> EventsBody {
        let bytes = pack.plain.len() + pack.noise.len();
        assert!(bytes <= EVENTS_BYTES_MAX, "the sender reads no more of its log than fits a frame");
        let mut writer = Writer { bytes: vec![0] };
        writer.blob(&pack.noise);
        match compress(&pack.plain, &prefix.bytes) {
            Some(compressed) => {
                writer.bytes[0] = COMPRESSED | if prefix.bytes.is_empty() { 0 } else { BUILDS };
                writer.varint(pack.plain.len() as u64);
                writer.fixed(&compressed);
            }
            None => writer.fixed(&pack.plain),
        }
        self.bodies += 1;
        let next = Prefix { bytes: end_of(&prefix.bytes, &pack.plain), serial: self.bodies };
        EventsBody { bytes: writer.bytes.into(), next }
    }
}

/// Reads a body into records, with what the sender built on; `prefix` becomes what the next may build
/// on.
pub(crate) fn decode(fleet: FleetId, body: &[u8], prefix: &mut Prefix) -> Result<Vec<Unpacked>, DecodeError> {
    let mut reader = Reader::new(body);
    let flags = reader.byte("events encoding")?;
    if flags > COMPRESSED | BUILDS | KEEP {
        return Err(reader.fault("events encoding"));
    }
    let noise = reader.blob(EVENTS_BYTES_MAX, "events noise")?.to_vec();
    let before = std::mem::take(prefix);
    let plain = if flags & COMPRESSED == 0 {
        reader.take(reader.remaining(), "events")?.to_vec()
    } else {
        let length = reader.varint("events length")? as usize;
        if length + noise.len() > EVENTS_BYTES_MAX {
            return Err(reader.fault("events length"));
        }
        let fault = reader.fault("compressed events");
        let compressed = reader.take(reader.remaining(), "events")?;
        let built_on = if flags & BUILDS == 0 { &[] } else { &*before.bytes };
        decompress(compressed, length, built_on).ok_or(fault)?
    };
    if flags & KEEP != 0 {
        *prefix = Prefix { bytes: end_of(&before.bytes, &plain), serial: 0 };
    }
    Pack { plain, noise }.records(fleet)
}

/// The end of two stretches of bytes, one after the other.
fn end_of(before: &[u8], bytes: &[u8]) -> Arc<[u8]> {
    let bytes = &bytes[bytes.len().saturating_sub(PREFIX_BYTES_MAX)..];
    let before = &before[before.len().saturating_sub(PREFIX_BYTES_MAX - bytes.len())..];
    [before, bytes].concat().into()
}

fn compress(plain: &[u8], prefix: &[u8]) -> Option<Vec<u8>> {
    if plain.len() < COMPRESS_BYTES_MIN {
        return None;
    }
    let mut context = CCtx::try_create()?;
    context.set_parameter(CParameter::CompressionLevel(COMPRESS_LEVEL)).ok()?;
    context.ref_prefix(prefix).ok()?;
    let mut compressed = Vec::with_capacity(compress_bound(plain.len()));
    context.compress2(&mut compressed, plain).ok()?;
    // A frame has to be smaller by an eighth to be worth the receiver's time.
    (compressed.len() < plain.len() - plain.len() / 8).then_some(compressed)
}

fn decompress(compressed: &[u8], length: usize, prefix: &[u8]) -> Option<Vec<u8>> {
    let mut context = DCtx::try_create()?;
    context.ref_prefix(prefix).ok()?;
    let mut plain = Vec::with_capacity(length);
    context.decompress(&mut plain, compressed).ok()?;
    (plain.len() == length).then_some(plain)
}

#[cfg(test)]
mod tests;
