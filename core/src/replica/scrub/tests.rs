#![allow(clippy::unwrap_used)]
//! Damage to the store: it is found exactly, peers give back what was lost, and nothing else changes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::prelude::*;
use serde_json::json;

use super::Scrubbed;
use crate::group::Record;
use crate::log::run_range;
use crate::name::{Kind, Scope};
use crate::replica::scope::document_key;
use crate::replica::tests::{document, fleet, same};
use crate::replica::{Fault, Replica};
use crate::store::{
    Batch, Faults, MemoryStore, OperationLog, Order, RecordingStore, SledOptions, SledStore, Store,
};
use crate::testing::{carry, open, put};

const HUB_A: u16 = 1;

/// Two hubs that hold the same profiles, written by both, in several runs; `a` is settled.
fn alike(rounds: u32) -> (Replica<MemoryStore>, Replica<MemoryStore>) {
    let (mut a, mut b, _) = fleet();
    for round in 0..rounds {
        write(&mut a, round);
        carry(&a, &mut b);
        write(&mut b, round + 1_000);
        carry(&b, &mut a);
    }
    a.settle().unwrap();
    a.flush_store().unwrap();
    (a, b)
}

fn write<S: Store>(node: &mut Replica<S>, round: u32) {
    let spec = json!({"priority": 1, "selector": {"matchAll": true}, "values": {"round": format!("{round}{}", "x".repeat(700))}});
    put(node, Kind::Profile, "acme", &format!("p{}", round % 5), json!({"spec": spec}));
    node.commit().unwrap();
}

fn profiles() -> Scope {
    "profiles/acme".parse().unwrap()
}

fn runs<S: Store>(node: &Replica<S>, scope: &Scope) -> Vec<Vec<u8>> {
    let (start, end) = run_range(scope);
    let mut keys = vec![];
    node.store()
        .scan(&start, &end, Order::Ascending, &mut |key, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    keys
}

fn lose<S: Store>(node: &mut Replica<S>, keys: &[Vec<u8>]) {
    let mut batch = Batch::default();
    keys.iter().for_each(|key| batch.delete(key.clone()));
    node.log.store_mut().apply(batch).unwrap();
    node.log.store_mut().flush().unwrap();
}

fn overwrite<S: Store>(node: &mut Replica<S>, key: &[u8], value: Vec<u8>) {
    let mut batch = Batch::default();
    batch.put(key, value);
    node.log.store_mut().apply(batch).unwrap();
}

/// What a peer sends that is asked with the vector of missing places, and asked again, as sessions do, if
/// something that came along needs what was missing.
fn give_back<A: Store, B: Store>(from: &Replica<A>, to: &mut Replica<B>, scope: &Scope) {
    for _ in 0..3 {
        let after = from.start_for(scope, &to.asking(scope)).unwrap();
        let read = from.log(scope, after, usize::MAX).unwrap();
        let records: Vec<_> = read.entries.iter().map(|entry| entry.bytes.clone()).collect();
        let merged = to.merge(&records).unwrap();
        assert!(merged.refused.is_empty(), "{merged:?}");
        to.commit().unwrap();
        if merged.wanted.is_empty() {
            return;
        }
    }
    panic!("what was missing did not help");
}

fn scrubbed<S: Store>(node: &mut Replica<S>, scope: &Scope) -> Scrubbed {
    node.scrub_scope(scope).unwrap().unwrap()
}

/// Whether a newcomer that is sent the log as it stands ends with the same.
fn serves_all<S: Store>(node: &Replica<S>) {
    let mut newcomer = open(MemoryStore::new(), 9, 99);
    let merged = carry(node, &mut newcomer);
    assert!(merged.wanted.is_empty() && merged.refused.is_empty(), "{merged:?}");
    assert_eq!(merged.duplicates, 0);
    same(node, &newcomer);
}

#[test]
fn a_whole_store_has_nothing_missing_and_equal_replicas_have_equal_hashes() {
    let (mut a, mut b) = alike(8);
    let (ours, theirs) = (scrubbed(&mut a, &profiles()), scrubbed(&mut b, &profiles()));
    assert_eq!((ours.missing, ours.documents_mended, ours.runs_dropped), (0, 0, 0));
    assert_eq!(ours.events, a.vector(&profiles()).events());
    assert_eq!((ours.digest, ours.held), (theirs.digest, theirs.held));
    assert_eq!(a.scrubbed(&profiles()), Some(&ours));
    write(&mut a, 99);
    assert_eq!(a.scrubbed(&profiles()), None, "what was found is about the vector that it was found with");
}

#[test]
fn a_lost_run_is_found_exactly_and_a_peer_gives_it_back() {
    let (mut a, mut b) = alike(12);
    let before = scrubbed(&mut a, &profiles());
    let keys = runs(&a, &profiles());
    assert!(keys.len() > 3, "{}", keys.len());
    let held: u64 = a.log.inspect(&profiles(), 0, usize::MAX).unwrap().entries.len() as u64;
    lose(&mut a, &keys[1..2]);
    let left = a.log.inspect(&profiles(), 0, usize::MAX).unwrap().entries.len() as u64;

    let found = scrubbed(&mut a, &profiles());
    assert_eq!(found.missing, held - left, "each entry is one event here");
    assert_eq!(found.digest, before.digest, "the vector does not notice");
    assert_ne!(found.held, before.held);
    // Reads and writes go on while something is missing.
    write(&mut a, 500);
    give_back(&b, &mut a, &profiles());

    assert_eq!(a.faults().count(), 0);
    assert_eq!(a.scrub_counts().places_mended, held - left);
    carry(&a, &mut b);
    same(&a, &b);
    assert_eq!(scrubbed(&mut a, &profiles()).missing, 0);
    assert_eq!(scrubbed(&mut a, &profiles()).held, scrubbed(&mut b, &profiles()).held);
    serves_all(&a);
    let reopened = open(a.store().fork(), HUB_A, 77);
    same(&a, &reopened);
    serves_all(&reopened);
}

#[test]
fn a_damaged_run_stops_nobody_and_is_replaced() {
    let (mut a, b) = alike(12);
    let keys = runs(&a, &profiles());
    // Not what this code writes, and one that decodes, with a flipped bit in an event.
    overwrite(&mut a, &keys[1], vec![0xff; 40]);
    let mut value = a.store().get(&keys[2]).unwrap().unwrap();
    let at = value.windows(3).rposition(|bytes| bytes == b"xxx").unwrap();
    value[at] ^= 1;
    overwrite(&mut a, &keys[2], value);
    assert!(a.history(&document(Kind::Profile, "p1")).is_ok());

    let found = scrubbed(&mut a, &profiles());
    assert_eq!(found.runs_dropped, 1);
    assert!(found.missing > 1, "{found:?}");
    give_back(&b, &mut a, &profiles());
    assert_eq!(scrubbed(&mut a, &profiles()).missing, 0);
    assert_eq!(runs(&a, &profiles()).iter().filter(|key| keys[1..].contains(key)).count(), 0);
    same(&a, &b);
    serves_all(&a);
}

#[test]
fn a_step_of_a_scrub_is_small_and_all_scopes_have_their_turn() {
    let (mut a, _) = alike(12);
    let mut found = BTreeMap::new();
    for _ in 0..60 {
        let before = a.scrub_counts().events;
        if let Some(scrubbed) = a.scrub(1_000).unwrap() {
            assert!(a.scrub_counts().events - before <= scrubbed.events);
            found.insert(scrubbed.scope.clone(), scrubbed);
        }
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), a.scopes().collect::<Vec<_>>());
    assert!(found.values().all(|scrubbed| scrubbed.missing == 0));
    let whole = scrubbed(&mut a, &profiles());
    assert_eq!(found[&profiles()].held, whole.held, "whether in steps or at once");
}

#[test]
fn a_document_whose_record_is_lost_or_stale_is_executed_anew() {
    let (mut a, b) = alike(6);
    let keys = [document_key(&document(Kind::Profile, "p1")), document_key(&document(Kind::Profile, "p2"))];
    let stale = a.store().get(&keys[1]).unwrap().unwrap();
    write(&mut a, 2);
    a.settle().unwrap();
    a.flush_store().unwrap();
    let mut reopened = open(a.store().fork(), HUB_A, 77);
    overwrite(&mut reopened, &keys[1], stale);
    lose(&mut reopened, &keys[..1]);
    same(&a, &reopened);

    assert_eq!(scrubbed(&mut reopened, &profiles()).documents_mended, 2);
    reopened.settle().unwrap();
    reopened.flush_store().unwrap();
    assert_eq!(scrubbed(&mut reopened, &profiles()).documents_mended, 0);
    drop(b);
    same(&a, &open(reopened.store().fork(), HUB_A, 78));
}

#[test]
fn what_nobody_has_stays_listed() {
    let (mut a, _) = alike(6);
    let keys = runs(&a, &profiles());
    lose(&mut a, &keys[..1]);
    let missing = scrubbed(&mut a, &profiles()).missing;
    assert_eq!(scrubbed(&mut a, &profiles()).missing, missing);
    assert_eq!(a.faults().flat_map(|(_, faults)| faults).map(Fault::places).sum::<u64>(), missing);
    assert_eq!(a.scrub_counts().places_missing, missing, "counted once, however often it is found");
}

#[test]
fn what_a_peer_withheld_shows_and_another_gives_it() {
    let (mut a, mut b, mut edge) = fleet();
    write(&mut a, 1);
    write(&mut a, 2);
    carry(&a, &mut b);
    // A hub that leaves an event out of a group, as only a checkpoint may.
    let entries = a.log(&profiles(), 0, usize::MAX).unwrap().entries;
    let Record::Group(first) = Record::decode(a.fleet, &entries[0].bytes).unwrap() else { panic!("a group") };
    let withheld = first.retain(|_| false).encode();
    edge.merge(&[withheld, entries[1].bytes.to_vec()]).unwrap();
    edge.commit().unwrap();
    assert_eq!(edge.digest(&profiles()), b.digest(&profiles()), "vectors do not notice");

    let found = scrubbed(&mut edge, &profiles());
    assert_eq!(found.missing, 1);
    assert_ne!(found.held, scrubbed(&mut b, &profiles()).held);
    assert!(edge.get(&document(Kind::Profile, "p1")).unwrap().is_none());
    give_back(&b, &mut edge, &profiles());
    assert_eq!(scrubbed(&mut edge, &profiles()).held, scrubbed(&mut b, &profiles()).held);
    same(&edge, &b);
}

#[test]
fn a_crash_while_the_log_is_written_anew_leaves_it_whole() {
    let (mut a, b) = alike(12);
    let keys = runs(&a, &profiles());
    lose(&mut a, &keys[1..2]);
    scrubbed(&mut a, &profiles());
    let after = b.start_for(&profiles(), &a.asking(&profiles())).unwrap();
    let records: Vec<_> = b
        .log(&profiles(), after, usize::MAX)
        .unwrap()
        .entries
        .iter()
        .map(|entry| entry.bytes.clone())
        .collect();
    for applies in 1..16 {
        let faults = Faults { apply: Some(applies), ..Faults::default() };
        let store = RecordingStore::with_faults(a.store().fork(), OperationLog::default(), faults);
        let mut torn = open(store, HUB_A, 100 + applies);
        scrubbed(&mut torn, &profiles());
        torn.merge(&records).unwrap();
        let _ = torn.commit();
        let nothing = RecordingStore::new(MemoryStore::new(), OperationLog::default());
        let mut disk = std::mem::replace(torn.log.store_mut(), nothing).into_inner();
        disk.crash_keeping(usize::MAX);
        let mut reopened = open(disk, HUB_A, 200 + applies);
        let found = scrubbed(&mut reopened, &profiles());
        if found.missing > 0 {
            reopened.merge(&records).unwrap();
            reopened.commit().unwrap();
        }
        assert_eq!(scrubbed(&mut reopened, &profiles()).missing, 0);
        same(&reopened, &b);
        serves_all(&reopened);
    }
}

#[test]
fn sled_with_a_run_gone_is_repaired_by_a_peer_and_reopens_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = alike(12);
    let store = SledStore::open(dir.path(), SledOptions::default()).unwrap();
    let mut disk = open(store, HUB_A, 60);
    carry(&a, &mut disk);
    disk.settle().unwrap();
    let keys = runs(&disk, &profiles());
    lose(&mut disk, &keys[1..2]);
    drop(disk);
    let mut disk = open(SledStore::open(dir.path(), SledOptions::default()).unwrap(), HUB_A, 61);
    assert!(scrubbed(&mut disk, &profiles()).missing > 0);
    give_back(&b, &mut disk, &profiles());
    drop(disk);
    let mut disk = open(SledStore::open(dir.path(), SledOptions::default()).unwrap(), HUB_A, 62);
    assert_eq!(scrubbed(&mut disk, &profiles()).missing, 0);
    same(&disk, &b);
    serves_all(&disk);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_runs_and_documents_are_lost_a_whole_peer_gives_them_back(
        rounds in 1..14u32,
        lost in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
        documents in prop::collection::vec(0..5u8, 0..3),
        settle_first in any::<bool>(),
    ) {
        let (mut a, mut b) = alike(rounds);
        let keys = runs(&a, &profiles());
        let lost: Vec<Vec<u8>> = lost.iter().map(|index| index.get(&keys).clone()).collect();
        lose(&mut a, &lost);
        let records: Vec<Vec<u8>> = documents.iter()
            .map(|name| document_key(&document(Kind::Profile, &format!("p{name}")))).collect();
        lose(&mut a, &records);
        let mut a = open(a.store().fork(), HUB_A, 300);
        let found = scrubbed(&mut a, &profiles());
        prop_assert!(found.missing > 0);
        if settle_first {
            // One whose record is there: what such a document was made of is not needed to change it.
            let known = (0..5).find(|name| !documents.contains(name)).unwrap();
            write(&mut a, 700 + u32::from(known));
            a.settle().unwrap();
        }
        write(&mut b, 800);
        give_back(&b, &mut a, &profiles());
        carry(&a, &mut b);
        prop_assert_eq!(scrubbed(&mut a, &profiles()).missing, 0);
        prop_assert_eq!(scrubbed(&mut a, &profiles()).held, scrubbed(&mut b, &profiles()).held);
        same(&a, &b);
        serves_all(&a);
        same(&b, &open(a.store().fork(), HUB_A, 301));
    }
}
