//! One thread that owns a state, and handles for everybody else.
//!
//! Work is handed to the owner as closures through a bounded queue. The owner takes whatever waits,
//! runs the writes, commits once for all of them, and only then answers: that is group commit. Reads
//! run between commits, so they see nothing that is not durable.
//!
//! Nothing here knows what the state is. An embedded store is a [`crate::replica::Replica`] behind a
//! handle; a daemon puts its sync engine beside the replica and pumps it in [`Commit::commit`].

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, RecvError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use crate::replica::Replica;
use crate::store::{Store, StoreError};

/// Most requests that wait for the owner; callers block (or wait, when asynchronous) beyond.
const QUEUE_MAX: usize = 1_024;
/// Most writes that share a commit.
const WRITES_PER_COMMIT_MAX: usize = 256;

/// Something whose changes become durable by committing.
pub trait Commit {
    /// Makes durable what was changed since the last call. An error ends the owner.
    fn commit(&mut self) -> Result<(), StoreError>;

    /// Called once when every handle is gone, after the last commit.
    fn close(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl<S: Store> Commit for Replica<S> {
    fn commit(&mut self) -> Result<(), StoreError> {
        Self::commit(self).map(|_| ())
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.settle()?;
        self.flush_store()
    }
}

/// The owner ended: the store failed, or the node is stopping. Whether a write that was under way
/// when this is returned became durable is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the replica is closed: its store failed or the node is stopping; see the log, then start it again")]
pub struct Stopped;

/// Runs on the owner's thread; returns what tells the caller.
type Task<T> = Box<dyn FnOnce(&mut T) -> Answer + Send>;
/// Called with whether what was done is durable.
type Answer = Box<dyn FnOnce(bool) + Send>;

enum Request<T> {
    Read(Task<T>),
    Write(Task<T>),
}

/// A way to the owner; cheap to clone. The owner stops when the last handle is dropped.
#[derive(Debug)]
pub struct Handle<T> {
    requests: SyncSender<Request<T>>,
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone() }
    }
}

/// The owner's thread, to wait for.
#[derive(Debug)]
pub struct Owner {
    thread: thread::JoinHandle<Result<(), StoreError>>,
}

impl Owner {
    /// Waits until the owner has stopped: every handle is dropped, or the store failed.
    pub fn join(self) -> Result<(), StoreError> {
        // A panic on the owner's thread is a broken invariant of ours; it goes on to the caller.
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl<T: Commit + 'static> Handle<T> {
    /// Makes the state on a thread of its own, which then owns it, and waits until it is made.
    pub fn spawn<E: Send + 'static>(
        name: &str,
        make: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<(Self, Owner), E> {
        let (requests, queue) = sync_channel(QUEUE_MAX);
        let (made, outcome) = sync_channel(1);
        let run = move || match make() {
            Ok(state) => {
                // The caller waits for this; if it is gone, the handle is too, and the owner ends.
                let _ = made.send(Ok(()));
                own(state, &queue)
            }
            Err(error) => {
                let _ = made.send(Err(error));
                Ok(())
            }
        };
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .expect("the system has a thread for the owner of the store");
        match outcome.recv() {
            Ok(Ok(())) => Ok((Self { requests }, Owner { thread })),
            Ok(Err(error)) => Err(error),
            Err(RecvError) => match thread.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(_) => unreachable!("an owner that ends says why"),
            },
        }
    }

    /// Runs `read` on the state as it was last committed. Blocks.
    pub fn read<R: Send + 'static>(&self, read: impl FnOnce(&T) -> R + Send + 'static) -> Result<R, Stopped> {
        let (reply, pending) = pending();
        self.requests.send(Request::Read(task(|state: &mut T| read(state), reply))).map_err(|_| Stopped)?;
        pending.wait()
    }

    /// Runs `write` on the state and returns once it is durable. Blocks for about one flush.
    pub fn write<R: Send + 'static>(
        &self,
        write: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (reply, pending) = pending();
        self.requests.send(Request::Write(task(write, reply))).map_err(|_| Stopped)?;
        pending.wait()
    }

    /// [`Handle::read`] as a future. The queue's limit blocks the caller's thread only when the owner
    /// is more than a thousand requests behind.
    pub fn read_async<R: Send + 'static>(
        &self,
        read: impl FnOnce(&T) -> R + Send + 'static,
    ) -> impl Future<Output = Result<R, Stopped>> + Send + 'static {
        let (reply, pending) = pending();
        let sent = self.requests.send(Request::Read(task(|state: &mut T| read(state), reply)));
        async move { if sent.is_ok() { pending.await } else { Err(Stopped) } }
    }

    /// [`Handle::write`] as a future.
    pub fn write_async<R: Send + 'static>(
        &self,
        write: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> impl Future<Output = Result<R, Stopped>> + Send + 'static {
        let (reply, pending) = pending();
        let sent = self.requests.send(Request::Write(task(write, reply)));
        async move { if sent.is_ok() { pending.await } else { Err(Stopped) } }
    }
}

fn task<T, R: Send + 'static>(run: impl FnOnce(&mut T) -> R + Send + 'static, reply: Reply<R>) -> Task<T> {
    Box::new(move |state| {
        let result = run(state);
        Box::new(move |durable| {
            if durable {
                reply.answer(result)
            }
        })
    })
}

/// The owner's loop: take what waits, write, commit, answer, read.
fn own<T: Commit>(mut state: T, queue: &Receiver<Request<T>>) -> Result<(), StoreError> {
    let (mut writes, mut reads) = (Vec::new(), VecDeque::new());
    while let Ok(first) = queue.recv() {
        let waiting = std::iter::once(first).chain(queue.try_iter());
        for request in waiting.take(WRITES_PER_COMMIT_MAX) {
            match request {
                Request::Read(read) => reads.push_back(read),
                Request::Write(write) => writes.push(write(&mut state)),
            }
        }
        if !writes.is_empty() {
            // On failure the answers are dropped unsaid, and their callers learn that we stopped.
            state.commit()?;
            writes.drain(..).for_each(|answer| answer(true));
        }
        while let Some(read) = reads.pop_front() {
            read(&mut state)(true);
        }
    }
    state.commit()?;
    state.close()
}

/// A place for one answer, which a thread can wait for and a task can await.
struct Slot<R> {
    answer: Mutex<State<R>>,
    changed: Condvar,
}

enum State<R> {
    Waiting(Option<Waker>),
    Answered(R),
    Dropped,
}

struct Reply<R>(Arc<Slot<R>>);
struct Pending<R>(Arc<Slot<R>>);

fn pending<R>() -> (Reply<R>, Pending<R>) {
    let slot = Arc::new(Slot { answer: Mutex::new(State::Waiting(None)), changed: Condvar::new() });
    (Reply(Arc::clone(&slot)), Pending(slot))
}

impl<R> Slot<R> {
    fn set(&self, state: State<R>) {
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Waiting(waker) = std::mem::replace(&mut *answer, state)
            && let Some(waker) = waker
        {
            waker.wake();
        }
        self.changed.notify_one();
    }
}

impl<R> Reply<R> {
    fn answer(self, result: R) {
        self.0.set(State::Answered(result));
    }
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        let answer = self.0.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = matches!(*answer, State::Waiting(_));
        drop(answer);
        if waiting {
            self.0.set(State::Dropped);
        }
    }
}

impl<R> Pending<R> {
    fn wait(self) -> Result<R, Stopped> {
        let mut answer = self.0.answer.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match std::mem::replace(&mut *answer, State::Waiting(None)) {
                State::Answered(result) => return Ok(result),
                State::Dropped => return Err(Stopped),
                State::Waiting(_) => {
                    answer = self.0.changed.wait(answer).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl<R> Future for Pending<R> {
    type Output = Result<R, Stopped>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answer = self.0.answer.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *answer, State::Waiting(Some(context.waker().clone()))) {
            State::Answered(result) => Poll::Ready(Ok(result)),
            State::Dropped => Poll::Ready(Err(Stopped)),
            State::Waiting(_) => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Default)]
    struct Counter {
        value: u64,
        committed: u64,
        commits: u64,
        fail: bool,
    }

    impl Commit for Counter {
        fn commit(&mut self) -> Result<(), StoreError> {
            if self.fail {
                return Err(StoreError::Poisoned);
            }
            self.committed = self.value;
            self.commits += 1;
            Ok(())
        }
    }

    #[test]
    fn writers_share_commits_and_readers_see_only_what_is_committed() {
        let (handle, owner) = Handle::spawn("counter", || Ok::<_, Stopped>(Counter::default())).unwrap();
        thread::scope(|scope| {
            for _ in 0..8 {
                let handle = handle.clone();
                scope.spawn(move || {
                    for _ in 0..100 {
                        handle.write(|counter| counter.value += 1).unwrap();
                        let (value, committed) = handle.read(|c| (c.value, c.committed)).unwrap();
                        assert_eq!(value, committed);
                    }
                });
            }
        });
        let (value, commits) = handle.read(|counter| (counter.value, counter.commits)).unwrap();
        assert_eq!(value, 800);
        assert!(commits <= 800);
        drop(handle);
        owner.join().unwrap();
    }

    #[test]
    fn a_failed_commit_acknowledges_nothing() {
        let (handle, owner) = Handle::spawn("counter", || Ok::<_, Stopped>(Counter::default())).unwrap();
        let write = |counter: &mut Counter| {
            counter.fail = true;
            counter.value += 1;
        };
        assert_eq!(handle.write(write), Err(Stopped));
        assert_eq!(handle.read(|counter| counter.value), Err(Stopped));
        assert!(owner.join().is_err());
    }
}
