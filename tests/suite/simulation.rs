//! Long runs of the simulator.
//!
//! `DRIFTLESS_SEEDS` says how many seeds each scenario gets, `DRIFTLESS_SEED` repeats one, and
//! `DRIFTLESS_SITES` sets the size of the large fleet. Seeds that once found something are in
//! `tests/seeds.txt` and run every time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use driftless_sync::sim::{Failure, Report, Scenario, run};

/// Seeds of each scenario unless told otherwise.
const SEEDS: u64 = 200;
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
    for outcome in run_all(scenario, &seeds) {
        match outcome {
            Ok(report) => reports.push(report),
            Err(failure) => failures.push(failure.to_string()),
        }
    }
    assert!(failures.is_empty(), "{} of the seeds fail:\n{}", failures.len(), failures.join("\n"));
    reports
}

/// Runs every seed, one at a time on each processor. Runs share nothing, so this changes none of them.
fn run_all(scenario: &Scenario, seeds: &[u64]) -> Vec<Result<Report, Failure>> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut outcomes = vec![];
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            outcomes.push(run(scenario, *seed));
        }
        outcomes
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a run does not panic")).collect()
    })
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
