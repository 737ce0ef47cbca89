//! Following single changes: when those whom they concern hold them durably.

use std::collections::{BTreeMap, BTreeSet};

use driftless_core::event::ChainId;
use driftless_core::name::Scope;
use driftless_core::replica::Replica;
use driftless_core::store::MemoryStore;

use super::node::NodeId;

/// Most changes that are followed at a time; further ones are not.
const FOLLOWED_MAX: usize = 1_024;

/// Whom a followed change concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Audience {
    /// All hubs.
    Hubs,
    /// Every node that is interested in its scope.
    Everybody,
}

/// A change on its way.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) chain: ChainId,
    pub(crate) seq: u64,
    /// When it was durable where it was written.
    pub(crate) at_ms: u64,
    pub(crate) audience: Audience,
    /// Who does not hold it yet.
    pub(crate) lacking: BTreeSet<NodeId>,
}

/// Changes that are followed, and how long they took.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    under_way: BTreeMap<Scope, Vec<Followed>>,
    followed: usize,
    /// For each change and node, the time between the two, in the order of arrival.
    took_ms: BTreeMap<Audience, Vec<u64>>,
}

impl Follower {
    pub(crate) fn follow(&mut self, scope: Scope, change: Followed) {
        if self.followed < FOLLOWED_MAX && !change.lacking.is_empty() {
            self.followed += 1;
            self.under_way.entry(scope).or_default().push(change);
        }
    }

    /// A node has made changes of these scopes durable. What it could not have got while it was away,
    /// until `away_until`, does not count.
    pub(crate) fn committed(
        &mut self,
        (node, replica): (NodeId, &Replica<MemoryStore>),
        scopes: &BTreeSet<Scope>,
        (now, away_until): (u64, u64),
    ) {
        if self.under_way.is_empty() {
            return;
        }
        for scope in scopes {
            let Some(changes) = self.under_way.get_mut(scope) else { continue };
            let held = replica.vector(scope);
            for change in changes.iter_mut().filter(|change| held.covers(&change.chain, change.seq)) {
                if change.lacking.remove(&node) {
                    let since = change.at_ms.max(away_until).min(now);
                    self.took_ms.entry(change.audience).or_default().push(now - since);
                }
            }
            changes.retain(|change| !change.lacking.is_empty());
            if changes.is_empty() {
                self.under_way.remove(scope);
            }
        }
        self.followed = self.under_way.values().map(Vec::len).sum();
    }

    /// How long changes took to those whom they concern.
    pub(crate) fn took_ms(&self, audience: Audience) -> &[u64] {
        self.took_ms.get(&audience).map_or(&[], Vec::as_slice)
    }

    /// How many changes some of those whom they concern do not hold.
    pub(crate) fn under_way(&self) -> usize {
        self.followed
    }
}
