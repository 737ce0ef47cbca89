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
            Ok(report) => {
                if seed % 20 == 0 {
                    println!("{seed}: {report:?}")
                }
            }
            Err(failure) => println!("FAILED {failure}"),
        }
    }
}

fn seeds() -> u64 {
    std::env::var("DRIFTLESS_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1)
}

#[test]
fn a_large_fleet() {
    let sites = std::env::var("DRIFTLESS_SITES").ok().and_then(|s| s.parse().ok()).unwrap_or(50);
    match run(&Scenario::large(sites), 1) {
        Ok(report) => println!("{report:?}"),
        Err(failure) => panic!("FAILED {failure}"),
    }
}

#[test]
fn a_site_of_several_nodes() {
    for seed in 0..seeds() {
        let mut scenario = Scenario::storm();
        scenario.sites = 5;
        scenario.nodes_per_site = 3;
        scenario.work.checkpoint_every_ms = 1_500;
        match run(&scenario, seed) {
            Ok(report) => {
                if seed % 20 == 0 {
                    println!("{seed}: {report:?}")
                }
            }
            Err(failure) => println!("FAILED {failure}"),
        }
    }
}
