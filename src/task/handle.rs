//! The handle of a task, which awaits its result.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use crate::error::{Content, Error, Result, TaskFailed};
use crate::executor::{CallSite, Head, State};
use crate::records::record;
use crate::runtime::context;
use crate::runtime::wait::Wait;
use crate::shown::shown;

/// Waits until the task has ended.
fn poll_finished(head: &Head, wait: &mut Wait, cx: &Context<'_>) -> Poll<Result<()>> {
    context::poll_with(|core| {
        ready!(wait.admit_wait(core, cx))?;
        if head.is_finished() {
            return Poll::Ready(Ok(()));
        }
        head.set_joiner(cx.waker());
        wait.pend(core, cx)
    })
}

/// A task's cell, in the form for its handle.
pub(super) trait Joinable<T> {
    fn head(&self) -> &Head;

    /// Returns the value, once.
    fn take_value(&self) -> Option<T>;
}

/// Awaits a task's result; the task itself belongs to its group.
///
/// # Cancel safety
///
/// Dropping the handle does nothing to the task; a cut `&mut handle` may be awaited again.
pub struct TaskHandle<'s, T> {
    cell: Rc<dyn Joinable<T> + 's>,
    wait: Wait,
    site: CallSite,
    name: Option<Rc<str>>,
    /// Invariant, as the group is.
    scope: PhantomData<Cell<&'s ()>>,
}

impl<'s, T> TaskHandle<'s, T> {
    pub(super) fn new(cell: Rc<dyn Joinable<T> + 's>, site: CallSite) -> Self {
        Self {
            cell,
            wait: Wait::new(&"the end of a task"),
            site,
            name: None,
            scope: PhantomData,
        }
    }

    /// Cancels the task: its operations end with [`Error::Cancelled`], so that it unwinds. It may
    /// clean up in a [`shield`](crate::shield). If it is still pending after that, it is dropped. A
    /// task that has not run yet runs to its first operation, as in a group that is cancelled. If
    /// the task ends with [`Error::Cancelled`], that is no error of its group; any other error is.
    /// No effect if it has already ended.
    pub fn cancel(&self) {
        let head = self.cell.head();
        if !head.cancel() {
            return;
        }
        let id = head.task();
        // Its operations are notified at once if this task is running, or one inside it.
        if let Some(core) = context::current() {
            core.cancel_task(id);
        }
        id.wake();
    }

    /// Gives the task a name, which a [`dump`](fn@crate::dump) shows if this is called while the
    /// task's runtime runs.
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
            let id = self.cell.head().task();
            core.executor.slots().set_name(id, Rc::clone(&name));
            record!(Trace, "soloio::task", "{id} has the name {name:?}");
        }
        self.name = Some(name);
        self
    }

    /// Returns the name that was set with this handle.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the place in the program where the task was spawned.
    #[must_use]
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.site
    }

    /// Waits until the task has ended, with any result, and leaves its value in place: await the
    /// handle to get it.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`] if the waiting task is cancelled; [`Error::NoRuntime`] outside a
    /// runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no other effect than to end the wait.
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
        poll_fn(|cx| poll_finished(self.cell.head(), &mut wait, cx)).await
    }

    /// Returns true if the task has ended, with any result.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.cell.head().is_finished()
    }

    /// The error of a task that was not reported ready, and will not be.
    #[cold]
    pub(super) fn not_ready(&self) -> Error {
        match self.cell.head().state() {
            State::Cancelled => Error::Cancelled,
            _ => self.failed("has not said that it was ready"),
        }
    }

    fn failed(&self, reason: &'static str) -> Error {
        failed(reason, self.name.as_deref(), self.site)
    }
}

/// The error of a task without a value.
#[cold]
fn without(state: State, name: Option<&str>, site: CallSite) -> Error {
    let reason = match state {
        State::Cancelled => return Error::Cancelled,
        State::Failed => "ended with an error, which is its group's",
        State::Panicked => "panicked",
        State::Running | State::Done | State::Taken => "has given its value already",
    };
    failed(reason, name, site)
}

#[cold]
fn failed(reason: &'static str, name: Option<&str>, spawned_at: CallSite) -> Error {
    Error::TaskFailed(Content::new(TaskFailed {
        name: name.map(str::to_owned),
        spawned_at,
        reason,
    }))
}

impl<T> Future for TaskHandle<'_, T> {
    /// The task's value. [`Error::Cancelled`] if it was cancelled; [`Error::TaskFailed`] if it
    /// ended with an error (which is the group's), panicked, or if its value was already taken.
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let this = self.get_mut();
        let head = this.cell.head();
        if context::current().is_some() || !head.is_finished() {
            ready!(poll_finished(head, &mut this.wait, cx))?;
        }
        Poll::Ready(match this.cell.take_value() {
            Some(value) => {
                head.take();
                Ok(value)
            }
            None => Err(without(head.state(), this.name.as_deref(), this.site)),
        })
    }
}

shown!([T] TaskHandle<'_, T>, "TaskHandle", this => finished: this.is_finished());
