//! The general route to a state: every event, each at its own dependencies, on automerge.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::AutomergeError;

use super::engine::{ACTOR_BYTES, Engine, Standing, Write};
use super::join;
use super::order::{History, Step};
use super::{DocumentState, Effect, Origin, Referred, Role, Stamp, Stamped, writes_spec};
use crate::checkpoint::Checkpoint;
use crate::event::{ChainId, Event, Operation};
use crate::ids::EventId;

/// Why a state cannot be rebuilt. No state was changed.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The set is not closed: a dependency is neither in it nor below a checkpoint.
    #[error("event {event} depends on {dependency}, which is missing")]
    MissingDependency {
        /// The event.
        event: EventId,
        /// What it depends on.
        dependency: EventId,
    },
    /// The merge engine refused a change that was built for it.
    #[error("the merge engine refused a change")]
    Engine(#[from] AutomergeError),
    /// The merge engine panicked; it was thrown away.
    #[error("the merge engine panicked")]
    Panicked,
}

pub(super) fn rebuild<'a>(
    events: impl IntoIterator<Item = (&'a Event, Effect)>,
) -> Result<DocumentState, RebuildError> {
    let history = History::new(events)?;
    let projection = Projection::new(&history);
    let mut standing =
        catch_unwind(AssertUnwindSafe(|| projection.standing())).map_err(|_| RebuildError::Panicked)??;
    if let Some(step) = history.steps.first() {
        join::settle(step.event.header().document.kind(), &mut standing);
    }
    Ok(projection.state(standing))
}

/// What is shown of a history: its highest incarnation.
struct Projection<'h, 'a> {
    history: &'h History<'a>,
    incarnation: u32,
}

impl<'h, 'a> Projection<'h, 'a> {
    fn new(history: &'h History<'a>) -> Self {
        let executed = history.steps.iter().filter(|step| step.role.is_executed());
        let incarnation = executed.map(|step| step.event.header().incarnation).max().unwrap_or(0);
        Self { history, incarnation }
    }

    /// The executed steps of the incarnation. All others are causes only.
    fn shown(&self) -> impl Iterator<Item = &'h Step<'a>> + Clone {
        let (steps, incarnation) = (&self.history.steps, self.incarnation);
        steps.iter().filter(move |step| is_shown(step, incarnation))
    }

    /// The checkpoints of the incarnation.
    fn checkpoints(&self) -> impl Iterator<Item = &'h Checkpoint> {
        self.shown().filter_map(|step| match &step.role {
            Role::Checkpoint(checkpoint) => Some(checkpoint.as_ref()),
            _ => None,
        })
    }

    fn standing(&self) -> Result<Standing, AutomergeError> {
        let mut engine = Engine::new();
        let mut actors = Actors::default();
        let kept = self.checkpoints().flat_map(|checkpoint| self.kept(checkpoint));
        let seeds = Seeds::sow(&mut engine, kept)?;
        let mut changes: BTreeMap<usize, usize> = BTreeMap::new();
        for index in self.history.by_runs() {
            let step = &self.history.steps[index];
            let mut dependencies: Vec<usize> = step.dependencies.iter().map(|step| changes[step]).collect();
            let mut writes = Vec::new();
            match &step.role {
                _ if !is_shown(step, self.incarnation) => {}
                Role::Checkpoint(checkpoint) => {
                    dependencies.extend(seeds.of(checkpoint));
                }
                role => writes = writes_of(role.operations(step.event), step.stamp),
            }
            let actor = actors.of_step(self.history, index);
            changes.insert(index, engine.add(actor, &dependencies, &writes)?);
        }
        engine.standing()
    }

    /// The values of a checkpoint that no other checkpoint has seen superseded: another that covers
    /// the value's event and does not have the value has seen that.
    fn kept<'c>(&'c self, checkpoint: &'c Checkpoint) -> impl Iterator<Item = (&'c str, &'c Stamped)> {
        let values = checkpoint
            .registers
            .iter()
            .flat_map(|(path, values)| values.iter().map(move |stamped| (path.as_ref(), stamped)));
        values.filter(move |(path, stamped)| {
            let origin = &checkpoint.origins[&stamped.stamp.id];
            self.checkpoints().all(|other| {
                !other.covered.reaches(&origin.chain, origin.author_seq)
                    || other.registers.get(*path).is_some_and(|values| values.contains(stamped))
            })
        })
    }

    fn state(&self, standing: Standing) -> DocumentState {
        let history = self.history;
        let executed = self.shown().map(|step| step.stamp);
        let first = executed.clone().chain(self.checkpoints().map(|checkpoint| checkpoint.first)).min();
        let later_changes = self.shown().filter(|step| Some(step.stamp) != first && writes_spec(step.event));
        let before = self.checkpoints().map(|checkpoint| checkpoint.spec_changes).max().unwrap_or(0);
        let mut state = DocumentState {
            heads: history.heads(),
            lamport: history.steps.iter().map(|step| step.stamp.lamport).max().unwrap_or(0),
            seen: history.covered.clone(),
            covered: history.covered.clone(),
            needs_version: None,
            incarnation: self.incarnation,
            first,
            last: executed.max(),
            spec_changes: before.saturating_add(later_changes.count() as u64),
            registers: standing.values,
            removals: standing.removals,
            origins: BTreeMap::new(),
        };
        for Step { event, role, .. } in &history.steps {
            state.seen.raise(event.header().chain, event.header().author_seq);
            if let Role::Unknown { version } = role {
                state.needs_version = state.needs_version.max(Some(*version));
            }
        }
        state.origins = self.origins(&state);
        state
    }

    fn origins(&self, state: &DocumentState) -> BTreeMap<EventId, Referred> {
        let ends = state.first.into_iter().chain(state.last);
        let mut values: BTreeMap<EventId, u32> = ends.map(|stamp| (stamp.id, 0)).collect();
        let set = state.registers.values().flatten().map(|stamped| stamped.stamp);
        for stamp in set.chain(state.removals.values().flatten().copied()) {
            *values.entry(stamp.id).or_default() += 1;
        }
        let mut origins = BTreeMap::new();
        let mut keep = |id: &EventId, origin: &dyn Fn() -> Origin| {
            if let Some(values) = values.get(id) {
                origins.insert(*id, Referred { origin: origin(), values: *values });
            }
        };
        for checkpoint in self.checkpoints() {
            checkpoint.origins.iter().for_each(|(id, origin)| keep(id, &|| origin.clone()));
        }
        self.shown().for_each(|step| keep(&step.stamp.id, &|| Origin::of(step.event)));
        origins
    }
}

fn is_shown(step: &Step<'_>, incarnation: u32) -> bool {
    step.role.is_executed() && step.event.header().incarnation == incarnation
}

fn writes_of(operations: &[Operation], stamp: Stamp) -> Vec<Write<'_>> {
    let mut writes = Vec::with_capacity(operations.len());
    for operation in operations {
        match operation {
            Operation::Put { path, value } => writes.push(Write::Put { path, value, stamp }),
            Operation::Delete { path } => writes.push(Write::Delete { path, stamp }),
            Operation::Unknown { .. } => {}
        }
    }
    writes
}

/// The values that checkpoints bring: one change for each event that once set them, so that a value
/// that two checkpoints carry is one value.
struct Seeds {
    changes: BTreeMap<EventId, usize>,
}

impl Seeds {
    fn sow<'c>(
        engine: &mut Engine,
        values: impl Iterator<Item = (&'c str, &'c Stamped)>,
    ) -> Result<Self, AutomergeError> {
        let mut by_event: BTreeMap<EventId, BTreeMap<&str, &Stamped>> = BTreeMap::new();
        for (path, stamped) in values {
            by_event.entry(stamped.stamp.id).or_default().insert(path, stamped);
        }
        let mut changes = BTreeMap::new();
        for (id, values) in by_event {
            let put = |(path, stamped): (&'c str, &'c Stamped)| Write::Put {
                path,
                value: &stamped.value,
                stamp: stamped.stamp,
            };
            let writes: Vec<Write<'_>> = values.into_iter().map(put).collect();
            let mut hasher = blake3::Hasher::new_derive_key("driftless merge actor of a kept value v1");
            hasher.update(&id.0);
            changes.insert(id, engine.add(truncated(&hasher), &[], &writes)?);
        }
        Ok(Self { changes })
    }

    /// The changes that the change of `checkpoint` has to follow.
    fn of(&self, checkpoint: &Checkpoint) -> impl Iterator<Item = usize> {
        checkpoint.origins.keys().filter_map(|id| self.changes.get(id).copied())
    }
}

/// Actors: one for each author and boot. Automerge takes for granted that the changes of an actor
/// descend from each other; where a chain does not keep to that, it goes on under another actor.
#[derive(Default)]
struct Actors {
    branches: BTreeMap<ChainId, Branch>,
}

struct Branch {
    number: u64,
    last: usize,
}

impl Actors {
    fn of_step(&mut self, history: &History<'_>, step: usize) -> [u8; ACTOR_BYTES] {
        let chain = history.steps[step].event.header().chain;
        let number = match self.branches.get(&chain) {
            None => 0,
            Some(branch) if history.descends(step, branch.last) => branch.number,
            Some(branch) => branch.number + 1,
        };
        self.branches.insert(chain, Branch { number, last: step });
        let mut hasher = blake3::Hasher::new_derive_key("driftless merge actor v1");
        hasher.update(&chain.author.0).update(&chain.boot.0).update(&number.to_be_bytes());
        truncated(&hasher)
    }
}

fn truncated(hasher: &blake3::Hasher) -> [u8; ACTOR_BYTES] {
    let mut actor = [0; ACTOR_BYTES];
    actor.copy_from_slice(&hasher.finalize().as_bytes()[..ACTOR_BYTES]);
    actor
}
