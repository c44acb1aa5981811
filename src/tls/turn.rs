//! Whose turn it is: a lock between tasks of one thread, for the ciphertext that is on its way.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker, ready};

use crate::error::{Error, Result};
use crate::executor::wake_each;
use crate::runtime::context;
use crate::runtime::wait::Wait;

/// A lock. Who waits for it is woken when it is free, and looks again.
#[derive(Debug, Default)]
pub(super) struct Turn {
    held: Cell<bool>,
    closed: Cell<bool>,
    next: Cell<u64>,
    waiting: RefCell<Vec<(u64, Waker)>>,
}

impl Turn {
    pub(super) fn try_take(&self) -> Option<Taken<'_>> {
        let free = !self.held.replace(true);
        // Made only if it is free: dropping one gives the turn away.
        free.then(|| Taken(self))
    }

    /// Waits until it is free. [`Error::Closed`] after [`close`](Self::close).
    pub(super) async fn take(&self) -> Result<Taken<'_>> {
        let mut place = Place {
            turn: self,
            number: None,
        };
        let mut wait = Wait::new(&"another task's data to be sent through a TLS stream");
        poll_fn(|cx| {
            context::poll_with(|core| {
                ready!(wait.admit(core, cx))?;
                if self.closed.get() {
                    return Poll::Ready(Err(Error::Closed));
                }
                if let Some(taken) = self.try_take() {
                    return Poll::Ready(Ok(taken));
                }
                place.wait(cx.waker().clone());
                wait.pend(core, cx)
            })
        })
        .await
    }

    /// Ends all waits, of now and of later.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.wake();
    }

    fn wake(&self) {
        let waiting = self.waiting.take();
        wake_each(waiting.into_iter().map(|(_, waker)| waker));
    }
}

/// Having the turn; given on when dropped.
#[derive(Debug)]
pub(super) struct Taken<'a>(&'a Turn);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.held.set(false);
        self.0.wake();
    }
}

/// A place among those that wait; left when dropped.
struct Place<'a> {
    turn: &'a Turn,
    number: Option<u64>,
}

impl Place<'_> {
    fn wait(&mut self, waker: Waker) {
        let number = *self.number.get_or_insert_with(|| {
            let number = self.turn.next.get();
            self.turn.next.set(number + 1);
            number
        });
        let old = self.leave(number);
        self.turn.waiting.borrow_mut().push((number, waker));
        drop(old);
    }

    fn leave(&self, number: u64) -> Option<Waker> {
        let mut waiting = self.turn.waiting.borrow_mut();
        let at = waiting.iter().position(|(other, _)| *other == number)?;
        Some(waiting.swap_remove(at).1)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let old = self.number.and_then(|number| self.leave(number));
        drop(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::task::Wake;

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a foreign waker");
        }
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Relaxed);
        }
    }

    #[test]
    fn a_waker_that_panics_leaves_no_other_asleep() {
        let turn = Turn::default();
        let taken = turn.try_take().expect("it is free");
        let mut places = [(); 2].map(|()| Place {
            turn: &turn,
            number: None,
        });
        let other = Arc::new(Woken::default());
        places[0].wait(Arc::new(Panics).into());
        places[1].wait(Arc::clone(&other).into());
        catch_unwind(AssertUnwindSafe(|| drop(taken))).expect_err("it panics");
        assert!(turn.waiting.borrow().is_empty());
        assert!(other.0.load(Relaxed));
        assert!(turn.try_take().is_some());
    }

    /// Who finds it held must not give it away.
    #[test]
    fn there_is_one_turn() {
        let turn = Turn::default();
        let taken = turn.try_take().expect("it is free");
        for _ in 0..3 {
            assert!(turn.try_take().is_none());
        }
        drop(taken);
        assert!(turn.try_take().is_some());
        assert!(turn.try_take().is_some());
    }
}
