//! A task as its set sees it: its future with the types forgotten, and what is beside that.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::{Context, Poll, Waker};

use super::waker::TaskId;

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// A task ended with an error, which it has left with its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed {
    /// It is the error of a cancel.
    pub(crate) by_cancel: bool,
}

/// A task's future in its cell. One machine polls and drops all of them, so that the code of a
/// further kind of task is little more than its future's.
pub(crate) trait Child {
    /// Polls the future. When it is done: drops it, hands its value over, wakes the joiner. If its
    /// handle asked for its end, it has operations end with that, unless `told` says that they do.
    fn poll(&self, cx: &mut Context<'_>, told: bool) -> Poll<Result<(), Failed>>;

    /// Drops the future where it is, if it is still there and not being polled.
    fn drop_future(&self);

    /// Takes notice of a panic, if that is not the group's affair.
    fn panicked(&self, payload: Payload) -> Option<Payload>;

    /// What does not depend on the future's type.
    fn head(&self) -> &Head;
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It has not ended. Excludes a value.
    Running,
    /// It ended with a value, which is there until the handle takes it.
    Done,
    /// The handle has taken the value.
    Taken,
    /// It was cancelled: by its handle, or with what is around it.
    Cancelled,
    /// It ended with an error, which is its group's.
    Failed,
    /// Its panic went on in what polled it.
    Panicked,
}

/// What a task's set and its handle share, but for its value.
pub(crate) struct Head {
    /// That of nobody until it has a slot: waking it does nothing then.
    id: Cell<TaskId>,
    joiner: Cell<Option<Waker>>,
    state: Cell<State>,
    /// Its handle asked for its end.
    cancelled: Cell<bool>,
    /// The number is one of a runtime that does not run now.
    stranded: Cell<bool>,
}

impl Head {
    pub(crate) fn new() -> Self {
        Self {
            id: Cell::new(TaskId::NOBODY),
            joiner: Cell::new(None),
            state: Cell::new(State::Running),
            cancelled: Cell::new(false),
            stranded: Cell::new(false),
        }
    }

    /// The task has ended so. Wakes the one that waits for it.
    pub(crate) fn end(&self, state: State) {
        self.state.set(state);
        if let Some(joiner) = self.joiner.take() {
            joiner.wake();
        }
    }

    #[inline]
    pub(crate) fn state(&self) -> State {
        self.state.get()
    }

    /// The value is gone.
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

    /// Asks for its end; false if that is known, or it has ended.
    pub(crate) fn cancel(&self) -> bool {
        !self.is_finished() && !self.cancelled.replace(true)
    }

    /// Wakes this one at the end, instead of another.
    pub(crate) fn set_joiner(&self, waker: &Waker) {
        let old = self.joiner.replace(Some(waker.clone()));
        drop(old);
    }

    #[inline]
    pub(super) fn set_id(&self, id: TaskId) {
        self.id.set(id);
    }

    /// The number it was told last.
    #[inline]
    pub(super) fn id(&self) -> TaskId {
        self.id.get()
    }

    /// From now on its handle must not use the number.
    pub(super) fn strand(&self) {
        self.stranded.set(true);
    }

    /// The number as the handle may use it.
    pub(crate) fn task(&self) -> TaskId {
        match self.stranded.get() {
            true => TaskId::NOBODY,
            false => self.id.get(),
        }
    }
}

/// Drops the future in place, if it is still there, and ends the joiner's wait.
pub(crate) fn cancel(child: &dyn Child, panicked: bool) {
    // A future that cancels itself from inside its own poll is dropped when that is over.
    let dropped = catch_unwind(AssertUnwindSafe(|| child.drop_future()));
    // The joiner's wait ends, whatever the future's drop did; its waker may panic in turn.
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
