//! One thread that owns a state, and handles for everybody else.
//!
//! Work is handed to the owner as closures through a bounded queue. The owner takes whatever waits,
//! runs the writes, commits once for all of them, and only then answers: that is group commit. Reads
//! run between commits, so they see nothing that is not durable. Whoever finds the queue full waits its
//! turn: a thread sleeps, a task yields.
//!
//! Nothing here knows what the state is. An embedded store is a [`crate::replica::Replica`] behind a
//! handle; a daemon puts its sync engine beside the replica and pumps it in [`Commit::commit`].

use std::future::Future;
use std::sync::mpsc::{RecvError, sync_channel};
use std::thread;

use async_channel::{Receiver, Sender, TrySendError, bounded};

use crate::replica::Replica;
use crate::store::{Store, StoreError};

/// Most requests that wait for the owner; beyond, callers wait for a place.
const REQUESTS_MAX: usize = 1_024;
/// Most requests that the owner takes at a time, and so most writes that share a commit.
const REQUESTS_PER_COMMIT_MAX: usize = 256;

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
    requests: Sender<Request<T>>,
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
        let (requests, queue) = bounded(REQUESTS_MAX);
        let (made, outcome) = sync_channel(1);
        let run = move || match make() {
            Ok(state) => {
                // The caller waits for this; if it is gone, the handle is too, and the owner ends.
                let _ = made.send(Ok(()));
                own(state, &Queue(queue))
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
        let (reply, answer) = bounded(1);
        let request = Request::Read(task(|state: &mut T| read(state), reply));
        self.requests.send_blocking(request).map_err(|_| Stopped)?;
        answer.recv_blocking().map_err(|_| Stopped)
    }

    /// Runs `write` on the state and returns once it is durable. Blocks for about one flush.
    pub fn write<R: Send + 'static>(
        &self,
        write: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (reply, answer) = bounded(1);
        self.requests.send_blocking(Request::Write(task(write, reply))).map_err(|_| Stopped)?;
        answer.recv_blocking().map_err(|_| Stopped)
    }

    /// [`Handle::read`] as a future, of any runtime. The request is queued by this call if there is room, and
    /// otherwise by the future, which yields until there is: no thread is ever blocked. A future that is dropped
    /// leaves open whether `read` runs.
    pub fn read_async<R: Send + 'static>(
        &self,
        read: impl FnOnce(&T) -> R + Send + 'static,
    ) -> impl Future<Output = Result<R, Stopped>> + Send + 'static {
        let (reply, answer) = bounded(1);
        self.ask(Request::Read(task(|state: &mut T| read(state), reply)), answer)
    }

    /// [`Handle::write`] as a future, which waits and is dropped as that of [`Handle::read_async`].
    pub fn write_async<R: Send + 'static>(
        &self,
        write: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> impl Future<Output = Result<R, Stopped>> + Send + 'static {
        let (reply, answer) = bounded(1);
        self.ask(Request::Write(task(write, reply)), answer)
    }

    fn ask<R: Send + 'static>(
        &self,
        request: Request<T>,
        answer: Receiver<R>,
    ) -> impl Future<Output = Result<R, Stopped>> + Send + 'static {
        let queued = self.requests.try_send(request);
        // Without a request that waits, the future holds no handle, which would keep the owner alive.
        let waiting = match queued {
            Err(TrySendError::Full(request)) => Some((self.requests.clone(), request)),
            // The answer of a request that was refused never comes.
            Ok(()) | Err(TrySendError::Closed(_)) => None,
        };
        async move {
            if let Some((requests, request)) = waiting {
                requests.send(request).await.map_err(|_| Stopped)?;
            }
            answer.recv().await.map_err(|_| Stopped)
        }
    }
}

fn task<T, R: Send + 'static>(run: impl FnOnce(&mut T) -> R + Send + 'static, reply: Sender<R>) -> Task<T> {
    Box::new(move |state| {
        let result = run(state);
        Box::new(move |durable| {
            if durable {
                // Whoever asked may have stopped waiting.
                let _ = reply.try_send(result);
            }
        })
    })
}

/// The owner's end of the queue. When it goes, so do the requests in it, whose callers learn that the owner stopped.
struct Queue<T>(Receiver<Request<T>>);

impl<T> Queue<T> {
    /// Waits until there is a request and takes what waits, up to a commit's worth; `None` once every handle is gone.
    fn take(&self) -> Option<Vec<Request<T>>> {
        let first = self.0.recv_blocking().ok()?;
        let rest = std::iter::from_fn(|| self.0.try_recv().ok());
        Some(std::iter::once(first).chain(rest).take(REQUESTS_PER_COMMIT_MAX).collect())
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        self.0.close();
        while self.0.try_recv().is_ok() {}
    }
}

/// The owner's loop: take what waits, write, commit, answer, read.
fn own<T: Commit>(mut state: T, queue: &Queue<T>) -> Result<(), StoreError> {
    while let Some(requests) = queue.take() {
        let (mut writes, mut reads) = (Vec::new(), Vec::new());
        for request in requests {
            match request {
                Request::Read(read) => reads.push(read),
                Request::Write(write) => writes.push(write(&mut state)),
            }
        }
        if !writes.is_empty() {
            // On failure the answers are dropped unsaid, and their callers learn that we stopped.
            state.commit()?;
            writes.into_iter().for_each(|answer| answer(true));
        }
        reads.into_iter().for_each(|read| read(&mut state)(true));
    }
    state.commit()?;
    state.close()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::pin::pin;
    use std::task::{Context, Waker};

    use pollster::block_on;

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

    #[test]
    fn a_task_that_finds_the_queue_full_yields_and_gets_its_turn() {
        let (handle, owner) = Handle::spawn("counter", || Ok::<_, Stopped>(Counter::default())).unwrap();
        let (working, works) = sync_channel(1);
        let (go_on, gate) = sync_channel::<()>(1);
        let held_up = handle.write_async(move |_| {
            working.send(()).unwrap();
            gate.recv().unwrap();
        });
        // The owner has taken the first request and is busy with it: all places are free.
        works.recv().unwrap();
        let queued: Vec<_> =
            (0..REQUESTS_MAX).map(|_| handle.write_async(|counter| counter.value += 1)).collect();
        let mut late = pin!(handle.read_async(|counter| counter.committed));
        // Neither making the future nor polling it waits for the owner, who cannot go on before this thread does.
        assert!(late.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        go_on.send(()).unwrap();
        assert_eq!(block_on(late), Ok(REQUESTS_MAX as u64));
        block_on(held_up).unwrap();
        queued.into_iter().for_each(|write| block_on(write).unwrap());
        drop(handle);
        owner.join().unwrap();
    }

    #[test]
    fn whoever_waits_for_a_place_learns_that_the_owner_stopped() {
        let (handle, owner) = Handle::spawn("counter", || Ok::<_, Stopped>(Counter::default())).unwrap();
        let (working, works) = sync_channel(1);
        let (go_on, gate) = sync_channel::<()>(1);
        let failing = handle.write_async(move |counter: &mut Counter| {
            counter.fail = true;
            working.send(()).unwrap();
            gate.recv().unwrap();
        });
        works.recv().unwrap();
        let queued: Vec<_> = (0..REQUESTS_MAX).map(|_| handle.write_async(|_| ())).collect();
        let mut late = pin!(handle.write_async(|_| ()));
        assert!(late.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        go_on.send(()).unwrap();
        assert_eq!(block_on(late), Err(Stopped));
        assert_eq!(block_on(failing), Err(Stopped));
        assert!(queued.into_iter().all(|write| block_on(write) == Err(Stopped)));
        assert!(owner.join().is_err());
    }
}
