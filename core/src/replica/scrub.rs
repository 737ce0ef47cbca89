//! Scrubbing: is what the vector says still in the store?
//!
//! Chains are linked by hashes, so a vector commits to every event of its chains, but it is kept in
//! memory and in a record of its own: it does not notice when a page of the log is lost. A scrub reads a
//! scope's log back, computes ids, checks signatures, and follows every chain from its first place to
//! its head. What is not there is a [`Fault`], unless a checkpoint of the chain's site stands for it.
//! On the way it computes the *held-set hash* of the scope, over the events that are really there and
//! that no checkpoint covers: replicas with equal vectors and different hashes do not hold the same,
//! because one of them lost something, or was never given it.
//!
//! A scrub goes in steps of bounded cost over what was durable when it began, beside all other work.
//! What it finds is mended by [`super::repair`].

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Replica;
use super::repair::{FAULTS_MAX, Fault};
use super::scope::{Covered, document_in};
use crate::event::ChainId;
use crate::group::{Item, Record};
use crate::held::HeldHash;
use crate::ids::{Digest, EventId};
use crate::log::Entry;
use crate::name::{Document, Kind, Scope};
use crate::store::{Store, StoreError};
use crate::vector::Vector;

/// Bytes of log for one step of a scrub beside other work: some 10 ms, most of it for signatures.
pub const SCRUB_STEP_BYTES: usize = 64 << 10;
/// Most documents' records that one step checks.
const DOCUMENTS_PER_STEP: usize = 64;

/// What a scrub found out about one scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrubbed {
    /// The scope.
    pub scope: Scope,
    /// The digest of the vector that the log was compared with.
    pub digest: Digest,
    /// The held-set hash as of that vector.
    pub held: Digest,
    /// Events read back.
    pub events: u64,
    /// Bytes of log read.
    pub bytes: u64,
    /// Runs that could not be read and were dropped.
    pub runs_dropped: u64,
    /// Documents whose record was lost or stale, and which were executed anew.
    pub documents_mended: u64,
    /// Places of chains that are not there.
    pub missing: u64,
}

/// A scrub of one scope under way; whoever began it goes on with [`Replica::scrub_part`].
#[derive(Debug)]
pub struct Scrub {
    scope: Scope,
    /// What was durable when it began.
    vector: Vector,
    until: u64,
    covered: BTreeMap<(Kind, String), Covered>,
    /// How often the scope's log had been written anew when it began.
    rewrites: u64,
    after: u64,
    walks: BTreeMap<ChainId, Walk>,
    held: HeldHash,
    unreadable: Vec<Vec<u8>>,
    found: Scrubbed,
    /// Set once the log is read: the documents that are left to check.
    documents: Option<Vec<Document>>,
}

/// How far one chain was followed.
#[derive(Debug, Default)]
struct Walk {
    /// The last place that was met, 0 for none, and its id.
    seq: u64,
    id: Option<EventId>,
    /// Position of the entry that held it.
    position: u64,
    /// Places that were not met yet, by the first of each stretch.
    absent: BTreeMap<u64, Absent>,
}

/// Places that are not there: lost, or left out by a record that tells of them.
#[derive(Debug)]
struct Absent {
    fault: Fault,
    is_told: bool,
}

impl<S: Store> Replica<S> {
    /// Goes on with scrubbing all scopes, one after the other: reads about `bytes_max` bytes of log, or
    /// the rest of one scope. Returns what was found when a scope is done. Scopes in which something
    /// could not be read come first.
    pub fn scrub(&mut self, bytes_max: usize) -> Result<Option<Scrubbed>, StoreError> {
        self.scrub_first.append(&mut self.log.take_suspects());
        let scrub = self.scrub.take().or_else(|| self.begin_next_scrub());
        let Some(mut scrub) = scrub else { return Ok(None) };
        let found = self.scrub_part(&mut scrub, bytes_max)?;
        self.scrub = found.is_none().then_some(scrub);
        Ok(found)
    }

    /// Scrubs one scope as a whole, at the cost of reading its log. `None` if nothing is held of it.
    pub fn scrub_scope(&mut self, scope: &Scope) -> Result<Option<Scrubbed>, StoreError> {
        let Some(mut scrub) = self.begin_scrub(scope) else { return Ok(None) };
        loop {
            if let Some(found) = self.scrub_part(&mut scrub, usize::MAX)? {
                return Ok(Some(found));
            }
        }
    }

    fn begin_next_scrub(&mut self) -> Option<Scrub> {
        if let Some(first) = self.scrub_first.pop_first() {
            return self.begin_scrub(&first);
        }
        let beyond = |last: &Scope| (Bound::Excluded(last.clone()), Bound::Unbounded);
        let next = self.scrubbed_last.as_ref().and_then(|last| self.scopes.range(beyond(last)).next());
        let (scope, _) = next.or_else(|| self.scopes.first_key_value())?;
        self.scrubbed_last = Some(scope.clone());
        self.begin_scrub(scope)
    }

    /// What the last scrub of a scope found, if its vector has not changed since.
    pub fn scrubbed(&self, scope: &Scope) -> Option<&Scrubbed> {
        let state = self.scopes.get(scope)?;
        state.scrubbed.as_ref().filter(|found| found.digest == state.digest)
    }

    fn is_current(&self, scrub: &Scrub) -> bool {
        self.scopes.get(&scrub.scope).is_some_and(|state| state.rewrites == scrub.rewrites)
    }

    /// Begins to scrub a scope; nothing is read yet. `None` if nothing is held of it.
    pub fn begin_scrub(&self, scope: &Scope) -> Option<Scrub> {
        let state = self.scopes.get(scope)?;
        let found = Scrubbed {
            scope: scope.clone(),
            digest: state.digest,
            held: Digest::default(),
            events: 0,
            bytes: 0,
            runs_dropped: 0,
            documents_mended: 0,
            missing: 0,
        };
        Some(Scrub {
            scope: scope.clone(),
            vector: state.durable.clone(),
            until: self.log.position(),
            covered: state.covered.clone(),
            rewrites: state.rewrites,
            after: 0,
            walks: BTreeMap::new(),
            held: HeldHash::default(),
            unreadable: vec![],
            found,
            documents: None,
        })
    }

    /// Goes on with the scrub of a scope: reads about `bytes_max` bytes of its log, or checks some of its
    /// documents. Returns what was found once it is done. Begins anew if the log was rewritten meanwhile.
    pub fn scrub_part(
        &mut self,
        scrub: &mut Scrub,
        bytes_max: usize,
    ) -> Result<Option<Scrubbed>, StoreError> {
        if !self.is_current(scrub) {
            match self.begin_scrub(&scrub.scope) {
                Some(anew) => *scrub = anew,
                // The scope was left.
                None => return Ok(Some(scrub.found.clone())),
            }
        }
        if let Some(documents) = &mut scrub.documents {
            let step = documents.split_off(documents.len().saturating_sub(DOCUMENTS_PER_STEP));
            let is_done = documents.is_empty();
            scrub.found.documents_mended += self.mend_documents(step)?;
            return Ok(is_done.then(|| self.end_scrub(scrub)));
        }
        let read = self.log.inspect(&scrub.scope, scrub.after, bytes_max)?;
        scrub.unreadable.extend(read.unreadable);
        scrub.found.bytes += read.bytes as u64;
        scrub.after = read.next;
        let until = scrub.until;
        for entry in read.entries.iter().filter(|entry| entry.last <= until) {
            scrub.follow(self.fleet, entry);
        }
        if read.end || scrub.after >= scrub.until {
            scrub.documents = Some(self.conclude_log(scrub)?);
        }
        Ok(None)
    }

    /// Takes note of what the log lacks, and returns the documents to check: none while something is
    /// missing, because they could not be executed anew.
    fn conclude_log(&mut self, scrub: &mut Scrub) -> Result<Vec<Document>, StoreError> {
        scrub.found.runs_dropped = self.log.drop_unreadable(&scrub.unreadable)?;
        let faults = scrub.conclude();
        let is_whole = faults.is_empty();
        self.note_faults(&scrub.scope, faults);
        let documents =
            self.scopes.get(&scrub.scope).filter(|_| is_whole).map(|state| state.documents.keys());
        let documents = documents.into_iter().flatten();
        Ok(documents.filter_map(|(kind, name)| document_in(&scrub.scope, *kind, name).ok()).collect())
    }

    fn end_scrub(&mut self, scrub: &Scrub) -> Scrubbed {
        let found = scrub.found.clone();
        self.scrub_counts.scopes += 1;
        self.scrub_counts.events += found.events;
        self.scrub_counts.runs_dropped += found.runs_dropped;
        self.scrub_counts.documents_mended += found.documents_mended;
        if let Some(state) = self.scopes.get_mut(&found.scope) {
            state.scrubbed = Some(found.clone());
        }
        found
    }

    /// Executes those documents anew whose record does not say what memory or the scope's record say.
    fn mend_documents(&mut self, documents: Vec<Document>) -> Result<u64, StoreError> {
        let mut mended = 0;
        for document in documents {
            let is_waiting = self.dirty.contains(&document);
            let Some(entry) = self.entry(&document).filter(|_| !is_waiting) else { continue };
            let version = entry.version;
            let stored = match self.stored(&document) {
                Ok(stored) => stored,
                Err(StoreError::Damaged { .. }) => None,
                Err(error) => return Err(error),
            };
            let is_whole = stored.is_some_and(|(stored_version, state)| {
                stored_version >= version && self.states.get(&document).is_none_or(|held| **held == state)
            });
            if !is_whole {
                tracing::error!(%document, "the record of a document is lost or stale; it is executed anew");
                self.states.remove(&document);
                self.rebuilds.insert(document, version);
                mended += 1;
            }
        }
        self.rebuild_documents()?;
        Ok(mended)
    }
}

impl Scrub {
    /// Follows an entry's chain on to it. An entry that is not sound, or not the next of its chain,
    /// counts as if it were not there.
    fn follow(&mut self, fleet: crate::ids::FleetId, entry: &Entry) {
        let Some(record) = sound(fleet, &entry.bytes) else {
            tracing::error!(scope = %self.scope, position = entry.last, "an entry of the log is damaged");
            return;
        };
        let walk = self.walks.entry(record.chain()).or_default();
        let (first_seq, last) = (record.first_seq(), record.last());
        if first_seq > walk.seq + 1 {
            walk.miss(record.chain(), first_seq - 1, record.previous(), false);
        } else if let Some(id) = walk.id
            && id_at(&record, walk.seq).is_some_and(|found| found != id)
        {
            tracing::error!(scope = %self.scope, position = entry.last, "an entry of the log is not linked");
            return;
        }
        match &record {
            Record::Group(group) => {
                for (item, seq) in group.items().iter().zip(first_seq..) {
                    self.meet(item, seq, group.chain(), entry.last);
                }
            }
            Record::Gap(gap) if last.seq > walk.seq => {
                walk.miss(gap.chain, last.seq, Some(last.id), true);
                walk.position = entry.last;
            }
            Record::Gap(_) => {}
        }
    }

    fn meet(&mut self, item: &Item, seq: u64, chain: ChainId, position: u64) {
        let walk = self.walks.entry(chain).or_default();
        let is_next = seq == walk.seq + 1;
        match item {
            // One that is met again, or that another copy of its group left out.
            Item::Event(_) if !is_next && !walk.find(seq) => return,
            Item::Event(event) => {
                self.found.events += 1;
                let key = (event.header().document.kind(), event.header().document.name().to_owned());
                let covered = self.covered.get(&key).and_then(|covered| covered.get(&chain));
                if covered.is_none_or(|last| seq > *last) {
                    self.held.add(&event.id());
                }
            }
            Item::Missing(id) if is_next => walk.miss(chain, seq, Some(*id), true),
            Item::Missing(_) => return,
        }
        if is_next {
            (walk.seq, walk.id, walk.position) = (seq, Some(item.id()), position);
        }
    }

    /// Compares the ends of the chains with the vector. What is left out by a record is a fault only
    /// beyond what checkpoints cover of the chain.
    fn conclude(&mut self) -> Vec<Fault> {
        let mut faults = vec![];
        for (chain, head) in self.vector.iter() {
            let mut walk = self.walks.remove(&chain).unwrap_or_default();
            if walk.seq < head.seq {
                walk.miss(chain, head.seq, Some(head.id), false);
            }
            let covered_to = covered_to(&self.covered, &chain);
            for absent in walk.absent.into_values() {
                let fault = absent.fault.up_to(head);
                faults.extend(if absent.is_told {
                    fault.and_then(|fault| fault.beyond(covered_to))
                } else {
                    fault
                });
            }
        }
        self.found.missing = faults.iter().map(Fault::places).sum();
        self.found.held = self.held.digest();
        faults.truncate(FAULTS_MAX);
        faults
    }
}

impl Walk {
    /// Notes that the places from the next one to `to_seq`, whose id is `last`, are not there.
    fn miss(&mut self, chain: ChainId, to_seq: u64, last: Option<EventId>, is_told: bool) {
        match self.absent.last_entry() {
            Some(mut absent) if absent.get().fault.to_seq == self.seq && absent.get().is_told == is_told => {
                absent.get_mut().fault.extend(to_seq, last);
            }
            _ => {
                let fault = Fault::new(chain, (self.seq + 1, self.id), (to_seq, last), self.position);
                self.absent.insert(self.seq + 1, Absent { fault, is_told });
            }
        }
        (self.seq, self.id) = (to_seq, last);
    }

    /// Whether a place was thought absent that is there after all.
    fn find(&mut self, seq: u64) -> bool {
        let before = self.absent.range(..=seq).next_back();
        let Some(from_seq) = before.filter(|(_, absent)| absent.fault.to_seq >= seq).map(|(from, _)| *from)
        else {
            return false;
        };
        if let Some(Absent { fault, is_told }) = self.absent.remove(&from_seq) {
            let parts = fault.without(seq).into_iter();
            self.absent.extend(parts.map(|fault| (fault.from_seq, Absent { fault, is_told })));
        }
        true
    }
}

/// A record of the log whose bytes are what their author signed.
pub(super) fn sound(fleet: crate::ids::FleetId, bytes: &[u8]) -> Option<Record> {
    match Record::decode(fleet, bytes).ok()? {
        Record::Group(group) => group.verify().is_ok().then_some(Record::Group(group)),
        Record::Gap(gap) => Some(Record::Gap(gap)),
    }
}

/// The id that a record gives the place `seq`, which is one of its own or the one before it.
pub(super) fn id_at(record: &Record, seq: u64) -> Option<EventId> {
    if seq + 1 == record.first_seq() {
        // The first event of a boot names one of another chain.
        return record.previous().filter(|_| seq > 0);
    }
    match record {
        Record::Group(group) => {
            let place = usize::try_from(seq.checked_sub(group.first_seq())?).ok()?;
            group.items().get(place).map(Item::id)
        }
        Record::Gap(gap) => (gap.last.seq == seq).then_some(gap.last.id),
    }
}

/// The last place of a chain that some checkpoint covers; 0 if none does.
pub(super) fn covered_to(covered: &BTreeMap<(Kind, String), Covered>, chain: &ChainId) -> u64 {
    covered.values().filter_map(|covered| covered.get(chain)).max().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
