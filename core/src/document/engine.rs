//! Automerge as the merge engine: changes built explicitly, one for each event.
//!
//! A transaction takes its start counter from everything that a document has seen, so it cannot
//! re-execute an event as its author did. Hence each change states its actor, sequence number, start
//! counter, dependencies and predecessors itself, and equal sets give equal documents in every order.
//! The bytes and the hashes stay in here; nothing produced by automerge is sent or stored.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use automerge::legacy::{Key, ObjectId, Op, OpId, OpType};
use automerge::{ActorId, Automerge, AutomergeError, Change, ChangeHash, ExpandedChange, ObjId};
use automerge::{ReadDoc, ScalarValue, Value};

use super::{Stamp, Stamped};
use crate::ids::EventId;

/// One write of a change.
pub(super) enum Write<'a> {
    Put { path: &'a str, value: &'a str, stamp: Stamp },
    Delete { path: &'a str, stamp: Stamp },
}

/// What stands in the registers, by path.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// The winner first, never empty.
    pub(super) values: BTreeMap<Arc<str>, Vec<Stamped>>,
    /// Removals beside a value that they have not seen, the greatest first, never empty.
    pub(super) removals: BTreeMap<Arc<str>, Vec<Stamp>>,
}

/// An automerge document whose root map holds the registers.
///
/// A run, changes that each depend on the one before and on nothing else, is applied at once: what
/// its changes see is what was visible where it began, and what they wrote themselves.
pub(super) struct Engine {
    document: Automerge,
    changes: Vec<Placed>,
    /// How many changes each actor made.
    actors: BTreeMap<[u8; ACTOR_BYTES], u64>,
    /// Changes of the run that are not in the document yet.
    pending: Vec<Change>,
    run: Run,
}

/// The run that the last change belongs to.
#[derive(Default)]
struct Run {
    /// What its first change had seen; all of it is in the document.
    base: Vec<ChangeHash>,
    /// The registers that it wrote, with what is visible of them now.
    written: BTreeMap<String, OpId>,
}

/// A change, known by its index.
struct Placed {
    hash: ChangeHash,
    /// The greatest operation counter among this change and all before it.
    counter: u64,
}

/// Length of an actor id.
pub(super) const ACTOR_BYTES: usize = 16;
const STAMP_BYTES: usize = 8 + EventId::BYTES;
/// Stands for a removal, which is kept as a value so that one that lost can be told; no JSON text is empty.
const REMOVED: &str = "";

impl Engine {
    pub(super) fn new() -> Self {
        Self {
            document: Automerge::new(),
            changes: Vec::new(),
            actors: BTreeMap::new(),
            pending: Vec::new(),
            run: Run::default(),
        }
    }

    /// Adds a change that has seen `dependencies` (indices of changes) and returns its index. All
    /// changes of one actor have to descend from each other. Runs are cheapest in one piece.
    pub(super) fn add(
        &mut self,
        actor: [u8; ACTOR_BYTES],
        dependencies: &[usize],
        writes: &[Write<'_>],
    ) -> Result<usize, AutomergeError> {
        let index = self.changes.len();
        let continues = index > 0 && dependencies == [index - 1];
        let mut hashes: Vec<ChangeHash> = dependencies.iter().map(|seen| self.changes[*seen].hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        if !continues {
            if !hashes.is_empty() {
                self.flush()?;
            }
            self.run = Run { base: hashes.clone(), written: BTreeMap::new() };
        }
        let seen = dependencies.iter().map(|index| self.changes[*index].counter).max().unwrap_or(0);
        let actor_id = ActorId::from(actor);
        let operations = self.operations(writes, seen, &actor_id)?;
        let counter = seen + operations.len() as u64;
        let seq = self.actors.entry(actor).or_default();
        *seq += 1;
        let change = Change::from(ExpandedChange {
            operations,
            actor_id,
            hash: None,
            seq: *seq,
            start_op: NonZeroU64::MIN.saturating_add(seen),
            time: 0,
            message: None,
            deps: hashes,
            extra_bytes: Vec::new(),
            author: None,
        });
        self.changes.push(Placed { hash: change.hash(), counter });
        self.pending.push(change);
        Ok(index)
    }

    /// What stands in every register that has a value. Where all that stands are removals, there is none.
    pub(super) fn standing(&mut self) -> Result<Standing, AutomergeError> {
        self.flush()?;
        let mut standing = Standing::default();
        for path in self.document.keys(automerge::ROOT) {
            let found = self.document.get_all(automerge::ROOT, path.as_str())?;
            let found = found.iter().map(|(value, _)| read_value(value));
            let (removals, mut values): (Vec<Stamped>, Vec<Stamped>) =
                found.partition(|stamped| *stamped.value == *REMOVED);
            if values.is_empty() {
                continue;
            }
            let path: Arc<str> = path.into();
            values.sort_unstable_by_key(|stamped| Reverse(stamped.stamp));
            standing.values.insert(Arc::clone(&path), values);
            let mut removals: Vec<Stamp> = removals.into_iter().map(|removal| removal.stamp).collect();
            removals.sort_unstable_by_key(|stamp| Reverse(*stamp));
            if !removals.is_empty() {
                standing.removals.insert(path, removals);
            }
        }
        Ok(standing)
    }

    fn flush(&mut self) -> Result<(), AutomergeError> {
        match self.pending.is_empty() {
            true => Ok(()),
            false => self.document.apply_changes(std::mem::take(&mut self.pending)),
        }
    }

    /// The operations of a change of the current run, counted from `seen` on.
    fn operations(
        &mut self,
        writes: &[Write<'_>],
        seen: u64,
        actor: &ActorId,
    ) -> Result<Vec<Op>, AutomergeError> {
        let mut operations = Vec::with_capacity(writes.len());
        for write in writes {
            let (path, value, stamp) = match write {
                Write::Put { path, value, stamp } => (*path, *value, stamp),
                Write::Delete { path, stamp } => (*path, REMOVED, stamp),
            };
            // Whatever the author saw of this register is superseded.
            let pred = self.visible(path)?.into();
            let action = OpType::Put(written_value(value, stamp));
            operations.push(Op {
                action,
                obj: ObjectId::Root,
                key: Key::Map(path.into()),
                pred,
                insert: false,
            });
            let own = OpId(seen + operations.len() as u64, actor.clone());
            self.run.written.insert(path.to_owned(), own);
        }
        Ok(operations)
    }

    /// The operations whose values the next change of the run sees in a register.
    fn visible(&self, path: &str) -> Result<Vec<OpId>, AutomergeError> {
        if let Some(own) = self.run.written.get(path) {
            return Ok(vec![own.clone()]);
        }
        match self.run.base.as_slice() {
            [] => Ok(Vec::new()),
            base => {
                let visible = self.document.get_all_at(automerge::ROOT, path, base)?;
                Ok(visible.into_iter().filter_map(|(_, id)| op_id(id)).collect())
            }
        }
    }
}

fn op_id(id: ObjId) -> Option<OpId> {
    match id {
        ObjId::Id(counter, actor, _) => Some(OpId(counter, actor)),
        ObjId::Root => None,
    }
}

/// The stamp in front of the JSON text, so that a value is never without its provenance.
fn written_value(value: &str, stamp: &Stamp) -> ScalarValue {
    let mut bytes = Vec::with_capacity(STAMP_BYTES + value.len());
    bytes.extend_from_slice(&stamp.lamport.to_be_bytes());
    bytes.extend_from_slice(&stamp.id.0);
    bytes.extend_from_slice(value.as_bytes());
    ScalarValue::Bytes(bytes)
}

fn read_value(value: &Value<'_>) -> Stamped {
    let parts = value.as_bytes().and_then(|bytes| {
        let (lamport, rest) = bytes.split_first_chunk::<8>()?;
        let (id, text) = rest.split_first_chunk::<{ EventId::BYTES }>()?;
        let stamp = Stamp { lamport: u64::from_be_bytes(*lamport), id: EventId(*id) };
        Some(Stamped { value: std::str::from_utf8(text).ok()?.into(), stamp })
    });
    parts.expect("every value in the document was written by written_value")
}
