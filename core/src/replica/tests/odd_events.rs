//! Events that no honest client makes, or that come in an order which no honest peer sends.

use super::*;
use crate::event::{ChainId, Header};
use crate::group::Group;

#[test]
fn what_builds_on_a_group_that_cannot_be_taken_is_not_taken_either() {
    let authority = enrolled(&[("hub-a", 1), ("hub-b", 2), ("hub-c", 4), ("hub-d", 5)], &[]);
    let mut hubs = [1, 2, 4, 5].map(|number| open(MemoryStore::new(), number, u64::from(number)));
    for hub in &mut hubs {
        carry(&authority, hub);
    }
    let [mut a, mut b, mut c, mut d] = hubs;
    for name in ["p", "x"] {
        put(&mut a, Kind::Profile, "acme", name, profile());
    }
    a.commit().unwrap();
    for hub in [&mut b, &mut c, &mut d] {
        carry(&a, hub);
    }
    patch(&mut b, "x", json!({"spec": {"priority": 7}}));
    carry(&b, &mut a);
    // One group: its first event could be taken, its second builds on what B wrote.
    for name in ["p", "x"] {
        let change = ChangeRequest::MergePatch(json!({"spec": {"priority": 5}}));
        a.write(Write::new(document(Kind::Profile, name), change, "ann", 1)).unwrap();
    }
    a.commit().unwrap();
    carry(&a, &mut c);
    patch(&mut c, "p", json!({"spec": {"priority": 6}}));
    let scope = document(Kind::Profile, "p").scope();
    let entries = c.log(&scope, 0, usize::MAX).unwrap().entries;
    let of = |author_of: u16| entries.iter().rfind(|entry| entry.chain.author == author(author_of)).unwrap();
    let merged = d.merge(&[&of(1).bytes, &of(4).bytes]).unwrap();
    assert_eq!(merged.accepted, 0, "neither has all that it builds on: {:?}", merged.wanted);
    assert_eq!(merged.wanted.len(), 2);
    assert_eq!(d.merge(&[&of(2).bytes, &of(1).bytes, &of(4).bytes]).unwrap().accepted, 4);
    d.commit().unwrap();
    same(&c, &d);
}

/// Foreign writes that all build on the same event are that many heads, and one event names no more than
/// 256: whoever writes next must not make one that nobody can read.
#[test]
fn more_foreign_heads_than_an_event_can_name_do_not_stop_a_document() {
    let (mut a, mut b, mut edge) = fleet();
    put(&mut a, Kind::Profile, "acme", "store-base", profile());
    a.commit().unwrap();
    for boot in 0..300 {
        let mut rogue = open(MemoryStore::new(), EDGE, 1_000 + boot);
        carry(&a, &mut rogue);
        rogue.authority.enrol(author(EDGE), crate::authority::Enrolment::Hub { name: "hub-a".into() });
        patch(&mut rogue, "store-base", json!({"spec": {"values": {"pos": {"replicas": 99}}}}));
        let scope = document(Kind::Profile, "store-base").scope();
        let written = rogue.log(&scope, 0, usize::MAX).unwrap().entries.pop().unwrap();
        edge.merge(&[&written.bytes]).unwrap();
        edge.commit().unwrap();
        if boot == 0 {
            carry(&a, &mut edge);
        }
    }
    carry(&edge, &mut a);
    for replicas in 3..6 {
        patch(&mut a, "store-base", json!({"spec": {"values": {"pos": {"replicas": replicas}}}}));
        assert_eq!(value(&a, "store-base", "/spec/values/pos/replicas"), json!(replicas));
    }
    let merged = carry(&a, &mut b);
    assert_eq!((merged.refused.len(), merged.wanted.len()), (0, 0));
    carry(&a, &mut edge);
    same(&a, &b);
    same(&a, &edge);
    let reopened = open(a.store().fork(), HUB_A, 7);
    same(&a, &reopened);
}

/// A hub that runs a newer version writes a field that this one does not know.
#[test]
fn a_field_of_a_newer_version_is_passed_on_as_it_came_and_nobody_here_writes_it() {
    let (mut a, mut b, mut edge) = fleet();
    put(&mut a, Kind::Profile, "acme", "store-base", profile());
    a.commit().unwrap();
    let profile = document(Kind::Profile, "store-base");
    let written = a.state(&profile).unwrap().unwrap();
    let newer = Header {
        schema: crate::event::SCHEMA_VERSION,
        fleet: crate::testing::fleet(),
        document: profile.clone(),
        incarnation: 1,
        chain: ChainId { author: author(HUB_B), boot: crate::testing::boot(99) },
        author_seq: 1,
        previous: None,
        succeeds: None,
        dependencies: written.heads().to_vec(),
        lamport: 2,
        time_ms: 2,
        by: "ann".into(),
        reason: String::new(),
        extensions: BTreeMap::new(),
    };
    let put =
        |path: &str, value: &str| crate::event::Operation::Put { path: path.into(), value: value.into() };
    let operations = vec![put("/spec/cohort/size", "12"), put("/spec/priority", "200")];
    let group = Group::sign(&crate::testing::key(HUB_B), vec![Arc::new(Event::new(newer, operations))]);
    let record = Record::Group(group).encode();
    a.merge(&[&record]).unwrap();
    a.commit().unwrap();
    carry(&a, &mut b);
    carry(&b, &mut edge);
    for node in [&a, &b, &edge] {
        assert_eq!(value(node, "store-base", "/spec/cohort"), json!({"size": 12}));
        assert_eq!(value(node, "store-base", "/spec/priority"), json!(200));
    }
    same(&a, &edge);
    let entries = edge.log(&profile.scope(), 0, usize::MAX).unwrap().entries;
    assert!(entries.iter().any(|entry| entry.bytes[..] == record[..]), "it is passed on byte by byte");

    // A change by this version would keep what it does not understand, or lose it: neither is guessed.
    let change = |patch: Value| Write::new(profile.clone(), ChangeRequest::MergePatch(patch), "ann", 3);
    let refused = a.write(change(json!({"spec": {"priority": 300}}))).unwrap_err();
    assert!(
        matches!(&refused, WriteError::Invalid { errors, .. } if errors[0].field == "spec.cohort"),
        "{refused:?}"
    );
    a.write(change(json!({"spec": {"priority": 300, "cohort": null}}))).unwrap();
    a.commit().unwrap();
    carry(&a, &mut b);
    assert_eq!(value(&b, "store-base", "/spec/cohort"), Value::Null);
    same(&a, &b);
}
