//! Reading: views, lists, history, changes. Nothing here loads automerge.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use serde_json::Value;

use super::Replica;
use super::labels::LabelSelector;
use super::scope::Labels;
use crate::document::{DocumentState, Effect};
use crate::event::Event;
use crate::group::Record;
use crate::log::Entry;
use crate::name::{Document, Kind, Scope};
use crate::store::{Batch, Order, Store, StoreError, prefix_end};

/// A document as it is now.
#[derive(Debug, Clone)]
pub struct View {
    /// Which document.
    pub document: Document,
    /// The resource: `apiVersion`, `kind`, `metadata`, `spec`, `status`.
    pub resource: Arc<Value>,
    /// Position of the last event of the document in this replica's log.
    pub version: u64,
}

/// One event of a document's history.
#[derive(Debug, Clone)]
pub struct HistoryEntry {
    /// The event.
    pub event: Arc<Event>,
    /// Whether it counts.
    pub effect: Effect,
    /// Its position in this replica's log.
    pub position: u64,
}

/// A document changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Position of the event that changed it.
    pub position: u64,
    /// Which document.
    pub document: Document,
    /// Whether it is deleted now.
    pub deleted: bool,
    /// Whether it did not exist before.
    pub created: bool,
}

/// The changes asked for are too old to be listed; list the documents and watch from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("changes after position {after} are not kept any more; the oldest kept follow {oldest}")]
pub struct Expired {
    /// What was asked for.
    pub after: u64,
    /// The oldest position that can be asked for.
    pub oldest: u64,
}

impl<S: Store> Replica<S> {
    /// A document's view, unless it does not exist or is deleted. Costs one read at most.
    pub fn get(&self, document: &Document) -> Result<Option<View>, StoreError> {
        let Some(entry) = self.entry(document).filter(|entry| !entry.deleted) else { return Ok(None) };
        let version = entry.version;
        Ok(self.load(document)?.map(|state| View {
            document: document.clone(),
            resource: Arc::new(crate::view::resource(document, &state)),
            version,
        }))
    }

    /// Everything that is known of a document, deleted or not: registers, origins, conflicts.
    pub fn state(&self, document: &Document) -> Result<Option<Arc<DocumentState>>, StoreError> {
        self.load(document)
    }

    /// The documents of a kind, in one namespace or in all, that carry every label; by namespace and
    /// name. Costs a read for each document listed.
    pub fn list(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        labels: &LabelSelector,
    ) -> Result<Vec<View>, StoreError> {
        let mut views = vec![];
        for document in self.labels.select(kind, namespace, labels) {
            views.extend(self.get(&document)?);
        }
        Ok(views)
    }

    /// The names of the documents that [`Replica::list`] would list, without reading them.
    pub fn names(&self, kind: Kind, namespace: Option<&str>, labels: &LabelSelector) -> Vec<Document> {
        self.labels.select(kind, namespace, labels)
    }

    /// Documents with conflicts, without reading those that have none.
    pub fn conflicted(&self) -> Vec<Document> {
        let scopes = self.scopes.iter();
        let entries =
            scopes.flat_map(|(scope, state)| state.documents.iter().map(move |entry| (scope, entry)));
        entries
            .filter(|(_, (_, entry))| entry.conflicts > 0)
            .filter_map(|(scope, ((kind, name), _))| super::document_in(scope, *kind, name).ok())
            .collect()
    }

    /// The events of a document in the order in which this replica took them, staged ones included;
    /// those that a checkpoint covers may be gone. Costs a scan of the scope's log.
    pub fn history(&self, document: &Document) -> Result<Vec<HistoryEntry>, StoreError> {
        let scope = document.scope();
        let (mut history, mut outcome) = (vec![], Ok(()));
        let row = |event: &Arc<Event>, position| HistoryEntry {
            effect: self.authority.effect(event.header()),
            event: Arc::clone(event),
            position,
        };
        let mut take = |entry: &Entry| match self.decode(&entry.bytes) {
            Ok(Record::Group(group)) => {
                let events = group.events().filter(|event| event.header().document == *document);
                history.extend(events.map(|event| row(event, entry.position(event.header().author_seq))));
                ControlFlow::Continue(())
            }
            Ok(Record::Gap(_)) => ControlFlow::Continue(()),
            Err(error) => {
                outcome = Err(error);
                ControlFlow::Break(())
            }
        };
        self.log.visit(&scope, 0, &mut |entry| take(&entry))?;
        let staged = self.log.staged().iter().filter(|(staged, _)| *staged == scope);
        let _ = staged.map(|(_, entry)| entry).try_for_each(&mut take);
        outcome?;
        if let Some(group) = self.open_group.as_ref().filter(|group| group.scope == scope) {
            let events = group.events.iter().zip(group.first..);
            history.extend(
                events
                    .filter(|(event, _)| event.header().document == *document)
                    .map(|(event, position)| row(event, position)),
            );
        }
        Ok(history)
    }

    /// The event at a position of a scope's log, unless it is not there (any more). Costs one read.
    pub fn event_at(&self, scope: &Scope, position: u64) -> Result<Option<HistoryEntry>, StoreError> {
        let read = self.log.read(scope, position.saturating_sub(1), 1)?;
        let Some(entry) = read.entries.first().filter(|entry| entry.first <= position) else {
            return Ok(None);
        };
        let Record::Group(group) = self.decode(&entry.bytes)? else { return Ok(None) };
        let seq = entry.first_seq + (position - entry.first);
        let event = group.events().find(|event| event.header().author_seq == seq);
        Ok(event.map(|event| HistoryEntry {
            effect: self.authority.effect(event.header()),
            event: Arc::clone(event),
            position,
        }))
    }

    /// The documents of some kinds that changed last, newest first, at most `limit`, each with the position
    /// of its last event; deleted ones too. Reads nothing, but looks at every document of these kinds.
    pub fn last_changed(&self, kinds: &[Kind], limit: usize) -> Vec<(u64, Document)> {
        let entries = self.scopes.iter().flat_map(|(scope, state)| {
            kinds.iter().flat_map(move |kind| {
                let from = (*kind, String::new());
                let of_kind = state.documents.range(from..).take_while(move |((found, _), _)| found == kind);
                of_kind.map(move |((_, name), entry)| (entry.version, scope, *kind, name))
            })
        });
        let mut newest: Vec<_> = entries.collect();
        newest.sort_unstable_by_key(|(position, ..)| std::cmp::Reverse(*position));
        newest.truncate(limit);
        let document = |(position, scope, kind, name): (u64, &Scope, Kind, &String)| {
            Some((position, super::document_in(scope, kind, name).ok()?))
        };
        newest.into_iter().filter_map(document).collect()
    }

    /// Up to `limit` changes after a position, oldest first.
    pub fn changes(&self, after: u64, limit: usize) -> Result<Vec<Change>, Expired> {
        if after < self.changes_from {
            return Err(Expired { after, oldest: self.changes_from });
        }
        let start = self.changes.partition_point(|change| change.position <= after);
        Ok(self.changes.range((Bound::Included(start), Bound::Unbounded)).take(limit).cloned().collect())
    }

    /// Reads a small record of this node's own, which is not replicated.
    pub fn local(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.log.store().get(&local_key(key))
    }

    /// The keys of this node's own records that begin with `prefix`.
    pub fn local_names(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let start = local_key(prefix);
        let end = prefix_end(&start).unwrap_or_default();
        let mut names = vec![];
        self.log.store().scan(&start, &end, Order::Ascending, &mut |key, _| {
            names.push(String::from_utf8_lossy(&key[1..]).into_owned());
            ControlFlow::Continue(())
        })?;
        Ok(names)
    }

    /// Flushes the store, for what was settled since the last commit.
    pub fn flush_store(&mut self) -> Result<(), StoreError> {
        self.log.store_mut().flush()
    }

    /// Writes a small record of this node's own; durable when it returns. `None` removes it.
    pub fn set_local(&mut self, key: &str, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        match value {
            Some(value) => batch.put(local_key(key), value),
            None => batch.delete(local_key(key)),
        }
        self.log.store_mut().apply(batch)?;
        self.log.store_mut().flush()
    }
}

fn local_key(key: &str) -> Vec<u8> {
    [b"l", key.as_bytes()].concat()
}

/// The labels of a document, for the index.
pub(super) fn labels(state: &DocumentState) -> Labels {
    const PREFIX: &str = "/metadata/labels/";
    let labels = state.registers().filter_map(|(path, values)| {
        let key = path.strip_prefix(PREFIX)?.replace("~1", "/").replace("~0", "~");
        let value: String = serde_json::from_str(&values.first()?.value).ok()?;
        Some((key, value))
    });
    labels.collect()
}
