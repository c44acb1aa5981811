//! The place of one future in a line of waiters: taken at the first wait, left when dropped.
//!
//! ```text
//!   poll:  gate ──> attempt ──> outcome           (what is ready wins)
//!                      └──> stand in line, wait
//!   drop:  leave; called already? then the next is called instead
//! ```

use std::cell::RefCell;
use std::task::{Context, Poll, Waker, ready};

use super::wait_queue::{WaitQueue, WaiterId};
use crate::error::Result;
use crate::executor::{TaskId, wake_one};
use crate::runtime::context;
use crate::runtime::wait::Wait;

/// An object with a line of waiters.
pub(crate) trait Line {
    /// The value that each waiter has at its place.
    type Value;

    fn queue(&mut self) -> &mut WaitQueue<Self::Value>;

    /// Called when a waiter that was called, with this value, has left without taking what it was
    /// called for: calls the next waiter, and returns its waker.
    #[must_use = "the waker has to be called"]
    fn pass_on(&mut self, value: &Self::Value) -> Option<Waker>;

    /// The task that the others wait for, if there is one.
    fn holder(&self) -> TaskId {
        TaskId::NONE
    }
}

/// A line alone: an unused call goes to the next waiter.
impl Line for WaitQueue<()> {
    type Value = ();

    fn queue(&mut self) -> &mut Self {
        self
    }

    fn pass_on(&mut self, (): &()) -> Option<Waker> {
        self.call()?.1
    }
}

/// The progress of a waiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It has no place yet.
    Arrived,
    /// It is in line.
    Waiting,
    /// It was called.
    Called,
}

/// A place in line that is left on drop.
pub(crate) struct InLine<'a, L: Line> {
    line: &'a RefCell<L>,
    waiter: Option<WaiterId>,
}

impl<'a, L: Line> InLine<'a, L> {
    pub(crate) fn new(line: &'a RefCell<L>) -> Self {
        Self { line, waiter: None }
    }

    pub(crate) fn turn(&self) -> Turn {
        match self.waiter {
            None => Turn::Arrived,
            Some(id) if self.line.borrow_mut().queue().is_called(id) => Turn::Called,
            Some(_) => Turn::Waiting,
        }
    }

    /// Takes a place at the end, or replaces the waker at its place. `value` is called only in the
    /// first case.
    pub(crate) fn stand(&mut self, cx: &Context<'_>, value: impl FnOnce() -> L::Value) {
        // Cloned, and the old one dropped, while the cell is not borrowed: wakers may be foreign.
        match self.waiter {
            None => {
                let (value, waker) = (value(), cx.waker().clone());
                let id = self.line.borrow_mut().queue().join(value, waker);
                self.waiter = Some(id);
            }
            Some(id) => {
                let same = self.line.borrow_mut().queue().would_wake(id, cx.waker());
                if !same {
                    let waker = cx.waker().clone();
                    let old = self.line.borrow_mut().queue().set_waker(id, waker);
                    drop(old);
                }
            }
        }
    }

    /// Leaves the line after use of the call, or without need of the place.
    pub(crate) fn leave(&mut self) -> Option<L::Value> {
        let id = self.waiter.take()?;
        let left = self.line.borrow_mut().queue().leave(id);
        Some(left.value)
    }

    /// Leaves the line for good; an unused call goes to the next waiter.
    #[inline]
    pub(crate) fn give_up(&mut self) -> Option<L::Value> {
        let id = self.waiter.take()?;
        Some(self.pass_on(id))
    }

    fn pass_on(&mut self, id: WaiterId) -> L::Value {
        let mut line = self.line.borrow_mut();
        let left = line.queue().leave(id);
        let next = match left.called {
            true => line.pass_on(&left.value),
            false => None,
        };
        drop(line);
        wake_one(next);
        left.value
    }
}

impl<L: Line> Drop for InLine<'_, L> {
    #[inline]
    fn drop(&mut self) {
        drop(self.give_up());
    }
}

/// Waits in line until `attempt` has a result. A call that leads to a result is not passed on.
/// `attempt` gets the progress of the waiter.
pub(crate) fn wait_in_line<L: Line<Value = ()>, T>(
    line: &RefCell<L>,
    mut wait: Wait,
    mut attempt: impl FnMut(&mut L, Turn) -> Option<T>,
) -> impl Future<Output = Result<T>> {
    let mut own = InLine::new(line);
    context::in_runtime(move |core, cx| {
        ready!(wait.admit(core, cx))?;
        let turn = own.turn();
        let outcome = attempt(&mut own.line.borrow_mut(), turn);
        if let Some(outcome) = outcome {
            own.leave();
            core.finished();
            return Poll::Ready(Ok(outcome));
        }
        own.stand(cx, || ());
        let holder = own.line.borrow().holder();
        wait.pend_on(core, cx, holder)
    })
}
