//! How a group is cancelled, and where the errors go that come after its first.

use std::cell::{Cell, RefCell};

use super::group::TaskGroup;
use crate::executor::remote::Post;
use crate::executor::{SetKey, waker};
use crate::runtime::context::{self, Core};
use crate::runtime::scopes::ScopeKey;

/// What a group and the one who polls it know of its end.
pub(super) struct Ending<'env, E> {
    /// The runtime that it was polled in, and its scope there.
    pub(super) home: Cell<(u64, ScopeKey)>,
    pub(super) cancelled: Cell<bool>,
    /// Where the errors after the first one go.
    others: Cell<Option<&'env RefCell<Vec<E>>>>,
}

impl<E> Ending<'_, E> {
    pub(super) fn new() -> Self {
        Self {
            home: Cell::new((0, 0)),
            cancelled: Cell::new(false),
            others: Cell::new(None),
        }
    }

    /// The group is polled in this runtime: finds its scope there, or makes it.
    pub(super) fn enter(&self, core: &Core, set: SetKey) {
        let (serial, mut scope) = self.home.get();
        if serial != core.serial() {
            self.leave();
            scope = 0;
        }
        let entered = core.group_scope(scope, set);
        if scope == 0 {
            self.home.set((core.serial(), entered));
            if self.cancelled.get() {
                core.cancel_scope(entered);
            }
        }
    }

    /// An error that is not the group's result.
    pub(super) fn keep(&self, error: E) {
        if let Some(others) = self.others.get() {
            others.borrow_mut().push(error);
        }
    }

    /// The group will not be polled again, or not there: its scope ends.
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

impl<'env, E> TaskGroup<'_, 'env, E> {
    /// Cancels the body and every child, also those spawned from now on: their operations end
    /// with [`Error::Cancelled`](crate::Error::Cancelled); what is still pending after that is
    /// dropped.
    ///
    /// The group's result is then what its body ends with, or the first error that is not the
    /// cancel's: clean-up that failed.
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

    /// Keeps the errors that come after the first one, which is the group's result: those of
    /// siblings that failed as well, or while they were cleaning up. Without this they are dropped.
    /// An error of a cancel says nothing new, and is not kept.
    ///
    /// # Panics
    ///
    /// Polling the group does, if `others` is borrowed when an error comes: hold no borrow of it
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
        self.ending.others.set(Some(others));
    }
}
