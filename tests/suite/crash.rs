//! A node that is killed while it writes loses nothing that it acknowledged.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::rig::{Fleet, Outcome, until};

/// Kills in one run, unless `DRIFTLESS_KILLS` says otherwise.
const KILLS: u64 = 50;
/// Clients that write at the same time.
const WRITERS: usize = 3;
/// The kill falls within this many milliseconds after the first acknowledgement of a round.
const KILL_WITHIN_MS: u64 = 120;

#[test]
fn a_hub_killed_while_it_writes_keeps_every_acknowledged_write() {
    let kills = std::env::var("DRIFTLESS_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut fleet = Fleet::new();
    let mut written = BTreeMap::new();
    for kill in 0..kills {
        let after = Duration::from_millis(random.next_u64() % KILL_WITHIN_MS);
        let acknowledged = write_until_killed(&mut fleet, kill, after);
        assert!(!acknowledged.is_empty(), "nothing was acknowledged before kill {kill}");
        written.extend(acknowledged);
        fleet.node("hub-eu").restart();
        let held = values(&fleet);
        for (name, value) in &written {
            // The writer may have got further than its last answer.
            assert!(
                held.get(name).is_some_and(|held| held >= value),
                "kill {kill}: {name} was acknowledged with {value}, held {:?}",
                held.get(name)
            );
        }
    }
    eprintln!("{kills} kills, {} acknowledged profiles", written.len());
}

/// Starts writers, kills the hub at some moment, and returns what each of them knows to be written.
fn write_until_killed(fleet: &mut Fleet, round: u64, after: Duration) -> BTreeMap<String, u64> {
    let data_dir = fleet.path("hub-eu");
    let (killed, acknowledged) = (AtomicBool::new(false), Mutex::new(BTreeMap::new()));
    let count = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (data_dir, killed, acknowledged, count) = (&data_dir, &killed, &acknowledged, &count);
            scope.spawn(move || {
                let name = format!("round-{round}-writer-{writer}");
                let mut value = 1;
                while !killed.load(Ordering::SeqCst) && write(data_dir, &name, value) {
                    acknowledged.lock().unwrap().insert(name.clone(), value);
                    count.fetch_add(1, Ordering::SeqCst);
                    value += 1;
                }
            });
        }
        until("a first write of the round is acknowledged", || count.load(Ordering::SeqCst) > 0);
        pass(after);
        fleet.node("hub-eu").kill();
        killed.store(true, Ordering::SeqCst);
    });
    acknowledged.into_inner().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "waits for nothing: the moment of the kill is what is varied")]
fn pass(time: Duration) {
    std::thread::sleep(time);
}

/// Whether the hub acknowledged it.
fn write(data_dir: &Path, name: &str, value: u64) -> bool {
    let manifest = format!(
        "{{apiVersion: driftless.dev/v1, kind: Profile, metadata: {{name: {name}}}, \
         spec: {{priority: 1, selector: {{matchAll: true}}, values: {{counter: {value}}}}}}}"
    );
    Outcome::of(data_dir, &["apply", "-f", "-"], &manifest).code == 0
}

fn values(fleet: &Fleet) -> BTreeMap<String, u64> {
    let listed = fleet.json("hub-eu", &["get", "profiles"]);
    let profiles = listed["items"].as_array().unwrap().iter();
    profiles
        .map(|profile| {
            let name = profile["metadata"]["name"].as_str().unwrap().to_owned();
            (name, profile["spec"]["values"]["counter"].as_u64().unwrap())
        })
        .collect()
}

#[test]
fn the_disk_is_synced_before_a_write_is_acknowledged() {
    if Command::new("strace").arg("--version").stdout(Stdio::null()).status().is_err() {
        return eprintln!("skipped: there is no strace here");
    }
    let mut fleet = Fleet::new();
    let hub = fleet.node("hub-eu").process_id();
    let trace = fleet.path("trace");
    let calls = "--trace=fdatasync,write,writev,sendto,sendmsg";
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-ttt", "-y", "-s0", calls, "-o"]).arg(&trace).args(["-p", &hub.to_string()]);
    let mut strace = strace.stderr(Stdio::null()).spawn().unwrap();
    until("the hub is traced, or must not be", || {
        let status = std::fs::read_to_string(format!("/proc/{hub}/status")).unwrap();
        !status.contains("TracerPid:\t0") || strace.try_wait().unwrap().is_some()
    });
    if strace.try_wait().unwrap().is_some() {
        return eprintln!("skipped: the system does not let strace look at other processes");
    }
    let windows: Vec<(f64, f64)> = (1..=5)
        .map(|value| {
            let from = seconds();
            assert!(write(&fleet.path("hub-eu"), "traced", value));
            (from, seconds())
        })
        .collect();
    fleet.node("hub-eu").stop();
    strace.wait().unwrap();
    let trace = std::fs::read_to_string(trace).unwrap();
    for (from, until) in windows {
        let within = |line: &&str| time_of(line).is_some_and(|at| at >= from && at <= until);
        let lines: Vec<&str> = trace.lines().filter(within).collect();
        let synced = lines.iter().position(|line| line.contains("fdatasync") && line.contains("/store/db>"));
        let answered = lines.iter().rposition(|line| line.contains("<TCP:") || line.contains("<socket:"));
        assert!(synced.is_some() && synced < answered, "no sync before the answer:\n{}", lines.join("\n"));
    }
}

/// `PID SECONDS.MICROSECONDS CALL…`
fn time_of(line: &str) -> Option<f64> {
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The clock that strace shows.
#[expect(clippy::disallowed_methods, reason = "compared with the times in the trace")]
fn seconds() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}
