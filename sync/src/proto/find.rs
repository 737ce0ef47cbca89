//! Finding the scopes that differ between two replicas of everything, among tens of thousands.
//!
//! The dialler describes what it holds by the first few cells of its sketch. The acceptor, who has a
//! sketch of its own, tells from them what differs or asks for more; how many follows from how many seem
//! to differ. Then it says which scopes it found, and sends its vectors of those that both hold. What
//! only one side holds needs no vector at all.
//!
//! Both go on working meanwhile. The dialler describes what it held at one moment and the acceptor
//! compares that with what it holds at another; whatever either commits after its own moment is pushed
//! in any case. So what was not found is equal from there on, and known to be.
//!
//! When a whole sketch is too little, and when roots differ though nothing seems to (two digests whose
//! hashes begin alike), the acceptor lists its scopes, page by page, and the dialler finds what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use driftless_core::name::Scope;
use driftless_core::replica::Replica;
use driftless_core::store::Store;
use driftless_core::vector::Vector;

use super::engine::{Engine, Fault, Output};
use super::frame::{Cells, Frame, ScopeTag, ShortDigest};
use super::greeting::short_digest;
use super::interest::{Class, Interest};
use super::reason::Violation;
use super::riblt::{Cell, Difference, Item, Sketch, difference_knowing, estimate};
use super::session::SessionId;
use super::summary::{SKETCH_CELLS, Summary, item, tag, tag_of};

/// Cells that are sent before anything is known: they tell one scope that differs, and mostly two.
const CELLS_FIRST: usize = 8;
/// Scopes of one page.
const PAGE_SCOPES: usize = 1_024;

/// What a session is doing to find the scopes that differ.
#[derive(Debug)]
pub(crate) enum Finding {
    /// Everything was described by so many cells; the peer says what it finds.
    Described { sketch: Arc<Sketch>, sent: usize },
    /// The peer's cells are collected until they are enough.
    Collecting { root: ShortDigest, cells: Vec<Cell>, asked: usize },
    /// A page was sent; the peer says what it finds. What was noted of scopes on it until then will
    /// have to be compared with what was held then.
    Listing { after: Option<Scope>, through: Option<Scope>, offered: BTreeMap<Scope, Arc<Vector>> },
    /// The peer's pages were read up to here; what was found in the last waits to be said until its
    /// vectors have been asked for.
    Reading { through: Option<Scope>, last: bool, found: Option<Found> },
}

/// What was found: see [`Frame::Found`].
#[derive(Debug, Default)]
pub(crate) struct Found {
    differing: Vec<ScopeTag>,
    lacking: Vec<ScopeTag>,
}

impl Engine {
    /// Begins to describe everything to the acceptor, whose root digest is another.
    pub(crate) fn describe<S: Store>(
        &mut self,
        id: SessionId,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let sketch = self.summary(replica).sketch().clone();
        if let Some(session) = self.sessions.get_mut(&id) {
            session.finding = Some(Finding::Described { sketch, sent: 0 });
        }
        let root = self.root_digest(replica);
        self.send_cells(id, CELLS_FIRST, Some(root), out)
    }

    /// Sends the cells of what was described, up to a number.
    fn send_cells(
        &mut self,
        id: SessionId,
        until: usize,
        root: Option<ShortDigest>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let session = self.sessions.get_mut(&id);
        let Some(Finding::Described { sketch, sent }) = session.and_then(|s| s.finding.as_mut()) else {
            return Err(Violation::Turn("a wish for cells").into());
        };
        if until <= *sent || until > SKETCH_CELLS {
            return Err(Violation::Limit { what: "cells", max: SKETCH_CELLS }.into());
        }
        let first = std::mem::replace(sent, until);
        let cells = sketch.cells()[first..until].to_vec();
        let cells = Cells { root, first, scopes: sketch.items(), cells };
        self.send(id, &Frame::Cells(cells), Class::Control, out);
        Ok(())
    }

    /// Sends more cells, as the peer wished.
    pub(crate) fn more(&mut self, id: SessionId, cells: usize, out: &mut Vec<Output>) -> Result<(), Fault> {
        self.send_cells(id, cells, None, out)
    }

    /// Takes cells of the dialler and tells from them what differs, if they are enough.
    pub(crate) fn cells<S: Store>(
        &mut self,
        id: SessionId,
        more: Cells,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let (root, cells) = self.collect(id, more)?;
        let ours = self.summary(replica).sketch().clone();
        let same_root = root == self.root_digest(replica);
        match difference_of(ours.cells(), &cells, replica) {
            Some(found) if same_root || !found.is_empty() => self.conclude_cells(id, found, replica, out),
            Some(_) => self.send_page(id, None, replica, out),
            None => {
                let differences = estimate(ours.cells(), &cells);
                let wanted = cells_wanted(cells.len(), differences);
                if cells.len() == SKETCH_CELLS || wanted > SKETCH_CELLS + SKETCH_CELLS / 4 {
                    return self.send_page(id, None, replica, out);
                }
                let asked = wanted.min(SKETCH_CELLS);
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.finding = Some(Finding::Collecting { root, cells, asked });
                }
                self.send(id, &Frame::More { cells: asked }, Class::Control, out);
                Ok(())
            }
        }
    }

    /// Puts cells behind those that came before: everything there is, and the root that it describes.
    fn collect(&mut self, id: SessionId, more: Cells) -> Result<(ShortDigest, Vec<Cell>), Fault> {
        self.both_want_all(id, "cells")?;
        let out_of_turn = Err(Violation::Turn("cells").into());
        let max = self.config.limits.restarts_per_minute;
        let Some(session) = self.sessions.get_mut(&id) else { return out_of_turn };
        // To look for what differs costs about as much as a search of the log.
        session.spend_restart(max)?;
        match (session.finding.take(), more.root) {
            (None, Some(root)) if !session.peer.dialled && !more.cells.is_empty() => Ok((root, more.cells)),
            (Some(Finding::Collecting { root, mut cells, asked }), None)
                if more.first == cells.len() && more.first + more.cells.len() == asked =>
            {
                cells.extend(more.cells);
                Ok((root, cells))
            }
            _ => out_of_turn,
        }
    }

    /// Says what was found by cells, sends vectors of what both hold, and all of what only this side does.
    fn conclude_cells<S: Store>(
        &mut self,
        id: SessionId,
        difference: Difference,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let theirs: BTreeSet<ScopeTag> = difference.theirs.iter().map(tag_of).collect();
        let ours = difference.ours.iter().map(tag_of);
        let held = held_by_tag(replica.scopes(), &ours.chain(theirs.iter().copied()).collect());
        let items: BTreeSet<_> = difference.ours.into_iter().collect();
        let (mut found, mut only_here) = (Found::default(), vec![]);
        let mut named = BTreeSet::new();
        for tag in &theirs {
            match held.get(tag) {
                Some(scopes) => {
                    found.differing.push(*tag);
                    named.extend(scopes.iter().cloned());
                }
                None => found.lacking.push(*tag),
            }
        }
        for (tag, scopes) in &held {
            if !theirs.contains(tag) {
                let differs = |scope: &&Scope| items.contains(&item(scope, &replica.digest(scope)));
                only_here.extend(scopes.iter().filter(differs).cloned());
            }
        }
        self.all_equal_but(id, named.iter().chain(&only_here).cloned().collect(), replica);
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        session.finding = None;
        session.differing.extend(named);
        let Found { differing, lacking } = found;
        self.send(id, &Frame::Found { differing, lacking }, Class::Control, out);
        for scope in only_here {
            self.catch_up(id, &scope, Vector::default(), replica)?;
        }
        self.ask_for_vectors(id, replica, out);
        Ok(())
    }

    /// Notes that what the peer described and what is held now is equal, but for some scopes. Only
    /// scopes of which something was noted since the session began need it: see [`super::session`].
    fn all_equal_but<S: Store>(&mut self, id: SessionId, differing: BTreeSet<Scope>, replica: &Replica<S>) {
        for (scope, own) in self.noted(id, |scope| !differing.contains(scope), replica) {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.equal(&scope, &own);
            }
        }
    }

    /// What is held now of those scopes of which something was noted in a session.
    fn noted<S: Store>(
        &mut self,
        id: SessionId,
        wanted: impl Fn(&Scope) -> bool,
        replica: &Replica<S>,
    ) -> BTreeMap<Scope, Arc<Vector>> {
        let Some(session) = self.sessions.get(&id) else { return BTreeMap::new() };
        let noted: BTreeSet<Scope> =
            session.known.keys().chain(session.shown.keys()).filter(|scope| wanted(scope)).cloned().collect();
        noted.into_iter().map(|scope| (scope.clone(), self.own_vector(&scope, replica))).collect()
    }

    /// Takes what the peer found by what was described to it.
    pub(crate) fn found<S: Store>(
        &mut self,
        id: SessionId,
        differing: Vec<ScopeTag>,
        lacking: Vec<ScopeTag>,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        let (after, through, offered, listing) = match session.finding.take() {
            Some(Finding::Described { .. }) => (None, None, BTreeMap::new(), false),
            Some(Finding::Listing { after, through, offered }) => (after, through, offered, true),
            Some(Finding::Collecting { .. } | Finding::Reading { .. }) | None => {
                return Err(Violation::Turn("what was found").into());
            }
        };
        let described = replica.scopes_after(after.as_ref());
        let described = described.take_while(|scope| through.as_ref().is_none_or(|last| *scope <= last));
        let held = held_by_tag(described, &differing.iter().chain(&lacking).copied().collect());
        let named: BTreeSet<&Scope> = held.values().flatten().collect();
        for (scope, vector) in offered.iter().filter(|(scope, _)| !named.contains(scope)) {
            session.equal(scope, vector);
        }
        // Of a page, the peer's vectors have come before.
        for tag in if listing { vec![] } else { differing } {
            match held.get(&tag).map(Vec::as_slice) {
                // The peer sends its vector.
                Some([scope]) => {
                    session.expected.insert(scope.clone(), tag);
                }
                // Which of them is meant is not known.
                Some(scopes) => session.differing.extend(scopes.iter().cloned()),
                None => {}
            }
        }
        for scope in lacking.iter().filter_map(|tag| held.get(tag)).flatten() {
            self.catch_up(id, scope, Vector::default(), replica)?;
        }
        if listing && let Some(through) = through {
            self.send_page(id, Some(through), replica, out)?;
        }
        self.ask_for_vectors(id, replica, out);
        Ok(())
    }

    /// Lists the next scopes behind `after`.
    fn send_page<S: Store>(
        &mut self,
        id: SessionId,
        after: Option<Scope>,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let mut rest = replica.scopes_after(after.as_ref());
        let scopes: Vec<(Scope, ShortDigest)> = rest
            .by_ref()
            .take(PAGE_SCOPES)
            .map(|scope| (scope.clone(), short_digest(scope, replica)))
            .collect();
        let last = rest.next().is_none();
        let through = if last { None } else { scopes.last().map(|(scope, _)| scope.clone()) };
        let on_page = |scope: &Scope| {
            after.as_ref().is_none_or(|after| after < scope)
                && through.as_ref().is_none_or(|last| scope <= last)
        };
        let offered = self.noted(id, on_page, replica);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.finding = Some(Finding::Listing { after, through, offered });
        }
        self.send(id, &Frame::Page { scopes, last }, Class::Control, out);
        Ok(())
    }

    /// Compares a page of the acceptor's scopes with the own ones between its ends.
    pub(crate) fn page<S: Store>(
        &mut self,
        id: SessionId,
        scopes: Vec<(Scope, ShortDigest)>,
        last: bool,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        let after = match session.finding.take() {
            Some(Finding::Described { .. }) => None,
            Some(Finding::Reading { through, last: false, found: None }) => through,
            Some(Finding::Listing { .. } | Finding::Collecting { .. } | Finding::Reading { .. }) | None => {
                return Err(Violation::Turn("page").into());
            }
        };
        let through = scopes.last().map(|(scope, _)| scope.clone());
        let ascending = scopes.is_sorted_by(|(a, _), (b, _)| a < b)
            && scopes.first().is_none_or(|(first, _)| after.as_ref().is_none_or(|after| after < first));
        if !ascending || (through.is_none() && !last) {
            return Err(Violation::Turn("page").into());
        }
        let own = replica.scopes_after(after.as_ref());
        let own: BTreeSet<&Scope> =
            own.take_while(|scope| last || through.as_ref().is_some_and(|last| *scope <= last)).collect();
        let listed: BTreeMap<Scope, ShortDigest> = scopes.into_iter().collect();
        let (mut found, mut differing) = (Found::default(), BTreeSet::new());
        let tags: BTreeSet<ScopeTag> = own.iter().map(|scope| tag(scope)).collect();
        for (scope, digest) in &listed {
            if own.contains(scope) && short_digest(scope, replica) == *digest {
                continue;
            }
            // If an own scope has the same tag, that this one is lacking has to be said by a vector.
            if tags.contains(&tag(scope)) {
                found.differing.push(tag(scope));
                differing.insert(scope.clone());
            } else {
                found.lacking.push(tag(scope));
            }
        }
        let only_here = own.iter().filter(|scope| !listed.contains_key(**scope));
        let only_here: Vec<Scope> = only_here.map(|scope| (*scope).clone()).collect();
        let equal = |scope: &Scope| listed.contains_key(scope) && !differing.contains(scope);
        for (scope, vector) in self.noted(id, equal, replica) {
            self.sessions.get_mut(&id).into_iter().for_each(|session| session.equal(&scope, &vector));
        }
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        session.differing.extend(differing);
        session.finding = Some(Finding::Reading { through, last, found: Some(found) });
        for scope in only_here {
            self.catch_up(id, &scope, Vector::default(), replica)?;
        }
        self.ask_for_vectors(id, replica, out);
        Ok(())
    }

    /// Says what was found in the last page once its vectors have been asked for.
    pub(crate) fn say_what_was_found(&mut self, id: SessionId, out: &mut Vec<Output>) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.differing.is_empty()) else {
            return;
        };
        let Some(Finding::Reading { last, found, .. }) = &mut session.finding else { return };
        let Some(Found { differing, lacking }) = found.take() else { return };
        if *last {
            session.finding = None;
        }
        self.send(id, &Frame::Found { differing, lacking }, Class::Control, out);
    }

    fn both_want_all(&self, id: SessionId, what: &'static str) -> Result<(), Violation> {
        let theirs = self.sessions.get(&id).and_then(|session| session.interest());
        match theirs == Some(&Interest::All) && self.config.interest == Interest::All {
            true => Ok(()),
            false => Err(Violation::Turn(what)),
        }
    }

    /// One digest over all scopes.
    pub(crate) fn root_digest<S: Store>(&mut self, replica: &Replica<S>) -> ShortDigest {
        self.summary(replica).root()
    }

    /// The summary of everything; made of all scopes when first needed and kept from then on.
    fn summary<S: Store>(&mut self, replica: &Replica<S>) -> &Summary {
        let kept = self.summary.take().filter(|summary| summary.is_of(replica));
        self.summary.insert(kept.unwrap_or_else(|| Summary::of(replica)))
    }
}

/// How many cells to have in order to find so many differences, after `have` of them were too few.
fn cells_wanted(have: usize, differences: usize) -> usize {
    let usual = differences.saturating_mul(27) / 20;
    // So few cells may suggest several times what there is.
    let most = if have <= 2 * CELLS_FIRST { have * 3 / 2 } else { usize::MAX };
    usual.min(most).max(have + have / 4 + 2)
}

/// What two sets do not share, with the help of the own items if the cells alone do not tell. These are made
/// once, which costs all scopes, and only for few cells.
fn difference_of<S: Store>(ours: &[Cell], theirs: &[Cell], replica: &Replica<S>) -> Option<Difference> {
    let mut items: Option<Vec<Item>> = None;
    difference_knowing(ours, theirs, &mut |pairs| {
        let all = || replica.scopes().map(|scope| item(scope, &replica.digest(scope))).collect();
        let items = items.get_or_insert_with(all);
        items.iter().filter(|item| pairs.iter().any(|pair| pair.has(item))).copied().collect()
    })
}

/// Those scopes whose tags are among some.
fn held_by_tag<'a>(
    scopes: impl Iterator<Item = &'a Scope>,
    tags: &BTreeSet<ScopeTag>,
) -> BTreeMap<ScopeTag, Vec<Scope>> {
    let mut held: BTreeMap<ScopeTag, Vec<Scope>> = BTreeMap::new();
    if tags.is_empty() {
        return held;
    }
    for scope in scopes {
        let tag = tag(scope);
        if tags.contains(&tag) {
            held.entry(tag).or_default().push(scope.clone());
        }
    }
    held
}
