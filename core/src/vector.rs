//! Vectors: what a replica holds of a scope, exactly.
//!
//! Events enter a replica in chain order, so the last event of each chain stands for all before it.
//! The difference of two replicas is read off two vectors, whatever its size.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::ChainId;
use crate::ids::{Author, Boot, Digest, EventId};
use crate::wire::{DecodeError, Reader, Writer};

/// Most chains that a vector may list; a scope with more is refused.
pub const CHAINS_MAX: usize = 16_384;

/// The last event held of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Head {
    /// Its place in the chain.
    pub seq: u64,
    /// Its id.
    pub id: EventId,
}

/// The head of every chain of a scope.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vector(BTreeMap<ChainId, Head>);

impl Vector {
    /// The head of a chain, if anything of it is held.
    pub fn head(&self, chain: &ChainId) -> Option<Head> {
        self.0.get(chain).copied()
    }

    /// Whether the event at `seq` of a chain is held.
    pub fn covers(&self, chain: &ChainId, seq: u64) -> bool {
        self.0.get(chain).is_some_and(|head| head.seq >= seq)
    }

    /// Moves a chain's head forward; a head that is not ahead changes nothing.
    pub fn advance(&mut self, chain: ChainId, head: Head) {
        let held = self.0.entry(chain).or_insert(head);
        if head.seq > held.seq {
            *held = head;
        }
    }

    /// Takes every head of `other` that is ahead.
    pub fn join(&mut self, other: &Self) {
        for (chain, head) in other.iter() {
            self.advance(chain, head);
        }
    }

    /// The heads, by chain.
    pub fn iter(&self) -> impl Iterator<Item = (ChainId, Head)> + '_ {
        self.0.iter().map(|(chain, head)| (*chain, *head))
    }

    /// How many chains are listed.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many events of the scope entered, those covered by checkpoints included.
    pub fn events(&self) -> u64 {
        self.0.values().map(|head| head.seq).sum()
    }

    /// How many events `self` covers that `other` does not.
    pub fn missing_in(&self, other: &Self) -> u64 {
        self.iter().map(|(chain, head)| head.seq.saturating_sub(other.seq(&chain))).sum()
    }

    /// The last `author_seq` held of a chain; 0 for none.
    pub fn seq(&self, chain: &ChainId) -> u64 {
        self.0.get(chain).map_or(0, |head| head.seq)
    }

    /// A hash of the sorted vector; zero for an empty one.
    pub fn digest(&self) -> Digest {
        if self.is_empty() {
            return Digest::default();
        }
        let mut hasher = blake3::Hasher::new_derive_key("driftless vector digest v1");
        for (chain, head) in &self.0 {
            hasher.update(&chain.author.0);
            hasher.update(&chain.boot.0);
            hasher.update(&head.seq.to_be_bytes());
            hasher.update(&head.id.0);
        }
        Digest(*hasher.finalize().as_bytes())
    }

    /// Appends the encoding: chains by author, so that boots of one author share its key.
    pub fn encode(&self, writer: &mut Writer) {
        let mut by_author: BTreeMap<Author, Vec<(Boot, Head)>> = BTreeMap::new();
        for (chain, head) in &self.0 {
            by_author.entry(chain.author).or_default().push((chain.boot, *head));
        }
        writer.varint(by_author.len() as u64);
        for (author, boots) in by_author {
            writer.fixed(&author.0);
            writer.varint(boots.len() as u64);
            for (boot, head) in boots {
                writer.fixed(&boot.0);
                writer.varint(head.seq);
                writer.fixed(&head.id.0);
            }
        }
    }

    /// Reads what [`Vector::encode`] wrote; more than [`CHAINS_MAX`] chains, unordered ones and
    /// chains without an event are refused.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut vector = BTreeMap::new();
        for _ in 0..reader.count(CHAINS_MAX, "vector authors")? {
            let author = Author(reader.fixed("vector author")?);
            for _ in 0..reader.count(CHAINS_MAX, "vector boots")? {
                let chain = ChainId { author, boot: Boot(reader.fixed("vector boot")?) };
                let seq = reader.varint("vector seq")?;
                let id = EventId(reader.fixed("vector head")?);
                let ascending = vector.last_key_value().is_none_or(|(last, _)| *last < chain);
                if seq == 0 || !ascending || vector.len() == CHAINS_MAX {
                    return Err(reader.fault("vector chain"));
                }
                vector.insert(chain, Head { seq, id });
            }
        }
        Ok(Self(vector))
    }
}

impl FromIterator<(ChainId, Head)> for Vector {
    fn from_iter<I: IntoIterator<Item = (ChainId, Head)>>(heads: I) -> Self {
        let mut vector = Self::default();
        for (chain, head) in heads {
            vector.advance(chain, head);
        }
        vector
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn head(seq: u64) -> Head {
        Head { seq, id: EventId([seq as u8; 32]) }
    }

    fn chain(author: u8, boot: u8) -> ChainId {
        ChainId { author: Author([author; 32]), boot: Boot([boot; 16]) }
    }

    #[test]
    fn joining_takes_the_greater_head_of_each_chain() {
        let mut ours: Vector = [(chain(1, 1), head(5)), (chain(2, 1), head(1))].into_iter().collect();
        let theirs: Vector = [(chain(1, 1), head(3)), (chain(3, 1), head(2))].into_iter().collect();
        assert_eq!(ours.missing_in(&theirs), 3);
        assert_eq!(theirs.missing_in(&ours), 2);
        ours.join(&theirs);
        assert_eq!(ours.events(), 8);
        assert!(ours.covers(&chain(1, 1), 5) && !ours.covers(&chain(1, 1), 6));
        assert_ne!(ours.digest(), theirs.digest());
        assert_eq!(Vector::default().digest(), Digest::default());
    }

    #[test]
    fn vectors_round_trip() {
        let vector: Vector =
            [(chain(1, 1), head(5)), (chain(1, 2), head(1)), (chain(2, 1), head(9))].into_iter().collect();
        let mut writer = Writer::default();
        vector.encode(&mut writer);
        assert_eq!(Vector::decode(&mut Reader::new(&writer.bytes)).unwrap(), vector);
        for cut in 0..writer.bytes.len() {
            assert!(Vector::decode(&mut Reader::new(&writer.bytes[..cut])).is_err());
        }
    }
}
