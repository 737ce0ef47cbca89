//! Packs: records on their way together.
//!
//! A record as it is signed, stored and addressed stands alone. Records that travel together share
//! authors and follow each other in their chains, so a pack names each chain once and leaves out every
//! id that the receiver computes anyway. What cannot be compressed, signatures and the ids that have to
//! be told, is kept apart from the rest, and so are the operations from what events say of themselves:
//! like next to like compresses better.
//!
//! ```text
//! plain = length of facts varint | facts | operations        noise = signatures and ids
//! facts of a record = place | the record's fields in their order, without operations, signature, ids
//! place = chain varint (0: a new one, else its number) * 2 + 1 if it follows what the pack has of it
//!       | new: author [32], boot [16] | not following: first seq varint, whether it has a previous u8
//! ```
//! Nothing is hashed to make a pack. To read one is to decode its records, which computes all ids; a
//! pack that leaves out what did not follow yields other ids, and signatures that do not match.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{ChainId, DEPENDENCIES_MAX, EVENT_BYTES_MAX, EXTENSION_BYTES_MAX, NOTE_BYTES_MAX};
use crate::group::{DEPENDENCY_ID, GROUP_EVENTS_MAX, ITEM_EVENT, ITEM_MISSING, Record, TYPE_GAP, TYPE_GROUP};
use crate::ids::{Author, Boot, FleetId};
use crate::log::Entry;
use crate::name::{NAME_BYTES_MAX, NAME_LABEL_BYTES_MAX, Scope};
use crate::vector::Head;
use crate::wire::{DecodeError, Reader, Writer};

/// Most tagged additions of one event.
const EXTENSIONS_MAX: usize = 64;

/// Records in the form in which they travel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pack {
    /// What compresses.
    pub plain: Vec<u8>,
    /// What does not.
    pub noise: Vec<u8>,
}

/// A record out of a pack, as it is stored and as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Its encoding, see [`Record::encode`].
    pub bytes: Arc<[u8]>,
    /// The record.
    pub record: Record,
}

impl Pack {
    /// Packs entries of the log, each with its scope.
    ///
    /// # Panics
    /// If an entry's bytes are no record: the log checks what it reads.
    pub fn of<'a>(entries: impl Iterator<Item = (&'a Scope, &'a Entry)>) -> Self {
        let mut chains: BTreeMap<(&Scope, ChainId), (u64, u64)> = BTreeMap::new();
        let mut split = Split::default();
        for (scope, entry) in entries {
            let count = chains.len() as u64;
            let known = chains.get(&(scope, entry.chain)).copied();
            let follows = known.is_some_and(|(_, last_seq)| last_seq + 1 == entry.first_seq);
            let number = known.map_or(count + 1, |(number, _)| number);
            chains.insert((scope, entry.chain), (number, entry.last_seq));
            let place = 2 * known.map_or(0, |(number, _)| number) + u64::from(follows);
            split.record(&entry.bytes, place).expect("the log holds records");
        }
        split.pack()
    }

    /// Rebuilds and decodes the records. Arbitrary bytes give an error and allocate in proportion to
    /// their length.
    pub fn records(&self, fleet: FleetId) -> Result<Vec<Unpacked>, DecodeError> {
        let mut plain = Reader::new(&self.plain);
        let facts = plain.blob(self.plain.len(), "pack facts")?;
        let operations = plain.take(plain.remaining(), "pack operations")?;
        let mut join = Join {
            facts: Reader::new(facts),
            operations: Reader::new(operations),
            noise: Reader::new(&self.noise),
            record: Writer::default(),
        };
        let (mut chains, mut records): (Vec<(ChainId, Option<Head>)>, Vec<Unpacked>) = (vec![], vec![]);
        while join.facts.remaining() > 0 {
            let number = join.place(&mut chains)?;
            let bytes = std::mem::take(&mut join.record).bytes;
            let record = Record::decode(fleet, &bytes)?;
            chains[number].1 = Some(record.last());
            records.push(Unpacked { bytes: bytes.into(), record });
        }
        join.operations.end("pack: trailing operations")?;
        join.noise.end("pack: trailing noise")?;
        Ok(records)
    }
}

/// One way through the fields of a record, whatever becomes of each.
trait Fields {
    fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError>;
    fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError>;
    fn blob(&mut self, max: usize, what: &'static str) -> Result<(), DecodeError>;
    fn operations(&mut self) -> Result<(), DecodeError>;
    fn noise(&mut self, length: usize, what: &'static str) -> Result<(), DecodeError>;
    fn fault(&self, what: &'static str) -> DecodeError;

    fn count(&mut self, max: usize, what: &'static str) -> Result<u64, DecodeError> {
        let count = self.varint(what)?;
        if count > max as u64 { Err(self.fault(what)) } else { Ok(count) }
    }

    /// Everything of a group behind its place in the chain, see the encoding in [`crate::group`].
    fn group(&mut self) -> Result<(), DecodeError> {
        if self.byte("succeeds")? == 1 {
            self.noise(16, "boot before")?;
            self.varint("seq of the boot before")?;
        }
        self.blob(NAME_LABEL_BYTES_MAX, "namespace")?;
        for _ in 0..self.count(GROUP_EVENTS_MAX, "documents")? {
            self.byte("kind")?;
            self.blob(NAME_BYTES_MAX, "document name")?;
        }
        for _ in 0..self.count(2 * GROUP_EVENTS_MAX, "notes")? {
            self.blob(NOTE_BYTES_MAX, "note")?;
        }
        for _ in 0..self.count(GROUP_EVENTS_MAX, "items")? {
            match self.byte("item type")? {
                ITEM_MISSING => self.noise(32, "missing id")?,
                ITEM_EVENT => self.event()?,
                _ => return Err(self.fault("item type")),
            }
        }
        self.noise(64, "signature")
    }

    fn event(&mut self) -> Result<(), DecodeError> {
        for what in ["schema", "document", "incarnation"] {
            self.varint(what)?;
        }
        for _ in 0..self.count(DEPENDENCIES_MAX, "dependencies")? {
            if self.varint("dependency")? == DEPENDENCY_ID {
                self.noise(32, "dependency")?;
            }
        }
        for what in ["lamport", "time", "by", "reason"] {
            self.varint(what)?;
        }
        for _ in 0..self.count(EXTENSIONS_MAX, "extension count")? {
            self.varint("extension tag")?;
            self.blob(EXTENSION_BYTES_MAX, "extension")?;
        }
        self.operations()
    }

    /// Everything of a gap behind its place in the chain.
    fn gap(&mut self) -> Result<(), DecodeError> {
        self.blob(NAME_BYTES_MAX, "gap scope")?;
        self.varint("gap length")?;
        self.noise(32, "gap last")
    }

    fn rest(&mut self, code: u8) -> Result<(), DecodeError> {
        match code {
            TYPE_GROUP => self.group(),
            TYPE_GAP => self.gap(),
            _ => Err(self.fault("record type")),
        }
    }
}

/// Takes records apart.
#[derive(Default)]
struct Split {
    facts: Writer,
    operations: Writer,
    noise: Writer,
}

impl Split {
    fn record(&mut self, bytes: &[u8], place: u64) -> Result<(), DecodeError> {
        let mut reader = Reader::new(bytes);
        let code = reader.byte("record type")?;
        let chain = reader.take(48, "chain")?;
        let first_seq = reader.varint("first seq")?;
        let has_previous = reader.byte("previous")?;
        let previous = reader.take(if has_previous == 1 { 32 } else { 0 }, "previous")?;
        self.facts.varint(place);
        self.facts.byte(code);
        if place < 2 {
            self.facts.fixed(chain);
        }
        if place.is_multiple_of(2) {
            self.facts.varint(first_seq);
            self.facts.byte(has_previous);
            self.noise.fixed(previous);
        }
        let mut fields = SplitFields { reader, split: self };
        fields.rest(code)?;
        fields.reader.end("record: trailing bytes")
    }

    fn pack(self) -> Pack {
        let mut plain = Writer::default();
        plain.blob(&self.facts.bytes);
        plain.fixed(&self.operations.bytes);
        Pack { plain: plain.bytes, noise: self.noise.bytes }
    }
}

struct SplitFields<'a, 'b> {
    reader: Reader<'a>,
    split: &'b mut Split,
}

impl Fields for SplitFields<'_, '_> {
    fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        let byte = self.reader.byte(what)?;
        self.split.facts.byte(byte);
        Ok(byte)
    }

    fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let value = self.reader.varint(what)?;
        self.split.facts.varint(value);
        Ok(value)
    }

    fn blob(&mut self, max: usize, what: &'static str) -> Result<(), DecodeError> {
        self.split.facts.blob(self.reader.blob(max, what)?);
        Ok(())
    }

    fn operations(&mut self) -> Result<(), DecodeError> {
        self.split.operations.blob(self.reader.blob(EVENT_BYTES_MAX, "operations")?);
        Ok(())
    }

    fn noise(&mut self, length: usize, what: &'static str) -> Result<(), DecodeError> {
        self.split.noise.fixed(self.reader.take(length, what)?);
        Ok(())
    }

    fn fault(&self, what: &'static str) -> DecodeError {
        self.reader.fault(what)
    }
}

/// Puts records together again.
struct Join<'a> {
    facts: Reader<'a>,
    operations: Reader<'a>,
    noise: Reader<'a>,
    record: Writer,
}

impl Join<'_> {
    /// Rebuilds one record; returns the number of its chain.
    fn place(&mut self, chains: &mut Vec<(ChainId, Option<Head>)>) -> Result<usize, DecodeError> {
        let place = self.facts.varint("place")?;
        let code = self.facts.byte("record type")?;
        let number = match place / 2 {
            0 => {
                let author = Author(self.facts.fixed("author")?);
                chains.push((ChainId { author, boot: Boot(self.facts.fixed("boot")?) }, None));
                chains.len()
            }
            number => usize::try_from(number).unwrap_or(usize::MAX),
        };
        let known = number.checked_sub(1).and_then(|index| chains.get(index));
        let (chain, last) = *known.ok_or_else(|| self.facts.fault("chain"))?;
        self.record.byte(code);
        self.record.fixed(&chain.author.0);
        self.record.fixed(&chain.boot.0);
        if place % 2 == 1 {
            let last = last.ok_or_else(|| self.facts.fault("place"))?;
            self.record.varint(last.seq.saturating_add(1));
            self.record.byte(1);
            self.record.fixed(&last.id.0);
        } else {
            self.varint("first seq")?;
            if self.byte("previous")? == 1 {
                self.noise(32, "previous")?;
            }
        }
        self.rest(code)?;
        Ok(number - 1)
    }
}

impl Fields for Join<'_> {
    fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        let byte = self.facts.byte(what)?;
        self.record.byte(byte);
        Ok(byte)
    }

    fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let value = self.facts.varint(what)?;
        self.record.varint(value);
        Ok(value)
    }

    fn blob(&mut self, max: usize, what: &'static str) -> Result<(), DecodeError> {
        self.record.blob(self.facts.blob(max, what)?);
        Ok(())
    }

    fn operations(&mut self) -> Result<(), DecodeError> {
        self.record.blob(self.operations.blob(EVENT_BYTES_MAX, "operations")?);
        Ok(())
    }

    fn noise(&mut self, length: usize, what: &'static str) -> Result<(), DecodeError> {
        self.record.fixed(self.noise.take(length, what)?);
        Ok(())
    }

    fn fault(&self, what: &'static str) -> DecodeError {
        self.facts.fault(what)
    }
}

#[cfg(test)]
mod tests;
