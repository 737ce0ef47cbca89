//! Events merged per second, and what an event takes in the log.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use driftless_core::group::Record;
use driftless_core::name::Scope;
use driftless_core::replica::Replica;
use driftless_core::store::{MemoryStore, SledOptions, SledStore, Store};
use driftless_core::testing;

use crate::options::Options;
use crate::process::thread_cpu_seconds;
use crate::report::Section;
use crate::samples::Samples;
use crate::workload;

/// Bytes of an Ed25519 signature.
const SIGNATURE_BYTES: f64 = 64.0;
/// Bytes of log that are merged at a time, as sync carries them.
const CHUNK_BYTES: usize = 64 << 10;
const HUBS: [(&str, u16); 2] = [("hub-1", 1), ("hub-2", 2)];

/// One kind of history to merge.
struct Shape {
    name: &'static str,
    /// Events that share a signature.
    group: usize,
    /// Hubs that write at the same time, without seeing each other.
    branches: usize,
    profiles: usize,
}

const SHAPES: [Shape; 4] = [
    Shape { name: "linear, groups of 64", group: 64, branches: 1, profiles: 256 },
    Shape { name: "linear, each event signed alone", group: 1, branches: 1, profiles: 256 },
    Shape { name: "two branches of 5 events per document", group: 64, branches: 2, profiles: 0 },
    Shape { name: "two branches of 50 events per document", group: 64, branches: 2, profiles: 0 },
];
/// Events per document and branch in the concurrent shapes.
const BRANCH_EVENTS: [usize; 2] = [5, 50];

/// Measures every shape, in memory and, the linear one, on disk.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Section> {
    let events = options.size(1_024, 32_768);
    let concurrent_events = options.size(512, 8_192);
    let about = format!(
        "{events} changes of one field ({concurrent_events} where concurrent) into a replica that holds the profiles, in chunks of 64 KiB, each committed; median of {}",
        options.rounds(),
    );
    let mut section = Section::new("merge", about);
    for (index, shape) in SHAPES.iter().enumerate() {
        let concurrent = shape.branches > 1;
        let total = if concurrent { concurrent_events } else { events };
        let profiles = match concurrent {
            true => total / shape.branches / BRANCH_EVENTS[index - 2],
            false => shape.profiles,
        };
        let history = History::write(shape, total, profiles)?;
        let (in_memory, cpu) = history.rates(options.rounds(), || Ok(MemoryStore::new()))?;
        section.rounds(format!("{}, in memory", shape.name), &in_memory, "events/s");
        section.rounds(format!("{}, CPU", shape.name), &cpu, "µs/event");
        if !concurrent {
            let scratch = options.scratch()?;
            let mut number = 0;
            let (on_disk, _) = history.rates(options.rounds(), || {
                number += 1;
                Ok(SledStore::open(&scratch.path().join(number.to_string()), SledOptions::default())?)
            })?;
            section.rounds(format!("{}, on disk", shape.name), &on_disk, "events/s");
            history.sizes(shape.name, &cpu, &mut section)?;
        }
    }
    Ok(section)
}

/// Events to merge, and the state to merge them into.
struct History {
    base: Replica<MemoryStore>,
    /// The log of each branch, in chunks; branches take turns.
    chunks: Vec<Vec<Arc<[u8]>>>,
    events: u64,
}

impl History {
    fn write(shape: &Shape, events: usize, profiles: usize) -> anyhow::Result<Self> {
        let mut base = testing::open(MemoryStore::new(), HUBS[0].1, 1);
        testing::carry(&testing::enrolled(&HUBS, &[]), &mut base);
        for profile in 0..profiles {
            base.write(workload::make(profile))?;
        }
        base.commit()?;
        let scope = scope();
        let mut branches = vec![];
        for (_, key) in HUBS.iter().take(shape.branches) {
            let mut branch = testing::open(MemoryStore::new(), *key, 2);
            testing::carry(&base, &mut branch);
            let start = branch.position();
            for number in 0..events / shape.branches {
                let value = (number * 10) as u64 + u64::from(*key);
                branch.write(workload::change(number % profiles, value))?;
                if (number + 1) % shape.group == 0 {
                    branch.commit()?;
                }
            }
            branch.commit()?;
            branches.push(chunks(&branch, &scope, start)?);
        }
        let mut turns: Vec<_> = branches.into_iter().map(Vec::into_iter).collect();
        let mut chunks = vec![];
        loop {
            let turn: Vec<_> = turns.iter_mut().filter_map(Iterator::next).collect();
            if turn.is_empty() {
                break;
            }
            chunks.extend(turn);
        }
        let events = (events / shape.branches * shape.branches) as u64;
        Ok(Self { base, chunks, events })
    }

    /// Merges everything into a replica of its own, several times: events per second, and microseconds of
    /// CPU per event.
    fn rates<S: Store>(
        &self,
        rounds: usize,
        mut store: impl FnMut() -> anyhow::Result<S>,
    ) -> anyhow::Result<(Samples, Samples)> {
        let (mut rates, mut costs) = (vec![], vec![]);
        for _ in 0..rounds {
            let mut replica = testing::open(store()?, 1, 3);
            testing::carry(&self.base, &mut replica);
            let (started, cpu, mut accepted) = (Instant::now(), thread_cpu_seconds(), 0);
            for chunk in &self.chunks {
                let merged = replica.merge(chunk)?;
                ensure!(merged.wanted.is_empty() && merged.refused.is_empty(), "every chunk can be taken");
                accepted += merged.accepted;
                replica.commit()?;
            }
            rates.push(accepted as f64 / started.elapsed().as_secs_f64());
            costs.push((thread_cpu_seconds() - cpu) * 1e6 / accepted as f64);
            ensure!(accepted == self.events, "{accepted} of {} events were taken", self.events);
        }
        Ok((rates.into_iter().collect(), costs.into_iter().collect()))
    }

    /// Bytes per event, and what of bytes and time goes to signatures.
    fn sizes(&self, name: &str, costs: &Samples, section: &mut Section) -> anyhow::Result<()> {
        let records: Vec<&Arc<[u8]>> = self.chunks.iter().flatten().collect();
        let (bytes, events) =
            (records.iter().map(|record| record.len()).sum::<usize>() as f64, self.events as f64);
        let fleet = self.base.fleet();
        let mut groups = vec![];
        for record in &records {
            match Record::decode(fleet, record)? {
                Record::Group(group) => groups.push(group),
                Record::Gap(_) => continue,
            }
        }
        let cpu = thread_cpu_seconds();
        groups.iter().try_for_each(driftless_core::group::Group::verify)?;
        let verifying = (thread_cpu_seconds() - cpu) * 1e6;
        let cost = costs.median().context("at least one round")?;
        section.figure(format!("{name}, bytes per event in the log"), bytes / events, "B");
        let signatures = groups.len() as f64 * SIGNATURE_BYTES;
        section.figure(format!("{name}, signatures' share of these bytes"), 100.0 * signatures / bytes, "%");
        section.figure(format!("{name}, one signature check"), verifying / groups.len() as f64, "µs");
        let share = verifying / events / cost;
        section.figure(format!("{name}, signature checks' share of the CPU"), 100.0 * share, "%");
        Ok(())
    }
}

fn scope() -> Scope {
    Scope::Profiles { namespace: "default".to_owned() }
}

fn chunks(replica: &Replica<MemoryStore>, scope: &Scope, start: u64) -> anyhow::Result<Vec<Vec<Arc<[u8]>>>> {
    let (mut chunks, mut after) = (vec![], start);
    loop {
        let read = replica.log(scope, after, CHUNK_BYTES)?;
        if !read.entries.is_empty() {
            chunks.push(read.entries.into_iter().map(|entry| entry.bytes).collect());
        }
        after = read.next;
        if read.end {
            return Ok(chunks);
        }
    }
}
