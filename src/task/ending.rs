//! The cancel of a group, and the errors of its tasks.

use std::cell::{Cell, RefCell};

use super::group::TaskGroup;
use crate::error::{Error, Failure};
use crate::executor::remote::Post;
use crate::executor::{SetKey, waker};
use crate::runtime::context::{self, Core};
use crate::runtime::scopes::ScopeKey;

/// The state of a group's end, shared with the code that polls it.
#[derive(Default)]
pub(super) struct Ending {
    /// The runtime that it was polled in, and its scope there.
    pub(super) home: Cell<(u64, ScopeKey)>,
    pub(super) cancelled: Cell<bool>,
}

impl Ending {
    /// Called when the group is polled in this runtime: finds its scope there, or makes it.
    pub(super) fn enter(&self, core: &Core, set: SetKey) {
        let (serial, scope) = self.home.get();
        if serial == core.serial() {
            return core.move_scope(scope);
        }
        self.leave();
        let scope = core.enter_group(set);
        self.home.set((core.serial(), scope));
        if self.cancelled.get() {
            core.cancel_scope(scope);
        }
    }

    /// Called when the group will not be polled again, or not there: ends its scope.
    pub(super) fn leave(&self) {
        let (serial, scope) = self.home.take();
        if scope == 0 {
            return;
        }
        let here = context::with_serial(serial, |core| {
            core.leave_scope(scope);
        });
        if here.is_none() {
            if let Some(remote) = waker::by_serial(serial) {
                remote.post(Post::Scope(scope));
            }
        }
    }
}

/// The errors of a group's tasks, each in its place.
pub(super) struct Errors<'env, E> {
    /// The error of the task that has just failed.
    pub(super) latest: Cell<Option<E>>,
    /// The error that ended the group.
    first: Cell<Option<E>>,
    /// The error of a child that ended because a scope around the group is cancelled.
    cut_off: Cell<Option<E>>,
    /// The place of the errors after the first one.
    others: Cell<Option<&'env RefCell<Vec<E>>>>,
}

/// The place of the latest error, or an error without a task.
pub(super) enum Keep {
    First,
    CutOff,
    Other,
    Nowhere,
    /// The group was polled outside a runtime, which ended it.
    NoRuntime,
    /// The group was dropped because of a cancel, which ended it.
    Cancelled,
}

/// [`Errors`] with an erased error type.
pub(super) trait KeepErrors {
    fn keep(&self, how: Keep);
}

impl<E> Errors<'_, E> {
    pub(super) fn new() -> Self {
        Self {
            latest: Cell::new(None),
            first: Cell::new(None),
            cut_off: Cell::new(None),
            others: Cell::new(None),
        }
    }

    /// Returns the error that the group ends with. If a child was cut off, so is the group, even if
    /// its body was not.
    pub(super) fn end(&self) -> Option<E> {
        self.first.take().or_else(|| self.cut_off.take())
    }
}

impl<E: Failure> KeepErrors for Errors<'_, E> {
    fn keep(&self, how: Keep) {
        let latest = self.latest.take();
        match how {
            Keep::First => self.first.set(latest),
            Keep::CutOff => {
                let cut_off = self.cut_off.take();
                self.cut_off.set(cut_off.or(latest));
            }
            Keep::Other => {
                if let (Some(others), Some(error)) = (self.others.get(), latest) {
                    others.borrow_mut().push(error);
                }
            }
            Keep::Nowhere => {}
            Keep::NoRuntime => self.first.set(Some(Error::NoRuntime.into())),
            Keep::Cancelled => self.first.set(Some(Error::Cancelled.into())),
        }
    }
}

impl<'env, E> TaskGroup<'_, 'env, E> {
    /// Cancels the body and every child, also those spawned from now on: their operations end with
    /// [`Error::Cancelled`](crate::Error::Cancelled); those that are still pending after that are
    /// dropped.
    ///
    /// The group's result is then the result of its body, or the first error that is not the
    /// cancel's: clean-up that failed.
    ///
    /// # Examples
    ///
    /// A cancel with a reason, which the children and a report can read, is that of a
    /// [`CancelScope`](crate::CancelScope) around the group:
    ///
    /// ```
    /// use soloio::{CancelScope, sleep, task_group, yield_now};
    /// use std::time::Duration;
    ///
    /// let scope = CancelScope::new();
    /// let ended = soloio::block_on(scope.run(task_group(async |group| {
    ///     group.spawn(async {
    ///         let slept = sleep(Duration::from_secs(60)).await;
    ///         assert_eq!(scope.reason().as_deref(), Some("the disk is full"));
    ///         slept
    ///     });
    ///     yield_now().await?;
    ///     scope.cancel("the disk is full");
    ///     Ok(())
    /// })));
    /// assert!(ended.unwrap().unwrap_err().is_cancelled());
    /// ```
    pub fn cancel(&self) {
        if self.ending.cancelled.replace(true) {
            return;
        }
        let (serial, scope) = self.ending.home.get();
        let here = context::with_serial(serial, |core| core.cancel_scope(scope));
        if here.is_none() {
            self.set.wake_body();
        }
    }

    /// Collects the errors that come after the first one, which is the group's result: those of
    /// siblings that failed as well, also during clean-up. Without this they are dropped. An error
    /// of a cancel is never collected.
    ///
    /// # Panics
    ///
    /// Polling the group panics if `others` is borrowed when an error comes: hold no borrow of it
    /// across a wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::{Error, task_group};
    /// use std::cell::RefCell;
    ///
    /// let others = RefCell::new(Vec::new());
    /// let ended = soloio::block_on(task_group(async |group| {
    ///     group.keep_errors_in(&others);
    ///     group.spawn(async { Err::<(), _>(Error::other("first")) });
    ///     group.spawn(async { Err::<(), _>(Error::other("second")) });
    ///     Ok(())
    /// }));
    /// assert_eq!(ended.unwrap_err().to_string(), "first");
    /// assert_eq!(others.borrow()[0].to_string(), "second");
    /// ```
    pub fn keep_errors_in(&self, others: &'env RefCell<Vec<E>>) {
        self.errors.others.set(Some(others));
    }
}
