#![allow(clippy::unwrap_used)]
use driftless_core::event::ChainId;
use driftless_core::ids::Boot;
use driftless_core::wire::{Reader, Writer};
use proptest::prelude::*;

use super::*;
use crate::proto::delivery::Delivery;

fn place(scope: &str, seq: u64) -> EventPlace {
    let chain = ChainId { author: Author([7; 32]), boot: Boot([1; 16]) };
    EventPlace { scope: scope.parse().unwrap(), chain, seq }
}

fn store(site: &str) -> PeerKind {
    PeerKind::Site { namespace: "acme".into(), site: site.into(), node: "n1".into() }
}

fn questions() -> Vec<Question> {
    let site = Some(("acme".to_owned(), "store-1".to_owned()));
    let after = Author([9; 32]);
    vec![
        Question::Deliveries { place: place("profiles/acme", 3), site, after },
        Question::Deliveries { place: place("fleet", 1), site: None, after: Author::default() },
        Question::Reach {
            places: vec![place("fleet", 1), place("sites/acme/store-1", u64::MAX)],
            after: (String::new(), String::new()),
        },
    ]
}

fn answers() -> Vec<Answer> {
    let deliveries = [
        Delivery::Durable,
        Delivery::InFlight,
        Delivery::Waiting { events: 3, bytes: None },
        Delivery::Waiting { events: 3, bytes: Some(0) },
        Delivery::NotHere,
        Delivery::NotConnected { for_ms: 90_000, reason: "cut by operator".into() },
        Delivery::OutsideInterest,
        Delivery::Comparing,
    ];
    let peers = deliveries.into_iter().enumerate().map(|(at, delivery)| PeerDelivery {
        key: Author([at as u8; 32]),
        peer: store(&format!("store-{at}")),
        connected: at % 2 == 0,
        cut: at == 5,
        heard_ms: 1_000 * at as u64,
        delivery,
    });
    let (mut some, mut all) = (Bits::default(), Bits::default());
    (0..PLACES_MAX).for_each(|at| all.set(at, true));
    some.set(200, true);
    let reach = |site: &str, wants, holds| SiteReach {
        site: ("acme".to_owned(), site.to_owned()),
        connected: site == "a",
        wants,
        holds,
    };
    let none = Bits::default();
    let sites =
        vec![reach("a", all, all), reach("b", all, some), reach("c", some, none), reach("d", none, none)];
    vec![
        Answer::Deliveries { peers: peers.collect(), more: true },
        Answer::Reach { sites, more: false },
        Answer::Busy,
    ]
}

#[test]
fn questions_and_answers_round_trip_and_no_part_of_one_is_another() {
    for question in questions() {
        let mut writer = Writer::default();
        question.encode(&mut writer);
        assert_eq!(Question::decode(&mut Reader::new(&writer.bytes)).unwrap(), question);
        for cut in 0..writer.bytes.len() {
            assert!(Question::decode(&mut Reader::new(&writer.bytes[..cut])).is_err());
        }
    }
    for answer in answers() {
        let mut writer = Writer::default();
        answer.encode(&mut writer);
        assert_eq!(Answer::decode(&mut Reader::new(&writer.bytes)).unwrap(), answer);
        for cut in 0..writer.bytes.len() {
            assert!(Answer::decode(&mut Reader::new(&writer.bytes[..cut])).is_err());
        }
    }
}

#[test]
fn a_site_in_an_answer_costs_its_name_and_a_few_bytes() {
    let mut wants = Bits::default();
    (0..20).for_each(|at| wants.set(at, true));
    let site = ("acme".to_owned(), "store-1".to_owned());
    let reach = SiteReach { site, connected: true, wants, holds: wants };
    let mut writer = Writer::default();
    Answer::Reach { sites: vec![reach], more: false }.encode(&mut writer);
    assert_eq!(writer.bytes.len(), 3 + 5 + 8 + 1 + 4, "20 events of one site that holds them all");
}

proptest! {
    #[test]
    fn no_bytes_of_a_peer_break_anything(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Question::decode(&mut Reader::new(&bytes));
        let _ = Answer::decode(&mut Reader::new(&bytes));
    }
}
