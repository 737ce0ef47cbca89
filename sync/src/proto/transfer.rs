//! Moving events: taking them, acknowledging them once durable, and sending what peers lack.
//!
//! The log is the queue. A peer that lags is a cursor in it; what is sent and not acknowledged is
//! bounded per peer, what one call reads is bounded for all, and peers take turns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use driftless_core::event::ChainId;
use driftless_core::group::Record;
use driftless_core::log::{Entry, LogRead};
use driftless_core::name::Scope;
use driftless_core::pack::Pack;
use driftless_core::replica::{MergeError, Replica, Want};
use driftless_core::store::{Store, StoreError};
use driftless_core::vector::Vector;

use super::codec::{self, Codec, EVENTS_BYTES_MAX, EventsBody, Prefix};
use super::engine::{Engine, Fault, Output};
use super::frame::{self, Ask, FRAME_SCOPES_MAX, Frame, INCOMPLETE_MAX};
use super::interest::Class;
use super::reason::{Reason, Violation};
use super::session::{Cursor, InFlight, Places, SessionId};
use super::status::Counters;

/// Most scopes of which one frame carries events.
const FRAME_PARTS_MAX: usize = 256;
/// What a read costs at least, in bytes.
const READ_BYTES_MIN: usize = 256;
/// Bytes of a frame of announcements, about.
const ANNOUNCE_BYTES: usize = 64 << 10;
/// Bytes of an announced chain, about.
const ANNOUNCED_CHAIN_BYTES: usize = 96;

impl Engine {
    /// Takes records of a peer: they are staged, and acknowledged after the next commit.
    pub(crate) fn events<S: Store>(
        &mut self,
        id: SessionId,
        number: u64,
        body: &[u8],
        replica: &mut Replica<S>,
    ) -> Result<(), Fault> {
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        let records = codec::decode(replica.fleet(), body, &mut session.flow.received)?;
        let (mut taken, mut places) = (Vec::with_capacity(records.len()), Vec::with_capacity(records.len()));
        for record in records {
            let place = Place::of(&record.record);
            if !self.shares(id, &place.scope) {
                self.outside(id, &place.scope)?;
                continue;
            }
            taken.push(record);
            places.push(place);
        }
        let merged = match replica.merge_unpacked(taken) {
            Ok(merged) => merged,
            Err(MergeError::Violation(violation)) => {
                return Err(Violation::Events(violation.to_string()).into());
            }
            Err(MergeError::Store(error)) => return Err(error.into()),
        };
        self.counters.events_accepted += merged.accepted;
        self.counters.events_duplicate += merged.duplicates;
        self.counters.events_refused += merged.refused.len() as u64;
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        session.unacknowledged = Some(number);
        self.uncommitted.insert(id);
        // What is no member is not remembered of the peer either: it could be anything.
        if merged.wanted.is_empty() && merged.refused.is_empty() {
            self.note_received(id, places, replica);
            return Ok(());
        }
        if session.incomplete.len() == INCOMPLETE_MAX {
            return Err(Violation::Limit { what: "incomplete frames", max: INCOMPLETE_MAX }.into());
        }
        session.incomplete.push(number);
        for want in merged.wanted {
            match want {
                Want::Chain { scope, .. } | Want::Event { scope, .. } => session.wanted.insert(scope),
                Want::Enrolment { scope, .. } => {
                    session.wanted.insert(Scope::Fleet);
                    session.wanted.insert(scope)
                }
            };
        }
        Ok(())
    }

    /// Notes that a peer holds what it sent, and what came from hubs.
    fn note_received<S: Store>(&mut self, id: SessionId, places: Vec<Place>, replica: &Replica<S>) {
        for Place { scope, chain, last_seq } in places {
            let own = self.own_vector(&scope, replica);
            let Some(session) = self.sessions.get_mut(&id) else { return };
            session.known(&scope, Some(&own));
            session.note_sent_by_peer(&scope, chain, last_seq);
            if session.is_hub() {
                let seq = self.via_hubs.entry(scope).or_default().entry(chain).or_default();
                *seq = last_seq.max(*seq);
            }
        }
    }

    /// Everything before is durable: acknowledges it, asks again for what could not be used, and lets
    /// the peers that want the changed scopes have the news.
    pub(crate) fn committed<S: Store>(
        &mut self,
        changed: &[Scope],
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        let before = std::mem::replace(&mut self.position, replica.position());
        if let Some(summary) = &mut self.summary {
            summary.follow(changed, replica);
        }
        if changed.contains(&Scope::Fleet) {
            self.end_revoked(replica, out);
        }
        for scope in changed {
            self.changed(scope, before, replica);
        }
        for id in std::mem::take(&mut self.uncommitted) {
            self.acknowledge(id, out);
            let handled = self.ask_again(id, replica, out);
            self.conclude(id, handled, out)?;
        }
        Ok(())
    }

    /// Ends the sessions of keys that were revoked.
    fn end_revoked<S: Store>(&mut self, replica: &Replica<S>, out: &mut Vec<Output>) {
        let authority = replica.authority();
        let keys = self.by_key.iter().filter(|(key, _)| authority.is_revoked(key));
        let sessions: Vec<SessionId> = keys.flat_map(|(_, sessions)| sessions.iter().copied()).collect();
        sessions.into_iter().for_each(|id| self.end(id, Reason::Revoked, out));
    }

    fn changed<S: Store>(&mut self, scope: &Scope, before: u64, replica: &Replica<S>) {
        if !self.config.interest.contains(scope) {
            return;
        }
        let listed = self.subscribers.get(scope);
        let interested: Vec<SessionId> =
            listed.into_iter().flatten().chain(&self.subscribers_of_all).copied().collect();
        let known_before = self.own.remove(scope);
        if interested.is_empty() {
            return;
        }
        let known_before = known_before.unwrap_or_else(|| {
            let before = replica.before(scope).map(|before| before.vector.clone());
            Arc::new(before.unwrap_or_default())
        });
        let own = Arc::new(replica.vector(scope));
        self.own.insert(scope.clone(), own.clone());
        let announce_at_ms = self.now_ms + self.config.limits.announce_ms;
        let hub = self.config.local.kind.is_hub();
        for id in interested {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            if hub && session.is_hub() {
                session.shown.entry(scope.clone()).or_insert_with(|| known_before.clone());
                session.announce.insert(scope.clone());
                session.announce_at_ms.get_or_insert(announce_at_ms);
            }
            // The vector of a peer that is being compared will say where to begin.
            if !session.is_comparing(scope) {
                session.known(scope, Some(&known_before)).share(Some(&own));
                session.send_from(scope, before, 0);
                self.ready.insert(id);
            }
        }
    }

    fn acknowledge(&mut self, id: SessionId, out: &mut Vec<Output>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let incomplete = std::mem::take(&mut session.incomplete);
        if let Some(through) = session.unacknowledged.take() {
            self.send(id, &Frame::Ack { through, incomplete }, Class::Control, out);
        }
    }

    /// Has the peer start those scopes anew of which it sent what cannot be used yet.
    fn ask_again<S: Store>(
        &mut self,
        id: SessionId,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
        for scope in std::mem::take(&mut session.wanted) {
            if !self.shares(id, &scope) {
                continue;
            }
            let events = self.own_vector(&scope, replica).events();
            let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
            if session.may_restart(&scope, events)? {
                self.counters.restarts += 1;
                self.tell(id, &scope, Ask::Restart, replica, out);
            }
        }
        Ok(())
    }

    /// Sends what peers lack, in turns, until nothing can be sent or the work of one call is done.
    pub(crate) fn pump<S: Store>(
        &mut self,
        replica: &Replica<S>,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        let mut reads = Reads::default();
        let mut work = 0;
        while work < self.config.limits.work_bytes_max {
            let next = self.ready.range(next_session(self.turn)..).next().or_else(|| self.ready.first());
            let Some(id) = next.copied() else { break };
            self.turn = id;
            match self.send_one(id, replica, &mut reads, out)? {
                Some(bytes) => work += bytes,
                None => {
                    self.ready.remove(&id);
                }
            }
        }
        if self.ready.is_empty() {
            self.drop_passed();
        }
        Ok(())
    }

    /// Sends one frame of events to a peer. `None` if there is nothing to send or no room; else the
    /// bytes that it cost.
    fn send_one<S: Store>(
        &mut self,
        id: SessionId,
        replica: &Replica<S>,
        reads: &mut Reads,
        out: &mut Vec<Output>,
    ) -> Result<Option<usize>, StoreError> {
        let limits = self.config.limits;
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(None) };
        let full = session.in_flight_bytes >= session.flow.window_bytes(&limits)
            || session.in_flight.len() >= limits.window_frames;
        if full || session.pending.is_empty() || session.flow.paced_until_ms.is_some() {
            return Ok(None);
        }
        if let Some(at_ms) = session.flow.wait_until_ms(&limits, self.now_ms) {
            session.flow.paced_until_ms = Some(at_ms);
            self.paced.insert((at_ms, id));
            return Ok(None);
        }
        let chunk_bytes = session.flow.chunk_bytes(&limits);
        let (mut parts, mut bytes, mut cost) = (vec![], 0, 0);
        while bytes < chunk_bytes && cost < limits.work_bytes_max && parts.len() < FRAME_PARTS_MAX {
            let Some((scope, cursor)) = session.pending.first_key_value() else { break };
            let (scope, cursor) = (scope.clone(), *cursor);
            let read = reads.read(&scope, cursor.after, chunk_bytes, replica, &mut self.counters)?;
            if bytes + read.bytes > EVENTS_BYTES_MAX / 2 && !parts.is_empty() {
                break;
            }
            cost += read.bytes.max(READ_BYTES_MIN);
            let held = session.known.get(&scope).map(|known| known.held.clone()).unwrap_or_default();
            let via = if session.is_hub() { self.via_hubs.get(&scope) } else { None };
            let chosen = choose(&read.log.entries, &held, via, cursor);
            match read.log.end {
                true => session.pending.remove(&scope),
                false => session.pending.insert(scope.clone(), Cursor { after: read.log.next, ..cursor }),
            };
            if !chosen.is_empty() {
                bytes += chosen.iter().map(|entry| entry.bytes.len()).sum::<usize>();
                let whole = chosen.len() == read.log.entries.len();
                let entries = chosen.into_iter().cloned().collect();
                parts.push(Part { scope, after: cursor.after, entries, whole });
            }
        }
        if !parts.is_empty() {
            let body = reads.body(&parts, &session.flow.sent, &mut self.codec);
            session.flow.compressed(bytes, body.bytes.len());
            self.send_parts(id, parts, &body, out);
        }
        Ok(Some(cost))
    }

    fn send_parts(&mut self, id: SessionId, parts: Vec<Part>, body: &EventsBody, out: &mut Vec<Output>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(class) = parts.first().map(|part| Class::from(&part.scope)) else { return };
        let number = session.next_sent;
        // As long as there is more to send, the next frame builds on this one.
        let keep = !session.pending.is_empty();
        session.flow.sent = if keep { body.next.clone() } else { Prefix::default() };
        let bytes = frame::encode_events(number, body, keep);
        let mut heads = Vec::with_capacity(parts.len());
        for part in parts {
            let places: Places = part.entries.iter().map(|entry| (entry.chain, entry.last_seq)).collect();
            for (chain, seq) in places.iter() {
                session.note_held(&part.scope, *chain, *seq);
                session.note_shown(&part.scope, *chain, *seq);
            }
            heads.push((part.scope, places));
        }
        if session.in_flight.is_empty() {
            session.owed_since_ms = self.now_ms;
        }
        session.in_flight.push_back(InFlight { number, bytes: bytes.len(), sent_ms: self.now_ms, heads });
        session.in_flight_bytes += bytes.len();
        session.next_sent += 1;
        session.bytes_sent += bytes.len() as u64;
        session.flow.spend(bytes.len());
        self.counters.frames_sent += 1;
        out.push(Output::Send { session: id, bytes, class });
    }

    /// Gives those their turn again whose rate allows it.
    pub(crate) fn resume_paced(&mut self) {
        while let Some((at_ms, id)) = self.paced.first().copied()
            && at_ms <= self.now_ms
        {
            self.paced.pop_first();
            if let Some(session) = self.sessions.get_mut(&id) {
                session.flow.paced_until_ms = None;
                self.ready.insert(id);
            }
        }
    }

    /// Forgets what came by way of hubs once no cursor of a hub can meet it any more.
    fn drop_passed(&mut self) {
        if self.via_hubs.is_empty() || self.uncommitted.iter().any(|id| self.hubs.contains(id)) {
            return;
        }
        let pending: BTreeSet<Scope> = self
            .hubs
            .iter()
            .filter_map(|id| self.sessions.get(id))
            .flat_map(|session| session.pending.keys().cloned())
            .collect();
        self.via_hubs.retain(|scope, _| pending.contains(scope));
    }

    /// Takes the heads that a hub holds and did not push.
    pub(crate) fn announced<S: Store>(
        &mut self,
        id: SessionId,
        entries: Vec<(Scope, Vector)>,
        replica: &Replica<S>,
    ) -> Result<(), Fault> {
        let fetch_at_ms = self.now_ms + self.config.limits.fetch_ms;
        for (scope, vector) in entries {
            if !self.shares(id, &scope) {
                self.outside(id, &scope)?;
                continue;
            }
            let own = self.own_vector(&scope, replica);
            let ahead = vector.missing_in(&own) > 0;
            let Some(session) = self.sessions.get_mut(&id) else { return Ok(()) };
            let known = session.known(&scope, Some(&own));
            Arc::make_mut(&mut known.acked).join(&vector);
            Arc::make_mut(&mut known.held).join(&vector);
            known.share(Some(&own));
            if ahead {
                session.fetch.entry(scope).or_insert(fetch_at_ms);
                session.fetch_at_ms.get_or_insert(fetch_at_ms);
            }
            if session.fetch.len() > FRAME_SCOPES_MAX {
                let (what, max) = ("announced scopes to fetch", FRAME_SCOPES_MAX);
                return Err(Violation::Limit { what, max }.into());
            }
        }
        Ok(())
    }

    /// Tells hubs what is held here, unless they know.
    pub(crate) fn announce_due(&mut self, out: &mut Vec<Output>) {
        let due = |id: &&SessionId| {
            let session = self.sessions.get(id);
            session.and_then(|session| session.announce_at_ms).is_some_and(|at| at <= self.now_ms)
        };
        let ids: Vec<SessionId> = self.hubs.iter().filter(due).copied().collect();
        for id in ids {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            session.announce_at_ms = None;
            let (mut entries, mut bytes) = (vec![], 0);
            let mut full = vec![];
            for scope in std::mem::take(&mut session.announce) {
                if session.pending.contains_key(&scope) {
                    session.announce.insert(scope);
                    session.announce_at_ms = Some(self.now_ms + self.config.limits.announce_ms);
                    continue;
                }
                let Some(own) = self.own.get(&scope) else { continue };
                let before = session.shown.insert(scope.clone(), own.clone()).unwrap_or_default();
                let news: Vector =
                    own.iter().filter(|(chain, head)| !before.covers(chain, head.seq)).collect();
                if news.is_empty() {
                    continue;
                }
                bytes += news.len() * ANNOUNCED_CHAIN_BYTES;
                entries.push((scope, news));
                if bytes >= ANNOUNCE_BYTES {
                    full.push(std::mem::take(&mut entries));
                    bytes = 0;
                }
            }
            full.push(entries);
            for entries in full.into_iter().filter(|entries| !entries.is_empty()) {
                self.send(id, &Frame::Announce(entries), Class::Control, out);
            }
        }
    }

    /// Asks a hub for what it announced and what has not come another way.
    pub(crate) fn fetch_due(&mut self, out: &mut Vec<Output>) {
        for id in self.hubs.clone() {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            if session.fetch_at_ms.is_none_or(|at_ms| at_ms > self.now_ms) {
                continue;
            }
            let due: Vec<Scope> =
                session.fetch.iter().filter(|(_, at)| **at <= self.now_ms).map(|(s, _)| s.clone()).collect();
            session.fetch_at_ms = session.fetch.values().filter(|at| **at > self.now_ms).min().copied();
            for scope in due {
                let Some(session) = self.sessions.get_mut(&id) else { continue };
                session.fetch.remove(&scope);
                let own = self.own.get(&scope).cloned().unwrap_or_default();
                let behind = session.known.get(&scope).is_some_and(|known| known.acked.missing_in(&own) > 0);
                if !behind {
                    continue;
                }
                match session.may_restart(&scope, own.events()) {
                    Ok(true) => {
                        self.counters.restarts += 1;
                        let vector = Vector::clone(&own);
                        let frame = Frame::Vector { scope, vector, ask: Ask::Restart };
                        self.send(id, &frame, Class::Control, out);
                    }
                    Ok(false) => {}
                    Err(violation) => self.end(id, violation.into(), out),
                }
            }
        }
    }
}

/// Where a record belongs.
struct Place {
    scope: Scope,
    chain: ChainId,
    last_seq: u64,
}

impl Place {
    fn of(record: &Record) -> Self {
        Self { scope: record.scope().clone(), chain: record.chain(), last_seq: record.last().seq }
    }
}

/// What one frame carries of one scope.
struct Part {
    scope: Scope,
    after: u64,
    entries: Vec<Entry>,
    /// Whether these are all entries that were read.
    whole: bool,
}

/// What one call has read of the log, so that peers at the same place share the reading, the
/// compression and the bytes.
#[derive(Default)]
struct Reads {
    /// By scope, place, and how much is read.
    logs: BTreeMap<(Scope, u64, usize), SharedRead>,
    /// By what the body builds on and what it carries.
    bodies: BTreeMap<(u64, Vec<Stretch>), EventsBody>,
}

/// Of one scope, where entries begin and how many they are.
type Stretch = (Scope, u64, usize);

struct SharedRead {
    log: LogRead,
    bytes: usize,
}

impl Reads {
    fn read<S: Store>(
        &mut self,
        scope: &Scope,
        after: u64,
        bytes_max: usize,
        replica: &Replica<S>,
        counters: &mut Counters,
    ) -> Result<&SharedRead, StoreError> {
        let key = (scope.clone(), after, bytes_max);
        if !self.logs.contains_key(&key) {
            let log = replica.log(scope, after, bytes_max)?;
            let bytes = log.entries.iter().map(|entry| entry.bytes.len()).sum();
            counters.log_bytes_read += bytes as u64;
            self.logs.insert(key.clone(), SharedRead { log, bytes });
        }
        Ok(self.logs.get(&key).expect("inserted above if it was not there"))
    }

    fn body(&mut self, parts: &[Part], prefix: &Prefix, codec: &mut Codec) -> EventsBody {
        let entries = parts.iter().flat_map(|part| part.entries.iter().map(|entry| (&part.scope, entry)));
        let mut encode = || codec.encode(&Pack::of(entries.clone()), prefix);
        if parts.iter().any(|part| !part.whole) {
            return encode();
        }
        let place = |part: &Part| (part.scope.clone(), part.after, part.entries.len());
        let key = (prefix.serial, parts.iter().map(place).collect());
        self.bodies.entry(key).or_insert_with(encode).clone()
    }
}

/// The entries that a peer lacks and that nobody else will send it.
fn choose<'a>(
    entries: &'a [Entry],
    held: &Vector,
    via_hubs: Option<&BTreeMap<ChainId, u64>>,
    cursor: Cursor,
) -> Vec<&'a Entry> {
    let from_hub = |entry: &Entry| {
        via_hubs.is_some_and(|via| via.get(&entry.chain).is_some_and(|seq| *seq >= entry.last_seq))
    };
    let elsewhere = |entry: &Entry| entry.last > cursor.all_until && from_hub(entry);
    let lacks = |entry: &&Entry| !held.covers(&entry.chain, entry.last_seq) && !elsewhere(entry);
    entries.iter().filter(lacks).collect()
}

fn next_session(id: SessionId) -> SessionId {
    SessionId(id.0.saturating_add(1))
}
