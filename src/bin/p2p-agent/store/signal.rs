//! Wakes the tasks that wait for something to have happened, on one thread.
//!
//! A waiter remembers the [`generation`](Signal::generation) that it has acted on and waits until it is past: nothing that
//! happens between its look and its wait is lost, and what happened ten times wakes it once.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Counts events and wakes whoever waits for the next one. Not for use across threads; share it in an `Rc`.
#[derive(Default)]
pub struct Signal {
    generation: Cell<u64>,
    seats: RefCell<Vec<Seat>>,
}

/// A place in the waiting room belongs to one [`Past`] as long as that lives, so that the room is never larger than the
/// most tasks that ever waited at once, and a task that gave up leaves nothing behind.
enum Seat {
    Free,
    Idle,
    Waiting(Waker),
}

impl Signal {
    /// It has happened (again).
    pub fn notify(&self) {
        self.generation.set(self.generation.get().wrapping_add(1));
        let mut number = 0;
        // The room is not borrowed while a waker runs: it may drop a task that sits here itself.
        while let Some(waker) = self.call(number) {
            number += 1;
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// How often it has happened.
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Does anybody wait for it now?
    pub fn is_awaited(&self) -> bool {
        self.seats.borrow().iter().any(|seat| !matches!(seat, Seat::Free))
    }

    /// Ready as soon as it has happened since `seen`, which is an earlier [`generation`](Self::generation).
    pub fn past(&self, seen: u64) -> Past<'_> {
        Past { signal: self, seen, seat: None }
    }

    /// The waker on a seat; the outer `None` is behind the last seat.
    fn call(&self, number: usize) -> Option<Option<Waker>> {
        let mut seats = self.seats.borrow_mut();
        let seat = seats.get_mut(number)?;
        if !matches!(seat, Seat::Waiting(_)) {
            return Some(None);
        }
        match std::mem::replace(seat, Seat::Idle) {
            Seat::Waiting(waker) => Some(Some(waker)),
            Seat::Free | Seat::Idle => Some(None),
        }
    }

    fn sit(&self, seat: Option<usize>, waker: &Waker) -> usize {
        let mut seats = self.seats.borrow_mut();
        let number = seat.or_else(|| seats.iter().position(|seat| matches!(seat, Seat::Free))).unwrap_or(seats.len());
        let taken = Seat::Waiting(waker.clone());
        match seats.get_mut(number) {
            Some(seat) => *seat = taken,
            None => seats.push(taken),
        }
        number
    }
}

/// The future of [`Signal::past`].
#[must_use = "futures do nothing unless awaited"]
pub struct Past<'a> {
    signal: &'a Signal,
    seen: u64,
    seat: Option<usize>,
}

impl Future for Past<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.signal.generation() != self.seen {
            return Poll::Ready(());
        }
        self.seat = Some(self.signal.sit(self.seat, context.waker()));
        Poll::Pending
    }
}

impl Drop for Past<'_> {
    fn drop(&mut self) {
        let Some(number) = self.seat else { return };
        if let Some(seat) = self.signal.seats.borrow_mut().get_mut(number) {
            *seat = Seat::Free;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smol::future::{block_on, or, poll_once, yield_now};
    use std::rc::Rc;

    #[test]
    fn what_happened_before_the_wait_is_not_lost() {
        let signal = Signal::default();
        let seen = signal.generation();
        signal.notify();
        block_on(signal.past(seen));
        assert!(block_on(poll_once(signal.past(signal.generation()))).is_none());
    }

    #[test]
    fn every_waiter_is_woken() {
        let signal = Rc::new(Signal::default());
        let executor = smol::LocalExecutor::new();
        let tasks: Vec<_> = (0..5)
            .map(|_| {
                let signal = signal.clone();
                executor.spawn(async move { signal.past(0).await })
            })
            .collect();
        block_on(executor.run(async {
            yield_now().await;
            yield_now().await;
            signal.notify();
            for task in tasks {
                task.await;
            }
        }));
    }

    #[test]
    fn a_waiter_that_gave_up_leaves_its_seat() {
        let signal = Signal::default();
        for _ in 0..100 {
            block_on(or(signal.past(0), async { yield_now().await }));
        }
        assert_eq!(signal.seats.borrow().len(), 1);
        assert!(!signal.is_awaited());
    }
}
