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
///
/// Most have a handful of chains, and a hub keeps some of each of its edges: so this is a sorted list, which
/// takes no more room than its heads. A chain is found in logarithmic time and added in linear.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vector(Vec<(ChainId, Head)>);

impl Vector {
    /// Where a chain stands, or where it would.
    fn find(&self, chain: &ChainId) -> Result<usize, usize> {
        self.0.binary_search_by(|(found, _)| found.cmp(chain))
    }

    /// The head of a chain, if anything of it is held.
    pub fn head(&self, chain: &ChainId) -> Option<Head> {
        self.find(chain).ok().map(|at| self.0[at].1)
    }

    /// Whether the event at `seq` of a chain is held.
    pub fn covers(&self, chain: &ChainId, seq: u64) -> bool {
        self.head(chain).is_some_and(|head| head.seq >= seq)
    }

    /// Moves a chain's head forward; a head that is not ahead changes nothing.
    pub fn advance(&mut self, chain: ChainId, head: Head) {
        match self.find(&chain) {
            Ok(at) => {
                let held = &mut self.0[at].1;
                if head.seq > held.seq {
                    *held = head;
                }
            }
            Err(at) => {
                if self.0.len() == self.0.capacity() {
                    self.0.reserve_exact(1 + self.0.len() / 2);
                }
                self.0.insert(at, (chain, head));
            }
        }
    }

    /// Takes every head of `other` that is ahead. Costs both lengths.
    pub fn join(&mut self, other: &Self) {
        let mut added = vec![];
        for (chain, head) in other.iter() {
            match self.find(&chain) {
                Ok(_) => self.advance(chain, head),
                Err(_) => added.push((chain, head)),
            }
        }
        if !added.is_empty() {
            self.0.reserve_exact(added.len());
            self.0.append(&mut added);
            self.0.sort_unstable_by_key(|(chain, _)| *chain);
        }
    }

    /// The heads, by chain.
    pub fn iter(&self) -> impl Iterator<Item = (ChainId, Head)> + '_ {
        self.0.iter().copied()
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
        self.0.iter().map(|(_, head)| head.seq).sum()
    }

    /// How many events `self` covers that `other` does not.
    pub fn missing_in(&self, other: &Self) -> u64 {
        self.iter().map(|(chain, head)| head.seq.saturating_sub(other.seq(&chain))).sum()
    }

    /// The last `author_seq` held of a chain; 0 for none.
    pub fn seq(&self, chain: &ChainId) -> u64 {
        self.head(chain).map_or(0, |head| head.seq)
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
        let mut vector: Vec<(ChainId, Head)> = vec![];
        for _ in 0..reader.count(CHAINS_MAX, "vector authors")? {
            let author = Author(reader.fixed("vector author")?);
            for _ in 0..reader.count(CHAINS_MAX, "vector boots")? {
                let chain = ChainId { author, boot: Boot(reader.fixed("vector boot")?) };
                let seq = reader.varint("vector seq")?;
                let id = EventId(reader.fixed("vector head")?);
                let ascending = vector.last().is_none_or(|(last, _)| *last < chain);
                if seq == 0 || !ascending || vector.len() == CHAINS_MAX {
                    return Err(reader.fault("vector chain"));
                }
                vector.push((chain, Head { seq, id }));
            }
        }
        vector.shrink_to_fit();
        Ok(Self(vector))
    }
}

impl FromIterator<(ChainId, Head)> for Vector {
    fn from_iter<I: IntoIterator<Item = (ChainId, Head)>>(heads: I) -> Self {
        let mut vector: Vec<_> = heads.into_iter().collect();
        // Of one chain the greatest comes first and stays.
        vector.sort_unstable_by_key(|(chain, head)| (*chain, std::cmp::Reverse(head.seq)));
        vector.dedup_by_key(|(chain, _)| *chain);
        vector.shrink_to_fit();
        Self(vector)
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
