#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;
use crate::event::Header;
use crate::event::tests::{put, sample_header};
use crate::ids::{Author, Boot};

#[test]
fn two_partitioned_hubs_both_keep_their_work() {
    let mut story = Story::default();
    let base = story.write("eu", &[], vec![put("/spec/replicas", "1")]);
    let eu = story.write("eu", &[base], vec![put("/spec/replicas", "2"), put("/spec/eu", "true")]);
    let us = story.write("us", &[base], vec![put("/spec/replicas", "3"), put("/spec/us", "true")]);
    let state = story.rebuild();
    assert_eq!(state.heads(), sorted(&[eu, us]));
    assert_eq!(state.values("/spec/eu").len(), 1);
    assert_eq!(state.values("/spec/us").len(), 1);
    let conflicts = state.conflicts();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].kind, ConflictKind::Concurrent);
    assert_eq!(conflicts[0].winner.stamp.id, eu.max(us));
    assert_eq!(conflicts[0].losers[0].stamp.id, eu.min(us));
    assert_eq!(state.generation(), 3);

    let mut resolved = state.clone();
    let merge = story.write("us", state.heads(), vec![put("/spec/replicas", "3")]);
    resolved.apply(story.event(&merge), Effect::Effective).unwrap();
    assert_eq!(resolved.conflicts(), vec![]);
    assert_eq!(resolved, story.rebuild());
}

#[test]
fn an_event_that_has_not_seen_everything_needs_history() {
    let mut story = Story::default();
    let base = story.write("eu", &[], vec![put("/spec/a", "1")]);
    let eu = story.write("eu", &[base], vec![put("/spec/a", "2")]);
    let us = story.write("us", &[base], vec![put("/spec/a", "3")]);
    let mut state = DocumentState::new();
    assert!(state.apply(story.event(&base), Effect::Effective).unwrap().created);
    state.apply(story.event(&eu), Effect::Effective).unwrap();
    let before = state.clone();
    assert_eq!(state.apply(story.event(&us), Effect::Effective), Err(NeedsHistory));
    assert_eq!(state, before);
}

pub(crate) fn sorted(ids: &[EventId]) -> Vec<EventId> {
    let mut ids = ids.to_vec();
    ids.sort();
    ids
}

/// Writes events by hand: who, after what.
#[derive(Default)]
pub(crate) struct Story {
    pub(crate) events: BTreeMap<EventId, (Event, Effect)>,
    pub(crate) seqs: BTreeMap<ChainId, u64>,
}

impl Story {
    pub(crate) fn write(&mut self, who: &str, after: &[EventId], operations: Vec<Operation>) -> EventId {
        self.add(who, after, operations, |_| {})
    }

    pub(crate) fn add(
        &mut self,
        who: &str,
        after: &[EventId],
        operations: Vec<Operation>,
        change: impl FnOnce(&mut Header),
    ) -> EventId {
        let chain = ChainId { author: Author(*blake3::hash(who.as_bytes()).as_bytes()), boot: Boot([1; 16]) };
        let seq = self.seqs.entry(chain).or_default();
        *seq += 1;
        let lamports = after.iter().map(|id| self.events[id].0.header().lamport);
        let incarnations = after.iter().map(|id| self.events[id].0.header().incarnation);
        let mut header = Header {
            chain,
            author_seq: *seq,
            lamport: lamports.max().unwrap_or(0) + 1,
            incarnation: incarnations.max().unwrap_or(1),
            dependencies: sorted(after),
            by: who.into(),
            ..sample_header()
        };
        change(&mut header);
        let event = Event::new(header, operations);
        let id = event.id();
        self.events.insert(id, (event, Effect::Effective));
        id
    }

    pub(crate) fn event(&self, id: &EventId) -> &Event {
        &self.events[id].0
    }

    pub(crate) fn members(&self) -> impl DoubleEndedIterator<Item = (&Event, Effect)> {
        self.events.values().map(|(event, effect)| (event, *effect))
    }

    pub(crate) fn rebuild(&self) -> DocumentState {
        DocumentState::rebuild(self.members()).unwrap()
    }
}
