//! Laws of documents, over histories that simulated replicas write while they exchange events.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::tests::Story;
use super::*;
use crate::event::EXTENSION_CHECKPOINT;
use crate::event::tests::put;

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_order_gives_the_same_state(actions in history(), keys in prop::collection::vec(any::<u32>(), 60)) {
        let world = World::play(&actions);
        let expected = world.story.rebuild();
        let mut shuffled: Vec<_> = world.story.members().zip(keys.iter().cycle()).collect();
        shuffled.sort_by_key(|(_, key)| **key);
        let members = shuffled.into_iter().map(|(member, _)| member);
        prop_assert_eq!(&DocumentState::rebuild(members).unwrap(), &expected);
        // Nothing depends on the order of ids either, and an event given twice is one event.
        let twice = world.story.members().rev().chain(world.story.members());
        prop_assert_eq!(&DocumentState::rebuild(twice).unwrap(), &expected);
    }

    #[test]
    fn linear_and_general_route_agree(actions in history()) {
        let world = World::play(&actions);
        for writer in &world.writers {
            let known = world.story.members().filter(|(event, _)| writer.known.contains(&event.id()));
            prop_assert_eq!(&DocumentState::rebuild(known).unwrap(), &writer.state);
        }
    }

    #[test]
    fn what_checkpoints_cover_may_be_there_or_not(actions in history()) {
        let world = World::play(&actions);
        let whole = world.story.rebuild();
        let kept = world.story.members().filter(|(event, _)| {
            !whole.covers(&event.header().chain, event.header().author_seq)
        });
        prop_assert_eq!(&DocumentState::rebuild(kept).unwrap(), &whole);
    }

    #[test]
    fn automerge_gives_what_a_naive_model_gives(actions in history()) {
        let world = World::play(&actions);
        let state = world.story.rebuild();
        let registers: BTreeMap<String, Vec<Stamped>> =
            state.registers().map(|(path, values)| (path.to_owned(), values.to_vec())).collect();
        let naive = Naive::new(&world.story);
        prop_assert_eq!(naive.removals(&registers), state.removals.clone());
        prop_assert_eq!(registers, naive.registers());
    }

    #[test]
    fn states_survive_storage_and_keep_just_the_origins_in_use(actions in history()) {
        let state = World::play(&actions).story.rebuild();
        let stored = bincode::serialize(&state).unwrap();
        prop_assert_eq!(&bincode::deserialize::<DocumentState>(&stored).unwrap(), &state);
        let values = state.registers().flat_map(|(_, values)| values).map(|stamped| stamped.stamp);
        let values = values.chain(state.removals.values().flatten().copied());
        let used: BTreeSet<EventId> = values.chain(state.first()).chain(state.last()).map(|s| s.id).collect();
        prop_assert_eq!(state.origins.keys().copied().collect::<BTreeSet<_>>(), used);
    }

    #[test]
    fn a_write_of_the_whole_resource_gives_it_and_clears_every_conflict(
        actions in history(),
        wanted in prop::collection::btree_map(0..PATHS.len(), 0..VALUES.len(), 0..5),
    ) {
        let mut world = World::play(&actions);
        let wanted: BTreeMap<String, Arc<str>> =
            wanted.into_iter().map(|(path, value)| (PATHS[path].into(), VALUES[value].into())).collect();
        // As a resource has them: no register with a value above another.
        let nested = crate::view::resource(&world.document(), &world.with(&wanted));
        let wanted = crate::view::flatten(&nested).unwrap();
        let mut state = world.story.rebuild();
        prop_assume!(state.needs_version().is_none());
        let operations = crate::view::difference(&state, &wanted);
        let incarnation = state.incarnation() + u32::from(!state.is_live());
        let event = world.event(0, state.heads().to_vec(), operations, |header| header.incarnation = incarnation);
        state.apply(&event, Effect::Effective).unwrap();
        let shown = crate::view::flatten(&crate::view::resource(&world.document(), &state)).unwrap();
        prop_assert_eq!(shown, wanted.clone());
        prop_assert_eq!(state.conflicts(), vec![]);
        prop_assert_eq!(crate::view::difference(&state, &wanted), vec![]);
    }
}

/// What a simulated writer does next.
#[derive(Debug, Clone)]
enum Action {
    /// Writes with the heads that it knows. An operation without a value is a delete.
    Write { who: usize, operations: Vec<(usize, Option<usize>)>, void: bool },
    /// Writes as if it had seen one event of those that it knows, and what is behind it.
    Forget { who: usize, seen: prop::sample::Index, operations: Vec<(usize, Option<usize>)> },
    /// Deletes the document: every register that it sees, and marks the whole.
    DeleteDocument { who: usize },
    /// Creates it again.
    Recreate { who: usize, operations: Vec<(usize, Option<usize>)> },
    /// Writes an operation that this software does not know.
    Newer { who: usize },
    /// Replaces all that it knows by a checkpoint.
    Checkpoint { who: usize, void: bool },
    /// Starts again, as a new boot.
    Reboot { who: usize },
    /// Gives all that it knows to another.
    Sync { from: usize, to: usize },
}

const WRITERS: usize = 3;
const PATHS: [&str; 7] =
    ["/spec/a", "/spec/a/b", "/spec/a/c", "/spec/d", "/spec/a/b/x", "/metadata/labels/x", "/status/s"];
const VALUES: [&str; 5] = ["1", "2", "{}", "[1,{\"k\":null}]", "\"x\""];

fn history() -> impl Strategy<Value = Vec<Action>> {
    let who = 0..WRITERS;
    let operations =
        || prop::collection::vec((0..PATHS.len(), prop::option::weighted(0.8, 0..VALUES.len())), 0..4);
    let action = prop_oneof![
        10 => (who.clone(), operations(), prop::bool::weighted(0.15))
            .prop_map(|(who, operations, void)| Action::Write { who, operations, void }),
        2 => (who.clone(), any::<prop::sample::Index>(), operations())
            .prop_map(|(who, seen, operations)| Action::Forget { who, seen, operations }),
        1 => who.clone().prop_map(|who| Action::DeleteDocument { who }),
        1 => (who.clone(), operations()).prop_map(|(who, operations)| Action::Recreate { who, operations }),
        1 => who.clone().prop_map(|who| Action::Newer { who }),
        2 => (who.clone(), prop::bool::weighted(0.1)).prop_map(|(who, void)| Action::Checkpoint { who, void }),
        1 => who.clone().prop_map(|who| Action::Reboot { who }),
        8 => (who.clone(), who).prop_map(|(from, to)| Action::Sync { from, to }),
    ];
    prop::collection::vec(action, 1..40)
}

/// Three replicas of one document, and everything that they ever wrote.
struct World {
    story: Story,
    written: Vec<EventId>,
    writers: Vec<Writer>,
}

#[derive(Default)]
struct Writer {
    boot: u8,
    known: BTreeSet<EventId>,
    state: DocumentState,
}

impl World {
    fn play(actions: &[Action]) -> Self {
        let writers = (0..WRITERS).map(|_| Writer::default()).collect();
        let mut world = Self { story: Story::default(), written: Vec::new(), writers };
        actions.iter().for_each(|action| world.act(action));
        world
    }

    fn act(&mut self, action: &Action) {
        let effect = |void: bool| if void { Effect::Void } else { Effect::Effective };
        match action {
            Action::Write { who, operations, void } => {
                let (heads, operations) = (self.heads(*who), operations_of(operations));
                self.write(*who, heads, operations, effect(*void), |_| {});
            }
            Action::Forget { who, seen, operations } => {
                let known: Vec<EventId> = self.writers[*who].known.iter().copied().collect();
                let heads = if known.is_empty() { vec![] } else { vec![*seen.get(&known)] };
                self.write(*who, heads, operations_of(operations), Effect::Effective, |_| {});
            }
            Action::DeleteDocument { who } => {
                let paths = self.writers[*who].state.registers().map(|(path, _)| path.to_owned());
                let mut operations: Vec<Operation> =
                    paths.filter(|path| !path.is_empty()).map(|path| Operation::Delete { path }).collect();
                operations.push(put(DELETED_PATH, "true"));
                self.write(*who, self.heads(*who), operations, Effect::Effective, |_| {});
            }
            Action::Recreate { who, operations } => {
                let incarnation = self.writers[*who].state.incarnation() + 1;
                let (heads, operations) = (self.heads(*who), operations_of(operations));
                self.write(*who, heads, operations, Effect::Effective, |h| h.incarnation = incarnation);
            }
            Action::Newer { who } => {
                let unknown = Operation::Unknown { code: 9, path: "/spec/n".into(), argument: [].into() };
                self.write(*who, self.heads(*who), vec![unknown], Effect::Effective, |_| {});
            }
            Action::Checkpoint { who, void } => self.checkpoint(*who, effect(*void)),
            Action::Reboot { who } => self.writers[*who].boot += 1,
            Action::Sync { from, to } => {
                let missing = self.writers[*from].known.difference(&self.writers[*to].known);
                let missing: BTreeSet<EventId> = missing.copied().collect();
                let in_order: Vec<EventId> =
                    self.written.iter().filter(|id| missing.contains(id)).copied().collect();
                in_order.into_iter().for_each(|id| self.receive(*to, id));
            }
        }
    }

    fn heads(&self, who: usize) -> Vec<EventId> {
        self.writers[who].state.heads().to_vec()
    }

    fn checkpoint(&mut self, who: usize, effect: Effect) {
        let state = &self.writers[who].state;
        if let Ok(checkpoint) = Checkpoint::of(state) {
            let (bytes, heads) = (checkpoint.encode().unwrap(), self.heads(who));
            self.write(who, heads, vec![], effect, |header| {
                header.extensions.insert(EXTENSION_CHECKPOINT, bytes);
            });
        }
    }

    fn write(
        &mut self,
        who: usize,
        heads: Vec<EventId>,
        operations: Vec<Operation>,
        effect: Effect,
        change: impl FnOnce(&mut crate::event::Header),
    ) {
        let event = self.event(who, heads, operations, change);
        let id = event.id();
        self.story.events.insert(id, (event, effect));
        self.written.push(id);
        self.receive(who, id);
    }

    fn event(
        &mut self,
        who: usize,
        heads: Vec<EventId>,
        operations: Vec<Operation>,
        change: impl FnOnce(&mut crate::event::Header),
    ) -> Event {
        let (boot, incarnation) = (self.writers[who].boot, self.writers[who].state.incarnation().max(1));
        let id = self.story.add(&format!("writer-{who}"), &heads, operations, |header| {
            header.chain.boot.0[1] = boot;
            header.incarnation = incarnation;
            change(header);
        });
        // Whoever calls decides about membership.
        self.story.events.remove(&id).unwrap().0
    }

    /// As a replica does it: registers alone where that is possible, otherwise everything.
    fn receive(&mut self, who: usize, id: EventId) {
        let writer = &mut self.writers[who];
        writer.known.insert(id);
        let (event, effect) = &self.story.events[&id];
        if writer.state.apply(event, *effect).is_err() {
            let known = self.story.members().filter(|(event, _)| writer.known.contains(&event.id()));
            writer.state = DocumentState::rebuild(known).unwrap();
        }
    }

    fn document(&self) -> crate::name::Document {
        crate::event::tests::sample_header().document
    }

    /// A document of its own that holds `registers`.
    fn with(&self, registers: &BTreeMap<String, Arc<str>>) -> DocumentState {
        let mut story = Story::default();
        let operations = registers.iter().map(|(path, value)| put(path, value)).collect();
        story.write("other", &[], operations);
        story.rebuild()
    }
}

fn operations_of(operations: &[(usize, Option<usize>)]) -> Vec<Operation> {
    let by_path: BTreeMap<usize, Option<usize>> = operations.iter().copied().collect();
    let operation = |(path, value): (usize, Option<usize>)| match value {
        Some(value) => put(PATHS[path], VALUES[value]),
        None => Operation::Delete { path: PATHS[path].into() },
    };
    by_path.into_iter().map(operation).collect()
}

/// The definition, without regard to cost: a value stands unless an event that descends from it
/// writes the same register, and so does a removal. Knows honest checkpoints only.
struct Naive<'a> {
    /// Events that no checkpoint covers.
    events: BTreeMap<EventId, (&'a Event, Effect)>,
    ancestors: BTreeMap<EventId, BTreeSet<EventId>>,
    checkpoints: BTreeMap<EventId, Checkpoint>,
    incarnation: u32,
}

impl<'a> Naive<'a> {
    fn new(story: &'a Story) -> Self {
        let all = story.members().map(|(event, effect)| (event.id(), (event, effect)));
        let mut naive = Self {
            events: all.collect(),
            ancestors: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            incarnation: 0,
        };
        let effective = story.members().filter(|(_, effect)| *effect == Effect::Effective);
        let mut all: BTreeMap<EventId, Checkpoint> =
            effective.filter_map(|(event, _)| Some((event.id(), Checkpoint::in_event(event)?))).collect();
        let covered = |event: &Event| {
            let (chain, seq) = (event.header().chain, event.header().author_seq);
            all.values().any(|c| c.covered().iter().any(|(covered, max)| *covered == chain && seq <= *max))
        };
        naive.events.retain(|_, (event, _)| !covered(event));
        all.retain(|id, _| naive.events.contains_key(id));
        naive.checkpoints = all;
        let executed = naive.executed().map(|event| event.header().incarnation).max();
        naive.incarnation = executed.unwrap_or(0);
        naive.ancestors = naive.events.keys().map(|id| (*id, naive.ancestors_of(id))).collect();
        naive
    }

    fn executed(&self) -> impl Iterator<Item = &'a Event> {
        let events = self.events.values();
        events
            .filter(|(event, effect)| *effect == Effect::Effective && !event.needs_newer_version())
            .map(|(event, _)| *event)
    }

    fn ancestors_of(&self, id: &EventId) -> BTreeSet<EventId> {
        let mut met = BTreeSet::new();
        let mut open = vec![*id];
        while let Some(id) = open.pop() {
            for dependency in &self.events[&id].0.header().dependencies {
                if self.events.contains_key(dependency) && met.insert(*dependency) {
                    open.push(*dependency);
                }
            }
        }
        met
    }

    fn shown(&self) -> impl Iterator<Item = &'a Event> {
        let incarnation = self.incarnation;
        self.executed().filter(move |event| event.header().incarnation == incarnation)
    }

    /// Whether an event that descends from any of `sources` writes `path`.
    fn is_superseded(&self, path: &str, sources: &[EventId]) -> bool {
        self.shown().any(|event| {
            let writes = event.operations().iter().any(|operation| operation.path() == path);
            writes && sources.iter().any(|source| self.ancestors[&event.id()].contains(source))
        })
    }

    fn registers(&self) -> BTreeMap<String, Vec<Stamped>> {
        let mut found: BTreeSet<(String, Stamp, Arc<str>)> = BTreeSet::new();
        for event in self.shown() {
            for operation in event.operations() {
                if let Operation::Put { path, value } = operation
                    && !self.is_superseded(path, &[event.id()])
                {
                    found.insert((path.clone(), Stamp::of(event), value.clone()));
                }
            }
        }
        found.extend(self.kept());
        let mut registers: BTreeMap<String, Vec<Stamped>> = BTreeMap::new();
        for (path, stamp, value) in found.into_iter().rev() {
            registers.entry(path).or_default().push(Stamped { value, stamp });
        }
        registers
    }

    /// The removals that nobody who saw them wrote over, of registers that have values.
    fn removals(&self, registers: &BTreeMap<String, Vec<Stamped>>) -> BTreeMap<Arc<str>, Vec<Stamp>> {
        let mut removals: BTreeMap<Arc<str>, Vec<Stamp>> = BTreeMap::new();
        for event in self.shown() {
            for operation in event.operations() {
                if let Operation::Delete { path } = operation
                    && registers.contains_key(path)
                    && !self.is_superseded(path, &[event.id()])
                {
                    removals.entry(path.as_str().into()).or_default().push(Stamp::of(event));
                }
            }
        }
        removals.values_mut().for_each(|stamps| stamps.sort_unstable_by(|a, b| b.cmp(a)));
        removals
    }

    /// The values that checkpoints kept and nobody superseded.
    fn kept(&self) -> Vec<(String, Stamp, Arc<str>)> {
        let shown = |c: &&Checkpoint| c.incarnation == self.incarnation;
        let mut kept = Vec::new();
        for checkpoint in self.checkpoints.values().filter(shown) {
            for (path, stamped) in
                checkpoint.registers.iter().flat_map(|(path, all)| all.iter().map(move |one| (path, one)))
            {
                let has = |c: &Checkpoint| c.registers.get(path).is_some_and(|all| all.contains(stamped));
                let origin = &checkpoint.origins[&stamped.stamp.id];
                let dropped = self
                    .checkpoints
                    .values()
                    .filter(shown)
                    .any(|c| c.covered.reaches(&origin.chain, origin.author_seq) && !has(c));
                let carriers: Vec<EventId> =
                    self.checkpoints.iter().filter(|(_, c)| shown(c) && has(c)).map(|(id, _)| *id).collect();
                if !dropped && !self.is_superseded(path, &carriers) {
                    kept.push((path.to_string(), stamped.stamp, stamped.value.clone()));
                }
            }
        }
        kept
    }
}
