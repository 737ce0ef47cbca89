//! Documents: what a replica knows of one document name, as registers with all concurrent values.
//!
//! A [`DocumentState`] is a projection of a set of events and of nothing else: whatever the order in
//! which they arrived, equal sets give equal states. There are two routes to it. An event that has
//! seen everything (its dependencies are exactly the heads) updates the registers directly, in
//! microseconds: [`DocumentState::apply`]. Any other goes through [`DocumentState::rebuild`], which
//! executes the events on automerge, each at its own dependencies. A property test holds both equal.
//!
//! A register holds one JSON value. A value is superseded by an event that has seen it and writes
//! the same register; values that nobody who saw them has superseded stay, side by side, and beside
//! them the removals that have not seen them. The winner is the value with the greatest stamp,
//! (`lamport`, id); a value wins over a removal; a few fields have a join instead. The highest incarnation wins over lower ones
//! whole. Void events, and those that this software cannot execute, count as causes and change
//! nothing.
//!
//! Nothing here touches a disk, a clock or the network, or decides whether an event is a member.

mod conflict;
mod engine;
mod join;
mod order;
#[cfg(test)]
mod properties;
mod rebuild;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::event::{ChainId, Event, Operation};
use crate::ids::EventId;

pub use conflict::{Conflict, ConflictKind};
pub(crate) use conflict::{is_empty_map, same_value};
pub use rebuild::RebuildError;

/// Largest live document: the paths and values of its registers together, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// The register of the document as a whole: set, it says that the document is deleted.
pub const DELETED_PATH: &str = "";

/// Whether an event may change anything: see the model's members and what has effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// Its author was allowed to write it.
    Effective,
    /// It stays in the set and changes nothing.
    Void,
}

/// What decides among concurrent values: the greatest wins. No wall clock is part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The lamport time of the event that set the value.
    pub lamport: u64,
    /// That event.
    pub id: EventId,
}

impl Stamp {
    /// The stamp of whatever `event` sets.
    pub fn of(event: &Event) -> Self {
        Self { lamport: event.header().lamport, id: event.id() }
    }
}

/// A value of a register, with what it takes to find out who set it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped {
    /// JSON text, as signed.
    pub value: Arc<str>,
    /// The event that set it.
    pub stamp: Stamp,
}

/// Who wrote an event, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Author and boot.
    pub chain: ChainId,
    /// Place in that chain.
    pub author_seq: u64,
    /// The author's clock, for people.
    pub time_ms: u64,
    /// On whose behalf.
    pub by: Arc<str>,
    /// Why, in that person's words.
    pub reason: Arc<str>,
    /// The event's lamport time.
    pub lamport: u64,
}

impl Origin {
    fn of(event: &Event) -> Self {
        let header = event.header();
        Self {
            chain: header.chain,
            author_seq: header.author_seq,
            time_ms: header.time_ms,
            by: header.by.as_str().into(),
            reason: header.reason.as_str().into(),
            lamport: header.lamport,
        }
    }
}

/// What applying one event did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Registers, incarnation or deletion may differ from before.
    pub changed: bool,
    /// The document exists now and did not before.
    pub created: bool,
    /// The document existed before and is deleted now.
    pub deleted: bool,
}

/// The event cannot be applied to registers alone, because it has not seen all that they show; the
/// state has to be rebuilt from all events. State unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event is concurrent with what the document shows")]
pub struct NeedsHistory;

/// Everything that a replica knows of one document name: registers with all concurrent values,
/// heads and provenance.
///
/// Equal sets of events give equal states, also after a round trip through storage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentState {
    /// Events that no other depends on, ascending; void ones too.
    heads: Vec<EventId>,
    /// The greatest among all events.
    lamport: u64,
    /// The greatest `author_seq` of each chain in this document, ascending by chain.
    seen: Chains,
    /// What checkpoints replace.
    covered: Chains,
    needs_version: Option<u32>,
    incarnation: u32,
    /// Least and greatest stamp among the executed events of this incarnation.
    first: Option<Stamp>,
    last: Option<Stamp>,
    /// Executed events of this incarnation, other than `first`, that wrote under `/spec`.
    spec_changes: u64,
    /// Values by path, winner first, never empty.
    registers: BTreeMap<Arc<str>, Vec<Stamped>>,
    /// Removals that lost to a value of the same register which they have not seen, greatest first,
    /// never empty.
    removals: BTreeMap<Arc<str>, Vec<Stamp>>,
    /// The events that values, removals, `first` and `last` refer to.
    origins: BTreeMap<EventId, Referred>,
}

/// An origin, and by how many values and removals it is referred to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Referred {
    origin: Origin,
    values: u32,
}

impl DocumentState {
    /// A name of which nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// The dependencies of the next local event, ascending.
    pub fn heads(&self) -> &[EventId] {
        &self.heads
    }

    /// The incarnation that is shown; 0 before the first event with effect.
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// The lamport time of the next local event.
    pub fn next_lamport(&self) -> u64 {
        self.lamport.saturating_add(1)
    }

    /// Whether this incarnation was deleted.
    pub fn is_deleted(&self) -> bool {
        self.registers.contains_key(DELETED_PATH)
    }

    /// Whether there is a document to show: something had effect and it is not deleted.
    pub fn is_live(&self) -> bool {
        self.incarnation > 0 && !self.is_deleted()
    }

    /// The schema version that it takes to execute all of its events, if this software is too old.
    pub fn needs_version(&self) -> Option<u32> {
        self.needs_version
    }

    /// How often `/spec` was written in this incarnation: 1 as created, one more for each later
    /// event that writes under it.
    pub fn generation(&self) -> u64 {
        self.spec_changes.saturating_add(1)
    }

    /// The registers by ascending path, each with its values, the winner first.
    pub fn registers(&self) -> impl Iterator<Item = (&str, &[Stamped])> {
        self.registers.iter().map(|(path, values)| (path.as_ref(), values.as_slice()))
    }

    /// The values of one register, the winner first; empty if it is not set.
    pub fn values(&self, path: &str) -> &[Stamped] {
        self.registers.get(path).map_or(&[], Vec::as_slice)
    }

    /// The removals of one register that lost to its values, the greatest first.
    pub fn removals(&self, path: &str) -> &[Stamp] {
        self.removals.get(path).map_or(&[], Vec::as_slice)
    }

    /// Who wrote an event that some value or removal still refers to, or the first or last event.
    pub fn origin(&self, id: &EventId) -> Option<&Origin> {
        self.origins.get(id).map(|referred| &referred.origin)
    }

    /// The event that created this incarnation: of concurrent ones, that with the least stamp.
    pub fn first(&self) -> Option<Stamp> {
        self.first
    }

    /// The event of this incarnation with the greatest stamp.
    pub fn last(&self) -> Option<Stamp> {
        self.last
    }

    /// The greatest `author_seq` of each chain among the events of this document, ascending: what a
    /// checkpoint made now covers.
    pub fn seen(&self) -> &[(ChainId, u64)] {
        self.seen.entries()
    }

    /// Whether a checkpoint replaces this event, so that it is never to be taken again.
    pub fn covers(&self, chain: &ChainId, author_seq: u64) -> bool {
        self.covered.reaches(chain, author_seq)
    }

    /// Applies an event that has seen everything: its dependencies are exactly the heads, or it
    /// starts the document.
    ///
    /// Costs the size of the event, not of the state. The caller passes each event once; one that a
    /// checkpoint covers is ignored. A checkpoint is applied in this way only if it says the same as
    /// the state. On error the state is unchanged.
    pub fn apply(&mut self, event: &Event, effect: Effect) -> Result<Applied, NeedsHistory> {
        let header = event.header();
        if self.covers(&header.chain, header.author_seq) {
            return Ok(Applied::default());
        }
        let stamp = Stamp::of(event);
        let precedes_first = self.first.is_some_and(|first| stamp < first);
        if header.dependencies != self.heads || precedes_first {
            return Err(NeedsHistory);
        }
        let role = Role::of(event, effect);
        // A checkpoint that does not say what the state says takes the place of what it covers.
        if let Role::Checkpoint(checkpoint) = &role {
            let agrees = Checkpoint::of(self).is_ok_and(|own| own == **checkpoint);
            if !agrees || header.lamport <= self.lamport {
                return Err(NeedsHistory);
            }
            self.covered = self.seen.clone();
            // What lost to a value is seen with it, and kept by no checkpoint.
            let lost = std::mem::take(&mut self.removals);
            lost.into_values().flatten().for_each(|stamp| self.release(stamp));
        }
        let was_live = self.is_live();
        self.enter(event, &role);
        let changed = self.execute(event, &role, stamp);
        let live = self.is_live();
        Ok(Applied { changed, created: live && !was_live, deleted: was_live && self.is_deleted() })
    }

    /// Rebuilds the state from all events of one document, in whatever order, on automerge.
    ///
    /// A pure function of the set: events given twice, and events that a checkpoint among them
    /// covers, change nothing. Costs about 10 µs an event, and 0.1 to 0.5 ms (with 1,000 to 5,000
    /// events) where branches part or meet, so it is best called once for many events.
    pub fn rebuild<'a>(events: impl IntoIterator<Item = (&'a Event, Effect)>) -> Result<Self, RebuildError> {
        rebuild::rebuild(events)
    }

    /// Everything that is shown, and the events that it stands for; none if nothing is.
    pub(crate) fn to_checkpoint(&self) -> Option<Checkpoint> {
        let first = self.first?;
        let values = self.registers.values().flatten().map(|stamped| stamped.stamp.id);
        let kept: BTreeSet<EventId> = values.chain([first.id]).collect();
        let referred =
            |(id, referred): (&EventId, &Referred)| kept.contains(id).then(|| (*id, referred.origin.clone()));
        Some(Checkpoint {
            incarnation: self.incarnation,
            covered: self.seen.clone(),
            first,
            spec_changes: self.spec_changes,
            registers: self.registers.clone(),
            origins: self.origins.iter().filter_map(referred).collect(),
        })
    }

    /// Takes an event into heads, clocks and vector.
    fn enter(&mut self, event: &Event, role: &Role) {
        let header = event.header();
        self.heads = vec![event.id()];
        self.lamport = self.lamport.max(header.lamport);
        self.seen.raise(header.chain, header.author_seq);
        if let Role::Unknown { version } = role {
            self.needs_version = self.needs_version.max(Some(*version));
        }
    }

    /// Executes an event that has seen all that the registers show. Returns whether it changed them.
    fn execute(&mut self, event: &Event, role: &Role, stamp: Stamp) -> bool {
        let incarnation = event.header().incarnation;
        if !role.is_executed() || incarnation < self.incarnation {
            return false;
        }
        let starts = incarnation > self.incarnation;
        if starts {
            self.incarnation = incarnation;
            self.first = Some(stamp);
            self.last = None;
            self.spec_changes = 0;
            self.registers.clear();
            self.removals.clear();
            self.origins.clear();
        } else if writes_spec(event) {
            self.spec_changes += 1;
        }
        self.origins.insert(stamp.id, Referred { origin: Origin::of(event), values: 0 });
        let mut values = 0;
        for operation in role.operations(event) {
            match operation {
                Operation::Put { path, value } => {
                    self.put(path, Stamped { value: value.clone(), stamp });
                    values += 1;
                }
                Operation::Delete { path } => self.delete(path),
                Operation::Unknown { .. } => unreachable!("an event with unknown operations is not executed"),
            }
        }
        if let Some(referred) = self.origins.get_mut(&stamp.id) {
            referred.values = values;
        }
        self.advance_last(stamp);
        starts || !event.operations().is_empty()
    }

    fn put(&mut self, path: &str, stamped: Stamped) {
        match self.registers.get_mut(path) {
            Some(values) => {
                let superseded = std::mem::replace(values, vec![stamped]);
                self.release_all(path, superseded);
            }
            None => {
                self.registers.insert(path.into(), vec![stamped]);
            }
        }
    }

    fn delete(&mut self, path: &str) {
        if let Some(superseded) = self.registers.remove(path) {
            self.release_all(path, superseded);
        }
    }

    /// Lets go of the values of a register, and of the removals beside them.
    fn release_all(&mut self, path: &str, superseded: Vec<Stamped>) {
        let removals = self.removals.remove(path).unwrap_or_default();
        superseded.into_iter().for_each(|stamped| self.release(stamped.stamp));
        removals.into_iter().for_each(|stamp| self.release(stamp));
    }

    fn release(&mut self, stamp: Stamp) {
        if let Some(referred) = self.origins.get_mut(&stamp.id) {
            referred.values -= 1;
        }
        self.drop_unreferred(stamp);
    }

    fn drop_unreferred(&mut self, stamp: Stamp) {
        let unreferred = self.origins.get(&stamp.id).is_some_and(|referred| referred.values == 0);
        if unreferred && Some(stamp) != self.first && Some(stamp) != self.last {
            self.origins.remove(&stamp.id);
        }
    }

    /// Makes `stamp` the last if it is; either way keeps only origins that something refers to.
    fn advance_last(&mut self, stamp: Stamp) {
        let before = self.last;
        self.last = before.max(Some(stamp));
        before.into_iter().for_each(|before| self.drop_unreferred(before));
        self.drop_unreferred(stamp);
    }
}

/// What an event does when it is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Role {
    /// Its operations.
    Operations,
    /// It stands for everything that it covers.
    Checkpoint(Box<Checkpoint>),
    /// Nothing, until this software is renewed.
    Unknown { version: u32 },
    /// Nothing.
    Void,
}

impl Role {
    fn of(event: &Event, effect: Effect) -> Self {
        if effect == Effect::Void || event.header().incarnation == 0 {
            return Self::Void;
        }
        if event.needs_newer_version() {
            let version = event.header().schema.max(crate::event::SCHEMA_VERSION + 1);
            return Self::Unknown { version };
        }
        match Checkpoint::in_event(event) {
            Some(checkpoint) => Self::Checkpoint(Box::new(checkpoint)),
            None => Self::Operations,
        }
    }

    fn is_executed(&self) -> bool {
        matches!(self, Self::Operations | Self::Checkpoint(_))
    }

    fn operations<'e>(&self, event: &'e Event) -> &'e [Operation] {
        match self {
            Self::Operations => event.operations(),
            Self::Checkpoint(_) | Self::Unknown { .. } | Self::Void => &[],
        }
    }
}

/// Whether an event writes `/spec` or anything under it.
fn writes_spec(event: &Event) -> bool {
    event.operations().iter().any(|operation| {
        operation.path().strip_prefix("/spec").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// A sequence number for each of a few chains, ascending by chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chains(Vec<(ChainId, u64)>);

impl Chains {
    pub(crate) fn entries(&self) -> &[(ChainId, u64)] {
        &self.0
    }

    pub(crate) fn raise(&mut self, chain: ChainId, seq: u64) {
        match self.0.binary_search_by_key(&chain, |(chain, _)| *chain) {
            Ok(found) => self.0[found].1 = self.0[found].1.max(seq),
            Err(place) => self.0.insert(place, (chain, seq)),
        }
    }

    pub(crate) fn reaches(&self, chain: &ChainId, seq: u64) -> bool {
        let found = self.0.binary_search_by_key(chain, |(chain, _)| *chain);
        found.is_ok_and(|found| self.0[found].1 >= seq)
    }
}

impl FromIterator<(ChainId, u64)> for Chains {
    fn from_iter<I: IntoIterator<Item = (ChainId, u64)>>(entries: I) -> Self {
        let mut chains = Self::default();
        entries.into_iter().for_each(|(chain, seq)| chains.raise(chain, seq));
        chains
    }
}
