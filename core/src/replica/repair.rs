//! Repair: getting back what the store lost, or what was never given.
//!
//! The documents were executed and the vector is right, so nothing is taken back while something is
//! missing: reads and writes go on. [`Replica::asking`] is the vector with which peers are asked, as if
//! everything from the first missing place of each chain on had never been here. Among what they send,
//! [`Replica::merge`] keeps the records for the missing places, in chain order and only if they link: what
//! was there before is known by the ids on both sides. The commit that completes the last stretch of a scope
//! puts them back where the log needs them and executes the documents anew: what is missing can depend on what
//! else is missing, so only together can they be put in order.
//!
//! What no peer has stays listed. It is never given up, and never silent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Replica;
use super::scope::scope_key;
use super::scrub::{covered_to, id_at, sound};
use crate::document::Effect;
use crate::event::{ChainId, Event};
use crate::group::{Gap, Item, Record};
use crate::ids::{EventId, FleetId};
use crate::log::{Entry, Placed};
use crate::name::Scope;
use crate::store::{Store, StoreError};
use crate::vector::{Head, Vector};

/// Most faults of one scope that are worked on at a time; more are found by the next scrub.
pub(super) const FAULTS_MAX: usize = 4_096;
/// Most bytes of records that are kept of one scope until nothing of it is missing. A store that lost more than that
/// is better made anew.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Consecutive places of a chain that are not in the store and that no checkpoint covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The chain.
    pub chain: ChainId,
    /// The first place.
    pub from_seq: u64,
    /// The last place.
    pub to_seq: u64,
    /// The ids of the place before the first, and of the last, where they are known.
    previous: Option<EventId>,
    last: Option<EventId>,
    /// Position of the entry before.
    after: u64,
    /// What was got back of it, in chain order from `from_seq` on.
    got: Vec<Record>,
    got_to: Option<Head>,
    got_bytes: usize,
}

/// Counts since the replica was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScrubCounts {
    /// Scopes that were read back whole.
    pub scopes: u64,
    /// Events that were read back.
    pub events: u64,
    /// Runs that could not be read and were dropped.
    pub runs_dropped: u64,
    /// Documents that were executed anew because their record was lost or stale.
    pub documents_mended: u64,
    /// Places of chains that were found missing.
    pub places_missing: u64,
    /// Places of chains that were got back.
    pub places_mended: u64,
}

impl Fault {
    /// A fault from a place on, given with the id before it, to a place with its id.
    pub(super) fn new(
        chain: ChainId,
        (from_seq, previous): (u64, Option<EventId>),
        (to_seq, last): (u64, Option<EventId>),
        after: u64,
    ) -> Self {
        let (got, got_to, got_bytes) = (vec![], None, 0);
        Self { chain, from_seq, to_seq, previous, last, after, got, got_to, got_bytes }
    }

    pub(super) fn extend(&mut self, to_seq: u64, last: Option<EventId>) {
        (self.to_seq, self.last) = (to_seq, last);
    }

    /// What is left of it when the place `seq` is there.
    pub(super) fn without(self, seq: u64) -> Vec<Self> {
        let before = (self.from_seq < seq).then(|| Self { to_seq: seq - 1, last: None, ..self.clone() });
        let behind = (seq < self.to_seq).then(|| Self { from_seq: seq + 1, previous: None, ..self.clone() });
        before.into_iter().chain(behind).collect()
    }

    /// The part up to a chain's head; beyond it nothing is claimed to be here.
    pub(super) fn up_to(self, head: Head) -> Option<Self> {
        match self.to_seq > head.seq {
            true => {
                (self.from_seq <= head.seq).then_some(Self { to_seq: head.seq, last: Some(head.id), ..self })
            }
            false => Some(self),
        }
    }

    /// The part beyond a place.
    pub(super) fn beyond(self, seq: u64) -> Option<Self> {
        match self.from_seq <= seq {
            true => (self.to_seq > seq).then_some(Self { from_seq: seq + 1, previous: None, ..self }),
            false => Some(self),
        }
    }

    /// The events that were got back.
    fn events(&self) -> impl Iterator<Item = &Arc<Event>> {
        let groups = self.got.iter().filter_map(|record| match record {
            Record::Group(group) => Some(group),
            Record::Gap(_) => None,
        });
        groups.flat_map(|group| group.events())
    }

    /// How many places are missing.
    pub fn places(&self) -> u64 {
        self.to_seq - self.from_seq + 1
    }

    /// The place from which on something is missing still.
    fn next_seq(&self) -> u64 {
        self.got_to.map_or(self.from_seq, |head| head.seq + 1)
    }

    fn is_complete(&self) -> bool {
        self.next_seq() > self.to_seq
    }

    /// Keeps a record if it goes on from what was got, with no more than what checkpoints cover left out.
    fn keep(&mut self, record: &Record, bytes: usize, covered_to: u64) {
        let next_seq = self.next_seq();
        let id_before = self.got_to.map(|head| head.id).or(self.previous);
        let (first_seq, last) = (record.first_seq(), record.last());
        if first_seq > next_seq || last.seq < next_seq || self.is_complete() {
            return;
        }
        let is_linked = |seq, id: Option<EventId>| match (id_at(record, seq), id) {
            (Some(found), Some(known)) => found == known,
            _ => true,
        };
        let before = if next_seq == 1 { None } else { id_before };
        if !is_linked(next_seq - 1, before) || (last.seq >= self.to_seq && !is_linked(self.to_seq, self.last))
        {
            tracing::error!(chain = ?self.chain, "a peer has another event where ours is missing");
            return;
        }
        let to_seq = last.seq.min(self.to_seq);
        let is_left_out = |seq| (next_seq.max(covered_to + 1)..=to_seq).contains(&seq);
        let (kept, id) = match record {
            Record::Group(group) => {
                let mut items = group.items().iter().zip(first_seq..);
                if items.any(|(item, seq)| matches!(item, Item::Missing(_)) && is_left_out(seq)) {
                    return;
                }
                let is_wanted = |event: &Event| (next_seq..=to_seq).contains(&event.header().author_seq);
                (group.retain(is_wanted), id_at(record, to_seq))
            }
            Record::Gap(_) if to_seq > covered_to => return,
            Record::Gap(_) => (record.clone(), id_at(record, to_seq).or(self.last)),
        };
        let Some(id) = id else { return };
        let kept = match kept {
            Record::Group(_) => kept,
            // No more of a gap than what is missing here, linked to what is known on both sides.
            Record::Gap(gap) => {
                let previous = id_at(record, next_seq - 1).or(id_before);
                if next_seq > 1 && previous.is_none() {
                    return;
                }
                Record::Gap(Gap { first_seq: next_seq, previous, last: Head { seq: to_seq, id }, ..gap })
            }
        };
        self.got_to = Some(Head { seq: to_seq, id });
        self.got.push(kept);
        self.got_bytes += bytes;
    }
}

impl<S: Store> Replica<S> {
    /// What is known to be missing of each scope.
    pub fn faults(&self) -> impl Iterator<Item = (&Scope, &[Fault])> {
        self.faults.iter().map(|(scope, faults)| (scope, faults.as_slice()))
    }

    /// Whether something is known to be missing of a scope.
    pub fn is_faulty(&self, scope: &Scope) -> bool {
        self.faults.contains_key(scope)
    }

    /// Counts of scrubbing and repair since the replica was opened.
    pub fn scrub_counts(&self) -> ScrubCounts {
        self.scrub_counts
    }

    /// The vector with which a peer is asked for what is missing here: the durable one, but for chains
    /// with missing places, which end before the first of those.
    pub fn asking(&self, scope: &Scope) -> Vector {
        let vector = self.vector(scope);
        let Some(faults) = self.faults.get(scope) else { return vector };
        let lowered = |chain: ChainId, head: Head| {
            let first =
                faults.iter().filter(|fault| fault.chain == chain).min_by_key(|fault| fault.next_seq());
            match first {
                None => Some((chain, head)),
                Some(fault) if fault.next_seq() == 1 => None,
                Some(fault) => {
                    let id = fault.got_to.map(|head| head.id).or(fault.previous).unwrap_or_default();
                    Some((chain, Head { seq: fault.next_seq() - 1, id }))
                }
            }
        };
        vector.iter().filter_map(|(chain, head)| lowered(chain, head)).collect()
    }

    /// Takes what a scrub found in place of what was known, but keeps what was got back already.
    pub(super) fn note_faults(&mut self, scope: &Scope, mut faults: Vec<Fault>) {
        let before = self.faults.remove(scope).unwrap_or_default();
        for fault in &mut faults {
            let same = |known: &&Fault| {
                (known.chain, known.from_seq, known.to_seq) == (fault.chain, fault.from_seq, fault.to_seq)
            };
            match before.iter().find(same) {
                Some(known) => *fault = known.clone(),
                None => {
                    self.scrub_counts.places_missing += fault.places();
                    tracing::error!(
                        %scope, author = %fault.chain.author, boot = %fault.chain.boot, from = fault.from_seq, to = fault.to_seq,
                        "events are missing from the store; peers are asked for them"
                    );
                }
            }
        }
        if !faults.is_empty() {
            self.faults.insert(scope.clone(), faults);
        }
    }

    /// Keeps what a peer sent if it stands where something is missing here.
    pub(super) fn keep_missing(&mut self, record: &Record, bytes: &[u8]) {
        let Some(faults) = self.faults.get_mut(record.scope()) else { return };
        let Some(state) = self.scopes.get(record.scope()) else { return };
        let overlaps = |fault: &Fault| {
            fault.chain == record.chain()
                && record.first_seq() <= fault.to_seq
                && record.last().seq >= fault.from_seq
        };
        if !faults.iter().any(overlaps) || sound(self.fleet, bytes).is_none() {
            return;
        }
        let kept_bytes: usize = faults.iter().map(|fault| fault.got_bytes).sum();
        if kept_bytes + bytes.len() > KEPT_BYTES_MAX {
            tracing::error!(scope = %record.scope(), "more of the scope is lost than is put back; make the store anew");
            return;
        }
        let covered_to = covered_to(&state.covered, &record.chain());
        faults.iter_mut().filter(|fault| overlaps(fault)).for_each(|fault| {
            fault.keep(record, bytes.len(), covered_to);
        });
        if faults.iter().all(Fault::is_complete) {
            self.mendable.insert(record.scope().clone());
        }
    }

    /// Puts back into the log of a scope what was missing of it, once all of it is there. Nothing may be staged.
    pub(super) fn mend(&mut self, scope: &Scope) -> Result<(), StoreError> {
        self.settle()?;
        // A scrub may have found more since.
        if !self.faults.get(scope).is_some_and(|faults| faults.iter().all(Fault::is_complete)) {
            return Ok(());
        }
        let Some(faults) = self.faults.remove(scope) else { return Ok(()) };
        let Some(after) = faults.iter().map(|fault| fault.after).min() else { return Ok(()) };
        let mut arrangement = Arrangement::new(self.fleet, &faults);
        self.outdate(&faults);
        let Some(state) = self.scopes.get(scope) else { return Ok(()) };
        let record = |settled| state.encode(settled, self.dirty.of(scope));
        let key = scope_key(scope);
        let settled =
            self.log.write_anew(scope, after, &mut |entry| arrangement.place(entry), (&key, &record))?;
        if let Some(state) = self.scopes.get_mut(scope) {
            state.settled = settled;
            state.rewrites += 1;
        }
        for fault in faults {
            self.scrub_counts.places_mended += fault.places();
            tracing::warn!(
                %scope, author = %fault.chain.author, boot = %fault.chain.boot, from = fault.from_seq, to = fault.to_seq,
                "missing events were got back from a peer"
            );
            self.execute_mended(&fault, settled);
        }
        self.rebuild_documents()?;
        self.scrub_first.insert(scope.clone());
        self.staged_scopes.insert(scope.clone());
        Ok(())
    }

    /// Lists the documents of what is put back as newer than their records, so that they are executed
    /// anew also if the node stops in between.
    fn outdate(&mut self, faults: &[Fault]) {
        let version = self.log.assigned() + 1;
        for event in faults.iter().flat_map(Fault::events) {
            let document = &event.header().document;
            let Some(state) = self.scopes.get_mut(&document.scope()) else { continue };
            let key = (document.kind(), document.name().to_owned());
            state.documents.entry(key).or_default().version = version;
        }
    }

    fn execute_mended(&mut self, fault: &Fault, position: u64) {
        for event in fault.events() {
            if self.authority.effect(event.header()) == Effect::Effective {
                self.learn(event);
            }
            self.rebuilds.insert(event.header().document.clone(), position);
        }
    }
}

/// Puts records back into a log: each before the first entry that needs it.
struct Arrangement {
    fleet: FleetId,
    /// What was got back and has not been placed, in chain order.
    chains: BTreeMap<ChainId, VecDeque<Record>>,
    /// The chain of each event in it.
    events: BTreeMap<EventId, ChainId>,
    /// Where entries may be damaged.
    ranges: Vec<(ChainId, u64, u64)>,
}

impl Arrangement {
    fn new(fleet: FleetId, faults: &[Fault]) -> Self {
        let (mut chains, mut events): (BTreeMap<_, VecDeque<Record>>, _) = (BTreeMap::new(), BTreeMap::new());
        for record in faults.iter().flat_map(|fault| &fault.got) {
            if let Record::Group(group) = record {
                events.extend(group.events().map(|event| (event.id(), group.chain())));
            }
            chains.entry(record.chain()).or_default().push_back(record.clone());
        }
        for records in chains.values_mut() {
            records.make_contiguous().sort_by_key(Record::first_seq);
        }
        let ranges = faults.iter().map(|fault| (fault.chain, fault.from_seq, fault.to_seq)).collect();
        Self { fleet, chains, events, ranges }
    }

    /// What stands in place of an entry; at the end, what was not needed by any.
    fn place(&mut self, entry: Option<Entry>) -> Placed {
        let mut placed = vec![];
        let Some(entry) = entry else {
            let chains: Vec<ChainId> = self.chains.keys().copied().collect();
            chains.into_iter().for_each(|chain| self.place_chain(chain, u64::MAX, &mut placed));
            return placed;
        };
        let overlaps = |(chain, from_seq, to_seq): &(ChainId, u64, u64)| {
            *chain == entry.chain && entry.first_seq <= *to_seq && entry.last_seq >= *from_seq
        };
        let may_be_damaged = self.ranges.iter().any(overlaps);
        let record = match may_be_damaged {
            true => sound(self.fleet, &entry.bytes),
            false => Record::decode(self.fleet, &entry.bytes).ok(),
        };
        if let Some(record) = record {
            self.place_needed(&record, &mut placed);
            placed.push((Arc::clone(&entry.bytes), entry.last - entry.first + 1));
        }
        placed
    }

    /// Places what stands before a record: in its chain, and what its events depend on.
    fn place_needed(&mut self, record: &Record, placed: &mut Placed) {
        self.place_chain(record.chain(), record.first_seq() - 1, placed);
        if let Record::Group(group) = record {
            let needed: Vec<EventId> =
                group.events().flat_map(|event| event.header().dependencies.clone()).collect();
            for id in needed {
                if let Some(chain) = self.events.get(&id).copied() {
                    self.place_until(chain, id, placed);
                }
            }
        }
    }

    fn place_chain(&mut self, chain: ChainId, to_seq: u64, placed: &mut Placed) {
        while self.front(chain).is_some_and(|record| record.first_seq() <= to_seq) {
            self.place_front(chain, placed);
        }
    }

    fn place_until(&mut self, chain: ChainId, id: EventId, placed: &mut Placed) {
        while self.events.contains_key(&id) && self.front(chain).is_some() {
            self.place_front(chain, placed);
        }
    }

    fn front(&self, chain: ChainId) -> Option<&Record> {
        self.chains.get(&chain)?.front()
    }

    /// Places the first record that is left of a chain, behind what it needs. What needs what is a
    /// partial order, and a chain is placed from its front, so this goes no deeper than there are chains.
    fn place_front(&mut self, chain: ChainId, placed: &mut Placed) {
        let Some(record) = self.chains.get_mut(&chain).and_then(VecDeque::pop_front) else { return };
        if let Record::Group(group) = &record {
            group.events().for_each(|event| {
                self.events.remove(&event.id());
            });
        }
        self.place_needed(&record, placed);
        let places = record.last().seq - record.first_seq() + 1;
        placed.push((record.encode().into(), places));
    }
}
