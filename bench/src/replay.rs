//! Real histories of configuration repositories replayed as concurrent edits: whether replicas converge,
//! and how our merges compare with those that people made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use driftless::testing::shared_data;
use driftless::testing::traces::{Content, Merge, Trace};
use driftless_core::document::{Conflict, DocumentState, Effect};
use driftless_core::event::Event;
use driftless_core::name::{Document, Kind};
use driftless_core::view;

use crate::options::Options;
use crate::report::{Section, Table};

const TRACES: [&str; 3] = ["lsst-control", "2i2c-infrastructure", "bjws-home-ops"];

/// Replays every trace that is there.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Section> {
    let orders = options.size(1, 5);
    let about = format!(
        "real histories, each file a document, each commit an event of its writer, the commit graph their causality; every file delivered in {orders} random orders"
    );
    let mut section = Section::new("replay", about);
    let Some(data) = shared_data() else { return Ok(section) };
    let (mut replayed, mut merged, mut values) = (table_of_histories(), table_of_merges(), table_of_values());
    for name in TRACES.into_iter().take(options.size(1, TRACES.len())) {
        let trace = Trace::read(&data.join("traces"), name).with_context(|| format!("reading {name}"))?;
        replayed.row(name, converge(&trace, orders)?);
        let judged = trace.merges.iter().map(judge).collect::<anyhow::Result<Vec<Judged>>>()?;
        if !judged.is_empty() {
            merged.row(name, verdicts(&judged, trace.unjudged));
            values.row(name, causes(&judged));
        }
        write_silent(options.out_dir(), name, &trace.merges, &judged)?;
    }
    section.table(replayed);
    section.table(merged);
    section.table(values);
    Ok(section)
}

fn table_of_histories() -> Table {
    let columns = [
        "writers",
        "files",
        "events",
        "of them concurrent",
        "largest file, events",
        "states that differ",
        "events/s",
        "versions left out",
    ];
    Table::new("histories", columns.map(str::to_owned).into())
}

fn table_of_merges() -> Table {
    let columns = [
        "files",
        "equal",
        "equal, and a conflict is listed",
        "differ where a conflict is listed",
        "differ elsewhere too",
        "left out",
    ];
    Table::new("files that people merged: ours and theirs", columns.map(str::to_owned).into())
}

fn table_of_values() -> Table {
    let columns = [
        "conflicts listed",
        "of them lists",
        "differ unlisted",
        "neither side had it",
        "a change of one side was undone",
        "of other causes",
    ];
    Table::new(
        "conflicts in those files, and values that differ where none is listed, by cause",
        columns.map(str::to_owned).into(),
    )
}

/// Delivers the events of every file in random orders to replicas of it, which have to be the same.
fn converge(trace: &Trace, orders: usize) -> anyhow::Result<Vec<Option<f64>>> {
    let files = by_file(trace.events.iter().map(Arc::as_ref));
    let expected = files.values().map(|events| rebuilt(events)).collect::<anyhow::Result<Vec<_>>>()?;
    let (mut differing, mut concurrent, mut seconds) = (0, 0, 0.0);
    for round in 0..orders {
        let order = trace.shuffled(round as u64);
        concurrent = 0;
        let delivered = by_file(order.into_iter().map(|place| trace.events[place].as_ref()));
        for (events, expected) in delivered.into_values().zip(&expected) {
            let started = Instant::now();
            let (state, rebuilds) = deliver(&events)?;
            seconds += started.elapsed().as_secs_f64();
            concurrent += rebuilds;
            differing += usize::from(state != *expected);
        }
    }
    ensure!(differing == 0, "{differing} replicas did not converge");
    let largest = files.values().map(Vec::len).max().unwrap_or(0);
    let figures = [
        f64::from(trace.writers),
        files.len() as f64,
        trace.events.len() as f64,
        concurrent as f64,
        largest as f64,
        differing as f64,
        (orders * trace.events.len()) as f64 / seconds,
        trace.unreadable as f64,
    ];
    Ok(figures.map(Some).into())
}

fn by_file<'t>(events: impl Iterator<Item = &'t Event>) -> BTreeMap<&'t Document, Vec<&'t Event>> {
    let mut files: BTreeMap<&Document, Vec<&Event>> = BTreeMap::new();
    events.for_each(|event| files.entry(&event.header().document).or_default().push(event));
    files
}

/// Takes events one by one, as a replica does, and counts those that had not seen what was there.
fn deliver(events: &[&Event]) -> anyhow::Result<(DocumentState, usize)> {
    let (mut state, mut rebuilds) = (DocumentState::new(), 0);
    for (place, event) in events.iter().enumerate() {
        if state.apply(event, Effect::Effective).is_err() {
            state = rebuilt(&events[..=place])?;
            rebuilds += 1;
        }
    }
    Ok((state, rebuilds))
}

fn rebuilt(events: &[&Event]) -> anyhow::Result<DocumentState> {
    Ok(DocumentState::rebuild(events.iter().map(|event| (*event, Effect::Effective)))?)
}

/// How one merge of ours compares with the person's.
struct Judged {
    conflicts: usize,
    /// Conflicts of which every value is a list.
    lists: usize,
    differing: usize,
    /// Values that differ and of which no conflict tells.
    silent: Vec<(String, Cause)>,
}

/// Why a person's merge has another value than ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The person wrote, while merging, what neither side had.
    New,
    /// Only one side changed the value, and the person took the change back.
    Undone,
    /// Neither: ours to explain.
    Other,
}

fn judge(merge: &Merge) -> anyhow::Result<Judged> {
    let document = Document::new(Kind::Profile, "acme", "merged")?;
    let ours = match merge.state.is_live() {
        true => view::flatten(&view::resource(&document, &merge.state))?,
        false => Content::new(),
    };
    let rows = merge.state.conflicts();
    let is_list =
        |row: &&Conflict| row.losers.iter().chain([&row.winner]).all(|one| one.value.starts_with('['));
    let lists = rows.iter().filter(is_list).count();
    let conflicts: Vec<String> = rows.into_iter().map(|conflict| conflict.path).collect();
    let paths: BTreeSet<&String> = ours.keys().chain(merge.human.keys()).collect();
    let differing: Vec<&String> =
        paths.into_iter().filter(|path| ours.get(*path) != merge.human.get(*path)).collect();
    let is_listed = |path: &str| conflicts.iter().any(|listed| is_related(listed, path));
    let silent = differing.iter().filter(|path| !is_listed(path));
    Ok(Judged {
        conflicts: conflicts.len(),
        lists,
        differing: differing.len(),
        silent: silent.map(|path| ((*path).clone(), cause(merge, path))).collect(),
    })
}

fn cause(merge: &Merge, path: &str) -> Cause {
    let [one, other] = merge.sides.each_ref().map(|side| side.get(path));
    let (base, human) = (merge.base.get(path), merge.human.get(path));
    match human {
        _ if human != one && human != other => Cause::New,
        _ if human == base && (one == base) != (other == base) => Cause::Undone,
        _ => Cause::Other,
    }
}

/// Whether one is the other or above it.
fn is_related(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn verdicts(judged: &[Judged], unjudged: usize) -> Vec<Option<f64>> {
    let count = |is: &dyn Fn(&Judged) -> bool| Some(judged.iter().filter(|one| is(one)).count() as f64);
    vec![
        count(&|_| true),
        count(&|one| one.differing == 0 && one.conflicts == 0),
        count(&|one| one.differing == 0 && one.conflicts > 0),
        count(&|one| one.differing > 0 && one.silent.is_empty()),
        count(&|one| !one.silent.is_empty()),
        Some(unjudged as f64),
    ]
}

fn causes(judged: &[Judged]) -> Vec<Option<f64>> {
    let all = || judged.iter().flat_map(|one| &one.silent);
    let count = |cause: Cause| Some(all().filter(|(_, found)| *found == cause).count() as f64);
    let sum = |of: &dyn Fn(&Judged) -> usize| Some(judged.iter().map(of).sum::<usize>() as f64);
    vec![
        sum(&|one| one.conflicts),
        sum(&|one| one.lists),
        Some(all().count() as f64),
        count(Cause::New),
        count(Cause::Undone),
        count(Cause::Other),
    ]
}

/// Writes every silent difference beside the results, for whoever wants to look into them.
fn write_silent(out: Option<&Path>, name: &str, merges: &[Merge], judged: &[Judged]) -> anyhow::Result<()> {
    let Some(out) = out else { return Ok(()) };
    let mut text = String::new();
    for (merge, judged) in merges.iter().zip(judged) {
        for (path, cause) in &judged.silent {
            text.push_str(&format!("{cause:?}\t{}\t{}\t{path}\n", merge.commit, merge.path));
        }
    }
    crate::report::write(&out.join(format!("replay-{name}-silent.tsv")), &text)
}
