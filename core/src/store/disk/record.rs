//! How a record is laid out in sled's keys.
//!
//! A **head** under `HEAD_TAG + key` holds the value itself, or, if head and key would exceed
//! [`SLED_ENTRY_BYTES_MAX`], the length and the digest of a value that is split into **pieces**
//! under `PIECE_TAG + start of the key + digest of the key + number`. The tags keep pieces out of
//! the range of the heads, so a scan of the heads is a scan of the records. Pieces of neighbours
//! are neighbours, so that filling a store takes a third of the memory; but they do not repeat a
//! long key, because sled's index pages hold up to 256 keys and outgrow its log as others do.
//!
//! Every head starts with eight bytes of BLAKE3 over its key, its kind and its payload; a split
//! value is checked against its whole digest. These bytes are on disk: changing them is a new
//! store format.

use super::super::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Most bytes of key and value that one sled entry may have.
///
/// Sled moves a page above a quarter of its 512 KiB segments, 131,052 bytes, to a file of its own.
/// A page holds up to 17 entries before it is split, and a few more when sparse neighbours are
/// merged into it: with entries of 7,680 bytes, puts and deletes in random order filled `blobs/`.
/// At this size 25 entries stay in the log. (Hundreds of keys above 480 bytes still make index
/// pages that do not; a flush syncs those too, at the price of a file each.)
pub(super) const SLED_ENTRY_BYTES_MAX: usize = 5_120;

/// First byte of the keys of our own bookkeeping.
const META_TAG: u8 = 0;
const HEAD_TAG: u8 = 1;
const PIECE_TAG: u8 = 2;

const KIND_WHOLE: u8 = 0;
const KIND_SPLIT: u8 = 1;

const CHECKSUM_BYTES: usize = 8;
const DIGEST_BYTES: usize = 32;

/// Bytes of the digest of a key in the keys of its pieces: enough that no two keys share pieces.
const PIECE_DIGEST_BYTES: usize = 16;

/// Most bytes of a key that the keys of its pieces start with.
const PIECE_START_BYTES_MAX: usize = 200;

/// Bytes of a value in each of its pieces but the last; part of the format.
const PIECE_BYTES: usize = SLED_ENTRY_BYTES_MAX - 1 - PIECE_START_BYTES_MAX - PIECE_DIGEST_BYTES - 2;

const HEAD_PREFIX_BYTES: usize = CHECKSUM_BYTES + 1;

/// What a head says about its value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head<'a> {
    /// The value itself.
    Whole(&'a [u8]),
    /// The value is in pieces.
    Split {
        /// Length of the value in bytes.
        bytes: usize,
        /// BLAKE3 of the value.
        digest: [u8; DIGEST_BYTES],
    },
}

/// Sled's key of a bookkeeping record.
pub(super) fn meta_key(name: &[u8]) -> Vec<u8> {
    [&[META_TAG], name].concat()
}

/// Sled's key of a record's head.
pub(super) fn head_key(key: &[u8]) -> Vec<u8> {
    [&[HEAD_TAG], key].concat()
}

/// The record that a head's key belongs to; `None` for any other key.
pub(super) fn key_of_head(sled_key: &[u8]) -> Option<&[u8]> {
    sled_key.strip_prefix(&[HEAD_TAG])
}

/// Sled's key of one piece of a split value.
pub(super) fn piece_key(key: &[u8], number: u16) -> Vec<u8> {
    let start = &key[..key.len().min(PIECE_START_BYTES_MAX)];
    let digest = blake3::hash(key);
    [&[PIECE_TAG], start, &digest.as_bytes()[..PIECE_DIGEST_BYTES], &number.to_be_bytes()].concat()
}

/// Lays out a value: its head, and the pieces if it has to be split.
pub(super) fn encode<'a>(key: &[u8], value: &'a [u8]) -> (Vec<u8>, impl ExactSizeIterator<Item = &'a [u8]>) {
    assert!(key.len() <= KEY_BYTES_MAX && value.len() <= VALUE_BYTES_MAX, "limits are checked before");
    let split = 1 + key.len() + HEAD_PREFIX_BYTES + value.len() > SLED_ENTRY_BYTES_MAX;
    let head = if split {
        let mut payload = (value.len() as u32).to_be_bytes().to_vec();
        payload.extend_from_slice(blake3::hash(value).as_bytes());
        encode_head(key, KIND_SPLIT, &payload)
    } else {
        encode_head(key, KIND_WHOLE, value)
    };
    let in_pieces = if split { value } else { &[] };
    (head, in_pieces.chunks(PIECE_BYTES))
}

/// Reads a head back; `None` if it does not match its checksum or its layout.
pub(super) fn decode_head<'a>(key: &[u8], head: &'a [u8]) -> Option<Head<'a>> {
    let (stored, rest) = head.split_at_checked(CHECKSUM_BYTES)?;
    let (&kind, payload) = rest.split_first()?;
    if stored != checksum(key, kind, payload) {
        return None;
    }
    match kind {
        KIND_WHOLE => Some(Head::Whole(payload)),
        KIND_SPLIT => {
            let (bytes, digest) = payload.split_first_chunk()?;
            let bytes = u32::from_be_bytes(*bytes) as usize;
            let digest = digest.try_into().ok()?;
            (bytes <= VALUE_BYTES_MAX).then_some(Head::Split { bytes, digest })
        }
        _ => None,
    }
}

/// Returns how many pieces a split value of `bytes` has.
pub(super) fn pieces(bytes: usize) -> u16 {
    let pieces = bytes.div_ceil(PIECE_BYTES);
    u16::try_from(pieces).expect("the largest value has fewer than 1,700 pieces")
}

fn encode_head(key: &[u8], kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_PREFIX_BYTES + payload.len());
    head.extend_from_slice(&checksum(key, kind, payload));
    head.push(kind);
    head.extend_from_slice(payload);
    head
}

/// Covers the key, so that a value that turns up under another key does not pass.
fn checksum(key: &[u8], kind: u8, payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u32).to_be_bytes()).update(key).update(&[kind]).update(payload);
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM_BYTES]);
    checksum
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn no_entry_exceeds_what_sled_keeps_in_its_log() {
        for key_bytes in [0, 1, 500, KEY_BYTES_MAX] {
            let key = vec![b'k'; key_bytes];
            for value_bytes in [0, 1, 4_000, 5_109, 5_110, 5_111, 5_120, 8_192, 50_000, VALUE_BYTES_MAX] {
                let value = vec![7; value_bytes];
                let (head, value_pieces) = encode(&key, &value);
                assert!(head_key(&key).len() + head.len() <= SLED_ENTRY_BYTES_MAX);
                match decode_head(&key, &head).unwrap() {
                    Head::Whole(whole) => {
                        assert_eq!((whole, value_pieces.len()), (value.as_slice(), 0));
                    }
                    Head::Split { bytes, digest } => {
                        assert_eq!(bytes, value_bytes);
                        assert_eq!(digest, *blake3::hash(&value).as_bytes());
                        assert_eq!(value_pieces.len(), usize::from(pieces(bytes)));
                        let key_bytes = piece_key(&key, 0).len();
                        assert!(
                            value_pieces.map(|piece| key_bytes + piece.len()).max().unwrap()
                                <= SLED_ENTRY_BYTES_MAX
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn any_changed_byte_of_a_head_is_noticed() {
        let (head, _) = encode(b"till-1", b"open");
        for at in 0..head.len() {
            let mut damaged = head.clone();
            damaged[at] ^= 1;
            assert_eq!(decode_head(b"till-1", &damaged), None, "byte {at}");
        }
        for length in 0..head.len() {
            assert_eq!(decode_head(b"till-1", &head[..length]), None, "cut to {length}");
        }
        assert_eq!(decode_head(b"till-2", &head), None, "a head under another key");
    }

    #[test]
    fn pieces_stay_out_of_the_range_of_heads_and_of_each_other() {
        let long = [7; KEY_BYTES_MAX];
        assert!(piece_key(&long, 9).len() < 256);
        assert_ne!(piece_key(&long, 9), piece_key(&long[1..], 9));
        assert!(piece_key(b"a", 0) < piece_key(b"a", 256) && piece_key(b"a", 256) < piece_key(b"b", 0));
        assert!(meta_key(&[0xff; 8]) < head_key(b""));
        assert!(head_key(&[0xff; KEY_BYTES_MAX]) < piece_key(b"", 0));
        assert_eq!(key_of_head(&piece_key(b"a", 1)), None);
        assert_eq!(key_of_head(&head_key(b"a")), Some(&b"a"[..]));
    }
}
