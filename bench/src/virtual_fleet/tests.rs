#![allow(clippy::unwrap_used)]
use driftless_sync::sim::{Report, run};

use super::recordings::{rates, shared_data, tar};
use super::*;

fn built_in(name: &str) -> File {
    let (name, text) = file::BUILT_IN.into_iter().find(|(built_in, _)| *built_in == name).unwrap();
    File::parse(name, text).unwrap()
}

fn passes(file: &File) -> Report {
    run(&file.scenario().unwrap(), file.seed).unwrap_or_else(|failure| panic!("{failure}"))
}

/// The federation with fewer and smaller sites, for an hour in which as much goes wrong as in a day.
fn small_federation() -> File {
    let (name, text) = file::BUILT_IN.into_iter().find(|(name, _)| *name == "federation").unwrap();
    let text = text
        .replace("region_partition_every_seconds = 7200", "region_partition_every_seconds = 400")
        .replace("partition_seconds = 900", "partition_seconds = 120")
        .replace("hub_failure_every_seconds = 3600", "hub_failure_every_seconds = 300")
        .replace("hub_failure_seconds = 300", "hub_failure_seconds = 60");
    let file = File::parse(name, &text).unwrap();
    File { sites: 25, machines_per_site: 20, busy_seconds: 3_600, ..file }
}

#[test]
fn a_federation_loses_nothing_and_receives_each_event_about_once() {
    let report = passes(&small_federation());
    assert!(report.acknowledged > 300, "{report:?}");
    for fault in ["hub failures", "partitions", "broken connections"] {
        assert!(report.totals.faults.contains_key(fault), "{fault}: {:?}", report.totals.faults);
    }
    assert!(report.hubs.times_received() <= 1.2, "{:?}", report.hubs);
    assert_eq!(report.not_arrived, 0);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let file = File { busy_seconds: 600, ..small_federation() };
    let (first, second) = (passes(&file), passes(&file));
    assert_eq!(first, second);
    assert_ne!(first.trace, passes(&File { seed: 2, ..file }).trace);
}

/// What a return costs the hubs depends on what was missed, not on what was there before.
#[test]
fn returning_costs_the_same_whatever_the_size_of_the_log() {
    let file = File { sites: 100, ..built_in("outage") };
    let small = passes(&file);
    let large = passes(&File { history_per_site: 40, ..file });
    assert!(large.events > 2 * small.events, "{} and {}", small.events, large.events);
    let (small, large) = (small.returned.unwrap(), large.returned.unwrap());
    assert_eq!((small.edges, large.edges), (100, 100));
    let rows = [
        ("frames", small.cost.frames, large.cost.frames),
        ("bytes", small.cost.bytes, large.cost.bytes),
        ("searches", small.cost.log_searches, large.cost.log_searches),
        ("bytes of log", small.cost.log_bytes_read, large.cost.log_bytes_read),
    ];
    for (what, small, large) in rows {
        assert!(large <= small + small / 5, "{what}: {small} with little history, {large} with much");
    }
}

#[test]
fn a_policy_reaches_sites_on_recorded_links() {
    if !shared_data().exists() {
        eprintln!("skipped: {} is not there", shared_data().display());
        return;
    }
    let report = passes(&File { sites: 100, ..built_in("policy") });
    // Three changes, to every node but the one that wrote it.
    assert_eq!((report.policy_ms.len(), report.not_arrived), (3 * (report.nodes - 1), 0));
    let p99 = report.policy_ms.iter().map(|ms| *ms as f64).collect::<Samples>().percentile(99.0).unwrap();
    assert!(p99 <= 2_000.0, "99 % within {p99} ms");
}

#[test]
fn flags_win_over_the_file() {
    let flags = VirtualFleet { sites: Some(7), seed: Some(9), busy: Some(3), ..VirtualFleet::default() };
    let file = flags.file(true).unwrap();
    assert_eq!((file.sites, file.seed, file.busy_seconds, file.regions), (7, 9, 3, 2));
    let missing = VirtualFleet { scenario: Some("no/such.toml".into()), ..VirtualFleet::default() };
    assert!(format!("{:#}", missing.file(false).unwrap_err()).contains("built in are quick, outage"));
}

#[test]
fn a_scenario_that_says_nothing_sensible_is_refused() {
    let parse = |text: &str| File::parse("mine", text);
    let head =
        "about = ''\nregions = 1\nhubs_per_region = 1\nsites = 1\nmachines_per_site = 1\nbusy_seconds = 1\n";
    assert!(parse(head).unwrap().scenario().is_ok());
    assert!(parse(&format!("{head}sights = 3")).is_err(), "a word that means nothing");
    for (wrong, why) in [
        ("[links.edges]\nlatency_ms = [1, 2]\n", "either kbit_per_second or recordings"),
        (
            "[links.edges]\nlatency_ms = [1, 2]\n[[links.edges.recordings]]\narchive = 'none.zst'\n",
            "none.zst",
        ),
    ] {
        let error = parse(&format!("{head}{wrong}")).unwrap().scenario().unwrap_err();
        assert!(format!("{error:#}").contains(why), "{error:#}");
    }
    assert!(File { sites: 70_000, ..parse(head).unwrap() }.scenario().is_err());
}

#[test]
fn tars_and_rates_are_read() {
    let mut archive = vec![0; 512];
    archive[..5].copy_from_slice(b"a.log");
    archive[124..135].copy_from_slice(b"00000000020");
    archive[156] = b'0';
    archive.extend(b"0.0 8\n1.0 1.6\n4\n");
    archive.resize(2_048, 0);
    let files = tar(&archive).unwrap();
    assert_eq!(files, [("a.log".to_owned(), b"0.0 8\n1.0 1.6\n4\n".as_slice())]);
    assert!(rates("0.0 8\n1.0 1.6\n4\n").is_err(), "a line without a rate");
    assert_eq!(rates("0.0\t8\n1.0\t1.6\n3.0 5\n").unwrap().period_ms(), 3_000);
    assert!(tar(&archive[..520]).is_err(), "cut off");
}
