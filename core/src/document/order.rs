//! The events of one document in a causal order that depends on their set alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::{Chains, Effect, RebuildError, Role, Stamp};
use crate::checkpoint::Checkpoint;
use crate::event::Event;
use crate::ids::EventId;

/// One event to execute.
pub(super) struct Step<'a> {
    pub(super) event: &'a Event,
    pub(super) role: Role,
    pub(super) stamp: Stamp,
    /// Steps that the author had seen, by index; always lower than the own one. Dependencies that a
    /// checkpoint covers are left out: whoever descends from the checkpoint has seen them through it.
    pub(super) dependencies: Vec<usize>,
}

/// The events of one document that count, each after all that it depends on; ready ones by ascending
/// stamp.
pub(super) struct History<'a> {
    pub(super) steps: Vec<Step<'a>>,
    /// What the checkpoints among them replace.
    pub(super) covered: Chains,
}

impl<'a> History<'a> {
    pub(super) fn new(events: impl IntoIterator<Item = (&'a Event, Effect)>) -> Result<Self, RebuildError> {
        let mut members: BTreeMap<EventId, (&'a Event, Role)> = BTreeMap::new();
        for (event, effect) in events {
            members.entry(event.id()).or_insert_with(|| (event, Role::of(event, effect)));
        }
        let covered = choose_checkpoints(&mut members);
        members.retain(|_, (event, role)| {
            let header = event.header();
            matches!(role, Role::Checkpoint(_)) || !covered.reaches(&header.chain, header.author_seq)
        });
        if covered.entries().is_empty() {
            require_dependencies(&members)?;
        }
        Ok(Self { steps: sort(members), covered })
    }

    /// Steps that no other depends on.
    pub(super) fn heads(&self) -> Vec<EventId> {
        let depended: BTreeSet<usize> =
            self.steps.iter().flat_map(|step| step.dependencies.iter().copied()).collect();
        let heads = self.steps.iter().enumerate().filter(|(index, _)| !depended.contains(index));
        let mut heads: Vec<EventId> = heads.map(|(_, step)| step.stamp.id).collect();
        heads.sort_unstable();
        heads
    }

    /// The steps in another causal order, in which runs are in one piece. A run goes on while a step
    /// depends on the one before it and on nothing else.
    pub(super) fn by_runs(&self) -> impl Iterator<Item = usize> {
        // A run begins after all that its first step depends on, and the rest depends on nothing else.
        let mut runs: Vec<Vec<usize>> = Vec::new();
        let mut run_ending_in: BTreeMap<usize, usize> = BTreeMap::new();
        for (index, step) in self.steps.iter().enumerate() {
            let before = match step.dependencies[..] {
                [before] => run_ending_in.remove(&before),
                _ => None,
            };
            let run = before.unwrap_or_else(|| {
                runs.push(Vec::new());
                runs.len() - 1
            });
            runs[run].push(index);
            run_ending_in.insert(index, run);
        }
        runs.into_iter().flatten()
    }

    /// Whether the author of step `later` had seen step `earlier`. Costs what lies between them.
    pub(super) fn descends(&self, later: usize, earlier: usize) -> bool {
        let mut open = vec![later];
        let mut met = BTreeSet::new();
        while let Some(step) = open.pop() {
            for dependency in &self.steps[step].dependencies {
                if *dependency == earlier {
                    return true;
                }
                // Whatever has a lower index cannot descend from `earlier`.
                if *dependency > earlier && met.insert(*dependency) {
                    open.push(*dependency);
                }
            }
        }
        false
    }
}

/// Keeps the role of the checkpoints that count and returns what they cover together.
///
/// The later covers the earlier. One that claims to cover a checkpoint with a greater stamp cannot
/// have seen it: it stays an event without operations.
fn choose_checkpoints(members: &mut BTreeMap<EventId, (&Event, Role)>) -> Chains {
    let mut candidates: Vec<(Stamp, Checkpoint)> = members
        .values()
        .filter_map(|(event, role)| match role {
            Role::Checkpoint(checkpoint) => Some((Stamp::of(event), (**checkpoint).clone())),
            _ => None,
        })
        .collect();
    candidates.sort_unstable_by_key(|(stamp, _)| Reverse(*stamp));
    let mut covered = Chains::default();
    let mut taken: Vec<EventId> = Vec::new();
    for (Stamp { id, .. }, checkpoint) in candidates {
        let header = members[&id].0.header();
        let replaced = covered.reaches(&header.chain, header.author_seq);
        let false_claim = taken.iter().any(|taken| {
            let header = members[taken].0.header();
            checkpoint.covered.reaches(&header.chain, header.author_seq)
        });
        if replaced || false_claim {
            members.entry(id).and_modify(|(_, role)| *role = Role::Operations);
            continue;
        }
        checkpoint.covered().iter().for_each(|(chain, seq)| covered.raise(*chain, *seq));
        taken.push(id);
    }
    covered
}

fn require_dependencies(members: &BTreeMap<EventId, (&Event, Role)>) -> Result<(), RebuildError> {
    for (event, _) in members.values() {
        for dependency in &event.header().dependencies {
            if !members.contains_key(dependency) {
                return Err(RebuildError::MissingDependency { event: event.id(), dependency: *dependency });
            }
        }
    }
    Ok(())
}

fn sort<'a>(members: BTreeMap<EventId, (&'a Event, Role)>) -> Vec<Step<'a>> {
    let mut dependents: BTreeMap<EventId, Vec<EventId>> = BTreeMap::new();
    let mut waiting: BTreeMap<EventId, usize> = BTreeMap::new();
    let mut ready: BinaryHeap<Reverse<Stamp>> = BinaryHeap::new();
    for (id, (event, _)) in &members {
        let present: BTreeSet<&EventId> =
            event.header().dependencies.iter().filter(|id| members.contains_key(id)).collect();
        match present.len() {
            0 => ready.push(Reverse(Stamp::of(event))),
            count => drop(waiting.insert(*id, count)),
        }
        present.into_iter().for_each(|dependency| dependents.entry(*dependency).or_default().push(*id));
    }
    let total = members.len();
    let mut members = members;
    let mut indices: BTreeMap<EventId, usize> = BTreeMap::new();
    let mut steps = Vec::with_capacity(total);
    while let Some(Reverse(stamp)) = ready.pop() {
        let Some((event, role)) = members.remove(&stamp.id) else { continue };
        let mut dependencies: Vec<usize> =
            event.header().dependencies.iter().filter_map(|id| indices.get(id).copied()).collect();
        dependencies.sort_unstable();
        dependencies.dedup();
        indices.insert(stamp.id, steps.len());
        steps.push(Step { event, role, stamp, dependencies });
        for dependent in dependents.remove(&stamp.id).unwrap_or_default() {
            let left = waiting.get_mut(&dependent).expect("a dependent waits for each of its dependencies");
            *left -= 1;
            if *left == 0 {
                ready.push(Reverse(Stamp::of(members[&dependent].0)));
            }
        }
    }
    assert_eq!(steps.len(), total, "ids are hashes over the dependencies, so there is no cycle");
    steps
}
