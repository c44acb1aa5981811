//! Owns a group's child: its future in place, which is polled and dropped there.
//!
//! # Why this is sound
//!
//! The future that [`task_group`](super::task_group) returns owns its children and polls them
//! itself, together with the body. So a child is inside the scope of the values that it borrows:
//! leaking the group's future leaks its children, which are then never polled again; dropping it
//! drops them before the values that they borrow.
//!
//! Three things ensure it, and each has a test that fails to compile (or to run) without it:
//!
//! * `'s` of [`TaskGroup`] is *invariant* and chosen by the group's own frame (the body is
//!   `for<'s>`). Values that a child borrows must outlive `'s`, so they are outside the call, in
//!   `'env`; a local of the body is not.
//! * A child is stored with its lifetime erased, because a group that is borrowed for `'s` cannot
//!   have a drop of its own that mentions `'s`. [`Run`](super::run::Run) does that instead: its
//!   drop closes the group and drops body and children *in place*, before the group's cells and
//!   before `'env`.
//! * A child's cell is shared with its handle, so it may outlive the group. Then it contains only
//!   the result, never the future.
//!
//! ```text
//!   task_group(body) ─ frame: [ set of children | body's future ]      <- one future, polled
//!                                  │                                       as a whole
//!                                  └ cell: { future in place | result, joiner, cancel flag }
//! ```

#![allow(
    unsafe_code,
    reason = "the one lifetime erasure, and pinning in a shared cell"
)]

use std::cell::{RefCell, RefMut};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::group::TaskGroup;
use super::handle::{Joinable, TaskHandle};
use super::keeper::Keeper;
use super::outcome::Outcome;
use crate::executor::{self, CallSite, Child, Failed, Head, Payload, State};
use crate::runtime::context;

/// A child: its future, and the part that the handle uses.
pub(super) struct TaskCell<F, T, K> {
    /// Borrowed only by its set, while it polls or drops the future, and at the end by the handle.
    stage: RefCell<Stage<F, T>>,
    head: Head,
    keeper: K,
}

/// The value has the place of the future.
enum Stage<F, T> {
    /// Pinned: never moved out, dropped in place.
    Future(F),
    /// The value is there until the handle takes it.
    Ended(Option<T>),
}

impl<F, T, K> Child for TaskCell<F, T, K>
where
    F: Future<Output: Outcome<K::Error, Value = T>>,
    K: Keeper,
{
    fn poll(&self, cx: &mut Context<'_>, notified: bool) -> Poll<Result<(), Failed>> {
        if self.head.is_cancelled() && !notified {
            return poll_cancelled(self, cx);
        }
        let mut place = self.stage.borrow_mut();
        let outcome = if K::CATCHES {
            match catch_unwind(AssertUnwindSafe(|| Self::pinned(&mut place).poll(cx))) {
                Ok(polled) => ready!(polled),
                Err(payload) => {
                    drop(place);
                    return Poll::Ready(broken_off(self, payload));
                }
            }
        } else {
            ready!(Self::pinned(&mut place).poll(cx))
        };
        // It is done: dropped in place, then its result is handed over.
        *place = Stage::Ended(None);
        drop(place);
        Poll::Ready(self.finish(outcome))
    }

    fn drop_future(&self) {
        if let Ok(mut place) = self.stage.try_borrow_mut() {
            if let Stage::Future(_) = *place {
                *place = Stage::Ended(None);
            }
        }
    }

    fn panicked(&self, payload: Payload) -> Option<Payload> {
        self.keeper.panicked(payload)
    }

    fn head(&self) -> &Head {
        &self.head
    }
}

impl<F, T, K> TaskCell<F, T, K>
where
    F: Future<Output: Outcome<K::Error, Value = T>>,
    K: Keeper,
{
    #[inline]
    pub(super) fn new(future: F, keeper: K) -> Rc<Self> {
        Rc::new(Self {
            stage: RefCell::new(Stage::Future(future)),
            head: Head::new(),
            keeper,
        })
    }

    #[inline]
    fn pinned<'p>(place: &'p mut RefMut<'_, Stage<F, T>>) -> Pin<&'p mut F> {
        let Stage::Future(future) = &mut **place else {
            unreachable!("a task that has ended has left its set");
        };
        // SAFETY: the place is that of a cell, which lives in an `Rc` that is never unwrapped, so
        // the future does not move; it leaves its place only by being overwritten, which drops it
        // in place.
        unsafe { Pin::new_unchecked(future) }
    }

    /// Gives the value to the handle, or the error to the keeper.
    fn finish(&self, outcome: F::Output) -> Result<(), Failed> {
        match outcome.into_result() {
            Ok(value) => {
                // Not the whole stage, which would be copied.
                if let Stage::Ended(place) = &mut *self.stage.borrow_mut() {
                    *place = Some(value);
                }
                self.head.end(State::Done);
                Ok(())
            }
            Err(error) => {
                let failed = self.keeper.fail(error);
                self.head.end(match failed.by_cancel {
                    true => State::Cancelled,
                    false => State::Failed,
                });
                Err(failed)
            }
        }
    }
}

/// Polls a task that its handle has cancelled: its operations end with `Cancelled`; then it is
/// dropped.
#[cold]
fn poll_cancelled(child: &dyn Child, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
    if let Some(core) = context::current() {
        let scope = core.cancel_task(core.executor.task());
        core.begin(scope);
        match child.poll(cx, true) {
            Poll::Pending if !core.is_over(scope, cx) => return Poll::Pending,
            Poll::Pending => {}
            ended => return ended,
        }
    }
    executor::cancel(child, false);
    Poll::Ready(Ok(()))
}

/// Ends a task after a panic of its poll that the keeper takes: the rest of it is dropped, then the
/// keeper gets the panic.
#[cold]
fn broken_off(child: &dyn Child, payload: Payload) -> Result<(), Failed> {
    executor::cancel(child, true);
    let none = child.panicked(payload);
    debug_assert!(none.is_none(), "a keeper that catches keeps it");
    Ok(())
}

impl<F, T, K> Joinable<T> for TaskCell<F, T, K> {
    fn head(&self) -> &Head {
        &self.head
    }

    fn take_value(&self) -> Option<T> {
        match &mut *self.stage.try_borrow_mut().ok()? {
            Stage::Ended(value) => value.take(),
            Stage::Future(_) => None,
        }
    }
}

impl<'s, E> TaskGroup<'s, '_, E> {
    /// Starts a child with `keeper` for its end.
    #[inline]
    pub(crate) fn spawn_kept<F, T, K>(
        &'s self,
        future: F,
        keeper: K,
        site: CallSite,
    ) -> TaskHandle<'s, T>
    where
        F: Future<Output: Outcome<K::Error, Value = T>> + 's,
        T: 's,
        K: Keeper + 's,
    {
        let cell = TaskCell::new(future, keeper);
        let child: Rc<dyn Child + 's> = Rc::<TaskCell<_, _, _>>::clone(&cell);
        // SAFETY: only the lifetime changes. The set is private to this group, which is private to
        // `task_group_with`: there `Run` drops every child's future in place before `'s` ends, on
        // each way out; a frame that is leaked polls nothing any more. Only the cell with a result
        // and a keeper in it may live longer, and only inside a handle, which has `'s` in it.
        let child: Rc<dyn Child + 'static> = unsafe { std::mem::transmute(child) };
        self.set.insert(child, site);
        TaskHandle::new(cell, site)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Ready;

    use super::*;

    /// An idle connection is mostly its task's cell.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_cell_takes_48_bytes_beside_its_future() {
        type Big = [usize; 8];
        type Cell<T> = TaskCell<Ready<T>, T, Rc<()>>;
        let beside = size_of::<Cell<Big>>() - size_of::<Stage<Ready<Big>, Big>>();
        assert_eq!(beside, 48);
        assert!(size_of::<Stage<Ready<Big>, Big>>() <= 10 * size_of::<usize>());
    }
}
