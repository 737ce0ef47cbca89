//! A rateless IBLT over the ids of events: the first side streams cells until the second can tell what
//! differs.
//!
//! Favourable to it: the stream stops at the very cell that suffices, though cells are under way until
//! whoever sends them hears of it; and as many cells as a node would keep up to date cost nothing to make.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use driftless_sync::proto::riblt::{Cell, Item, Sketch, difference};

use super::Cost;
use super::ids::{self, Id};
use super::negentropy::timed;

/// Cells that a node keeps up to date while its set changes.
const KEPT_CELLS: usize = 4_096;
/// Cells for each difference that always suffice, but for few differences.
const CELLS_PER_DIFFERENCE: usize = 2;
const CELLS_MIN: usize = 64;
/// Bytes of the sums of a cell: items of 16 bytes, checks of 8.
const SUM_BYTES: usize = 24;

/// Lets the first side stream cells to the second.
pub(super) fn reconcile(here: &BTreeSet<Id>, there: &BTreeSet<Id>) -> anyhow::Result<Cost> {
    let missing = ids::missing(here, there);
    let room = (CELLS_PER_DIFFERENCE * missing.iter().sum::<usize>()).max(CELLS_MIN);
    let mut cost = Cost::default();
    let kept = room <= KEPT_CELLS;
    let sketches = [(0, here), (1, there)].map(|(side, ids)| {
        let mut making = 0.0;
        let sketch = timed(&mut making, || sketch(room, ids));
        cost.cpu[side] += if kept { 0.0 } else { making };
        sketch
    });
    let [streamed, own] = [sketches[0].cells(), sketches[1].cells()];
    let cells = enough(own, streamed).context("more cells than are ever needed")?;
    let found = timed(&mut cost.cpu[1], || difference(own, &streamed[..cells]));
    let found = found.context("as many cells as suffice")?;
    ensure!([found.theirs.len(), found.ours.len()] == missing, "the cells tell what is missing");
    let bytes = |(place, cell): (usize, &Cell)| (SUM_BYTES + count_bytes(cell, place, here.len())) as u64;
    cost.bytes = streamed[..cells].iter().enumerate().map(bytes).sum();
    cost.turns = 1;
    // What it lacks, it asks for by id, together with the events that it has to give.
    cost.bytes += (found.theirs.len() * size_of::<Item>()) as u64;
    cost.turns += u32::from(!found.theirs.is_empty());
    Ok(cost)
}

fn sketch(cells: usize, ids: &BTreeSet<Id>) -> Sketch {
    let mut sketch = Sketch::new(cells);
    for id in ids {
        let mut item = Item::default();
        item.copy_from_slice(&id[..size_of::<Item>()]);
        sketch.insert(&item);
    }
    sketch
}

/// How many cells are enough. More are enough as well, but for rare exceptions that make this a cell or
/// two too many.
fn enough(own: &[Cell], streamed: &[Cell]) -> Option<usize> {
    let (mut too_few, mut enough) = (0, streamed.len());
    difference(own, streamed)?;
    while enough - too_few > 1 {
        let middle = usize::midpoint(too_few, enough);
        match difference(own, &streamed[..middle]) {
            Some(_) => enough = middle,
            None => too_few = middle,
        }
    }
    Some(enough)
}

/// Bytes of what a count differs from the one to expect, seven bits in each.
fn count_bytes(cell: &Cell, place: usize, items: usize) -> usize {
    let expected = (items as f64 / (1.0 + place as f64 / 2.0)).round() as i64;
    let bits = u64::BITS - (cell.count - expected).unsigned_abs().leading_zeros() + 1;
    bits.div_ceil(7) as usize
}
