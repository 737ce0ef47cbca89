//! Settling: moving what was committed from the tail of the log to where it stays.
//!
//! The oldest part of the tail is settled: first the records of the documents that changed up to there,
//! then for each scope, in one batch or in several if there is much, its runs and its own record. A crash
//! in between is harmless: a document's record says which position it has executed, and the scope's
//! record says from where the tail still counts. Nothing here needs a flush; the store keeps batches in
//! order. No commit waits for much of this: see [`Replica::settle_after`].

use std::collections::{BTreeMap, BTreeSet};

use super::scope::{document_key, encode_record, scope_key};
use super::{CACHED_DOCUMENTS_MAX, DOCUMENT_VERSION, Replica};
use crate::event::{ChainId, Event};
use crate::group::{Gap, Record};
use crate::ids::FleetId;
use crate::log::{Entry, Size};
use crate::name::Scope;
use crate::store::{BATCH_KEYS_MAX, Batch, Store, StoreError};

/// How much of the tail is settled at a time, some milliseconds' work.
const SETTLE_SIZE: Size = Size { events: 256, bytes: 128 << 10 };
/// Checkpoints in a scope after which what they cover is dropped though the scope has a tail.
const CHECKPOINTS_MAX: u32 = 16;
/// A batch of documents' records is applied when it has grown to this many bytes.
const DOCUMENT_BATCH_BYTES: usize = 1 << 20;

impl<S: Store> Replica<S> {
    /// Settles everything that was committed, unless something is staged. Called on an orderly stop;
    /// costs what was committed and not settled.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        while self.settle_part(Size { events: u64::MAX, bytes: usize::MAX })? {}
        Ok(())
    }

    /// Settles a part of bounded size, the oldest; false if there was nothing to settle. For nodes that
    /// are idle: a commit does the same when the tail is long.
    pub fn settle_some(&mut self) -> Result<bool, StoreError> {
        self.settle_part(SETTLE_SIZE)
    }

    /// After a commit of `committed`: keeps the tail short, with a part that is no smaller than
    /// [`SETTLE_SIZE`] and twice what was committed, so that the tail shrinks.
    pub(super) fn settle_after(&mut self, committed: Size) -> Result<(), StoreError> {
        if self.log.is_tail_long() {
            let events = SETTLE_SIZE.events.max(committed.events.saturating_mul(2));
            let bytes = SETTLE_SIZE.bytes.max(committed.bytes.saturating_mul(2));
            self.settle_part(Size { events, bytes })?;
        }
        Ok(())
    }

    /// Settles the oldest entries of the tail, whatever scopes they are of. Positions are one order for
    /// all scopes: before anything is settled up to a position, every document that changed up to there
    /// is written, also one that an event of another scope had executed anew.
    fn settle_part(&mut self, size: Size) -> Result<bool, StoreError> {
        // Memory is ahead of the log by what is staged, and records must not be.
        if self.open_group.is_some() || !self.log.staged().is_empty() {
            return Ok(false);
        }
        let (until, scopes) = self.log.oldest(size).unwrap_or((self.log.position(), BTreeSet::new()));
        let written = self.write_documents(until)?;
        for scope in written.difference(&scopes) {
            let Some(state) = self.scopes.get(scope) else { continue };
            let mut batch = Batch::default();
            batch.put(scope_key(scope), state.encode(state.settled, self.dirty.of(scope))?);
            self.log.store_mut().apply(batch)?;
        }
        for scope in &scopes {
            self.settle_scope(scope, until)?;
            let checkpoints = self.scopes.get(scope).map_or(0, |state| state.checkpoints);
            if checkpoints >= CHECKPOINTS_MAX || (checkpoints > 0 && !self.log.has_tail(scope)) {
                self.drop_covered(scope)?;
            }
        }
        self.log.trim_tail()?;
        if self.states.len() > CACHED_DOCUMENTS_MAX + self.dirty.len() {
            self.states.retain(|document, _| self.dirty.contains(document));
        }
        Ok(!scopes.is_empty() || !written.is_empty())
    }

    /// Writes the documents that have changed up to a position and returns their scopes.
    fn write_documents(&mut self, until: u64) -> Result<BTreeSet<Scope>, StoreError> {
        let (mut batch, mut scopes) = (Batch::default(), BTreeSet::new());
        while let Some(document) = self.dirty.pop(until) {
            if let (Some(state), Some(entry)) = (self.states.get(&document), self.entry(&document)) {
                batch.put(
                    document_key(&document),
                    encode_record(DOCUMENT_VERSION, &(entry.version, &**state))?,
                );
                scopes.insert(document.scope());
            }
            if batch.len() == BATCH_KEYS_MAX || batch.bytes() > DOCUMENT_BATCH_BYTES {
                self.log.store_mut().apply(std::mem::take(&mut batch))?;
            }
        }
        self.log.store_mut().apply(batch)?;
        Ok(scopes)
    }

    fn settle_scope(&mut self, scope: &Scope, until: u64) -> Result<(), StoreError> {
        loop {
            let mut batch = Batch::default();
            let Some(position) = self.log.settle(scope, until, &mut batch)? else { return Ok(()) };
            let Some(state) = self.scopes.get_mut(scope) else { return Ok(()) };
            // The record may know more than is settled by then: what follows is replayed over it.
            batch.put(scope_key(scope), state.encode(position, self.dirty.of(scope))?);
            state.settled = position;
            self.log.store_mut().apply(batch)?;
            self.log.settled(scope, position);
        }
    }

    /// Drops the events of a scope that checkpoints cover. Costs the size of the scope's log.
    fn drop_covered(&mut self, scope: &Scope) -> Result<(), StoreError> {
        let Some(state) = self.scopes.get_mut(scope) else { return Ok(()) };
        state.checkpoints = 0;
        let (covered, settled, fleet) = (state.covered.clone(), state.settled, self.fleet);
        let is_covered = |event: &Event| {
            let header = event.header();
            let key = (header.document.kind(), header.document.name().to_owned());
            covered
                .get(&key)
                .and_then(|covered| covered.get(&header.chain))
                .is_some_and(|last| header.author_seq <= *last)
        };
        self.log.rewrite(scope, |entries| {
            let thinned = entries.into_iter().filter_map(|entry| thin(fleet, entry, &is_covered));
            join_gaps(fleet, thinned.collect())
        })?;
        let Some(state) = self.scopes.get_mut(scope) else { return Ok(()) };
        state.rewrites += 1;
        let mut batch = Batch::default();
        batch.put(scope_key(scope), state.encode(settled, self.dirty.of(scope))?);
        self.log.store_mut().apply(batch)
    }
}

/// An entry without its covered events.
fn thin(fleet: FleetId, entry: Entry, is_covered: &impl Fn(&Event) -> bool) -> Option<Entry> {
    let Ok(Record::Group(group)) = Record::decode(fleet, &entry.bytes) else { return Some(entry) };
    if !group.events().any(|event| is_covered(event)) {
        return Some(entry);
    }
    let record = group.retain(|event| !is_covered(event));
    Entry::new(entry.first, entry.last - entry.first + 1, record.encode().into())
}

/// Joins gaps that follow each other in a chain, at the place of the later one, so that what is covered
/// takes room for one gap and not for as many as there were groups.
fn join_gaps(fleet: FleetId, entries: Vec<Entry>) -> Vec<Entry> {
    let mut kept: Vec<Option<Entry>> = Vec::with_capacity(entries.len());
    let mut open: BTreeMap<ChainId, (usize, Gap)> = BTreeMap::new();
    for entry in entries {
        let chain = entry.chain;
        let Ok(Record::Gap(gap)) = Record::decode(fleet, &entry.bytes) else {
            open.remove(&chain);
            kept.push(Some(entry));
            continue;
        };
        let joined = open.get(&chain).and_then(|(place, earlier)| Some((*place, earlier.join(&gap)?)));
        let Some((place, joined)) = joined else {
            open.insert(chain, (kept.len(), gap));
            kept.push(Some(entry));
            continue;
        };
        // Positions are this replica's own; a gap needs no more than one of them, its last.
        let bytes = Record::Gap(joined.clone()).encode();
        let places = joined.last.seq - joined.first_seq + 1;
        let first = (entry.last + 1).saturating_sub(places).max(1);
        kept[place] = None;
        open.insert(chain, (kept.len(), joined));
        kept.push(Entry::new(first, entry.last + 1 - first, bytes.into()));
    }
    kept.into_iter().flatten().collect()
}
