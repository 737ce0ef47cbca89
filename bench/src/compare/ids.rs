//! The ids of events, and what two sets of them differ in.

use std::collections::BTreeSet;

use driftless_core::group::{Item, Record};
use driftless_core::name::Scope;
use driftless_core::replica::Replica;
use driftless_core::store::MemoryStore;

/// The id of an event.
pub(super) type Id = [u8; 32];

/// The ids of the events in these scopes.
pub(super) fn of(replica: &Replica<MemoryStore>, scopes: &[Scope]) -> anyhow::Result<BTreeSet<Id>> {
    let mut ids = BTreeSet::new();
    for scope in scopes {
        for entry in replica.log(scope, 0, usize::MAX)?.entries {
            if let Record::Group(group) = Record::decode(replica.fleet(), &entry.bytes)? {
                ids.extend(group.items().iter().map(Item::id).map(|id| id.0));
            }
        }
    }
    Ok(ids)
}

/// How many ids either side lacks: first those that the first has alone.
pub(super) fn missing(here: &BTreeSet<Id>, there: &BTreeSet<Id>) -> [usize; 2] {
    [here.difference(there).count(), there.difference(here).count()]
}
