//! One waiting operation: the gate at each poll, and the wait.
//!
//! Sockets, timers, queues, locks, jobs and memory streams have their own lists of waiters. Their
//! common part is here, so that there is one place where a poll yields or ends:
//!
//! ```text
//!   poll:  admit ──> try ──> done            (ready wins, also over a cancel)
//!                      └───> pend            (the waker is in the operation's own list)
//! ```
//!
//! A socket's operation does the same with less: a dump finds its wait by itself, and the runtime
//! of its wait is the one in which it has claimed its direction.
//!
//! An operation that begins in a cancelled scope ends before it has done anything. One that waits
//! when the scope is cancelled tries once more, and then gives up its place.

use std::task::{Context, Poll};

use super::context::{self, Core};
use super::scopes::ScopeKey;
use crate::error::Result;
use crate::executor::TaskId;

/// The state of an operation at the gate.
///
/// ```text
///   | turn 31 | begun 1 |
/// ```
///
/// *begun*: it has passed once. *turn*: the turn in which it yielded, if it did at the last poll;
/// else 0. The highest bit of a turn's number is left out: an operation that meets the same number
/// again after two billion turns yields once more than necessary.
#[derive(Debug, Default)]
pub(super) struct Pass(u32);

/// An operation's place among the waiters of a scope, if it has one: only a waker that is not a
/// task's needs one.
#[derive(Debug, Default)]
pub(super) struct Enlisted(ScopeKey);

/// The part of a waiting operation that the runtime uses. It is in the operation's future.
#[derive(Debug)]
pub(crate) struct Wait {
    /// Describes the wait for a dump; `None` if the dump finds it by itself.
    what: Option<&'static &'static str>,
    /// The runtime of `enlisted`.
    serial: u64,
    enlisted: Enlisted,
    pass: Pass,
    /// Instead of padding: the compiler would copy the uninitialised bytes together with the
    /// fields, and the processor would stall on that each time an operation is made.
    _fill: u32,
}

impl Pass {
    const BEGUN: u32 = 1;

    /// As [`Wait::admit`].
    #[inline]
    pub(super) fn admit(&mut self, core: &Core, cx: &Context<'_>) -> Poll<Result<()>> {
        if core.is_calm() {
            self.begin();
            return Poll::Ready(Ok(()));
        }
        self.admit_with_care(core, cx)
    }

    /// Passes: all is calm.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.0 |= Self::BEGUN;
    }

    #[cold]
    fn admit_with_care(&mut self, core: &Core, cx: &Context<'_>) -> Poll<Result<()>> {
        if let Some(outcome) = self.ask(core, cx) {
            return outcome;
        }
        if self.gives_way(core) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.0 |= Self::BEGUN;
        Poll::Ready(Ok(()))
    }

    /// Returns true if the budget is spent and it has not yielded in the turn before: operations
    /// before it in the same task may use the budget of every turn. Another poll in the same turn,
    /// as by a time limit of zero, is not a turn of its own.
    #[cold]
    fn gives_way(&mut self, core: &Core) -> bool {
        let (turn, gave) = (core.executor.turn() << 1, self.0 & !Self::BEGUN);
        let gives_way = core.executor.is_spent() && (gave == 0 || gave == turn);
        self.0 = self.0 & Self::BEGUN | if gives_way { turn } else { 0 };
        gives_way
    }

    /// Returns the result of the gate, if it is not to pass.
    #[cold]
    fn ask(&mut self, core: &Core, cx: &Context<'_>) -> Option<Poll<Result<()>>> {
        if core.has_failed() {
            return Some(Poll::Ready(Err(core.failure())));
        }
        if self.0 & Self::BEGUN != 0 || !core.has_cancels() {
            return None;
        }
        self.end_or_yield(core, cx, None)
    }

    /// Ends the operation if it is cancelled, or yields first. Called at the gate, and when it has
    /// to wait: `waited` is what for.
    #[cold]
    pub(super) fn end_or_yield<T>(
        &mut self,
        core: &Core,
        cx: &Context<'_>,
        waited: Option<&str>,
    ) -> Option<Poll<Result<T>>> {
        // `None` if what is cancelled is not around it.
        core.outermost(core.scope())?;
        if self.gives_way(core) {
            cx.waker().wake_by_ref();
            return Some(Poll::Pending);
        }
        let error = core.notify(waited)?;
        // An operation that is polled again after that begins anew. Otherwise a body that ignores
        // its cancel would be notified in order for ever.
        *self = Self::default();
        Some(Poll::Ready(Err(error)))
    }
}

impl Enlisted {
    /// Takes a place for a waker that is not a task's of this runtime, the same as before if
    /// possible.
    #[inline]
    pub(super) fn enlist(&mut self, core: &Core, cx: &Context<'_>) {
        if !core.executor.is_own(cx.waker()) {
            self.0 = core.enlist(self.0, cx.waker());
        }
    }

    #[inline]
    pub(super) fn is_there(&self) -> bool {
        self.0 != 0
    }

    /// Gives up its place in the runtime with this serial.
    #[cold]
    pub(super) fn delist(&mut self, serial: u64) {
        let key = std::mem::take(&mut self.0);
        // In another runtime the entry stays until its scope ends.
        context::with_serial(serial, |core| core.delist(key)).unwrap_or_default();
    }
}

impl Wait {
    /// Makes the wait of an operation for `what`, such as "room in a memory object stream".
    pub(crate) const fn new(what: &'static &'static str) -> Self {
        let mut wait = Self::unnamed();
        wait.what = Some(what);
        wait
    }

    /// Makes the wait of an operation on a socket or a timer, where a dump finds it.
    pub(crate) const fn unnamed() -> Self {
        Self {
            what: None,
            serial: 0,
            enlisted: Enlisted(0),
            pass: Pass(0),
            _fill: 0,
        }
    }

    /// The gate. Called first in each poll: if it is `Pending` the task is already woken; an error
    /// ends the operation, which then leaves every list that it is in.
    #[inline]
    pub(crate) fn admit(&mut self, core: &Core, cx: &Context<'_>) -> Poll<Result<()>> {
        self.pass.admit(core, cx)
    }

    /// The gate for operations that only wait, such as a timer. They consume no budget, or else a
    /// body that is always busy would prevent polls of the time limit around it.
    #[inline]
    pub(crate) fn admit_wait(&mut self, core: &Core, cx: &Context<'_>) -> Poll<Result<()>> {
        if core.has_cancels() {
            if let Some(outcome) = self.pass.ask(core, cx) {
                return outcome;
            }
        }
        self.pass.begin();
        Poll::Ready(Ok(()))
    }

    /// Called at the end of each poll in which the operation has to wait, after its waker was
    /// stored. An error ends the operation instead, which then leaves every list that it is in.
    #[inline]
    pub(crate) fn pend<T>(&mut self, core: &Core, cx: &Context<'_>) -> Poll<Result<T>> {
        self.pend_on(core, cx, TaskId::NONE)
    }

    /// The same if the task is known that this one waits for.
    #[inline]
    pub(crate) fn pend_on<T>(
        &mut self,
        core: &Core,
        cx: &Context<'_>,
        holder: TaskId,
    ) -> Poll<Result<T>> {
        if core.has_cancels() {
            let what = self.what.map_or("the end of a sleep", |what| what);
            if let Some(outcome) = self.pass.end_or_yield(core, cx, Some(what)) {
                return outcome;
            }
        }
        if self.serial != core.serial() {
            self.move_to(core);
        }
        self.enlisted.enlist(core, cx);
        if let Some(what) = self.what {
            core.executor.note(what, holder);
        }
        Poll::Pending
    }

    #[inline]
    fn move_to(&mut self, core: &Core) {
        if self.enlisted.is_there() {
            self.enlisted.delist(self.serial);
        }
        self.serial = core.serial();
    }
}

impl Drop for Wait {
    #[inline]
    fn drop(&mut self) {
        if self.enlisted.is_there() {
            self.enlisted.delist(self.serial);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::super::block_on;
    use super::super::scopes::{Kind, Limit, ScopeKey};
    use super::*;
    use crate::error::Error;
    use crate::sys::clock::NEVER;

    /// A waker that is no task's; the `Arc` counts its clones.
    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Calls {
        fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    /// Inside a runtime, with such a waker.
    fn inside(f: impl FnOnce(&Rc<Core>, &mut Context<'_>, &Arc<Calls>)) {
        block_on(async {
            let (core, calls) = (context::current(), Arc::new(Calls::default()));
            let waker = Waker::from(Arc::clone(&calls));
            let core = core.expect("block_on runs here");
            f(&core, &mut Context::from_waker(&waker), &calls);
        });
    }

    fn begin_spent_turn(core: &Core) {
        core.executor.refill();
        while !core.executor.is_spent() {
            core.executor.charge();
        }
    }

    fn enter(core: &Core) -> ScopeKey {
        core.enter_scope(Kind::Scope(Limit::at(NEVER)))
    }

    fn is_cancelled(outcome: &Poll<Result<()>>) -> bool {
        matches!(outcome, Poll::Ready(Err(Error::Cancelled)))
    }

    fn may_try(outcome: &Poll<Result<()>>) -> bool {
        matches!(outcome, Poll::Ready(Ok(())))
    }

    #[test]
    fn a_spent_turn_is_given_up_once_and_not_twice_in_a_row() {
        inside(|core, cx, calls| {
            for turns in 0..4 {
                let mut wait = Wait::unnamed();
                for _ in 0..2 {
                    begin_spent_turn(core);
                    let before = calls.count();
                    // Another poll in the same turn changes nothing.
                    for _ in 0..3 {
                        assert!(wait.admit(core, cx).is_pending(), "turn {turns}");
                    }
                    assert_eq!(calls.count(), before + 3, "it is polled again");
                    begin_spent_turn(core);
                    assert!(may_try(&wait.admit(core, cx)), "turn {turns}");
                    // That was its share: from now on it yields again.
                    assert!(wait.admit(core, cx).is_pending());
                    begin_spent_turn(core);
                    assert!(may_try(&wait.admit(core, cx)));
                }
            }
        });
    }

    #[test]
    fn a_cancel_elsewhere_lets_all_others_try() {
        inside(|core, cx, calls| {
            let scope = enter(core);
            core.cancel_scope(scope);
            let mut wait = Wait::unnamed();
            assert!(may_try(&wait.admit(core, cx)) && may_try(&wait.admit_wait(core, cx)));
            begin_spent_turn(core);
            assert!(core.outermost(core.scope()).is_none());
            assert!(wait.pend::<()>(core, cx).is_pending());
            assert_eq!(calls.count(), 0, "it waits, and gives no turn up");
            core.leave_scope(scope);
        });
    }

    /// An operation that has begun is notified when it has to wait, so that a ready result is
    /// taken.
    #[test]
    fn only_what_has_not_begun_ends_at_the_gate() {
        inside(|core, cx, _| {
            let (elsewhere, scope) = (enter(core), enter(core));
            let _running = core.executor.run(core.executor.task(), scope);
            let [mut calm, mut begun, mut waits, mut gave_way] = [(); 4].map(|()| Wait::unnamed());
            assert!(may_try(&calm.admit(core, cx)));
            core.cancel_scope(elsewhere);
            assert!(may_try(&begun.admit(core, cx)) && may_try(&waits.admit_wait(core, cx)));
            begin_spent_turn(core);
            assert!(begun.admit(core, cx).is_pending() && gave_way.admit(core, cx).is_pending());
            core.cancel_scope(scope);
            core.executor.refill();
            assert!(may_try(&begun.admit(core, cx)) && may_try(&waits.admit_wait(core, cx)));
            assert!(may_try(&calm.admit(core, cx)));
            assert!(is_cancelled(&gave_way.admit(core, cx)));
            assert!(is_cancelled(&Wait::unnamed().admit(core, cx)));
            assert!(is_cancelled(&Wait::unnamed().admit_wait(core, cx)));
            assert!(core.outermost(core.scope()).is_some() && !core.scopes().is_cancelled(0));
            assert!(is_cancelled(&begun.pend(core, cx)));
            begin_spent_turn(core);
            assert!(Wait::unnamed().admit(core, cx).is_pending(), "a turn first");
        });
    }

    #[test]
    fn a_foreign_waker_has_one_place_until_the_wait_ends() {
        inside(|core, cx, calls| {
            let scope = enter(core);
            let _running = core.executor.run(core.executor.task(), scope);
            let before = Arc::strong_count(calls);
            let mut wait = Wait::unnamed();
            for _ in 0..2 {
                assert!(wait.pend::<()>(core, cx).is_pending());
                assert_eq!(Arc::strong_count(calls), before + 1);
            }
            assert!(wait.enlisted.is_there());
            drop(wait);
            assert_eq!(Arc::strong_count(calls), before);
            core.leave_scope(scope);
        });
    }

    #[test]
    fn what_is_done_takes_from_the_turn() {
        inside(|core, _, _| {
            let before = core.executor.left();
            core.finished();
            assert_eq!(core.executor.left(), before - 1);
        });
    }
}
