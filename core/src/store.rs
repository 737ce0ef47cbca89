//! The storage boundary: ordered keys, an atomic batch, an explicit durable flush.
//!
//! [`Store`] is all that a replica knows about its disk. [`SledStore`] keeps records in files,
//! [`MemoryStore`] keeps them in memory for tests and simulation, [`RecordingStore`] wraps either
//! to record what was asked of it and to inject failures. [`conformance`] holds the properties
//! that every adapter has to pass.
//!
//! A store has one owner and no threads of its own: whoever commits applies one batch, flushes
//! once, and only then acknowledges. It knows nothing about events, documents or peers.

pub mod conformance;
mod disk;
mod error;
mod memory;
mod recording;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

pub use disk::{STORE_FORMAT, SledOptions, SledStore};
pub use error::StoreError;
pub use memory::{MemoryReads, MemoryStore};
pub use recording::{Faults, Operation, OperationLog, RecordingStore};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// Largest value, in bytes (8 MiB). Cheapest up to 5,000 bytes with
/// their key; above that an adapter may split them.
pub const VALUE_BYTES_MAX: usize = 8 << 20;

/// Most keys in one batch.
pub const BATCH_KEYS_MAX: usize = 400;

/// Most bytes of keys and values in one batch (16 MiB), so that a batch of large values stays
/// within a bounded amount of memory.
pub const BATCH_BYTES_MAX: usize = 16 << 20;

/// Keeps values under ordered keys, with atomic batches and an explicit durable flush.
///
/// Synchronous and single-owner: no call returns before its work is done, and none overlaps
/// another. Batches reach the disk in the order in which they were applied, each whole or not at
/// all. What was applied but not flushed may survive a crash (an adapter may write in the
/// background), but then everything that was applied before it survives too.
///
/// A broken limit ([`StoreError::KeyTooLong`] and its like), and damage in what a batch is to
/// replace, leave the store as it was. Any other failure of [`apply`](Store::apply) or
/// [`flush`](Store::flush) poisons the store: memory and disk can no longer be told apart, so
/// every later call fails with [`StoreError::Poisoned`] until the store is opened anew.
pub trait Store: Send + 'static {
    /// Returns the value of a key, or `None` if there is none.
    ///
    /// A record that does not match its checksum is [`StoreError::Damaged`] and names the key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits the entries with `start <= key < end` in the given order until the visitor breaks.
    ///
    /// A range whose start is not below its end is empty. Sees every applied batch. Stops at the
    /// first damaged record with [`StoreError::Damaged`]; entries visited before it were correct.
    fn scan(&self, start: &[u8], end: &[u8], order: Order, visit: &mut Visit<'_>) -> Result<(), StoreError>;

    /// Applies a batch, all or nothing. It is visible at once and not yet durable.
    fn apply(&mut self, batch: Batch) -> Result<(), StoreError>;

    /// Returns once everything applied so far survives a loss of power.
    ///
    /// Costs next to nothing if nothing was applied since the last flush.
    fn flush(&mut self) -> Result<(), StoreError>;

    /// Returns the bytes that the store occupies on disk, 0 for memory.
    fn disk_bytes(&self) -> u64;
}

impl<S: Store + ?Sized> Store for Box<S> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).get(key)
    }

    fn scan(&self, start: &[u8], end: &[u8], order: Order, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        (**self).scan(start, end, order, visit)
    }

    fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        (**self).apply(batch)
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        (**self).flush()
    }

    fn disk_bytes(&self) -> u64 {
        (**self).disk_bytes()
    }
}

/// Sees one entry of a scan, key and value, and says whether to go on.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// The direction of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// From the lowest key up.
    Ascending,
    /// From the highest key down.
    Descending,
}

/// Changes that a store applies all or nothing.
///
/// A later change of a key replaces an earlier one, which is what applying them in order comes
/// to. The limits are checked by [`Store::apply`], not while the batch grows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Batch {
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

impl Batch {
    /// Sets the value of a key.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.change(key.into(), Some(value.into()));
    }

    /// Removes a key; one that is absent stays absent.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.change(key.into(), None);
    }

    /// Returns the number of keys that the batch changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Returns whether the batch changes nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Returns the bytes of all keys and values in the batch.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns each changed key with its new value, `None` for a deletion, in key order.
    pub fn changes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.changes.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// Checks every limit; adapters call this before they touch anything.
    pub fn check_limits(&self) -> Result<(), StoreError> {
        if self.len() > BATCH_KEYS_MAX || self.bytes > BATCH_BYTES_MAX {
            return Err(StoreError::BatchTooLarge { keys: self.len(), bytes: self.bytes });
        }
        for (key, value) in &self.changes {
            if key.len() > KEY_BYTES_MAX {
                return Err(StoreError::KeyTooLong { bytes: key.len() });
            }
            let bytes = value.as_ref().map_or(0, Vec::len);
            if bytes > VALUE_BYTES_MAX {
                return Err(StoreError::ValueTooLarge { key: key.clone(), bytes });
            }
        }
        Ok(())
    }

    fn change(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let key_bytes = key.len();
        self.bytes += key_bytes + value.as_ref().map_or(0, Vec::len);
        if let Some(replaced) = self.changes.insert(key, value) {
            self.bytes -= key_bytes + replaced.map_or(0, |value| value.len());
        }
    }
}

/// Returns the end of the range of all keys that start with `prefix`, for [`Store::scan`].
///
/// `None` if no key can follow the range: the prefix is empty or all its bytes are 255.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests;
