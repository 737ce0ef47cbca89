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
//!
//! A run that cannot be read is passed over as if it were not there, and its scope noted in
//! `Log::suspects`: one damaged record is no reason to stop a node. What it held is then missing from
//! chains, which [`crate::replica::Replica::scrub`] finds.

mod inspect;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::event::ChainId;
use crate::ids::{Author, Boot};
use crate::name::Scope;
use crate::store::{Batch, Order, Store, StoreError};
use crate::vector::Vector;
use crate::wire::{DecodeError, Reader, Writer};

pub(crate) use inspect::{Placed, delete_range};

/// Largest run, in bytes, unless a single record is larger. One run is one record of the store: the
/// sled adapter splits records from 5 KiB on, so that its pages stay out of `blobs/`.
pub const RUN_BYTES_MAX: usize = 4_800;
/// Bytes of the tail beyond which each commit settles a part.
pub const TAIL_BYTES_KEPT: usize = 512 * 1024;
/// Events of the tail beyond which each commit settles a part.
pub const TAIL_EVENTS_KEPT: u64 = 1_024;
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

/// How much of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Size {
    pub(crate) events: u64,
    pub(crate) bytes: usize,
}

impl Size {
    /// An entry's size. A gap counts as a group that is as full as groups are.
    fn of(entry: &Entry) -> Self {
        let events = (entry.last - entry.first + 1).min(crate::group::GROUP_EVENTS_MAX as u64);
        Self { events, bytes: entry.bytes.len() }
    }

    /// Whether either measure is as large as in `other`.
    fn reaches(self, other: Self) -> bool {
        self.events >= other.events || self.bytes >= other.bytes
    }
}

impl std::ops::AddAssign for Size {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.bytes += other.bytes;
    }
}

/// The log over a store. What is staged is invisible to readers until it is committed.
#[derive(Debug)]
pub struct Log<S> {
    store: S,
    /// Entries that were committed but not settled, by scope and position.
    tail: BTreeMap<Scope, BTreeMap<u64, Entry>>,
    /// The same, by position alone.
    tail_order: BTreeMap<u64, Scope>,
    tail_size: Size,
    staged: Vec<(Scope, Entry)>,
    /// Last position that is durable.
    durable: u64,
    /// Last position that was given out.
    assigned: u64,
    /// Scopes with runs that could not be read; reading notes them, hence the cell.
    suspects: RefCell<BTreeSet<Scope>>,
}

impl<S: Store> Log<S> {
    /// Opens the log; `settled` says up to which position each scope's tail was settled, `position` which one was
    /// given out for sure. Reads the tail only. Entries that were not settled are then in [`Log::tail`].
    pub fn open(mut store: S, settled: &BTreeMap<Scope, u64>, position: u64) -> Result<Self, StoreError> {
        inspect::finish_insertions(&mut store)?;
        let mut records: Vec<Vec<u8>> = vec![];
        store.scan(b"t", b"u", Order::Ascending, &mut |_, value| {
            records.push(value.to_vec());
            ControlFlow::Continue(())
        })?;
        let durable = settled.values().copied().max().unwrap_or(0).max(position);
        let mut log = Self {
            store,
            tail: BTreeMap::new(),
            tail_order: BTreeMap::new(),
            tail_size: Size::default(),
            staged: vec![],
            durable,
            assigned: durable,
            suspects: RefCell::default(),
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
        self.tail_size += Size::of(&entry);
        self.tail_order.insert(entry.last, scope.clone());
        self.tail.entry(scope).or_default().insert(entry.last, entry);
    }

    /// How much of the tail there is to settle if it is to stay short: nothing while it is.
    pub(crate) fn is_tail_long(&self) -> bool {
        let kept = Size { events: TAIL_EVENTS_KEPT, bytes: TAIL_BYTES_KEPT };
        self.tail_size.reaches(kept)
    }

    /// How much is staged.
    pub(crate) fn staged_size(&self) -> Size {
        let mut size = Size::default();
        self.staged.iter().for_each(|(_, entry)| size += Size::of(entry));
        size
    }

    /// The oldest entries of the tail, about as much of them as `size`: up to which position, and in
    /// which scopes. `None` if there is no tail.
    pub(crate) fn oldest(&self, size: Size) -> Option<(u64, BTreeSet<Scope>)> {
        let (mut until, mut scopes, mut seen) = (None, BTreeSet::new(), Size::default());
        for (position, scope) in &self.tail_order {
            if until.is_some() && seen.reaches(size) {
                break;
            }
            seen +=
                self.tail.get(scope).and_then(|tail| tail.get(position)).map(Size::of).unwrap_or_default();
            until = Some(*position);
            scopes.insert(scope.clone());
        }
        Some((until?, scopes))
    }

    /// Whether a scope has entries in the tail.
    pub(crate) fn has_tail(&self, scope: &Scope) -> bool {
        self.tail.contains_key(scope)
    }

    /// Appends the oldest part of a scope's tail up to `until` to its runs in `batch`, as much as one batch
    /// takes, and returns the position up to which the scope is settled once that batch is applied;
    /// `None` if it is settled. The caller then calls [`Log::settled`] and comes back for the rest.
    pub fn settle(&self, scope: &Scope, until: u64, batch: &mut Batch) -> Result<Option<u64>, StoreError> {
        let mut entries = self.tail.get(scope).into_iter().flat_map(|tail| tail.range(..=until)).peekable();
        if entries.peek().is_none() {
            return Ok(None);
        }
        let mut run: Vec<u8> = vec![];
        let _last_only = self.scan_runs(scope, run_range(scope), Order::Descending, &mut |key, found| {
            if let Some((value, _)) = found
                && value.len() < RUN_BYTES_MAX
            {
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
        let part: Vec<&Entry> = entries.map(|(_, entry)| entry).take_while(fits).collect();
        write_runs(scope, run, part.iter().copied(), batch).map_err(damaged)?;
        Ok(part.last().map(|entry| entry.last))
    }

    /// Forgets the tail of a scope up to `position`, after it was settled and is durable.
    pub fn settled(&mut self, scope: &Scope, position: u64) {
        let Some(entries) = self.tail.get_mut(scope) else { return };
        let later = entries.split_off(&(position + 1));
        for entry in entries.values() {
            let Size { events, bytes } = Size::of(entry);
            self.tail_size.events -= events;
            self.tail_size.bytes -= bytes;
            self.tail_order.remove(&entry.last);
        }
        *entries = later;
        if entries.is_empty() {
            self.tail.remove(scope);
        }
    }

    /// Deletes tail records that hold nothing but settled entries.
    pub fn trim_tail(&mut self) -> Result<(), StoreError> {
        let oldest = self.tail_order.first_key_value();
        let end = tail_key(oldest.map_or(self.durable + 1, |(position, _)| *position));
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
        let range = (run_key(scope, after.saturating_add(1)), end);
        let flow = self.scan_runs(scope, range, Order::Ascending, &mut |_, found| {
            let entries = found.map(|(_, entries)| entries).unwrap_or_default();
            entries.into_iter().filter(|entry| entry.last > after).try_for_each(&mut *visit)
        })?;
        if flow.is_continue() {
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
        let _stopped = self.scan_runs(scope, run_range(scope), Order::Descending, &mut |_, found| {
            let entries = found.map(|(_, entries)| entries).unwrap_or_default();
            entries.into_iter().rev().try_for_each(&mut *visit)
        })?;
        Ok(())
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
            let (mut batch, mut kept, mut next) = (Batch::default(), vec![], vec![]);
            let _full =
                self.scan_runs(scope, (start, end.clone()), Order::Ascending, &mut |key, found| {
                    batch.delete(key);
                    next = [key, &[0]].concat();
                    kept.extend(found.map(|(_, entries)| entries).unwrap_or_default());
                    if batch.len() < REWRITE_RUNS {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                })?;
            if batch.is_empty() {
                return Ok(());
            }
            start = next;
            let kept = change(kept);
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
