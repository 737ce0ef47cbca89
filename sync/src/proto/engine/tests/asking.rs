//! Where an event is, as engines say: of their own peers, and of those of other hubs that they ask.

use driftless_core::ids::Author;

use super::*;
use crate::proto::inquiry::{ANSWER_ENTRIES_MAX, INQUIRIES_PER_MINUTE, OPEN_INQUIRIES_MAX};
use crate::proto::{Answer, EventPlace, PeerDelivery, PeerKind, Question};

/// Two hubs that are connected, a store at each.
fn fleet() -> (Table, [usize; 4]) {
    let mut world = Table::set();
    let (eu, us) = (world.hub("hub-eu", HUB_EU, 1), world.hub("hub-us", HUB_US, 1));
    let (one, two) = (world.edge("store-1", STORE_1, 1), world.edge("store-2", STORE_2, 1));
    world.connect(eu, us);
    world.connect(one, eu);
    world.connect(two, us);
    (world, [eu, us, one, two])
}

fn last(world: &Table, author: usize, scope: &str) -> EventPlace {
    let (scope, chain): (Scope, _) = (scope.parse().unwrap(), world.chain(author));
    let seq = world.nodes[author].replica.vector(&scope).seq(&chain);
    EventPlace { scope, chain, seq }
}

fn ask(world: &mut Table, asker: usize, asked: usize, question: Question) -> Option<u64> {
    let (session, mut outputs) = (world.session(asker, asked), vec![]);
    let number = world.nodes[asker].engine.inquire(session, question, &mut outputs);
    world.carry(asker, outputs);
    number
}

fn deliveries(world: &mut Table, asker: usize, asked: usize, question: Question) -> Vec<PeerDelivery> {
    ask(world, asker, asked, question).unwrap();
    world.run();
    match world.answers.pop() {
        Some((_, Answer::Deliveries { peers, more: false })) => peers,
        other => panic!("{other:?}"),
    }
}

fn about(place: &EventPlace, site: &str) -> Question {
    let site = Some(("acme".to_owned(), site.to_owned()));
    Question::Deliveries { place: place.clone(), site, after: Author::default() }
}

#[test]
fn a_hub_says_how_its_own_sites_stand() {
    let (mut world, [eu, us, _, two]) = fleet();
    world.write(eu, Kind::Profile, "base", 1);
    world.run();
    let place = last(&world, eu, "profiles/acme");
    let said = deliveries(&mut world, eu, us, about(&place, "store-2"));
    assert_eq!((said.len(), &said[0].peer, &said[0].delivery), (1, &kind_of("store-2"), &Delivery::Durable));
    assert!(said[0].connected);
    assert_eq!(deliveries(&mut world, eu, us, about(&place, "store-1")), [], "another hub's site");
    world.disconnect(two, us, "idle timeout");
    world.write(eu, Kind::Profile, "base", 2);
    world.pass(3_000);
    let place = last(&world, eu, "profiles/acme");
    let said = deliveries(&mut world, eu, us, about(&place, "store-2"));
    let expected = Delivery::NotConnected { for_ms: 3_000, reason: "idle timeout".into() };
    assert_eq!((said[0].connected, &said[0].delivery), (false, &expected));
}

#[test]
fn a_hub_that_lacks_an_event_says_so_of_its_sites() {
    let (mut world, [eu, us, ..]) = fleet();
    world.write(eu, Kind::Profile, "base", 1);
    let place = last(&world, eu, "profiles/acme");
    // The question overtakes the event in this test only, because the hub does not commit what it takes.
    world.nodes[us].commits = false;
    let said = deliveries(&mut world, eu, us, about(&place, "store-2"));
    assert_eq!(said[0].delivery, Delivery::NotHere);
    let (eu_seat, us_key) = (&world.nodes[eu], testing::author(HUB_US));
    let hubs = eu_seat.engine.deliveries(&place, PeerKind::is_hub, true, &eu_seat.replica).unwrap();
    assert_eq!((hubs[0].key, &hubs[0].delivery), (us_key, &Delivery::InFlight));
}

#[test]
fn what_waits_behind_a_window_is_counted_in_events_and_bytes() {
    let (mut world, [eu, _, one, _]) = fleet();
    world.nodes[eu].engine.config.limits.window_frames = 1;
    world.nodes[one].commits = false;
    for value in 0..10 {
        world.write(eu, Kind::Profile, "base", value);
    }
    world.run();
    let seat = &world.nodes[eu];
    let place = EventPlace { seq: 6, ..last(&world, eu, "profiles/acme") };
    let which = |peer: &PeerKind| *peer == kind_of("store-1");
    let said = seat.engine.deliveries(&place, which, true, &seat.replica).unwrap();
    let Delivery::Waiting { events, bytes: Some(bytes) } = said[0].delivery else { panic!("{said:?}") };
    assert_eq!(events, 6, "five before it, and it");
    let backlog = seat.engine.backlog(testing::author(STORE_1), &seat.replica).unwrap();
    assert_eq!((backlog.events, backlog.more), (10, false));
    assert!(bytes > 0 && bytes < backlog.bytes, "{bytes} of {}", backlog.bytes);
    assert_eq!(backlog.oldest_ms, Some(1_700_000_000_000));
    world.nodes[one].commits = true;
    world.commit(one);
    world.run();
    let seat = &world.nodes[eu];
    let backlog = seat.engine.backlog(testing::author(STORE_1), &seat.replica).unwrap();
    assert_eq!(backlog, crate::proto::Backlog::default());
}

#[test]
fn reach_tells_who_wants_and_who_holds() {
    let (mut world, [eu, us, one, two]) = fleet();
    world.write(eu, Kind::Profile, "base", 1);
    world.write(eu, Kind::Override, "store-2.ops", 1);
    world.write(eu, Kind::App, "pos", 1);
    world.pass(2_000);
    let places: Vec<EventPlace> = ["profiles/acme", "sites/acme/store-2", "catalog/acme/pos"]
        .map(|scope| last(&world, eu, scope))
        .into();
    let told = |world: &mut Table| {
        let question = Question::Reach { places: places.clone(), after: Default::default() };
        ask(world, eu, us, question).unwrap();
        world.run();
        match world.answers.pop() {
            Some((_, Answer::Reach { sites, .. })) => sites,
            other => panic!("{other:?}"),
        }
    };
    let sites = told(&mut world);
    assert_eq!(sites.len(), 1);
    let bits = |bits: crate::proto::Bits| [bits.get(0), bits.get(1), bits.get(2)];
    assert_eq!(bits(sites[0].wants), [true, true, false], "no profile names the app");
    assert_eq!(bits(sites[0].holds), [true, true, false]);
    world.disconnect(two, us, "gone");
    let sites = told(&mut world);
    assert!(!sites[0].connected && bits(sites[0].holds) == [true, true, false], "what it had, it has");
    let own = Question::Reach { places: places.clone(), after: Default::default() };
    let seat = &world.nodes[eu];
    let Answer::Reach { sites, more } = seat.engine.answer(&own, &seat.replica).unwrap() else { panic!() };
    assert_eq!((bits(sites[0].wants), bits(sites[0].holds)), ([true, false, false], [true, false, false]));
    assert!(!more && world.is_connected(eu, one));
}

#[test]
fn a_run_that_died_does_not_speak_for_a_node_that_is_back() {
    let (mut world, [eu, _, one, _]) = fleet();
    // Its machine lost power: the hub has not noticed yet when the next run connects.
    world.links.retain(|(node, _), (peer, _)| *node != one && *peer != one);
    let again = world.edge("store-1", STORE_1, 2);
    world.write(eu, Kind::Profile, "base", 1);
    world.connect(again, eu);
    let place = last(&world, eu, "profiles/acme");
    let seat = &world.nodes[eu];
    let which = |peer: &PeerKind| *peer == kind_of("store-1");
    let said = seat.engine.deliveries(&place, which, true, &seat.replica).unwrap();
    assert_eq!((said.len(), &said[0].delivery), (1, &Delivery::Durable));
    let question = Question::Reach { places: vec![place], after: Default::default() };
    let Answer::Reach { sites, .. } = seat.engine.answer(&question, &seat.replica).unwrap() else { panic!() };
    assert!(sites[0].connected && sites[0].holds.get(0), "{sites:?}");
}

#[test]
fn whoever_asks_too_much_is_answered_that_and_whoever_answers_unasked_is_cut_off() {
    let (mut world, [eu, us, one, _]) = fleet();
    world.write(eu, Kind::Profile, "base", 1);
    let place = last(&world, eu, "profiles/acme");
    for _ in 0..OPEN_INQUIRIES_MAX {
        assert!(ask(&mut world, eu, us, about(&place, "store-2")).is_some());
    }
    assert!(ask(&mut world, eu, us, about(&place, "store-2")).is_none(), "too many wait");
    world.run();
    world.answers.clear();
    for _ in OPEN_INQUIRIES_MAX as u32..INQUIRIES_PER_MINUTE {
        ask(&mut world, eu, us, about(&place, "store-2")).unwrap();
        world.run();
    }
    ask(&mut world, eu, us, about(&place, "store-2")).unwrap();
    world.run();
    assert_eq!(world.answers.last(), Some(&(eu, Answer::Busy)));
    assert!(world.is_connected(eu, us));
    let session = world.session(eu, us);
    let number = world.nodes[eu].engine.sessions[&session].next_received;
    let bytes = frame::encode(number, &Frame::Answer { number: 1, answer: Answer::Busy });
    world.input(eu, Input::Frame { session, bytes });
    assert!(world.reason(eu, us).contains("answer out of turn"), "{}", world.reason(eu, us));
    // A store asks nobody anything.
    let session = world.session(eu, one);
    let number = world.nodes[eu].engine.sessions[&session].next_received;
    let bytes = frame::encode(number, &Frame::Inquiry { number: 1, question: about(&place, "store-2") });
    world.input(eu, Input::Frame { session, bytes });
    assert!(world.reason(eu, one).contains("inquiry out of turn"));
}

#[test]
fn a_large_fleet_is_told_in_pages() {
    let mut world = Table::set();
    let hub = world.hub("hub-eu", HUB_EU, 1);
    world.write(hub, Kind::Profile, "base", 1);
    let place = last(&world, hub, "profiles/acme");
    let engine = &mut world.nodes[hub].engine;
    let many = ANSWER_ENTRIES_MAX + 10;
    for at in 0..many {
        let key = Author(*blake3::hash(&at.to_be_bytes()).as_bytes());
        let peer = PeerInfo { key, kind: kind_of(&format!("store-{at}")), dialled: false };
        let session = Session::new(peer, 0, &engine.config.limits);
        engine.remember(session, Reason::Stopping, 0);
    }
    let (mut after, mut seen, mut pages) = (Author::default(), BTreeSet::new(), 0);
    loop {
        let question = Question::Deliveries { place: place.clone(), site: None, after };
        let seat = &world.nodes[hub];
        let Answer::Deliveries { peers, more } = seat.engine.answer(&question, &seat.replica).unwrap() else {
            panic!()
        };
        assert!(peers.len() <= ANSWER_ENTRIES_MAX);
        after = peers.last().unwrap().key;
        seen.extend(peers.into_iter().map(|peer| peer.key));
        pages += 1;
        if !more {
            break;
        }
    }
    assert_eq!((seen.len(), pages), (many, 2));
}
