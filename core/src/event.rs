//! Events: one commit to one document by one author.
//!
//! An event is immutable and known by its id, a hash of its header, which holds a hash of its
//! operations. The signature is no part of it: authors sign groups of ids (see [`crate::group`]), and
//! a bad signature condemns that copy and whoever sent it, never the id.
//!
//! The encoding here is what is hashed. What is stored and sent is the group encoding, from which the
//! header is rebuilt to the same bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{Author, Boot, EventId, FleetId};
use crate::name::Document;
use crate::wire::{DecodeError, Reader, Writer};

/// The schema version that this software writes.
pub const SCHEMA_VERSION: u32 = 1;
/// Largest encoding of an event's operations, in bytes.
pub const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Most operations of one event.
pub const OPERATIONS_MAX: usize = 4_096;
/// Largest JSON text of one value, in bytes.
pub const VALUE_BYTES_MAX: usize = 32 * 1024;
/// Longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 512;
/// Deepest nesting of a path, and of a value.
pub const DEPTH_MAX: usize = 32;
/// Most dependencies of one event.
pub const DEPENDENCIES_MAX: usize = 256;
/// Longest `by` or `reason`, in bytes.
pub const NOTE_BYTES_MAX: usize = 1_024;
/// Largest Lamport time: a million events a second would take nine years to get there.
pub const LAMPORT_MAX: u64 = 1 << 48;
/// Most bytes of an event's extensions together.
pub const EXTENSION_BYTES_MAX: usize = 64 * 1024;

/// Extension that makes an event a checkpoint: see [`crate::checkpoint`].
pub const EXTENSION_CHECKPOINT: u32 = 1;

/// Where an event stands in its chain: the events of one author and boot within a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChainId {
    /// The key that signed.
    pub author: Author,
    /// The run of that author.
    pub boot: Boot,
}

/// Everything about an event but its operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Version of the rules by which it is read.
    pub schema: u32,
    /// The fleet that it belongs to; an event of another fleet is no event here.
    pub fleet: FleetId,
    /// The document that it changes.
    pub document: Document,
    /// Grows when a deleted name is created again; 1 at first.
    pub incarnation: u32,
    /// Author and boot.
    pub chain: ChainId,
    /// Place in the chain, from 1 without gaps.
    pub author_seq: u64,
    /// The event before it in the chain; for the first of a boot, the last of the boot before, if any.
    pub previous: Option<EventId>,
    /// For the first of a boot: the boot before and the `author_seq` of `previous` in it.
    pub succeeds: Option<(Boot, u64)>,
    /// Heads of the document as the author saw it, ascending.
    pub dependencies: Vec<EventId>,
    /// 1 + the largest among the dependencies.
    pub lamport: u64,
    /// The author's clock, in milliseconds since 1970; for people, and never decides a winner.
    pub time_ms: u64,
    /// The person or program on whose behalf the author wrote.
    pub by: String,
    /// Why, in that person's words; may be empty.
    pub reason: String,
    /// Tagged additions; unknown ones are kept and relayed.
    pub extensions: BTreeMap<u32, Vec<u8>>,
}

/// One change to one register of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Sets the register to one JSON value that is not a non-empty map.
    Put {
        /// RFC 6901 pointer into the resource.
        path: String,
        /// JSON text, as signed.
        value: Arc<str>,
    },
    /// Removes the register.
    Delete {
        /// RFC 6901 pointer into the resource.
        path: String,
    },
    /// An operation of a newer version: kept, relayed, not executed.
    Unknown {
        /// Its code.
        code: u8,
        /// Its path.
        path: String,
        /// Its argument.
        argument: Arc<[u8]>,
    },
}

impl Operation {
    /// The register that it concerns.
    pub fn path(&self) -> &str {
        match self {
            Self::Put { path, .. } | Self::Delete { path } | Self::Unknown { path, .. } => path,
        }
    }
}

/// An event with its id, which always matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    header: Header,
    operations: Vec<Operation>,
    id: EventId,
}

impl Event {
    /// Computes the id. Operations are put into the order of their paths.
    pub fn new(header: Header, mut operations: Vec<Operation>) -> Self {
        operations.sort_by(|a, b| a.path().cmp(b.path()));
        let encoded = encode_operations(&operations);
        let id = event_id(&header, &encoded);
        Self { header, operations, id }
    }

    /// Rebuilds an event from its header and the encoding of its operations.
    pub fn decode(header: Header, operations: &[u8]) -> Result<Self, DecodeError> {
        let id = event_id(&header, operations);
        Ok(Self { operations: decode_operations(operations)?, header, id })
    }

    /// Its id.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its operations, by ascending path.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The encoding of its operations.
    pub fn encoded_operations(&self) -> Vec<u8> {
        encode_operations(&self.operations)
    }

    /// Whether this software knows how to execute it; if not, it is held and relayed all the same.
    pub fn needs_newer_version(&self) -> bool {
        self.header.schema > SCHEMA_VERSION
            || self.operations.iter().any(|operation| matches!(operation, Operation::Unknown { .. }))
    }
}

/// The id of an event: BLAKE3 over header and BLAKE3 of the operations.
fn event_id(header: &Header, operations: &[u8]) -> EventId {
    let mut writer = Writer::default();
    encode_header(&mut writer, header);
    writer.fixed(blake3::hash(operations).as_bytes());
    let mut hasher = blake3::Hasher::new_derive_key("driftless event id v1");
    hasher.update(&writer.bytes);
    EventId(*hasher.finalize().as_bytes())
}

fn encode_header(writer: &mut Writer, header: &Header) {
    writer.varint(u64::from(header.schema));
    writer.fixed(&header.fleet.0);
    writer.byte(header.document.kind() as u8);
    writer.text(header.document.namespace());
    writer.text(header.document.name());
    writer.varint(u64::from(header.incarnation));
    writer.fixed(&header.chain.author.0);
    writer.fixed(&header.chain.boot.0);
    writer.varint(header.author_seq);
    match &header.previous {
        None => writer.byte(0),
        Some(id) => {
            writer.byte(1);
            writer.fixed(&id.0);
        }
    }
    match &header.succeeds {
        None => writer.byte(0),
        Some((boot, seq)) => {
            writer.byte(1);
            writer.fixed(&boot.0);
            writer.varint(*seq);
        }
    }
    writer.varint(header.dependencies.len() as u64);
    for id in &header.dependencies {
        writer.fixed(&id.0);
    }
    writer.varint(header.lamport);
    writer.varint(header.time_ms);
    writer.text(&header.by);
    writer.text(&header.reason);
    encode_extensions(writer, &header.extensions);
}

/// Writes tagged additions, ascending by tag.
pub(crate) fn encode_extensions(writer: &mut Writer, extensions: &BTreeMap<u32, Vec<u8>>) {
    writer.varint(extensions.len() as u64);
    for (tag, bytes) in extensions {
        writer.varint(u64::from(*tag));
        writer.blob(bytes);
    }
}

/// Reads tagged additions; tags must ascend.
pub(crate) fn decode_extensions(reader: &mut Reader<'_>) -> Result<BTreeMap<u32, Vec<u8>>, DecodeError> {
    let mut extensions = BTreeMap::new();
    for _ in 0..reader.count(64, "extension count")? {
        let tag =
            u32::try_from(reader.varint("extension tag")?).map_err(|_| reader.fault("extension tag"))?;
        let ascending = extensions.last_key_value().is_none_or(|(last, _)| *last < tag);
        let bytes = reader.blob(EXTENSION_BYTES_MAX, "extension")?;
        if !ascending {
            return Err(reader.fault("extension order"));
        }
        extensions.insert(tag, bytes.to_vec());
    }
    Ok(extensions)
}

const CODE_PUT: u8 = 1;
const CODE_DELETE: u8 = 2;

fn encode_operations(operations: &[Operation]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.varint(operations.len() as u64);
    for operation in operations {
        let (code, argument): (u8, &[u8]) = match operation {
            Operation::Put { value, .. } => (CODE_PUT, value.as_bytes()),
            Operation::Delete { .. } => (CODE_DELETE, &[]),
            Operation::Unknown { code, argument, .. } => (*code, argument),
        };
        writer.byte(code);
        writer.text(operation.path());
        writer.blob(argument);
    }
    writer.bytes
}

fn decode_operations(bytes: &[u8]) -> Result<Vec<Operation>, DecodeError> {
    let mut reader = Reader::new(bytes);
    if bytes.len() > EVENT_BYTES_MAX {
        return Err(reader.fault("operations: over 64 KiB"));
    }
    let count = reader.count(OPERATIONS_MAX, "operation count")?;
    let mut operations: Vec<Operation> = Vec::with_capacity(count);
    for _ in 0..count {
        let code = reader.byte("operation code")?;
        let path = reader.text(PATH_BYTES_MAX, "operation path")?.to_owned();
        let argument = reader.blob(VALUE_BYTES_MAX, "operation argument")?;
        let ascending = operations.last().is_none_or(|last| last.path() < path.as_str());
        if !ascending || !is_pointer(&path) {
            return Err(reader.fault("operation path"));
        }
        operations.push(match code {
            CODE_PUT => {
                let text = std::str::from_utf8(argument).map_err(|_| reader.fault("value"))?;
                if !is_register_value(text) {
                    return Err(reader.fault("value"));
                }
                Operation::Put { path, value: text.into() }
            }
            CODE_DELETE if argument.is_empty() => Operation::Delete { path },
            CODE_DELETE => return Err(reader.fault("delete with an argument")),
            code => Operation::Unknown { code, path, argument: argument.into() },
        });
    }
    reader.end("operations: trailing bytes")?;
    Ok(operations)
}

/// Whether `path` is an RFC 6901 pointer within the limits. The empty pointer, the document as a
/// whole, is one: its register says that the document is deleted.
pub fn is_pointer(path: &str) -> bool {
    let escapes_valid =
        path.split('~').skip(1).all(|rest| matches!(rest.as_bytes().first(), Some(b'0' | b'1')));
    path.len() <= PATH_BYTES_MAX
        && (path.is_empty() || path.starts_with('/'))
        && path.matches('/').count() <= DEPTH_MAX
        && escapes_valid
}

/// Whether `text` is one JSON value that a register may hold: no non-empty map at the top, nothing
/// nested deeper than [`DEPTH_MAX`].
pub(crate) fn is_register_value(text: &str) -> bool {
    nesting(text) <= DEPTH_MAX
        && serde_json::from_str::<Value>(text)
            .is_ok_and(|value| value.as_object().is_none_or(serde_json::Map::is_empty))
}

/// How deep brackets nest in JSON text, without recursion.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0usize, 0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::name::Kind;

    pub(crate) fn sample_header() -> Header {
        Header {
            schema: SCHEMA_VERSION,
            fleet: FleetId([1; 32]),
            document: Document::new(Kind::Profile, "acme", "store-base").unwrap(),
            incarnation: 1,
            chain: ChainId { author: Author([2; 32]), boot: Boot([3; 16]) },
            author_seq: 1,
            previous: None,
            succeeds: None,
            dependencies: vec![],
            lamport: 1,
            time_ms: 1_700_000_000_000,
            by: "ann".into(),
            reason: "INC-42".into(),
            extensions: BTreeMap::new(),
        }
    }

    pub(crate) fn put(path: &str, value: &str) -> Operation {
        Operation::Put { path: path.into(), value: value.into() }
    }

    #[test]
    fn the_id_is_the_same_for_ever() {
        let event = Event::new(sample_header(), vec![put("/spec/values/pos/replicas", "2")]);
        let golden = "721291f8a3728af9dbacc0d7454168f1f276c4ed8250807a8f4d13e031b91f70";
        assert_eq!(event.id().to_string(), golden);
        let decoded = Event::decode(sample_header(), &event.encoded_operations()).unwrap();
        assert_eq!(decoded, event);
    }

    #[test]
    fn every_header_field_is_part_of_the_id() {
        let id = |header| Event::new(header, vec![]).id();
        let base = id(sample_header());
        let changes: [fn(&mut Header); 14] = [
            |h| h.schema = 2,
            |h| h.fleet.0[0] = 9,
            |h| h.document = Document::new(Kind::Profile, "acme", "other").unwrap(),
            |h| h.incarnation = 2,
            |h| h.chain.author.0[0] = 9,
            |h| h.chain.boot.0[0] = 9,
            |h| h.author_seq = 2,
            |h| h.previous = Some(EventId([9; 32])),
            |h| h.succeeds = Some((Boot([9; 16]), 1)),
            |h| h.dependencies.push(EventId([9; 32])),
            |h| h.lamport = 2,
            |h| h.time_ms += 1,
            |h| h.by.push('x'),
            |h| {
                h.extensions.insert(7, vec![1]);
            },
        ];
        for change in changes {
            let mut header = sample_header();
            change(&mut header);
            assert_ne!(id(header), base);
        }
        assert_ne!(Event::new(sample_header(), vec![put("/spec", "1")]).id(), base);
    }

    #[test]
    fn malformed_operations_are_refused() {
        let bad = [
            vec![put("/b", "1"), put("/b", "2")],
            vec![put("no-slash", "1")],
            vec![put("/a~2", "1")],
            vec![put("/a", "{\"x\":1}")],
            vec![put("/a", "{]")],
            vec![put("/a", &"[".repeat(200))],
            vec![put("/a", &format!("{}{}", "[".repeat(33), "]".repeat(33)))],
        ];
        for operations in bad {
            assert!(decode_operations(&encode_operations(&operations)).is_err(), "{operations:?}");
        }
        for good in [put("", "true"), put("/a~0b~1c", "{}"), put("/a", "[{\"x\":null}]")] {
            assert!(decode_operations(&encode_operations(&[good])).is_ok());
        }
    }

    #[test]
    fn unknown_operations_are_kept() {
        let unknown = Operation::Unknown { code: 77, path: "/x".into(), argument: vec![1, 2].into() };
        let event = Event::new(sample_header(), vec![unknown]);
        let decoded = Event::decode(sample_header(), &event.encoded_operations()).unwrap();
        assert_eq!(decoded.id(), event.id());
        assert!(decoded.needs_newer_version());
    }
}
