//! Who was heard when, told between hubs; and which node of a site keeps the uplink.

use driftless_core::store::MemoryStore;

use super::*;
use crate::proto::presence::Told;
use crate::proto::{Heard, Lease};

fn site(name: &str) -> Scope {
    format!("sites/acme/{name}").parse().unwrap()
}

/// What a node knows of a site: the lease, and the other hub that gave it.
fn heard(world: &Table, node: usize, name: &str) -> Option<(Lease, Option<String>)> {
    let Heard { lease, hub } = world.nodes[node].engine.presence().site(&site(name))?;
    Some((lease, hub.map(|hub| hub.name.clone())))
}

/// Two hubs that are connected, and a site at the second.
fn two_regions() -> (Table, [usize; 3]) {
    let mut world = Table::set();
    let (eu, us) = (world.hub("hub-eu", HUB_EU, 1), world.hub("hub-us", HUB_US, 1));
    let edge = world.edge("store-1", STORE_1, 1);
    world.connect(us, eu);
    world.connect(edge, us);
    world.pass(1_000);
    (world, [eu, us, edge])
}

fn gone(heard_ms: u64) -> Lease {
    Lease::Gone { heard_ms: heard_ms as i64 }
}

/// Has `from` say something to `to` in their session.
fn say(world: &mut Table, from: usize, to: usize, frame: &Frame) {
    let session = world.session(to, from);
    let number = world.nodes[to].engine.sessions[&session].next_received;
    world.input(to, Input::Frame { session, bytes: frame::encode(number, frame) });
    world.run();
}

#[test]
fn a_site_is_known_at_every_hub_and_goes_with_its_age() {
    let (mut world, [eu, us, edge]) = two_regions();
    assert_eq!(heard(&world, us, "store-1"), Some((Lease::Connected, None)));
    assert_eq!(heard(&world, eu, "store-1"), Some((Lease::Connected, Some("hub-us".into()))));
    assert_eq!(heard(&world, eu, "store-2"), None, "what nobody has heard is unknown");
    // The transport gives up a minute after it heard the site for the last time.
    world.pass(100_000);
    let last_ms = world.now - 60_000;
    let session = world.session(us, edge);
    world.input(us, Input::Closed { session, reason: "timed out".into(), silent_ms: 60_000 });
    assert_eq!(heard(&world, us, "store-1"), Some((gone(last_ms), None)));
}

#[test]
fn a_site_that_went_is_told_with_its_age() {
    let (mut world, [eu, us, edge]) = two_regions();
    world.pass(100_000);
    let last_ms = world.now;
    world.disconnect(us, edge, "connection reset");
    assert_eq!(heard(&world, eu, "store-1").unwrap().0, Lease::Connected, "changes are gathered");
    world.pass(4_000);
    let (Lease::Gone { heard_ms }, hub) = heard(&world, eu, "store-1").unwrap() else { panic!() };
    assert_eq!((heard_ms, hub.as_deref()), (last_ms as i64, Some("hub-us")));
}

#[test]
fn what_a_hub_told_is_as_old_as_the_hub() {
    let (mut world, [eu, us, edge]) = two_regions();
    world.pass(100_000);
    let cut_ms = world.now;
    world.disconnect(us, eu, "link lost");
    world.disconnect(us, edge, "link lost");
    world.pass(500_000);
    assert_eq!(heard(&world, eu, "store-1").unwrap().0, gone(cut_ms));
    let presence = world.nodes[eu].engine.presence();
    let known = presence.site(&site("store-1")).unwrap().hub.unwrap();
    assert_eq!(known.lease, gone(cut_ms), "nothing is known of the site since");
    // The site went on to the other hub: that is known here, and there once they speak again.
    world.connect(edge, eu);
    assert_eq!(heard(&world, eu, "store-1"), Some((Lease::Connected, None)));
    world.connect(us, eu);
    world.pass(4_000);
    assert_eq!(heard(&world, us, "store-1"), Some((Lease::Connected, Some("hub-eu".into()))));
}

#[test]
fn an_idle_fleet_says_nothing_of_presence() {
    let (mut world, [_, us, edge]) = two_regions();
    world.carried.clear();
    world.pass(3_600_000);
    assert_eq!(world.carried.len(), 0);
    for _ in 0..50 {
        world.disconnect(us, edge, "link lost");
        world.connect(edge, us);
    }
    world.carried.clear();
    world.pass(4_000);
    let told = world.carried.iter().filter(|((from, _), _)| *from == us).count();
    assert_eq!(told, 1, "a link that flaps is told once in a while");
}

#[test]
fn only_hubs_speak_of_presence_and_only_of_sites() {
    let (mut world, [eu, us, edge]) = two_regions();
    let page = |name: &str| Frame::Presence(vec![Told { site: site(name), silent_ms: None }]);
    say(&mut world, edge, us, &page("store-2"));
    assert!(world.reason(us, edge).contains("presence out of turn"));
    assert_eq!(heard(&world, us, "store-2"), None);
    world.connect(edge, us);
    say(&mut world, us, edge, &page("store-2"));
    assert!(world.reason(edge, us).contains("presence out of turn"));
    world.connect(edge, us);
    say(&mut world, us, edge, &Frame::Uplink(true));
    assert!(world.reason(edge, us).contains("uplink out of turn"));
    for text in ["../fleet", "acme", "acme/UP", "acme/a/b", ""] {
        let mut bytes = vec![1, 0, text.len() as u8];
        bytes.extend(text.as_bytes());
        bytes.push(0);
        let mut reader = driftless_core::wire::Reader::new(&bytes);
        assert!(crate::proto::presence::decode(&mut reader).is_err(), "{text:?} is no site");
    }
    say(
        &mut world,
        us,
        eu,
        &Frame::Presence(vec![Told { site: site("store-2"), silent_ms: Some(u64::MAX - 1) }]),
    );
    assert!(world.is_connected(us, eu), "an absurd age is only a long one");
    assert!(matches!(heard(&world, eu, "store-2"), Some((Lease::Gone { heard_ms }, _)) if heard_ms < 0));
}

#[test]
fn presence_is_bounded_and_forgets_who_was_heard_longest_ago() {
    let (mut world, [eu, us, edge]) = two_regions();
    world.nodes[eu].engine.config.limits.presence_sites_max = 100;
    for page in 0..50u64 {
        let told = (0..50)
            .map(|n| Told { site: site(&format!("p{page}-{n}")), silent_ms: Some(1_000_000 - page * 1_000) });
        say(&mut world, us, eu, &Frame::Presence(told.collect()));
    }
    let known = |name: String| heard(&world, eu, &name).is_some();
    let held =
        (0..50).flat_map(|page| (0..50).map(move |n| format!("p{page}-{n}"))).filter(|n| known(n.clone()));
    let held: Vec<String> = held.collect();
    assert!((50..=100).contains(&held.len()), "{}", held.len());
    assert!(held.iter().all(|name| name.starts_with("p49-") || name.starts_with("p48-")), "{held:?}");
    assert_eq!(
        heard(&world, eu, "store-1").unwrap().0,
        Lease::Connected,
        "who is connected is not forgotten"
    );
    // The same for what is heard here: sites come and go, and only so many are remembered.
    world.nodes[us].engine.config.limits.presence_sites_max = 3;
    for n in 0..20 {
        world.pass(1_000);
        world.nodes[edge].kind = kind_of(&format!("visitor-{n}"));
        world.nodes[edge].engine.config.interest = edge_interest(&format!("visitor-{n}"));
        world.disconnect(us, edge, "gone");
        world.connect(edge, us);
    }
    let remembered = (0..19).filter(|n| heard(&world, us, &format!("visitor-{n}")).is_some()).count();
    assert!((2..=3).contains(&remembered), "{remembered}");
}

#[test]
fn a_hub_that_restarts_is_told_what_it_has_forgotten() {
    let (mut world, [eu, us, edge]) = two_regions();
    world.pass(10_000);
    let last_ms = world.now;
    world.disconnect(us, edge, "link lost");
    world.pass(10_000);
    world.disconnect(us, eu, "link lost");
    world.pass(50_000);
    let kind = world.nodes[us].kind.clone();
    world.nodes[us] = Seat::new(kind, HUB_US, 2, MemoryStore::new(), Interest::All);
    world.connect(us, eu);
    world.pass(4_000);
    let (Lease::Gone { heard_ms }, hub) = heard(&world, us, "store-1").unwrap() else { panic!() };
    assert_eq!((heard_ms, hub.as_deref()), (last_ms as i64, Some("hub-eu")));
    // Connected again, it is so everywhere.
    world.connect(edge, us);
    world.pass(4_000);
    assert_eq!(heard(&world, us, "store-1"), Some((Lease::Connected, None)));
    assert_eq!(heard(&world, eu, "store-1"), Some((Lease::Connected, Some("hub-us".into()))));
}

#[test]
fn a_table_of_ten_thousand_sites_is_told_in_pages() {
    let mut world = Table::set();
    let (eu, us) = (world.hub("hub-eu", HUB_EU, 1), world.hub("hub-us", HUB_US, 1));
    let third = world.hub("hub-ap", 3, 1);
    world.connect(us, eu);
    for page in 0..10 {
        let told = (0..1_000).map(|n| Told { site: site(&format!("store-{page}{n:03}")), silent_ms: None });
        say(&mut world, us, eu, &Frame::Presence(told.collect()));
    }
    // The hub that told this restarts: all of it comes back to it, in frames that nothing waits behind.
    world.disconnect(us, eu, "link lost");
    let kind = world.nodes[us].kind.clone();
    world.nodes[us] = Seat::new(kind, HUB_US, 2, MemoryStore::new(), Interest::All);
    world.carried.clear();
    world.connect(us, eu);
    world.pass(4_000);
    for _ in 0..20 {
        world.pass(200);
    }
    assert!((0..10_000).all(|n| heard(&world, us, &format!("store-{n:04}")).is_some()));
    let frames = world.carried.iter().filter(|((from, _), _)| *from == eu);
    let bytes: usize = frames.map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes < 10_000 * 12, "{bytes} bytes for ten thousand sites");
    // A hub that was not there is told what this one knows of its own sessions, which is nothing.
    world.carried.clear();
    world.connect(third, eu);
    world.pass(4_000);
    assert_eq!(heard(&world, third, "store-0001"), None);
}

#[test]
fn nodes_of_a_site_know_who_of_them_has_the_uplink() {
    let mut world = Table::set();
    let hub = world.hub("hub-eu", HUB_EU, 1);
    let nodes = [world.edge("store-1", STORE_1, 1), world.edge("store-1", STORE_2, 1)];
    let key = |world: &Table, node: usize| testing::author(world.nodes[node].key);
    let smaller = usize::from(key(&world, nodes[1]) < key(&world, nodes[0]));
    let (first, second) = (nodes[smaller], nodes[1 - smaller]);
    let elsewhere = |world: &Table, node: usize| world.nodes[node].engine.uplink_elsewhere();
    world.connect(second, hub);
    world.connect(first, second);
    assert!(!elsewhere(&world, first), "a larger one that has an uplink does not count");
    assert!(world.nodes[first].engine.site_has_uplink());
    world.connect(first, hub);
    assert!(elsewhere(&world, second) && !elsewhere(&world, first));
    let session = world.session(second, hub);
    let mut outputs = vec![];
    world.nodes[second].engine.end_moved(session, &mut outputs);
    world.carry(second, outputs);
    world.run();
    assert!(!world.is_connected(second, hub) && world.reason(hub, second).contains("the uplink has moved"));
    assert_eq!(heard(&world, hub, "store-1"), Some((Lease::Connected, None)), "the site is still there");
    // What the hub writes reaches the second by way of the first.
    world.write(hub, Kind::Override, "store-1.ops", 4);
    world.run();
    assert!(world.shows(second, Kind::Override, "store-1.ops", 4));
    world.disconnect(first, hub, "link lost");
    world.run();
    assert!(!elsewhere(&world, second), "the uplink is gone, and the second is told");
    world.connect(first, hub);
    assert!(elsewhere(&world, second));
    world.disconnect(first, second, "link lost");
    assert!(!elsewhere(&world, second), "who cannot be reached does not count");
}
