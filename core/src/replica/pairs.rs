#![allow(clippy::unwrap_used)]
//! What happens when two people edit one document on two hubs that do not hear each other: a stated
//! outcome for every pair of kinds of edits, on every order of delivery. `docs/MERGING.md` tells it to
//! operators.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::tests::{document, fleet, same};
use super::*;
use crate::document::{Conflict, ConflictKind, DELETED_PATH, DocumentState, Stamped};
use crate::event::Operation;
use crate::name::Kind;
use crate::store::MemoryStore;
use crate::testing::{carry, open, put};

mod cases;

#[test]
fn every_pair_of_edits_has_its_outcome_in_every_order_of_delivery() {
    let cases = cases::all();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len(), "each has a name of its own");
    for case in &cases {
        for later in [Side::Left, Side::Right] {
            let expected = match (later, &case.if_left_is_later) {
                (Side::Left, Some(outcome)) => outcome,
                _ => &case.outcome,
            };
            Partition::play(case, later).check(expected);
        }
    }
}

#[test]
fn what_lost_stays_listed_until_somebody_who_saw_it_writes_or_acknowledges() {
    for case in cases::all().iter().filter(|case| !case.outcome.conflicts.is_empty()) {
        let [mut hub, mut other, _] = Partition::play(case, Side::Right).joined();
        let name = document(case.kind, NAME);
        let before = shown(&hub, case.kind);
        let paths: Vec<String> = conflicts(&hub, case.kind).into_iter().map(|found| found.path).collect();
        // One path at a time, on the one hub and the other in turn.
        for (done, path) in paths.iter().enumerate() {
            acknowledge(&mut hub, &name, vec![path.clone()]);
            assert_eq!(conflicts(&hub, case.kind).len(), paths.len() - done - 1, "{}: {path}", case.name);
            carry(&hub, &mut other);
            same(&hub, &other);
            std::mem::swap(&mut hub, &mut other);
        }
        assert_eq!(shown(&hub, case.kind), before, "{}: an acknowledgement changes nothing", case.name);
        let (position, nothing) = (hub.position(), vec![]);
        acknowledge(&mut hub, &name, nothing);
        assert_eq!(hub.position(), position, "{}: there is nothing left to confirm", case.name);
        // A write of the whole resource, by somebody who was shown it, confirms it as well.
        let [mut hub, ..] = Partition::play(case, Side::Right).joined();
        if let Some(view) = hub.get(&name).unwrap() {
            let whole = ChangeRequest::Replace(view.resource.as_ref().clone());
            hub.write(Write::new(name, whole, "eve", 9)).unwrap();
            assert!(conflicts(&hub, case.kind).is_empty(), "{}", case.name);
            assert_eq!(shown(&hub, case.kind), before, "{}", case.name);
        }
    }
}

#[test]
fn a_write_elsewhere_in_the_document_confirms_nothing() {
    for case in cases::all().iter().filter(|case| case.kind == Kind::Profile) {
        let [mut hub, ..] = Partition::play(case, Side::Right).joined();
        let before = conflicts(&hub, case.kind);
        if hub.get(&document(case.kind, NAME)).unwrap().is_some() {
            edit(
                &mut hub,
                case.kind,
                "eve",
                &Edit::Patch(json!({"metadata": {"annotations": {"eve": "1"}}})),
            );
            assert_eq!(conflicts(&hub, case.kind), before, "{}", case.name);
        }
    }
}

const NAME: &str = "store-base";

/// Two edits that were made without knowledge of each other, and what becomes of them.
struct Case {
    name: &'static str,
    kind: Kind,
    /// What both saw, as it was made; `None` if there was no document.
    base: Option<Value>,
    left: Vec<Edit>,
    right: Vec<Edit>,
    /// If the right one's stamp is the greater.
    outcome: Outcome,
    /// If the left one's is, where that makes a difference.
    if_left_is_later: Option<Outcome>,
}

/// What one person does.
#[derive(Debug, Clone)]
enum Edit {
    /// A merge patch of the resource.
    Patch(Value),
    /// The document as a whole.
    Delete,
    /// A new document of that name.
    Create(Value),
}

/// What everybody is shown in the end.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    /// What of the resource people wrote; null if it is deleted.
    shown: Value,
    /// The rows of `conflicts`, as [`row`] prints them.
    conflicts: Vec<&'static str>,
    /// Writes that are neither shown nor in `conflicts`, and stand in `history` alone.
    history_alone: Vec<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// Two hubs that have edited apart, and a third replica that has the base alone.
struct Partition<'c> {
    case: &'c Case,
    later: Side,
    left: Replica<MemoryStore>,
    right: Replica<MemoryStore>,
    third: Replica<MemoryStore>,
}

impl<'c> Partition<'c> {
    fn play(case: &'c Case, later: Side) -> Self {
        let (mut left, mut right, mut third) = fleet();
        if let Some(base) = &case.base {
            put(&mut left, case.kind, "acme", NAME, base.clone());
            left.commit().unwrap();
            carry(&left, &mut right);
        }
        carry(&left, &mut third);
        for (side, hub, by, edits) in
            [(Side::Left, &mut left, "ada", &case.left), (Side::Right, &mut right, "ben", &case.right)]
        {
            // A change of something else, taken back, makes the Lamport times of what follows greater.
            for annotations in [json!({"ahead": by}), Value::Null] {
                if side == later && case.base.is_some() {
                    let ahead = Edit::Patch(json!({"metadata": {"annotations": annotations}}));
                    edit(hub, case.kind, by, &ahead);
                }
            }
            edits.iter().for_each(|made| edit(hub, case.kind, by, made));
        }
        Self { case, later, left, right, third }
    }

    /// The hubs after they have exchanged everything, and the third replica.
    fn joined(mut self) -> [Replica<MemoryStore>; 3] {
        carry(&self.left, &mut self.right);
        carry(&self.right, &mut self.left);
        carry(&self.left, &mut self.third);
        [self.left, self.right, self.third]
    }

    /// Every order in which the two hubs' changes can reach a third replica, one at a time, and the
    /// hubs themselves.
    fn check(self, expected: &Outcome) {
        let (case, later) = (self.case, self.later);
        let scope = document(case.kind, NAME).scope();
        let after = self.third.vector(&scope);
        let records = |hub: &Replica<MemoryStore>| -> Vec<Arc<[u8]>> {
            let from = hub.start_for(&scope, &after).unwrap();
            hub.log(&scope, from, usize::MAX).unwrap().entries.into_iter().map(|entry| entry.bytes).collect()
        };
        let (left, right) = (records(&self.left), records(&self.right));
        let third_store = || self.third.store().fork();
        let third: Vec<Replica<MemoryStore>> = interleavings(&left, &right)
            .into_iter()
            .zip(100..)
            .map(|(order, boot)| {
                let mut third = open(third_store(), 3, boot);
                for record in order {
                    let merged = third.merge(&[record]).unwrap();
                    assert!(merged.wanted.is_empty() && merged.refused.is_empty(), "{merged:?}");
                    third.commit().unwrap();
                }
                third
            })
            .collect();
        let [left, right, last] = self.joined();
        for other in third.iter().chain([&right, &last]) {
            same(&left, other);
        }
        assert_eq!(&outcome(&left, case), expected, "{}, {later:?} later", case.name);
    }
}

/// Every way to merge two sequences that keeps the order of each.
fn interleavings<'r>(left: &'r [Arc<[u8]>], right: &'r [Arc<[u8]>]) -> Vec<Vec<&'r Arc<[u8]>>> {
    let with = |first: &'r Arc<[u8]>, rest: Vec<Vec<&'r Arc<[u8]>>>| {
        rest.into_iter().map(move |order| [vec![first], order].concat())
    };
    match (left, right) {
        ([], rest) | (rest, []) => vec![rest.iter().collect()],
        ([first, left_rest @ ..], [second, right_rest @ ..]) => with(first, interleavings(left_rest, right))
            .chain(with(second, interleavings(left, right_rest)))
            .collect(),
    }
}

/// One edit, durable, as an event of its own.
fn edit(hub: &mut Replica<MemoryStore>, kind: Kind, by: &str, made: &Edit) {
    let change = match made {
        Edit::Patch(patch) => ChangeRequest::MergePatch(patch.clone()),
        Edit::Delete => ChangeRequest::Delete,
        Edit::Create(resource) => ChangeRequest::Create(resource.clone()),
    };
    hub.write(Write::new(document(kind, NAME), change, by, 7)).unwrap();
    hub.commit().unwrap();
}

fn acknowledge(hub: &mut Replica<MemoryStore>, name: &Document, paths: Vec<String>) {
    hub.write(Write::new(name.clone(), ChangeRequest::Acknowledge(paths), "eve", 8)).unwrap();
    hub.commit().unwrap();
}

fn conflicts(hub: &Replica<MemoryStore>, kind: Kind) -> Vec<Conflict> {
    hub.state(&document(kind, NAME)).unwrap().map(|state| state.conflicts()).unwrap_or_default()
}

/// What people wrote of the resource, the fields that every profile needs left out.
fn shown(hub: &Replica<MemoryStore>, kind: Kind) -> Value {
    let Some(view) = hub.get(&document(kind, NAME)).unwrap() else { return Value::Null };
    let mut shown = view.resource["spec"].clone();
    if kind == Kind::Profile {
        shown = json!({"values": shown["values"]});
    }
    let labels = &view.resource["metadata"]["labels"];
    if !labels.is_null() {
        shown["labels"] = labels.clone();
    }
    shown
}

fn outcome(hub: &Replica<MemoryStore>, case: &Case) -> Outcome {
    let rows = conflicts(hub, case.kind);
    let state = hub.state(&document(case.kind, NAME)).unwrap().unwrap();
    let leak = |row: String| -> &'static str { row.leak() };
    Outcome {
        shown: shown(hub, case.kind),
        conflicts: rows.iter().map(|found| leak(row(&state, found))).collect(),
        history_alone: unlisted(hub, case, &state, &rows).into_iter().map(leak).collect(),
    }
}

/// `path kind: winner by whom, over loser by whom, …`; each with its author and time, or this fails.
fn row(state: &DocumentState, conflict: &Conflict) -> String {
    let by = |id: &crate::ids::EventId| {
        let origin = state.origin(id).expect("who wrote it is known of everything in a conflict");
        assert!(origin.time_ms > 0);
        origin.by.to_string()
    };
    let value = |stamped: &Stamped| format!("{} by {}", stamped.value, by(&stamped.stamp.id));
    let lost = conflict.losers.iter().map(value);
    let lost = lost.chain(conflict.removals.iter().map(|stamp| format!("removal by {}", by(&stamp.id))));
    let kind = match conflict.kind {
        ConflictKind::Concurrent => "",
        ConflictKind::Shadowed => " below",
        ConflictKind::DeletedUnder => " deleted",
    };
    let won = value(&conflict.winner);
    format!("{}{kind}: {won} over {}", conflict.path, lost.collect::<Vec<_>>().join(", "))
}

/// Writes of the two people that are neither shown nor in a row. All of them have to be in the history.
fn unlisted(
    hub: &Replica<MemoryStore>,
    case: &Case,
    state: &DocumentState,
    rows: &[Conflict],
) -> Vec<String> {
    let history = hub.history(&document(case.kind, NAME)).unwrap();
    let mut last: BTreeMap<(&str, &str), (&HistoryEntry, &Operation)> = BTreeMap::new();
    for entry in history.iter().filter(|entry| entry.event.header().by != "tester") {
        assert_eq!(entry.effect, Effect::Effective);
        // What the same person wrote again was seen by whoever wrote it.
        for operation in entry.event.operations() {
            last.insert((&entry.event.header().by, operation.path()), (entry, operation));
        }
    }
    let edits = history.iter().filter(|entry| entry.event.header().by != "tester").count();
    assert!(edits >= case.left.len() + case.right.len(), "{}: an edit is in no history", case.name);
    let mut unlisted: Vec<String> = vec![];
    for ((by, path), (entry, operation)) in last {
        let id = entry.event.id();
        let is_over = entry.event.header().incarnation < state.incarnation();
        let row = rows.iter().find(|conflict| conflict.path == path);
        let is_listed = row.is_some_and(|row| {
            row.losers.iter().any(|loser| loser.stamp.id == id)
                || row.removals.iter().any(|lost| lost.id == id)
        });
        let values = state.values(path);
        let is_hidden = row.is_some_and(|row| row.kind != ConflictKind::Concurrent);
        let stands = match operation {
            _ if path == DELETED_PATH => true,
            Operation::Put { value, .. } => {
                !is_over && values.first().is_some_and(|winner| winner.value == *value)
            }
            _ => is_over || values.is_empty() || is_hidden,
        };
        if !stands && !is_listed {
            let what = match operation {
                Operation::Put { value, .. } => format!("{path} = {value} by {by}"),
                _ => format!("removal of {path} by {by}"),
            };
            unlisted.push(what);
        }
    }
    unlisted
}
