//! A store in files, kept by sled 0.34.
//!
//! What sled does not promise is added here, and nothing else:
//!
//! - **Durability.** Sled's flush writes without waiting for the device. [`SledStore::flush`]
//!   follows it with a real `sync_data` of the log, through a file handle of our own: the kernel
//!   reports a failed write to each handle, so a failure that sled's thread came across and only
//!   logged still fails our next flush. That thread writes about twice a second on its own; hence
//!   an unflushed batch may survive a crash, but never without the batches before it.
//!   (`disk/engine.rs`)
//! - **Integrity.** Every record carries a checksum over its key and value (`disk/record.rs`).
//! - **Large values.** Sled moves large pages into files that no flush of ours covers, so large
//!   values are split (`disk/record.rs`).
//! - **Loss.** An acknowledgement mark tells a truncated log from a short one (`disk/mark.rs`).
//! - **Ownership.** A format record and a lock (`disk/directory.rs`).
//!
//! Not detected here: damage that makes sled forget single pages, so that records read as absent
//! or as an older version of themselves. A flipped bit can do that, and so can a loss of power on
//! a device that reorders writes, when sled has just reused the place of a page that it moved.
//! Chains and the comparison with peers above this module notice those.

mod directory;
mod engine;
mod mark;
mod record;

use std::path::Path;
use std::time::{Duration, Instant};

use self::directory::{Directory, io_error};
use self::engine::{Engine, LOG_FILE, damaged};
use self::mark::{MARK_FILE, Mark};
use self::record::Head;
use super::{Batch, Order, Store, StoreError, Visit};

pub use self::directory::STORE_FORMAT;

/// How to open a [`SledStore`].
#[derive(Debug, Clone)]
pub struct SledOptions {
    /// What sled tries to keep its page cache to, in bytes. It does not bound its memory.
    pub cache_bytes: u64,
    /// Opens a store that lost acknowledged flushes, and takes what is left for the truth.
    ///
    /// For a node that fetches the rest from its peers before it writes.
    pub accept_loss: bool,
    /// How old the acknowledgement mark may grow while flushes go on.
    ///
    /// After a crash, a loss of flushes younger than this goes unnoticed (and after a loss of
    /// power, of those younger than the operating system's write-back, some 30 seconds more).
    pub mark_every: Duration,
}

impl Default for SledOptions {
    fn default() -> SledOptions {
        SledOptions { cache_bytes: 16 << 20, accept_loss: false, mark_every: Duration::from_secs(1) }
    }
}

/// Keeps records in a directory of its own.
///
/// Small batches are what it is made for. Sled does not evict pages that a batch wrote before it
/// was flushed: sixteen values of 8 MiB, one after the other, took 238 MiB until the store was
/// closed, where the same bytes in batches of eight records of 8 KB took 21.
///
/// Dropping it writes the acknowledgement mark; [`close`](SledStore::close) does so too and
/// reports failure.
#[derive(Debug)]
pub struct SledStore {
    engine: Engine,
    mark: Mark,
    mark_every: Duration,
    marked_at: Instant,
    /// Flushes counted since the directory was created; a count lost in a crash is not made up.
    flushes: u64,
    /// Whether something was applied since the last flush.
    unflushed: bool,
    poisoned: bool,
    /// Last, so that the lock outlives the engine.
    directory: Directory,
}

impl SledStore {
    /// Opens the store in a directory, or creates it in an absent or empty one.
    ///
    /// What is visible when this returns is durable. A damaged directory is
    /// [`StoreError::Damaged`] with the way out in its reason.
    pub fn open(dir: &Path, options: SledOptions) -> Result<SledStore, StoreError> {
        let directory = Directory::claim(dir)?;
        let mark = Mark::open(dir).map_err(io_error("reading the mark", &dir.join(MARK_FILE)))?;
        let expected = mark.as_ref().is_some_and(|mark| mark.flushes() > 0);
        if expected && !options.accept_loss && !dir.join(LOG_FILE).exists() {
            return Err(damaged(dir, "its log file `db` is missing"));
        }
        let engine = Engine::open(dir, options.cache_bytes)?;
        directory.sync()?;

        let counted = read_count(dir, &engine)?;
        let (mark, flushes) = settle_mark(dir, mark, counted, options.accept_loss)?;
        let mut store = SledStore {
            engine,
            mark,
            mark_every: options.mark_every,
            marked_at: now(),
            flushes,
            unflushed: false,
            poisoned: false,
            directory,
        };
        if Some(flushes) != counted && flushes > 0 {
            tracing::warn!(dir = %dir.display(), flushes, ?counted, "accepted a loss of acknowledged flushes");
            store.write_mark()?;
        }
        Ok(store)
    }

    /// Returns the directory of the store.
    pub fn dir(&self) -> &Path {
        &self.directory.path
    }

    /// Closes the store and makes the acknowledgement mark durable, which dropping it does too.
    ///
    /// What was flushed is kept even if this fails.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.settle()
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.poisoned { Err(StoreError::Poisoned) } else { Ok(()) }
    }

    /// Runs a write; any failure of it poisons the store.
    fn poisoning(
        &mut self,
        write: impl FnOnce(&mut SledStore) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.check_open()?;
        // Stays set if the write fails, and also if it panics.
        self.poisoned = true;
        write(self)?;
        self.poisoned = false;
        Ok(())
    }

    /// Counts a flush inside sled; the next sync makes the count durable.
    fn put_count(&mut self, flushes: u64) -> Result<(), StoreError> {
        let (head, _) = record::encode(COUNT_NAME, &flushes.to_be_bytes());
        let mut count = sled::Batch::default();
        count.insert(record::meta_key(COUNT_NAME), head);
        self.engine.apply(count)
    }

    fn raise_mark(&mut self) -> Result<(), StoreError> {
        self.marked_at = now();
        self.mark
            .write(self.flushes)
            .map_err(io_error("writing the mark", &self.directory.path.join(MARK_FILE)))
    }

    fn write_mark(&mut self) -> Result<(), StoreError> {
        self.poisoning(|store| {
            store.put_count(store.flushes)?;
            store.engine.flush()?;
            store.raise_mark()?;
            let path = store.directory.path.join(MARK_FILE);
            store.mark.sync().map_err(io_error("syncing the mark", &path))
        })
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        if self.poisoned || self.flushes == self.mark.flushes() { Ok(()) } else { self.write_mark() }
    }

    /// Returns the value that a head stands for.
    fn value(&self, key: &[u8], head: &[u8]) -> Result<Vec<u8>, StoreError> {
        let broken = |reason: &str| StoreError::Damaged {
            key: Some(key.to_vec()),
            reason: format!("{reason} in {}; fetch it from a peer", self.dir().display()),
        };
        match record::decode_head(key, head) {
            None => Err(broken("the record does not match its checksum")),
            Some(Head::Whole(value)) => Ok(value.to_vec()),
            Some(Head::Split { bytes, digest }) => {
                let mut value = Vec::with_capacity(bytes);
                for number in 0..record::pieces(bytes) {
                    let piece = self.read(key, &record::piece_key(key, number))?;
                    let piece = piece.ok_or_else(|| broken("a part of the record is missing"))?;
                    value.extend_from_slice(&piece);
                }
                if value.len() != bytes || *blake3::hash(&value).as_bytes() != digest {
                    return Err(broken("a part of the record does not match its checksum"));
                }
                Ok(value)
            }
        }
    }

    fn read(&self, key: &[u8], sled_key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        self.engine.get(sled_key, Some(key))
    }

    /// Adds one change to sled's batch, pieces included, and removes pieces of the old value.
    fn change(&self, changes: &mut sled::Batch, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        let head_key = record::head_key(key);
        let old_head = self.read(key, &head_key)?;
        let mut number = 0;
        match value {
            None => changes.remove(head_key),
            Some(value) => {
                let (head, pieces) = record::encode(key, value);
                changes.insert(head_key, head);
                for piece in pieces {
                    changes.insert(record::piece_key(key, number), piece);
                    number += 1;
                }
            }
        }
        let old_pieces = match old_head.as_deref().map(|head| record::decode_head(key, head)) {
            None | Some(Some(Head::Whole(_))) => 0,
            Some(Some(Head::Split { bytes, .. })) => record::pieces(bytes),
            // A damaged head may be replaced; what pieces it had can only be tried.
            Some(None) => u16::MAX,
        };
        while number < old_pieces {
            let piece_key = record::piece_key(key, number);
            if self.read(key, &piece_key)?.is_none() {
                break;
            }
            changes.remove(piece_key);
            number += 1;
        }
        Ok(())
    }
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.check_open()?;
        let head = self.read(key, &record::head_key(key))?;
        head.map(|head| self.value(key, &head)).transpose()
    }

    fn scan(&self, start: &[u8], end: &[u8], order: Order, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.check_open()?;
        if start >= end {
            return Ok(());
        }
        let mut heads = self.engine.entries(record::head_key(start)..record::head_key(end));
        while let Some((sled_key, head)) = heads.next(order)? {
            let key = record::key_of_head(&sled_key).expect("the range holds heads alone");
            if visit(key, &self.value(key, &head)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.check_open()?;
        batch.check_limits()?;
        if batch.is_empty() {
            return Ok(());
        }
        let mut changes = sled::Batch::default();
        for (key, value) in batch.changes() {
            self.change(&mut changes, key, value)?;
        }
        drop(batch);
        self.poisoning(|store| {
            store.unflushed = true;
            store.engine.apply(changes)
        })
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.check_open()?;
        if !self.unflushed {
            return Ok(());
        }
        self.poisoning(|store| {
            let flushes = store.flushes + 1;
            let mark_is_due = store.marked_at.elapsed() >= store.mark_every;
            if mark_is_due {
                store.put_count(flushes)?;
            }
            store.engine.flush()?;
            store.flushes = flushes;
            store.unflushed = false;
            if mark_is_due { store.raise_mark() } else { Ok(()) }
        })
    }

    fn disk_bytes(&self) -> u64 {
        self.directory.bytes().unwrap_or_else(|error| {
            tracing::warn!(dir = %self.dir().display(), %error, "size on disk is unknown");
            0
        })
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        if let Err(error) = self.settle() {
            tracing::warn!(dir = %self.dir().display(), %error, "closed without a fresh mark");
        }
    }
}

/// Name of the record that counts flushes.
const COUNT_NAME: &[u8] = b"flushes";

fn read_count(dir: &Path, engine: &Engine) -> Result<Option<u64>, StoreError> {
    let Some(head) = engine.get(&record::meta_key(COUNT_NAME), None)? else {
        return Ok(None);
    };
    match record::decode_head(COUNT_NAME, &head) {
        Some(Head::Whole(count)) => {
            let count = count.try_into().map(u64::from_be_bytes);
            count.map(Some).map_err(|_| damaged(dir, "its count of flushes has a wrong length"))
        }
        _ => Err(damaged(dir, "its count of flushes does not match its checksum")),
    }
}

/// Compares the count inside sled with the mark outside, and returns the mark and the count to go on from.
fn settle_mark(
    dir: &Path,
    mark: Option<Mark>,
    counted: Option<u64>,
    accept_loss: bool,
) -> Result<(Mark, u64), StoreError> {
    let count = counted.unwrap_or(0);
    match mark {
        Some(mark) if mark.flushes() <= count => Ok((mark, count)),
        Some(mark) if accept_loss => {
            let flushes = mark.flushes();
            Ok((mark, flushes))
        }
        Some(mark) => {
            let missing = mark.flushes() - count;
            Err(damaged(dir, &format!("{missing} acknowledged flushes are missing")))
        }
        None if accept_loss => {
            let mut mark = Mark::create(dir).map_err(io_error("creating the mark", &dir.join(MARK_FILE)))?;
            mark.write(count).map_err(io_error("writing the mark", &dir.join(MARK_FILE)))?;
            Ok((mark, count))
        }
        None => Err(damaged(dir, "its acknowledgement mark is missing or unreadable")),
    }
}

#[allow(clippy::disallowed_methods, reason = "only paces the mark; nothing that is stored depends on it")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
