#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn a_calm_fleet_converges() {
    let report = run(&Scenario::calm(2, 4), 1).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{report:#?}");
    assert!(report.acknowledged > 20, "{report:?}");
}

#[test]
fn a_storm_passes() {
    for seed in 0..seeds() {
        let seed = std::env::var("DRIFTLESS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(seed);
        match run(&Scenario::storm(), seed) {
            Ok(report) => println!("{seed}: {report:?}"),
            Err(failure) => println!("FAILED {failure}"),
        }
    }
}

fn seeds() -> u64 {
    std::env::var("DRIFTLESS_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1)
}
