//! Long runs of the simulator.
//!
//! `DRIFTLESS_SEEDS` says how many seeds each scenario gets, `DRIFTLESS_SEED` repeats one, and
//! `DRIFTLESS_SITES` sets the size of the large fleet. Seeds that once found something are in
//! `tests/seeds.txt` and run every time.

use driftless_sync::sim::{Report, Scenario, run};

/// Seeds of each scenario unless told otherwise.
const SEEDS: u64 = 10;
/// Sites of the large fleet unless told otherwise.
const SITES: u64 = 2_000;

#[test]
fn storm() {
    let reports = each_seed(&Scenario::storm());
    assert!(reports.iter().all(|report| report.acknowledged > 100));
}

#[test]
fn several_nodes() {
    let reports = each_seed(&Scenario::several_nodes());
    assert!(reports.iter().any(|report| report.totals.checkpoints > 0));
}

#[test]
fn large() {
    let sites = from_environment("DRIFTLESS_SITES").unwrap_or(SITES) as usize;
    let seed = from_environment("DRIFTLESS_SEED").unwrap_or(1);
    let report = run(&Scenario::large(sites), seed).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(report.nodes, sites + 2);
}

/// Runs the seeds that once failed and those that are due; fails with every seed that fails.
fn each_seed(scenario: &Scenario) -> Vec<Report> {
    let seeds: Vec<u64> = match from_environment("DRIFTLESS_SEED") {
        Some(seed) => vec![seed],
        None => {
            let count = from_environment("DRIFTLESS_SEEDS").unwrap_or(SEEDS);
            remembered(&scenario.name).chain(0..count).collect()
        }
    };
    let (mut reports, mut failures) = (vec![], vec![]);
    for seed in seeds {
        match run(scenario, seed) {
            Ok(report) => reports.push(report),
            Err(failure) => failures.push(failure.to_string()),
        }
    }
    assert!(failures.is_empty(), "{} of the seeds fail:\n{}", failures.len(), failures.join("\n"));
    reports
}

/// The seeds of a scenario in `tests/seeds.txt`: lines of scenario, seed and what it found.
fn remembered(scenario: &str) -> impl Iterator<Item = u64> {
    include_str!("../seeds.txt").lines().filter(|line| !line.starts_with('#')).filter_map(move |line| {
        let mut words = line.split_whitespace();
        (words.next()? == scenario).then(|| words.next()?.parse().ok())?
    })
}

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} has to be a number, not {value:?}")))
}
