//! What one peer does is no business of the others.

use std::collections::BTreeMap;

use super::star::{HUB, Sent, Star};
use super::*;

const EDGES: usize = 8;
/// The edge that does not do what it should.
const ODD: usize = 5;
const FAST: u64 = 1_000_000;

/// What the odd edge does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Odd {
    Absent,
    Honest,
    /// Takes frames and never acknowledges any.
    Stuck,
    /// Gets a hundred bytes a second.
    Slow,
    /// Has everything sent again and again, sends rubbish, and comes back.
    Hostile,
}

/// A busy time at a hub; returns what it sent to each of the others, and when.
fn busy(odd: Odd) -> (BTreeMap<usize, Vec<Sent>>, Star) {
    let mut star = Star::new(EDGES, edge_interest, Limits::default());
    star.write(HUB, &corpus::profiles()[..50], 1);
    for edge in 1..=EDGES {
        match odd {
            Odd::Absent if edge == ODD => {}
            Odd::Slow if edge == ODD => star.connect(edge, 100, 50),
            _ => star.connect(edge, FAST, 10 + edge as u64),
        }
        star.seats[edge].commits = odd != Odd::Stuck || edge != ODD;
    }
    for round in 0..40 {
        star.write(HUB, &corpus::profiles()[50 + round * 10..][..10], 1);
        for _ in 0..10 {
            star.pass(10);
            if odd == Odd::Hostile {
                pester(&mut star, round);
            }
        }
    }
    star.pass(5_000);
    let mut others: BTreeMap<usize, Vec<Sent>> = BTreeMap::new();
    for sent in star.sent.iter().filter(|sent| sent.from == HUB && sent.to != ODD) {
        others.entry(sent.to).or_default().push(sent.clone());
    }
    (others, star)
}

/// Greets like anybody, then has the profiles sent again and again and takes them all, says what
/// cannot be, and comes back.
fn pester(star: &mut Star, round: usize) {
    match round % 8 {
        0 => {
            star.muted.remove(&ODD);
            if star.session(ODD).is_none() {
                star.connect(ODD, FAST, 10);
            }
        }
        7 => star.forge(ODD, &Frame::Ack { through: u64::MAX / 2, incomplete: vec![] }),
        _ => {
            star.muted.insert(ODD);
            let scope: Scope = "profiles/acme".parse().unwrap();
            star.forge(ODD, &Frame::Vector { scope, vector: Vector::default(), ask: Ask::Restart });
            let through = star.session(ODD).map_or(0, |session| session.next_sent - 1);
            star.forge(ODD, &Frame::Ack { through, incomplete: vec![] });
        }
    }
}

#[test]
fn a_slow_a_stuck_and_a_hostile_peer_change_nothing_for_the_others() {
    let (calm, star) = busy(Odd::Absent);
    for edge in (1..=EDGES).filter(|edge| *edge != ODD) {
        assert!(star.is_complete(edge, |_| true), "edge {edge}");
    }
    let frames = calm.values().map(|sent| sent.iter().filter(|sent| sent.is_events).count());
    assert!(frames.clone().count() == EDGES - 1 && frames.min() > Some(100), "the others are kept busy");
    for odd in [Odd::Honest, Odd::Stuck, Odd::Slow, Odd::Hostile] {
        let (others, star) = busy(odd);
        for (edge, without) in &calm {
            assert_eq!(&others[edge], without, "{odd:?}");
        }
        let limits = Limits::default();
        if let Some(session) = star.session(ODD).filter(|_| odd != Odd::Honest) {
            assert!(
                session.in_flight_bytes <= limits.window_bytes * 2,
                "{odd:?}: {}",
                session.in_flight_bytes
            );
            assert!(session.pending.len() <= 3, "a peer that lags is a cursor for each scope");
        }
        if odd == Odd::Hostile {
            let bytes = |to| star.sent.iter().filter(|s| s.to == to).map(|s| s.bytes).sum::<usize>();
            assert!(bytes(ODD) > 4 * bytes(ODD + 1), "it gets what it asks for, {} bytes", bytes(ODD));
        }
        let violations = star.seats[HUB].engine.counters().violations;
        assert_eq!(violations > 0, odd == Odd::Hostile, "{odd:?}: {violations}");
    }
}

#[test]
fn what_a_stuck_peer_has_in_flight_stays_small() {
    let (_, star) = busy(Odd::Stuck);
    let session = star.session(ODD).unwrap();
    let limits = Limits::default();
    assert!(session.in_flight_bytes <= limits.window_bytes_first * 2, "{}", session.in_flight_bytes);
    assert!(session.in_flight.len() <= limits.window_frames);
    let profiles: Scope = "profiles/acme".parse().unwrap();
    assert!(session.pending.contains_key(&profiles), "the rest waits in the log");
}
