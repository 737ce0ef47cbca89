//! Groups: what is signed, stored and sent.
//!
//! An author signs once for the consecutive events of one chain that shared a flush, over the list of
//! their ids. In a group's encoding whatever the events share stands once: author, boot, the chain
//! links, documents, names of people. Events that a checkpoint covers are dropped from a group, their
//! ids stay, so that the signature still holds; when all are dropped, a [`Gap`] keeps the chain linked.

use std::collections::BTreeMap;
use std::sync::Arc;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::event::{
    self, ChainId, DEPENDENCIES_MAX, EVENT_BYTES_MAX, Event, Header, LAMPORT_MAX, NOTE_BYTES_MAX,
};
use crate::ids::{Author, Boot, EventId, FleetId};
use crate::name::{Document, Kind, NAME_BYTES_MAX, NAME_LABEL_BYTES_MAX, Scope};
use crate::vector::Head;
use crate::wire::{DecodeError, Reader, Writer};

/// Most events of one group.
pub const GROUP_EVENTS_MAX: usize = 64;
/// Largest encoding of a group, in bytes; an author closes a group before it grows beyond.
pub const GROUP_BYTES_MAX: usize = 512 * 1024;

/// An entry of the log: events, or the place where covered events were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Events under one signature.
    Group(Group),
    /// Events that checkpoints cover and that nobody keeps.
    Gap(Gap),
}

/// Up to [`GROUP_EVENTS_MAX`] consecutive events of one chain within one scope, and their signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    chain: ChainId,
    scope: Scope,
    first_seq: u64,
    previous: Option<EventId>,
    succeeds: Option<(Boot, u64)>,
    items: Vec<Item>,
    signature: [u8; 64],
}

/// One place of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An event.
    Event(Arc<Event>),
    /// The id of an event that is not part of this copy.
    Missing(EventId),
}

impl Item {
    /// The event's id.
    pub fn id(&self) -> EventId {
        match self {
            Self::Event(event) => event.id(),
            Self::Missing(id) => *id,
        }
    }
}

/// Most places of one gap. Each takes a position of the log, of which there must always be more.
pub const GAP_PLACES_MAX: u64 = 1 << 32;

/// Consecutive events of a chain that are covered by checkpoints and gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The chain.
    pub chain: ChainId,
    /// The scope.
    pub scope: Scope,
    /// The first event that is gone.
    pub first_seq: u64,
    /// The event before it, if any.
    pub previous: Option<EventId>,
    /// The last event that is gone.
    pub last: Head,
}

impl Gap {
    /// One gap for this and the one that follows it directly in the chain, unless that is too long for one.
    pub fn join(&self, later: &Self) -> Option<Self> {
        let follows = self.chain == later.chain
            && self.scope == later.scope
            && self.last.seq + 1 == later.first_seq
            && later.previous == Some(self.last.id)
            && later.last.seq - self.first_seq < GAP_PLACES_MAX;
        follows.then(|| Self { last: later.last, ..self.clone() })
    }
}

/// The signature is not the author's. The copy is worthless; the ids in it are not condemned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature of {author:?} does not match")]
pub struct BadSignature {
    /// Who is said to have signed.
    pub author: Author,
}

impl Group {
    /// Signs consecutive events of one chain in one scope.
    ///
    /// # Panics
    /// If `events` is empty, too long, or not one chain's consecutive events in one scope: the caller
    /// made them just now.
    pub fn sign(key: &SigningKey, events: Vec<Arc<Event>>) -> Self {
        assert!((1..=GROUP_EVENTS_MAX).contains(&events.len()), "a group holds 1 to 64 events");
        let first = events[0].header();
        let (chain, scope) = (first.chain, first.document.scope());
        assert_eq!(chain.author.0, key.verifying_key().to_bytes(), "an author signs its own events");
        for pair in events.windows(2) {
            let (earlier, later) = (&pair[0], pair[1].header());
            assert_eq!(later.previous, Some(earlier.id()), "events of a group are linked");
            assert_eq!(
                later.author_seq,
                earlier.header().author_seq + 1,
                "events of a group are consecutive"
            );
            assert!(later.chain == chain && later.document.scope() == scope, "a group is one chain's");
        }
        let mut group = Self {
            chain,
            scope,
            first_seq: first.author_seq,
            previous: first.previous,
            succeeds: first.succeeds,
            items: events.into_iter().map(Item::Event).collect(),
            signature: [0; 64],
        };
        group.signature = key.sign(&group.signed_bytes()).to_bytes();
        group
    }

    /// Checks the signature over all ids; about 30 µs whatever the number of events.
    pub fn verify(&self) -> Result<(), BadSignature> {
        let bad = BadSignature { author: self.chain.author };
        let key = VerifyingKey::from_bytes(&self.chain.author.0).map_err(|_| bad)?;
        key.verify_strict(&self.signed_bytes(), &Signature::from_bytes(&self.signature)).map_err(|_| bad)
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let ids = self.items.iter().flat_map(|item| item.id().0);
        b"driftless group v1\0".iter().copied().chain(ids).collect()
    }

    /// The chain that the events belong to.
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// The scope of their documents.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// `author_seq` of the first item.
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// `author_seq` of the last item.
    pub fn last_seq(&self) -> u64 {
        self.first_seq + self.items.len() as u64 - 1
    }

    /// The event before the first item.
    pub fn previous(&self) -> Option<EventId> {
        self.previous
    }

    /// The events in chain order.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The events that are part of this copy.
    pub fn events(&self) -> impl Iterator<Item = &Arc<Event>> {
        self.items.iter().filter_map(|item| match item {
            Item::Event(event) => Some(event),
            Item::Missing(_) => None,
        })
    }

    /// A copy that keeps only some events; where none is left, the gap that stands for them.
    pub fn retain(&self, keep: impl Fn(&Event) -> bool) -> Record {
        let items: Vec<Item> = self
            .items
            .iter()
            .map(|item| match item {
                Item::Event(event) if keep(event) => item.clone(),
                _ => Item::Missing(item.id()),
            })
            .collect();
        if items.iter().any(|item| matches!(item, Item::Event(_))) {
            return Record::Group(Self { items, scope: self.scope.clone(), ..*self });
        }
        Record::Gap(Gap {
            chain: self.chain,
            scope: self.scope.clone(),
            first_seq: self.first_seq,
            previous: self.previous,
            last: Head { seq: self.last_seq(), id: items[items.len() - 1].id() },
        })
    }
}

impl Record {
    /// The chain.
    pub fn chain(&self) -> ChainId {
        match self {
            Self::Group(group) => group.chain,
            Self::Gap(gap) => gap.chain,
        }
    }

    /// The scope.
    pub fn scope(&self) -> &Scope {
        match self {
            Self::Group(group) => &group.scope,
            Self::Gap(gap) => &gap.scope,
        }
    }

    /// `author_seq` of the first place.
    pub fn first_seq(&self) -> u64 {
        match self {
            Self::Group(group) => group.first_seq,
            Self::Gap(gap) => gap.first_seq,
        }
    }

    /// The event before the first place.
    pub fn previous(&self) -> Option<EventId> {
        match self {
            Self::Group(group) => group.previous,
            Self::Gap(gap) => gap.previous,
        }
    }

    /// The last place.
    pub fn last(&self) -> Head {
        match self {
            Self::Group(group) => Head { seq: group.last_seq(), id: group.items[group.items.len() - 1].id() },
            Self::Gap(gap) => gap.last,
        }
    }

    /// The encoding, from which [`Record::decode`] rebuilds the same ids.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            Self::Group(group) => encode_group(&mut writer, group),
            Self::Gap(gap) => encode_gap(&mut writer, gap),
        }
        writer.bytes
    }

    /// Rebuilds the events of fleet `fleet` and computes their ids; signatures are not checked here.
    ///
    /// Costs one BLAKE3 over each header and its operations. Arbitrary bytes give an error and
    /// allocate in proportion to their length.
    pub fn decode(fleet: FleetId, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if bytes.len() > GROUP_BYTES_MAX {
            return Err(reader.fault("group: over 512 KiB"));
        }
        let record = match reader.byte("record type")? {
            TYPE_GROUP => Self::Group(decode_group(fleet, &mut reader)?),
            TYPE_GAP => Self::Gap(decode_gap(&mut reader)?),
            _ => return Err(reader.fault("record type")),
        };
        reader.end("record: trailing bytes")?;
        Ok(record)
    }
}

pub(crate) const TYPE_GROUP: u8 = 1;
pub(crate) const TYPE_GAP: u8 = 2;
pub(crate) const ITEM_MISSING: u8 = 0;
pub(crate) const ITEM_EVENT: u8 = 1;
/// How a dependency is written: an id in full, the event before the group, or an item of the group.
pub(crate) const DEPENDENCY_ID: u64 = 0;
const DEPENDENCY_PREVIOUS: u64 = 1;
const DEPENDENCY_ITEM: u64 = 2;

fn encode_link(writer: &mut Writer, chain: &ChainId, first_seq: u64, previous: Option<EventId>) {
    writer.fixed(&chain.author.0);
    writer.fixed(&chain.boot.0);
    writer.varint(first_seq);
    writer.byte(u8::from(previous.is_some()));
    if let Some(id) = previous {
        writer.fixed(&id.0);
    }
}

fn decode_link(reader: &mut Reader<'_>) -> Result<(ChainId, u64, Option<EventId>), DecodeError> {
    let author = Author(reader.fixed("author")?);
    let boot = Boot(reader.fixed("boot")?);
    let first_seq = reader.varint("first seq")?;
    let previous = decode_option(reader, "previous", |reader| reader.fixed("previous").map(EventId))?;
    if first_seq == 0 || first_seq > u64::MAX / 2 || (first_seq > 1 && previous.is_none()) {
        return Err(reader.fault("first seq"));
    }
    Ok((ChainId { author, boot }, first_seq, previous))
}

fn decode_option<'a, T>(
    reader: &mut Reader<'a>,
    what: &'static str,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    match reader.byte(what)? {
        0 => Ok(None),
        1 => read(reader).map(Some),
        _ => Err(reader.fault(what)),
    }
}

fn encode_gap(writer: &mut Writer, gap: &Gap) {
    writer.byte(TYPE_GAP);
    encode_link(writer, &gap.chain, gap.first_seq, gap.previous);
    writer.text(&gap.scope.to_string());
    writer.varint(gap.last.seq - gap.first_seq);
    writer.fixed(&gap.last.id.0);
}

fn decode_gap(reader: &mut Reader<'_>) -> Result<Gap, DecodeError> {
    let (chain, first_seq, previous) = decode_link(reader)?;
    let scope = reader.text(NAME_BYTES_MAX, "gap scope")?.parse().map_err(|_| reader.fault("gap scope"))?;
    let length = reader.varint("gap length")?;
    let seq = first_seq.checked_add(length).filter(|_| length < GAP_PLACES_MAX);
    let seq = seq.ok_or_else(|| reader.fault("gap length"))?;
    let id = EventId(reader.fixed("gap last")?);
    Ok(Gap { chain, scope, first_seq, previous, last: Head { seq, id } })
}

/// Values that several events of a group share, each written once.
struct Table<T>(Vec<T>);

impl<T: PartialEq> Table<T> {
    fn index(&mut self, value: T) -> u64 {
        let index = self.0.iter().position(|held| *held == value).unwrap_or_else(|| {
            self.0.push(value);
            self.0.len() - 1
        });
        index as u64
    }
}

fn encode_group(writer: &mut Writer, group: &Group) {
    let (mut documents, mut notes) = (Table(vec![]), Table(vec![]));
    for event in group.events() {
        let header = event.header();
        documents.index(&header.document);
        notes.index(header.by.as_str());
        notes.index(header.reason.as_str());
    }
    writer.byte(TYPE_GROUP);
    encode_link(writer, &group.chain, group.first_seq, group.previous);
    writer.byte(u8::from(group.succeeds.is_some()));
    if let Some((boot, seq)) = group.succeeds {
        writer.fixed(&boot.0);
        writer.varint(seq);
    }
    writer.text(documents.0.first().map_or("", |document| document.namespace()));
    writer.varint(documents.0.len() as u64);
    for document in &documents.0 {
        writer.byte(document.kind() as u8);
        writer.text(document.name());
    }
    writer.varint(notes.0.len() as u64);
    for note in &notes.0 {
        writer.text(note);
    }
    writer.varint(group.items.len() as u64);
    let (mut time_ms, mut places) = (0u64, BTreeMap::new());
    for (place, item) in group.items.iter().enumerate() {
        match item {
            Item::Missing(id) => {
                writer.byte(ITEM_MISSING);
                writer.fixed(&id.0);
            }
            Item::Event(event) => {
                let header = event.header();
                writer.byte(ITEM_EVENT);
                writer.varint(u64::from(header.schema));
                writer.varint(documents.index(&header.document));
                writer.varint(u64::from(header.incarnation));
                writer.varint(header.dependencies.len() as u64);
                for id in &header.dependencies {
                    match places.get(id) {
                        Some(place) => writer.varint(DEPENDENCY_ITEM + *place as u64),
                        None if group.previous == Some(*id) => writer.varint(DEPENDENCY_PREVIOUS),
                        None => {
                            writer.varint(DEPENDENCY_ID);
                            writer.fixed(&id.0);
                        }
                    }
                }
                writer.varint(header.lamport);
                writer.signed(header.time_ms.wrapping_sub(time_ms) as i64);
                time_ms = header.time_ms;
                writer.varint(notes.index(&header.by));
                writer.varint(notes.index(&header.reason));
                event::encode_extensions(writer, &header.extensions);
                writer.blob(&event.encoded_operations());
            }
        }
        places.insert(item.id(), place);
    }
    writer.fixed(&group.signature);
}

fn decode_group(fleet: FleetId, reader: &mut Reader<'_>) -> Result<Group, DecodeError> {
    let (chain, first_seq, previous) = decode_link(reader)?;
    let succeeds = decode_option(reader, "succeeds", |reader| {
        Ok((Boot(reader.fixed("boot before")?), reader.varint("seq of the boot before")?))
    })?;
    // Exactly the first event of a boot that has one before it names it.
    if succeeds.is_some() != (first_seq == 1 && previous.is_some()) {
        return Err(reader.fault("succeeds"));
    }
    let namespace = reader.text(NAME_LABEL_BYTES_MAX, "namespace")?.to_owned();
    let mut documents = vec![];
    for _ in 0..reader.count(GROUP_EVENTS_MAX, "documents")? {
        let kind = Kind::from_code(reader.byte("kind")?).ok_or_else(|| reader.fault("kind"))?;
        let name = reader.text(NAME_BYTES_MAX, "document name")?;
        documents.push(Document::new(kind, &namespace, name).map_err(|_| reader.fault("document name"))?);
    }
    let mut notes = vec![];
    for _ in 0..reader.count(2 * GROUP_EVENTS_MAX, "notes")? {
        notes.push(reader.text(NOTE_BYTES_MAX, "note")?.to_owned());
    }
    let scope = documents.first().map(Document::scope).ok_or_else(|| reader.fault("documents"))?;
    if documents.iter().any(|document| document.scope() != scope) {
        return Err(reader.fault("documents of several scopes"));
    }
    let count = reader.count(GROUP_EVENTS_MAX, "items")?;
    let tables = Tables { fleet, chain, documents: &documents, notes: &notes, group_previous: previous };
    let (mut items, mut time_ms): (Vec<Item>, u64) = (Vec::with_capacity(count), 0);
    for place in 0..count {
        let item = match reader.byte("item type")? {
            ITEM_MISSING => Item::Missing(EventId(reader.fixed("missing id")?)),
            ITEM_EVENT => {
                let link = Link {
                    author_seq: first_seq + place as u64,
                    previous: items.last().map_or(previous, |item: &Item| Some(item.id())),
                    succeeds: succeeds.filter(|_| place == 0),
                };
                let event = tables.decode_event(reader, link, time_ms, &items)?;
                time_ms = event.header().time_ms;
                Item::Event(Arc::new(event))
            }
            _ => return Err(reader.fault("item type")),
        };
        items.push(item);
    }
    if !items.iter().any(|item| matches!(item, Item::Event(_))) {
        return Err(reader.fault("group without events"));
    }
    let signature = reader.fixed("signature")?;
    Ok(Group { chain, scope, first_seq, previous, succeeds, items, signature })
}

/// What the events of a group being read refer to.
struct Tables<'a> {
    fleet: FleetId,
    chain: ChainId,
    documents: &'a [Document],
    notes: &'a [String],
    group_previous: Option<EventId>,
}

/// The place of an event in its chain, which its group implies.
struct Link {
    author_seq: u64,
    previous: Option<EventId>,
    succeeds: Option<(Boot, u64)>,
}

impl Tables<'_> {
    fn decode_event(
        &self,
        reader: &mut Reader<'_>,
        link: Link,
        time_ms: u64,
        before: &[Item],
    ) -> Result<Event, DecodeError> {
        let schema = reader.varint("schema")?;
        let document = self.entry(reader, self.documents, "document")?.clone();
        let incarnation = reader.varint("incarnation")?;
        let mut dependencies = Vec::new();
        for _ in 0..reader.count(DEPENDENCIES_MAX, "dependencies")? {
            dependencies.push(self.decode_dependency(reader, before)?);
        }
        let lamport = reader.varint("lamport")?;
        let time_ms = time_ms.wrapping_add(reader.signed("time")? as u64);
        let by = self.entry(reader, self.notes, "by")?.clone();
        let reason = self.entry(reader, self.notes, "reason")?.clone();
        let extensions = event::decode_extensions(reader)?;
        let ascending = dependencies.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending || incarnation == 0 || lamport == 0 || lamport > LAMPORT_MAX {
            return Err(reader.fault("event header"));
        }
        let header = Header {
            schema: u32::try_from(schema).map_err(|_| reader.fault("schema"))?,
            fleet: self.fleet,
            document,
            incarnation: u32::try_from(incarnation).map_err(|_| reader.fault("incarnation"))?,
            chain: self.chain,
            author_seq: link.author_seq,
            previous: link.previous,
            succeeds: link.succeeds,
            dependencies,
            lamport,
            time_ms,
            by,
            reason,
            extensions,
        };
        Event::decode(header, reader.blob(EVENT_BYTES_MAX, "operations")?)
    }

    fn decode_dependency(&self, reader: &mut Reader<'_>, before: &[Item]) -> Result<EventId, DecodeError> {
        match reader.varint("dependency")? {
            DEPENDENCY_ID => Ok(EventId(reader.fixed("dependency")?)),
            DEPENDENCY_PREVIOUS => self.group_previous.ok_or_else(|| reader.fault("dependency")),
            place => usize::try_from(place - DEPENDENCY_ITEM)
                .ok()
                .and_then(|place| before.get(place))
                .map(Item::id)
                .ok_or_else(|| reader.fault("dependency")),
        }
    }

    fn entry<'t, T>(
        &self,
        reader: &mut Reader<'_>,
        table: &'t [T],
        what: &'static str,
    ) -> Result<&'t T, DecodeError> {
        let index = reader.varint(what)?;
        usize::try_from(index).ok().and_then(|index| table.get(index)).ok_or_else(|| reader.fault(what))
    }
}

#[cfg(test)]
mod tests;
