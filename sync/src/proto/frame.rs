//! Frames: what stands on the wire, byte by byte.
//!
//! ```text
//! frame = length varint | type u8 | number varint | body | check [4]
//! ```
//! `length` counts everything behind it and is at most 1 MiB. `number` counts the frames of one
//! direction of a session from 0, so a lost, repeated or reordered frame ends the session instead of
//! being misread. `check` is the start of BLAKE3 over type, number and body: the transport is encrypted
//! and reliable, so a mismatch is a fault of software or memory on the way. A frame of unknown type is
//! skipped by its length, which is how a session survives a newer peer.

mod cells;

use driftless_core::ids::{Boot, FleetId};
use driftless_core::name::Scope;
use driftless_core::vector::Vector;
use driftless_core::wire::{DecodeError, Reader, Writer};

use super::codec::EventsBody;
use super::inquiry::{Answer, Question};
use super::interest::{INTEREST_SCOPES_MAX, Interest};
use super::presence::{self, Told};
use super::riblt::Cell;

/// Largest frame without its length prefix, in bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Most scopes that one frame lists.
pub const FRAME_SCOPES_MAX: usize = 16_384;
/// Most frames that one acknowledgement calls incomplete.
pub const INCOMPLETE_MAX: usize = 4_096;
/// Longest text of a scope, in bytes.
pub const SCOPE_BYTES_MAX: usize = 160;
/// Longest reason in a farewell, in bytes.
pub const REASON_BYTES_MAX: usize = 512;

/// The start of a scope's digest: enough to tell that two vectors differ.
pub type ShortDigest = [u8; 16];

/// The start of the hash of a scope's name: names one among those that a peer holds.
pub type ScopeTag = [u8; 4];

/// One message of a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// The first frame of each direction.
    Hello(Hello),
    /// What the sender holds of a scope.
    Vector {
        /// The scope.
        scope: Scope,
        /// What the sender durably holds of it.
        vector: Vector,
        /// What the sender expects in return.
        ask: Ask,
    },
    /// From here on the events of a scope start anew, as an [`Ask::Restart`] demanded.
    Restarted {
        /// The scope.
        scope: Scope,
    },
    /// Records of the log, in the sender's order.
    Events {
        /// The encoded records: see [`super::codec`]. To read them takes what came before.
        body: Vec<u8>,
    },
    /// Everything in the event frames up to a number is durable.
    Ack {
        /// Number of the last frame that is acknowledged.
        through: u64,
        /// Numbers of frames of which something was left out, because it lacks what comes before it;
        /// a vector follows.
        incomplete: Vec<u64>,
    },
    /// The sender holds everything that the receiver's vector of a scope said; instead of its own.
    Covers {
        /// The scope.
        scope: Scope,
    },
    /// Cells of the sketch of everything that the sender holds.
    Cells(Cells),
    /// The receiver's cells are too few to tell what differs.
    More {
        /// How many are wanted, those that were sent included.
        cells: usize,
    },
    /// What the sender found by cells or a page; what they describe and is not named here is equal.
    Found {
        /// Scopes that differ. If cells told, the sender's vectors of them follow; if a page did, they
        /// were sent before.
        differing: Vec<ScopeTag>,
        /// Scopes of which the sender holds nothing.
        lacking: Vec<ScopeTag>,
    },
    /// All that the sender holds, in order, from where the last page ended: for replicas that differ in
    /// more than a sketch tells.
    Page {
        /// Each scope with the start of its digest, ascending.
        scopes: Vec<(Scope, ShortDigest)>,
        /// Whether there are no more.
        last: bool,
    },
    /// The sender's interest changed.
    Interest {
        /// Scopes that it wants from now on, with the digest of what it has of them.
        added: Vec<(Scope, ShortDigest)>,
        /// Scopes that it has left.
        removed: Vec<Scope>,
    },
    /// Heads that the sender durably holds and does not push.
    Announce(Vec<(Scope, Vector)>),
    /// Between hubs: what the sender's own sessions tell of sites.
    Presence(Vec<Told>),
    /// Between nodes of one site: whether the sender has a session with a hub.
    Uplink(bool),
    /// A hub asks another how far events have come.
    Inquiry {
        /// Counts the inquiries of one direction.
        number: u64,
        /// What it asks.
        question: Question,
    },
    /// The answer to an inquiry.
    Answer {
        /// The inquiry's number.
        number: u64,
        /// What is so.
        answer: Answer,
    },
    /// The sender ends the session.
    Bye {
        /// Why, as a number.
        code: u32,
        /// Why, for people.
        reason: String,
    },
    /// A frame of a newer protocol; skipped.
    Unknown {
        /// Its type.
        code: u8,
    },
}

impl Frame {
    /// Whether a peer that owes something may have given it by this.
    pub(crate) fn is_answer(&self) -> bool {
        match self {
            Self::Ack { .. } | Self::Vector { .. } | Self::Covers { .. } | Self::Restarted { .. } => true,
            Self::Cells(_) | Self::More { .. } | Self::Found { .. } | Self::Page { .. } => true,
            Self::Answer { .. } => true,
            Self::Hello(_) | Self::Events { .. } | Self::Interest { .. } | Self::Announce(_) => false,
            Self::Presence(_) | Self::Uplink(_) | Self::Inquiry { .. } => false,
            Self::Bye { .. } | Self::Unknown { .. } => false,
        }
    }
}

/// Consecutive cells of a sketch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cells {
    /// The root digest of what is described; stands in the first frame of cells only.
    pub root: Option<ShortDigest>,
    /// How many cells were sent before.
    pub first: usize,
    /// How many scopes the sender holds; counts in cells are written as what they differ from the
    /// number that is expected there.
    pub scopes: u64,
    /// The cells.
    pub cells: Vec<Cell>,
}

/// What the sender of a vector expects in return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Nothing but what it lacks.
    Nothing,
    /// The receiver's vector, unless it was sent already, and what it lacks.
    Reply,
    /// Everything that it lacks, whatever was sent before: it could not use some of it.
    Restart,
}

/// Versions, fleet, interest and what is held.
#[derive(Debug, Clone, PartialEq)]
pub struct Hello {
    /// Lowest and highest protocol version that the sender speaks.
    pub protocol: (u32, u32),
    /// Lowest and highest schema version that the sender executes.
    pub schema: (u32, u32),
    /// The fleet.
    pub fleet: FleetId,
    /// The sender's boot: tells a reconnecting node from a copy of it.
    pub boot: Boot,
    /// The sender's interest.
    pub interest: Interest,
    /// What the sender holds.
    pub holdings: Holdings,
}

/// Digests of what a node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holdings {
    /// One digest per scope, in the order of the scopes: of those that the sender lists, or, if it is
    /// interested in everything, of those that the receiver listed.
    Scopes(Vec<ShortDigest>),
    /// One digest over all scopes.
    Root(ShortDigest),
}

const TYPE_HELLO: u8 = 1;
const TYPE_VECTOR: u8 = 2;
const TYPE_RESTARTED: u8 = 3;
const TYPE_EVENTS: u8 = 4;
const TYPE_ACK: u8 = 5;
const TYPE_CELLS: u8 = 6;
const TYPE_MORE: u8 = 7;
const TYPE_INTEREST: u8 = 8;
const TYPE_ANNOUNCE: u8 = 9;
const TYPE_BYE: u8 = 10;
const TYPE_FOUND: u8 = 11;
const TYPE_PAGE: u8 = 12;
const TYPE_COVERS: u8 = 13;
const TYPE_PRESENCE: u8 = 20;
const TYPE_UPLINK: u8 = 21;
const TYPE_INQUIRY: u8 = 22;
const TYPE_ANSWER: u8 = 23;
const CHECK_BYTES: usize = 4;

/// Length in bytes of the first frame in `bytes`, its prefix included, once the prefix is there.
///
/// The frame may reach beyond what has arrived. A shell reads until it has that many bytes and hands
/// exactly these to the engine.
pub fn frame_length(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    let prefix = bytes.iter().take(4).position(|byte| byte & 0x80 == 0);
    if prefix.is_none() && bytes.len() < 4 {
        return Ok(None);
    }
    let mut reader = Reader::new(&bytes[..prefix.map_or(4, |at| at + 1)]);
    match reader.varint("frame length") {
        Ok(length) if length as usize <= FRAME_BYTES_MAX => Ok(Some(reader.position() + length as usize)),
        _ => Err(reader.fault("frame length")),
    }
}

/// Encodes a frame that is not [`Frame::Events`].
pub(crate) fn encode(number: u64, frame: &Frame) -> Vec<u8> {
    let mut body = Writer::default();
    let code = match frame {
        Frame::Hello(hello) => {
            encode_hello(&mut body, hello);
            TYPE_HELLO
        }
        Frame::Vector { scope, vector, ask } => {
            body.text(&scope.to_string());
            body.byte(*ask as u8);
            vector.encode(&mut body);
            TYPE_VECTOR
        }
        Frame::Restarted { scope } => {
            body.text(&scope.to_string());
            TYPE_RESTARTED
        }
        Frame::Events { .. } => unreachable!("events are encoded once for many sessions, by encode_events"),
        Frame::Ack { through, incomplete } => {
            body.varint(*through);
            body.varint(incomplete.len() as u64);
            incomplete.iter().for_each(|number| body.varint(*number));
            TYPE_ACK
        }
        Frame::Covers { scope } => {
            body.text(&scope.to_string());
            TYPE_COVERS
        }
        Frame::Cells(cells) => {
            cells::encode(&mut body, cells);
            TYPE_CELLS
        }
        Frame::More { cells } => {
            body.varint(*cells as u64);
            TYPE_MORE
        }
        Frame::Found { differing, lacking } => {
            encode_tags(&mut body, differing);
            encode_tags(&mut body, lacking);
            TYPE_FOUND
        }
        Frame::Page { scopes, last } => {
            body.byte(u8::from(*last));
            encode_scopes(&mut body, scopes);
            TYPE_PAGE
        }
        Frame::Interest { added, removed } => {
            encode_scopes(&mut body, added);
            body.varint(removed.len() as u64);
            removed.iter().for_each(|scope| body.text(&scope.to_string()));
            TYPE_INTEREST
        }
        Frame::Announce(entries) => {
            body.varint(entries.len() as u64);
            for (scope, vector) in entries {
                body.text(&scope.to_string());
                vector.encode(&mut body);
            }
            TYPE_ANNOUNCE
        }
        Frame::Presence(page) => {
            presence::encode(&mut body, page);
            TYPE_PRESENCE
        }
        Frame::Uplink(has_uplink) => {
            body.byte(u8::from(*has_uplink));
            TYPE_UPLINK
        }
        Frame::Inquiry { number, question } => {
            body.varint(*number);
            question.encode(&mut body);
            TYPE_INQUIRY
        }
        Frame::Answer { number, answer } => {
            body.varint(*number);
            answer.encode(&mut body);
            TYPE_ANSWER
        }
        Frame::Bye { code, reason } => {
            body.varint(u64::from(*code));
            body.text(clip(reason, REASON_BYTES_MAX));
            TYPE_BYE
        }
        Frame::Unknown { code } => *code,
    };
    envelope(number, code, &[&body.bytes])
}

/// Encodes a frame of events whose body was made before, for this session or for another; `keep` says
/// that the next may build on it.
pub(crate) fn encode_events(number: u64, body: &EventsBody, keep: bool) -> Vec<u8> {
    envelope(number, TYPE_EVENTS, &[&[body.flags(keep)], &body.bytes[1..]])
}

fn envelope(number: u64, code: u8, body: &[&[u8]]) -> Vec<u8> {
    let mut inner = Writer::default();
    inner.byte(code);
    inner.varint(number);
    let length = inner.bytes.len() + body.iter().map(|part| part.len()).sum::<usize>() + CHECK_BYTES;
    let mut frame = Writer { bytes: Vec::with_capacity(length + 4) };
    frame.varint(length as u64);
    let start = frame.bytes.len();
    frame.fixed(&inner.bytes);
    body.iter().for_each(|part| frame.fixed(part));
    let check = blake3::hash(&frame.bytes[start..]);
    frame.fixed(&check.as_bytes()[..CHECK_BYTES]);
    frame.bytes
}

/// Reads exactly one frame with its prefix, and its number.
pub(crate) fn decode(bytes: &[u8]) -> Result<(u64, Frame), DecodeError> {
    let mut reader = Reader::new(bytes);
    let length = reader.varint("frame length")?;
    if length as usize > FRAME_BYTES_MAX || length as usize != reader.remaining() {
        return Err(reader.fault("frame length"));
    }
    let start = reader.position();
    let inner = reader
        .take(reader.remaining().checked_sub(CHECK_BYTES).ok_or_else(|| reader.fault("frame"))?, "frame")?;
    if reader.take(CHECK_BYTES, "frame check")? != &blake3::hash(inner).as_bytes()[..CHECK_BYTES] {
        return Err(DecodeError { what: "frame check", at: start });
    }
    let mut reader = Reader::new(inner);
    let code = reader.byte("frame type")?;
    let number = reader.varint("frame number")?;
    let frame = decode_body(code, &mut reader)?;
    let open_ended = matches!(frame, Frame::Hello(_) | Frame::Unknown { .. });
    if !open_ended {
        reader.end("frame: trailing bytes")?;
    }
    Ok((number, frame))
}

fn decode_body(code: u8, reader: &mut Reader<'_>) -> Result<Frame, DecodeError> {
    Ok(match code {
        TYPE_HELLO => Frame::Hello(decode_hello(reader)?),
        TYPE_VECTOR => {
            let scope = decode_scope(reader)?;
            let ask = match reader.byte("vector ask")? {
                0 => Ask::Nothing,
                1 => Ask::Reply,
                2 => Ask::Restart,
                _ => return Err(reader.fault("vector ask")),
            };
            Frame::Vector { scope, vector: Vector::decode(reader)?, ask }
        }
        TYPE_RESTARTED => Frame::Restarted { scope: decode_scope(reader)? },
        TYPE_EVENTS => {
            let body = reader.take(reader.remaining(), "events")?;
            Frame::Events { body: body.to_vec() }
        }
        TYPE_ACK => {
            let through = reader.varint("ack")?;
            let count = reader.count(INCOMPLETE_MAX, "ack incomplete")?;
            let incomplete = (0..count).map(|_| reader.varint("ack incomplete")).collect::<Result<_, _>>()?;
            Frame::Ack { through, incomplete }
        }
        TYPE_COVERS => Frame::Covers { scope: decode_scope(reader)? },
        TYPE_CELLS => Frame::Cells(cells::decode(reader)?),
        TYPE_MORE => Frame::More { cells: cells::number(reader)? },
        TYPE_FOUND => Frame::Found { differing: decode_tags(reader)?, lacking: decode_tags(reader)? },
        TYPE_PAGE => {
            let last = match reader.byte("last page")? {
                0 => false,
                1 => true,
                _ => return Err(reader.fault("last page")),
            };
            Frame::Page { scopes: decode_scopes(reader, FRAME_SCOPES_MAX)?, last }
        }
        TYPE_INTEREST => {
            let added = decode_scopes(reader, INTEREST_SCOPES_MAX)?;
            let count = reader.count(INTEREST_SCOPES_MAX, "scopes left")?;
            let removed = (0..count).map(|_| decode_scope(reader)).collect::<Result<_, _>>()?;
            Frame::Interest { added, removed }
        }
        TYPE_ANNOUNCE => {
            let count = reader.count(FRAME_SCOPES_MAX, "announced scopes")?;
            let entries = (0..count).map(|_| Ok((decode_scope(reader)?, Vector::decode(reader)?)));
            Frame::Announce(entries.collect::<Result<_, DecodeError>>()?)
        }
        TYPE_PRESENCE => Frame::Presence(presence::decode(reader)?),
        TYPE_UPLINK => match reader.byte("uplink")? {
            0 => Frame::Uplink(false),
            1 => Frame::Uplink(true),
            _ => return Err(reader.fault("uplink")),
        },
        TYPE_INQUIRY => {
            Frame::Inquiry { number: reader.varint("inquiry")?, question: Question::decode(reader)? }
        }
        TYPE_ANSWER => Frame::Answer { number: reader.varint("answer")?, answer: Answer::decode(reader)? },
        TYPE_BYE => {
            let code = u32::try_from(reader.varint("bye code")?).map_err(|_| reader.fault("bye code"))?;
            Frame::Bye { code, reason: reader.text(REASON_BYTES_MAX, "bye reason")?.to_owned() }
        }
        code => Frame::Unknown { code },
    })
}

fn encode_hello(body: &mut Writer, hello: &Hello) {
    for version in [hello.protocol.0, hello.protocol.1, hello.schema.0, hello.schema.1] {
        body.varint(u64::from(version));
    }
    body.fixed(&hello.fleet.0);
    body.fixed(&hello.boot.0);
    match &hello.interest {
        Interest::All => body.byte(0),
        Interest::Scopes(scopes) => {
            body.byte(1);
            body.varint(scopes.len() as u64);
            scopes.iter().for_each(|scope| body.text(&scope.to_string()));
        }
    }
    match &hello.holdings {
        Holdings::Root(digest) => {
            body.byte(0);
            body.fixed(digest);
        }
        Holdings::Scopes(digests) => {
            body.byte(1);
            body.varint(digests.len() as u64);
            digests.iter().for_each(|digest| body.fixed(digest));
        }
    }
}

fn decode_hello(reader: &mut Reader<'_>) -> Result<Hello, DecodeError> {
    let mut version =
        || u32::try_from(reader.varint("version")?).map_err(|_| DecodeError { what: "version", at: 0 });
    let protocol = (version()?, version()?);
    let schema = (version()?, version()?);
    let fleet = FleetId(reader.fixed("hello fleet")?);
    let boot = Boot(reader.fixed("hello boot")?);
    let interest = match reader.byte("hello interest")? {
        0 => Interest::All,
        1 => {
            let count = reader.count(INTEREST_SCOPES_MAX, "hello interest")?;
            Interest::Scopes((0..count).map(|_| decode_scope(reader)).collect::<Result<_, _>>()?)
        }
        _ => return Err(reader.fault("hello interest")),
    };
    let holdings = match reader.byte("hello digests")? {
        0 => Holdings::Root(reader.fixed("hello root")?),
        1 => {
            let count = reader.count(INTEREST_SCOPES_MAX, "hello digests")?;
            let digests = (0..count).map(|_| reader.fixed("hello digest")).collect::<Result<_, _>>()?;
            Holdings::Scopes(digests)
        }
        _ => return Err(reader.fault("hello digests")),
    };
    Ok(Hello { protocol, schema, fleet, boot, interest, holdings })
}

fn encode_tags(body: &mut Writer, tags: &[ScopeTag]) {
    body.varint(tags.len() as u64);
    tags.iter().for_each(|tag| body.fixed(tag));
}

fn decode_tags(reader: &mut Reader<'_>) -> Result<Vec<ScopeTag>, DecodeError> {
    let count = reader.count(FRAME_SCOPES_MAX, "scope tags")?;
    (0..count).map(|_| reader.fixed("scope tag")).collect()
}

fn encode_scopes<const N: usize>(body: &mut Writer, scopes: &[(Scope, [u8; N])]) {
    body.varint(scopes.len() as u64);
    for (scope, digest) in scopes {
        body.text(&scope.to_string());
        body.fixed(digest);
    }
}

fn decode_scopes<const N: usize>(
    reader: &mut Reader<'_>,
    max: usize,
) -> Result<Vec<(Scope, [u8; N])>, DecodeError> {
    let count = reader.count(max, "scopes")?;
    (0..count).map(|_| Ok((decode_scope(reader)?, reader.fixed("scope digest")?))).collect()
}

fn decode_scope(reader: &mut Reader<'_>) -> Result<Scope, DecodeError> {
    reader.text(SCOPE_BYTES_MAX, "scope")?.parse().map_err(|_| reader.fault("scope"))
}

/// The start of a text, so many bytes at most.
pub(crate) fn clip(text: &str, bytes_max: usize) -> &str {
    let end = (0..=text.len().min(bytes_max)).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests;
