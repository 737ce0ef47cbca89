//! Hubs with very many scopes that find the few, or the many, that differ.

use std::collections::BTreeMap;

use driftless_core::name::Kind;
use driftless_core::store::MemoryStore;
use driftless_core::testing::put;
use serde_json::json;

use super::super::*;
use super::table::{HUB_EU, HUB_US, Seat, Table};
use crate::proto::frame::{FRAME_BYTES_MAX, Holdings};
use crate::proto::riblt::Cell;
use crate::proto::summary::{SKETCH_CELLS, tag};
use crate::proto::{PeerKind, PeerState};

const EU: usize = 0;
const US: usize = 1;

/// What was carried between two hubs, in bytes: greetings, finding, vectors, everything else.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Bytes {
    greeting: usize,
    finding: usize,
    vectors: usize,
    events: usize,
    largest: usize,
}

impl Bytes {
    fn of(world: &Table) -> Self {
        let mut bytes = Self::default();
        for (_, frame) in &world.carried {
            bytes.largest = bytes.largest.max(frame.len());
            let kind = match frame::decode(frame).unwrap().1 {
                Frame::Hello(_) => &mut bytes.greeting,
                Frame::Cells(_) | Frame::More { .. } | Frame::Found { .. } | Frame::Page { .. } => {
                    &mut bytes.finding
                }
                Frame::Vector { .. } | Frame::Covers { .. } => &mut bytes.vectors,
                _ => &mut bytes.events,
            };
            *kind += frame.len();
        }
        bytes
    }
}

fn site(number: usize) -> String {
    format!("store-{number:04}")
}

fn put_site(world: &mut Table, hub: usize, name: &str, value: u64) {
    let resource = json!({"spec": {"region": "eu"}, "metadata": {"labels": {"value": value.to_string()}}});
    put(&mut world.nodes[hub].replica, Kind::Site, "acme", name, resource);
}

/// A disk of a hub with so many sites.
fn disk(sites: usize) -> MemoryStore {
    let mut world = Table::set();
    let hub = world.hub("hub-eu", HUB_EU, 1);
    for number in 0..sites {
        put_site(&mut world, hub, &site(number), 0);
    }
    world.commit(hub);
    world.nodes[hub].replica.store().fork()
}

/// Two hubs that hold the same.
fn twins(disk: &MemoryStore) -> Table {
    let mut world = Table::set();
    for (name, key) in [("hub-eu", HUB_EU), ("hub-us", HUB_US)] {
        let kind = PeerKind::Hub { name: name.into(), region: "eu".into() };
        world.nodes.push(Seat::new(kind, key, 2, disk.fork(), Interest::All));
    }
    world
}

fn change(world: &mut Table, hub: usize, sites: impl IntoIterator<Item = usize>) {
    sites.into_iter().for_each(|number| put_site(world, hub, &site(number), 1));
    world.commit(hub);
}

fn assert_converged(world: &mut Table) {
    world.pass(2_000);
    let digests = |hub: usize| -> BTreeMap<String, String> {
        let replica = &world.nodes[hub].replica;
        replica.scopes().map(|scope| (scope.to_string(), replica.digest(scope).to_string())).collect()
    };
    assert_eq!(digests(EU), digests(US));
    for (hub, peer) in [(EU, US), (US, EU)] {
        let status = world.peer(hub, peer);
        assert_eq!((status.state, status.lag_events), (PeerState::InSync, 0));
        let refused = status.reason.is_some_and(|reason| reason.contains("violation"));
        assert!(!refused, "nobody broke a rule");
        let session = &world.nodes[hub].engine.sessions[&world.session(hub, peer)];
        assert!(!session.is_owed() && session.told.is_empty() && session.differing.is_empty());
    }
}

/// Not only their mean. How items fall into cells is chance: one scope is found by whatever cells there
/// are, and of several a few in a hundred need more cells than that.
#[test]
fn single_small_searches_keep_to_120_bytes_a_scope() {
    let (mut world, mut value) = (twins(&disk(1_000)), 1);
    for (differing, searches) in [(1, 100), (2, 100), (3, 100), (5, 100), (10, 100), (30, 30)] {
        let (mut above, mut sum) = (0, 0);
        for search in 0..searches {
            world.carried.clear();
            for number in 0..differing {
                value += 1;
                put_site(&mut world, EU, &site((search * 37 + number * 7) % 1_000), value);
            }
            world.commit(EU);
            world.connect(US, EU);
            assert_converged(&mut world);
            world.disconnect(US, EU, "link lost");
            let bytes = Bytes::of(&world);
            let to_find = bytes.greeting + bytes.finding;
            above += usize::from(to_find > 300 + 120 * differing);
            sum += to_find;
        }
        eprintln!("{differing} of 1,000: {} bytes to find, {above} of {searches} above", sum / searches);
        assert!(above <= if differing == 1 { 0 } else { searches / 20 }, "{differing}: {above}");
    }
}

/// The mean over a few searches each, to either side.
#[test]
fn hubs_find_the_scopes_that_differ_for_120_bytes_each() {
    let disk = disk(10_000);
    for (ahead, vector_bytes) in [([true, false], 300), ([false, true], 160), ([true, true], 420)] {
        let (mut world, mut used) = (twins(&disk), 0);
        for (differing, searches) in [(0, 1), (1, 8), (10, 8), (100, 2), (1_000, 1)] {
            world.carried.clear();
            for _ in 0..searches {
                for hub in [EU, US].into_iter().filter(|hub| ahead[*hub]) {
                    change(&mut world, hub, (0..differing).map(|n| (used + n * 7) % 10_000));
                }
                used += 7 * differing;
                world.connect(US, EU);
                assert_converged(&mut world);
                world.disconnect(US, EU, "link lost");
            }
            let bytes = Bytes::of(&world);
            let to_find = (bytes.greeting + bytes.finding) / searches;
            let vectors = bytes.vectors / searches;
            eprintln!("{differing} of 10,000, ahead {ahead:?}: {to_find} bytes to find, vectors {vectors}");
            assert!(to_find <= 300 + 120 * differing, "{differing}, ahead {ahead:?}: {to_find}, {bytes:?}");
            assert!(
                vectors <= vector_bytes * differing,
                "{differing}, ahead {ahead:?}: {vectors}, {bytes:?}"
            );
        }
    }
}

#[test]
fn what_only_one_hub_holds_needs_no_vector() {
    let mut world = twins(&disk(50));
    for number in 100..140 {
        put_site(&mut world, EU, &site(number), 1);
        put_site(&mut world, US, &site(number + 100), 1);
    }
    world.commit(EU);
    world.commit(US);
    world.connect(US, EU);
    let bytes = Bytes::of(&world);
    assert_eq!(bytes.vectors, 0, "{bytes:?}");
    assert!(bytes.greeting + bytes.finding <= 300 + 60 * 80, "{bytes:?}");
    assert_converged(&mut world);
}

#[test]
fn a_greeting_does_not_look_at_all_scopes() {
    let mut world = twins(&disk(300));
    world.connect(US, EU);
    assert!(world.nodes.iter().all(|seat| seat.engine.own.is_empty()), "nothing was read for it");
    change(&mut world, EU, [7]);
    world.run();
    assert_eq!(world.nodes[EU].engine.own.len(), 1);
    assert_converged(&mut world);
}

#[test]
fn very_many_differences_are_listed_page_by_page() {
    let mut world = twins(&disk(4_200));
    change(&mut world, EU, (0..4_200).filter(|n| n % 3 != 0));
    change(&mut world, US, (0..4_200).filter(|n| n % 4 != 0));
    for number in 5_000..5_100 {
        put_site(&mut world, EU, &site(number), 1);
        put_site(&mut world, US, &site(number + 500), 1);
    }
    world.commit(EU);
    world.commit(US);
    world.connect(US, EU);
    let bytes = Bytes::of(&world);
    assert!(world.burst_max <= 256, "{} frames at once", world.burst_max);
    assert!(bytes.largest < FRAME_BYTES_MAX / 2, "{bytes:?}");
    let is_page = |frame: &[u8]| matches!(frame::decode(frame), Ok((_, Frame::Page { .. })));
    let pages = world.carried.iter().filter(|(_, frame)| is_page(frame)).count();
    assert!(pages >= 4, "{pages} pages");
    assert_converged(&mut world);
}

#[test]
fn an_empty_hub_gets_everything_from_a_full_one() {
    for (full, empty) in [(EU, US), (US, EU)] {
        let mut world = twins(&disk(4_000));
        let blank = MemoryStore::new();
        let kind = world.nodes[empty].kind.clone();
        world.nodes[empty] = Seat::new(kind, world.nodes[empty].key, 9, blank, Interest::All);
        world.connect(US, EU);
        assert_eq!(world.nodes[empty].replica.scopes().count(), world.nodes[full].replica.scopes().count());
        assert_converged(&mut world);
    }
}

#[test]
fn hubs_that_go_on_working_meanwhile_agree() {
    let disk = disk(60);
    for seed in 0..60u64 {
        let mut world = twins(&disk);
        change(&mut world, EU, (0..60).filter(|n| (n * 7 + seed as usize).is_multiple_of(3)));
        change(&mut world, US, (0..60).filter(|n| (n * 5 + seed as usize).is_multiple_of(4)));
        let (mut step, mut random) = (0, seed);
        world.start(US, EU);
        while world.step() {
            step += 1;
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if step % 3 == 0 && step < 200 {
                let (hub, number) = ((random >> 40) as usize % 2, (random >> 50) as usize % 80);
                put_site(&mut world, hub, &site(number), 1_000 + step);
                world.commit(hub);
            }
        }
        assert_converged(&mut world);
        let chains = [EU, US].map(|hub| world.chain(hub));
        for scope in world.nodes[EU].replica.scopes().cloned().collect::<Vec<_>>() {
            for (hub, peer) in [(EU, US), (US, EU)] {
                for chain in chains {
                    let seq = world.nodes[hub].replica.vector(&scope).seq(&chain);
                    if seq == 0 {
                        continue;
                    }
                    let delivery = world.delivery(hub, peer, &scope, chain, seq);
                    assert_eq!(delivery, crate::proto::Delivery::Durable, "{scope}, seed {seed}");
                }
            }
        }
    }
}

#[test]
fn scopes_with_one_tag_are_told_apart() {
    let (one, other) = two_with_one_tag();
    let disk = disk(30);
    // Each is held by nobody, the acceptor, the dialler, both alike, or both differently; found by cells
    // and by pages.
    for (state, by_pages) in (0..25).flat_map(|state| [(state, false), (state, true)]) {
        let mut world = twins(&disk);
        for (name, state) in [(&one, state % 5), (&other, state / 5)] {
            if matches!(state, 1 | 3 | 4) {
                put_site(&mut world, EU, name, 1);
                world.commit(EU);
            }
            if state == 3 {
                let records = world.records(EU, &format!("sites/acme/{name}"));
                world.nodes[US].replica.merge(&records).unwrap();
                world.commit(US);
            }
            if matches!(state, 2 | 4) {
                put_site(&mut world, US, name, 2);
                world.commit(US);
            }
        }
        if by_pages {
            take_sketches_for_equal(&mut world);
        }
        world.connect(US, EU);
        assert_converged(&mut world);
    }
}

#[test]
fn equal_sketches_of_different_roots_are_told_apart() {
    let mut world = twins(&disk(40));
    change(&mut world, EU, [3]);
    take_sketches_for_equal(&mut world);
    world.connect(US, EU);
    let bytes = Bytes::of(&world);
    assert!(bytes.finding > 40 * 40, "all scopes were listed: {bytes:?}");
    assert_converged(&mut world);
}

#[test]
fn frames_that_do_not_belong_to_the_search_end_the_session() {
    let cells = |first, number| {
        let root = (first == 0).then_some([7; 16]);
        Frame::Cells(frame::Cells {
            root,
            first,
            scopes: 9,
            cells: vec![Cell { count: 5, ..Cell::default() }; number],
        })
    };
    let page = |names: &[&str], last| Frame::Page {
        scopes: names.iter().map(|name| (name.parse().unwrap(), [1; 16])).collect(),
        last,
    };
    // Frames from the dialler to the acceptor, and the other way.
    let to_acceptor = [
        (vec![cells(8, 8)], "cells out of turn"),
        (vec![cells(0, 0)], "cells out of turn"),
        (vec![cells(0, 8), cells(0, 8)], "cells out of turn"),
        (vec![cells(0, 8), cells(8, 1)], "cells out of turn"),
        (vec![page(&["fleet"], true)], "page out of turn"),
        (vec![Frame::More { cells: 16 }], "a wish for cells out of turn"),
        (vec![Frame::Found { differing: vec![], lacking: vec![] }], "what was found out of turn"),
        (vec![Frame::Covers { scope: Scope::Fleet }], "covers out of turn"),
    ];
    for (frames, expected) in to_acceptor {
        let mut world = twins(&disk(3));
        world.connect(US, EU);
        assert!(world.inject(EU, US, frames).contains(expected), "{expected}");
    }
    let to_dialler = [
        (vec![cells(0, 8)], "cells out of turn"),
        (vec![Frame::More { cells: 8 }], "more than 4096 cells"),
        (vec![page(&[], false)], "page out of turn"),
        (vec![page(&["profiles/acme", "fleet"], true)], "page out of turn"),
        (vec![page(&["fleet"], false), page(&["fleet"], true)], "page out of turn"),
        (vec![page(&[], true), page(&[], true)], "page out of turn"),
    ];
    for (frames, expected) in to_dialler {
        let mut world = twins(&disk(3));
        change(&mut world, EU, [1]);
        world.start(US, EU);
        // The dialler has described itself and waits; what it hears is not what the acceptor says.
        while world.waiting.front().is_some_and(|(node, _)| *node != EU || world.carried.len() < 3) {
            world.step();
        }
        world.waiting.clear();
        assert!(world.inject(US, EU, frames).contains(expected), "{expected}");
    }
}

#[test]
fn cells_that_were_made_up_cost_little() {
    let mut world = twins(&disk(3));
    world.connect(US, EU);
    let session = world.session(EU, US);
    let (mut first, mut asked, mut answers) = (0, 8, 0);
    while first < SKETCH_CELLS {
        let made_up = |at: usize| Cell { items: at as u128, checks: at as u32, count: 1 };
        let cells = (first..asked).map(made_up).collect();
        let root = (first == 0).then_some([7; 16]);
        let frame = Frame::Cells(frame::Cells { root, first, scopes: 9, cells });
        let number = world.nodes[EU].engine.sessions[&session].next_received;
        world.carried.clear();
        world.input(EU, Input::Frame { session, bytes: frame::encode(number, &frame) });
        answers += 1;
        first = asked;
        match frame::decode(&world.carried[0].1).unwrap().1 {
            Frame::More { cells } => asked = cells,
            Frame::Page { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(answers <= 40, "{answers} rounds");
}

/// Makes both hubs' sketches equal, as if different digests' hashes began alike.
fn take_sketches_for_equal(world: &mut Table) {
    for seat in &mut world.nodes {
        seat.engine.root_digest(&seat.replica);
    }
    let sketch = world.nodes[US].engine.summary.as_ref().unwrap().sketch().clone();
    world.nodes[EU].engine.summary.as_mut().unwrap().replace_sketch(sketch);
}

/// Two names of sites whose scopes have one tag.
fn two_with_one_tag() -> (String, String) {
    let mut seen = BTreeMap::new();
    (0..)
        .find_map(|number| {
            let name = format!("twin-{number}");
            let scope: Scope = format!("sites/acme/{name}").parse().unwrap();
            seen.insert(tag(&scope), name.clone()).map(|other| (other, name))
        })
        .unwrap()
}

#[test]
fn an_edge_is_greeted_as_before() {
    let mut world = twins(&disk(2_000));
    let edge = world.edge("store-1", super::table::STORE_1, 1);
    world.connect(edge, EU);
    assert!(world.nodes[EU].engine.summary.is_none(), "an edge needs no summary of everything");
    let hello = frame::decode(&world.carried[1].1).unwrap().1;
    assert!(
        matches!(hello, Frame::Hello(hello) if matches!(&hello.holdings, Holdings::Scopes(of) if of.len() == 3))
    );
}
