//! A child's result: the cell it is left in, and the handle that awaits it.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::outcome::Outcome;
use crate::error::{Error, Result};
use crate::executor::TaskId;
use crate::runtime::context;

/// Where a child leaves its result, beside (never inside) the cell of its future.
pub(super) struct Join<T> {
    result: Cell<Option<T>>,
    finished: Cell<bool>,
    cancelled: Cell<bool>,
    joiner: Cell<Option<Waker>>,
    /// That of nobody until it has a slot: waking it does nothing then.
    id: Cell<TaskId>,
}

impl<T> Join<T> {
    pub(super) fn new() -> Self {
        Self {
            result: Cell::new(None),
            finished: Cell::new(false),
            cancelled: Cell::new(false),
            joiner: Cell::new(None),
            id: Cell::new(TaskId::NOBODY),
        }
    }

    /// The child is done: `None` if it gave no value. Wakes who waits.
    pub(super) fn publish(&self, value: Option<T>) {
        self.result.set(value);
        self.finished.set(true);
        if let Some(joiner) = self.joiner.take() {
            joiner.wake();
        }
    }

    /// The child ended by itself: its value goes to the handle, its error to the group.
    pub(super) fn take<O, E>(&self, outcome: O) -> Result<(), E>
    where
        O: Outcome<E, Value = T>,
    {
        let (value, ended) = match outcome.into_result() {
            Ok(value) => (Some(value), Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.publish(value);
        ended
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished.get()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    pub(super) fn set_id(&self, id: TaskId) {
        self.id.set(id);
    }
}

/// A task's cell, seen by its handle.
pub(super) trait Joinable<T> {
    fn join(&self) -> &Join<T>;
}

/// Awaits a task's result; the task itself belongs to its group.
///
/// Dropping the handle does nothing to the task.
pub struct TaskHandle<'s, T> {
    cell: Rc<dyn Joinable<T> + 's>,
    /// Invariant, as the group is.
    scope: PhantomData<Cell<&'s ()>>,
}

impl<'s, T> TaskHandle<'s, T> {
    pub(super) fn new(cell: Rc<dyn Joinable<T> + 's>) -> Self {
        Self {
            cell,
            scope: PhantomData,
        }
    }

    /// Asks for the end of the task: its future is dropped when it is not being polled, at the
    /// latest in the group's next turn. Nothing happens if it has ended already.
    pub fn cancel(&self) {
        let join = self.cell.join();
        if join.is_finished() || join.cancelled.replace(true) {
            return;
        }
        join.id.get().wake();
    }

    /// True when the task has ended, one way or another.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.cell.join().is_finished()
    }
}

impl<T> Future for TaskHandle<'_, T> {
    /// The task's value. [`Error::Cancelled`] if it was cancelled, ended with an error (which is
    /// the group's), panicked, or if its value was taken already.
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let join = self.cell.join();
        if join.is_finished() {
            return Poll::Ready(join.result.take().ok_or(Error::Cancelled));
        }
        context::poll_with(|core| {
            core.admit_wait()?;
            let old = join.joiner.replace(Some(cx.waker().clone()));
            drop(old);
            Poll::Pending
        })
    }
}

impl<T> fmt::Debug for TaskHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle")
            .field("finished", &self.is_finished())
            .finish()
    }
}
