//! Forgetting a scope: everything that is held of it leaves the store.
//!
//! That takes several batches, and a crash may come between any two. So the first puts a mark, the last takes it
//! away together with the scope's record, and whoever opens the store finishes what a mark tells of: otherwise
//! what is left would come back with the scope.
//!
//! Positions never go back, whatever leaves: the highest that was given out is kept.
//!
//! Keys: `f <scope>` while a scope is being forgotten, `p` for the position.

use std::ops::ControlFlow;

use super::Replica;
use super::scope::{document_range, scope_key};
use crate::log::{delete_range, run_range};
use crate::name::Scope;
use crate::store::{Batch, Order, Store, StoreError};

const POSITION_KEY: &[u8] = b"p";

impl<S: Store> Replica<S> {
    /// Deletes everything that is held of a scope, which left the interest of this replica.
    pub fn forget(&mut self, scope: &Scope) -> Result<(), StoreError> {
        // What else was staged is told of by the next commit, as if it had been made durable there.
        let committed = self.commit()?;
        self.staged_scopes.extend(committed.scopes);
        self.settle()?;
        let Some(state) = self.scopes.remove(scope) else { return Ok(()) };
        self.faults.remove(scope);
        for ((kind, name), entry) in &state.documents {
            if let Ok(document) = super::document_in(scope, *kind, name) {
                self.labels.remove(&document, &entry.labels);
                self.states.remove(&document);
            }
        }
        let position = self.log.position();
        let mut batch = Batch::default();
        batch.put(mark_key(scope), position.to_be_bytes().to_vec());
        self.log.store_mut().apply(batch)?;
        delete(self.log.store_mut(), scope, position)?;
        self.log.store_mut().flush()
    }
}

/// Finishes what was begun before the store was closed, and returns the position below which none is given out.
pub(super) fn finish<S: Store>(store: &mut S) -> Result<u64, StoreError> {
    let mut marks = vec![];
    store.scan(b"f", b"g", Order::Ascending, &mut |key, value| {
        marks.push((key[1..].to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    for (name, value) in marks {
        let scope = std::str::from_utf8(&name).ok().and_then(|name| name.parse().ok());
        let (Some(scope), Some(position)) = (scope, position(&value)) else {
            return Err(StoreError::Damaged { key: Some(name), reason: "a scope to forget".to_owned() });
        };
        delete(store, &scope, position)?;
    }
    Ok(store.get(POSITION_KEY)?.as_deref().and_then(position).unwrap_or(0))
}

fn delete<S: Store>(store: &mut S, scope: &Scope, position: u64) -> Result<(), StoreError> {
    for (start, end) in [document_range(scope), run_range(scope)] {
        delete_range(store, start, &end)?;
    }
    let mut batch = Batch::default();
    batch.delete(scope_key(scope));
    batch.delete(mark_key(scope));
    batch.put(POSITION_KEY.to_vec(), position.to_be_bytes().to_vec());
    store.apply(batch)
}

fn mark_key(scope: &Scope) -> Vec<u8> {
    [b"f", scope.to_string().as_bytes()].concat()
}

fn position(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(value.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use crate::name::{Document, Kind, Scope};
    use crate::replica::{LabelSelector, Replica};
    use crate::store::{Faults, MemoryStore, OperationLog, RecordingStore, Store};
    use crate::testing::{carry, enrolled, open, put};

    const HUB: u16 = 1;
    /// More documents than one batch deletes.
    const APPS: usize = 500;

    fn catalog() -> Scope {
        Document::new(Kind::App, "acme", "pos").unwrap().scope()
    }

    fn filled<S: Store>(store: S) -> Replica<S> {
        let mut hub = open(store, HUB, 1);
        carry(&enrolled(&[("hub-eu", HUB)], &[]), &mut hub);
        put(
            &mut hub,
            Kind::Profile,
            "acme",
            "p",
            json!({"spec": {"priority": 1, "selector": {"matchAll": true}}}),
        );
        put(&mut hub, Kind::App, "acme", "pos", json!({"spec": {"channels": {"stable": "1"}}}));
        for release in 0..APPS {
            let digest = format!("sha256:{release:064x}");
            let spec = json!({"spec": {"app": "pos", "version": release.to_string(), "digest": digest}});
            put(&mut hub, Kind::Release, "acme", &format!("pos.{release}"), spec);
        }
        hub.commit().unwrap();
        hub
    }

    #[test]
    fn positions_go_on_where_a_forgotten_scope_had_been() {
        let mut hub = filled(MemoryStore::new());
        let before = hub.position();
        hub.forget(&catalog()).unwrap();
        let disk = hub.store().fork();
        assert_eq!(open(disk, HUB, 2).position(), before, "though the newest events left");
    }

    /// The store fails at each batch in turn, and the node stops there.
    #[test]
    fn a_crash_while_forgetting_leaves_the_scope_whole_or_nothing_of_it() {
        let (mut whole, mut gone) = (0, 0);
        let disk = filled(MemoryStore::new()).store().fork();
        for nth in 1.. {
            let faults = Faults { apply: Some(nth), ..Faults::default() };
            let store = RecordingStore::with_faults(disk.fork(), OperationLog::default(), faults);
            let mut hub = open(store, HUB, 2);
            let failed = hub.forget(&catalog()).is_err();
            let reopened = open(hub.store().inner().fork_applied(), HUB, 3);
            let documents = reopened.names(Kind::Release, None, &LabelSelector::new()).len();
            let runs = reopened.log(&catalog(), 0, usize::MAX).unwrap().entries.len();
            match documents {
                0 => {
                    assert_eq!(runs, 0, "batch {nth}");
                    assert_eq!(reopened.vector(&catalog()).events(), 0);
                    gone += 1;
                }
                _ => {
                    assert_eq!(reopened.vector(&catalog()).events() as usize, APPS + 1);
                    assert!(runs > 0 && documents == APPS, "batch {nth}");
                    whole += 1;
                }
            }
            if !failed {
                break;
            }
        }
        assert!(whole > 0 && gone > 1, "{whole} {gone}");
    }
}
