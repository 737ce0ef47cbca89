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

#[test]
fn a_deletion_wins_over_what_was_written_meanwhile_and_lists_it() {
    let mut story = Story::default();
    let base = story.write("eu", &[], vec![put("/spec/a", "1"), put("/spec/b", "1")]);
    let delete = |path: &str| Operation::Delete { path: path.into() };
    let gone = story.write("eu", &[base], vec![put("", "true"), delete("/spec/a"), delete("/spec/b")]);
    let kept = story.write("us", &[base], vec![put("/spec/a", "2")]);
    let state = story.rebuild();
    assert!(state.is_deleted() && !state.is_live());
    let conflicts = state.conflicts();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].kind, ConflictKind::DeletedUnder);
    assert_eq!(conflicts[0].path, "/spec/a");
    assert_eq!((conflicts[0].winner.stamp.id, conflicts[0].losers[0].stamp.id), (gone, kept));

    let heads = state.heads().to_vec();
    let again = story.add("us", &heads, vec![put("/spec/c", "3")], |header| header.incarnation = 2);
    let mut state = state;
    let applied = state.apply(story.event(&again), Effect::Effective).unwrap();
    assert!(applied.created);
    assert_eq!(state, story.rebuild());
    assert_eq!(state.registers().map(|(path, _)| path).collect::<Vec<_>>(), ["/spec/c"]);
    assert_eq!((state.incarnation(), state.generation()), (2, 1));
}

#[test]
fn concurrent_creations_are_one_document() {
    let mut story = Story::default();
    story.write("eu", &[], vec![put("/spec/eu", "1")]);
    story.write("us", &[], vec![put("/spec/us", "1")]);
    let state = story.rebuild();
    assert_eq!(state.registers().count(), 2);
    assert_eq!(state.first(), story.members().map(|(event, _)| Stamp::of(event)).min());
}

#[test]
fn void_events_are_causes_and_change_nothing() {
    let mut story = Story::default();
    let base = story.write("eu", &[], vec![put("/spec/a", "1")]);
    let void = story.write("eve", &[base], vec![put("/spec/a", "6"), put("", "true")]);
    story.events.entry(void).and_modify(|(_, effect)| *effect = Effect::Void);
    let after = story.write("us", &[void], vec![put("/spec/b", "2")]);
    let state = story.rebuild();
    assert_eq!(state.heads(), [after]);
    assert!(state.is_live());
    assert_eq!(state.values("/spec/a")[0].stamp.id, base);
    assert_eq!(state.origin(&void), None);
}

#[test]
fn newer_events_are_held_and_not_executed() {
    let mut story = Story::default();
    let base = story.write("eu", &[], vec![put("/spec/a", "1")]);
    let newer = story.add("eu", &[base], vec![put("/spec/a", "2")], |header| header.schema = 3);
    let state = story.rebuild();
    assert_eq!(state.needs_version(), Some(3));
    assert_eq!(state.heads(), [newer]);
    assert_eq!(state.values("/spec/a")[0].stamp.id, base);
}

#[test]
fn deeper_paths_shadow_a_value_but_not_an_empty_map() {
    let mut story = Story::default();
    let base = story.write("eu", &[], vec![put("/spec/a", "{}"), put("/spec/b", "5")]);
    let deeper = story.write("us", &[base], vec![put("/spec/a/x", "1"), put("/spec/b/x", "1")]);
    let conflicts = story.rebuild().conflicts();
    assert_eq!(conflicts.len(), 1);
    assert_eq!((conflicts[0].kind, conflicts[0].path.as_str()), (ConflictKind::Shadowed, "/spec/b"));
    assert_eq!((conflicts[0].winner.stamp.id, conflicts[0].losers[0].stamp.id), (deeper, base));
}

#[test]
fn equal_values_written_apart_are_no_conflict() {
    let mut story = Story::default();
    story.write("eu", &[], vec![put("/spec/a", "[1, 2]")]);
    story.write("us", &[], vec![put("/spec/a", "[1,2]")]);
    let state = story.rebuild();
    assert_eq!(state.values("/spec/a").len(), 2);
    assert_eq!(state.conflicts(), vec![]);
}

#[test]
fn a_release_that_one_side_yanked_is_yanked_whoever_was_later() {
    let release = |header: &mut Header| {
        header.document = crate::name::Document::new(crate::name::Kind::Release, "acme", "pos.1").unwrap();
    };
    for (eu, us) in [("true", "false"), ("false", "true")] {
        let mut story = Story::default();
        let base =
            story.add("eu", &[], vec![put("/spec/yanked", "false"), put("/spec/version", "1")], release);
        story.add("eu", &[base], vec![put("/spec/yanked", eu), put("/spec/version", "2")], release);
        let us = story.add("us", &[base], vec![put("/spec/yanked", us), put("/spec/version", "3")], release);
        let state = story.rebuild();
        assert_eq!(&*state.values("/spec/yanked")[0].value, "true");
        let conflicts = state.conflicts();
        assert_eq!(conflicts.len(), 1, "the field without a join");
        assert_eq!(conflicts[0].path, "/spec/version");
        // Whoever has seen it may still take it back.
        let heads = state.heads().to_vec();
        story.add("us", &heads, vec![put("/spec/yanked", "false")], release);
        assert_eq!(&*story.rebuild().values("/spec/yanked")[0].value, "false", "after {us}");
    }
}

#[test]
fn a_set_with_a_hole_is_refused() {
    let mut story = Story::default();
    let base = story.write("eu", &[], vec![]);
    let next = story.write("eu", &[base], vec![]);
    let error = DocumentState::rebuild([(story.event(&next), Effect::Effective)]).unwrap_err();
    assert!(
        matches!(error, RebuildError::MissingDependency { event, dependency } if (event, dependency) == (next, base))
    );
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
