//! Writing: from a wanted resource to an event of this node.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::Replica;
use super::read::View;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::document::{DELETED_PATH, DocumentState, Effect};
use crate::event::{
    ChainId, DEPENDENCIES_MAX, EVENT_BYTES_MAX, EXTENSION_CHECKPOINT, Event, Header, LAMPORT_MAX,
    NOTE_BYTES_MAX, OPERATIONS_MAX, Operation, SCHEMA_VERSION,
};
use crate::group::{GROUP_EVENTS_MAX, Group, Record};
use crate::ids::{Author, EventId};
use crate::log::Entry;
use crate::name::{Document, Scope};
use crate::schema::{self, FieldError};
use crate::store::{Store, StoreError};
use crate::vector::Head;
use crate::view::{self, FlattenError, difference};

/// A group is closed before its events' operations exceed this many bytes.
const OPEN_GROUP_BYTES_MAX: usize = 64 * 1024;

/// One change that a person or a program asks for.
#[derive(Debug, Clone)]
pub struct Write {
    /// Which document.
    pub document: Document,
    /// What is to become of it.
    pub change: ChangeRequest,
    /// On whose behalf.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
    /// The clock, in milliseconds since 1970.
    pub time_ms: u64,
    /// What has to hold for the change to be made.
    pub precondition: Precondition,
    /// Which of this replica's keys writes; the node's own unless given.
    pub author: Option<Author>,
}

impl Write {
    /// A change without precondition or reason, by the node's own key.
    pub fn new(document: Document, change: ChangeRequest, by: &str, time_ms: u64) -> Self {
        let (by, reason) = (by.to_owned(), String::new());
        Self { document, change, by, reason, time_ms, precondition: Precondition::None, author: None }
    }

    /// The same with a reason.
    pub fn because(mut self, reason: &str) -> Self {
        self.reason = reason.to_owned();
        self
    }
}

/// What is to become of a document. Resources are whole, with `metadata` and `spec` (and `status` for
/// kinds that a site writes).
#[derive(Debug, Clone)]
pub enum ChangeRequest {
    /// Makes it; refused if it exists.
    Create(Value),
    /// Makes it equal to the resource; refused if it does not exist.
    Replace(Value),
    /// Makes it equal to the resource, whether it exists or not.
    Put(Value),
    /// Applies an RFC 7396 merge patch; refused if it does not exist.
    MergePatch(Value),
    /// Removes it; refused if it does not exist.
    Delete,
    /// Confirms the current values of these paths (pointers), or of all, which clears their conflicts.
    Acknowledge(Vec<String>),
}

/// What has to hold for a change to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    None,
    /// The document is at this version.
    Version(u64),
}

/// What a write did.
#[derive(Debug, Clone)]
pub struct Written {
    /// The event, or `None` if there was nothing to change.
    pub event: Option<EventId>,
    /// The document afterwards; `None` if it is deleted.
    pub view: Option<View>,
}

/// Why a write was not made. State unchanged, in every case.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is no such document.
    #[error("{0} does not exist")]
    NotFound(Document),
    /// There is one already.
    #[error("{0} exists already")]
    AlreadyExists(Document),
    /// Somebody was faster.
    #[error("{document} is at version {found}, not at {expected}; read it again and repeat the change")]
    VersionMismatch {
        /// Which document.
        document: Document,
        /// The version asked for.
        expected: u64,
        /// The version it has.
        found: u64,
    },
    /// The author's enrolment does not allow it.
    #[error("this node may not write {0}")]
    Forbidden(Document),
    /// The resource is not what its kind allows.
    #[error("{document} is invalid: {}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid {
        /// Which document.
        document: Document,
        /// What is wrong, field by field.
        errors: Vec<FieldError>,
    },
    /// A register breaks a limit.
    #[error(transparent)]
    Flatten(#[from] FlattenError),
    /// The change is too large for one event.
    #[error("this change has {found} {what}; one change may have {limit}; make it in several steps")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// How many there are.
        found: usize,
    },
    /// Somebody who may write the document drove its Lamport time to the limit.
    #[error("{0} has reached the largest Lamport time: delete it and revoke the key that did this")]
    Exhausted(Document),
    /// None of this replica's keys.
    #[error("this node does not hold the key {0:?}")]
    UnknownAuthor(Author),
    /// The document is too large for a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Events of this node that will share a signature.
#[derive(Debug)]
pub(super) struct OpenGroup {
    pub(super) scope: Scope,
    /// Position of the first event.
    pub(super) first: u64,
    pub(super) events: Vec<Arc<Event>>,
    author: usize,
    bytes: usize,
}

impl<S: Store> Replica<S> {
    /// Makes a change as a new event, staged until [`Replica::commit`].
    ///
    /// The resource is validated as its kind's schema says. A change that changes nothing writes
    /// nothing.
    pub fn write(&mut self, write: Write) -> Result<Written, WriteError> {
        if self.poisoned {
            return Err(StoreError::Poisoned.into());
        }
        let author = self.author_index(write.author)?;
        let document = &write.document;
        if !self.authority.allows(&self.chain(author).author, document) {
            return Err(WriteError::Forbidden(document.clone()));
        }
        let version = self.entry(document).map_or(0, |entry| entry.version);
        if let Precondition::Version(expected) = write.precondition
            && expected != version
        {
            return Err(WriteError::VersionMismatch { document: document.clone(), expected, found: version });
        }
        let state = self.load(document)?.unwrap_or_default();
        let exists = state.incarnation() > 0 && !state.is_deleted();
        let operations = operations(document, &state, exists, &write.change)?;
        let acknowledges = matches!(write.change, ChangeRequest::Acknowledge(_));
        if operations.is_empty() && (exists || acknowledges) {
            return Ok(Written { event: None, view: self.get(document)? });
        }
        let again = !exists && state.incarnation() > 0 && !acknowledges;
        let incarnation = if again { state.incarnation() + 1 } else { state.incarnation().max(1) };
        let draft = Draft { incarnation, operations, extensions: BTreeMap::new() };
        let event = self.append(author, &write, state, draft)?;
        Ok(Written { event: Some(event), view: self.get(document)? })
    }

    /// Writes a checkpoint of a document that this site writes: its whole state as one event, after
    /// which the events that it covers are dropped everywhere. `None` if the document does not exist.
    pub fn checkpoint(&mut self, document: &Document, time_ms: u64) -> Result<Option<EventId>, WriteError> {
        if !document.is_site_written() {
            return Err(WriteError::Forbidden(document.clone()));
        }
        let author = self.author_index(None)?;
        let state = self.load(document)?.unwrap_or_default();
        if state.incarnation() == 0 {
            return Ok(None);
        }
        let payload = Checkpoint::of(&state)?.encode()?;
        let write = Write::new(document.clone(), ChangeRequest::Acknowledge(vec![]), "checkpoint", time_ms);
        let extensions = [(EXTENSION_CHECKPOINT, payload)].into_iter().collect();
        let draft = Draft { incarnation: state.incarnation(), operations: vec![], extensions };
        self.append(author, &write, state, draft).map(Some)
    }

    fn author_index(&self, author: Option<Author>) -> Result<usize, WriteError> {
        let Some(author) = author else { return Ok(0) };
        let index = (0..self.authors.len()).find(|index| self.chain(*index).author == author);
        index.ok_or(WriteError::UnknownAuthor(author))
    }

    fn chain(&self, author: usize) -> ChainId {
        let (key, boot) = &self.authors[author];
        ChainId { author: Author(key.verifying_key().to_bytes()), boot: *boot }
    }

    /// Adds an event of this node's to the set.
    fn append(
        &mut self,
        author: usize,
        write: &Write,
        state: Arc<DocumentState>,
        draft: Draft,
    ) -> Result<EventId, WriteError> {
        check_sizes(write, &draft)?;
        if state.next_lamport() > LAMPORT_MAX {
            return Err(WriteError::Exhausted(write.document.clone()));
        }
        let scope = write.document.scope();
        let chain = self.chain(author);
        let (previous, succeeds) = self.link(&scope, &chain);
        let (dependencies, lamport) = self.causes(&write.document, &state)?;
        let header = Header {
            schema: SCHEMA_VERSION,
            fleet: self.fleet,
            document: write.document.clone(),
            incarnation: draft.incarnation,
            chain,
            author_seq: self.scopes.get(&scope).map_or(0, |state| state.vector.seq(&chain)) + 1,
            previous,
            succeeds,
            dependencies,
            lamport,
            time_ms: time_above(write.time_ms, &state),
            by: write.by.clone(),
            reason: write.reason.clone(),
            extensions: draft.extensions,
        };
        drop(state);
        let event = Arc::new(Event::new(header, draft.operations));
        let bytes = event.encoded_operations().len();
        if bytes > EVENT_BYTES_MAX {
            let (what, limit) = ("bytes of operations", EVENT_BYTES_MAX);
            return Err(WriteError::TooLarge { what, limit, found: bytes });
        }
        let position = self.stage_own(author, &scope, &event, bytes);
        let head = Head { seq: event.header().author_seq, id: event.id() };
        self.scopes.entry(scope.clone()).or_default().vector.advance(chain, head);
        self.staged_scopes.insert(scope);
        self.execute(&event, position)?;
        self.rebuild_documents()?;
        Ok(event.id())
    }

    /// What the next event of a document builds on, and its Lamport time: all heads, unless others made more
    /// than an event can name. Then those count first that have an effect; what is left out stays a head.
    fn causes(&self, document: &Document, state: &DocumentState) -> Result<(Vec<EventId>, u64), StoreError> {
        if state.heads().len() <= DEPENDENCIES_MAX {
            return Ok((state.heads().to_vec(), state.next_lamport()));
        }
        let history = self.history(document)?;
        let heads = history.iter().filter(|row| state.heads().binary_search(&row.event.id()).is_ok());
        let mut heads: Vec<_> = heads
            .map(|row| (row.effect != Effect::Effective, Reverse(row.event.header().lamport), row.event.id()))
            .collect();
        heads.sort_unstable();
        heads.truncate(DEPENDENCIES_MAX);
        let lamport = heads.iter().map(|(_, lamport, _)| lamport.0).max().unwrap_or(0) + 1;
        let mut causes: Vec<EventId> = heads.into_iter().map(|(_, _, id)| id).collect();
        causes.sort_unstable();
        Ok((causes, lamport))
    }

    /// The event before the next one of a chain, and for the first of a boot, the boot before.
    fn link(&self, scope: &Scope, chain: &ChainId) -> (Option<EventId>, Option<(crate::ids::Boot, u64)>) {
        let Some(state) = self.scopes.get(scope) else { return (None, None) };
        if let Some(head) = state.vector.head(chain) {
            return (Some(head.id), None);
        }
        let earlier = state.vector.iter().filter(|(other, _)| other.author == chain.author);
        // Of several boots before, the one whose last event entered here last is the one that was
        // left; without an index by id, the longest chain stands in for it.
        match earlier.max_by_key(|(_, head)| head.seq) {
            Some((other, head)) => (Some(head.id), Some((other.boot, head.seq))),
            None => (None, None),
        }
    }

    /// Adds an event to the open group, closing the one before where it does not fit.
    fn stage_own(&mut self, author: usize, scope: &Scope, event: &Arc<Event>, bytes: usize) -> u64 {
        let fits = self.open_group.as_ref().is_some_and(|group| {
            group.author == author
                && group.scope == *scope
                && group.events.len() < GROUP_EVENTS_MAX
                && group.bytes + bytes <= OPEN_GROUP_BYTES_MAX
        });
        if !fits {
            self.close_group();
        }
        let position = self.log.assign(1);
        let scope = scope.clone();
        let group = self.open_group.get_or_insert_with(|| OpenGroup {
            scope,
            first: position,
            events: vec![],
            author,
            bytes: 0,
        });
        group.events.push(Arc::clone(event));
        group.bytes += bytes;
        position
    }

    /// Signs the open group and stages it.
    pub(super) fn close_group(&mut self) {
        let Some(group) = self.open_group.take() else { return };
        let places = group.events.len() as u64;
        let record = Record::Group(Group::sign(&self.authors[group.author].0, group.events));
        let entry = Entry::new(group.first, places, record.encode().into());
        self.log.stage(group.scope, entry.expect("a record that was just encoded has a chain and a place"));
    }
}

/// What a new event carries.
struct Draft {
    incarnation: u32,
    operations: Vec<Operation>,
    extensions: BTreeMap<u32, Vec<u8>>,
}

/// The clock, raised above the last event that is known of the document.
fn time_above(time_ms: u64, state: &DocumentState) -> u64 {
    let last = state.last().and_then(|last| state.origin(&last.id));
    last.map_or(time_ms, |origin| time_ms.max(origin.time_ms))
}

fn check_sizes(write: &Write, draft: &Draft) -> Result<(), WriteError> {
    let too_large = |what, limit, found| Err(WriteError::TooLarge { what, limit, found });
    let note = write.by.len().max(write.reason.len());
    match draft.operations.len() {
        count if count > OPERATIONS_MAX => too_large("changed values", OPERATIONS_MAX, count),
        _ if note > NOTE_BYTES_MAX => too_large("bytes of author or reason", NOTE_BYTES_MAX, note),
        _ => Ok(()),
    }
}

/// The operations that make a change, none if there is nothing to do.
fn operations(
    document: &Document,
    state: &DocumentState,
    exists: bool,
    change: &ChangeRequest,
) -> Result<Vec<Operation>, WriteError> {
    let not_found = || Err(WriteError::NotFound(document.clone()));
    let put = |resource: &Value| -> Result<Vec<Operation>, WriteError> {
        let wanted = validated(document, resource)?;
        // A document that is created anew starts from nothing, whatever was there.
        let fresh = DocumentState::default();
        Ok(difference(if exists { state } else { &fresh }, &wanted))
    };
    match change {
        ChangeRequest::Create(_) if exists => Err(WriteError::AlreadyExists(document.clone())),
        ChangeRequest::Replace(_) | ChangeRequest::MergePatch(_) | ChangeRequest::Delete if !exists => {
            not_found()
        }
        ChangeRequest::Acknowledge(_) if state.incarnation() == 0 => not_found(),
        ChangeRequest::Create(resource) | ChangeRequest::Replace(resource) | ChangeRequest::Put(resource) => {
            put(resource)
        }
        ChangeRequest::MergePatch(patch) => patched(document, state, patch),
        ChangeRequest::Delete => Ok(delete(state)),
        // Winners are put again and what they hide is deleted, by somebody who has seen what lost.
        ChangeRequest::Acknowledge(paths) => {
            let mut operations = match exists {
                true => difference(state, &view::flatten(&view::resource(document, state))?),
                false => forget(state),
            };
            operations
                .retain(|operation| paths.is_empty() || paths.iter().any(|path| path == operation.path()));
            Ok(operations)
        }
    }
}

/// The registers of a resource that its kind allows.
fn validated(document: &Document, resource: &Value) -> Result<BTreeMap<String, Arc<str>>, WriteError> {
    schema::validate_named(document.kind().name(), document.name(), resource)
        .map_err(|errors| WriteError::Invalid { document: document.clone(), errors })?;
    Ok(view::flatten(resource)?)
}

/// What a merge patch changes, and what it names: other conflicts of the document stay listed.
fn patched(document: &Document, state: &DocumentState, patch: &Value) -> Result<Vec<Operation>, WriteError> {
    let current = view::resource(document, state);
    let mut resource = current.clone();
    merge_patch(&mut resource, patch);
    let wanted = validated(document, &resource)?;
    let before = view::flatten(&current)?;
    let mut operations = difference(state, &wanted);
    operations.retain(|operation| {
        let path = operation.path();
        before.get(path) != wanted.get(path) || names(patch, path)
    });
    Ok(operations)
}

/// Whether a merge patch gives a value to the register at `path`.
fn names(patch: &Value, path: &str) -> bool {
    let keys = path.split('/').skip(1).map(|key| key.replace("~1", "/").replace("~0", "~"));
    let mut at = patch;
    for key in keys {
        match at.get(&key) {
            Some(value) => at = value,
            None => return false,
        }
    }
    !at.is_object() || at.as_object().is_some_and(serde_json::Map::is_empty)
}

/// Deletes the document as a whole and every register that is seen.
fn delete(state: &DocumentState) -> Vec<Operation> {
    let whole = Operation::Put { path: DELETED_PATH.to_owned(), value: "true".into() };
    std::iter::once(whole).chain(forget(state)).collect()
}

/// Deletes every register that is seen, so that what was written under a deletion is confirmed as gone.
fn forget(state: &DocumentState) -> Vec<Operation> {
    let registers = state.registers().map(|(path, _)| path).filter(|path| *path != DELETED_PATH);
    registers.map(|path| Operation::Delete { path: path.to_owned() }).collect()
}

/// Applies an RFC 7396 merge patch.
pub fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.remove(key);
            }
            value => merge_patch(target.entry(key.clone()).or_insert(Value::Null), value),
        }
    }
}
