//! A task in the form for its set: its future with an erased type, and the state beside it.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::{Context, Poll, Waker};

use super::wake_one;
use super::waker::TaskId;
use crate::records::record;

/// The payload of a panic.
pub(crate) type Payload = Box<dyn Any + Send>;

/// A task has ended with an error, which it has given to its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed {
    /// It is the error of a cancel.
    pub(crate) by_cancel: bool,
}

/// A task's future in its cell. One machine polls and drops all of them, so that a further kind of
/// task adds little more code than that of its future.
pub(crate) trait Child {
    /// Polls the future. When it is done: drops it, hands its value over, wakes the joiner. If its
    /// handle has cancelled it, its operations end with that (they already do if `notified`).
    fn poll(&self, cx: &mut Context<'_>, notified: bool) -> Poll<Result<(), Failed>>;

    /// Drops the future in place, if it is still there and not being polled.
    fn drop_future(&self);

    /// Takes a panic that is not the group's; otherwise returns it.
    fn panicked(&self, payload: Payload) -> Option<Payload>;

    /// Returns the part that does not depend on the future's type.
    fn head(&self) -> &Head;
}

/// The state of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It has not ended. There is no value.
    Running,
    /// It has ended with a value, which is there until the handle takes it.
    Done,
    /// The handle has taken the value.
    Taken,
    /// It was cancelled: by its handle, or by a scope around it.
    Cancelled,
    /// It has ended with an error, which is its group's.
    Failed,
    /// Its panic was resumed in the code that polled it.
    Panicked,
}

/// The part that a task's set and its handle share, except its value.
pub(crate) struct Head {
    /// The task's number; `NONE` until it has a slot, and then a wake has no effect.
    id: Cell<TaskId>,
    joiner: Cell<Option<Waker>>,
    state: Cell<State>,
    /// Its handle has cancelled it.
    cancelled: Cell<bool>,
    /// The number belongs to a runtime that does not run now.
    stranded: Cell<bool>,
}

impl Head {
    pub(crate) fn new() -> Self {
        Self {
            id: Cell::new(TaskId::NONE),
            joiner: Cell::new(None),
            state: Cell::new(State::Running),
            cancelled: Cell::new(false),
            stranded: Cell::new(false),
        }
    }

    /// Sets the final state, and wakes the task that waits for it.
    pub(crate) fn end(&self, state: State) {
        self.state.set(state);
        wake_one(self.joiner.take());
        record!(Trace, "soloio::task", "{} has ended: {state:?}", self.id());
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        self.state.get()
    }

    /// The value was taken.
    #[inline]
    pub(crate) fn take(&self) {
        self.state.set(State::Taken);
    }

    #[inline]
    pub(crate) fn is_finished(&self) -> bool {
        self.state.get() != State::Running
    }

    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// Requests its end; returns false if that was already done, or it has ended.
    pub(crate) fn cancel(&self) -> bool {
        !self.is_finished() && !self.cancelled.replace(true)
    }

    /// Sets the waker to call at the end, instead of an earlier one.
    pub(crate) fn set_joiner(&self, waker: &Waker) {
        self.joiner.set(Some(waker.clone()));
    }

    #[inline]
    pub(super) fn set_id(&self, id: TaskId) {
        self.id.set(id);
    }

    /// Returns the number that it got last.
    #[inline]
    pub(super) fn id(&self) -> TaskId {
        self.id.get()
    }

    /// From now on its handle must not use the number.
    pub(super) fn strand(&self) {
        self.stranded.set(true);
    }

    /// Returns the number for use by the handle.
    pub(crate) fn task(&self) -> TaskId {
        match self.stranded.get() {
            true => TaskId::NONE,
            false => self.id.get(),
        }
    }
}

/// Drops the future in place, if it is still there, and ends the joiner's wait.
pub(crate) fn cancel(child: &dyn Child, panicked: bool) {
    // A future that cancels itself from inside its own poll is dropped after that poll.
    let dropped = catch_unwind(AssertUnwindSafe(|| child.drop_future()));
    // The joiner's wait ends even after a panic of the drop; its waker may panic, too.
    let woken = catch_unwind(AssertUnwindSafe(|| {
        let head = child.head();
        if !head.is_finished() {
            head.end(match panicked {
                true => State::Panicked,
                false => State::Cancelled,
            });
        }
    }));
    if let Err(payload) = dropped.and(woken) {
        if let Some(payload) = child.panicked(payload) {
            resume_unwind(payload);
        }
    }
}
