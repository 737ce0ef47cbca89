//! The log: every record of every scope, in the order in which this replica took them.
//!
//! A commit is written as few keys of one *tail* under the replica's own position, whatever scopes it
//! touches, so that a flush costs one record. Later, a scope's part of the tail is *settled*: appended
//! to the scope's *runs*, records of at most [`RUN_BYTES_MAX`] bytes that are keyed by scope and
//! position. Sync and history read one scope in log order, from runs and tail alike; nothing else is
//! touched. There is no index by event id: an event is found by its place in a chain, walking back.
//!
//! Positions grow by one per event and mean something in this replica only. The order of a scope's
//! log is a causal order, so it can be sent as it stands.
//!
//! Keys: `t <last position>` for tail records, `r <scope> 0 <last position>` for runs. Values: entries,
//! each `first position, places in the chain, record`; every place has its position.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::event::ChainId;
use crate::ids::{Author, Boot};
use crate::name::Scope;
use crate::store::{Batch, Order, Store, StoreError};
use crate::vector::Vector;
use crate::wire::{DecodeError, Reader, Writer};

/// Largest run, in bytes, unless a single record is larger. One run is one record of the store: the
/// sled adapter splits records from 5 KiB on, so that its pages stay out of `blobs/`.
pub const RUN_BYTES_MAX: usize = 4_800;
/// Most bytes of the tail before scopes have to be settled.
pub const TAIL_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most entries of the tail before scopes have to be settled.
pub const TAIL_ENTRIES_MAX: usize = 8_192;
/// Most bytes of a scope's tail that are settled in one batch, unless a single entry is larger. Any two
/// neighbouring runs exceed one run's limit, so this many bytes make some 220 runs, well within a batch.
const SETTLE_BYTES_MAX: usize = 512 * 1024;
/// Most runs that are rewritten in one batch.
const REWRITE_RUNS: usize = 100;
/// Largest record that is read back, in bytes.
const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// One record in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Position of its first event.
    pub first: u64,
    /// Position of its last event; the entry as a whole is known by it.
    pub last: u64,
    /// The chain.
    pub chain: ChainId,
    /// `author_seq` of the first place.
    pub first_seq: u64,
    /// `author_seq` of the last place.
    pub last_seq: u64,
    /// The encoding, as signed: see [`crate::group::Record`].
    pub bytes: Arc<[u8]>,
}

impl Entry {
    /// Makes an entry of an encoded record; `None` if the bytes are no record.
    pub fn new(first: u64, places: u64, bytes: Arc<[u8]>) -> Option<Self> {
        let mut reader = Reader::new(&bytes);
        reader.byte("record type").ok()?;
        let author = Author(reader.fixed("author").ok()?);
        let boot = Boot(reader.fixed("boot").ok()?);
        let first_seq = reader.varint("first seq").ok()?;
        Some(Self {
            first,
            last: first.checked_add(places.checked_sub(1)?)?,
            chain: ChainId { author, boot },
            first_seq,
            last_seq: first_seq.checked_add(places.checked_sub(1)?)?,
            bytes,
        })
    }

    /// The position of the event at a place of the chain.
    pub fn position(&self, seq: u64) -> u64 {
        self.first + seq.saturating_sub(self.first_seq)
    }

    fn encode(&self, writer: &mut Writer) {
        writer.varint(self.first);
        writer.varint(self.last - self.first + 1);
        writer.blob(&self.bytes);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let first = reader.varint("entry position")?;
        let places = reader.varint("entry places")?;
        let bytes = reader.blob(RECORD_BYTES_MAX, "entry record")?;
        Self::new(first, places, bytes.into()).ok_or_else(|| reader.fault("entry"))
    }
}

/// A stretch of one scope's log.
#[derive(Debug, Clone, Default)]
pub struct LogRead {
    /// The entries, in log order.
    pub entries: Vec<Entry>,
    /// Where to go on: pass it as `after`.
    pub next: u64,
    /// Whether the log of the scope ended.
    pub end: bool,
}

/// The log over a store. What is staged is invisible to readers until it is committed.
#[derive(Debug)]
pub struct Log<S> {
    store: S,
    /// Entries that were committed but not settled, by scope and position.
    tail: BTreeMap<Scope, BTreeMap<u64, Entry>>,
    tail_bytes: usize,
    tail_entries: usize,
    staged: Vec<(Scope, Entry)>,
    /// Last position that is durable.
    durable: u64,
    /// Last position that was given out.
    assigned: u64,
}

impl<S: Store> Log<S> {
    /// Opens the log; `settled` says up to which position each scope's tail was settled. Reads the
    /// tail only. Entries that were not settled are then in [`Log::tail`].
    pub fn open(store: S, settled: &BTreeMap<Scope, u64>) -> Result<Self, StoreError> {
        let mut records: Vec<Vec<u8>> = vec![];
        store.scan(b"t", b"u", Order::Ascending, &mut |_, value| {
            records.push(value.to_vec());
            ControlFlow::Continue(())
        })?;
        let durable = settled.values().copied().max().unwrap_or(0);
        let mut log = Self {
            store,
            tail: BTreeMap::new(),
            tail_bytes: 0,
            tail_entries: 0,
            staged: vec![],
            durable,
            assigned: durable,
        };
        for record in records {
            for (scope, entry) in decode_tail(&record).map_err(damaged)? {
                log.durable = log.durable.max(entry.last);
                if settled.get(&scope).is_none_or(|settled| entry.last > *settled) {
                    log.keep(scope, entry);
                }
            }
        }
        log.assigned = log.durable;
        Ok(log)
    }

    /// The store below.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The store below, for what is kept besides the log.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// The last durable position.
    pub fn position(&self) -> u64 {
        self.durable
    }

    /// Gives out the next `count` positions and returns the first.
    pub fn assign(&mut self, count: u64) -> u64 {
        self.assigned += count;
        self.assigned - count + 1
    }

    /// The last position given out.
    pub fn assigned(&self) -> u64 {
        self.assigned
    }

    /// Stages an entry for the next commit.
    pub fn stage(&mut self, scope: Scope, entry: Entry) {
        self.staged.push((scope, entry));
    }

    /// Entries that were staged and not committed.
    pub fn staged(&self) -> &[(Scope, Entry)] {
        &self.staged
    }

    /// Entries that were committed and not settled.
    pub fn tail(&self) -> impl Iterator<Item = (&Scope, &Entry)> {
        self.tail.iter().flat_map(|(scope, entries)| entries.values().map(move |entry| (scope, entry)))
    }

    /// Makes durable what was staged: one flush, whatever was staged.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let (mut record, mut last) = (Writer::default(), 0);
        for (scope, entry) in &self.staged {
            if !record.bytes.is_empty() && record.bytes.len() + entry.bytes.len() > RUN_BYTES_MAX {
                batch.put(tail_key(last), std::mem::take(&mut record).bytes);
            }
            record.text(&scope.to_string());
            entry.encode(&mut record);
            last = entry.last;
            if batch.len() >= crate::store::BATCH_KEYS_MAX - 1 || batch.bytes() > 4 << 20 {
                self.store.apply(std::mem::take(&mut batch))?;
            }
        }
        if !record.bytes.is_empty() {
            batch.put(tail_key(last), record.bytes);
        }
        self.store.apply(batch)?;
        self.store.flush()?;
        for (scope, entry) in std::mem::take(&mut self.staged) {
            self.keep(scope, entry);
        }
        self.durable = self.assigned;
        Ok(())
    }

    fn keep(&mut self, scope: Scope, entry: Entry) {
        self.tail_bytes += entry.bytes.len();
        self.tail_entries += 1;
        self.tail.entry(scope).or_default().insert(entry.last, entry);
    }

    /// Whether the tail has grown to where scopes have to be settled.
    pub fn is_tail_full(&self) -> bool {
        self.tail_bytes > TAIL_BYTES_MAX || self.tail_entries > TAIL_ENTRIES_MAX
    }

    /// The scopes with entries in the tail.
    pub fn unsettled(&self) -> Vec<Scope> {
        self.tail.keys().cloned().collect()
    }

    /// Appends the oldest part of a scope's tail to its runs in `batch`, as much as one batch takes, and
    /// returns the position up to which the scope is settled once that batch is applied; `None` if it is
    /// settled. The caller then calls [`Log::settled`] and comes back for the rest.
    pub fn settle(&self, scope: &Scope, batch: &mut Batch) -> Result<Option<u64>, StoreError> {
        let Some(entries) = self.tail.get(scope) else { return Ok(None) };
        let (start, end) = run_range(scope);
        let mut run: Vec<u8> = vec![];
        self.store.scan(&start, &end, Order::Descending, &mut |key, value| {
            if value.len() < RUN_BYTES_MAX {
                run = value.to_vec();
                batch.delete(key);
            }
            ControlFlow::Break(())
        })?;
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let is_first = bytes == 0;
            bytes += entry.bytes.len();
            is_first || bytes <= SETTLE_BYTES_MAX
        };
        let part: Vec<&Entry> = entries.values().take_while(fits).collect();
        write_runs(scope, run, part.iter().copied(), batch).map_err(damaged)?;
        Ok(part.last().map(|entry| entry.last))
    }

    /// Forgets the tail of a scope up to `position`, after it was settled and is durable.
    pub fn settled(&mut self, scope: &Scope, position: u64) {
        let Some(entries) = self.tail.get_mut(scope) else { return };
        let later = entries.split_off(&(position + 1));
        for entry in entries.values() {
            self.tail_bytes -= entry.bytes.len();
            self.tail_entries -= 1;
        }
        *entries = later;
        if entries.is_empty() {
            self.tail.remove(scope);
        }
    }

    /// Deletes tail records that hold nothing but settled entries.
    pub fn trim_tail(&mut self) -> Result<(), StoreError> {
        let oldest = self.tail.values().filter_map(|entries| entries.keys().next()).min();
        let end = tail_key(oldest.map_or(self.durable + 1, |first| *first));
        let mut keys = vec![];
        self.store.scan(&tail_key(0), &end, Order::Ascending, &mut |key, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        for keys in keys.chunks(crate::store::BATCH_KEYS_MAX) {
            let mut batch = Batch::default();
            keys.iter().for_each(|key| batch.delete(key.clone()));
            self.store.apply(batch)?;
        }
        Ok(())
    }

    /// Visits a scope's committed entries whose last position is greater than `after`.
    pub fn visit(
        &self,
        scope: &Scope,
        after: u64,
        visit: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let (_, end) = run_range(scope);
        let mut outcome = Ok(ControlFlow::Continue(()));
        let start = run_key(scope, after.saturating_add(1));
        self.store.scan(&start, &end, Order::Ascending, &mut |_, value| {
            outcome = decode_run(value).map(|entries| {
                entries.into_iter().filter(|entry| entry.last > after).try_for_each(&mut *visit)
            });
            match outcome {
                Ok(flow) => flow,
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        if outcome.map_err(damaged)?.is_continue() {
            let tail = self.tail.get(scope).into_iter();
            let _ = tail
                .flat_map(|tail| tail.range(after.saturating_add(1)..))
                .try_for_each(|(_, entry)| visit(entry.clone()));
        }
        Ok(())
    }

    /// Visits a scope's committed entries from the newest to the oldest.
    fn visit_back(
        &self,
        scope: &Scope,
        visit: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let tail = self.tail.get(scope).into_iter().flat_map(|tail| tail.values().rev());
        if tail.cloned().try_for_each(&mut *visit).is_break() {
            return Ok(());
        }
        let (start, end) = run_range(scope);
        let mut outcome = Ok(ControlFlow::Continue(()));
        self.store.scan(&start, &end, Order::Descending, &mut |_, value| {
            outcome = decode_run(value).map(|entries| entries.into_iter().rev().try_for_each(&mut *visit));
            match outcome {
                Ok(flow) => flow,
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        outcome.map(|_| ()).map_err(damaged)
    }

    /// Reads a scope's log after a position, up to about `bytes_max` bytes but at least one entry.
    pub fn read(&self, scope: &Scope, after: u64, bytes_max: usize) -> Result<LogRead, StoreError> {
        let (mut read, mut bytes) = (LogRead { next: after, end: true, ..LogRead::default() }, 0);
        self.visit(scope, after, &mut |entry| {
            if bytes > 0 && bytes + entry.bytes.len() > bytes_max {
                read.end = false;
                return ControlFlow::Break(());
            }
            bytes += entry.bytes.len();
            read.next = entry.last;
            read.entries.push(entry);
            ControlFlow::Continue(())
        })?;
        Ok(read)
    }

    /// The largest position after which the log still shows everything that `peer` lacks of what
    /// `ours` holds. Walks back, so it costs about what is missing.
    pub fn start_for(&self, scope: &Scope, ours: &Vector, peer: &Vector) -> Result<u64, StoreError> {
        let mut lacking: BTreeMap<ChainId, u64> = ours
            .iter()
            .filter(|(chain, head)| peer.seq(chain) < head.seq)
            .map(|(chain, _)| (chain, peer.seq(&chain)))
            .collect();
        let mut start = self.durable;
        if !lacking.is_empty() {
            self.visit_back(scope, &mut |entry| {
                if let Some(held) = lacking.get(&entry.chain).copied() {
                    if entry.last_seq > held {
                        start = start.min(entry.first - 1);
                    }
                    if entry.first_seq <= held + 1 {
                        lacking.remove(&entry.chain);
                    }
                }
                if lacking.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
        }
        Ok(start)
    }

    /// Rewrites a scope's runs through `change`, which drops an entry by returning `None`. The tail
    /// must have been settled. Costs the size of the scope's log; each stretch of runs is replaced
    /// atomically, so `change` has to be such that doing it again does no harm.
    pub fn rewrite(
        &mut self,
        scope: &Scope,
        mut change: impl FnMut(Vec<Entry>) -> Vec<Entry>,
    ) -> Result<(), StoreError> {
        let (mut start, end) = run_range(scope);
        loop {
            let (mut batch, mut kept, mut outcome) = (Batch::default(), vec![], Ok(()));
            let mut next = vec![];
            self.store.scan(&start, &end, Order::Ascending, &mut |key, value| {
                batch.delete(key);
                next = [key, &[0]].concat();
                match decode_run(value) {
                    Ok(entries) => kept.extend(entries),
                    Err(error) => outcome = Err(error),
                }
                if batch.len() < REWRITE_RUNS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if batch.is_empty() {
                return Ok(());
            }
            start = next;
            let kept = outcome.map(|()| change(kept)).map_err(damaged)?;
            write_runs(scope, vec![], kept.iter(), &mut batch).map_err(damaged)?;
            self.store.apply(batch)?;
        }
    }
}

/// Appends `entries` to `run` and on, in runs of bounded size.
fn write_runs<'a>(
    scope: &Scope,
    run: Vec<u8>,
    entries: impl Iterator<Item = &'a Entry>,
    batch: &mut Batch,
) -> Result<(), DecodeError> {
    let mut last = decode_run(&run)?.last().map_or(0, |entry| entry.last);
    let mut writer = Writer { bytes: run };
    for entry in entries {
        if !writer.bytes.is_empty() && writer.bytes.len() + entry.bytes.len() > RUN_BYTES_MAX {
            batch.put(run_key(scope, last), std::mem::take(&mut writer).bytes);
        }
        entry.encode(&mut writer);
        last = entry.last;
    }
    if !writer.bytes.is_empty() {
        batch.put(run_key(scope, last), writer.bytes);
    }
    Ok(())
}

fn decode_run(value: &[u8]) -> Result<Vec<Entry>, DecodeError> {
    let (mut reader, mut entries) = (Reader::new(value), vec![]);
    while reader.remaining() > 0 {
        entries.push(Entry::decode(&mut reader)?);
    }
    Ok(entries)
}

fn decode_tail(value: &[u8]) -> Result<Vec<(Scope, Entry)>, DecodeError> {
    let (mut reader, mut entries) = (Reader::new(value), vec![]);
    while reader.remaining() > 0 {
        let scope = reader.text(256, "tail scope")?.parse().map_err(|_| reader.fault("tail scope"))?;
        entries.push((scope, Entry::decode(&mut reader)?));
    }
    Ok(entries)
}

fn tail_key(last: u64) -> Vec<u8> {
    [b"t".as_slice(), &last.to_be_bytes()].concat()
}

fn run_key(scope: &Scope, last: u64) -> Vec<u8> {
    [b"r".as_slice(), scope.to_string().as_bytes(), &[0], &last.to_be_bytes()].concat()
}

/// The keys of a scope's runs, first and one beyond the last.
pub(crate) fn run_range(scope: &Scope) -> (Vec<u8>, Vec<u8>) {
    let name = scope.to_string();
    ([b"r".as_slice(), name.as_bytes(), &[0]].concat(), [b"r".as_slice(), name.as_bytes(), &[1]].concat())
}

/// Bytes that passed the store's checksum and are not what this code writes.
fn damaged(error: DecodeError) -> StoreError {
    StoreError::Damaged { key: None, reason: format!("log: {error}") }
}
