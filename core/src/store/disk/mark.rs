//! The acknowledgement mark: a lower bound, outside of sled, of what was flushed.
//!
//! Sled opens a truncated file without a word and with data gone. The store therefore counts its
//! flushes inside sled, and this small file remembers a count that was once durable. A store that
//! counts less than the mark lost acknowledged data.
//!
//! Two slots, each on a page of its own, are written in turn; a slot is the count and its
//! checksum. Whichever valid slot is higher counts, so a torn write costs one slot. A mark is
//! written after the flush that it bears witness to, never before, so it cannot be ahead of the
//! disk; it may be behind, because the operating system writes it when it pleases (within some 30
//! seconds) unless it is synced.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Name of the file in the store's directory.
pub(super) const MARK_FILE: &str = "acknowledged";

const SLOT_STRIDE_BYTES: usize = 4096;
const SLOTS: usize = 2;
const COUNT_BYTES: usize = 8;
const SLOT_BYTES: usize = 2 * COUNT_BYTES;

/// An open acknowledgement mark.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    flushes: u64,
    next_slot: usize,
}

impl Mark {
    /// Creates the file with a mark of 0, durable when this returns, replacing any other.
    pub(super) fn create(dir: &Path) -> io::Result<Mark> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(dir.join(MARK_FILE))?;
        let mut mark = Mark { file, flushes: 0, next_slot: 0 };
        mark.file.set_len((SLOTS * SLOT_STRIDE_BYTES) as u64)?;
        mark.write(0)?;
        mark.write(0)?;
        mark.file.sync_all()?;
        Ok(mark)
    }

    /// Opens the file; `None` if it is missing or no slot of it is valid.
    pub(super) fn open(dir: &Path) -> io::Result<Option<Mark>> {
        let mut file = match OpenOptions::new().read(true).write(true).open(dir.join(MARK_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take((SLOTS * SLOT_STRIDE_BYTES) as u64).read_to_end(&mut bytes)?;
        let newest = (0..SLOTS).filter_map(|slot| Some((decode(&bytes, slot)?, slot))).max();
        Ok(newest.map(|(flushes, slot)| Mark { file, flushes, next_slot: (slot + 1) % SLOTS }))
    }

    /// Returns the number of flushes that were durable when the mark was written.
    pub(super) fn flushes(&self) -> u64 {
        self.flushes
    }

    /// Raises the mark to `flushes`, which must be durable in the store.
    pub(super) fn write(&mut self, flushes: u64) -> io::Result<()> {
        assert!(flushes >= self.flushes, "the count of flushes never falls");
        let mut slot = [0; SLOT_BYTES];
        slot[..COUNT_BYTES].copy_from_slice(&flushes.to_be_bytes());
        slot[COUNT_BYTES..].copy_from_slice(&checksum(flushes));
        self.file.seek(SeekFrom::Start((self.next_slot * SLOT_STRIDE_BYTES) as u64))?;
        self.file.write_all(&slot)?;
        self.flushes = flushes;
        self.next_slot = (self.next_slot + 1) % SLOTS;
        Ok(())
    }

    /// Makes the mark durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn decode(bytes: &[u8], slot: usize) -> Option<u64> {
    let slot = bytes.get(slot * SLOT_STRIDE_BYTES..)?.first_chunk::<SLOT_BYTES>()?;
    let (count, stored) = slot.split_first_chunk::<COUNT_BYTES>()?;
    let flushes = u64::from_be_bytes(*count);
    (stored == checksum(flushes)).then_some(flushes)
}

fn checksum(flushes: u64) -> [u8; COUNT_BYTES] {
    let mut checksum = [0; COUNT_BYTES];
    let hash = blake3::hash(&flushes.to_be_bytes());
    checksum.copy_from_slice(&hash.as_bytes()[..COUNT_BYTES]);
    checksum
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_mark_survives_reopening_and_the_loss_of_its_newest_slot() {
        let dir = tempfile::tempdir().unwrap();
        let mut mark = Mark::create(dir.path()).unwrap();
        for flushes in [3, 8, 21] {
            mark.write(flushes).unwrap();
            assert_eq!(Mark::open(dir.path()).unwrap().unwrap().flushes(), flushes);
        }

        let path = dir.path().join(MARK_FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        let newest = (0..SLOTS).find(|slot| decode(&bytes, *slot) == Some(21)).unwrap();
        bytes[newest * SLOT_STRIDE_BYTES + 7] ^= 0x40;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Mark::open(dir.path()).unwrap().unwrap().flushes(), 8);

        std::fs::write(&path, [0xaa; 100]).unwrap();
        assert!(Mark::open(dir.path()).unwrap().is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(Mark::open(dir.path()).unwrap().is_none());
    }
}
