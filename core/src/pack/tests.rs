#![allow(clippy::unwrap_used)]
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::name::Kind;
use crate::store::MemoryStore;
use crate::testing::{self, put};

/// A log with all that there is: several authors, chains and scopes, boots that succeed each other,
/// groups of several sizes, checkpointed events, and the gaps and thinned groups that these leave.
fn log() -> Vec<(Scope, Entry)> {
    let enrolled = testing::enrolled(&[("hub-eu", 1)], &[("acme", "store-1", 11)]);
    let mut hub = testing::open(MemoryStore::new(), 1, 1);
    testing::carry(&enrolled, &mut hub);
    hub.commit().unwrap();
    for boot in 2..5 {
        hub = testing::open(hub.store().fork(), 1, boot);
        for number in 0..12 {
            let spec = json!({"priority": 1, "selector": {"matchAll": true}, "values": {"n": number * boot}});
            put(&mut hub, Kind::Profile, "acme", &format!("p{}", number % 5), json!({"spec": spec}));
            put(&mut hub, Kind::App, "acme", "pos", json!({"spec": {"description": number.to_string()}}));
            if number % boot == 0 {
                hub.commit().unwrap();
            }
        }
        hub.commit().unwrap();
    }
    let scopes: Vec<Scope> = hub.scopes().cloned().collect();
    let mut entries: Vec<(Scope, Entry)> = vec![];
    for scope in scopes {
        let read = hub.log(&scope, 0, 1 << 20).unwrap();
        entries.extend(read.entries.into_iter().map(|entry| (scope.clone(), entry)));
    }
    thinned(&mut entries);
    entries
}

/// Drops events of some groups, and all of others, as checkpoints do.
fn thinned(entries: &mut [(Scope, Entry)]) {
    for (place, (_, entry)) in entries.iter_mut().enumerate() {
        let Ok(Record::Group(group)) = Record::decode(testing::fleet(), &entry.bytes) else { continue };
        let record = match place % 5 {
            3 => group.retain(|event| event.header().author_seq % 2 == 0),
            4 => group.retain(|_| false),
            _ => continue,
        };
        entry.bytes = record.encode().into();
    }
}

fn pack(entries: &[(Scope, Entry)]) -> Pack {
    Pack::of(entries.iter().map(|(scope, entry)| (scope, entry)))
}

fn bytes(entries: &[(Scope, Entry)]) -> Vec<Arc<[u8]>> {
    entries.iter().map(|(_, entry)| entry.bytes.clone()).collect()
}

#[test]
fn records_come_out_as_they_went_in() {
    let entries = log();
    assert!(entries.len() > 30, "{}", entries.len());
    for part in [1, 7, entries.len()] {
        for entries in entries.chunks(part) {
            let unpacked = pack(entries).records(testing::fleet()).unwrap();
            assert_eq!(unpacked.iter().map(|u| u.bytes.clone()).collect::<Vec<_>>(), bytes(entries));
            for (unpacked, (scope, entry)) in unpacked.iter().zip(entries) {
                assert_eq!(unpacked.record, Record::decode(testing::fleet(), &entry.bytes).unwrap());
                assert_eq!(unpacked.record.scope(), scope);
            }
        }
    }
}

#[test]
fn what_follows_is_told_by_a_signature() {
    let entries: Vec<_> = log().into_iter().filter(|(scope, _)| *scope != Scope::Fleet).collect();
    let alone: usize = entries.iter().map(|entry| pack(std::slice::from_ref(entry)).noise.len()).sum();
    let together = pack(&entries).noise.len();
    assert!(alone - together >= 32 * (entries.len() - 20), "{alone} bytes alone, {together} together");
}

#[test]
fn records_out_of_order_are_told_where_they_belong() {
    let mut entries = log();
    entries.reverse();
    let unpacked = pack(&entries).records(testing::fleet()).unwrap();
    assert_eq!(unpacked.into_iter().map(|u| u.bytes).collect::<Vec<_>>(), bytes(&entries));
    assert!(Pack::default().records(testing::fleet()).is_err(), "nothing is no pack");
    assert_eq!(pack(&[]).records(testing::fleet()).unwrap(), vec![]);
}

#[test]
fn a_cut_pack_is_refused() {
    let whole = pack(&log()[..20]);
    for cut in 0..whole.plain.len() {
        let plain = whole.plain[..cut].to_vec();
        assert!(Pack { plain, noise: whole.noise.clone() }.records(testing::fleet()).is_err(), "{cut}");
    }
    for noise in [&whole.noise[1..], &whole.noise[..10], &[whole.noise.as_slice(), &[0]].concat()] {
        let pack = Pack { plain: whole.plain.clone(), noise: noise.to_vec() };
        assert!(pack.records(testing::fleet()).is_err());
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(plain in prop::collection::vec(any::<u8>(), 0..300), noise in 0usize..300) {
        let _ = Pack { plain, noise: vec![7; noise] }.records(testing::fleet());
    }

    #[test]
    fn nearly_right_bytes_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut pack = pack(&log()[..12]);
        for (at, byte) in edits {
            let at = at.index(pack.plain.len());
            pack.plain[at] = byte;
        }
        let _ = pack.records(testing::fleet());
    }
}
