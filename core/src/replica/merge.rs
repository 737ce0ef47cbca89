//! Merging: taking events from elsewhere into the set.
//!
//! Every event is checked in the same way whatever the way by which it came: well-formed, of this
//! fleet, signed by an enrolled key, next in its chain, its dependencies here. What is missing is
//! asked for; what is wrong is refused and named. Nothing waits in a queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Replica;
use crate::checkpoint::Checkpoint;
use crate::document::Effect;
use crate::event::{ChainId, Event, Header, LAMPORT_MAX};
use crate::group::{Gap, Group, Record};
use crate::ids::{Author, EventId};
use crate::log::Entry;
use crate::name::{Document, Scope};
use crate::pack::Unpacked;
use crate::store::{Store, StoreError};
use crate::vector::Head;
use crate::wire::DecodeError;

/// What merging did. The events are staged, and durable after [`Replica::commit`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Merged {
    /// Events that are members now and were not before.
    pub accepted: u64,
    /// Events that were held already.
    pub duplicates: u64,
    /// Of the accepted, those without effect.
    pub void: u64,
    /// What the sender has to send first.
    pub wanted: Vec<Want>,
    /// What is wrong with its author, not with the sender.
    pub refused: Vec<Refusal>,
}

/// Something that has to be here before an event can be taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// Places of a chain.
    Chain {
        /// The scope.
        scope: Scope,
        /// The chain.
        chain: ChainId,
        /// First place wanted.
        from_seq: u64,
        /// Last place wanted.
        to_seq: u64,
    },
    /// A dependency.
    Event {
        /// The scope.
        scope: Scope,
        /// Its id.
        id: EventId,
    },
    /// The enrolment of an author.
    Enrolment {
        /// The scope of the author's event.
        scope: Scope,
        /// The author.
        author: Author,
    },
}

/// An event that its author should not have written, and why. It is no member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The scope.
    pub scope: Scope,
    /// Author and boot.
    pub chain: ChainId,
    /// Place in the chain.
    pub seq: u64,
    /// The event.
    pub id: EventId,
    /// What is wrong with it.
    pub reason: RefusalReason,
}

/// What is wrong with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// Another event of the same author and boot stands at the same place: a running copy of the
    /// author, or an attack.
    Fork,
    /// It does not name the event before it.
    Unlinked,
    /// Its Lamport time is not one more than the largest of its dependencies.
    Lamport,
    /// Its incarnation does not follow from its dependencies.
    Incarnation,
}

/// The sender broke the protocol: its session ends, and nothing was taken from this call's group.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolViolation {
    /// Not the encoding of a record.
    #[error("a record is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// The signature is not the author's.
    #[error(transparent)]
    Signature(#[from] crate::group::BadSignature),
}

/// Why merging ended early.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The sender's fault. Groups before the faulty one were staged.
    #[error(transparent)]
    Violation(#[from] ProtocolViolation),
    /// Our disk's fault. What was staged in this call is not to be relied on.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<S: Store> Replica<S> {
    /// Takes encoded records of a sender into the set.
    ///
    /// Repeated events are ignored; an event that lacks something is left out and what it lacks is
    /// wanted, so any order does no harm, though only a causal order makes progress. Costs one
    /// signature check per group that holds anything new, and for an event that is concurrent with
    /// others of its document, the execution of that document's history.
    pub fn merge(&mut self, records: &[impl AsRef<[u8]>]) -> Result<Merged, MergeError> {
        let fleet = self.fleet;
        self.merge_each(records.iter().map(|bytes| {
            let bytes = bytes.as_ref();
            Ok(Unpacked { bytes: bytes.into(), record: Record::decode(fleet, bytes)? })
        }))
    }

    /// The same for records that came in a pack and are decoded.
    pub fn merge_unpacked(&mut self, records: Vec<Unpacked>) -> Result<Merged, MergeError> {
        self.merge_each(records.into_iter().map(Ok))
    }

    fn merge_each(
        &mut self,
        mut records: impl Iterator<Item = Result<Unpacked, ProtocolViolation>>,
    ) -> Result<Merged, MergeError> {
        if self.poisoned {
            return Err(StoreError::Poisoned.into());
        }
        self.close_group();
        let (mut merged, mut known) = (Merged::default(), Known::new());
        let outcome = records.try_for_each(|unpacked| -> Result<(), MergeError> {
            let Unpacked { bytes, record } = unpacked?;
            if let Record::Group(_) = &record {
                self.keep_missing(&record, &bytes);
            }
            match record {
                Record::Group(group) => self.merge_group(group, &bytes, &mut merged, &mut known),
                Record::Gap(_) if self.is_known(&record) => {
                    self.keep_missing(&record, &bytes);
                    Ok(())
                }
                Record::Gap(gap) => {
                    self.scopes.entry(gap.scope.clone()).or_default().hold_gap(gap);
                    Ok(())
                }
            }
        });
        self.rebuild_documents()?;
        outcome.map(|()| merged)
    }

    fn merge_group(
        &mut self,
        group: Group,
        bytes: &Arc<[u8]>,
        merged: &mut Merged,
        known: &mut Known,
    ) -> Result<(), MergeError> {
        let (chain, scope) = (group.chain(), group.scope().clone());
        let head = self.scopes.get(&scope).and_then(|state| state.vector.head(&chain));
        let held = head.map_or(0, |head| head.seq);
        if held >= group.last_seq() && !is_fork(&group, head) {
            merged.duplicates += group.events().count() as u64;
            return Ok(());
        }
        let written_by_hubs = matches!(scope, Scope::Profiles { .. } | Scope::Catalog { .. });
        let is_void_whoever_wrote = self.partial && written_by_hubs;
        if !is_void_whoever_wrote && !self.authority.is_enrolled(&chain.author) {
            merged.wanted.push(Want::Enrolment { scope, author: chain.author });
            return Ok(());
        }
        group.verify().map_err(ProtocolViolation::from)?;
        if is_fork(&group, head) {
            merged.refused.push(refusal(&group, held, RefusalReason::Fork));
            return Ok(());
        }
        let Some(held) = self.link_group(&group, head, merged) else { return Ok(()) };
        let Some(last) = self.check_events(&group, held, merged, known)? else { return Ok(()) };
        self.take_covered_gaps(&group, held);
        let stored = match held < group.first_seq() {
            true => Arc::clone(bytes),
            false => group.retain(|event| event.header().author_seq > held).encode().into(),
        };
        let places = group.last_seq() - group.first_seq() + 1;
        let first = self.log.assign(places);
        let entry = Entry::new(first, places, stored).expect("a record that was just decoded has a chain");
        let state = self.scopes.entry(scope.clone()).or_default();
        state.vector.advance(chain, last);
        if last.seq < group.last_seq() {
            state.hold_gap(trailing_gap(&group, last));
        }
        self.staged_scopes.insert(scope.clone());
        for event in group.events().filter(|event| event.header().author_seq > held) {
            merged.accepted += 1;
            merged.void += u64::from(self.authority.effect(event.header()) == Effect::Void);
            self.execute(event, entry.position(event.header().author_seq))?;
        }
        self.log.stage(scope, entry);
        Ok(())
    }

    /// Checks that a group continues its chain, over a gap if one was told of. Returns the place up to
    /// which the chain is held then.
    fn link_group(&mut self, group: &Group, head: Option<Head>, merged: &mut Merged) -> Option<u64> {
        let (chain, scope) = (group.chain(), group.scope());
        let held = head.map_or(0, |head| head.seq);
        if group.first_seq() <= held {
            return Some(held);
        }
        let state = self.scopes.entry(scope.clone()).or_default();
        let gap = state.pending_gaps.get(&chain).filter(|gap| {
            gap.last.seq + 1 == group.first_seq()
                && Some(gap.last.id) == group.previous()
                && follows(gap, head)
        });
        if let Some(gap) = gap.cloned() {
            state.pending_gaps.remove(&chain);
            self.take_gap(&gap);
            return Some(gap.last.seq);
        }
        if group.first_seq() > held + 1 {
            let (from_seq, to_seq) = (held + 1, group.first_seq() - 1);
            merged.wanted.push(Want::Chain { scope: scope.clone(), chain, from_seq, to_seq });
            return None;
        }
        if held > 0 && group.previous() != head.map(|head| head.id) {
            merged.refused.push(refusal(group, held, RefusalReason::Unlinked));
            return None;
        }
        Some(held)
    }

    fn take_gap(&mut self, gap: &Gap) {
        let first = self.log.assign(gap.last.seq - gap.first_seq + 1);
        let bytes = Record::Gap(gap.clone()).encode();
        let entry = Entry::new(first, gap.last.seq - gap.first_seq + 1, bytes.into());
        self.log.stage(gap.scope.clone(), entry.expect("a gap has a chain and a place"));
        self.scopes.entry(gap.scope.clone()).or_default().vector.advance(gap.chain, gap.last);
        self.staged_scopes.insert(gap.scope.clone());
    }

    /// Takes the gaps that the checkpoints of a group prove, ahead of the group, so that this log, too,
    /// tells of them before the checkpoint.
    fn take_covered_gaps(&mut self, group: &Group, held: u64) {
        let checkpoints = group.events().filter(|event| event.header().author_seq > held);
        for (chain, seq) in checkpoints
            .filter_map(|event| Checkpoint::in_event(event))
            .flat_map(|checkpoint| checkpoint.covered().to_vec())
        {
            let Some(state) = self.scopes.get_mut(group.scope()) else { return };
            let head = state.vector.head(&chain);
            let proven =
                state.pending_gaps.get(&chain).is_some_and(|gap| gap.last.seq <= seq && follows(gap, head));
            if proven && let Some(gap) = state.pending_gaps.remove(&chain) {
                self.take_gap(&gap);
            }
        }
    }

    /// Checks the events of a group beyond `held`, all of them: returns the last, or nothing if one
    /// cannot be taken yet or at all.
    fn check_events(
        &mut self,
        group: &Group,
        held: u64,
        merged: &mut Merged,
        known: &mut Known,
    ) -> Result<Option<Head>, StoreError> {
        let last = self.check_each(group, held, merged, known)?;
        known.conclude(last.is_some());
        Ok(last)
    }

    fn check_each(
        &mut self,
        group: &Group,
        held: u64,
        merged: &mut Merged,
        known: &mut Known,
    ) -> Result<Option<Head>, StoreError> {
        let mut last = None;
        for event in group.events() {
            let seq = event.header().author_seq;
            if seq <= held {
                merged.duplicates += 1;
                continue;
            }
            match self.check(event, known)? {
                Check::Ok => known.add(event, self),
                Check::Want(want) => {
                    merged.wanted.push(want);
                    return Ok(None);
                }
                Check::Refuse(reason) => {
                    merged.refused.push(refusal(group, seq - 1, reason));
                    return Ok(None);
                }
            }
            last = Some(Head { seq, id: event.id() });
        }
        Ok(last)
    }

    /// Whether an event's dependencies are here and its Lamport time and incarnation follow from them.
    fn check(&self, event: &Event, known: &mut Known) -> Result<Check, StoreError> {
        let header = event.header();
        let document = &header.document;
        let facts = known.facts(document, self)?;
        if header.dependencies == facts.heads {
            return Ok(
                match (header.lamport == facts.next_lamport, header.incarnation <= facts.incarnation + 1) {
                    (false, _) => Check::Refuse(RefusalReason::Lamport),
                    (_, false) => Check::Refuse(RefusalReason::Incarnation),
                    _ => Check::Ok,
                },
            );
        }
        // What a checkpoint covers may be gone; then its Lamport time is the author's word, within
        // bounds, and the document is the author's own.
        let checkpoint = document.is_site_written().then(|| Checkpoint::in_event(event)).flatten();
        if let Some(want) = checkpoint.as_ref().and_then(|checkpoint| self.uncovered(header, checkpoint)) {
            return Ok(Check::Want(want));
        }
        let checkpointed = facts.checkpointed || checkpoint.is_some();
        let next_lamport = if checkpoint.is_some() { LAMPORT_MAX } else { facts.next_lamport };
        if header.incarnation > facts.incarnation + 1 {
            return Ok(Check::Refuse(RefusalReason::Incarnation));
        }
        let lamports = known.lamports(document, self)?;
        let mut lamport = 0;
        let mut complete = true;
        for id in &header.dependencies {
            match lamports.get(id) {
                Some(other) => lamport = lamport.max(*other),
                None if checkpointed => complete = false,
                None => return Ok(Check::Want(Want::Event { scope: document.scope(), id: *id })),
            }
        }
        let plausible = match complete {
            true => header.lamport == lamport + 1,
            false => header.lamport > lamport && header.lamport <= next_lamport,
        };
        Ok(if plausible { Check::Ok } else { Check::Refuse(RefusalReason::Lamport) })
    }
}

impl<S: Store> Replica<S> {
    /// What a checkpoint says to cover and is not held here, not even as a gap: an honest author has
    /// seen everything that its checkpoint covers, and whoever sends it has too.
    fn uncovered(&self, header: &Header, checkpoint: &Checkpoint) -> Option<Want> {
        let scope = header.document.scope();
        let state = self.scopes.get(&scope);
        checkpoint.covered().iter().find_map(|(chain, seq)| {
            let held = state.map_or(0, |state| state.vector.seq(chain));
            let told = state.and_then(|state| state.pending_gaps.get(chain)).map_or(0, |gap| gap.last.seq);
            let own = if *chain == header.chain { header.author_seq - 1 } else { 0 };
            let known = held.max(told).max(own);
            (known < *seq).then(|| Want::Chain {
                scope: scope.clone(),
                chain: *chain,
                from_seq: known + 1,
                to_seq: *seq,
            })
        })
    }
}

enum Check {
    Ok,
    Want(Want),
    Refuse(RefusalReason),
}

/// The places at the end of a group whose events are not part of this copy.
fn trailing_gap(group: &Group, last: Head) -> Gap {
    Gap {
        chain: group.chain(),
        scope: group.scope().clone(),
        first_seq: last.seq + 1,
        previous: Some(last.id),
        last: Head { seq: group.last_seq(), id: group.items()[group.items().len() - 1].id() },
    }
}

fn follows(gap: &Gap, head: Option<Head>) -> bool {
    match head {
        None => gap.first_seq == 1,
        Some(head) if gap.first_seq == head.seq + 1 => gap.previous == Some(head.id),
        Some(head) => gap.first_seq <= head.seq && gap.last.seq > head.seq,
    }
}

/// Whether a group has another event where our chain has its head.
fn is_fork(group: &Group, head: Option<Head>) -> bool {
    let Some(head) = head else { return false };
    let place = head.seq.checked_sub(group.first_seq());
    let item = place.and_then(|place| group.items().get(usize::try_from(place).ok()?));
    item.is_some_and(|item| item.id() != head.id)
}

fn refusal(group: &Group, held: u64, reason: RefusalReason) -> Refusal {
    let seq = (held + 1).max(group.first_seq());
    let place = usize::try_from(seq - group.first_seq()).unwrap_or(0).min(group.items().len() - 1);
    let id = group.items()[place].id();
    Refusal { scope: group.scope().clone(), chain: group.chain(), seq, id, reason }
}

/// What this call knows of documents: the facts that events are checked against, kept up as events are
/// taken, and for documents with concurrency, the Lamport time of every event.
struct Known {
    facts: BTreeMap<Document, Facts>,
    lamports: BTreeMap<Document, BTreeMap<EventId, u64>>,
    /// Events found good in this call, which may not be in the log yet.
    recent: BTreeMap<Document, Vec<(EventId, u64)>>,
    /// What was noted of the group that is being checked: its events, and the facts before each.
    noted: Vec<(Document, EventId, Option<Facts>)>,
}

#[derive(Clone)]
struct Facts {
    heads: Vec<EventId>,
    next_lamport: u64,
    incarnation: u32,
    checkpointed: bool,
}

impl Known {
    fn new() -> Self {
        Self { facts: BTreeMap::new(), lamports: BTreeMap::new(), recent: BTreeMap::new(), noted: vec![] }
    }

    fn facts<S: Store>(&mut self, document: &Document, replica: &Replica<S>) -> Result<&Facts, StoreError> {
        if !self.facts.contains_key(document) {
            let state = match replica.load(document) {
                Ok(state) => state.unwrap_or_default(),
                // Nothing can be checked against it until it is mended.
                Err(StoreError::Damaged { .. }) => Arc::default(),
                Err(error) => return Err(error),
            };
            let facts = Facts {
                heads: state.heads().to_vec(),
                next_lamport: state.next_lamport(),
                incarnation: state.incarnation(),
                checkpointed: replica.is_checkpointed(document),
            };
            self.facts.insert(document.clone(), facts);
        }
        Ok(&self.facts[document])
    }

    fn lamports<S: Store>(
        &mut self,
        document: &Document,
        replica: &Replica<S>,
    ) -> Result<&BTreeMap<EventId, u64>, StoreError> {
        if !self.lamports.contains_key(document) {
            let history = replica.history(document)?;
            let rows = history.iter().map(|row| (row.event.id(), row.event.header().lamport));
            let recent = self.recent.get(document).into_iter().flatten().copied();
            self.lamports.insert(document.clone(), rows.chain(recent).collect());
        }
        Ok(&self.lamports[document])
    }

    /// Takes note of an event that was found good.
    fn add<S: Store>(&mut self, event: &Event, replica: &Replica<S>) {
        let header = event.header();
        let before = self.facts.get(&header.document).cloned();
        self.noted.push((header.document.clone(), event.id(), before));
        if let Some(facts) = self.facts.get_mut(&header.document) {
            let seen: BTreeSet<&EventId> = header.dependencies.iter().collect();
            facts.heads.retain(|head| !seen.contains(head));
            facts.heads.push(event.id());
            facts.heads.sort();
            facts.next_lamport = facts.next_lamport.max(header.lamport + 1);
            facts.incarnation = facts.incarnation.max(header.incarnation);
            facts.checkpointed |= header.extensions.contains_key(&crate::event::EXTENSION_CHECKPOINT)
                && replica.authority.effect(header) == Effect::Effective;
        }
        match self.lamports.get_mut(&header.document) {
            Some(lamports) => {
                lamports.insert(event.id(), header.lamport);
            }
            None => {
                let recent = self.recent.entry(header.document.clone()).or_default();
                recent.push((event.id(), header.lamport));
            }
        }
    }

    /// The group that is being checked was taken as a whole, or nothing of it was: then it is as if none of its
    /// events had been met, and what builds on them has to wait for them too.
    fn conclude(&mut self, taken: bool) {
        while let Some((document, id, before)) = self.noted.pop()
            && !taken
        {
            if let Some(lamports) = self.lamports.get_mut(&document) {
                lamports.remove(&id);
            }
            if let Some(recent) = self.recent.get_mut(&document) {
                recent.retain(|(event, _)| *event != id);
            }
            match before {
                Some(facts) => self.facts.insert(document, facts),
                None => self.facts.remove(&document),
            };
        }
        self.noted.clear();
    }
}

impl<S: Store> Replica<S> {
    fn is_known(&self, record: &Record) -> bool {
        let state = self.scopes.get(record.scope());
        state.is_some_and(|state| state.vector.covers(&record.chain(), record.last().seq))
    }

    fn is_checkpointed(&self, document: &Document) -> bool {
        let key = (document.kind(), document.name().to_owned());
        self.scopes.get(&document.scope()).is_some_and(|state| state.covered.contains_key(&key))
    }
}
