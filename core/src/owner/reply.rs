//! One answer, from the owner to whoever asked; and waiting for a future on a thread.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use super::Stopped;

/// The two ends of one answer.
pub(super) fn reply<R>() -> (Reply<R>, Pending<R>) {
    let slot = Arc::new(Slot(Mutex::new(State::Waiting(None))));
    (Reply(Arc::clone(&slot)), Pending(slot))
}

/// Gives the answer; dropped without one, it tells the asker that the owner stopped.
pub(super) struct Reply<R>(Arc<Slot<R>>);

/// Waits for the answer.
pub(super) struct Pending<R>(Arc<Slot<R>>);

struct Slot<R>(Mutex<State<R>>);

enum State<R> {
    Waiting(Option<Waker>),
    Answered(R),
    Dropped,
}

impl<R> Slot<R> {
    fn replace(&self, state: State<R>) -> State<R> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), state)
    }

    fn end(&self, state: State<R>) {
        if let State::Waiting(Some(waker)) = self.replace(state) {
            waker.wake();
        }
    }
}

impl<R> Reply<R> {
    pub(super) fn answer(self, result: R) {
        self.0.end(State::Answered(result));
    }
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        let answer = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = matches!(*answer, State::Waiting(_));
        drop(answer);
        if waiting {
            self.0.end(State::Dropped);
        }
    }
}

impl<R> Future for Pending<R> {
    type Output = Result<R, Stopped>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0.replace(State::Waiting(Some(context.waker().clone()))) {
            State::Answered(result) => Poll::Ready(Ok(result)),
            State::Dropped => Poll::Ready(Err(Stopped)),
            State::Waiting(_) => Poll::Pending,
        }
    }
}

/// Waits for a future on this thread, which sleeps meanwhile.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut context, mut future) = (Context::from_waker(&waker), pin!(future));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
