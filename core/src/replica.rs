//! The replica: a set of signed events in a store, and everything that is read off it.
//!
//! One owner writes with [`Replica::write`] and [`Replica::merge`], which *stage*, and then calls
//! [`Replica::commit`], which makes everything staged durable with one flush. Only then may an
//! acknowledgement be given or an event be shown to a peer; [`Replica::vector`], [`Replica::log`] and
//! [`Replica::changes`] show nothing earlier. Reads of documents do see what is staged.
//!
//! The replica reads no clock and no randomness: time comes with each write, the boot with the
//! configuration. It knows nothing of peers. [`crate::owner`] wraps it for use from many threads.

mod dirty;
mod forget;
mod labels;
mod merge;
#[cfg(test)]
mod pairs;
mod past;
#[cfg(test)]
mod properties;
mod read;
mod repair;
mod scope;
mod scrub;
mod settle;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use ed25519_dalek::SigningKey;

use crate::authority::{Authority, Learned};
use crate::checkpoint::Checkpoint;
use crate::document::{DocumentState, Effect};
use crate::event::Event;
use crate::group::Record;
use crate::ids::{Author, Boot, Digest, FleetId};
use crate::log::{Log, LogRead};
use crate::name::{Document, Scope};
use crate::store::{Batch, Order, Store, StoreError};
use crate::vector::Vector;

pub use labels::LabelSelector;
pub use merge::{MergeError, Merged, ProtocolViolation, Refusal, RefusalReason, Want};
pub use past::{EventsRead, Past, PastError, as_of, before, counts_from};
pub use read::{Change, Expired, HistoryEntry, View};
pub use repair::{Fault, ScrubCounts};
pub use scope::{Durable, Labels};
pub use scrub::{SCRUB_STEP_BYTES, Scrub, Scrubbed};
pub use write::{ChangeRequest, Precondition, Write, WriteError, Written, merge_patch};

use dirty::Dirty;
use labels::LabelIndex;
use scope::{DocumentEntry, ScopeState, decode_record, document_in, document_key, encode_record};
use write::OpenGroup;

/// Documents whose state is kept in memory though it is on disk.
const CACHED_DOCUMENTS_MAX: usize = 4_096;
/// Changes that watches can still ask for.
const CHANGES_MAX: usize = 16_384;
/// Version of the encoding of a document's record.
const DOCUMENT_VERSION: u8 = 2;

/// Who this replica is.
#[derive(Debug, Clone)]
pub struct Config {
    /// The fleet, by the public key of its authority.
    pub fleet: FleetId,
    /// The key that signs what this replica writes.
    pub key: SigningKey,
    /// 128 random bits, new at every start.
    pub boot: Boot,
}

/// Why a replica does not open. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store holds the state of another fleet.
    #[error(
        "this store belongs to the fleet {found}, not to {expected}; use the data directory of this fleet"
    )]
    Fleet {
        /// Whose state it holds.
        found: FleetId,
        /// Whose was asked for.
        expected: FleetId,
    },
}

/// What a commit made durable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// The last durable position.
    pub position: u64,
    /// The scopes that grew.
    pub scopes: BTreeSet<Scope>,
}

/// A set of events and its projections. See the module's documentation.
#[derive(Debug)]
pub struct Replica<S> {
    fleet: FleetId,
    /// The keys that may write here; the first is the node's.
    authors: Vec<(SigningKey, Boot)>,
    log: Log<S>,
    scopes: BTreeMap<Scope, ScopeState>,
    authority: Authority,
    states: BTreeMap<Document, Arc<DocumentState>>,
    /// Documents whose state is newer than their record.
    dirty: Dirty,
    labels: LabelIndex,
    open_group: Option<OpenGroup>,
    /// Documents to execute anew from their events, and the position that asked for it.
    rebuilds: BTreeMap<Document, u64>,
    staged_scopes: BTreeSet<Scope>,
    /// What the last commit replaced.
    replaced: BTreeMap<Scope, Durable>,
    staged_changes: Vec<Change>,
    changes: VecDeque<Change>,
    /// Changes up to here are not in `changes` any more.
    changes_from: u64,
    /// Tells this log's positions from another's.
    tag: u64,
    poisoned: bool,
    /// Whether enrolments of other sites are outside of what is held here: see [`Replica::set_partial`].
    partial: bool,
    /// What is known to be missing, and the scopes in which enough of it was got back.
    faults: BTreeMap<Scope, Vec<Fault>>,
    mendable: BTreeSet<Scope>,
    /// The scrub under way, the scopes whose turn comes before that of others, and whose turn was last.
    scrub: Option<Scrub>,
    scrub_first: BTreeSet<Scope>,
    scrubbed_last: Option<Scope>,
    scrub_counts: ScrubCounts,
}

impl<S: Store> Replica<S> {
    /// Opens the replica in `store`, or creates it in an empty one.
    ///
    /// Costs the records of the scopes and the unsettled end of the log; documents and the settled
    /// log are not read.
    pub fn open(mut store: S, config: Config) -> Result<Self, OpenError> {
        let tag = check_fleet(&mut store, &config)?;
        let position = forget::finish(&mut store)?;
        let mut scopes = BTreeMap::new();
        let mut outcome = Ok(());
        store.scan(b"s", b"t", Order::Ascending, &mut |key, value| {
            outcome = read_scope(key, value).map(|(scope, state)| {
                scopes.insert(scope, state);
            });
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        outcome?;
        let settled = scopes.iter().map(|(scope, state)| (scope.clone(), state.settled)).collect();
        let log = Log::open(store, &settled, position)?;
        let mut replica = Self {
            fleet: config.fleet,
            authors: vec![(config.key, config.boot)],
            authority: Authority::new(config.fleet),
            states: BTreeMap::new(),
            dirty: Dirty::default(),
            labels: LabelIndex::default(),
            open_group: None,
            rebuilds: BTreeMap::new(),
            staged_scopes: BTreeSet::new(),
            replaced: BTreeMap::new(),
            staged_changes: vec![],
            changes: VecDeque::new(),
            changes_from: log.position(),
            tag,
            poisoned: false,
            partial: false,
            faults: BTreeMap::new(),
            mendable: BTreeSet::new(),
            scrub: None,
            scrub_first: BTreeSet::new(),
            scrubbed_last: None,
            scrub_counts: ScrubCounts::default(),
            scopes,
            log,
        };
        replica.index_scopes()?;
        replica.replay()?;
        Ok(replica)
    }

    /// Fills authority and label index from the scopes' records.
    fn index_scopes(&mut self) -> Result<(), StoreError> {
        for (scope, state) in &self.scopes {
            for (author, enrolment) in &state.enrolled {
                self.authority.enrol(*author, enrolment.clone());
            }
            for (author, standing) in &state.revoked {
                self.authority.revoke(*author, standing.clone());
            }
            for ((kind, name), entry) in &state.documents {
                let document = document_in(scope, *kind, name).map_err(damaged_name)?;
                if !entry.deleted {
                    self.labels.insert(&document, &entry.labels);
                }
            }
        }
        Ok(())
    }

    /// Executes what was committed and not settled when the replica was last open.
    fn replay(&mut self) -> Result<(), StoreError> {
        let entries: Vec<_> = self.log.tail().map(|(scope, entry)| (scope.clone(), entry.clone())).collect();
        for (scope, entry) in entries {
            let record = self.decode(&entry.bytes)?;
            self.scopes.entry(scope.clone()).or_default().vector.advance(record.chain(), record.last());
            if let Record::Group(group) = record {
                for event in group.events() {
                    self.execute(event, entry.position(event.header().author_seq))?;
                }
            }
            self.staged_scopes.insert(scope);
        }
        self.rebuild_documents()?;
        self.publish();
        self.replaced.clear();
        self.changes.clear();
        self.changes_from = self.log.position();
        Ok(())
    }

    /// The fleet.
    pub fn fleet(&self) -> FleetId {
        self.fleet
    }

    /// The key of this node, as an author.
    pub fn author(&self) -> Author {
        Author(self.authors[0].0.verifying_key().to_bytes())
    }

    /// This start of the node.
    pub fn boot(&self) -> Boot {
        self.authors[0].1
    }

    /// Random bits of this log, for telling its positions from another log's.
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// Lets the replica write with a further key, such as the authority's at a hub that holds it.
    pub fn add_author(&mut self, key: SigningKey, boot: Boot) {
        self.authors.push((key, boot));
    }

    /// The keys with which the replica can write, the node's own first.
    pub fn authors(&self) -> impl Iterator<Item = Author> + '_ {
        self.authors.iter().map(|(key, _)| Author(key.verifying_key().to_bytes()))
    }

    /// Says that this replica holds one site of many, so that the enrolments of other sites' nodes are
    /// outside of its interest. What such a node writes into profiles or the catalog is void whatever
    /// it is enrolled as; it is then taken without its enrolment, for the sake of what depends on it.
    /// Should the author turn out to be a hub, its documents are executed anew.
    pub fn set_partial(&mut self, partial: bool) {
        self.partial = partial;
    }

    /// Enrolled keys and revocations.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The store.
    pub fn store(&self) -> &S {
        self.log.store()
    }

    /// Makes everything staged durable: one flush. Without anything staged it does nothing.
    ///
    /// On error nothing that was staged counts as written, and the replica takes no more writes until
    /// it is opened anew.
    pub fn commit(&mut self) -> Result<Committed, StoreError> {
        self.close_group();
        if self.log.staged().is_empty() && self.mendable.is_empty() && self.staged_scopes.is_empty() {
            return Ok(Committed { position: self.log.position(), scopes: BTreeSet::new() });
        }
        let size = self.log.staged_size();
        let mendable = std::mem::take(&mut self.mendable);
        let outcome = self.log.commit().and_then(|()| mendable.iter().try_for_each(|scope| self.mend(scope)));
        if let Err(error) = outcome {
            self.poisoned = true;
            return Err(error);
        }
        let committed = Committed { position: self.log.position(), scopes: self.publish() };
        self.settle_after(size)?;
        Ok(committed)
    }

    /// Shows what was staged to peers and watches.
    fn publish(&mut self) -> BTreeSet<Scope> {
        let scopes = std::mem::take(&mut self.staged_scopes);
        self.replaced.clear();
        for scope in &scopes {
            if let Some(state) = self.scopes.get_mut(scope) {
                self.replaced.insert(scope.clone(), state.commit());
            }
        }
        for change in std::mem::take(&mut self.staged_changes) {
            if self.changes.len() == CHANGES_MAX {
                self.changes_from = self.changes.pop_front().map_or(0, |oldest| oldest.position);
            }
            self.changes.push_back(change);
        }
        scopes
    }

    /// The last durable position; grows by one per event.
    pub fn position(&self) -> u64 {
        self.log.position()
    }

    /// The scopes of which something is held, in order.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.scopes_after(None)
    }

    /// The same, from the first behind `after`.
    pub fn scopes_after(&self, after: Option<&Scope>) -> impl Iterator<Item = &Scope> + use<'_, S> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let scopes = self.scopes.range((from, Bound::Unbounded));
        scopes.filter(|(_, state)| !state.durable.is_empty()).map(|(scope, _)| scope)
    }

    /// What is durably held of a scope.
    pub fn vector(&self, scope: &Scope) -> Vector {
        self.scopes.get(scope).map_or_else(Vector::default, |state| state.durable.clone())
    }

    /// The digest of a scope's durable vector; zero if nothing is held.
    pub fn digest(&self, scope: &Scope) -> Digest {
        self.scopes.get(scope).map_or_else(Digest::default, |state| state.digest)
    }

    /// What was durable of a scope before the last commit that made anything durable; `None` if that
    /// commit did not change the scope. Lets others keep up with a commit without a copy of all scopes.
    pub fn before(&self, scope: &Scope) -> Option<&Durable> {
        self.replaced.get(scope)
    }

    /// Reads a scope's log after a position: see [`Log::read`].
    pub fn log(&self, scope: &Scope, after: u64, bytes_max: usize) -> Result<LogRead, StoreError> {
        self.log.read(scope, after, bytes_max)
    }

    /// Where to start reading a scope's log for a peer that holds `peer` of it.
    pub fn start_for(&self, scope: &Scope, peer: &Vector) -> Result<u64, StoreError> {
        self.log.start_for(scope, &self.vector(scope), peer)
    }

    /// Decodes a record of the log, which was checked when it was taken.
    fn decode(&self, bytes: &[u8]) -> Result<Record, StoreError> {
        Record::decode(self.fleet, bytes).map_err(|error| StoreError::Damaged {
            key: None,
            reason: format!("a record of the log: {error}"),
        })
    }

    /// Executes one event that entered the set at `position`, or leaves its document to
    /// [`Replica::rebuild_documents`].
    fn execute(&mut self, event: &Arc<Event>, position: u64) -> Result<(), StoreError> {
        let document = &event.header().document;
        let effect = self.authority.effect(event.header());
        if effect == Effect::Effective {
            self.learn(event);
        }
        if self.entry(document).is_some_and(|entry| entry.version >= position) {
            return Ok(());
        }
        if self.rebuilds.contains_key(document) {
            self.rebuilds.insert(document.clone(), position);
            return Ok(());
        }
        // Taken out, not shared, so that it is changed in place.
        let mut state = match self.states.remove(document) {
            Some(state) => state,
            None => match self.load(document) {
                Ok(state) => state.unwrap_or_default(),
                Err(StoreError::Damaged { .. }) => {
                    self.rebuilds.insert(document.clone(), position);
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
        };
        match Arc::make_mut(&mut state).apply(event, effect) {
            Ok(_) => self.project(document, state, position),
            Err(_) => {
                self.states.insert(document.clone(), state);
                self.rebuilds.insert(document.clone(), position);
            }
        }
        Ok(())
    }

    /// Takes note of enrolments, revocations and checkpoints.
    fn learn(&mut self, event: &Arc<Event>) {
        let document = &event.header().document;
        let scope = document.scope();
        let learned = self.authority.learn(event);
        let state = self.scopes.entry(scope).or_default();
        match learned {
            Learned::Nothing => {}
            Learned::Enrolled(author, enrolment) => {
                let enrolled = (author, enrolment);
                if !state.enrolled.contains(&enrolled) {
                    state.enrolled.push(enrolled);
                    if self.partial {
                        self.rebuild_written_by(&author);
                    }
                }
            }
            Learned::Revoked(author, standing) => {
                state.revoked.push((author, standing));
                self.rebuild_written_by(&author);
            }
        }
        if document.is_site_written()
            && let Some(checkpoint) = Checkpoint::in_event(event)
        {
            let state = self.scopes.entry(document.scope()).or_default();
            let key = (document.kind(), document.name().to_owned());
            let covered = state.covered.entry(key).or_default();
            for (chain, seq) in checkpoint.covered() {
                let last = covered.entry(*chain).or_default();
                *last = (*last).max(*seq);
            }
            state.checkpoints += 1;
        }
    }

    /// Has every document executed anew that lies in a scope to which the key has written.
    fn rebuild_written_by(&mut self, author: &Author) {
        let position = self.log.assigned();
        for (scope, state) in &self.scopes {
            if state.vector.iter().any(|(chain, _)| chain.author == *author) {
                let documents =
                    state.documents.keys().filter_map(|(kind, name)| document_in(scope, *kind, name).ok());
                self.rebuilds.extend(documents.map(|document| (document, position)));
            }
        }
    }

    /// Executes anew, from all their events, the documents that need it. One that cannot be executed
    /// stays as it was, and says so: it is no reason to stop.
    fn rebuild_documents(&mut self) -> Result<(), StoreError> {
        while let Some((document, position)) = self.rebuilds.pop_first() {
            let history = self.history(&document)?;
            let events = history.iter().map(|entry| (&*entry.event, entry.effect));
            match DocumentState::rebuild(events) {
                Ok(state) => self.project(&document, Arc::new(state), position),
                Err(error) => {
                    tracing::error!(%document, %error, "a document cannot be executed; it stays as it was");
                    match self.load(&document) {
                        Ok(state) => self.project(&document, state.unwrap_or_default(), position),
                        Err(StoreError::Damaged { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(())
    }

    /// Drops every projection and executes all documents anew from their events, which gives the same.
    /// Costs the whole log.
    pub fn rebuild_all(&mut self) -> Result<(), StoreError> {
        for (scope, state) in &self.scopes {
            for ((kind, name), entry) in &state.documents {
                if let Ok(document) = document_in(scope, *kind, name) {
                    self.rebuilds.insert(document, entry.version);
                }
            }
        }
        self.states.clear();
        self.rebuild_documents()
    }

    /// Makes `state` what is known of a document.
    fn project(&mut self, document: &Document, state: Arc<DocumentState>, position: u64) {
        let scope = document.scope();
        let deleted = state.is_deleted() || state.incarnation() == 0;
        let labels = Arc::new(read::labels(&state));
        let entry = DocumentEntry {
            version: position,
            deleted,
            conflicts: u32::try_from(state.conflicts().len()).unwrap_or(u32::MAX),
            labels: Arc::clone(&labels),
        };
        let key = (document.kind(), document.name().to_owned());
        let before = self.scopes.entry(scope).or_default().documents.insert(key, entry);
        if let Some(before) = &before {
            self.labels.remove(document, &before.labels);
        }
        if !deleted {
            self.labels.insert(document, &labels);
        }
        let is_new = before.is_none();
        let created = before.is_none_or(|before| before.deleted) && !deleted;
        self.staged_changes.push(Change { position, document: document.clone(), deleted, created });
        self.states.insert(document.clone(), state);
        self.dirty.note(document, position, is_new);
    }

    fn entry(&self, document: &Document) -> Option<&DocumentEntry> {
        let key = (document.kind(), document.name().to_owned());
        self.scopes.get(&document.scope())?.documents.get(&key)
    }

    /// The state of a document, from memory or from its record.
    fn load(&self, document: &Document) -> Result<Option<Arc<DocumentState>>, StoreError> {
        if let Some(state) = self.states.get(document) {
            return Ok(Some(Arc::clone(state)));
        }
        let Some(version) = self.entry(document).map(|entry| entry.version) else { return Ok(None) };
        match self.stored(document) {
            Ok(Some((stored, state))) if stored >= version => return Ok(Some(Arc::new(state))),
            Ok(_) | Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        // The record is lost, stale or damaged; the next scrub makes it anew.
        let history = self.history(document)?;
        match DocumentState::rebuild(history.iter().map(|entry| (&*entry.event, entry.effect))) {
            Ok(state) => Ok(Some(Arc::new(state))),
            Err(error) => {
                let reason =
                    format!("the record of {document} is lost, and so is what it is made of: {error}");
                Err(StoreError::Damaged { key: Some(document_key(document)), reason })
            }
        }
    }

    /// The record of a document: the position that it has executed, and its state.
    fn stored(&self, document: &Document) -> Result<Option<(u64, DocumentState)>, StoreError> {
        let bytes = self.log.store().get(&document_key(document))?;
        bytes.map(|bytes| decode_record(DOCUMENT_VERSION, &bytes)).transpose()
    }
}

/// Compares the fleet in the store's own record, which is made at first.
fn check_fleet<S: Store>(store: &mut S, config: &Config) -> Result<u64, OpenError> {
    match store.get(b"m")? {
        Some(bytes) => {
            let (fleet, tag): (FleetId, u64) = decode_record(1, &bytes)?;
            match fleet == config.fleet {
                true => Ok(tag),
                false => Err(OpenError::Fleet { found: fleet, expected: config.fleet }),
            }
        }
        None => {
            let random = blake3::hash(&config.boot.0);
            let tag = u64::from(u32::from_be_bytes([
                0,
                random.as_bytes()[0],
                random.as_bytes()[1],
                random.as_bytes()[2],
            ]));
            let mut batch = Batch::default();
            batch.put(b"m".to_vec(), encode_record(1, &(config.fleet, tag))?);
            store.apply(batch)?;
            store.flush()?;
            Ok(tag)
        }
    }
}

fn read_scope(key: &[u8], value: &[u8]) -> Result<(Scope, ScopeState), StoreError> {
    let name = key.get(1..).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default();
    Ok((name.parse().map_err(damaged_name)?, ScopeState::decode(value)?))
}

fn damaged_name(error: crate::name::NameError) -> StoreError {
    StoreError::Damaged { key: None, reason: error.to_string() }
}
