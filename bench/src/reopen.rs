//! Reopening a store that holds the events of many sites.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use driftless_core::name::{Document, Kind, Scope};
use driftless_core::replica::{ChangeRequest, LabelSelector, Replica, Write};
use driftless_core::store::{MemoryStore, Order, SledOptions, SledStore, Store as _};
use driftless_core::testing;
use serde_json::{Value, json};

use crate::options::Options;
use crate::process::{resident, thread_cpu_seconds};
use crate::progress::Progress;
use crate::report::{Section, Table};
use crate::samples::Samples;

/// Machines of a site; a report of a site changes all of them, under one signature.
const MACHINES: usize = 10;
/// Reports of a site: a fleet of any size has as many events per document.
const REPORTS: usize = 100;
/// The key number of the hub; sites have those above.
const HUB: u16 = 1;
const MIB: f64 = (1 << 20) as f64;

/// Fills stores, then opens each in processes that have done nothing else.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Section> {
    let sizes = options.size(vec![2_000], vec![100_000, 1_000_000]);
    let about = format!(
        "sites of {MACHINES} machines that reported {REPORTS} times, {MACHINES} events under one signature each time, in as many sites as make so many events; each opened by a new process, files in the page cache; median of {}",
        options.rounds(),
    );
    let mut keys_per_event = Table::new(
        "keys in sled per event, of stores that differ only in the number of sites",
        ["events", "keys per event", "of these log", "of these documents and indexes"]
            .map(str::to_owned)
            .into(),
    );
    let mut section = Section::new("reopen", about);
    for events in sizes {
        let scratch = options.scratch()?;
        let dir = scratch.path().join("store");
        let sites = (events / (REPORTS * MACHINES)).max(1);
        let filled = fill(&dir, sites)?;
        let what = format!("{} events", filled.events);
        let opened =
            (0..options.rounds()).map(|_| open_elsewhere(&dir)).collect::<anyhow::Result<Vec<_>>>()?;
        let observed = |name: &str, unit: f64| -> anyhow::Result<Samples> {
            let value = |found: &Value| found[name].as_f64().with_context(|| format!("{name} in {found}"));
            opened.iter().map(|found| Ok(value(found)? / unit)).collect()
        };
        section.figure(format!("{what}, merged into the store"), filled.rate, "events/s");
        section.figure(format!("{what}, CPU of merging"), filled.cpu, "µs/event");
        section.figure(format!("{what}, resident after merging"), filled.resident / MIB, "MiB");
        section.rounds(format!("{what}, open"), &observed("open_ms", 1.0)?, "ms");
        section.rounds(format!("{what}, of that sled"), &observed("sled_ms", 1.0)?, "ms");
        section.rounds(format!("{what}, first read after that"), &observed("read_ms", 1.0)?, "ms");
        section.rounds(format!("{what}, listing all machines, each read"), &observed("list_ms", 1.0)?, "ms");
        section.rounds(format!("{what}, resident once open"), &observed("resident", MIB)?, "MiB");
        let (keys, log, count) = (keys(&dir)? as f64, filled.log_keys as f64, filled.events as f64);
        section.figure(format!("{what}, keys in sled per event"), keys / count, "");
        keys_per_event.row(
            format!("{sites} sites"),
            [count, keys / count, log / count, (keys - log) / count].map(Some).into(),
        );
        section.figure(
            format!("{what}, bytes of records per event"),
            filled.record_bytes / filled.events as f64,
            "B",
        );
        section.figure(format!("{what}, on disk"), filled.disk_bytes / MIB, "MiB");
        section.figure(
            format!("{what}, on disk / live keys and values"),
            filled.disk_bytes / live_bytes(&dir)?,
            "x",
        );
    }
    section.table(keys_per_event);
    Ok(section)
}

/// Opens a store in this process and says what it cost; for a child process.
pub(crate) fn open(dir: &Path) -> anyhow::Result<Value> {
    let started = Instant::now();
    let store = SledStore::open(dir, SledOptions::default())?;
    let sled_ms = milliseconds(started);
    let replica = testing::open(store, HUB, 2);
    let open_ms = milliseconds(started);
    let started = Instant::now();
    let found = replica.get(&machine(0, 0))?;
    let read_ms = milliseconds(started);
    ensure!(found.is_some(), "the first machine is there");
    let bytes = resident(std::process::id())?.total;
    let started = Instant::now();
    let listed = replica.list(Kind::Machine, None, &LabelSelector::new())?.len();
    let list_ms = milliseconds(started);
    Ok(json!({
        "sled_ms": sled_ms, "open_ms": open_ms, "read_ms": read_ms, "list_ms": list_ms, "listed": listed,
        "resident": bytes, "position": replica.position(),
    }))
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Runs [`open`] in a process of its own.
fn open_elsewhere(dir: &Path) -> anyhow::Result<Value> {
    let mut command = Command::new(std::env::current_exe()?);
    let output =
        command.args(["child", "reopen"]).arg(dir).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "opening failed: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What filling a store came to.
struct Filled {
    events: u64,
    rate: f64,
    /// Microseconds of this thread per event.
    cpu: f64,
    record_bytes: f64,
    log_keys: usize,
    resident: f64,
    disk_bytes: f64,
}

/// A site that reports to the hub.
struct Reporter {
    number: usize,
    scope: Scope,
    replica: Replica<MemoryStore>,
    /// What the hub has taken.
    carried: u64,
}

/// Sites report in turn, all of their machines at a time, until each has reported often enough.
fn fill(dir: &Path, sites: usize) -> anyhow::Result<Filled> {
    let names: Vec<String> = (0..sites).map(crate::fleet::site).collect();
    let keys = HUB + 1..;
    let members: Vec<_> = names.iter().zip(keys).map(|(site, key)| ("default", site.as_str(), key)).collect();
    let enrolled = testing::enrolled(&[("hub-1", HUB)], &members);
    let mut hub = testing::open(SledStore::open(dir, SledOptions::default())?, HUB, 1);
    testing::carry(&enrolled, &mut hub);
    let mut reporters =
        (0..sites).map(|site| Reporter::new(site, &enrolled)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut progress = Progress::new(format!("reopen, reports of {sites} sites"), REPORTS as u64);
    let (mut record_bytes, mut merging, mut cpu) = (0, 0.0, 0.0);
    let before = hub.position();
    for round in 0..REPORTS {
        progress.at(round as u64);
        for reporters in reporters.chunks_mut(REPORTS_PER_COMMIT) {
            let mut records = vec![];
            for reporter in reporters {
                records.extend(reporter.report(round)?);
            }
            record_bytes += records.iter().map(|record| record.len()).sum::<usize>();
            let (started, cpu_before) = (Instant::now(), thread_cpu_seconds());
            let merged = hub.merge(&records)?;
            hub.commit()?;
            merging += started.elapsed().as_secs_f64();
            cpu += thread_cpu_seconds() - cpu_before;
            ensure!(merged.wanted.is_empty() && merged.refused.is_empty(), "reports can be taken");
        }
    }
    let taken = hub.position() - before;
    let resident = resident(std::process::id())?.total as f64;
    hub.settle()?;
    hub.flush_store()?;
    let mut log_keys = 0;
    hub.store().scan(b"r", b"s", Order::Ascending, &mut |_, _| {
        log_keys += 1;
        ControlFlow::Continue(())
    })?;
    Ok(Filled {
        events: hub.position(),
        rate: taken as f64 / merging,
        cpu: cpu * 1e6 / taken as f64,
        record_bytes: record_bytes as f64,
        log_keys,
        resident,
        disk_bytes: hub.store().disk_bytes() as f64,
    })
}

/// Sites whose reports reach the hub within one flush.
const REPORTS_PER_COMMIT: usize = 16;

impl Reporter {
    fn new(number: usize, enrolled: &Replica<MemoryStore>) -> anyhow::Result<Self> {
        let scope = machine(number, 0).scope();
        let key = HUB + 1 + u16::try_from(number)?;
        let mut replica = testing::open(MemoryStore::new(), key, 1);
        for scope in [&Scope::Fleet, &scope] {
            let records: Vec<_> =
                enrolled.log(scope, 0, usize::MAX)?.entries.into_iter().map(|entry| entry.bytes).collect();
            replica.merge(&records)?;
        }
        replica.commit()?;
        Ok(Self { number, scope, carried: replica.position(), replica })
    }

    /// Reports all machines and returns the records of that.
    fn report(&mut self, round: usize) -> anyhow::Result<Vec<std::sync::Arc<[u8]>>> {
        for index in 0..MACHINES {
            let document = machine(self.number, index);
            let change = match round {
                0 => ChangeRequest::Put(inventory(&document, index)),
                _ => ChangeRequest::MergePatch(json!({"spec": {"load": round, "uptimeHours": round * 6}})),
            };
            self.replica.write(Write::new(document, change, "site/inventory", 1_700_000_000_000))?;
        }
        self.replica.commit()?;
        let read = self.replica.log(&self.scope, self.carried, usize::MAX)?;
        self.carried = read.next;
        Ok(read.entries.into_iter().map(|entry| entry.bytes).collect())
    }
}

fn machine(site: usize, index: usize) -> Document {
    let name = format!("{}.m{index}", crate::fleet::site(site));
    Document::new(Kind::Machine, "default", &name).expect("a valid name")
}

fn inventory(document: &Document, index: usize) -> Value {
    json!({
        "apiVersion": "driftless.dev/v1", "kind": "Machine",
        "metadata": {"name": document.name(), "namespace": "default", "labels": {"role": "worker", "zone": "a"}},
        "spec": {
            "cpu": 8, "memoryBytes": 34_359_738_368_u64, "kernel": "6.8.0-45-generic", "os": "Ubuntu 24.04 LTS",
            "addresses": [format!("10.1.0.{index}")], "load": 0, "uptimeHours": 0,
        },
    })
}

/// How many keys sled holds.
fn keys(dir: &Path) -> anyhow::Result<usize> {
    Ok(sled::Config::new().path(dir).open()?.len())
}

/// The bytes of all keys and values that sled holds.
fn live_bytes(dir: &Path) -> anyhow::Result<f64> {
    let sled = sled::Config::new().path(dir).open()?;
    let mut bytes = 0;
    for entry in sled.iter() {
        let (key, value) = entry?;
        bytes += key.len() + value.len();
    }
    Ok(bytes as f64)
}
