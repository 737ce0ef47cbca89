//! The label index: which documents carry which label.

use std::collections::{BTreeMap, BTreeSet};

use super::scope::Labels;
use crate::name::{Document, Kind};

/// Labels that a document has to carry, all of them.
pub type LabelSelector = Labels;

/// Documents by kind, and by kind and label. Deleted documents are in neither.
#[derive(Debug, Default)]
pub(super) struct LabelIndex {
    documents: BTreeMap<Kind, BTreeSet<Document>>,
    labelled: BTreeMap<(Kind, String, String), BTreeSet<Document>>,
}

impl LabelIndex {
    pub(super) fn insert(&mut self, document: &Document, labels: &Labels) {
        self.documents.entry(document.kind()).or_default().insert(document.clone());
        for (key, value) in labels {
            let label = (document.kind(), key.clone(), value.clone());
            self.labelled.entry(label).or_default().insert(document.clone());
        }
    }

    pub(super) fn remove(&mut self, document: &Document, labels: &Labels) {
        if let Some(documents) = self.documents.get_mut(&document.kind()) {
            documents.remove(document);
        }
        for (key, value) in labels {
            let label = (document.kind(), key.clone(), value.clone());
            if let Some(documents) = self.labelled.get_mut(&label) {
                documents.remove(document);
                if documents.is_empty() {
                    self.labelled.remove(&label);
                }
            }
        }
    }

    /// The documents of a kind, in a namespace or in all, that carry every label; by name. Costs the
    /// size of the rarest label's set, or of the kind without labels.
    pub(super) fn select(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        labels: &LabelSelector,
    ) -> Vec<Document> {
        let mut sets = Vec::with_capacity(labels.len());
        for (key, value) in labels {
            match self.labelled.get(&(kind, key.clone(), value.clone())) {
                Some(set) => sets.push(set),
                None => return vec![],
            }
        }
        sets.sort_by_key(|set| set.len());
        let all = sets.first().copied().or_else(|| self.documents.get(&kind));
        let rest = sets.get(1..).unwrap_or_default();
        all.into_iter()
            .flatten()
            .filter(|document| namespace.is_none_or(|namespace| document.namespace() == namespace))
            .filter(|document| rest.iter().all(|set| set.contains(document)))
            .cloned()
            .collect()
    }
}
