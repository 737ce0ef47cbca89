//! Durable commits per second, beside what the disk and sled can do in the same run and directory.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use driftless_core::owner::{Commit, Handle};
use driftless_core::replica::Replica;
use driftless_core::store::{MemoryStore, SledOptions, SledStore, Store};
use driftless_core::testing;

use crate::options::Options;
use crate::report::Section;
use crate::samples::Samples;
use crate::workload;

/// What raw appends and raw sled write per commit: about what an event and its signature take.
const RECORD_BYTES: usize = 320;
/// Writers at a time, where there are many.
const WRITERS: usize = 64;
/// Profiles that are changed in turn.
const PROFILES: usize = 256;

/// One way to commit: runs it with so many writers for so long, and returns commits per second.
type Contender = (&'static str, usize, fn(&Path, usize, Duration) -> anyhow::Result<f64>);

const CONTENDERS: [Contender; 8] = [
    ("raw append + fdatasync", 1, raw_appends),
    ("raw append + fdatasync, one file", WRITERS, raw_appends),
    ("raw sled, insert + flush + sync_data", 1, raw_sled),
    ("raw sled, insert + flush + sync_data", WRITERS, raw_sled),
    ("Driftless on disk", 1, on_disk),
    ("Driftless on disk, threads", WRITERS, on_disk),
    ("Driftless on disk, tasks", WRITERS, on_disk_from_tasks),
    ("Driftless in memory, tasks (no disk: the CPU's share)", WRITERS, in_memory),
];

/// Measures each contender in turn, round after round.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Section> {
    let duration = options.size(Duration::from_millis(300), Duration::from_secs(3));
    let mut rates = vec![vec![]; CONTENDERS.len()];
    for _ in 0..options.rounds() {
        for (contender, rates) in CONTENDERS.iter().zip(&mut rates) {
            let (name, writers, run) = *contender;
            let scratch = options.scratch()?;
            rates.push(run(scratch.path(), writers, duration).with_context(|| name)?);
        }
    }
    let about = format!(
        "one field of one of {PROFILES} profiles of 1 KB per commit, acknowledged when on disk; median of {} rounds of {:.1} s",
        options.rounds(),
        duration.as_secs_f64(),
    );
    let mut section = Section::new("commits", about);
    for ((name, writers, _), rates) in CONTENDERS.iter().zip(&rates) {
        let samples: Samples = rates.iter().copied().collect();
        section.rounds(format!("{name}, {} ", plural(*writers)), &samples, "commits/s");
    }
    let ratio = |over: usize, under: usize| -> Samples {
        rates[over].iter().zip(&rates[under]).map(|(over, under)| over / under).collect()
    };
    section.rounds("Driftless / raw append, 1 writer", &ratio(4, 0), "x");
    section.rounds("Driftless / raw sled, 1 writer", &ratio(4, 2), "x");
    section.rounds("Driftless (tasks) / raw append, 64 writers", &ratio(6, 1), "x");
    section.rounds("Driftless (tasks) / raw sled, 64 writers", &ratio(6, 3), "x");
    section.rounds("Driftless, 64 writers (tasks) / 1 writer", &ratio(6, 4), "x");
    Ok(section)
}

fn plural(writers: usize) -> String {
    if writers == 1 { "1 writer".to_owned() } else { format!("{writers} writers") }
}

/// Lets each of `writers` threads commit over and over, and counts.
fn race(
    writers: usize,
    duration: Duration,
    commit: impl Fn(u64) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<f64> {
    let (next, over, started) = (AtomicU64::new(0), AtomicBool::new(false), Instant::now());
    let write = || -> anyhow::Result<u64> {
        let mut commits = 0;
        while !over.load(Ordering::Relaxed) {
            commit(next.fetch_add(1, Ordering::Relaxed))?;
            commits += 1;
        }
        Ok(commits)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..writers).map(|_| scope.spawn(write)).collect();
        thread::sleep(duration);
        over.store(true, Ordering::Relaxed);
        let mut commits = 0;
        for thread in threads {
            commits += thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(commits as f64 / started.elapsed().as_secs_f64())
    })
}

fn raw_appends(dir: &Path, writers: usize, duration: Duration) -> anyhow::Result<f64> {
    let file = OpenOptions::new().create(true).append(true).open(dir.join("appended"))?;
    race(writers, duration, |_| {
        (&file).write_all(&[0x5a; RECORD_BYTES])?;
        Ok(file.sync_data()?)
    })
}

fn raw_sled(dir: &Path, writers: usize, duration: Duration) -> anyhow::Result<f64> {
    let sled = sled::Config::new().path(dir).open()?;
    let log = File::open(dir.join("db"))?;
    race(writers, duration, |number| {
        sled.insert(number.to_be_bytes(), vec![0x5a; RECORD_BYTES])?;
        sled.flush()?;
        Ok(log.sync_data()?)
    })
}

/// A hub's replica with the profiles in it.
fn replica<S: Store>(store: S) -> anyhow::Result<Replica<S>> {
    let mut replica = testing::open(store, HUB, 1);
    testing::carry(&testing::enrolled(&[("hub-1", HUB)], &[]), &mut replica);
    for profile in 0..PROFILES {
        replica.write(workload::make(profile))?;
    }
    replica.commit()?;
    Ok(replica)
}

/// The key number of the hub.
const HUB: u16 = 1;

fn sled_store(dir: &Path) -> anyhow::Result<SledStore> {
    Ok(SledStore::open(&dir.join("store"), SledOptions::default())?)
}

fn on_disk(dir: &Path, writers: usize, duration: Duration) -> anyhow::Result<f64> {
    let replica = replica(sled_store(dir)?)?;
    let (handle, owner) = Handle::spawn("owner", || anyhow::Ok(replica))?;
    let rate = race(writers, duration, |number| {
        let change = workload::change(number as usize % PROFILES, number + 1);
        handle.write(move |replica| replica.write(change).map(drop))??;
        Ok(())
    });
    drop(handle);
    owner.join()?;
    rate
}

fn on_disk_from_tasks(dir: &Path, writers: usize, duration: Duration) -> anyhow::Result<f64> {
    from_tasks(replica(sled_store(dir)?)?, writers, duration)
}

fn in_memory(_: &Path, writers: usize, duration: Duration) -> anyhow::Result<f64> {
    from_tasks(replica(MemoryStore::new())?, writers, duration)
}

/// Writers as an API serves them: tasks that each wait for their own commit.
fn from_tasks<S: Store>(replica: Replica<S>, writers: usize, duration: Duration) -> anyhow::Result<f64>
where
    Replica<S>: Commit + Send,
{
    let (handle, owner) = Handle::spawn("owner", || anyhow::Ok(replica))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let rate = runtime.block_on(async {
        let (next, started) = (std::sync::Arc::new(AtomicU64::new(0)), Instant::now());
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..writers {
            let (handle, next) = (handle.clone(), std::sync::Arc::clone(&next));
            tasks.spawn(async move {
                let mut commits = 0_u64;
                while started.elapsed() < duration {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let change = workload::change(number as usize % PROFILES, number + 1);
                    handle.write_async(move |replica| replica.write(change).map(drop)).await??;
                    commits += 1;
                }
                anyhow::Ok(commits)
            });
        }
        let mut commits = 0;
        while let Some(done) = tasks.join_next().await {
            commits += done??;
        }
        anyhow::Ok(commits as f64 / started.elapsed().as_secs_f64())
    });
    drop(handle);
    owner.join()?;
    rate
}
