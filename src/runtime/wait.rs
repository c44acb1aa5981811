//! One waiting operation: the gate at each poll, and the wait.
//!
//! Sockets, timers, queues, locks, jobs and memory streams keep their own lists of who waits; what
//! they share is here, so that there is one place where a poll is told to give way or to end:
//!
//! ```text
//!   poll:  admit ──> try ──> done            (ready wins, also over a cancel)
//!                      └───> pend            (the waker is in the operation's own list)
//! ```
//!
//! An operation that begins in a cancelled scope ends before it has done anything. One that waits
//! when the scope is cancelled tries once more, and then gives its place up.

use std::task::{Context, Poll};

use super::context::{self, Core};
use super::scopes::WaiterKey;
use crate::error::Result;
use crate::executor::TaskId;

/// The part of a waiting operation that the runtime knows of. Lives in the operation's future.
#[derive(Debug)]
pub(crate) struct Wait {
    /// What it waits for, for a dump; `None` where the place it waits in says so.
    what: Option<&'static &'static str>,
    /// The runtime of `enlisted`.
    serial: u64,
    /// Its place among the waiters of a scope, if it has one: only wakers that are not a task's
    /// have to.
    enlisted: WaiterKey,
    /// It passed the gate once.
    begun: bool,
    /// The turn in which it gave way, if it did at the last poll; else 0.
    yielded: u32,
}

impl Wait {
    /// An operation that waits for `what`, such as "room in a memory object stream".
    pub(crate) const fn new(what: &'static &'static str) -> Self {
        let mut wait = Self::unnamed();
        wait.what = Some(what);
        wait
    }

    /// An operation on a socket or a timer, where a dump finds it.
    pub(crate) const fn unnamed() -> Self {
        Self {
            what: None,
            serial: 0,
            enlisted: 0,
            begun: false,
            yielded: 0,
        }
    }

    /// The gate. Called first at each poll: `Pending` has woken the task already, an error ends
    /// the operation, which then leaves every list it is in.
    #[inline]
    pub(crate) fn admit(&mut self, core: &Core, cx: &Context<'_>) -> Poll<Result<()>> {
        if core.is_calm() {
            self.begun = true;
            return Poll::Ready(Ok(()));
        }
        if let Some(told) = self.ask(core, cx) {
            return told;
        }
        if self.gives_way(core) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.begun = true;
        Poll::Ready(Ok(()))
    }

    /// The gate for what does no work but waits, such as a timer. It needs no share of the turn,
    /// or what is always busy would keep the time limit around it from being looked at.
    #[inline]
    pub(crate) fn admit_wait(&mut self, core: &Core, cx: &Context<'_>) -> Poll<Result<()>> {
        if core.is_alarmed() {
            if let Some(told) = self.ask(core, cx) {
                return told;
            }
        }
        self.begun = true;
        Poll::Ready(Ok(()))
    }

    /// True if the budget is used and it has not given way in the turn before: what stands before
    /// it in the same task may use the budget of every turn. To be polled again in one turn, as a
    /// time limit of zero does, is no turn of its own.
    #[cold]
    fn gives_way(&mut self, core: &Core) -> bool {
        let turn = core.executor.turn();
        let gives_way = core.is_spent() && (self.yielded == 0 || self.yielded == turn);
        self.yielded = if gives_way { turn } else { 0 };
        gives_way
    }

    /// What there is to be told at the gate.
    #[cold]
    fn ask(&mut self, core: &Core, cx: &Context<'_>) -> Option<Poll<Result<()>>> {
        if core.has_failed() {
            return Some(Poll::Ready(Err(core.failure())));
        }
        if self.begun || !core.is_alarmed() {
            return None;
        }
        self.tell(core, cx, false)
    }

    /// Tells it that it is cancelled, if it is, or gives way first.
    #[cold]
    fn tell<T>(&mut self, core: &Core, cx: &Context<'_>, waited: bool) -> Option<Poll<Result<T>>> {
        if !Self::would_end(core) {
            return None;
        }
        if self.gives_way(core) {
            cx.waker().wake_by_ref();
            return Some(Poll::Pending);
        }
        core.tell(waited).map(|error| Poll::Ready(Err(error)))
    }

    /// The operation has to wait: called at the end of each such poll, after its waker was put
    /// where it will be called. An error ends the operation instead, which then leaves every list
    /// it is in.
    #[inline]
    pub(crate) fn pend<T>(&mut self, core: &Core, cx: &Context<'_>) -> Poll<Result<T>> {
        self.pend_on(core, cx, TaskId::NOBODY)
    }

    /// The same with the waker of one of this runtime's tasks, in a place where a dump finds it.
    #[inline]
    pub(crate) fn pend_own<T>(&mut self, core: &Core, cx: &Context<'_>) -> Poll<Result<T>> {
        if core.is_alarmed() {
            return self.pend(core, cx);
        }
        Poll::Pending
    }

    /// The same where a task is known that keeps this one waiting.
    #[inline]
    pub(crate) fn pend_on<T>(
        &mut self,
        core: &Core,
        cx: &Context<'_>,
        holder: TaskId,
    ) -> Poll<Result<T>> {
        if core.is_alarmed() {
            if let Some(told) = self.tell(core, cx, true) {
                return told;
            }
        }
        if !core.executor.is_own(cx.waker()) {
            self.enlist(core, cx);
        }
        if let Some(what) = self.what {
            core.executor.note(what, holder);
        }
        Poll::Pending
    }

    /// True if an operation that has to wait here would be told that it is cancelled: for what
    /// would rather wait on, in a shield.
    pub(crate) fn would_end(core: &Core) -> bool {
        core.is_alarmed() && core.outermost(core.scope()).is_some()
    }

    #[cold]
    fn enlist(&mut self, core: &Core, cx: &Context<'_>) {
        if self.serial != core.serial() {
            self.delist();
            self.serial = core.serial();
        }
        self.enlisted = core.enlist(self.enlisted, cx.waker());
    }

    #[cold]
    fn delist(&mut self) {
        let key = std::mem::take(&mut self.enlisted);
        // Elsewhere the entry stays until its scope ends.
        context::with_serial(self.serial, |core| core.delist(key)).unwrap_or_default();
    }

    /// The operation succeeded: it counts against the turn's budget.
    #[inline]
    pub(crate) fn done(&mut self, core: &Core) {
        core.finished();
    }
}

impl Drop for Wait {
    #[inline]
    fn drop(&mut self) {
        if self.enlisted != 0 {
            self.delist();
        }
    }
}
