//! Reading runs that may be damaged, and putting back what was lost from them.
//!
//! What is put back has to stand before what depends on it, so the scope's log is written anew from
//! there on, under new positions, and the old runs are then deleted. A mark in the store says how far
//! this has come: it is finished, or undone, before the log is next opened.
//!
//! Key: `w <scope>` while a log is being written anew.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Entry, Log, SETTLE_BYTES_MAX, damaged, decode_run, run_key, run_range, write_runs};
use crate::name::Scope;
use crate::store::{BATCH_KEYS_MAX, Batch, Order, Store, StoreError};
use crate::wire::{Reader, Writer};

/// A stretch of a scope's stored log, with what cannot be read in it.
#[derive(Debug, Default)]
pub(crate) struct Stretch {
    /// The entries, in log order.
    pub(crate) entries: Vec<Entry>,
    /// Keys of runs that cannot be read.
    pub(crate) unreadable: Vec<Vec<u8>>,
    /// Bytes of runs and entries read.
    pub(crate) bytes: usize,
    /// Where to go on.
    pub(crate) next: u64,
    /// Whether the log of the scope ended.
    pub(crate) end: bool,
}

/// Entries to write in place of one, or behind the last, as encoded records and how many positions
/// each takes.
pub(crate) type Placed = Vec<(Arc<[u8]>, u64)>;

/// Sees the key of a run, and unless it cannot be read, its bytes and entries.
pub(super) type VisitRun<'a> = dyn FnMut(&[u8], Option<(&[u8], Vec<Entry>)>) -> ControlFlow<()> + 'a;

/// The key of a scope's record, and what makes the record as of a position.
pub(crate) type ScopeRecord<'a> = (&'a [u8], &'a dyn Fn(u64) -> Result<Vec<u8>, StoreError>);

impl<S: Store> Log<S> {
    /// The scopes of which something could not be read since this was last asked.
    pub(crate) fn take_suspects(&mut self) -> BTreeSet<Scope> {
        std::mem::take(self.suspects.get_mut())
    }

    /// Visits runs between two keys. One that cannot be read is shown without its entries, and its
    /// scope is noted.
    pub(super) fn scan_runs(
        &self,
        scope: &Scope,
        (mut start, mut end): (Vec<u8>, Vec<u8>),
        order: Order,
        visit: &mut VisitRun<'_>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let suspect = |key: &[u8]| {
            if self.suspects.borrow_mut().insert(scope.clone()) {
                tracing::error!(%scope, position = position_of(key), "a run of the log cannot be read");
            }
        };
        loop {
            let mut flow = ControlFlow::Continue(());
            let outcome = self.store.scan(&start, &end, order, &mut |key, value| {
                flow = match decode_run(value) {
                    Ok(entries) => visit(key, Some((value, entries))),
                    Err(_) => {
                        suspect(key);
                        visit(key, None)
                    }
                };
                flow
            });
            match outcome {
                Ok(()) => return Ok(flow),
                Err(StoreError::Damaged { key: Some(key), .. }) if start <= key && key < end => {
                    suspect(&key);
                    if visit(&key, None).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    match order {
                        Order::Ascending => start = [key.as_slice(), &[0]].concat(),
                        Order::Descending => end = key,
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads a scope's log as it is stored after a position, about `bytes_max` bytes and at least one
    /// run or entry. What is not settled is as memory has it.
    pub(crate) fn inspect(&self, scope: &Scope, after: u64, bytes_max: usize) -> Result<Stretch, StoreError> {
        self.read_runs(scope, after, after, bytes_max)
    }

    /// The same, with the entries beyond `beyond` of all runs that end after `after`.
    fn read_runs(
        &self,
        scope: &Scope,
        after: u64,
        beyond: u64,
        bytes_max: usize,
    ) -> Result<Stretch, StoreError> {
        let mut read = Stretch { next: after, ..Stretch::default() };
        let range = (run_key(scope, after.saturating_add(1)), run_range(scope).1);
        let flow = self.scan_runs(scope, range, Order::Ascending, &mut |key, found| {
            read.next = position_of(key);
            match found {
                Some((value, entries)) => {
                    read.bytes += value.len();
                    read.entries.extend(entries.into_iter().filter(|entry| entry.last > beyond));
                }
                None => read.unreadable.push(key.to_vec()),
            }
            if read.bytes >= bytes_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if flow.is_break() {
            return Ok(read);
        }
        let (tail, first) = (self.tail.get(scope), read.next.saturating_add(1));
        for (position, entry) in tail.into_iter().flat_map(|tail| tail.range(first..)) {
            if read.bytes >= bytes_max {
                return Ok(read);
            }
            read.bytes += entry.bytes.len();
            read.next = *position;
            read.entries.push(entry.clone());
        }
        read.end = true;
        Ok(read)
    }

    /// Deletes runs that cannot be read, though they were tried again, and returns how many.
    pub(crate) fn drop_unreadable(&mut self, keys: &[Vec<u8>]) -> Result<u64, StoreError> {
        let mut dropped = 0;
        for key in keys {
            let readable = match self.store.get(key) {
                Ok(value) => value.is_none_or(|value| decode_run(&value).is_ok()),
                Err(StoreError::Damaged { .. }) => false,
                Err(error) => return Err(error),
            };
            if !readable {
                let mut batch = Batch::default();
                batch.delete(key.clone());
                self.store.apply(batch)?;
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    /// Writes a scope's log anew from the run that holds the position after `after`: `arrange` gives
    /// what stands in an entry's place, and at the end, called with nothing, what comes behind all.
    /// `record` makes the scope's record for the position up to which the scope is then settled, which
    /// is returned. The scope must have no tail, and nothing may be staged. Durable when it returns.
    pub(crate) fn write_anew(
        &mut self,
        scope: &Scope,
        after: u64,
        arrange: &mut dyn FnMut(Option<Entry>) -> Placed,
        scope_record: ScopeRecord<'_>,
    ) -> Result<u64, StoreError> {
        assert!(self.staged.is_empty() && !self.tail.contains_key(scope), "the scope is settled");
        let last_old = self.assigned;
        let mark = |is_written| Mark { after, last_old, is_written }.encode();
        let mut batch = Batch::default();
        batch.put(mark_key(scope), mark(false));
        self.store.apply(batch)?;
        let (mut next, mut kept, mut bytes) = (after, vec![], 0);
        loop {
            let read = self.read_runs(scope, next, 0, SETTLE_BYTES_MAX)?;
            // What was just written stands behind everything old.
            let old = read.entries.into_iter().filter(|entry| entry.last <= last_old).map(Some);
            let end = read.end || read.next >= last_old;
            for entry in old.chain(end.then_some(None)) {
                for (record, places) in arrange(entry) {
                    bytes += record.len();
                    let first = self.assign(places);
                    kept.extend(Entry::new(first, places, record));
                }
            }
            if end || bytes > SETTLE_BYTES_MAX {
                bytes = 0;
                let mut batch = Batch::default();
                write_runs(scope, vec![], std::mem::take(&mut kept).iter(), &mut batch).map_err(damaged)?;
                self.store.apply(batch)?;
            }
            if end {
                break;
            }
            next = read.next;
        }
        let settled = self.assigned;
        let mut batch = Batch::default();
        batch.put(mark_key(scope), mark(true));
        batch.put(scope_record.0, scope_record.1(settled)?);
        self.store.apply(batch)?;
        finish_insertions(&mut self.store)?;
        self.store.flush()?;
        self.durable = settled;
        Ok(settled)
    }
}

/// Ends what [`Log::write_anew`] began: deletes the old runs if the new ones are complete, else the new.
pub(super) fn finish_insertions<S: Store>(store: &mut S) -> Result<(), StoreError> {
    let mut marks = vec![];
    store.scan(b"w", b"x", Order::Ascending, &mut |key, value| {
        marks.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    for (key, value) in marks {
        let broken =
            || StoreError::Damaged { key: Some(key.clone()), reason: "a mark of the log".to_owned() };
        let mark = Mark::decode(&value).ok_or_else(broken)?;
        let name = std::str::from_utf8(&key[1..]).map_err(|_| broken())?;
        let scope: Scope = name.parse().map_err(|_| broken())?;
        let (start, end) = match mark.is_written {
            true => (run_key(&scope, mark.after.saturating_add(1)), run_key(&scope, mark.last_old + 1)),
            false => (run_key(&scope, mark.last_old + 1), run_range(&scope).1),
        };
        delete_range(store, start, &end)?;
        let mut batch = Batch::default();
        batch.delete(key);
        store.apply(batch)?;
    }
    Ok(())
}

/// Deletes all records between two keys, readable or not.
pub(crate) fn delete_range<S: Store>(
    store: &mut S,
    mut start: Vec<u8>,
    end: &[u8],
) -> Result<(), StoreError> {
    loop {
        let mut batch = Batch::default();
        let outcome = store.scan(&start, end, Order::Ascending, &mut |key, _| {
            batch.delete(key);
            if batch.len() < BATCH_KEYS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        match outcome {
            Ok(()) if batch.is_empty() => return Ok(()),
            Ok(()) => {}
            Err(StoreError::Damaged { key: Some(key), .. }) if start <= key && key.as_slice() < end => {
                // The batch may be full; then the scan ends at this key again.
                if batch.len() < BATCH_KEYS_MAX {
                    start = [key.as_slice(), &[0]].concat();
                    batch.delete(key);
                }
            }
            Err(error) => return Err(error),
        }
        store.apply(batch)?;
    }
}

/// How far the writing of a scope's log anew has come.
struct Mark {
    after: u64,
    last_old: u64,
    is_written: bool,
}

impl Mark {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.byte(u8::from(self.is_written));
        writer.varint(self.after);
        writer.varint(self.last_old);
        writer.bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let is_written = reader.byte("mark").ok()? == 1;
        let (after, last_old) = (reader.varint("mark").ok()?, reader.varint("mark").ok()?);
        reader.end("mark").ok()?;
        Some(Self { after, last_old, is_written })
    }
}

fn mark_key(scope: &Scope) -> Vec<u8> {
    [b"w".as_slice(), scope.to_string().as_bytes()].concat()
}

/// The position in the key of a run.
fn position_of(key: &[u8]) -> u64 {
    key.last_chunk().map_or(0, |last| u64::from_be_bytes(*last))
}
