//! Conversations of engines, their frames carried by hand.
#![allow(clippy::unwrap_used)]

mod asking;
mod bulk;
mod corpus;
mod fairness;
mod finding;
mod presence;
mod star;
mod table;

use std::collections::BTreeSet;

use driftless_core::name::Kind;
use driftless_core::pack::Pack;
use driftless_core::testing::{self, put};
use proptest::prelude::*;
use serde_json::json;

use self::table::{
    HUB_EU, HUB_US, STORE_1, STORE_2, Seat, Table, edge_interest, interest, is_events, kind_of,
};
use super::*;
use crate::proto::codec::Prefix;
use crate::proto::riblt::Cell;
use crate::proto::{Delivery, PeerState};

#[test]
fn a_new_edge_gets_what_it_wants_and_nothing_else() {
    let mut world = Table::set();
    let (hub, edge) = (world.hub("hub-eu", HUB_EU, 1), world.edge("store-1", STORE_1, 1));
    world.write(hub, Kind::Profile, "base", 1);
    world.write(hub, Kind::Override, "store-1.ops", 1);
    world.write(hub, Kind::Override, "store-2.ops", 1);
    world.connect(edge, hub);
    assert!(world.shows(edge, Kind::Profile, "base", 1));
    assert!(world.shows(edge, Kind::Override, "store-1.ops", 1));
    let held: BTreeSet<String> = world.nodes[edge].replica.scopes().map(ToString::to_string).collect();
    assert_eq!(held.into_iter().collect::<Vec<_>>(), ["fleet", "profiles/acme", "sites/acme/store-1"]);
    assert_eq!(world.peer(hub, edge).state, PeerState::InSync);
    assert_eq!(world.peer(hub, edge).lag_events, 0);
}

#[test]
fn what_is_in_sync_greets_in_two_frames() {
    let mut world = Table::set();
    let (hub, edge) = (world.hub("hub-eu", HUB_EU, 1), world.edge("store-1", STORE_1, 1));
    world.connect(edge, hub);
    world.disconnect(edge, hub, "link lost");
    world.carried.clear();
    world.connect(edge, hub);
    let sizes: Vec<usize> = world.carried.iter().map(|(_, bytes)| bytes.len()).collect();
    assert_eq!(sizes.len(), 2, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 200), "{sizes:?}");
}

#[test]
fn writes_travel_both_ways_while_connected() {
    let mut world = Table::set();
    let (hub, edge) = (world.hub("hub-eu", HUB_EU, 1), world.edge("store-1", STORE_1, 1));
    world.connect(edge, hub);
    world.write(hub, Kind::Profile, "base", 7);
    world.run();
    assert!(world.shows(edge, Kind::Profile, "base", 7));
    world.write(edge, Kind::Machine, "store-1.m1", 3);
    world.run();
    assert!(world.shows(hub, Kind::Machine, "store-1.m1", 3));
}

#[test]
fn nothing_is_acknowledged_or_passed_on_before_it_is_durable() {
    let mut world = Table::set();
    let (hub, edge) = (world.hub("hub-eu", HUB_EU, 1), world.edge("store-1", STORE_1, 1));
    let other = world.edge("store-2", STORE_2, 1);
    world.connect(edge, hub);
    world.connect(other, hub);
    world.nodes[hub].commits = false;
    world.write(edge, Kind::Machine, "store-1.m1", 3);
    let chain = world.chain(edge);
    let scope: Scope = "sites/acme/store-1".parse().unwrap();
    world.run();
    assert_eq!(world.delivery(edge, hub, &scope, chain, 1), Delivery::InFlight);
    world.nodes[hub].commits = true;
    world.commit(hub);
    world.run();
    assert_eq!(world.delivery(edge, hub, &scope, chain, 1), Delivery::Durable);
    assert_eq!(world.delivery(hub, other, &scope, chain, 1), Delivery::OutsideInterest);
}

#[test]
fn a_site_cannot_have_another_sites_state() {
    let mut world = Table::set();
    let hub = world.hub("hub-eu", HUB_EU, 1);
    let edge = world.edge("store-1", STORE_1, 1);
    world.nodes[edge].engine.config.interest = interest(&["fleet", "sites/acme/store-2"]);
    world.connect(edge, hub);
    assert_eq!(world.reason(hub, edge), "sites/acme/store-2 is not for acme/store-1.n1");
    assert!(world.nodes[edge].replica.scopes().next().is_none());
    world.nodes[edge].engine.config.interest = Interest::All;
    world.connect(edge, hub);
    assert_eq!(world.reason(hub, edge), "everything is not for acme/store-1.n1");
}

#[test]
fn a_site_cannot_push_into_another_sites_state() {
    let mut world = Table::set();
    let (hub, thief) = (world.hub("hub-eu", HUB_EU, 1), world.edge("store-1", STORE_1, 1));
    let victim = world.edge("store-2", STORE_2, 1);
    world.connect(victim, hub);
    world.connect(thief, hub);
    world.write(victim, Kind::Machine, "store-2.m1", 3);
    let scope = "sites/acme/store-2".parse().unwrap();
    let entry = world.nodes[victim].replica.log(&scope, 0, 1 << 20).unwrap().entries.pop().unwrap();
    let session = world.session(hub, thief);
    let body = Codec::default().encode(&Pack::of([(&scope, &entry)].into_iter()), &Prefix::default());
    let number = world.nodes[hub].engine.sessions[&session].next_received;
    let bytes = frame::encode_events(number, &body, false);
    world.input(hub, Input::Frame { session, bytes });
    assert!(world.reason(hub, thief).contains("sites/acme/store-2 is outside this session"));
}

#[test]
fn an_added_scope_is_synchronised_and_a_left_one_forgotten() {
    let mut world = Table::set();
    let (hub, edge) = (world.hub("hub-eu", HUB_EU, 1), world.edge("store-1", STORE_1, 1));
    world.write(hub, Kind::App, "pos", 1);
    world.write(hub, Kind::Profile, "base", 1);
    world.connect(edge, hub);
    assert!(!world.shows(edge, Kind::App, "pos", 1));
    world.set_interest(edge, interest(&["fleet", "sites/acme/store-1", "catalog/acme/pos"]));
    world.run();
    assert!(world.shows(edge, Kind::App, "pos", 1));
    assert!(!world.shows(edge, Kind::Profile, "base", 1), "a left scope is forgotten");
    world.write(hub, Kind::App, "pos", 2);
    world.write(hub, Kind::Profile, "base", 2);
    world.run();
    assert!(world.shows(edge, Kind::App, "pos", 2));
    assert_eq!(world.nodes[edge].replica.digest(&"profiles/acme".parse().unwrap()).0, [0; 32]);
    assert!(world.is_connected(edge, hub));
}

#[test]
fn what_comes_from_a_hub_goes_to_edges_and_is_announced_to_hubs() {
    let mut world = Table::set();
    let (eu, us) = (world.hub("hub-eu", HUB_EU, 1), world.hub("hub-us", HUB_US, 1));
    let third = world.hub("hub-ap", 3, 1);
    for (a, b) in [(us, eu), (third, us), (third, eu)] {
        world.connect(a, b);
    }
    let edge = world.edge("store-1", STORE_1, 1);
    world.connect(edge, us);
    world.carried.clear();
    world.write(eu, Kind::Profile, "base", 5);
    world.run();
    assert!(world.shows(edge, Kind::Profile, "base", 5) && world.shows(third, Kind::Profile, "base", 5));
    let between = |from: usize, to: usize, world: &Table| {
        let events =
            world.carried.iter().filter(|((f, t), bytes)| (*f, *t) == (from, to) && is_events(bytes));
        events.count()
    };
    assert_eq!(between(us, third, &world) + between(third, us, &world), 0, "hubs do not echo hubs");
    world.pass(1_000);
    assert_eq!(world.peer(us, third).lag_events, 0, "the announcement says that it is there");
}

#[test]
fn what_a_hub_missed_is_fetched_from_another() {
    let mut world = Table::set();
    let (eu, us) = (world.hub("hub-eu", HUB_EU, 1), world.hub("hub-us", HUB_US, 1));
    let third = world.hub("hub-ap", 3, 1);
    world.connect(us, eu);
    world.connect(third, us);
    // No link between the third hub and the first: the second got it from a hub and does not push it.
    world.write(eu, Kind::Profile, "base", 5);
    world.run();
    assert!(world.shows(us, Kind::Profile, "base", 5) && !world.shows(third, Kind::Profile, "base", 5));
    world.pass(2_000);
    assert!(world.shows(third, Kind::Profile, "base", 5));
}

#[test]
fn versions_without_overlap_are_named_on_both_sides() {
    let mut world = Table::set();
    let (hub, edge) = (world.hub("hub-eu", HUB_EU, 1), world.edge("store-1", STORE_1, 1));
    world.nodes[edge].engine.config.protocol = (3, 4);
    world.connect(edge, hub);
    assert_eq!(world.reason(hub, edge), "no common protocol version: here 1..1, there 3..4");
    assert!(world.reason(edge, hub).contains("here 1..1, there 3..4"));
    world.nodes[edge].engine.config.protocol = (1, 4);
    world.connect(edge, hub);
    assert!(world.is_connected(edge, hub));
}

#[test]
fn an_operator_cuts_and_heals() {
    let mut world = Table::set();
    let (hub, edge) = (world.hub("hub-eu", HUB_EU, 1), world.edge("store-1", STORE_1, 1));
    world.connect(edge, hub);
    let mut outputs = vec![];
    let target = CutTarget::Named("store-1".into());
    world.nodes[hub].engine.cut(target.clone(), Some(world.now + 5_000), &mut outputs);
    world.carry(hub, outputs);
    world.run();
    assert_eq!(world.reason(hub, edge), "cut by operator");
    assert!(world.reason(edge, hub).contains("cut by operator"));
    world.connect(edge, hub);
    assert!(!world.is_connected(edge, hub), "new sessions are refused");
    world.pass(6_000);
    world.connect(edge, hub);
    assert!(world.is_connected(edge, hub), "until the cut ends by itself");
    world.nodes[hub].engine.cut(CutTarget::All, None, &mut vec![]);
    assert!(world.nodes[hub].engine.heal(&CutTarget::All) && !world.nodes[hub].engine.heal(&target));
}

#[test]
fn a_rolled_back_disk_is_told_and_refilled() {
    let mut world = Table::set();
    let (hub, edge) = (world.hub("hub-eu", HUB_EU, 1), world.edge("store-1", STORE_1, 1));
    world.connect(edge, hub);
    let image = world.nodes[edge].replica.store().fork();
    for value in 0..3 {
        world.write(edge, Kind::Machine, "store-1.m1", value);
        world.run();
    }
    let boot = world.nodes[edge].replica.boot();
    world.disconnect(edge, hub, "power lost");
    world.nodes[edge] = Seat::new(kind_of("store-1"), STORE_1, 77, image, edge_interest("store-1"));
    world.connect(edge, hub);
    assert!(world.shows(edge, Kind::Machine, "store-1.m1", 2));
    let conditions = world.nodes[edge].engine.conditions();
    assert!(
        matches!(conditions, [Condition::OwnHistoryRecovered { boot: b, events: 3, .. }] if *b == boot),
        "{conditions:?}"
    );
}

#[test]
fn what_a_disk_lost_is_asked_of_one_peer_after_the_other_until_one_has_it() {
    let mut world = Table::set();
    let (eu, us) = (world.hub("hub-eu", HUB_EU, 1), world.hub("hub-us", HUB_US, 1));
    let edge = world.edge("store-1", STORE_1, 1);
    for value in 0..40 {
        world.write(eu, Kind::Profile, &format!("p{}", value % 4), value);
    }
    world.connect(us, eu);
    world.connect(edge, eu);
    let scope: Scope = "profiles/acme".parse().unwrap();
    let digest = world.nodes[us].replica.digest(&scope);
    // Two hubs lose different runs of the same log; the edge has it all.
    world.lose_run(eu, HUB_EU, 0);
    world.lose_run(us, HUB_US, 1);
    for hub in [eu, us] {
        assert!(world.nodes[hub].replica.scrub_scope(&scope).unwrap().unwrap().missing > 0);
        assert_eq!(world.nodes[hub].replica.digest(&scope), digest, "the vector does not notice");
    }
    world.connect(us, eu);
    world.connect(edge, eu);
    for _ in 0..3 {
        world.ask_for_missing(eu);
        world.ask_for_missing(us);
    }
    for hub in [eu, us] {
        assert_eq!(world.nodes[hub].replica.faults().count(), 0);
        assert_eq!(world.nodes[hub].replica.scrub_scope(&scope).unwrap().unwrap().missing, 0);
        assert!(world.nodes[hub].engine.counters().repairs > 0);
        assert!(world.ask_for_missing(hub) == 0);
    }
    assert!(world.is_connected(edge, eu) && world.is_connected(us, eu), "nobody is blamed");
    let late = world.edge("store-2", STORE_2, 1);
    world.connect(late, us);
    assert!(world.shows(late, Kind::Profile, "p3", 39));
}

#[test]
fn two_runs_of_one_key_are_told_and_one_run_has_one_session() {
    let mut world = Table::set();
    let (hub, edge) = (world.hub("hub-eu", HUB_EU, 1), world.edge("store-1", STORE_1, 1));
    world.connect(edge, hub);
    let copy = world.edge("store-1", STORE_1, 2);
    world.connect(copy, hub);
    let key = testing::author(STORE_1);
    assert_eq!(world.nodes[hub].engine.conditions(), [Condition::SameKeyTwice { key }]);
    assert_eq!(world.nodes[hub].engine.sessions.len(), 2, "copies are served like anybody");
    let before = world.session(hub, edge);
    world.connect(edge, hub);
    let sessions = &world.nodes[hub].engine.sessions;
    assert!(sessions.len() == 2 && !sessions.contains_key(&before), "the newer session stays");
}

#[test]
fn whoever_connects_and_says_nothing_is_let_go() {
    let mut world = Table::set();
    let hub = world.hub("hub-eu", HUB_EU, 1);
    let peer = PeerInfo { key: testing::author(STORE_1), kind: kind_of("store-1"), dialled: false };
    world.input(hub, Input::Connected { session: SessionId(900), peer });
    assert_eq!(world.nodes[hub].engine.next_timeout(), Some(world.now + 10_000));
    world.pass(9_000);
    assert_eq!(world.nodes[hub].engine.sessions.len(), 1);
    world.pass(2_000);
    assert!(world.nodes[hub].engine.sessions.is_empty());
    let reason = world.nodes[hub].engine.peers()[0].reason.clone();
    assert_eq!(reason.as_deref(), Some("no greeting within 10000 ms"));
}

#[test]
fn a_peer_that_owes_an_answer_for_long_is_let_go() {
    let mut world = Table::set();
    let (hub, edge) = (world.hub("hub-eu", HUB_EU, 1), world.edge("store-1", STORE_1, 1));
    world.connect(edge, hub);
    world.nodes[edge].commits = false;
    world.write(hub, Kind::Profile, "base", 1);
    world.run();
    assert_eq!(world.peer(hub, edge).state, PeerState::Sending);
    for _ in 0..4 {
        world.pass(60_000);
    }
    assert_eq!(world.reason(hub, edge), "no answer within 120000 ms");
}

#[test]
fn frames_out_of_turn_end_the_session() {
    type MakeFrame = fn(u64) -> Vec<u8>;
    let cases: [(&str, MakeFrame); 5] = [
        ("hello out of turn", |number| {
            let hello = frame::Hello {
                protocol: (1, 1),
                schema: (1, 1),
                fleet: testing::fleet(),
                boot: testing::boot(5),
                interest: Interest::All,
                holdings: frame::Holdings::Root([0; 16]),
            };
            frame::encode(number, &Frame::Hello(hello))
        }),
        ("frame 9 where", |_| frame::encode(9, &Frame::Restarted { scope: Scope::Fleet })),
        ("acknowledged frame 4000", |number| {
            frame::encode(number, &Frame::Ack { through: 4_000, incomplete: vec![] })
        }),
        ("cells out of turn", |number| {
            let cells =
                frame::Cells { root: Some([0; 16]), first: 0, scopes: 1, cells: vec![Cell::default()] };
            frame::encode(number, &Frame::Cells(cells))
        }),
        ("malformed frame", |_| vec![5, 1, 2, 3, 4, 5]),
    ];
    for (expected, bytes) in cases {
        let mut world = Table::set();
        let (hub, edge) = (world.hub("hub-eu", HUB_EU, 1), world.edge("store-1", STORE_1, 1));
        world.connect(edge, hub);
        let session = world.session(hub, edge);
        let number = world.nodes[hub].engine.sessions[&session].next_received;
        world.input(hub, Input::Frame { session, bytes: bytes(number) });
        let reason = world.reason(hub, edge);
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(world.nodes[hub].engine.counters().violations, 1);
        world.connect(edge, hub);
        assert!(world.is_connected(edge, hub), "the next session is as good as any");
    }
}

#[test]
fn frames_of_unknown_type_are_skipped() {
    let mut world = Table::set();
    let (hub, edge) = (world.hub("hub-eu", HUB_EU, 1), world.edge("store-1", STORE_1, 1));
    world.connect(edge, hub);
    let session = world.session(hub, edge);
    let number = world.nodes[hub].engine.sessions[&session].next_received;
    let bytes = frame::encode(number, &Frame::Unknown { code: 99 });
    world.input(hub, Input::Frame { session, bytes });
    assert!(world.is_connected(edge, hub));
}

#[test]
fn a_slow_peer_is_a_cursor_and_not_a_queue() {
    let mut world = Table::set();
    let (hub, edge) = (world.hub("hub-eu", HUB_EU, 1), world.edge("store-1", STORE_1, 1));
    world.connect(edge, hub);
    world.nodes[edge].commits = false;
    world.nodes[hub].engine.config.limits.window_bytes = 4_000;
    for value in 0..400 {
        world.write(hub, Kind::Profile, &format!("p{value}"), value);
        world.run();
    }
    let status = world.peer(hub, edge);
    assert!(status.in_flight_bytes < 8_000, "{status:?}");
    assert!(status.lag_events >= 400, "{status:?}");
    world.nodes[edge].commits = true;
    world.commit(edge);
    world.run();
    assert_eq!(world.peer(hub, edge).lag_events, 0);
    assert!(world.shows(edge, Kind::Profile, "p399", 399));
}

#[test]
fn after_a_restart_only_news_are_read_from_the_log() {
    let mut world = Table::set();
    let (hub, edge) = (world.hub("hub-eu", HUB_EU, 1), world.edge("store-1", STORE_1, 1));
    for value in 0..50 {
        world.write(hub, Kind::Profile, "base", value);
    }
    world.connect(edge, hub);
    world.disconnect(edge, hub, "restart");
    let disk = world.nodes[hub].replica.store().fork();
    world.nodes[hub] = Seat::new(world.nodes[hub].kind.clone(), HUB_EU, 2, disk, Interest::All);
    world.connect(edge, hub);
    world.write(hub, Kind::Profile, "base", 50);
    world.run();
    assert!(world.shows(edge, Kind::Profile, "base", 50));
    let read = world.nodes[hub].engine.counters().log_bytes_read;
    assert!((1..1_000).contains(&read), "{read} bytes read for one small event");
}

#[test]
fn a_burst_costs_tens_of_bytes_per_event() {
    let mut world = Table::set();
    let (hub, edge) = (world.hub("hub-eu", HUB_EU, 1), world.edge("store-1", STORE_1, 1));
    world.write(hub, Kind::Profile, "base", 0);
    world.connect(edge, hub);
    world.carried.clear();
    for value in 1..=640 {
        let name = format!("p{}", value % 20);
        let spec = json!({"priority": 1, "selector": {"matchAll": true}, "values": {"replicas": value}});
        put(&mut world.nodes[hub].replica, Kind::Profile, "acme", &name, json!({"spec": spec}));
    }
    world.commit(hub);
    world.run();
    let bytes: usize = world.carried.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(world.shows_values(edge, "p0", 640));
    assert!(bytes / 640 <= 120, "{} bytes per event", bytes / 640);
}

#[test]
fn hundreds_of_differing_scopes_do_not_flood_a_peer() {
    let sites: Vec<String> = (0..600).map(|site| format!("site-{site}")).collect();
    let mut world = Table::set();
    let (eu, us) = (world.hub("hub-eu", HUB_EU, 1), world.hub("hub-us", HUB_US, 1));
    world.connect(us, eu);
    world.disconnect(us, eu, "partition");
    for site in &sites {
        let resource = json!({"spec": {"region": "eu"}});
        put(&mut world.nodes[eu].replica, Kind::Site, "acme", site, resource);
    }
    world.commit(eu);
    world.burst_max = 0;
    world.connect(us, eu);
    assert_eq!(world.nodes[us].replica.scopes().count(), world.nodes[eu].replica.scopes().count());
    assert!(world.burst_max <= 256, "{} frames at once", world.burst_max);
    world.pass(1_000);
    assert_eq!(world.peer(eu, us).lag_events, 0);
    assert_eq!(world.peer(us, eu).lag_events, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever two hubs and an edge wrote apart from each other, they agree after one session each.
    #[test]
    fn any_sets_converge(writes in proptest::collection::vec((0usize..3, 0u8..6, 0u64..5), 0..40), met in any::<bool>()) {
        let mut world = Table::set();
        let (eu, us) = (world.hub("hub-eu", HUB_EU, 1), world.hub("hub-us", HUB_US, 1));
        let edge = world.edge("store-1", STORE_1, 1);
        let half = writes.len() / 2;
        world.act(&writes[..half]);
        if met {
            world.connect(us, eu);
            world.connect(edge, us);
            world.disconnect(us, eu, "partition");
            world.disconnect(edge, us, "partition");
        }
        world.act(&writes[half..]);
        world.connect(edge, eu);
        world.connect(us, eu);
        world.pass(2_000);
        prop_assert_eq!(world.digests(eu, edge), world.digests(us, edge));
        prop_assert_eq!(world.digests(eu, edge), world.digests(edge, edge));
        prop_assert_eq!(world.views(eu), world.views(us));
        prop_assert_eq!(world.peer(eu, edge).lag_events + world.peer(eu, us).lag_events, 0);
    }
}
