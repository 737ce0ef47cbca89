//! A store that records what was asked of it and fails when told to.
//!
//! Tests share its [`OperationLog`] with the code that acknowledges, and prove from the recorded
//! order that each acknowledgement follows the flush that covers it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Batch, Order, Store, StoreError, Visit};

/// One entry of an [`OperationLog`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// A batch was applied.
    Apply {
        /// Keys in the batch.
        keys: usize,
        /// Bytes of keys and values in the batch.
        bytes: usize,
    },
    /// Everything applied before is durable.
    Flush,
    /// An apply or a flush failed.
    Failed,
    /// Something that the test noted between the operations, such as an acknowledgement.
    Note(String),
}

/// An ordered record of operations, shared by its clones.
///
/// Grows without limit: for tests.
#[derive(Debug, Default, Clone)]
pub struct OperationLog(Arc<Mutex<Vec<Operation>>>);

impl OperationLog {
    /// Adds what happened outside of the store, for example an acknowledgement.
    pub fn note(&self, what: impl Into<String>) {
        self.push(Operation::Note(what.into()));
    }

    /// Returns all entries so far, oldest first.
    pub fn operations(&self) -> Vec<Operation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn push(&self, operation: Operation) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
    }
}

/// Which operations of a [`RecordingStore`] fail, each counted from 1.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// The apply that fails, with nothing of its batch applied.
    pub apply: Option<u64>,
    /// The flush that fails, with nothing made durable by it.
    pub flush: Option<u64>,
}

/// Wraps a store, records its operations in order and injects failures.
///
/// An injected failure poisons the store as a real one does.
#[derive(Debug)]
pub struct RecordingStore<S> {
    inner: S,
    log: OperationLog,
    faults: Faults,
    applies: u64,
    flushes: u64,
    poisoned: bool,
}

impl<S: Store> RecordingStore<S> {
    /// Wraps `inner`; operations are added to `log`.
    pub fn new(inner: S, log: OperationLog) -> RecordingStore<S> {
        RecordingStore::with_faults(inner, log, Faults::default())
    }

    /// Wraps `inner`; the operations that `faults` names fail with [`StoreError::Io`].
    pub fn with_faults(inner: S, log: OperationLog, faults: Faults) -> RecordingStore<S> {
        RecordingStore { inner, log, faults, applies: 0, flushes: 0, poisoned: false }
    }

    /// Returns the log that this store writes to.
    pub fn log(&self) -> &OperationLog {
        &self.log
    }

    /// The store within.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Unwraps the store, for example to crash it.
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.poisoned { Err(StoreError::Poisoned) } else { Ok(()) }
    }

    fn record(&mut self, operation: Operation, result: Result<(), StoreError>) -> Result<(), StoreError> {
        self.log.push(if result.is_ok() { operation } else { Operation::Failed });
        result
    }

    fn injected(&mut self, during: &'static str) -> StoreError {
        self.poisoned = true;
        StoreError::Io {
            during,
            path: PathBuf::from("recording store"),
            source: std::io::Error::other("injected failure"),
        }
    }
}

impl<S: Store> Store for RecordingStore<S> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.check_open()?;
        self.inner.get(key)
    }

    fn scan(&self, start: &[u8], end: &[u8], order: Order, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.check_open()?;
        self.inner.scan(start, end, order, visit)
    }

    fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.check_open()?;
        self.applies += 1;
        let operation = Operation::Apply { keys: batch.len(), bytes: batch.bytes() };
        let result = if self.faults.apply == Some(self.applies) {
            Err(self.injected("apply"))
        } else {
            self.inner.apply(batch)
        };
        self.record(operation, result)
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.check_open()?;
        self.flushes += 1;
        let result = if self.faults.flush == Some(self.flushes) {
            Err(self.injected("flush"))
        } else {
            self.inner.flush()
        };
        self.record(Operation::Flush, result)
    }

    fn disk_bytes(&self) -> u64 {
        self.inner.disk_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::{MemoryStore, conformance};

    #[test]
    fn a_recording_store_is_a_store() {
        let make = || RecordingStore::new(MemoryStore::new(), OperationLog::default());
        conformance::run(make, |store| {
            let mut disk = store.into_inner();
            disk.crash();
            RecordingStore::new(disk, OperationLog::default())
        });
    }

    #[test]
    fn the_log_shows_whether_the_flush_precedes_the_acknowledgement() {
        let log = OperationLog::default();
        let mut store = RecordingStore::new(MemoryStore::new(), log.clone());

        store.apply(price("4.20")).unwrap();
        store.flush().unwrap();
        log.note("acknowledged");

        let expected = [
            Operation::Apply { keys: 1, bytes: 9 },
            Operation::Flush,
            Operation::Note("acknowledged".into()),
        ];
        assert_eq!(store.log().operations(), expected);
    }

    #[test]
    fn an_injected_apply_failure_changes_nothing_on_disk() {
        let faults = Faults { apply: Some(2), ..Faults::default() };
        let mut store = RecordingStore::with_faults(MemoryStore::new(), OperationLog::default(), faults);
        store.apply(price("1.00")).unwrap();
        store.flush().unwrap();

        assert!(matches!(store.apply(price("2.00")), Err(StoreError::Io { .. })));

        assert!(matches!(store.get(b"price"), Err(StoreError::Poisoned)));
        let disk = store.into_inner();
        assert_eq!(disk.get(b"price").unwrap().unwrap(), b"1.00");
    }

    #[test]
    fn an_injected_flush_failure_poisons() {
        let faults = Faults { flush: Some(1), ..Faults::default() };
        let log = OperationLog::default();
        let store = RecordingStore::with_faults(MemoryStore::new(), log.clone(), faults);

        let mut disk = conformance::poisoned_after_a_failed_flush(store).into_inner();

        disk.crash();
        assert_eq!(disk.get(b"price").unwrap(), None);
        assert!(!log.operations().contains(&Operation::Flush));
    }

    fn price(amount: &str) -> Batch {
        let mut batch = Batch::default();
        batch.put("price", amount);
        batch
    }
}
