//! A child's result: the cell it is left in, and the handle that awaits it.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};

use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use super::outcome::Outcome;
use crate::error::{Error, Failure, Result, TaskFailed};
use crate::executor::{Place, TaskId};
use crate::runtime::context;
use crate::runtime::wait::Wait;

/// Why a task has no value to give.
#[derive(Debug, Clone, Copy)]
enum Missing {
    /// It was cancelled: by its handle, or with what is around it.
    Cancelled,
    /// Its error is the group's.
    Failed,
    /// Its panic went on in what polled it.
    Panicked,
    /// There is none yet, or no more.
    Taken,
}

/// Where a child leaves its result, beside (never inside) the cell of its future.
pub(super) struct Join<T> {
    result: Cell<Result<T, Missing>>,
    finished: Cell<bool>,
    cancelled: Cell<bool>,
    joiner: Cell<Option<Waker>>,
    /// That of nobody until it has a slot: waking it does nothing then.
    id: Cell<TaskId>,
    /// The number is one of a runtime that does not run now.
    stranded: Cell<bool>,
}

impl<T> Join<T> {
    pub(super) fn new() -> Self {
        Self {
            result: Cell::new(Err(Missing::Taken)),
            finished: Cell::new(false),
            cancelled: Cell::new(false),
            joiner: Cell::new(None),
            id: Cell::new(TaskId::NOBODY),
            stranded: Cell::new(false),
        }
    }

    /// The child has ended. Wakes the task that waits for it.
    fn publish(&self, result: Result<T, Missing>) {
        self.result.set(result);
        self.finished.set(true);
        if let Some(joiner) = self.joiner.take() {
            joiner.wake();
        }
    }

    /// The child's future is dropped: its handle will have no value.
    pub(super) fn give_up(&self, panicked: bool) {
        if !self.is_finished() {
            self.publish(Err(match panicked {
                true => Missing::Panicked,
                false => Missing::Cancelled,
            }));
        }
    }

    /// The child ended by itself: its value goes to the handle, its error to the group.
    pub(super) fn take<O, E>(&self, outcome: O) -> Result<(), E>
    where
        O: Outcome<E, Value = T>,
        E: Failure,
    {
        let (result, ended) = match outcome.into_result() {
            Ok(value) => (Ok(value), Ok(())),
            Err(error) if error.is_cancelled() => (Err(Missing::Cancelled), Err(error)),
            Err(error) => (Err(Missing::Failed), Err(error)),
        };
        self.publish(result);
        ended
    }

    fn poll_finished(&self, wait: &mut Wait, cx: &Context<'_>) -> Poll<Result<()>> {
        context::poll_with(|core| {
            ready!(wait.admit_wait(core, cx))?;
            if self.is_finished() {
                return Poll::Ready(Ok(()));
            }
            let old = self.joiner.replace(Some(cx.waker().clone()));
            drop(old);
            wait.pend(core, cx)
        })
    }

    /// The value, once.
    fn take_result(&self) -> Result<T, Missing> {
        let result = self.result.replace(Err(Missing::Taken));
        result.inspect_err(|missing| self.result.set(Err(*missing)))
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

    pub(super) fn id(&self) -> TaskId {
        self.id.get()
    }

    pub(super) fn strand(&self) {
        self.stranded.set(true);
    }

    /// The number as the handle may use it.
    fn task(&self) -> TaskId {
        match self.stranded.get() {
            true => TaskId::NOBODY,
            false => self.id.get(),
        }
    }
}

/// A task's cell, seen by its handle.
pub(super) trait Joinable<T> {
    fn join(&self) -> &Join<T>;
}

/// Awaits a task's result; the task itself belongs to its group.
///
/// # Cancel safety
///
/// Dropping the handle does nothing to the task; a cut `&mut handle` may be awaited again.
pub struct TaskHandle<'s, T> {
    cell: Rc<dyn Joinable<T> + 's>,
    wait: Wait,
    place: Place,
    name: Option<Rc<str>>,
    /// Invariant, as the group is.
    scope: PhantomData<Cell<&'s ()>>,
}

impl<'s, T> TaskHandle<'s, T> {
    pub(super) fn new(cell: Rc<dyn Joinable<T> + 's>, place: Place) -> Self {
        Self {
            cell,
            wait: Wait::new(&"the end of a task"),
            place,
            name: None,
            scope: PhantomData,
        }
    }

    /// Cancels the task: its operations end with [`Error::Cancelled`], so that it unwinds and may
    /// clean up in a [`shield`](crate::shield); what is still pending after that is dropped. A task
    /// that has not run yet runs to its first operation, as in a group that is cancelled. A
    /// [`Error::Cancelled`] that it ends with is no error of its group's; any other one is. Nothing
    /// happens if it has ended already.
    pub fn cancel(&self) {
        let join = self.cell.join();
        if join.is_finished() || join.cancelled.replace(true) {
            return;
        }
        let id = join.task();
        // Told to its operations at once if it is this task that is running, or one around it.
        if let Some(core) = context::current() {
            core.cancel_task(id);
        }
        id.wake();
    }

    /// Gives the task a name, which a [`dump`](fn@crate::dump) shows if the task's runtime runs
    /// when this is called.
    ///
    /// # Examples
    ///
    /// ```
    /// soloio::block_on(soloio::task_group(async |group| {
    ///     let task = group.spawn(async { Ok(()) }).named("the worker");
    ///     assert_eq!(task.name(), Some("the worker"));
    ///     Ok(())
    /// }))?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    #[must_use = "the handle comes back"]
    pub fn named(mut self, name: impl Into<Rc<str>>) -> Self {
        let name = name.into();
        if let Some(core) = context::current() {
            let id = self.cell.join().task();
            core.executor.set_name(id, Rc::clone(&name));
        }
        self.name = Some(name);
        self
    }

    /// The name it was given with this handle.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Where in the program the task was spawned.
    #[must_use]
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.place
    }

    /// Waits until the task has ended, one way or another, and leaves its value where it is: to
    /// await the handle gives it.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`] if who waits is cancelled; [`Error::NoRuntime`] outside a runtime.
    ///
    /// # Cancel safety
    ///
    /// Nothing has happened.
    ///
    /// # Examples
    ///
    /// ```
    /// soloio::block_on(soloio::task_group(async |group| {
    ///     let mut task = group.spawn(async { Ok(5) });
    ///     task.wait().await?;
    ///     assert!(task.is_finished());
    ///     assert_eq!(task.await?, 5);
    ///     Ok(())
    /// }))?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    pub async fn wait(&mut self) -> Result<()> {
        let mut wait = Wait::new(&"the end of a task");
        poll_fn(|cx| self.cell.join().poll_finished(&mut wait, cx)).await
    }

    /// True when the task has ended, one way or another.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.cell.join().is_finished()
    }

    #[cold]
    fn without(&self, missing: Missing) -> Error {
        self.failed(match missing {
            Missing::Cancelled => return Error::Cancelled,
            Missing::Failed => "ended with an error, which is its group's",
            Missing::Panicked => "panicked",
            Missing::Taken => "has given its value already",
        })
    }

    /// The error of a task that has not said that it is ready, and will not.
    #[cold]
    pub(super) fn not_ready(&self) -> Error {
        match self.cell.join().take_result() {
            Err(Missing::Cancelled) => Error::Cancelled,
            _ => self.failed("has not said that it was ready"),
        }
    }

    fn failed(&self, reason: &'static str) -> Error {
        Error::TaskFailed(Box::new(TaskFailed {
            name: self.name.as_deref().map(str::to_owned),
            spawned_at: self.place,
            reason,
        }))
    }
}

impl<T> Future for TaskHandle<'_, T> {
    /// The task's value. [`Error::Cancelled`] if it was cancelled; [`Error::TaskFailed`] if it
    /// ended with an error (which is the group's), panicked, or if its value was taken already.
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let this = self.get_mut();
        let join = this.cell.join();
        if context::current().is_some() || !join.is_finished() {
            ready!(join.poll_finished(&mut this.wait, cx))?;
        }
        let result = join.take_result();
        Poll::Ready(result.map_err(|missing| this.without(missing)))
    }
}

impl<T> fmt::Debug for TaskHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle")
            .field("finished", &self.is_finished())
            .finish()
    }
}
