//! What a daemon's owner thread owns: the replica, the sync engine beside it, and the way to each peer.
//!
//! Everything that changes state runs here, one thing at a time. After each batch of changes the owner
//! commits: one flush, then the engine is told what became durable, then frames leave and waiters
//! wake. Nothing here waits for the network or reads a file.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use driftless_core::owner::Commit;
use driftless_core::replica::SCRUB_STEP_BYTES;
use driftless_core::store::StoreError;
use driftless_sync::proto::{
    Answer, Condition, CutTarget, Engine, EngineConfig, Input, Interest, Output, PeerInfo, Question,
    SessionId,
};
use driftless_sync::quic::Outgoing;
use tokio::sync::{mpsc, oneshot, watch};

use super::upkeep::Upkeep;
use crate::api::Held;

/// The replica, the engine, and the queues to peers.
pub struct Node {
    /// The replica.
    pub replica: Held,
    /// The engine.
    pub engine: Engine,
    started: Instant,
    links: BTreeMap<SessionId, mpsc::Sender<Outgoing>>,
    next_session: u64,
    /// Who waits for which hub's answer; a session ends with its entries.
    asked: BTreeMap<(SessionId, u64), oneshot::Sender<Answer>>,
    outputs: Vec<Output>,
    /// Why the store failed, until the next commit says so.
    failure: Option<StoreError>,
    positions: watch::Sender<u64>,
    deadline: watch::Sender<Option<Instant>>,
    upkeep: Upkeep,
}

impl Node {
    /// Puts an engine beside a replica, whose whole log is read back once in `scrub_within`.
    #[expect(clippy::disallowed_methods, reason = "shell: the engine's time starts with the node")]
    pub fn new(replica: Held, config: EngineConfig, scrub_within: Duration) -> Self {
        let positions = watch::Sender::new(replica.position());
        Self {
            engine: Engine::new(config),
            started: Instant::now(),
            links: BTreeMap::new(),
            next_session: 1,
            asked: BTreeMap::new(),
            outputs: vec![],
            failure: None,
            positions,
            deadline: watch::Sender::new(None),
            upkeep: Upkeep::new(scrub_within),
            replica,
        }
    }

    /// Wakes whenever the durable position grows.
    pub fn positions(&self) -> watch::Receiver<u64> {
        self.positions.subscribe()
    }

    /// When the engine next wants a tick.
    pub fn deadline(&self) -> watch::Receiver<Option<Instant>> {
        self.deadline.subscribe()
    }

    /// Milliseconds since the node started: the engine's clock.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Opens a session with an authenticated peer; frames for it go through `link`.
    pub fn connected(&mut self, peer: PeerInfo, link: mpsc::Sender<Outgoing>) -> SessionId {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.links.insert(session, link);
        self.handle(Input::Connected { session, peer });
        session
    }

    /// Takes frames of a session; false if the session is over.
    pub fn frames(&mut self, session: SessionId, frames: Vec<Vec<u8>>) -> bool {
        for bytes in frames {
            self.handle(Input::Frame { session, bytes });
        }
        self.links.contains_key(&session)
    }

    /// Forgets a session whose connection is gone, and had been silent for so long.
    pub fn closed(&mut self, session: SessionId, reason: String, silent_ms: u64) {
        self.links.remove(&session);
        self.handle(Input::Closed { session, reason, silent_ms });
    }

    /// Ends a session because the site's uplink is another one now.
    pub fn end_moved(&mut self, session: SessionId) {
        self.engine.end_moved(session, &mut self.outputs);
    }

    /// Lets time pass.
    pub fn tick(&mut self) {
        self.handle(Input::Tick);
    }

    /// Does a little for the store: see [`super::upkeep`].
    pub(super) fn keep_up(&mut self) {
        let now_ms = self.now_ms();
        let due = self.upkeep.due(now_ms, self.replica.position(), self.replica.scopes().count());
        let kept = self.keep_store(due.settle, due.scrub);
        self.note(kept);
        if due.ask && self.engine.ask_for_missing(now_ms, &self.replica, &mut self.outputs) > 0 {
            self.upkeep.asked(now_ms);
        }
    }

    fn keep_store(&mut self, settle: bool, scrub: bool) -> Result<(), StoreError> {
        if settle {
            self.replica.settle_some()?;
        }
        if scrub {
            self.replica.scrub(SCRUB_STEP_BYTES)?;
        }
        Ok(())
    }

    /// Changes what this node wants to hold.
    pub fn set_interest(&mut self, interest: Interest) {
        let now_ms = self.now_ms();
        let outcome = self.engine.set_interest(now_ms, interest, &mut self.replica, &mut self.outputs);
        self.note(outcome);
    }

    /// Cuts links on behalf of an operator.
    pub fn cut(&mut self, target: CutTarget, for_ms: Option<u64>) {
        let until = for_ms.map(|for_ms| self.now_ms().saturating_add(for_ms));
        self.engine.cut(target, until, &mut self.outputs);
    }

    /// Asks the hub of a session. `None` if it cannot be asked now; the receiver fails if the session ends
    /// before the answer comes.
    pub fn inquire(&mut self, session: SessionId, question: Question) -> Option<oneshot::Receiver<Answer>> {
        let number = self.engine.inquire(session, question, &mut self.outputs)?;
        let (answered, pending) = oneshot::channel();
        self.asked.insert((session, number), answered);
        Some(pending)
    }

    /// Ends all sessions because the node stops.
    pub fn stop(&mut self) {
        self.engine.stop(&mut self.outputs);
    }

    fn handle(&mut self, input: Input) {
        let now_ms = self.now_ms();
        let outcome = self.engine.handle(now_ms, input, &mut self.replica, &mut self.outputs);
        self.note(outcome);
    }

    /// Keeps the first failure of the store for the commit that follows, which ends the node.
    fn note(&mut self, outcome: Result<(), StoreError>) {
        if let Err(error) = outcome {
            self.failure.get_or_insert(error);
        }
    }

    /// Hands frames to the tasks that write them. A peer that does not take what is sent is cut off.
    fn dispatch(&mut self) {
        for output in std::mem::take(&mut self.outputs) {
            match output {
                Output::Send { session, bytes, .. } => {
                    let refused = self
                        .links
                        .get(&session)
                        .is_some_and(|link| link.try_send(Outgoing::Frame(bytes)).is_err());
                    if refused {
                        // Dropping the queue ends the connection; its task then says that it closed.
                        tracing::warn!(session = session.0, "the peer does not take what is sent to it");
                        self.links.remove(&session);
                    }
                }
                Output::Close { session, code, reason } => {
                    if let Some(link) = self.links.remove(&session) {
                        tracing::info!(session = session.0, code, reason, "session closed");
                        // A queue that is full is dropped with the link, which closes as well.
                        let _ = link.try_send(Outgoing::Close { code, reason });
                    }
                }
                Output::Condition(condition) => log_condition(&condition),
                Output::Answered { session, number, answer } => {
                    // Whoever asked may have gone away.
                    let _ = self.asked.remove(&(session, number)).map(|asked| asked.send(answer));
                }
            }
        }
        self.asked.retain(|(session, _), _| self.links.contains_key(session));
    }
}

impl Commit for Node {
    fn commit(&mut self) -> Result<(), StoreError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let committed = self.replica.commit()?;
        if !committed.scopes.is_empty() || self.engine.wants_commit() {
            self.handle(Input::Committed { changed: committed.scopes.into_iter().collect() });
        }
        self.dispatch();
        self.positions.send_if_modified(|position| {
            std::mem::replace(position, committed.position) != committed.position
        });
        let next = self.engine.next_timeout().map(|at_ms| self.started + Duration::from_millis(at_ms));
        self.deadline.send_if_modified(|deadline| std::mem::replace(deadline, next) != next);
        Ok(())
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.replica.settle()?;
        self.replica.flush_store()
    }
}

fn log_condition(condition: &Condition) {
    match condition {
        Condition::OwnHistoryRecovered { boot, scope, events, .. } => tracing::warn!(
            %boot, %scope, events,
            "peers hold events of this node that it does not hold itself: its disk was lost or rolled back; fetching them"
        ),
        Condition::SameKeyTwice { key } => {
            tracing::warn!(%key, "two live nodes use this key: a data directory was copied; give one of them a new identity");
        }
    }
}
