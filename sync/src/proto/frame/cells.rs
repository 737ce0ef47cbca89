//! Cells on the wire.
//!
//! ```text
//! cells = first varint | root [16] if first is 0 | scopes varint | number varint | cell*
//! cell  = items [16] | checks [4] | count less what is expected at its place, zigzag varint
//! ```
//! About 21 bytes a cell: cell i of a sketch of n scopes counts about 2n/(i + 2) of them.

use driftless_core::wire::{DecodeError, Reader, Writer};

use super::Cells;
use crate::proto::riblt::Cell;
use crate::proto::summary::SKETCH_CELLS;

pub(super) fn encode(body: &mut Writer, cells: &Cells) {
    body.varint(cells.first as u64);
    if let Some(root) = &cells.root {
        body.fixed(root);
    }
    body.varint(cells.scopes);
    body.varint(cells.cells.len() as u64);
    for (at, cell) in cells.cells.iter().enumerate() {
        body.fixed(&cell.items.to_be_bytes());
        body.fixed(&cell.checks.to_be_bytes());
        body.signed(cell.count.wrapping_sub(expected(cells.scopes, cells.first + at)));
    }
}

pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Cells, DecodeError> {
    let first = number(reader)?;
    let root = if first == 0 { Some(reader.fixed("root digest")?) } else { None };
    let scopes = reader.varint("scopes")?;
    let count = reader.count(SKETCH_CELLS - first, "cells")?;
    let mut cells = Vec::with_capacity(count);
    for at in first..first + count {
        let items = u128::from_be_bytes(reader.fixed("cell items")?);
        let checks = u32::from_be_bytes(reader.fixed("cell checks")?);
        let stray = reader.signed("cell count")?;
        cells.push(Cell { items, checks, count: stray.wrapping_add(expected(scopes, at)) });
    }
    Ok(Cells { root, first, scopes, cells })
}

/// Reads a number of cells.
pub(super) fn number(reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    match usize::try_from(reader.varint("cells")?) {
        Ok(number) if number <= SKETCH_CELLS => Ok(number),
        _ => Err(reader.fault("cells")),
    }
}

fn expected(scopes: u64, at: usize) -> i64 {
    (u128::from(scopes) * 2 / (at as u128 + 2)) as i64
}
