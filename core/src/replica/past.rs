//! Reading at a past time: the events of a scope page by page, and a document as it was.
//!
//! A document as of a time is what its events come to that are not later: the same at every replica that
//! holds them, whenever they arrived. An event counts from the greatest time among its own and those that
//! it depends on, so that a clock that was behind does not tear a cause from its effect. What is void now
//! counts as void then. Checkpoints end the past: what they cover is not to be had any more.
//!
//! Nothing here changes the replica, and a page is all that is read at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::{HistoryEntry, Replica, View, document_in};
use crate::checkpoint::Checkpoint;
use crate::document::{DocumentState, Effect, RebuildError};
use crate::group::Record;
use crate::ids::EventId;
use crate::name::{Document, Kind, Scope};
use crate::store::{Store, StoreError};

/// A stretch of one scope's events.
#[derive(Debug, Clone, Default)]
pub struct EventsRead {
    /// The events in the order in which this replica took them, which is a causal order.
    pub entries: Vec<HistoryEntry>,
    /// Where to go on: pass it as `after`.
    pub next: u64,
    /// Whether the log of the scope ended.
    pub end: bool,
}

/// A document as it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// What was known of it.
    pub state: DocumentState,
    /// Position of the last of the events that made it so, in this replica's log.
    pub version: u64,
}

/// Why a document cannot be shown as it was. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// A checkpoint took the place of what was before.
    #[error("its history is kept from {since_ms} ms on; a checkpoint stands for what was before")]
    Forgotten {
        /// The time of the oldest state that can still be shown, in milliseconds since 1970.
        since_ms: u64,
    },
    /// The events do not make a document.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
}

impl<S: Store> Replica<S> {
    /// Reads the events of a scope after a position, about `bytes_max` bytes of its durable log but at least
    /// one record. Costs what it reads.
    pub fn events(&self, scope: &Scope, after: u64, bytes_max: usize) -> Result<EventsRead, StoreError> {
        let read = self.log.read(scope, after, bytes_max)?;
        let mut entries = Vec::new();
        for entry in &read.entries {
            let Record::Group(group) = self.decode(&entry.bytes)? else { continue };
            entries.extend(group.events().map(|event| HistoryEntry {
                effect: self.authority.effect(event.header()),
                event: event.clone(),
                position: entry.position(event.header().author_seq),
            }));
        }
        Ok(EventsRead { entries, next: read.next, end: read.end })
    }

    /// The documents of a kind, in one namespace or in all, of which anything is known, deleted ones too.
    /// Reads nothing, but looks at every scope.
    pub fn names_ever(&self, kind: Kind, namespace: Option<&str>) -> Vec<Document> {
        let of_kind = self.scopes.iter().flat_map(|(scope, state)| {
            let from = (kind, String::new());
            let names = state.documents.range(from..).take_while(move |((found, _), _)| *found == kind);
            names.filter_map(move |((_, name), _)| document_in(scope, kind, name).ok())
        });
        of_kind.filter(|document| namespace.is_none_or(|wanted| wanted == document.namespace())).collect()
    }
}

impl Past {
    /// The resource, unless it did not exist.
    pub fn view(&self, document: &Document) -> Option<View> {
        self.state.is_live().then(|| View {
            document: document.clone(),
            resource: crate::view::resource(document, &self.state).into(),
            version: self.version,
        })
    }
}

/// A document as of a time, in milliseconds since 1970: what those of its events come to that are not later.
/// `history` holds all of them that are held, in log order. `None` if there was nothing yet.
pub fn as_of(history: &[HistoryEntry], time_ms: u64) -> Result<Option<Past>, PastError> {
    let times = times(history);
    let included = |entry: &HistoryEntry| times[&entry.event.id()] <= time_ms;
    check_kept(history, &times, &included, time_ms)?;
    executed(history.iter().filter(|entry| included(entry)))
}

/// A document as the author of one of its events had it before that event: what it depends on, directly or
/// not. `None` if there was nothing yet.
pub fn before(history: &[HistoryEntry], event: &EventId) -> Result<Option<Past>, PastError> {
    let times = times(history);
    let by_id: BTreeMap<EventId, &HistoryEntry> =
        history.iter().map(|entry| (entry.event.id(), entry)).collect();
    let dependencies =
        |id: &EventId| by_id.get(id).map_or(&[][..], |entry| entry.event.header().dependencies.as_slice());
    let (mut open, mut seen) = (dependencies(event).to_vec(), BTreeSet::new());
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            open.extend_from_slice(dependencies(&id));
        }
    }
    let time_ms = by_id.get(event).map_or(0, |entry| entry.event.header().time_ms);
    let included = |entry: &HistoryEntry| seen.contains(&entry.event.id());
    check_kept(history, &times, &included, time_ms)?;
    executed(history.iter().filter(|entry| included(entry)))
}

/// From when on an event of a history counts, in milliseconds since 1970: as of this time it is shown. `None` if
/// it is not in it.
pub fn counts_from(history: &[HistoryEntry], event: &EventId) -> Option<u64> {
    times(history).get(event).copied()
}

/// From when on each event counts.
fn times(history: &[HistoryEntry]) -> BTreeMap<EventId, u64> {
    let mut times = BTreeMap::new();
    for entry in history {
        let header = entry.event.header();
        let seen = header.dependencies.iter().filter_map(|id| times.get(id)).copied();
        let time_ms = seen.fold(header.time_ms, u64::max);
        times.insert(entry.event.id(), time_ms);
    }
    times
}

/// Makes sure that no checkpoint took away what the wanted state is made of.
fn check_kept(
    history: &[HistoryEntry],
    times: &BTreeMap<EventId, u64>,
    included: &dyn Fn(&HistoryEntry) -> bool,
    time_ms: u64,
) -> Result<(), PastError> {
    let later = history.iter().filter(|entry| entry.effect == Effect::Effective && !included(entry));
    let mut since_ms: Option<u64> = None;
    for (entry, checkpoint) in later.filter_map(|entry| Some((entry, Checkpoint::in_event(&entry.event)?))) {
        let created = checkpoint.origins.get(&checkpoint.first.id).map_or(0, |origin| origin.time_ms);
        // The first incarnation began later, so nothing is missing of what was then.
        if checkpoint.incarnation == 1 && created > time_ms {
            continue;
        }
        let time_ms = times[&entry.event.id()];
        since_ms = Some(since_ms.map_or(time_ms, |since_ms| since_ms.min(time_ms)));
    }
    match since_ms {
        Some(since_ms) => Err(PastError::Forgotten { since_ms }),
        None => Ok(()),
    }
}

fn executed<'h>(events: impl Iterator<Item = &'h HistoryEntry> + Clone) -> Result<Option<Past>, PastError> {
    let Some(version) = events.clone().map(|entry| entry.position).max() else { return Ok(None) };
    let state = DocumentState::rebuild(events.map(|entry| (&*entry.event, entry.effect)))?;
    Ok(Some(Past { state, version }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::super::tests::{document, fleet};
    use super::super::{ChangeRequest, Write};
    use super::*;
    use crate::testing::carry;

    fn profile(replicas: u64) -> Value {
        json!({"apiVersion": "driftless.dev/v1", "kind": "Profile", "metadata": {"name": "store-base"},
               "spec": {"priority": 100, "selector": {"matchAll": true}, "values": {"replicas": replicas}}})
    }

    fn put<S: Store>(node: &mut Replica<S>, replicas: u64, time_ms: u64) -> EventId {
        let change = ChangeRequest::Put(profile(replicas));
        let write = Write::new(document(Kind::Profile, "store-base"), change, "mia", time_ms);
        let event = node.write(write).unwrap().event.unwrap();
        node.commit().unwrap();
        event
    }

    fn history<S: Store>(node: &Replica<S>) -> Vec<HistoryEntry> {
        node.history(&document(Kind::Profile, "store-base")).unwrap()
    }

    /// What was shown of the number of replicas.
    fn replicas(past: Result<Option<Past>, PastError>) -> Option<Value> {
        let view = past.unwrap()?.view(&document(Kind::Profile, "store-base"))?;
        view.resource.pointer("/spec/values/replicas").cloned()
    }

    #[test]
    fn a_document_is_shown_as_of_a_time_the_same_wherever_its_events_are() {
        let (mut a, mut b, _) = fleet();
        put(&mut a, 2, 1_000);
        carry(&a, &mut b);
        // Both hubs change it without each other; the one whose clock is behind hears of the other last.
        put(&mut a, 3, 5_000);
        put(&mut b, 4, 3_000);
        carry(&a, &mut b);
        carry(&b, &mut a);
        put(&mut a, 5, 9_000);
        carry(&a, &mut b);
        for node in [&a, &b] {
            let at = |time_ms| replicas(as_of(&history(node), time_ms));
            assert_eq!(at(999), None);
            assert_eq!(at(1_000), Some(json!(2)));
            assert_eq!(at(2_999), Some(json!(2)));
            assert_eq!(at(3_000), Some(json!(4)));
            assert_eq!(at(8_999), Some(node_winner(&a)));
            assert_eq!(at(9_000), Some(json!(5)));
        }
    }

    /// Which of the concurrent values won while there were two.
    fn node_winner<S: Store>(node: &Replica<S>) -> Value {
        let history = history(node);
        let last = history.last().unwrap().event.id();
        replicas(before(&history, &last)).unwrap()
    }

    #[test]
    fn an_effect_is_never_shown_without_its_cause() {
        let (mut a, mut b, _) = fleet();
        put(&mut a, 2, 7_000);
        carry(&a, &mut b);
        // This hub's clock is behind: its event counts from the time of what it has seen.
        let late = put(&mut b, 3, 1_000);
        assert_eq!(counts_from(&history(&b), &late), Some(7_000));
        assert_eq!(replicas(as_of(&history(&b), 6_999)), None);
        assert_eq!(replicas(as_of(&history(&b), 7_000)), Some(json!(3)));
    }

    #[test]
    fn the_state_before_an_event_is_what_its_author_had() {
        let (mut a, mut b, _) = fleet();
        let first = put(&mut a, 2, 1_000);
        carry(&a, &mut b);
        put(&mut a, 3, 2_000);
        let apart = put(&mut b, 4, 3_000);
        carry(&a, &mut b);
        assert_eq!(replicas(before(&history(&b), &first)), None);
        assert_eq!(replicas(before(&history(&b), &apart)), Some(json!(2)));
    }

    #[test]
    fn a_checkpoint_ends_the_past_and_says_where() {
        let (_, _, mut edge) = fleet();
        let machine = document(Kind::Machine, "store-17.till-1");
        let mut write = |cpu: &str, time_ms| {
            let resource = json!({"apiVersion": "driftless.dev/v1", "kind": "Machine",
                "metadata": {"name": "store-17.till-1"}, "spec": {"capacity": {"cpu": cpu}}});
            edge.write(Write::new(machine.clone(), ChangeRequest::Put(resource), "node", time_ms)).unwrap();
            edge.commit().unwrap();
        };
        write("1", 1_000);
        write("2", 2_000);
        edge.checkpoint(&machine, 3_000).unwrap().unwrap();
        edge.commit().unwrap();
        let history = edge.history(&machine).unwrap();
        let cpu = |time_ms| {
            let view = as_of(&history, time_ms).unwrap()?.view(&machine)?;
            view.resource.pointer("/spec/capacity/cpu").cloned()
        };
        assert_eq!(cpu(3_000), Some(json!("2")));
        assert_eq!(cpu(999), None, "it did not exist");
        let error = as_of(&history, 2_500).unwrap_err();
        assert!(matches!(error, PastError::Forgotten { since_ms: 3_000 }), "{error}");
    }

    #[test]
    fn events_are_read_page_by_page_and_deleted_documents_are_named() {
        let (mut a, ..) = fleet();
        for replicas in 0..20 {
            put(&mut a, replicas, 1_000 + replicas);
        }
        let base = document(Kind::Profile, "store-base");
        a.write(Write::new(base.clone(), ChangeRequest::Delete, "mia", 2_000)).unwrap();
        a.commit().unwrap();
        let (mut after, mut pages, mut positions) = (0, 0, vec![]);
        loop {
            let read = a.events(&base.scope(), after, 512).unwrap();
            positions.extend(read.entries.iter().map(|entry| entry.position));
            (after, pages) = (read.next, pages + 1);
            if read.end {
                break;
            }
        }
        assert!(pages > 2, "{pages}");
        assert_eq!(positions, history(&a).iter().map(|entry| entry.position).collect::<Vec<_>>());
        assert_eq!(a.names_ever(Kind::Profile, Some("acme")), [base]);
        assert_eq!(a.names_ever(Kind::Profile, Some("other")), []);
    }
}
