#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use driftless_core::event::ChainId;
use driftless_core::ids::{Author, EventId};
use driftless_core::pack::Pack;
use driftless_core::vector::Head;
use proptest::prelude::*;

use super::*;
use crate::proto::codec::{Codec, Prefix};

fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

fn vector() -> Vector {
    let chain = |n: u8| ChainId { author: Author([n; 32]), boot: Boot([n; 16]) };
    let head = |seq| Head { seq, id: EventId([7; 32]) };
    [(chain(1), head(5)), (chain(2), head(1))].into_iter().collect()
}

fn cells(counts: &[i64]) -> Vec<Cell> {
    counts.iter().map(|count| Cell { items: 1 << 90, checks: 77, count: *count }).collect()
}

fn hello(scopes: &[&str]) -> Hello {
    Hello {
        protocol: (1, 1),
        schema: (1, 1),
        fleet: FleetId([1; 32]),
        boot: Boot([2; 16]),
        interest: Interest::Scopes(scopes.iter().map(|text| scope(text)).collect::<BTreeSet<_>>()),
        holdings: Holdings::Scopes(vec![[9; 16]; scopes.len()]),
    }
}

fn frames() -> Vec<Frame> {
    vec![
        Frame::Hello(hello(&[
            "fleet",
            "profiles/default",
            "sites/default/store-0001",
            "catalog/default/pos",
        ])),
        Frame::Hello(Hello { interest: Interest::All, holdings: Holdings::Root([3; 16]), ..hello(&[]) }),
        Frame::Vector { scope: scope("fleet"), vector: vector(), ask: Ask::Reply },
        Frame::Vector { scope: scope("profiles/acme"), vector: Vector::default(), ask: Ask::Restart },
        Frame::Restarted { scope: scope("fleet") },
        Frame::Ack { through: 300, incomplete: vec![2, 299] },
        Frame::Covers { scope: scope("sites/acme/store-1") },
        Frame::Cells(Cells { root: Some([3; 16]), first: 0, scopes: 2, cells: cells(&[2, 1, 0]) }),
        Frame::Cells(Cells { root: None, first: 3, scopes: u64::MAX, cells: cells(&[-7, i64::MIN]) }),
        Frame::More { cells: 4_096 },
        Frame::Found { differing: vec![[1; 4], [2; 4]], lacking: vec![[3; 4]] },
        Frame::Page { scopes: vec![(scope("sites/acme/s"), [4; 16])], last: true },
        Frame::Interest { added: vec![(scope("catalog/acme/pos"), [5; 16])], removed: vec![scope("fleet")] },
        Frame::Announce(vec![(scope("fleet"), vector())]),
        Frame::Presence(vec![
            Told { site: scope("sites/acme/store-1"), silent_ms: None },
            Told { site: scope("sites/acme/store-2"), silent_ms: Some(0) },
            Told { site: scope("sites/other/a"), silent_ms: Some(86_400_000) },
        ]),
        Frame::Uplink(true),
        Frame::Bye { code: 7, reason: "cut by operator".into() },
    ]
}

#[test]
fn every_frame_comes_back_as_it_was_sent() {
    for (number, frame) in frames().into_iter().enumerate() {
        let bytes = encode(number as u64, &frame);
        assert_eq!(frame_length(&bytes).unwrap(), Some(bytes.len()));
        assert_eq!(decode(&bytes).unwrap(), (number as u64, frame));
    }
    let pack = Pack { plain: vec![1; 500], noise: vec![2; 3] };
    let body = Codec::default().encode(&pack, &Prefix::default());
    for keep in [false, true] {
        let (number, frame) = decode(&encode_events(5, &body, keep)).unwrap();
        let Frame::Events { body: received } = frame else { panic!("{frame:?}") };
        assert_eq!((number, received[0]), (5, body.flags(keep)));
        assert_eq!(received[1..], body.bytes[1..]);
    }
}

#[test]
fn a_cell_takes_about_21_bytes() {
    let counts: Vec<i64> = (0..100).map(|at| 20_000 / (at + 2) + at % 7 - 3).collect();
    let frame = Cells { root: Some([0; 16]), first: 0, scopes: 10_000, cells: cells(&counts) };
    let bytes = encode(3, &Frame::Cells(frame)).len();
    assert!(bytes <= 21 * 100 + 60, "{bytes} bytes");
}

#[test]
fn a_greeting_of_an_edge_is_small() {
    let hello = hello(&["fleet", "profiles/default", "sites/default/store-0001", "catalog/default/pos"]);
    let bytes = encode(0, &Frame::Hello(hello)).len();
    assert!(bytes <= 220, "{bytes} bytes");
}

#[test]
fn an_acknowledgement_is_tiny() {
    assert!(encode(70_000, &Frame::Ack { through: 70_000, incomplete: vec![] }).len() <= 14);
}

#[test]
fn frames_of_a_newer_protocol_are_skipped() {
    let bytes = envelope(3, 77, &[b"whatever it may mean"]);
    let decoded = decode(&bytes).unwrap();
    assert_eq!(decoded, (3, Frame::Unknown { code: 77 }));
}

#[test]
fn any_flipped_bit_is_noticed() {
    for frame in frames() {
        let bytes = encode(1, &frame);
        for at in (0..bytes.len()).step_by(7) {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(decode(&damaged).is_err(), "{frame:?}, byte {at}, bit {bit}");
            }
        }
    }
}

#[test]
fn lengths_are_refused_before_anything_is_read() {
    assert_eq!(frame_length(&[]).unwrap(), None);
    assert_eq!(frame_length(&[0x80, 0x80]).unwrap(), None);
    assert_eq!(frame_length(&[0x80, 0x80, 0x40]).unwrap(), Some(FRAME_BYTES_MAX + 3));
    assert!(frame_length(&[0x81, 0x80, 0x40]).is_err(), "one byte more than the limit");
    assert!(frame_length(&[0xff, 0xff, 0xff, 0xff, 0x01]).is_err());
    assert!(frame_length(&[0x80, 0x00]).is_err(), "a length has one form");
    assert!(decode(&[0]).is_err());
    assert!(decode(&[3, 1, 2, 3]).is_err());
}

#[test]
fn farewells_are_cut_to_size() {
    let reason = "ä".repeat(REASON_BYTES_MAX);
    let (_, frame) = decode(&encode(0, &Frame::Bye { code: 1, reason })).unwrap();
    assert_eq!(frame, Frame::Bye { code: 1, reason: "ä".repeat(REASON_BYTES_MAX / 2) });
}

proptest! {
    /// Whatever arrives, decoding ends with a frame or an error.
    #[test]
    fn arbitrary_bodies_do_no_harm(code in 0u8..24, body in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode(&envelope(0, code, &[&body]));
    }

    /// The same for frames that were right but for a few bytes.
    #[test]
    fn nearly_right_bodies_do_no_harm(
        which in 0usize..15,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let bytes = encode(0, &frames()[which]);
        let code = decode_code(&bytes);
        let mut body = bytes[body_start(&bytes)..bytes.len() - CHECK_BYTES].to_vec();
        for (index, byte) in edits {
            if !body.is_empty() {
                let at = index.index(body.len());
                body[at] = byte;
            }
        }
        let _ = decode(&envelope(0, code, &[&body]));
    }
}

fn body_start(bytes: &[u8]) -> usize {
    let mut reader = Reader::new(bytes);
    reader.varint("length").unwrap();
    reader.byte("type").unwrap();
    reader.varint("number").unwrap();
    reader.position()
}

fn decode_code(bytes: &[u8]) -> u8 {
    let mut reader = Reader::new(bytes);
    reader.varint("length").unwrap();
    reader.byte("type").unwrap()
}
