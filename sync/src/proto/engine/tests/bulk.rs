//! Filling an empty edge over a slow link: how many bytes, and in which order.

use super::star::{HUB, Star};
use super::*;

/// What a link of 50 kbit/s carries.
const SLOW: u64 = 6_250;
const LATENCY_MS: u64 = 60;
const EDGE: usize = 1;

/// What UDP, QUIC and its acknowledgements add to a full stream, in percent: 28 bytes a datagram and
/// about 30 of QUIC in it for 1,200 bytes, and one small datagram back for every two.
const TRANSPORT_PERCENT: usize = 9;

/// An edge that wants everything of the corpus, and the hub that has it.
struct Join {
    star: Star,
    json_compressed: usize,
    events: usize,
    groups: usize,
}

fn everything(site: &str) -> Interest {
    let mut scopes = vec!["fleet".to_owned(), "profiles/acme".into(), format!("sites/acme/{site}")];
    scopes.extend((0..corpus::APPS).map(|app| format!("catalog/acme/{}", corpus::app_name(app))));
    interest(&scopes.iter().map(String::as_str).collect::<Vec<_>>())
}

impl Join {
    /// Ten thousand documents, each written once, so many to a commit.
    fn new(group: usize) -> Self {
        let mut star = Star::new(1, everything, Limits::default());
        let mut json = vec![];
        let mut write = |star: &mut Star, node, documents: &[corpus::Written]| {
            star.write(node, documents, group);
            for written in documents {
                serde_json::to_writer(&mut json, &written.resource).unwrap();
                json.push(b'\n');
            }
        };
        // What the site said of itself while it had a disk.
        let mut former = Star::new(1, everything, Limits::default());
        former.connect(EDGE, 1 << 30, 0);
        former.pass(1_000);
        write(&mut former, EDGE, &corpus::machines());
        former.pass(10_000);
        assert!(former.is_complete(EDGE, |_| true));
        let hub = former.seats.swap_remove(HUB);
        star.seats[HUB].replica = hub.replica;
        write(&mut star, HUB, &corpus::profiles());
        for app in 0..corpus::APPS {
            write(&mut star, HUB, &corpus::releases(app));
        }
        let replica = &star.seats[HUB].replica;
        let (mut events, mut groups) = (0, 0);
        for scope in everything("store-1").listed() {
            events += replica.vector(scope).events() as usize;
            groups += replica.log(scope, 0, usize::MAX).unwrap().entries.len();
        }
        let json_compressed = zstd::bulk::compress(&json, 3).unwrap().len();
        Self { star, json_compressed, events, groups }
    }

    /// What the edge may cost.
    fn bytes_max(&self) -> usize {
        self.json_compressed * 5 / 4 + 20 * self.events + 64 * self.groups
    }

    fn is_complete(&self) -> bool {
        self.star.is_complete(EDGE, |_| true)
    }

    fn finish(&mut self) {
        let finished = self.star.run_until(3_600_000, |star| star.is_complete(EDGE, |_| true));
        assert!(finished.is_some(), "ten thousand documents arrive within an hour");
    }

    /// Bytes of frames both ways, and what the transport adds.
    fn bytes(&self) -> usize {
        self.star.bytes(EDGE) * (100 + TRANSPORT_PERCENT) / 100
    }
}

fn is_configuration(scope: &Scope) -> bool {
    !matches!(scope, Scope::Catalog { .. })
}

#[test]
fn an_empty_edge_joins_for_little_more_than_its_documents() {
    for group in [1, 64] {
        let mut join = Join::new(group);
        assert!(join.events >= corpus::PROFILES + corpus::MACHINES + corpus::APPS * corpus::RELEASES);
        join.star.connect(EDGE, SLOW, LATENCY_MS);
        join.finish();
        let (bytes, max) = (join.bytes(), join.bytes_max());
        let of = (join.json_compressed, join.events, join.groups);
        assert!(bytes <= max, "{bytes} bytes, {max} allowed for {of:?}");
        // The link was kept busy: the window is no brake.
        let ms_min = (bytes * 100 / (100 + TRANSPORT_PERCENT)) as u64 * 1_000 / SLOW;
        assert!(join.star.now_ms() <= ms_min * 5 / 4, "{} ms, {ms_min} ms of sending", join.star.now_ms());
    }
}

#[test]
fn configuration_comes_first_and_a_change_overtakes_the_catalog() {
    let mut join = Join::new(16);
    join.star.connect(EDGE, SLOW, LATENCY_MS);
    let usable = join.star.run_until(3_600_000, |star| star.is_complete(EDGE, is_configuration)).unwrap();
    let catalog = |join: &Join| {
        let replica = &join.star.seats[EDGE].replica;
        let scopes = replica.scopes().filter(|scope| !is_configuration(scope));
        scopes.map(|scope| replica.vector(scope).events()).sum::<u64>()
    };
    assert!(catalog(&join) < 100, "{} releases came before the configuration", catalog(&join));
    for change in 0..5 {
        join.star.pass(20_000);
        assert!(!join.is_complete());
        let (name, written_at) = (format!("urgent-{change}"), join.star.now_ms());
        join.star.write_profile(&name, change);
        let arrived = join.star.run_until(60_000, |star| star.holds_profile(EDGE, &name)).unwrap();
        assert!(arrived <= written_at + 3_000, "{} ms for a change of policy", arrived - written_at);
    }
    join.finish();
    assert!(usable * 4 < join.star.now_ms(), "usable after {usable} of {} ms", join.star.now_ms());
}

#[test]
fn a_transfer_goes_on_where_the_link_broke() {
    let mut join = Join::new(16);
    for _ in 0..4 {
        join.star.connect(EDGE, SLOW, LATENCY_MS);
        join.star.pass(60_000);
        let under_way = join.star.session(EDGE).unwrap().in_flight_bytes;
        assert!((1..=Limits::default().window_bytes_first * 4).contains(&under_way), "{under_way}");
        join.star.disconnect(EDGE);
        join.star.pass(5_000);
    }
    join.star.connect(EDGE, SLOW, LATENCY_MS);
    join.finish();
    let again = join.star.seats[EDGE].engine.counters().events_duplicate;
    assert_eq!(again, 0, "what is durable is in the vector and does not come again");
    assert!(join.bytes() <= join.bytes_max(), "{} of {} bytes", join.bytes(), join.bytes_max());
}

#[test]
fn a_capped_link_carries_no_more_than_it_may() {
    let rate = 20_000;
    let limits = Limits { rate_bytes_per_second: Some(rate), ..Limits::default() };
    let mut star = Star::new(1, everything, limits);
    star.write(HUB, &corpus::releases(0), 16);
    star.write(HUB, &corpus::releases(1), 16);
    star.connect(EDGE, 10_000_000, 5);
    star.pass(4_000);
    star.write_profile("urgent", 1);
    let written_at = star.now_ms();
    let arrived = star.run_until(10_000, |star| star.holds_profile(EDGE, "urgent")).unwrap();
    assert!(arrived <= written_at + 2_000, "{} ms for a change of policy", arrived - written_at);
    star.run_until(3_600_000, |star| star.is_complete(EDGE, |_| true)).unwrap();
    let (bytes, ms) = (star.bytes(EDGE) as u64, star.now_ms());
    assert!(bytes > 5 * rate, "{bytes} bytes say nothing about a rate");
    assert!(ms * rate / 1_000 + rate >= bytes, "{bytes} bytes in {ms} ms");
    assert!(ms <= bytes * 1_100 / rate + 1_000, "{bytes} bytes took {ms} ms");
}
