//! The held-set hash: what a replica really has of a scope, in 32 bytes.
//!
//! A vector says which events a replica took; the held-set hash says which of them its store still
//! gives back. It is LtHash (Bellare and Micciancio, 1997; Lewi et al., 2019): each id is expanded to
//! 1,024 lanes of 16 bits, and lanes are added. So it does not depend on the order in which events are
//! met, and nobody can find two sets with one hash, which plain 256-bit sums do not promise. Costs about
//! 2 µs an event. Why it is read from the store and never kept up to date: decision 0013.

use crate::ids::{Digest, EventId};

const LANES: usize = 1_024;

/// A sum over a set of event ids. Adding one twice is not adding it once.
#[derive(Clone)]
pub(crate) struct HeldHash {
    lanes: Box<[u16; LANES]>,
    expander: blake3::Hasher,
}

impl std::fmt::Debug for HeldHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HeldHash({})", self.digest())
    }
}

impl Default for HeldHash {
    fn default() -> Self {
        let expander = blake3::Hasher::new_derive_key("driftless held set lanes v1");
        Self { lanes: Box::new([0; LANES]), expander }
    }
}

impl HeldHash {
    /// Adds an event.
    pub(crate) fn add(&mut self, id: &EventId) {
        let mut expanded = [0; LANES * 2];
        self.expander.clone().update(&id.0).finalize_xof().fill(&mut expanded);
        for (lane, bytes) in self.lanes.iter_mut().zip(expanded.chunks_exact(2)) {
            *lane = lane.wrapping_add(u16::from_le_bytes([bytes[0], bytes[1]]));
        }
    }

    /// The hash in short; zero for the empty set.
    pub(crate) fn digest(&self) -> Digest {
        if self.lanes.iter().all(|lane| *lane == 0) {
            return Digest::default();
        }
        let mut hasher = blake3::Hasher::new_derive_key("driftless held set v1");
        self.lanes.iter().for_each(|lane| {
            hasher.update(&lane.to_le_bytes());
        });
        Digest(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_every_event_does() {
        let ids: Vec<EventId> = (0..5).map(|byte| EventId([byte; 32])).collect();
        let hash = |ids: &mut dyn Iterator<Item = &EventId>| {
            let mut hash = HeldHash::default();
            ids.for_each(|id| hash.add(id));
            hash.digest()
        };
        assert_eq!(hash(&mut ids.iter()), hash(&mut ids.iter().rev()));
        assert_ne!(hash(&mut ids.iter()), hash(&mut ids.iter().take(4)));
        assert_ne!(hash(&mut ids.iter().take(1)), hash(&mut ids.iter().take(1).cycle().take(2)));
        assert_eq!(hash(&mut [].iter()), Digest::default());
    }
}
