//! A store in memory for tests and simulation, with crashes and copied disks.
//!
//! Keys and values are shared, so that thousands of stores and their forks fit into one process.
//! It keeps one map, the visible state, and remembers how to undo what was not flushed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::{Batch, Order, Store, StoreError, Visit};

/// Keeps records in memory; a crash drops what was not flushed.
#[derive(Debug, Default)]
pub struct MemoryStore {
    visible: Map,
    /// For each batch since the last flush, oldest first, the values that it replaced.
    undo: Vec<Vec<(Bytes, Option<Bytes>)>>,
    flushes: u64,
    reads: Cell<MemoryReads>,
}

/// What was read from a store since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryReads {
    /// Records that were asked for and found, or visited.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

type Bytes = Arc<[u8]>;
type Map = BTreeMap<Bytes, Bytes>;

impl MemoryStore {
    /// Creates an empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// Loses power: drops every batch that was not flushed.
    pub fn crash(&mut self) {
        self.crash_keeping(0);
    }

    /// Loses power after the first `batches` unflushed batches happened to reach the disk.
    ///
    /// A real engine writes in the background, so any number of them may survive, in order.
    pub fn crash_keeping(&mut self, batches: usize) {
        while self.undo.len() > batches {
            let replaced = self.undo.pop().expect("the loop condition leaves at least one");
            restore(&mut self.visible, &replaced);
        }
        self.undo.clear();
    }

    /// Copies what is durable, as an image of the disk taken while the power is off.
    pub fn fork(&self) -> MemoryStore {
        let mut durable = self.visible.clone();
        for replaced in self.undo.iter().rev() {
            restore(&mut durable, replaced);
        }
        MemoryStore { visible: durable, flushes: self.flushes, ..MemoryStore::default() }
    }

    /// Copies what was applied, durable or not, as if all of it had happened to reach the disk.
    pub fn fork_applied(&self) -> MemoryStore {
        MemoryStore { visible: self.visible.clone(), flushes: self.flushes, ..MemoryStore::default() }
    }

    /// Returns how often the store was flushed.
    pub fn flushes(&self) -> u64 {
        self.flushes
    }

    /// Returns what was read, for counting what an operation costs.
    pub fn reads(&self) -> MemoryReads {
        self.reads.get()
    }

    fn note_read(&self, value: &Bytes) {
        let MemoryReads { records, bytes } = self.reads.get();
        self.reads.set(MemoryReads { records: records + 1, bytes: bytes + value.len() as u64 });
    }

    /// Returns the number of batches that a crash would drop.
    pub fn unflushed(&self) -> usize {
        self.undo.len()
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.visible.get(key).inspect(|value| self.note_read(value));
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, start: &[u8], end: &[u8], order: Order, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        if start >= end {
            return Ok(());
        }
        let entries = self.visible.range::<[u8], _>((Bound::Included(start), Bound::Excluded(end)));
        let mut visit = |(key, value): (&Bytes, &Bytes)| {
            self.note_read(value);
            visit(key, value)
        };
        // Breaking is how a visitor stops, not a failure.
        let _stopped = match order {
            Order::Ascending => entries.into_iter().try_for_each(&mut visit),
            Order::Descending => entries.into_iter().rev().try_for_each(&mut visit),
        };
        Ok(())
    }

    fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        batch.check_limits()?;
        if batch.is_empty() {
            return Ok(());
        }
        let mut replaced = Vec::with_capacity(batch.len());
        for (key, value) in batch.changes() {
            let key: Bytes = key.into();
            let old = match value {
                Some(value) => self.visible.insert(Arc::clone(&key), value.into()),
                None => self.visible.remove(&key),
            };
            replaced.push((key, old));
        }
        self.undo.push(replaced);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.undo.clear();
        self.flushes += 1;
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

/// Undoes one batch. A batch changes a key at most once, so the order does not matter.
fn restore(map: &mut Map, replaced: &[(Bytes, Option<Bytes>)]) {
    for (key, old) in replaced {
        match old {
            Some(value) => map.insert(Arc::clone(key), Arc::clone(value)),
            None => map.remove(key),
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::conformance;

    #[test]
    fn memory_passes_the_conformance_suite() {
        conformance::run(MemoryStore::new, |mut store| {
            store.crash();
            store
        });
    }

    #[test]
    fn a_crash_drops_what_was_not_flushed() {
        let mut store = MemoryStore::new();
        put(&mut store, "till", "open");
        put(&mut store, "door", "open");
        store.flush().unwrap();
        put(&mut store, "till", "closed");
        put(&mut store, "till", "locked");
        let mut later = Batch::default();
        later.delete("door");
        store.apply(later).unwrap();
        assert_eq!(store.unflushed(), 3);

        store.crash();

        assert_eq!(store.get(b"till").unwrap().unwrap(), b"open");
        assert_eq!(store.get(b"door").unwrap().unwrap(), b"open");
        assert_eq!((store.unflushed(), store.flushes()), (0, 1));
    }

    #[test]
    fn a_crash_may_keep_the_oldest_unflushed_batches() {
        let mut store = MemoryStore::new();
        for state in ["one", "two", "three"] {
            put(&mut store, "till", state);
        }

        store.crash_keeping(2);
        store.crash();

        assert_eq!(store.get(b"till").unwrap().unwrap(), b"two");
    }

    #[test]
    fn a_fork_holds_the_durable_state_and_lives_its_own_life() {
        let mut disk = MemoryStore::new();
        put(&mut disk, "till", "open");
        disk.flush().unwrap();
        put(&mut disk, "till", "closed");
        put(&mut disk, "lamp", "on");

        let mut copy = disk.fork();

        assert_eq!(copy.get(b"till").unwrap().unwrap(), b"open");
        assert_eq!(copy.get(b"lamp").unwrap(), None);
        assert_eq!(disk.get(b"till").unwrap().unwrap(), b"closed");
        put(&mut copy, "till", "stolen");
        copy.flush().unwrap();
        disk.crash();
        assert_eq!(disk.get(b"till").unwrap().unwrap(), b"open");
    }

    #[test]
    fn reads_are_counted() {
        let mut store = MemoryStore::new();
        for key in ["a", "b", "c"] {
            put(&mut store, key, "four");
        }
        let _ = store.get(b"a").unwrap();
        let _ = store.get(b"nothing").unwrap();
        store.scan(b"a", b"c", Order::Ascending, &mut |_, _| std::ops::ControlFlow::Continue(())).unwrap();
        assert_eq!(store.reads(), MemoryReads { records: 3, bytes: 12 });
    }

    fn put(store: &mut MemoryStore, key: &str, value: &str) {
        let mut batch = Batch::default();
        batch.put(key, value);
        store.apply(batch).unwrap();
    }
}
