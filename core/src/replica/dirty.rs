//! Documents whose state is newer than their record, and since when.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::{Document, Kind, Scope};

/// Since which position, and whether there is no record at all yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Since {
    pub(super) position: u64,
    pub(super) is_new: bool,
}

/// Those of one scope, by kind and name.
pub(super) type DirtyInScope = BTreeMap<(Kind, String), Since>;

/// The documents to be written.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    scopes: BTreeMap<Scope, DirtyInScope>,
    order: BTreeSet<(u64, Document)>,
}

impl Dirty {
    /// Notes that a document changed at a position; one that has been waiting goes on waiting since then.
    pub(super) fn note(&mut self, document: &Document, position: u64, is_new: bool) {
        let key = (document.kind(), document.name().to_owned());
        self.scopes.entry(document.scope()).or_default().entry(key).or_insert_with(|| {
            self.order.insert((position, document.clone()));
            Since { position, is_new }
        });
    }

    /// The document that has waited longest, if it has since `until`; it counts as written.
    pub(super) fn pop(&mut self, until: u64) -> Option<Document> {
        let (position, document) = self.order.pop_first()?;
        if position > until {
            self.order.insert((position, document));
            return None;
        }
        let scope = document.scope();
        if let Some(documents) = self.scopes.get_mut(&scope) {
            documents.remove(&(document.kind(), document.name().to_owned()));
            if documents.is_empty() {
                self.scopes.remove(&scope);
            }
        }
        Some(document)
    }

    /// Those of a scope, if there are any.
    pub(super) fn of(&self, scope: &Scope) -> Option<&DirtyInScope> {
        self.scopes.get(scope)
    }

    pub(super) fn contains(&self, document: &Document) -> bool {
        let key = (document.kind(), document.name().to_owned());
        self.scopes.get(&document.scope()).is_some_and(|documents| documents.contains_key(&key))
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}
