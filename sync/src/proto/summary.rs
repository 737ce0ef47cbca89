//! The summary of everything that a replica holds: one digest over all scopes, and a sketch from which a
//! peer can tell which of them differ. Kept at each commit, for the scopes that changed.
//!
//! Owns nothing else: who compares what with whom is decided in [`super::find`].

use std::sync::Arc;

use driftless_core::ids::Digest;
use driftless_core::name::Scope;
use driftless_core::replica::Replica;
use driftless_core::store::Store;

use super::frame::{ScopeTag, ShortDigest};
use super::riblt::{Item, Sketch};

/// Cells of a sketch that are kept, 32 bytes each: enough for about 3,000 differences.
pub(crate) const SKETCH_CELLS: usize = 4_096;

/// A set of (scope, digest) pairs in two forms.
///
/// The root digest is a hash of the pairs' number and of the sum, modulo 2^256, of a 256-bit hash of
/// each. Equal sets have equal roots. That different sets have different ones rests on this: roots are
/// compared between hubs that authenticated each other, and a hub that lies about its root only harms
/// itself. Others choose what is hashed only by forking their own chains, one scope at a time. For an
/// exclusive or, 256 forked scopes would be enough to solve for a collision; for a sum that takes a
/// search among the forks of very many scopes (Wagner's generalised birthday), at the end of which the
/// forks of that author, and nothing of others, go unnoticed until one of its scopes changes again.
#[derive(Debug)]
pub(crate) struct Summary {
    /// The replica's position of which this is the summary.
    position: u64,
    /// The sum, least significant first.
    sum: [u64; 4],
    /// Shared with the sessions in which it is being sent, which keep what it was then.
    sketch: Arc<Sketch>,
}

impl Summary {
    /// Costs all scopes.
    pub(crate) fn of<S: Store>(replica: &Replica<S>) -> Self {
        let sketch = Arc::new(Sketch::new(SKETCH_CELLS));
        let mut summary = Self { position: replica.position(), sum: [0; 4], sketch };
        for scope in replica.scopes() {
            summary.replace(scope, &Digest::default(), &replica.digest(scope));
        }
        summary
    }

    /// Follows the replica's last commit, which changed these scopes.
    pub(crate) fn follow<S: Store>(&mut self, changed: &[Scope], replica: &Replica<S>) {
        for scope in changed {
            if let Some(before) = replica.before(scope) {
                self.replace(scope, &before.digest, &replica.digest(scope));
            }
        }
        self.position = replica.position();
    }

    /// Whether this is the summary of what the replica holds.
    pub(crate) fn is_of<S: Store>(&self, replica: &Replica<S>) -> bool {
        self.position == replica.position()
    }

    /// One digest over all scopes.
    pub(crate) fn root(&self) -> ShortDigest {
        let mut hasher = blake3::Hasher::new_derive_key("driftless root digest v2");
        hasher.update(&self.sketch.items().to_be_bytes());
        self.sum.iter().for_each(|word| {
            hasher.update(&word.to_be_bytes());
        });
        first_bytes(hasher.finalize().as_bytes())
    }

    /// The sketch as it is now.
    pub(crate) fn sketch(&self) -> &Arc<Sketch> {
        &self.sketch
    }

    #[cfg(test)]
    pub(crate) fn replace_sketch(&mut self, sketch: Arc<Sketch>) {
        self.sketch = sketch;
    }

    /// Replaces a scope's digest. A scope of which nothing is held has none.
    fn replace(&mut self, scope: &Scope, before: &Digest, now: &Digest) {
        if before == now {
            return;
        }
        if *before != Digest::default() {
            let hash = hash(scope, before);
            self.sum = subtract(self.sum, words(&hash));
            Arc::make_mut(&mut self.sketch).remove(&item_of(scope, &hash));
        }
        if *now != Digest::default() {
            let hash = hash(scope, now);
            self.sum = add(self.sum, words(&hash));
            Arc::make_mut(&mut self.sketch).insert(&item_of(scope, &hash));
        }
    }
}

/// What stands in the sketch for a scope with a digest: the scope's tag, which lets a peer look up its
/// own scope of that name, and 96 bits of a hash of both.
pub(crate) fn item(scope: &Scope, digest: &Digest) -> Item {
    item_of(scope, &hash(scope, digest))
}

/// The start of the hash of a scope's name. A few scopes among very many share theirs.
pub(crate) fn tag(scope: &Scope) -> ScopeTag {
    first_bytes(blake3::hash(scope.to_string().as_bytes()).as_bytes())
}

/// The tag of the scope for which an item stands.
pub(crate) fn tag_of(item: &Item) -> ScopeTag {
    let mut tag = ScopeTag::default();
    tag.copy_from_slice(&item[..size_of::<ScopeTag>()]);
    tag
}

/// The first bytes of a hash, enough to tell two apart.
pub(crate) fn first_bytes<const N: usize>(bytes: &[u8; 32]) -> [u8; N] {
    let mut first = [0; N];
    first.copy_from_slice(&bytes[..N]);
    first
}

fn item_of(scope: &Scope, hash: &[u8; 32]) -> Item {
    let (mut item, tag) = (Item::default(), tag(scope));
    let (front, back) = item.split_at_mut(tag.len());
    front.copy_from_slice(&tag);
    back.copy_from_slice(&hash[..back.len()]);
    item
}

fn hash(scope: &Scope, digest: &Digest) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("driftless scope and digest v1");
    hasher.update(scope.to_string().as_bytes()).update(&[0]).update(&digest.0);
    *hasher.finalize().as_bytes()
}

fn words(hash: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(hash.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// Sums modulo 2^256.
fn add(a: [u64; 4], b: [u64; 4]) -> [u64; 4] {
    let mut carry = 0;
    std::array::from_fn(|at| {
        let sum = u128::from(a[at]) + u128::from(b[at]) + carry;
        carry = sum >> 64;
        sum as u64
    })
}

fn subtract(a: [u64; 4], b: [u64; 4]) -> [u64; 4] {
    let negated = add(b.map(|word| !word), [1, 0, 0, 0]);
    add(a, negated)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use driftless_core::name::Kind;
    use driftless_core::store::MemoryStore;
    use driftless_core::testing;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn sums_carry_and_borrow() {
        let (ones, one) = ([u64::MAX; 4], [1, 0, 0, 0]);
        assert_eq!(add(ones, one), [0; 4]);
        assert_eq!(subtract([0; 4], one), ones);
        assert_eq!(subtract(add([7, u64::MAX, 3, 9], ones), ones), [7, u64::MAX, 3, 9]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// What is kept commit by commit is what all scopes give at once, whatever was written.
        #[test]
        fn a_summary_that_was_kept_is_the_summary(commits in proptest::collection::vec(proptest::collection::vec(0u8..9, 0..4), 0..12)) {
            let mut replica = testing::open(MemoryStore::new(), 1, 1);
            testing::carry(&testing::enrolled(&[("hub-eu", 1)], &[]), &mut replica);
            let mut kept = Summary::of(&replica);
            let mut roots = vec![kept.root()];
            for sites in commits {
                for site in &sites {
                    let name = format!("store-{site}");
                    testing::put(&mut replica, Kind::Site, "acme", &name, json!({"spec": {"region": roots.len().to_string()}}));
                }
                let changed: Vec<Scope> = replica.commit().unwrap().scopes.into_iter().collect();
                prop_assert_eq!(kept.is_of(&replica), sites.is_empty());
                kept.follow(&changed, &replica);
                let anew = Summary::of(&replica);
                prop_assert_eq!((kept.root(), kept.sum, &kept.sketch), (anew.root(), anew.sum, &anew.sketch));
                if !sites.is_empty() {
                    prop_assert!(!roots.contains(&kept.root()));
                    roots.push(kept.root());
                }
            }
        }
    }
}
