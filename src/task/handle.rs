//! A child's result: the cell it is left in, and the handle that awaits it.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use super::outcome::Outcome;
use crate::error::{Error, Result};
use crate::executor::TaskId;
use crate::runtime::context;
use crate::runtime::wait::Wait;

/// Where a child leaves its result, beside (never inside) the cell of its future.
pub(super) struct Join<T> {
    result: Cell<Option<T>>,
    finished: Cell<bool>,
    cancelled: Cell<bool>,
    started: Cell<bool>,
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
            started: Cell::new(false),
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

    /// The value, once; after that, or if there is none, the task counts as cancelled.
    fn take_result(&self) -> Result<T> {
        self.result.take().ok_or(Error::Cancelled)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished.get()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// The task is polled.
    pub(super) fn start(&self) {
        self.started.set(true);
    }

    pub(super) fn has_started(&self) -> bool {
        self.started.get()
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
    wait: Wait,
    /// Invariant, as the group is.
    scope: PhantomData<Cell<&'s ()>>,
}

impl<'s, T> TaskHandle<'s, T> {
    pub(super) fn new(cell: Rc<dyn Joinable<T> + 's>) -> Self {
        Self {
            cell,
            wait: Wait::new("the end of a task"),
            scope: PhantomData,
        }
    }

    /// Cancels the task: its operations end with [`Error::Cancelled`], so that it unwinds and may
    /// clean up in a [`shield`](crate::shield); what is still pending after that is dropped. A task
    /// that has not run yet is dropped without running. That it was told to end is no error of its
    /// group's. Nothing happens if it has ended already.
    pub fn cancel(&self) {
        let join = self.cell.join();
        if join.is_finished() || join.cancelled.replace(true) {
            return;
        }
        let id = join.id.get();
        // Told to its operations at once if it is this task that is running, or one around it.
        if let Some(core) = context::current() {
            core.cancel_task(id);
        }
        id.wake();
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
        let Self { cell, wait, .. } = self.get_mut();
        let join = cell.join();
        let Some(core) = context::current() else {
            return match join.is_finished() {
                true => Poll::Ready(join.take_result()),
                false => Poll::Ready(Err(Error::NoRuntime)),
            };
        };
        ready!(wait.admit_wait(&core, cx))?;
        if join.is_finished() {
            return Poll::Ready(join.take_result());
        }
        let old = join.joiner.replace(Some(cx.waker().clone()));
        drop(old);
        wait.pend(&core, cx)
    }
}

impl<T> fmt::Debug for TaskHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle")
            .field("finished", &self.is_finished())
            .finish()
    }
}
