//! Checkpoints: the whole state of a document in one event, in place of the events that led to it.
//!
//! What a site says of itself changes all day and has one writing side. An event with the extension
//! [`EXTENSION_CHECKPOINT`] and no operations carries every register with all its concurrent values,
//! their stamps and origins, and the vector that it covers in its document. Covered events are dropped
//! for good and never taken again; the values keep the stamps that they had.
//!
//! The encoding is written by hand, has one form only, and is held by a golden test. Reading it is
//! bounded by its length and never panics. Which checkpoints of a set count is decided in
//! [`crate::document`]; who may write one, where events are admitted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::document::{Chains, DocumentState, Origin, Stamp, Stamped};
use crate::event::{
    self, ChainId, EXTENSION_BYTES_MAX, EXTENSION_CHECKPOINT, Event, NOTE_BYTES_MAX, PATH_BYTES_MAX,
    VALUE_BYTES_MAX,
};
use crate::ids::{Author, Boot, EventId};
use crate::wire::{DecodeError, Reader, Writer};

/// Why no checkpoint can be made. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// No event had effect yet, so there is nothing to keep.
    #[error("the document has no event with effect")]
    Empty,
    /// Covering what this software cannot execute would lose it.
    #[error("the document needs version {0}")]
    NeedsVersion(u32),
    /// The state does not fit into one event.
    #[error("the checkpoint takes {bytes} bytes, more than {EXTENSION_BYTES_MAX}")]
    TooLarge {
        /// What it takes, in bytes.
        bytes: usize,
    },
}

/// The whole state of a document and the vector of events that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub(crate) incarnation: u32,
    pub(crate) covered: Chains,
    /// The event that created the incarnation.
    pub(crate) first: Stamp,
    pub(crate) spec_changes: u64,
    /// Values by path, winner first.
    pub(crate) registers: BTreeMap<Arc<str>, Vec<Stamped>>,
    /// Of `first` and of the events that values refer to; no others. Their chains are covered.
    pub(crate) origins: BTreeMap<EventId, Origin>,
}

impl Checkpoint {
    /// Makes the checkpoint that stands for everything in `state`.
    ///
    /// It belongs into an event whose dependencies are the heads of the state.
    pub fn of(state: &DocumentState) -> Result<Self, CheckpointError> {
        if let Some(version) = state.needs_version() {
            return Err(CheckpointError::NeedsVersion(version));
        }
        state.to_checkpoint().ok_or(CheckpointError::Empty)
    }

    /// The checkpoint that an event carries; none if it carries operations, a checkpoint that does
    /// not decode, or one that cannot be true of that event.
    pub fn in_event(event: &Event) -> Option<Self> {
        let header = event.header();
        let bytes = header.extensions.get(&EXTENSION_CHECKPOINT)?;
        let checkpoint = Self::decode(bytes).ok()?;
        let covers_itself = checkpoint.covered.reaches(&header.chain, header.author_seq);
        let fits = checkpoint.incarnation == header.incarnation
            && !covers_itself
            && checkpoint.origins.values().all(|origin| origin.lamport < header.lamport);
        (event.operations().is_empty() && fits).then_some(checkpoint)
    }

    /// The greatest `author_seq` that is covered of each chain, ascending by chain.
    pub fn covered(&self) -> &[(ChainId, u64)] {
        self.covered.entries()
    }

    /// The bytes of the extension.
    pub fn encode(&self) -> Result<Vec<u8>, CheckpointError> {
        let mut writer = Writer::default();
        writer.varint(u64::from(self.incarnation));
        writer.varint(self.covered().len() as u64);
        for (chain, seq) in self.covered() {
            writer.fixed(&chain.author.0);
            writer.fixed(&chain.boot.0);
            writer.varint(*seq);
        }
        let notes = self.notes();
        writer.varint(notes.len() as u64);
        notes.iter().for_each(|note| writer.text(note));
        self.encode_origins(&mut writer, &notes);
        writer.varint(self.origin_index(&self.first.id));
        writer.varint(self.spec_changes);
        self.encode_registers(&mut writer);
        match writer.bytes.len() {
            bytes if bytes > EXTENSION_BYTES_MAX => Err(CheckpointError::TooLarge { bytes }),
            _ => Ok(writer.bytes),
        }
    }

    /// Reads the bytes of the extension. There is one form for each checkpoint; any other is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if bytes.len() > EXTENSION_BYTES_MAX {
            return Err(reader.fault("checkpoint: over 64 KiB"));
        }
        let incarnation = reader.varint("checkpoint incarnation")?;
        let incarnation = u32::try_from(incarnation).map_err(|_| reader.fault("checkpoint incarnation"))?;
        let covered = decode_covered(&mut reader)?;
        let notes = decode_notes(&mut reader)?;
        let origins = decode_origins(&mut reader, covered.entries(), &notes)?;
        let first = decode_stamp(&mut reader, &origins)?;
        let spec_changes = reader.varint("checkpoint generation")?;
        let registers = decode_registers(&mut reader, &origins)?;
        reader.end("checkpoint: trailing bytes")?;
        let origins = origins.into_iter().collect();
        let checkpoint = Self { incarnation, covered, first, spec_changes, registers, origins };
        match incarnation > 0 && checkpoint.is_tight(notes.len()) {
            true => Ok(checkpoint),
            false => Err(reader.fault("checkpoint: not in its one form")),
        }
    }

    /// Whether every origin and every note is referred to.
    fn is_tight(&self, notes: usize) -> bool {
        let stamps = self.registers.values().flatten().map(|stamped| stamped.stamp.id);
        let referred: BTreeSet<EventId> = stamps.chain([self.first.id]).collect();
        referred.len() == self.origins.len() && self.notes().len() == notes
    }

    /// Every `by` and `reason`, ascending, each once.
    fn notes(&self) -> Vec<&str> {
        let notes = self.origins.values().flat_map(|origin| [origin.by.as_ref(), origin.reason.as_ref()]);
        notes.collect::<BTreeSet<&str>>().into_iter().collect()
    }

    fn origin_index(&self, id: &EventId) -> u64 {
        self.origins.range(..id).count() as u64
    }

    fn encode_origins(&self, writer: &mut Writer, notes: &[&str]) {
        let place = |found: Result<usize, usize>| found.unwrap_or_else(|place| place) as u64;
        writer.varint(self.origins.len() as u64);
        for (id, origin) in &self.origins {
            writer.fixed(&id.0);
            writer.varint(place(self.covered().binary_search_by_key(&origin.chain, |(chain, _)| *chain)));
            writer.varint(origin.author_seq);
            writer.varint(origin.lamport);
            writer.varint(origin.time_ms);
            writer.varint(place(notes.binary_search(&origin.by.as_ref())));
            writer.varint(place(notes.binary_search(&origin.reason.as_ref())));
        }
    }

    fn encode_registers(&self, writer: &mut Writer) {
        let indices: BTreeMap<&EventId, u64> = self.origins.keys().zip(0..).collect();
        writer.varint(self.registers.len() as u64);
        for (path, values) in &self.registers {
            writer.text(path);
            writer.varint(values.len() as u64);
            for Stamped { value, stamp } in values {
                writer.varint(indices[&stamp.id]);
                writer.text(value);
            }
        }
    }
}

fn decode_covered(reader: &mut Reader<'_>) -> Result<Chains, DecodeError> {
    let mut covered: Vec<(ChainId, u64)> = Vec::new();
    for _ in 0..reader.count(EXTENSION_BYTES_MAX, "covered count")? {
        let author = Author(reader.fixed("covered author")?);
        let chain = ChainId { author, boot: Boot(reader.fixed("covered boot")?) };
        let seq = reader.varint("covered seq")?;
        if seq == 0 || covered.last().is_some_and(|(last, _)| *last >= chain) {
            return Err(reader.fault("covered order"));
        }
        covered.push((chain, seq));
    }
    Ok(covered.into_iter().collect())
}

fn decode_notes(reader: &mut Reader<'_>) -> Result<Vec<Arc<str>>, DecodeError> {
    let mut notes: Vec<Arc<str>> = Vec::new();
    for _ in 0..reader.count(EXTENSION_BYTES_MAX, "note count")? {
        let note = reader.text(NOTE_BYTES_MAX, "note")?;
        if notes.last().is_some_and(|last| last.as_ref() >= note) {
            return Err(reader.fault("note order"));
        }
        notes.push(note.into());
    }
    Ok(notes)
}

fn decode_origins(
    reader: &mut Reader<'_>,
    covered: &[(ChainId, u64)],
    notes: &[Arc<str>],
) -> Result<Vec<(EventId, Origin)>, DecodeError> {
    let mut origins: Vec<(EventId, Origin)> = Vec::new();
    for _ in 0..reader.count(EXTENSION_BYTES_MAX, "origin count")? {
        let id = EventId(reader.fixed("origin id")?);
        let (chain, covered_seq) = *indexed(reader, covered, "origin chain")?;
        let author_seq = reader.varint("origin seq")?;
        let lamport = reader.varint("origin lamport")?;
        let time_ms = reader.varint("origin time")?;
        let by = indexed(reader, notes, "origin by")?.clone();
        let reason = indexed(reader, notes, "origin reason")?.clone();
        let ascending = origins.last().is_none_or(|(last, _)| *last < id);
        if !ascending || author_seq == 0 || author_seq > covered_seq {
            return Err(reader.fault("origin"));
        }
        origins.push((id, Origin { chain, author_seq, time_ms, by, reason, lamport }));
    }
    Ok(origins)
}

fn decode_stamp(reader: &mut Reader<'_>, origins: &[(EventId, Origin)]) -> Result<Stamp, DecodeError> {
    let (id, origin) = indexed(reader, origins, "origin index")?;
    Ok(Stamp { lamport: origin.lamport, id: *id })
}

fn decode_registers(
    reader: &mut Reader<'_>,
    origins: &[(EventId, Origin)],
) -> Result<BTreeMap<Arc<str>, Vec<Stamped>>, DecodeError> {
    let mut registers: BTreeMap<Arc<str>, Vec<Stamped>> = BTreeMap::new();
    for _ in 0..reader.count(EXTENSION_BYTES_MAX, "register count")? {
        let path = reader.text(PATH_BYTES_MAX, "register path")?;
        let ascending = registers.last_key_value().is_none_or(|(last, _)| last.as_ref() < path);
        if !ascending || !event::is_pointer(path) {
            return Err(reader.fault("register path"));
        }
        let mut values: Vec<Stamped> = Vec::new();
        for _ in 0..reader.count(EXTENSION_BYTES_MAX, "value count")? {
            let stamp = decode_stamp(reader, origins)?;
            let value = reader.text(VALUE_BYTES_MAX, "register value")?;
            let descending = values.last().is_none_or(|last| last.stamp > stamp);
            if !descending || !event::is_register_value(value) {
                return Err(reader.fault("register value"));
            }
            values.push(Stamped { value: value.into(), stamp });
        }
        if values.is_empty() {
            return Err(reader.fault("register without a value"));
        }
        registers.insert(path.into(), values);
    }
    Ok(registers)
}

/// Reads an index and takes what is there.
fn indexed<'t, T>(reader: &mut Reader<'_>, table: &'t [T], what: &'static str) -> Result<&'t T, DecodeError> {
    let index = reader.varint(what)?;
    usize::try_from(index).ok().and_then(|index| table.get(index)).ok_or_else(|| reader.fault(what))
}

#[cfg(test)]
mod tests;
