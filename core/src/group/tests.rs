#![allow(clippy::unwrap_used)]
use super::*;
use crate::event::tests::{put, sample_header};
use proptest::prelude::*;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// A chain of `count` edits of two profiles.
fn chain_of(count: u64) -> Vec<Arc<Event>> {
    let mut events: Vec<Arc<Event>> = vec![];
    for seq in 1..=count {
        let mut header = sample_header();
        header.chain.author = Author(key().verifying_key().to_bytes());
        if seq % 3 == 0 {
            header.document = Document::new(Kind::Profile, "acme", "other").unwrap();
        }
        header.author_seq = seq;
        header.previous = events.last().map(|event| event.id());
        header.dependencies = header.previous.into_iter().collect();
        header.lamport = seq;
        header.time_ms += seq * 10;
        header.extensions.insert(99, vec![1, 2, 3]);
        let value = seq.to_string();
        events.push(Arc::new(Event::new(header, vec![put("/spec/values/pos/replicas", &value)])));
    }
    events
}

#[test]
fn a_group_round_trips_and_its_signature_holds() {
    let group = Group::sign(&key(), chain_of(9));
    let record = Record::Group(group.clone());
    let decoded = Record::decode(FleetId([1; 32]), &record.encode()).unwrap();
    assert_eq!(decoded, record);
    group.verify().unwrap();
    let Ok(Record::Group(foreign)) = Record::decode(FleetId([2; 32]), &record.encode()) else {
        panic!("the bytes are well-formed in any fleet");
    };
    assert!(foreign.verify().is_err(), "another fleet gives other ids, so no signature");
}

#[test]
fn a_burst_costs_tens_of_bytes_per_event() {
    let bytes = Record::Group(Group::sign(&key(), chain_of(64))).encode().len();
    assert!(bytes / 64 < 64, "{} bytes per event", bytes / 64);
}

#[test]
fn dropped_events_leave_their_ids_and_the_signature() {
    let group = Group::sign(&key(), chain_of(6));
    let Record::Group(thinned) = group.retain(|event| event.header().author_seq > 4) else {
        panic!("two events are left");
    };
    thinned.verify().unwrap();
    assert_eq!(thinned.events().count(), 2);
    let bytes = Record::Group(thinned.clone()).encode();
    assert_eq!(Record::decode(FleetId([1; 32]), &bytes).unwrap(), Record::Group(thinned));
    let gap = group.retain(|_| false);
    assert!(matches!(&gap, Record::Gap(gap) if gap.last.seq == 6 && gap.first_seq == 1));
    assert_eq!(Record::decode(FleetId([1; 32]), &gap.encode()).unwrap(), gap);
}

#[test]
fn no_flipped_bit_survives() {
    let record = Record::Group(Group::sign(&key(), chain_of(2)));
    let bytes = record.encode();
    for bit in 0..bytes.len() * 8 {
        let mut mutant = bytes.clone();
        mutant[bit / 8] ^= 1 << (bit % 8);
        if let Ok(Record::Group(group)) = Record::decode(FleetId([1; 32]), &mutant) {
            assert!(group.verify().is_err(), "bit {bit}");
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 1u8..3) {
        let mut framed = vec![kind];
        framed.extend(bytes);
        let _ = Record::decode(FleetId([1; 32]), &framed);
    }
}
