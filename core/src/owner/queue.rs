//! A bounded queue from many tasks and threads to one thread.
//!
//! [`Sender::send`] puts an item in at once where there is room, without waiting. Where there is none it is a
//! future: whoever polls it gets a ticket, and places that become free are promised by ticket, so those who wait
//! longest come first and nobody overtakes them. A future that is dropped gives its ticket, or the place promised to
//! it, back. No runtime is needed to poll it, and no lock is held while a task is woken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The receiver is gone. The item was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

/// A queue of at most `items_max` items.
pub(super) fn bounded<T>(items_max: usize) -> (Sender<T>, Receiver<T>) {
    let state = State {
        items: VecDeque::new(),
        waiting: BTreeMap::new(),
        promised: BTreeSet::new(),
        next_ticket: 0,
        senders: 1,
        receiver: Taker::Busy,
        items_max,
    };
    let shared = Arc::new(Shared { state: Mutex::new(state), arrived: Condvar::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// The way in; cheap to clone.
pub(super) struct Sender<T>(Arc<Shared<T>>);

/// The way out.
pub(super) struct Receiver<T>(Arc<Shared<T>>);

/// An item on its way; complete once it is in the queue.
pub(super) struct Sending<T>(Stage<T>);

enum Stage<T> {
    In,
    Refused,
    /// The ticket is drawn at the first poll, because only then there is somebody to wake.
    Outside {
        queue: Sender<T>,
        item: Option<T>,
        ticket: Option<u64>,
    },
}

struct Shared<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    /// Who waits for a place, by ticket.
    waiting: BTreeMap<u64, Waker>,
    /// Tickets that were woken and have a place that is theirs.
    promised: BTreeSet<u64>,
    next_ticket: u64,
    senders: usize,
    receiver: Taker,
    items_max: usize,
}

#[derive(PartialEq, Eq)]
enum Taker {
    Busy,
    /// It sleeps until an item arrives: only then is waking it worth a call to the system.
    Waiting,
    Gone,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn has_free_place(&self) -> bool {
        self.items.len() + self.promised.len() < self.items_max
    }

    /// Puts an item in; says whether the receiver has to be woken.
    #[must_use]
    fn put(&mut self, item: T) -> bool {
        self.items.push_back(item);
        debug_assert!(self.items.len() + self.promised.len() <= self.items_max);
        std::mem::replace(&mut self.receiver, Taker::Busy) == Taker::Waiting
    }

    /// Promises free places to those who wait longest; returns whom to wake.
    #[must_use]
    fn promise(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while self.has_free_place()
            && let Some((ticket, waker)) = self.waiting.pop_first()
        {
            self.promised.insert(ticket);
            wakers.push(waker);
        }
        wakers
    }
}

impl<T> Sender<T> {
    /// Puts the item in if there is room; otherwise the future that is returned does, when polled.
    pub(super) fn send(&self, item: T) -> Sending<T> {
        let mut state = self.0.lock();
        if state.receiver == Taker::Gone {
            return Sending(Stage::Refused);
        }
        if state.has_free_place() && state.waiting.is_empty() {
            let wake = state.put(item);
            drop(state);
            if wake {
                self.0.arrived.notify_one();
            }
            return Sending(Stage::In);
        }
        drop(state);
        Sending(Stage::Outside { queue: self.clone(), item: Some(item), ticket: None })
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.senders -= 1;
        let last = state.senders == 0;
        drop(state);
        if last {
            self.0.arrived.notify_one();
        }
    }
}

impl<T> std::fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T: Unpin> Future for Sending<T> {
    type Output = Result<(), Closed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (queue, item, ticket) = match &mut self.0 {
            Stage::In => return Poll::Ready(Ok(())),
            Stage::Refused => return Poll::Ready(Err(Closed)),
            Stage::Outside { queue, item, ticket } => (queue, item, ticket),
        };
        let mut state = queue.0.lock();
        if state.receiver == Taker::Gone {
            // Nobody is promised anything any more; the item and the way in go with the stage.
            drop(state);
            self.0 = Stage::Refused;
            return Poll::Ready(Err(Closed));
        }
        let is_promised = ticket.is_some_and(|ticket| state.promised.remove(&ticket));
        let may_enter = is_promised || ticket.is_none() && state.waiting.is_empty() && state.has_free_place();
        if !may_enter {
            let ticket = *ticket.get_or_insert_with(|| {
                state.next_ticket += 1;
                state.next_ticket
            });
            let before = state.waiting.insert(ticket, context.waker().clone());
            drop(state);
            // The last handle of a task may end it, and with it a future of this queue: not under the lock.
            drop(before);
            return Poll::Pending;
        }
        let wake = item.take().is_some_and(|item| state.put(item));
        drop(state);
        if wake {
            queue.0.arrived.notify_one();
        }
        // There is no ticket left to give back.
        *ticket = None;
        self.0 = Stage::In;
        Poll::Ready(Ok(()))
    }
}

impl<T> Drop for Sending<T> {
    fn drop(&mut self) {
        let Stage::Outside { queue, ticket: Some(ticket), .. } = &self.0 else { return };
        let mut state = queue.0.lock();
        let own = state.waiting.remove(ticket);
        state.promised.remove(ticket);
        let wakers = state.promise();
        drop(state);
        drop(own);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<T> Receiver<T> {
    /// Waits until there is an item and takes up to `most`, in the order in which they came in; `None` once the
    /// queue is empty and every sender is gone. Blocks.
    pub(super) fn take(&self, most: usize) -> Option<Vec<T>> {
        let mut state = self.0.lock();
        while state.items.is_empty() {
            if state.senders == 0 {
                return None;
            }
            state.receiver = Taker::Waiting;
            state = self.0.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.receiver = Taker::Busy;
        let taken = most.min(state.items.len());
        let items = state.items.drain(..taken).collect();
        let wakers = state.promise();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        Some(items)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.receiver = Taker::Gone;
        let items = std::mem::take(&mut state.items);
        let wakers = std::mem::take(&mut state.waiting);
        state.promised.clear();
        drop(state);
        // What an item does when it is dropped is not our business, so not under the lock.
        drop(items);
        wakers.into_values().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[test]
    fn those_who_wait_longest_come_first_and_nobody_overtakes_them() {
        let (sender, receiver) = bounded(2);
        let (one, two) = (Task::new(sender.send(1)), Task::new(sender.send(2)));
        let (mut three, mut four) = (Task::new(sender.send(3)), Task::new(sender.send(4)));
        assert!([one, two].iter_mut().all(|task| task.poll() == Poll::Ready(Ok(()))));
        assert_eq!((three.poll(), four.poll()), (Poll::Pending, Poll::Pending));
        assert_eq!(receiver.take(1), Some(vec![1]));
        assert_eq!((three.woken(), four.woken()), (1, 0));
        // The free place is promised: a newcomer waits behind both.
        let mut five = Task::new(sender.send(5));
        assert_eq!(five.poll(), Poll::Pending);
        assert_eq!((four.poll(), three.poll()), (Poll::Pending, Poll::Ready(Ok(()))));
        assert_eq!(receiver.take(9), Some(vec![2, 3]));
        assert_eq!((four.poll(), five.poll()), (Poll::Ready(Ok(())), Poll::Ready(Ok(()))));
        assert_eq!(receiver.take(9), Some(vec![4, 5]));
    }

    #[test]
    fn a_dropped_future_hands_its_place_on() {
        let (sender, receiver) = bounded(1);
        drop(sender.send(1));
        let mut waiting: Vec<_> = (2..=4).map(|item| Task::new(sender.send(item))).collect();
        assert!(waiting.iter_mut().all(|task| task.poll() == Poll::Pending));
        // One gives up while it waits, one after it was woken: the last has the place.
        drop(waiting.remove(1));
        assert_eq!(receiver.take(1), Some(vec![1]));
        assert_eq!(waiting[0].woken(), 1);
        drop(waiting.remove(0));
        assert_eq!((waiting[0].woken(), waiting[0].poll()), (1, Poll::Ready(Ok(()))));
        assert_eq!(receiver.take(1), Some(vec![4]));
    }

    #[test]
    fn whoever_waits_learns_that_the_receiver_is_gone() {
        let (sender, receiver) = bounded(1);
        drop(sender.send(1));
        let mut waiting = Task::new(sender.send(2));
        assert_eq!(waiting.poll(), Poll::Pending);
        drop(receiver);
        assert_eq!((waiting.woken(), waiting.poll()), (1, Poll::Ready(Err(Closed))));
        assert_eq!(Task::new(sender.send(3)).poll(), Poll::Ready(Err(Closed)));
    }

    #[test]
    fn the_queue_ends_when_what_is_in_it_is_taken_and_every_sender_is_gone() {
        let (sender, receiver) = bounded(1);
        drop(sender.send(1));
        let mut waiting = Task::new(sender.send(2));
        drop(sender);
        assert_eq!(receiver.take(9), Some(vec![1]));
        assert_eq!(waiting.poll(), Poll::Ready(Ok(())));
        assert_eq!((receiver.take(9), receiver.take(9)), (Some(vec![2]), None));
    }

    /// A task that counts how often it is woken.
    struct Task {
        sending: Sending<i32>,
        wakes: Arc<Wakes>,
    }

    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Task {
        fn new(sending: Sending<i32>) -> Self {
            Self { sending, wakes: Arc::new(Wakes(AtomicUsize::new(0))) }
        }

        fn poll(&mut self) -> Poll<Result<(), Closed>> {
            let waker = Arc::clone(&self.wakes).into();
            Pin::new(&mut self.sending).poll(&mut Context::from_waker(&waker))
        }

        fn woken(&self) -> usize {
            self.wakes.0.load(Ordering::Relaxed)
        }
    }
}
