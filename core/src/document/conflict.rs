//! Conflicts: which values lost, and to what, until a write that has seen them.

use std::ops::Bound;

use super::{DELETED_PATH, DocumentState, Stamp, Stamped};

/// Why a value is not shown although nobody who saw it has superseded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConflictKind {
    /// Different values of one register, or a value and its removal, were written without knowledge of
    /// each other.
    Concurrent,
    /// The register has a value, and paths below it have too: the deeper win.
    Shadowed,
    /// Written without knowledge of the document's deletion, which wins.
    DeletedUnder,
}

/// Values and removals that lost. At least one did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The register that the losers belong to.
    pub path: String,
    /// What they lost to: a value of the same register, of a deeper one, or the deletion.
    pub winner: Stamped,
    /// Greatest stamp first.
    pub losers: Vec<Stamped>,
    /// The removals that the value of the register has outlived, greatest stamp first; none where the
    /// register is hidden anyway.
    pub removals: Vec<Stamp>,
    /// Why.
    pub kind: ConflictKind,
}

impl DocumentState {
    /// The conflicts by ascending path, one for each register that has losers. Equal values that were
    /// written concurrently are none.
    pub fn conflicts(&self) -> Vec<Conflict> {
        let deletion = self.values(DELETED_PATH).first();
        let conflict_at = |(path, values): (&str, &[Stamped])| match deletion {
            Some(_) if path == DELETED_PATH => None,
            Some(deletion) => Some(Conflict {
                path: path.to_owned(),
                winner: deletion.clone(),
                losers: values.to_vec(),
                removals: Vec::new(),
                kind: ConflictKind::DeletedUnder,
            }),
            None => self.conflict_at(path, values),
        };
        self.registers().filter_map(conflict_at).collect()
    }

    fn conflict_at(&self, path: &str, values: &[Stamped]) -> Option<Conflict> {
        let (winner, kind) = match self.winner_below(path) {
            Some(below) => (below.clone(), ConflictKind::Shadowed),
            None => (values[0].clone(), ConflictKind::Concurrent),
        };
        let lost = |stamped: &&Stamped| match kind {
            ConflictKind::Shadowed => !is_empty_map(&stamped.value),
            _ => !same_value(&stamped.value, &winner.value),
        };
        let losers: Vec<Stamped> = values.iter().filter(lost).cloned().collect();
        let removals = match kind {
            ConflictKind::Concurrent => self.removals(path).to_vec(),
            ConflictKind::Shadowed | ConflictKind::DeletedUnder => Vec::new(),
        };
        let lost = !losers.is_empty() || !removals.is_empty();
        lost.then(|| Conflict { path: path.to_owned(), winner, losers, removals, kind })
    }

    /// Whether there are registers below `path`.
    pub(crate) fn has_below(&self, path: &str) -> bool {
        self.winner_below(path).is_some()
    }

    /// The winner with the greatest stamp among the registers below `path`.
    fn winner_below(&self, path: &str) -> Option<&Stamped> {
        let below = format!("{path}/");
        self.registers
            .range::<str, _>((Bound::Included(below.as_str()), Bound::Unbounded))
            .take_while(|(deeper, _)| deeper.starts_with(&below))
            .map(|(_, values)| &values[0])
            .max_by_key(|winner| winner.stamp)
    }
}

/// Whether JSON text is the empty map, which is compatible with deeper paths.
pub(crate) fn is_empty_map(text: &str) -> bool {
    let inner = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    inner.is_some_and(|inner| inner.trim().is_empty())
}

/// Whether two JSON texts mean the same.
pub(crate) fn same_value(a: &str, b: &str) -> bool {
    let parse = |text| serde_json::from_str::<serde_json::Value>(text).ok();
    a == b || matches!((parse(a), parse(b)), (Some(a), Some(b)) if a == b)
}
