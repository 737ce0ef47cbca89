//! Automerge as the merge engine: changes built explicitly, one for each event.
//!
//! A transaction takes its start counter from everything that a document has seen, so it cannot
//! re-execute an event as its author did. Hence each change states its actor, sequence number, start
//! counter, dependencies and predecessors itself, and equal sets give equal documents in every order.
//! The bytes and the hashes stay in here; nothing produced by automerge is sent or stored.

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
    Delete { path: &'a str },
}

/// An automerge document whose root map holds the registers.
pub(super) struct Engine {
    document: Automerge,
    changes: Vec<Placed>,
    /// How many changes each actor made.
    actors: BTreeMap<[u8; ACTOR_BYTES], u64>,
}

/// A change in the document, known by its index.
struct Placed {
    hash: ChangeHash,
    /// The greatest operation counter among this change and all before it.
    counter: u64,
}

/// Length of an actor id.
pub(super) const ACTOR_BYTES: usize = 16;
const STAMP_BYTES: usize = 8 + EventId::BYTES;

impl Engine {
    pub(super) fn new() -> Self {
        Self { document: Automerge::new(), changes: Vec::new(), actors: BTreeMap::new() }
    }

    /// Adds a change that has seen `dependencies` (indices of changes) and returns its index. All
    /// changes of one actor have to descend from each other.
    pub(super) fn add(
        &mut self,
        actor: [u8; ACTOR_BYTES],
        dependencies: &[usize],
        writes: &[Write<'_>],
    ) -> Result<usize, AutomergeError> {
        let mut hashes: Vec<ChangeHash> =
            dependencies.iter().map(|index| self.changes[*index].hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        let seen = dependencies.iter().map(|index| self.changes[*index].counter).max().unwrap_or(0);
        let operations = self.operations(writes, &hashes)?;
        let counter = seen + operations.len() as u64;
        let seq = self.actors.entry(actor).or_default();
        *seq += 1;
        let change = Change::from(ExpandedChange {
            operations,
            actor_id: ActorId::from(actor),
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
        self.document.apply_changes([change])?;
        Ok(self.changes.len() - 1)
    }

    /// The values of every register, the winner first.
    pub(super) fn registers(&self) -> Result<BTreeMap<Arc<str>, Vec<Stamped>>, AutomergeError> {
        let mut registers = BTreeMap::new();
        for path in self.document.keys(automerge::ROOT) {
            let found = self.document.get_all(automerge::ROOT, path.as_str())?;
            let mut values: Vec<Stamped> = found.iter().map(|(value, _)| read_value(value)).collect();
            values.sort_unstable_by_key(|stamped| std::cmp::Reverse(stamped.stamp));
            registers.insert(path.into(), values);
        }
        Ok(registers)
    }

    fn operations(&self, writes: &[Write<'_>], seen: &[ChangeHash]) -> Result<Vec<Op>, AutomergeError> {
        let mut operations = Vec::with_capacity(writes.len());
        for write in writes {
            let (path, action) = match write {
                Write::Put { path, value, stamp } => (path, OpType::Put(written_value(value, stamp))),
                Write::Delete { path } => (path, OpType::Delete),
            };
            // Whatever the author saw of this register is superseded.
            let visible = match seen.is_empty() {
                true => Vec::new(),
                false => self.document.get_all_at(automerge::ROOT, *path, seen)?,
            };
            let superseded: Vec<OpId> = visible.into_iter().filter_map(|(_, id)| op_id(id)).collect();
            if action == OpType::Delete && superseded.is_empty() {
                continue;
            }
            operations.push(Op {
                action,
                obj: ObjectId::Root,
                key: Key::Map((*path).into()),
                pred: superseded.into(),
                insert: false,
            });
        }
        Ok(operations)
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
