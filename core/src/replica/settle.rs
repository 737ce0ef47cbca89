//! Settling: moving what was committed from the tail of the log to where it stays.
//!
//! A scope is settled with its documents' records first and then, in one batch or in several if there is
//! much, its runs and its own record. A crash in between is harmless: a document's record says which
//! position it has executed, and the scope's record says from where the tail still counts. Nothing here
//! needs a flush; the store keeps batches in order.

use std::collections::BTreeMap;

use super::scope::{document_key, encode_record, scope_key};
use super::{CACHED_DOCUMENTS_MAX, DOCUMENT_VERSION, Replica};
use crate::event::{ChainId, Event};
use crate::group::{Gap, Record};
use crate::ids::FleetId;
use crate::log::Entry;
use crate::name::Scope;
use crate::store::{BATCH_KEYS_MAX, Batch, Store, StoreError};

/// A batch of documents' records is applied when it has grown to this many bytes.
const DOCUMENT_BATCH_BYTES: usize = 1 << 20;

impl<S: Store> Replica<S> {
    /// Settles every scope and drops what checkpoints cover. Called when the tail is full, before a
    /// snapshot and on an orderly stop; costs what was committed since the last time.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        for scope in self.log.unsettled() {
            self.settle_scope(&scope)?;
            if self.scopes.get(&scope).is_some_and(|state| state.checkpoints > 0) {
                self.drop_covered(&scope)?;
            }
        }
        self.log.trim_tail()?;
        if self.states.len() > CACHED_DOCUMENTS_MAX {
            self.states.clear();
        }
        Ok(())
    }

    fn settle_scope(&mut self, scope: &Scope) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for document in self.dirty.remove(scope).unwrap_or_default() {
            if let Some(state) = self.states.get(&document) {
                batch.put(document_key(&document), encode_record(DOCUMENT_VERSION, &**state)?);
            }
            if batch.len() == BATCH_KEYS_MAX || batch.bytes() > DOCUMENT_BATCH_BYTES {
                self.log.store_mut().apply(std::mem::take(&mut batch))?;
            }
        }
        self.log.store_mut().apply(batch)?;
        loop {
            let mut batch = Batch::default();
            let Some(position) = self.log.settle(scope, &mut batch)? else { return Ok(()) };
            let Some(state) = self.scopes.get_mut(scope) else { return Ok(()) };
            // The record may know more than is settled by then: what follows is replayed over it.
            batch.put(scope_key(scope), state.encode(position)?);
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
        let Some(state) = self.scopes.get(scope) else { return Ok(()) };
        let mut batch = Batch::default();
        batch.put(scope_key(scope), state.encode(settled)?);
        self.log.store_mut().apply(batch)
    }

    /// Deletes everything that is held of a scope, which left the interest of this replica.
    pub fn forget(&mut self, scope: &Scope) -> Result<(), StoreError> {
        self.settle()?;
        let Some(state) = self.scopes.remove(scope) else { return Ok(()) };
        let mut batch = Batch::default();
        batch.delete(scope_key(scope));
        for ((kind, name), entry) in &state.documents {
            if let Ok(document) = super::document_in(scope, *kind, name) {
                self.labels.remove(&document, &entry.labels);
                self.states.remove(&document);
                batch.delete(document_key(&document));
            }
            if batch.len() == BATCH_KEYS_MAX {
                self.log.store_mut().apply(std::mem::take(&mut batch))?;
            }
        }
        self.log.store_mut().apply(batch)?;
        self.log.rewrite(scope, |_| vec![])?;
        self.log.store_mut().flush()
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
