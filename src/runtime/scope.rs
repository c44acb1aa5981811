//! Scopes at run time: cancelling, telling operations, and ending what goes on.
//!
//! Cancelling has two phases. First every operation inside ends with `Err(Cancelled)`, again and
//! again, so that code unwinds and may clean up in a shield. What is still pending when nothing is
//! left to be told, and no shield holds, is dropped:
//!
//! ```text
//!   cancel ──> wake all that is below ──> poll the body ──┬─ ready: its value is handed on
//!                      ^                                  │
//!                      │                                  ├─ a shield holds, and the allowance is
//!                      │                                  │  not used up: wait
//!                      └── something was told: once more ─┤
//!                          (at most 16 times)             └─ nothing was told: drop the body
//! ```
//!
//! The *allowance* of a cancelled scope is what its shields share: the longest that was asked for,
//! counted from the cancel. A loop that ignores the errors uses up the turn's budget, as any busy
//! loop does, so it gives way and is dropped after 16 polls. So a time limit always fires.

use std::task::{Context, Waker};

use super::context::Core;
use super::scopes::{Kind, Limit, Next, ScopeKey, WaiterKey};
use crate::error::Error;
use crate::executor::{Base, Running, SetKey, TaskId, drop_each, wake_list};
use crate::sys::clock::{self, NEVER, Nanos};

impl Core {
    /// The scope that what runs now is in; 0 for none.
    #[inline]
    pub(crate) fn scope(&self) -> ScopeKey {
        self.executor.scope()
    }

    /// The body of a scope is polled in it, until the guard is dropped.
    #[inline]
    pub(super) fn run_in(&self, scope: ScopeKey) -> Running<'_> {
        self.executor.run(self.executor.task(), scope)
    }

    /// Gives the running task a node of its own if it has none, so that a cancel of the task alone
    /// finds what is below; gives the current scope, which is in there.
    fn enter_task(&self) -> ScopeKey {
        let scope = self.scope();
        let Some(Base { own, set: above }) = self.executor.base() else {
            return scope;
        };
        let mut task = own;
        if own == 0 {
            task = self.scopes().enter(above, Kind::Task, Limit::At(NEVER));
            self.executor.set_task_scope(self.executor.task(), task);
        }
        // A task that was given its node inside a scope, which has ended, goes on in the group's
        // until its poll is over.
        if scope == above {
            self.executor.go_on_in(task);
            return task;
        }
        self.scopes().splice(scope, above, task);
        scope
    }

    /// A new shield inside the current scope, and when it ends.
    pub(super) fn enter_shield(&self, until: Nanos, now: Nanos) -> (ScopeKey, Nanos) {
        let parent = self.enter_task();
        self.scopes().enter_shield(parent, until, now)
    }

    /// A group with its set is polled: its scope is made, or moved to where it is polled now.
    pub(crate) fn group_scope(&self, key: ScopeKey, set: SetKey) -> ScopeKey {
        if key != 0 {
            self.move_scope(key);
            return key;
        }
        let parent = self.enter_task();
        let mut scopes = self.scopes();
        let key = scopes.enter(parent, Kind::Group(set), Limit::At(NEVER));
        scopes.link(key);
        self.executor.set_scope(set, key);
        key
    }

    /// A scope is polled where the running task is now; if it is cancelled there, all in it hears.
    #[inline]
    pub(super) fn move_scope(&self, key: ScopeKey) {
        let (around, task) = (self.scope(), self.executor.task());
        let moved = self.scopes().moved(key, around, task);
        if moved {
            self.end_waits();
        }
        if moved && self.has_cancels() && self.outermost(key).is_some() {
            self.scopes().tell_above(key);
            self.wake_below(key);
        }
    }

    /// A run is over; true if something in it ended because of it.
    #[inline]
    pub(super) fn leave_run(&self, key: ScopeKey) -> bool {
        let alone = self.scopes().leave_alone(key);
        !alone && self.leave_scope(key)
    }

    /// A scope has ended; true if something in it ended because of it.
    pub(crate) fn leave_scope(&self, key: ScopeKey) -> bool {
        let mut wakers = Vec::new();
        let caught = self.take_scope(key, &mut wakers);
        drop_each(wakers);
        caught
    }

    /// The shield of that name protects no more.
    pub(super) fn end_shield(&self, key: ScopeKey) {
        self.scopes().end_shield(key);
        self.end_waits();
    }

    /// Wakes the cancelled scopes that have lost their last shield, also if it was moved out of
    /// them or dropped somewhere else, where no wake reaches them.
    fn end_waits(&self) {
        let timers = self.scopes().take_unheld();
        let mut wakers = Vec::new();
        for timer in timers {
            if let Some(waker) = self.reactor().timers.cancel(timer) {
                wakers.push(waker);
            }
        }
        wake_list(wakers);
    }

    fn take_scope(&self, key: ScopeKey, wakers: &mut Vec<Waker>) -> bool {
        let left = self.scopes().leave(key, wakers);
        if left.cancelled {
            self.remove_cancel();
        }
        if left.timer != 0 {
            wakers.extend(self.reactor().timers.cancel(left.timer));
        }
        self.end_waits();
        left.caught
    }

    /// Forgets the scopes of tasks that have ended.
    pub(super) fn forget_scopes(&self) {
        if !self.executor.has_retired() {
            return;
        }
        let mut wakers = Vec::new();
        for key in self.executor.take_retired() {
            self.take_scope(key, &mut wakers);
        }
        drop_each(wakers);
    }

    /// Cancels a scope: wakes everything in it. Nothing happens if it is cancelled already.
    pub(crate) fn cancel_scope(&self, key: ScopeKey) {
        if self.scopes().cancel(key, clock::now()) {
            self.add_cancel();
            self.wake_below(key);
        }
    }

    pub(super) fn wake_below(&self, key: ScopeKey) {
        let reached = self.scopes().reach(key, clock::now());
        let mut foreign = reached.wakers;
        for task in reached.tasks {
            if let Some(waker) = self.executor.list(task) {
                foreign.push(waker);
            }
        }
        let mut listed = 0;
        for set in reached.sets {
            let (waker, tasks) = self.executor.wake_set(set);
            if let Some(waker) = waker {
                foreign.push(waker);
            }
            listed += tasks;
        }
        self.scopes().expect(key, listed);
        wake_list(foreign);
    }

    /// Cancels one task, if it is of this runtime; gives its scope.
    pub(crate) fn cancel_task(&self, task: TaskId) -> ScopeKey {
        let Some(base) = self.executor.base_of(task) else {
            return 0;
        };
        if base.own == 0 && task == self.executor.task() {
            self.enter_task();
        } else if base.own == 0 {
            // What is in it already is moved into it when it is polled next.
            let own = self.scopes().enter(base.set, Kind::Task, Limit::At(NEVER));
            self.executor.set_task_scope(task, own);
        }
        let scope = self.executor.scope_of(task);
        self.cancel_scope(scope);
        scope
    }

    pub(super) fn outermost(&self, from: ScopeKey) -> Option<ScopeKey> {
        self.scopes().outermost(from, clock::now)
    }

    /// True if the group's surroundings are cancelled, so that an error of a child is theirs.
    pub(crate) fn is_cancelled_around(&self, group: ScopeKey) -> bool {
        if !self.has_cancels() {
            return false;
        }
        let around = self.scopes().parent(group);
        self.outermost(around).is_some()
    }

    /// True if an operation in the scope was told to end.
    pub(crate) fn was_notified(&self, key: ScopeKey) -> bool {
        self.has_cancels() && self.scopes().was_notified(key)
    }

    #[inline]
    pub(crate) fn is_cancelled(&self, key: ScopeKey) -> bool {
        self.has_cancels() && self.scopes().is_cancelled(key)
    }

    /// Tells the operation that asks that it is cancelled, if it is; `waited` if it waited before,
    /// `false` if it has not begun.
    #[cold]
    pub(super) fn notify(&self, waited: bool) -> Option<Error> {
        let by = self.outermost(self.scope())?;
        self.finished();
        let from = self.enter_task();
        self.scopes().notify(from, by, waited);
        Some(Error::Cancelled)
    }

    /// An operation waits with a waker that is not a task's: a cancel has to call it.
    pub(super) fn enlist(&self, key: WaiterKey, waker: &Waker) -> WaiterKey {
        if self.scope() == 0 && self.executor.is_body() {
            // Nothing around the main future can be cancelled.
            return 0;
        }
        let scope = self.enter_task();
        if self.scopes().is_enlisted(key, scope, waker) {
            return key;
        }
        self.delist(key);
        let clone = waker.clone();
        self.scopes().enlist(scope, clone)
    }

    pub(super) fn delist(&self, key: WaiterKey) {
        let waker = self.scopes().delist(key);
        drop(waker);
    }

    /// The body of a scope is going to be polled; true if it is cancelled.
    #[inline]
    pub(crate) fn begin(&self, key: ScopeKey) -> bool {
        self.has_cancels() && self.scopes().begin(key)
    }

    /// A group was polled and is pending: what its cancelled surroundings have to know of that.
    pub(crate) fn group_was_polled(&self, group: ScopeKey) {
        if self.has_cancels() {
            let set = self.scopes().set_of(group);
            let tasks = set.map_or(0, |set| self.executor.take_first_polls(set));
            self.scopes().polled_first(group, tasks);
        }
    }

    /// The body of a cancelled scope was polled and is pending; `before`: it was cancelled already
    /// when that poll began. True if the body has to be dropped now. Else it is polled again when
    /// something has changed.
    pub(crate) fn is_over(&self, key: ScopeKey, before: bool, cx: &Context<'_>) -> bool {
        let next = match before {
            true => self.scopes().after_poll(key, clock::now(), self.is_spent()),
            // The cancel came in the middle of the poll, after some of it had pended.
            false => Next::Again,
        };
        match next {
            Next::Wait(until) => self.wake_at(key, until, cx),
            Next::Again => cx.waker().wake_by_ref(),
            Next::Over => {
                // For one cancel only the outermost of the cancelled scopes has caught something.
                let by = self.outermost(key).unwrap_or(key);
                self.scopes().blame(by);
            }
        }
        next == Next::Over
    }

    fn wake_at(&self, key: ScopeKey, until: Nanos, cx: &Context<'_>) {
        let waker = cx.waker().clone();
        let timer = self.reactor().timers.insert(until, waker);
        let old = self.scopes().replace_timer(key, timer);
        let old = self.reactor().timers.cancel(old);
        drop(old);
    }

    /// How many nodes walks have visited so far.
    #[cfg(test)]
    pub(crate) fn visited(&self) -> usize {
        self.scopes().visited.get()
    }

    /// The earliest deadline that is in effect here; [`NEVER`] if there is none.
    pub(crate) fn effective_deadline(&self) -> Nanos {
        let now = clock::now();
        let scope = self.scope();
        self.scopes().effective_deadline(scope, now)
    }
}
