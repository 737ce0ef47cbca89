#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

mod odd_events;

use super::*;
use crate::name::Kind;
use crate::store::{Faults, MemoryStore, Operation, OperationLog, RecordingStore};
use crate::testing::{author, carry, enrolled, open, put};

const HUB_A: u16 = 1;
const HUB_B: u16 = 2;
const EDGE: u16 = 3;

/// Two hubs and an edge of one site, all holding the enrolments.
pub(super) fn fleet() -> (Replica<MemoryStore>, Replica<MemoryStore>, Replica<MemoryStore>) {
    let authority = enrolled(&[("hub-a", HUB_A), ("hub-b", HUB_B)], &[("acme", "store-17", EDGE)]);
    let mut nodes = [HUB_A, HUB_B, EDGE].map(|number| open(MemoryStore::new(), number, u64::from(number)));
    nodes.iter_mut().for_each(|node| {
        carry(&authority, node);
    });
    nodes.into()
}

fn profile() -> Value {
    json!({"spec": {"priority": 100, "selector": {"matchAll": true}, "values": {"pos": {"replicas": 2}}}})
}

pub(super) fn document(kind: Kind, name: &str) -> Document {
    Document::new(kind, "acme", name).unwrap()
}

fn patch<S: Store>(node: &mut Replica<S>, name: &str, patch: Value) {
    let document = document(Kind::Profile, name);
    node.write(Write::new(document, ChangeRequest::MergePatch(patch), "ann", 1)).unwrap();
    node.commit().unwrap();
}

fn value<S: Store>(node: &Replica<S>, name: &str, pointer: &str) -> Value {
    let view = node.get(&document(Kind::Profile, name)).unwrap().unwrap();
    view.resource.pointer(pointer).cloned().unwrap_or(Value::Null)
}

pub(super) fn same<A: Store, B: Store>(a: &Replica<A>, b: &Replica<B>) {
    assert_eq!(a.scopes().collect::<Vec<_>>(), b.scopes().collect::<Vec<_>>());
    for scope in a.scopes() {
        assert_eq!(a.digest(scope), b.digest(scope), "{scope}");
    }
    for (scope, state) in &a.scopes {
        for (kind, name) in state.documents.keys() {
            let document = document_in(scope, *kind, name).unwrap();
            assert_eq!(a.state(&document).unwrap(), b.state(&document).unwrap(), "{document}");
        }
    }
}

#[test]
fn what_one_hub_writes_the_other_and_the_edge_hold() {
    let (mut a, mut b, mut edge) = fleet();
    put(&mut a, Kind::Profile, "acme", "store-base", profile());
    assert!(a.get(&document(Kind::Profile, "store-base")).unwrap().is_some());
    assert_eq!(a.vector(&document(Kind::Profile, "store-base").scope()).events(), 0, "staged is not shown");
    a.commit().unwrap();
    carry(&a, &mut b);
    carry(&b, &mut edge);
    assert_eq!(value(&edge, "store-base", "/spec/values/pos/replicas"), json!(2));
    same(&a, &b);
    same(&b, &edge);
    assert_eq!(carry(&a, &mut b).accepted, 0);
}

#[test]
fn partitioned_hubs_keep_both_fields_and_list_the_loser_of_one() {
    let (mut a, mut b, _) = fleet();
    put(&mut a, Kind::Profile, "acme", "store-base", profile());
    a.commit().unwrap();
    carry(&a, &mut b);
    patch(&mut a, "store-base", json!({"spec": {"values": {"pos": {"replicas": 3}, "dns": "x"}}}));
    patch(&mut b, "store-base", json!({"spec": {"values": {"pos": {"replicas": 4}, "net": "y"}}}));
    carry(&a, &mut b);
    carry(&b, &mut a);
    same(&a, &b);
    assert_eq!(value(&a, "store-base", "/spec/values/dns"), json!("x"));
    assert_eq!(value(&a, "store-base", "/spec/values/net"), json!("y"));
    let conflicts = a.state(&document(Kind::Profile, "store-base")).unwrap().unwrap().conflicts();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].path, "/spec/values/pos/replicas");
    assert_eq!(a.conflicted(), [document(Kind::Profile, "store-base")]);
    patch(&mut a, "store-base", json!({"spec": {"values": {"unrelated": 1}}}));
    assert_eq!(a.conflicted().len(), 1, "a patch elsewhere confirms nothing");
    let acknowledge = ChangeRequest::Acknowledge(vec![]);
    a.write(Write::new(document(Kind::Profile, "store-base"), acknowledge, "ann", 2)).unwrap();
    a.commit().unwrap();
    carry(&a, &mut b);
    assert!(b.conflicted().is_empty());
    same(&a, &b);
}

#[test]
fn a_replica_reopens_into_its_state_settled_or_not() {
    let (mut a, mut b, _) = fleet();
    for round in 0..20 {
        put(&mut a, Kind::Profile, "acme", &format!("p-{}", round % 5), profile());
        patch(&mut a, &format!("p-{}", round % 5), json!({"spec": {"values": {"round": round}}}));
        if round == 10 {
            a.settle().unwrap();
        }
    }
    let store = a.store().fork();
    let reopened = open(store, HUB_A, 77);
    same(&a, &reopened);
    assert_eq!(a.position(), reopened.position());
    let labels = LabelSelector::new();
    assert_eq!(reopened.list(Kind::Profile, Some("acme"), &labels).unwrap().len(), 5);
    carry(&reopened, &mut b);
    same(&reopened, &b);
}

#[test]
fn a_tail_larger_than_a_batch_is_settled_in_parts() {
    let (mut a, ..) = fleet();
    put(&mut a, Kind::Profile, "acme", "store-base", profile());
    // Each commit fills a run of its own, and there are more of them than a batch has keys.
    let commits = crate::store::BATCH_KEYS_MAX + 50;
    for round in 0..commits {
        let note = format!("{round:05000}");
        patch(&mut a, "store-base", json!({"spec": {"values": {"note": note}}}));
    }
    a.settle().unwrap();
    assert_eq!(a.log.tail().count(), 0);
    let reopened = open(a.store().fork(), HUB_A, 77);
    same(&a, &reopened);
    assert_eq!(a.position(), reopened.position());
    let history = reopened.history(&document(Kind::Profile, "store-base")).unwrap();
    assert_eq!(history.len(), commits + 1);
}

#[test]
fn what_was_not_committed_is_gone_after_a_crash_and_nothing_else() {
    let (mut a, ..) = fleet();
    put(&mut a, Kind::Profile, "acme", "kept", profile());
    a.commit().unwrap();
    put(&mut a, Kind::Profile, "acme", "lost", profile());
    let reopened = open(a.store().fork(), HUB_A, 78);
    assert!(reopened.get(&document(Kind::Profile, "kept")).unwrap().is_some());
    assert!(reopened.get(&document(Kind::Profile, "lost")).unwrap().is_none());
}

#[test]
fn a_foreign_write_is_void_everywhere_and_its_dependents_are_not_harmed() {
    let (mut a, mut b, _) = fleet();
    put(&mut a, Kind::Profile, "acme", "store-base", profile());
    a.commit().unwrap();
    // The edge's key writes a profile through a client that does not ask for permission.
    let mut rogue = open(MemoryStore::new(), EDGE, 9);
    carry(&a, &mut rogue);
    rogue.authority.enrol(author(EDGE), crate::authority::Enrolment::Hub { name: "hub-a".into() });
    patch(&mut rogue, "store-base", json!({"spec": {"values": {"pos": {"replicas": 99}}}}));
    let merged = carry(&rogue, &mut a);
    assert_eq!((merged.accepted, merged.void), (1, 1));
    assert_eq!(value(&a, "store-base", "/spec/values/pos/replicas"), json!(2));
    patch(&mut a, "store-base", json!({"spec": {"values": {"pos": {"replicas": 3}}}}));
    carry(&a, &mut b);
    assert_eq!(value(&b, "store-base", "/spec/values/pos/replicas"), json!(3));
    same(&a, &b);
    let history = b.history(&document(Kind::Profile, "store-base")).unwrap();
    assert_eq!(history.iter().filter(|row| row.effect == Effect::Void).count(), 1);
    let direct = Write::new(document(Kind::Machine, "store-17.m1"), ChangeRequest::Delete, "ann", 1);
    assert!(matches!(a.write(direct), Err(WriteError::Forbidden(_))));
}

#[test]
fn a_revocation_takes_back_what_does_not_stand() {
    let (mut a, _, mut edge) = fleet();
    put(&mut edge, Kind::Machine, "acme", "store-17.m1", json!({"spec": {"os": "linux"}}));
    edge.commit().unwrap();
    carry(&edge, &mut a);
    let machine = document(Kind::Machine, "store-17.m1");
    assert!(a.get(&machine).unwrap().is_some());
    let mut authority = open(MemoryStore::new(), crate::testing::AUTHORITY, 5);
    carry(&a, &mut authority);
    put(&mut authority, Kind::Revocation, "", "r1", json!({"spec": {"key": author(EDGE).to_string()}}));
    authority.commit().unwrap();
    carry(&authority, &mut a);
    assert!(a.get(&machine).unwrap().is_none());
    assert!(authority.get(&machine).unwrap().is_none(), "the order of arrival does not matter");
    same(&a, &authority);
}

#[test]
fn a_checkpoint_drops_what_it_covers_and_a_newcomer_gets_the_rest() {
    let (mut a, mut b, mut edge) = fleet();
    for round in 0..100 {
        put(&mut edge, Kind::Machine, "acme", "store-17.m1", json!({"spec": {"model": round.to_string()}}));
        put(&mut edge, Kind::Machine, "acme", "store-17.m2", json!({"spec": {"model": round.to_string()}}));
        edge.commit().unwrap();
    }
    carry(&edge, &mut a);
    let machine = document(Kind::Machine, "store-17.m1");
    edge.checkpoint(&machine, 1).unwrap().unwrap();
    edge.commit().unwrap();
    edge.settle().unwrap();
    assert_eq!(edge.history(&machine).unwrap().len(), 1);
    carry(&edge, &mut a);
    carry(&edge, &mut b);
    same(&edge, &b);
    assert_eq!(edge.digest(&machine.scope()), a.digest(&machine.scope()));
    assert_eq!(a.get(&machine).unwrap().unwrap().resource, b.get(&machine).unwrap().unwrap().resource);
    put(&mut edge, Kind::Machine, "acme", "store-17.m1", json!({"spec": {"model": "after"}}));
    edge.commit().unwrap();
    carry(&edge, &mut b);
    carry(&b, &mut a);
    assert_eq!(a.get(&machine).unwrap().unwrap().resource, b.get(&machine).unwrap().unwrap().resource);
    assert_eq!(edge.digest(&machine.scope()), a.digest(&machine.scope()));
    let reopened = open(edge.store().fork(), EDGE, 99);
    same(&reopened, &b);
}

#[test]
fn restored_and_copied_disks_are_ordinary_concurrent_authors() {
    let (mut a, _, mut edge) = fleet();
    put(&mut edge, Kind::Machine, "acme", "store-17.m1", json!({"spec": {"model": "yesterday"}}));
    edge.commit().unwrap();
    let backup = edge.store().fork();
    put(&mut edge, Kind::Machine, "acme", "store-17.m1", json!({"spec": {"model": "today"}}));
    edge.commit().unwrap();
    carry(&edge, &mut a);
    let mut restored = open(backup, EDGE, 50);
    put(&mut restored, Kind::Machine, "acme", "store-17.m2", json!({"spec": {"model": "restored"}}));
    put(&mut restored, Kind::Machine, "acme", "store-17.m1", json!({"spec": {"os": "restored"}}));
    restored.commit().unwrap();
    carry(&restored, &mut a);
    carry(&a, &mut restored);
    same(&a, &restored);
    carry(&a, &mut edge);
    same(&a, &edge);
    let view = a.get(&document(Kind::Machine, "store-17.m1")).unwrap().unwrap();
    assert_eq!(view.resource.pointer("/spec/os"), Some(&json!("restored")));
}

#[test]
fn a_second_event_at_one_place_is_refused_as_a_fork() {
    let (mut a, _, mut edge) = fleet();
    let mut twin = open(edge.store().fork(), EDGE, u64::from(EDGE));
    put(&mut edge, Kind::Machine, "acme", "store-17.m1", json!({"spec": {"model": "one"}}));
    put(&mut twin, Kind::Machine, "acme", "store-17.m1", json!({"spec": {"model": "two"}}));
    edge.commit().unwrap();
    twin.commit().unwrap();
    carry(&edge, &mut a);
    let scope = document(Kind::Site, "store-17").scope();
    let read = twin.log(&scope, 0, usize::MAX).unwrap();
    let last = read.entries.last().unwrap();
    let merged = a.merge(&[&last.bytes]).unwrap();
    assert_eq!(merged.refused.len(), 1);
    assert_eq!(merged.refused[0].reason, RefusalReason::Fork);
}

#[test]
fn what_cannot_be_taken_yet_is_wanted_and_what_is_wrong_ends_the_session() {
    let (mut a, mut b, edge) = fleet();
    put(&mut a, Kind::Profile, "acme", "p", profile());
    a.commit().unwrap();
    patch(&mut a, "p", json!({"spec": {"priority": 5}}));
    let scope = document(Kind::Profile, "p").scope();
    let entries = a.log(&scope, 0, usize::MAX).unwrap().entries;
    let merged = b.merge(&[&entries[1].bytes]).unwrap();
    assert!(matches!(merged.wanted[..], [Want::Chain { from_seq: 1, to_seq: 1, .. }]));
    let mut stranger = open(MemoryStore::new(), 9, 9);
    let merged = stranger.merge(&[&entries[0].bytes]).unwrap();
    assert!(matches!(merged.wanted[..], [Want::Enrolment { .. }]));
    let mut forged = entries[0].bytes.to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(matches!(b.merge(&[&forged]), Err(MergeError::Violation(ProtocolViolation::Signature(_)))));
    assert!(matches!(
        b.merge(&[b"\x01nonsense"]),
        Err(MergeError::Violation(ProtocolViolation::Malformed(_)))
    ));
    assert_eq!(b.merge(&[&entries[0].bytes, &entries[1].bytes]).unwrap().accepted, 2);
    b.commit().unwrap();
    drop(edge);
    same(&a, &b);
}

#[test]
fn changes_are_told_in_order_and_only_when_durable() {
    let (mut a, ..) = fleet();
    let before = a.position();
    put(&mut a, Kind::Profile, "acme", "p", profile());
    assert!(a.changes(before, 10).unwrap().is_empty());
    a.commit().unwrap();
    let changes = a.changes(before, 10).unwrap();
    assert_eq!(changes.len(), 1);
    assert!(changes[0].created && !changes[0].deleted);
    a.write(Write::new(document(Kind::Profile, "p"), ChangeRequest::Delete, "ann", 1)).unwrap();
    a.commit().unwrap();
    assert!(a.changes(changes[0].position, 10).unwrap()[0].deleted);
    assert!(a.get(&document(Kind::Profile, "p")).unwrap().is_none());
    put(&mut a, Kind::Profile, "acme", "p", profile());
    a.commit().unwrap();
    assert_eq!(a.state(&document(Kind::Profile, "p")).unwrap().unwrap().incarnation(), 2);
}

#[test]
fn a_forgotten_scope_leaves_nothing_and_can_come_back() {
    let (mut a, mut b, _) = fleet();
    put(&mut a, Kind::Profile, "acme", "p", profile());
    a.commit().unwrap();
    carry(&a, &mut b);
    let scope = document(Kind::Profile, "p").scope();
    b.forget(&scope).unwrap();
    assert!(b.get(&document(Kind::Profile, "p")).unwrap().is_none());
    assert_eq!(b.scopes().filter(|held| **held == scope).count(), 0);
    carry(&a, &mut b);
    same(&a, &b);
    let reopened = open(b.store().fork(), HUB_B, 60);
    same(&a, &reopened);
}

#[test]
fn a_chain_that_is_covered_whole_is_told_as_a_gap() {
    let (mut a, mut b, mut edge) = fleet();
    put(&mut edge, Kind::Machine, "acme", "store-17.m1", json!({"spec": {"model": "x"}}));
    edge.commit().unwrap();
    let mut edge = open(edge.store().fork(), EDGE, 99);
    let machine = document(Kind::Machine, "store-17.m1");
    edge.checkpoint(&machine, 1).unwrap().unwrap();
    edge.commit().unwrap();
    edge.settle().unwrap();
    let merged = carry(&edge, &mut a);
    assert_eq!((merged.wanted, merged.accepted), (vec![], 1));
    same(&edge, &a);
    let merged = carry(&a, &mut b);
    assert_eq!((merged.wanted, merged.accepted), (vec![], 1), "a relay tells it as well");
    same(&edge, &b);
}

/// Copies the files of a directory, not its sub-directories' sub-directories.
fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        match file.file_type().unwrap().is_dir() {
            true => copy_dir(&file.path(), &to.join(file.file_name())),
            false => {
                std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
            }
        }
    }
}

#[test]
fn files_as_they_were_at_a_sync_reopen_with_everything_acknowledged_by_then() {
    use crate::store::{SledOptions, SledStore};
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(&dir.path().join("live"), SledOptions::default()).unwrap();
    let mut node = open(store, crate::testing::AUTHORITY, 1);
    for round in 0..12 {
        for name in 0..=round {
            put(&mut node, Kind::Profile, "acme", &format!("p-{name}"), profile());
            patch(&mut node, &format!("p-{name}"), json!({"spec": {"values": {"round": round}}}));
        }
        if round % 4 == 3 {
            node.settle().unwrap();
            // A commit after settling makes what was settled durable as well.
            patch(&mut node, "p-0", json!({"spec": {"values": {"settled": round}}}));
        }
        let copy = dir.path().join(format!("copy-{round}"));
        copy_dir(&dir.path().join("live"), &copy);
        let reopened = SledStore::open(&copy, SledOptions::default()).unwrap();
        same(&node, &open(reopened, crate::testing::AUTHORITY, 100 + round));
    }
}

#[test]
fn a_flush_precedes_every_acknowledgement_and_a_failed_one_acknowledges_nothing() {
    let log = OperationLog::default();
    let mut node = open(RecordingStore::new(MemoryStore::new(), log.clone()), crate::testing::AUTHORITY, 1);
    for round in 0..5 {
        put(&mut node, Kind::Profile, "acme", &format!("p-{round}"), profile());
        node.commit().unwrap();
        log.note("acknowledged");
    }
    let operations = log.operations();
    let mut unflushed = false;
    for operation in &operations {
        match operation {
            Operation::Apply { .. } => unflushed = true,
            Operation::Flush => unflushed = false,
            Operation::Note(_) => assert!(!unflushed, "acknowledged before it was flushed: {operations:?}"),
            Operation::Failed => panic!("nothing was to fail"),
        }
    }
    let faults = Faults { flush: Some(2), ..Faults::default() };
    let mut node =
        open(RecordingStore::with_faults(MemoryStore::new(), log, faults), crate::testing::AUTHORITY, 1);
    put(&mut node, Kind::Profile, "acme", "p", profile());
    assert!(node.commit().is_err(), "the second flush fails; the first made the store");
    assert!(node.commit().is_err() || node.position() == 0, "a failed flush is never treated as done");
    assert_eq!(node.position(), 0);
    let again = Write::new(document(Kind::Profile, "p"), ChangeRequest::Delete, "ann", 1);
    assert!(matches!(node.write(again), Err(WriteError::Store(_))));
}

#[test]
fn a_site_takes_what_a_node_of_another_wrote_where_it_must_not_and_what_depends_on_it() {
    let authority = enrolled(&[("hub-a", HUB_A)], &[("acme", "store-17", EDGE), ("acme", "store-18", 4)]);
    let mut hub = open(MemoryStore::new(), HUB_A, 1);
    carry(&authority, &mut hub);
    put(&mut hub, Kind::Profile, "acme", "store-base", profile());
    hub.commit().unwrap();
    let mut rogue = open(MemoryStore::new(), EDGE, 9);
    carry(&hub, &mut rogue);
    rogue.authority.enrol(author(EDGE), crate::authority::Enrolment::Hub { name: "hub-a".into() });
    patch(&mut rogue, "store-base", json!({"spec": {"values": {"pos": {"replicas": 99}}}}));
    carry(&rogue, &mut hub);
    patch(&mut hub, "store-base", json!({"spec": {"values": {"dns": "after"}}}));
    // A node of store-18 holds the fleet, its profiles and its own site, and no member of store-17.
    let mut other = open(MemoryStore::new(), 4, 7);
    other.set_partial(true);
    for scope in ["fleet", "profiles/acme", "sites/acme/store-18"] {
        let scope = scope.parse().unwrap();
        let entries = hub.log(&scope, 0, usize::MAX).unwrap().entries;
        let records: Vec<_> = entries.iter().map(|entry| entry.bytes.clone()).collect();
        assert_eq!(other.merge(&records).unwrap().wanted, []);
        other.commit().unwrap();
        assert_eq!(other.digest(&scope), hub.digest(&scope));
    }
    assert_eq!(value(&other, "store-base", "/spec/values/pos/replicas"), json!(2));
    assert_eq!(value(&other, "store-base", "/spec/values/dns"), json!("after"));
}

#[test]
fn a_hub_that_is_heard_of_late_is_executed_as_if_it_had_been_known() {
    let authority = enrolled(&[("hub-a", HUB_A)], &[("acme", "store-18", 4)]);
    let mut hub = open(MemoryStore::new(), HUB_A, 1);
    carry(&authority, &mut hub);
    put(&mut hub, Kind::Profile, "acme", "store-base", profile());
    hub.commit().unwrap();
    let mut site = open(MemoryStore::new(), 4, 7);
    site.set_partial(true);
    for scope in ["profiles/acme", "fleet"] {
        let entries = hub.log(&scope.parse().unwrap(), 0, usize::MAX).unwrap().entries;
        let records: Vec<_> = entries.iter().map(|entry| entry.bytes.clone()).collect();
        site.merge(&records).unwrap();
        site.commit().unwrap();
    }
    assert_eq!(value(&site, "store-base", "/spec/values/pos/replicas"), json!(2));
}

#[test]
fn the_last_changes_are_found_by_position() {
    let (mut hub, ..) = fleet();
    for name in ["store-base", "depots"] {
        put(&mut hub, Kind::Profile, "acme", name, profile());
    }
    put(&mut hub, Kind::App, "acme", "pos", json!({"spec": {}}));
    hub.commit().unwrap();
    patch(&mut hub, "store-base", json!({"spec": {"priority": 7}}));
    let kinds = [Kind::Profile, Kind::App];
    let last = hub.last_changed(&kinds, 2);
    let names: Vec<&str> = last.iter().map(|(_, document)| document.name()).collect();
    assert_eq!(names, ["store-base", "pos"]);
    let (position, document) = &last[0];
    let found = hub.event_at(&document.scope(), *position).unwrap().unwrap();
    assert_eq!((found.event.header().author_seq, found.position), (3, *position));
    assert!(hub.event_at(&document.scope(), position + 1).unwrap().is_none());
    assert!(hub.event_at(&Scope::Fleet, *position).unwrap().is_none(), "another scope's");
}

#[test]
fn no_commit_settles_much_more_than_it_writes_and_the_tail_stays_short() {
    let (mut a, mut b, _) = fleet();
    let log = OperationLog::default();
    let mut c = open(RecordingStore::new(MemoryStore::new(), log.clone()), HUB_B, 9);
    carry(&a, &mut c);
    let (mut settled_most, mut keys_most, mut tail_most) = (0, 0, 0);
    for round in 0..3_000u32 {
        // Every commit changes another of many documents, in one scope or another.
        let name = format!("d{}", round % 700);
        match round % 3 {
            0 => put(&mut c, Kind::App, "acme", &name, json!({"spec": {"description": round.to_string()}})),
            _ => put(
                &mut c,
                Kind::Profile,
                "acme",
                &name,
                json!({"spec": {"priority": 1, "selector": {"matchAll": true}, "values": {"round": round}}}),
            ),
        };
        let (before, noted) = (c.log.tail().count(), log.operations().len());
        c.commit().unwrap();
        let after = c.log.tail().count();
        settled_most = settled_most.max(before + 1 - after);
        tail_most = tail_most.max(after);
        let operations = log.operations();
        let keys = operations[noted..].iter().map(|operation| match operation {
            Operation::Apply { keys, .. } => *keys,
            _ => 0,
        });
        keys_most = keys_most.max(keys.sum::<usize>());
    }
    assert!((1..=256).contains(&settled_most), "{settled_most} entries in one commit");
    assert!(keys_most <= 3 * 256 + 64, "{keys_most} keys in one commit");
    assert!(tail_most <= 1_100, "{tail_most} entries");
    while c.settle_some().unwrap() {}
    assert_eq!(c.log.tail().count(), 0, "an idle node settles the rest");
    carry(&c, &mut a);
    carry(&a, &mut b);
    same(&c, &b);
}

#[test]
fn a_crash_at_any_time_finds_documents_and_log_in_step() {
    let (a, ..) = fleet();
    for applies in [3, 40, 1_100, 1_290, 1_291, 1_292, 1_293, 1_294, 1_295, 1_296, 1_297] {
        let faults = Faults { apply: Some(applies), ..Faults::default() };
        let store = RecordingStore::with_faults(MemoryStore::new(), OperationLog::default(), faults);
        let mut torn = open(store, HUB_A, 100);
        carry_committed(&a, &mut torn);
        let mut reference = open(MemoryStore::new(), HUB_A, 100);
        carry(&a, &mut reference);
        for round in 0..1_400u32 {
            let name = format!("d{}", round % 50);
            let spec =
                json!({"spec": {"priority": 1, "selector": {"matchAll": true}, "values": {"round": round}}});
            put(&mut torn, Kind::Profile, "acme", &name, spec.clone());
            put(&mut reference, Kind::Profile, "acme", &name, spec);
            let is_torn = torn.commit().is_err();
            reference.commit().unwrap();
            if is_torn {
                break;
            }
        }
        let nothing = RecordingStore::new(MemoryStore::new(), OperationLog::default());
        let mut disk = std::mem::replace(torn.log.store_mut(), nothing).into_inner();
        disk.crash_keeping(usize::MAX);
        let mut reopened = open(disk, HUB_A, 101);
        carry(&reference, &mut reopened);
        same(&reopened, &reference);
    }
}

fn carry_committed<S: Store>(from: &Replica<MemoryStore>, to: &mut Replica<S>) {
    for scope in from.scopes() {
        let entries = from.log(scope, 0, usize::MAX).unwrap().entries;
        let records: Vec<_> = entries.iter().map(|entry| entry.bytes.clone()).collect();
        to.merge(&records).unwrap();
    }
    to.commit().unwrap();
}
