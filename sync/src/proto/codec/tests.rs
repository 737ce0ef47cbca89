#![allow(clippy::unwrap_used)]
use driftless_core::log::Entry;
use driftless_core::name::{Kind, Scope};
use driftless_core::store::MemoryStore;
use driftless_core::testing;
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// The log of a hub's profiles, one group each.
fn entries(count: usize) -> Vec<(Scope, Entry)> {
    let mut hub = testing::open(MemoryStore::new(), 1, 1);
    testing::carry(&testing::enrolled(&[("hub-eu", 1)], &[]), &mut hub);
    for number in 0..count {
        let values = json!({"image": format!("registry.example/pos:{number}"), "replicas": number});
        let spec = json!({"priority": 1, "selector": {"matchAll": true}, "values": values});
        testing::put(&mut hub, Kind::Profile, "acme", &format!("p{number}"), json!({"spec": spec}));
        hub.commit().unwrap();
    }
    let scope: Scope = "profiles/acme".parse().unwrap();
    let read = hub.log(&scope, 0, 1 << 20).unwrap();
    read.entries.into_iter().map(|entry| (scope.clone(), entry)).collect()
}

fn pack(entries: &[(Scope, Entry)]) -> Pack {
    Pack::of(entries.iter().map(|(scope, entry)| (scope, entry)))
}

/// The body as it stands in a frame.
fn on_the_wire(body: &EventsBody, keep: bool) -> Vec<u8> {
    [&[body.flags(keep)], &body.bytes[1..]].concat()
}

#[test]
fn frames_build_on_each_other_while_the_sender_says_so() {
    let entries = entries(40);
    let (mut codec, mut sent, mut received) = (Codec::default(), Prefix::default(), Prefix::default());
    let mut sizes = vec![];
    for (part, keep) in entries.chunks(10).zip([true, true, false, false]) {
        let body = codec.encode(&pack(part), &sent);
        let bytes = on_the_wire(&body, keep);
        let records = decode(testing::fleet(), &bytes, &mut received).unwrap();
        let came: Vec<_> = records.into_iter().map(|record| record.bytes).collect();
        assert_eq!(came, part.iter().map(|(_, entry)| entry.bytes.clone()).collect::<Vec<_>>());
        sent = if keep { body.next } else { Prefix::default() };
        assert_eq!(sent.bytes, received.bytes, "both sides have the same in hand");
        sizes.push(bytes.len() - 10 * 64);
    }
    assert!(sizes[1] * 3 < sizes[0] * 2 && sizes[2] * 3 < sizes[0] * 2, "{sizes:?}");
    assert!(sizes[3] > sizes[0], "what was not kept is not built on: {sizes:?}");
}

#[test]
fn what_builds_on_something_else_is_refused() {
    let entries = entries(20);
    let mut codec = Codec::default();
    let first = codec.encode(&pack(&entries[..10]), &Prefix::default());
    let second = codec.encode(&pack(&entries[10..]), &first.next);
    let bytes = on_the_wire(&second, true);
    assert!(decode(testing::fleet(), &bytes, &mut Prefix::default()).is_err());
    assert!(decode(testing::fleet(), &bytes, &mut first.next.clone()).is_ok());
}

#[test]
fn what_is_kept_is_bounded() {
    let long = vec![7; PREFIX_BYTES_MAX + 10];
    assert_eq!(end_of(&[1; 100], &long).len(), PREFIX_BYTES_MAX);
    let both = end_of(&long, &[9; 100]);
    assert_eq!((both.len(), both[both.len() - 101], both[both.len() - 100]), (PREFIX_BYTES_MAX, 7, 9));
    assert_eq!(&*end_of(&[1], &[2, 3]), [1, 2, 3]);
}

#[test]
fn small_packs_and_noise_are_stored() {
    let mut codec = Codec::default();
    for plain in [vec![7; 100], blake3_noise(4_000)] {
        let body = codec.encode(&Pack { plain: plain.clone(), noise: vec![] }, &Prefix::default());
        assert_eq!(body.bytes.len(), plain.len() + 2);
    }
    let body = codec.encode(&Pack { plain: vec![7; 10_000], noise: vec![1; 64] }, &Prefix::default());
    assert!(body.bytes.len() < 200);
}

#[test]
fn a_bomb_is_refused_by_its_length() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
    for claimed in [64 << 20, EVENTS_BYTES_MAX as u64, 10] {
        let mut writer = Writer { bytes: vec![COMPRESSED, 0] };
        writer.varint(claimed);
        writer.fixed(&bomb);
        assert!(decode(testing::fleet(), &writer.bytes, &mut Prefix::default()).is_err());
    }
}

proptest! {
    /// Whatever arrives, decoding ends with records or an error.
    #[test]
    fn arbitrary_bodies_do_no_harm(flags in 0u8..9, body in proptest::collection::vec(any::<u8>(), 0..400)) {
        let bytes = [&[flags], body.as_slice()].concat();
        let mut prefix = Prefix { bytes: vec![3; 50].into(), serial: 0 };
        let _ = decode(testing::fleet(), &bytes, &mut prefix);
    }
}

fn blake3_noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}
