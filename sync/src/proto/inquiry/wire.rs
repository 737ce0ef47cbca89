//! Questions and answers as they stand on the wire.
//!
//! ```text
//! question = 0 | place | 0 or 1, namespace, site | after [32]       deliveries
//!          | 1 | count, places | after namespace, site               reach
//! answer   = 0 | more | count, peers                                 deliveries
//!          | 1 | more | count, sites                                 reach
//!          | 2                                                       busy
//! place    = scope | author [32] | boot [16] | seq varint
//! peer     = key [32] | kind | flags | heard varint | delivery
//! site     = namespace | site | flags | wants | holds, unless the flags tell
//! ```

use driftless_core::event::ChainId;
use driftless_core::ids::{Author, Boot};
use driftless_core::wire::{DecodeError, Reader, Writer};

use super::{ANSWER_ENTRIES_MAX, Answer, Bits, PLACES_MAX, Question, SiteReach};
use crate::proto::delivery::{Delivery, EventPlace, PeerDelivery};
use crate::proto::frame::{SCOPE_BYTES_MAX, clip};
use crate::proto::interest::PeerKind;

/// Longest reason of a close that an answer carries, in bytes.
const REASON_BYTES_MAX: usize = 160;
/// Longest name of a node, a site, a namespace or a region, in bytes.
const NAME_BYTES_MAX: usize = 253;

impl Question {
    pub(crate) fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Deliveries { place, site, after } => {
                writer.byte(0);
                encode_place(writer, place);
                writer.byte(u8::from(site.is_some()));
                if let Some((namespace, site)) = site {
                    writer.text(namespace);
                    writer.text(site);
                }
                writer.fixed(&after.0);
            }
            Self::Reach { places, after } => {
                writer.byte(1);
                writer.varint(places.len() as u64);
                places.iter().for_each(|place| encode_place(writer, place));
                writer.text(&after.0);
                writer.text(&after.1);
            }
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.byte("question")? {
            0 => {
                let place = decode_place(reader)?;
                let site = match reader.byte("question site")? {
                    0 => None,
                    1 => Some((name(reader)?, name(reader)?)),
                    _ => return Err(reader.fault("question site")),
                };
                Ok(Self::Deliveries { place, site, after: Author(reader.fixed("question after")?) })
            }
            1 => {
                let count = reader.count(PLACES_MAX, "question events")?;
                let places = (0..count).map(|_| decode_place(reader)).collect::<Result<_, _>>()?;
                Ok(Self::Reach { places, after: (name(reader)?, name(reader)?) })
            }
            _ => Err(reader.fault("question")),
        }
    }
}

impl Answer {
    pub(crate) fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Deliveries { peers, more } => {
                writer.byte(0);
                writer.byte(u8::from(*more));
                writer.varint(peers.len() as u64);
                peers.iter().for_each(|peer| encode_peer(writer, peer));
            }
            Self::Reach { sites, more } => {
                writer.byte(1);
                writer.byte(u8::from(*more));
                writer.varint(sites.len() as u64);
                for reach in sites {
                    writer.text(&reach.site.0);
                    writer.text(&reach.site.1);
                    // Most sites hold all that they want, or none of it.
                    let both = reach.wants != reach.holds && reach.holds.any();
                    writer.byte(
                        u8::from(reach.connected) | u8::from(reach.holds.any()) << 1 | u8::from(both) << 2,
                    );
                    encode_bits(writer, &reach.wants);
                    if both {
                        encode_bits(writer, &reach.holds);
                    }
                }
            }
            Self::Busy => writer.byte(2),
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.byte("answer")? {
            0 => {
                let more = flag(reader)?;
                let count = reader.count(ANSWER_ENTRIES_MAX, "answer peers")?;
                let peers = (0..count).map(|_| decode_peer(reader)).collect::<Result<_, _>>()?;
                Ok(Self::Deliveries { peers, more })
            }
            1 => {
                let more = flag(reader)?;
                let count = reader.count(ANSWER_ENTRIES_MAX, "answer sites")?;
                let sites = (0..count).map(|_| decode_reach(reader)).collect::<Result<_, _>>()?;
                Ok(Self::Reach { sites, more })
            }
            2 => Ok(Self::Busy),
            _ => Err(reader.fault("answer")),
        }
    }
}

fn decode_reach(reader: &mut Reader<'_>) -> Result<SiteReach, DecodeError> {
    let site = (name(reader)?, name(reader)?);
    let flags = reader.byte("reach flags")?;
    if flags > 7 {
        return Err(reader.fault("reach flags"));
    }
    let wants = decode_bits(reader)?;
    let holds = match (flags & 2 != 0, flags & 4 != 0) {
        (_, true) => decode_bits(reader)?,
        (true, false) => wants,
        (false, false) => Bits::default(),
    };
    Ok(SiteReach { site, connected: flags & 1 != 0, wants, holds })
}

/// Bits without the zero bytes at their end.
fn encode_bits(writer: &mut Writer, bits: &Bits) {
    let end = bits.0.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    writer.blob(&bits.0[..end]);
}

fn decode_bits(reader: &mut Reader<'_>) -> Result<Bits, DecodeError> {
    let bytes = reader.blob(PLACES_MAX / 8, "bits")?;
    let mut bits = Bits::default();
    bits.0[..bytes.len()].copy_from_slice(bytes);
    Ok(bits)
}

fn encode_place(writer: &mut Writer, place: &EventPlace) {
    writer.text(&place.scope.to_string());
    writer.fixed(&place.chain.author.0);
    writer.fixed(&place.chain.boot.0);
    writer.varint(place.seq);
}

fn decode_place(reader: &mut Reader<'_>) -> Result<EventPlace, DecodeError> {
    let scope = reader.text(SCOPE_BYTES_MAX, "scope")?.parse().map_err(|_| reader.fault("scope"))?;
    let author = Author(reader.fixed("event author")?);
    let chain = ChainId { author, boot: Boot(reader.fixed("event boot")?) };
    Ok(EventPlace { scope, chain, seq: reader.varint("event seq")? })
}

fn encode_peer(writer: &mut Writer, peer: &PeerDelivery) {
    writer.fixed(&peer.key.0);
    match &peer.peer {
        PeerKind::Hub { name, region } => {
            writer.byte(0);
            writer.text(name);
            writer.text(region);
        }
        PeerKind::Site { namespace, site, node } => {
            writer.byte(1);
            [namespace, site, node].into_iter().for_each(|text| writer.text(text));
        }
    }
    writer.byte(u8::from(peer.connected) | u8::from(peer.cut) << 1);
    writer.varint(peer.heard_ms);
    match &peer.delivery {
        Delivery::Durable => writer.byte(0),
        Delivery::InFlight => writer.byte(1),
        Delivery::Waiting { events, bytes } => {
            writer.byte(2);
            writer.varint(*events);
            // Nothing is not written as 0, which would say that it is known.
            writer.varint(bytes.map_or(0, |bytes| bytes.saturating_add(1)));
        }
        Delivery::NotHere => writer.byte(3),
        Delivery::NotConnected { for_ms, reason } => {
            writer.byte(4);
            writer.varint(*for_ms);
            writer.text(clip(reason, REASON_BYTES_MAX));
        }
        Delivery::OutsideInterest => writer.byte(5),
        Delivery::Comparing => writer.byte(6),
    }
}

fn decode_peer(reader: &mut Reader<'_>) -> Result<PeerDelivery, DecodeError> {
    let key = Author(reader.fixed("peer key")?);
    let peer = match reader.byte("peer kind")? {
        0 => PeerKind::Hub { name: name(reader)?, region: name(reader)? },
        1 => PeerKind::Site { namespace: name(reader)?, site: name(reader)?, node: name(reader)? },
        _ => return Err(reader.fault("peer kind")),
    };
    let flags = reader.byte("peer flags")?;
    let heard_ms = reader.varint("peer heard")?;
    let delivery = match reader.byte("delivery")? {
        0 => Delivery::Durable,
        1 => Delivery::InFlight,
        2 => {
            let events = reader.varint("waiting events")?;
            Delivery::Waiting { events, bytes: reader.varint("waiting bytes")?.checked_sub(1) }
        }
        3 => Delivery::NotHere,
        4 => {
            let for_ms = reader.varint("not connected")?;
            let reason = reader.text(REASON_BYTES_MAX, "reason")?.to_owned();
            Delivery::NotConnected { for_ms, reason }
        }
        5 => Delivery::OutsideInterest,
        6 => Delivery::Comparing,
        _ => return Err(reader.fault("delivery")),
    };
    Ok(PeerDelivery { key, peer, connected: flags & 1 != 0, cut: flags & 2 != 0, heard_ms, delivery })
}

fn name(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    reader.text(NAME_BYTES_MAX, "name").map(str::to_owned)
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.byte("flag")? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.fault("flag")),
    }
}
