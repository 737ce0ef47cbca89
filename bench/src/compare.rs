//! The same reconciliation work by several protocols: two nodes that share many events, and lack some
//! that the other has.
//!
//! Ours runs whole: the engines that nodes run, over their frames. Negentropy and the rateless IBLT are
//! given the ids of the same events; what they find out is which ids to send and to ask for, so sending
//! the ids that are asked for is counted with them. Automerge's own protocol runs over as many documents
//! of its own, with the same changes in the same places.

mod automerge;
mod ids;
mod negentropy;
mod ours;
mod riblt;

use crate::options::Options;
use crate::plot::{Content, Line, Plot, Scale};
use crate::progress::Progress;
use crate::report::{Section, Table};
use crate::samples::Samples;
use ours::Ours;

use crate::pair::Other;

/// The work: events in all on both sides before anything is missing, and documents that they are in.
#[derive(Debug, Clone, Copy)]
struct Work {
    documents: usize,
    /// The first makes the document, the others change one field.
    events_per_document: usize,
}

/// More differences than this are measured once: the set would grow too much.
const REPEATED_UP_TO: usize = 1_000;

/// What a reconciliation took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Cost {
    /// Bytes both ways, those of events left out.
    bytes: u64,
    /// Bytes both ways, where the protocol carries the events as well.
    bytes_with_events: Option<u64>,
    /// One-way messages or flights of them, until each side sends what the other lacks.
    turns: u32,
    /// CPU of the two sides, in seconds.
    cpu: [f64; 2],
}

const METHODS: [&str; 5] = [
    "Driftless, hub and edge",
    "Driftless, two hubs",
    "rateless IBLT, 16-byte ids",
    "negentropy, 32-byte ids",
    "automerge sync, all documents",
];

/// Runs every protocol for every number of differences.
pub(crate) fn measure(options: &Options) -> anyhow::Result<Section> {
    let work = options.size(
        Work { documents: 100, events_per_document: 10 },
        Work { documents: 10_000, events_per_document: 10 },
    );
    let differences = options.size(vec![0, 1, 10, 100], vec![0, 1, 100, 1_000, 10_000]);
    let rounds: Vec<usize> =
        differences.iter().map(|d| if *d > REPEATED_UP_TO { 1 } else { options.rounds() }).collect();
    let mut progress = Progress::new("compare", rounds.iter().sum::<usize>() as u64);
    let mut edge = Ours::new(Other::Edge, work)?;
    let mut hubs = Ours::new(Other::Hub, work)?;
    let mut automerge = automerge::Documents::new(work)?;
    // By differences, method and round.
    let mut costs: Vec<[Vec<Cost>; METHODS.len()]> = vec![];
    let mut done = 0;
    for (d, rounds) in differences.iter().zip(rounds) {
        let mut found: [Vec<Cost>; METHODS.len()] = std::array::from_fn(|_| vec![]);
        for _ in 0..rounds {
            edge.differ(*d)?;
            hubs.differ(*d)?;
            let [here, there] = edge.ids()?;
            let costs = [
                edge.reconcile()?,
                hubs.reconcile()?,
                riblt::reconcile(&here, &there)?,
                negentropy::reconcile(&here, &there)?,
                automerge.reconcile(*d)?,
            ];
            found.iter_mut().zip(costs).for_each(|(found, cost)| found.push(cost));
            done += 1;
            progress.at(done);
        }
        costs.push(found);
    }
    drop(progress);
    let about = format!(
        "two nodes that share {} events in {} documents (those of earlier differences come on top), d of each lack at the other; nothing is remembered of an earlier session; median of {} rounds, {} for d above {REPEATED_UP_TO}",
        work.documents * work.events_per_document,
        work.documents,
        options.rounds(),
        1,
    );
    Ok(section(about, &differences, &costs))
}

/// One way to read the costs.
struct Measure {
    title: &'static str,
    value: fn(&Cost) -> Option<f64>,
}

const BYTES: Measure = Measure { title: "bytes, without the events", value: |cost| Some(cost.bytes as f64) };
const CPU: Measure = Measure {
    title: "CPU of both sides, ms (of ours: all but taking the events in)",
    value: |cost| Some(1e3 * cost.cpu.iter().sum::<f64>()),
};
const MEASURES: [Measure; 6] = [
    BYTES,
    Measure {
        title: "bytes, with the events",
        value: |cost| cost.bytes_with_events.map(|bytes| bytes as f64),
    },
    Measure {
        title: "round trips until each side sends what the other lacks, or knows that it lacks nothing",
        value: |cost| Some(f64::from(cost.turns) / 2.0),
    },
    CPU,
    Measure { title: "CPU of the side that is asked, ms", value: |cost| Some(1e3 * cost.cpu[0]) },
    Measure { title: "CPU of the side that asks, ms", value: |cost| Some(1e3 * cost.cpu[1]) },
];

fn section(about: String, differences: &[usize], costs: &[[Vec<Cost>; METHODS.len()]]) -> Section {
    let mut section = Section::new("compare", about);
    let median = |measure: &Measure, d: usize, method: usize| {
        let values = costs[d][method].iter().filter_map(measure.value);
        values.collect::<Samples>().median()
    };
    for measure in &MEASURES {
        let columns = differences.iter().map(|d| format!("d = {d}")).collect();
        let mut table = Table::new(measure.title, columns);
        for (method, name) in METHODS.iter().enumerate() {
            table.row(*name, (0..costs.len()).map(|d| median(measure, d, method)).collect());
        }
        section.table(table);
    }
    for (name, measure, y) in
        [("bytes", BYTES, "bytes both ways, without events"), ("cpu", CPU, "ms of CPU, both sides")]
    {
        let series = METHODS.iter().enumerate().map(|(method, name)| {
            // Zero has no place on a logarithmic axis; the tables have it.
            let places = differences.iter().enumerate().filter(|(_, d)| **d > 0);
            let points = places.filter_map(|(at, d)| Some((*d as f64, median(&measure, at, method)?)));
            Line { name: (*name).to_owned(), points: points.filter(|(_, y)| *y > 0.0).collect() }
        });
        section.plot(Plot {
            name,
            title: format!("Reconciliation: {y}"),
            x: "events missing on each side".to_owned(),
            y: y.to_owned(),
            y_scale: Scale::Log,
            content: Content::Lines { x_scale: Scale::Log, series: series.collect() },
        });
    }
    section
}

#[cfg(test)]
mod tests;
