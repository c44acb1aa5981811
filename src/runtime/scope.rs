//! Scopes at run time: cancelling, notifying operations, and ending bodies.
//!
//! A cancel has two phases. First every operation inside ends with `Err(Cancelled)`, each time, so
//! that code unwinds and may clean up in a shield. If the body is still pending when no operation
//! is left to be notified, and no shield protects it, it is dropped:
//!
//! ```text
//!   cancel ──> wake everything below ──> poll the body ──┬─ ready: its value is returned
//!                      ^                                 │
//!                      │                                 ├─ a shield is within its allowance: wait
//!                      └─ an operation was notified: ────┤
//!                         again (at most 16 times)       └─ none was notified: drop the body
//! ```
//!
//! The *allowance* of a cancelled scope is shared by its shields: the longest of their limits,
//! counted from the cancel. A loop that ignores the errors uses up the turn's budget, as any busy
//! loop does, so it yields and is dropped after 16 polls. So a time limit always fires.

use std::task::{Context, Waker};

use super::context::Core;
use super::scopes::{Kind, Limit, Next, ScopeKey, WaiterKey};
use crate::error::Error;
use crate::executor::{Base, Running, SetKey, TaskId, drop_each, wake_list};
use crate::sys::clock::{self, NEVER, Nanos};

impl Core {
    /// Returns the scope of the running code; 0 for none.
    #[inline]
    pub(crate) fn scope(&self) -> ScopeKey {
        self.executor.scope()
    }

    /// Polls the body of a scope in it, until the guard is dropped.
    #[inline]
    pub(super) fn run_in(&self, scope: ScopeKey) -> Running<'_> {
        self.executor.run(self.executor.task(), scope)
    }

    /// Gives the running task a node of its own if it has none, so that a cancel of the task alone
    /// reaches the nodes below; returns the current scope, which is inside it.
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
        // A task that got its node inside a scope, which has ended, continues in the group's until
        // the end of its poll.
        if scope == above {
            self.executor.go_on_in(task);
            return task;
        }
        self.scopes().splice(scope, above, task);
        scope
    }

    /// Adds a shield inside the current scope; returns it and its end.
    pub(super) fn enter_shield(&self, until: Nanos, now: Nanos) -> (ScopeKey, Nanos) {
        let parent = self.enter_task();
        self.scopes().enter_shield(parent, until, now)
    }

    /// Called when a group with its set is polled: makes its scope, or moves it to the present
    /// place.
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

    /// Moves a scope to the place of the running task; if it is cancelled there, notifies all in
    /// it.
    #[inline]
    pub(super) fn move_scope(&self, key: ScopeKey) {
        let (around, task) = (self.scope(), self.executor.task());
        let moved = self.scopes().moved(key, around, task);
        if moved {
            self.tell_moved(key);
        }
    }

    #[cold]
    fn tell_moved(&self, key: ScopeKey) {
        self.end_waits();
        if self.has_cancels() && self.outermost(key).is_some() {
            self.scopes().tell_above(key);
            self.wake_below(key);
        }
    }

    /// Ends a run; returns true if something in it ended because of it.
    #[inline]
    pub(super) fn leave_run(&self, key: ScopeKey) -> bool {
        let alone = self.scopes().leave_alone(key);
        !alone && self.leave_scope(key)
    }

    /// Ends a scope; returns true if something in it ended because of it.
    pub(crate) fn leave_scope(&self, key: ScopeKey) -> bool {
        let mut wakers = Vec::new();
        let caught = self.take_scope(key, &mut wakers);
        drop_each(wakers);
        caught
    }

    /// Ends the protection of a shield.
    pub(super) fn end_shield(&self, key: ScopeKey) {
        self.scopes().end_shield(key);
        self.end_waits();
    }

    /// Wakes the cancelled scopes that have lost their last shield, also if it was moved out of
    /// them or dropped outside of them, where no wake reaches them.
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

    /// Removes the scopes of tasks that have ended.
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

    /// Cancels a scope: wakes everything in it. No effect if it is already cancelled.
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

    /// Cancels one task, if it is of this runtime; returns its scope.
    pub(crate) fn cancel_task(&self, task: TaskId) -> ScopeKey {
        let Some(base) = self.executor.base_of(task) else {
            return 0;
        };
        if base.own == 0 && task == self.executor.task() {
            self.enter_task();
        } else if base.own == 0 {
            // Scopes that are already in it are moved into the new one when they are polled next.
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

    /// Returns true if a scope around the group is cancelled, so that an error of a child is due to
    /// that.
    pub(crate) fn is_cancelled_around(&self, group: ScopeKey) -> bool {
        if !self.has_cancels() {
            return false;
        }
        let around = self.scopes().parent(group);
        self.outermost(around).is_some()
    }

    /// Returns true if an operation in the scope was notified.
    pub(crate) fn was_notified(&self, key: ScopeKey) -> bool {
        self.has_cancels() && self.scopes().was_notified(key)
    }

    #[inline]
    pub(crate) fn is_cancelled(&self, key: ScopeKey) -> bool {
        self.has_cancels() && self.scopes().is_cancelled(key)
    }

    /// Returns the error for the calling operation if it is cancelled; `waited` if it waited
    /// before, `false` if it has not begun.
    #[cold]
    pub(super) fn notify(&self, waited: bool) -> Option<Error> {
        let by = self.outermost(self.scope())?;
        self.finished();
        let from = self.enter_task();
        self.scopes().notify(from, by, waited);
        Some(Error::Cancelled)
    }

    /// Registers an operation that waits with a foreign waker, which a cancel has to call.
    pub(super) fn enlist(&self, key: WaiterKey, waker: &Waker) -> WaiterKey {
        if self.scope() == 0 && self.executor.is_body() {
            // No scope around the main future can be cancelled.
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

    /// Called before the body of a scope is polled; returns true if the scope is cancelled.
    #[inline]
    pub(crate) fn begin(&self, key: ScopeKey) -> bool {
        self.has_cancels() && self.scopes().begin(key)
    }

    /// Records the first polls in a group that is pending, for cancelled scopes around it.
    pub(crate) fn group_was_polled(&self, group: ScopeKey) {
        if self.has_cancels() {
            let set = self.scopes().set_of(group);
            let tasks = set.map_or(0, |set| self.executor.take_first_polls(set));
            self.scopes().polled_first(group, tasks);
        }
    }

    /// Called after the body of a cancelled scope was polled and is pending; `before` if it was
    /// already cancelled when that poll began. Returns true if the body has to be dropped now.
    /// Otherwise it is polled again after a change.
    pub(crate) fn is_over(&self, key: ScopeKey, before: bool, cx: &Context<'_>) -> bool {
        let next = match before {
            true => self.scopes().after_poll(key, clock::now(), self.is_spent()),
            // The cancel came in the middle of the poll, after parts of it were pending.
            false => Next::Again,
        };
        match next {
            Next::Wait(until) => self.wake_at(key, until, cx),
            Next::Again => cx.waker().wake_by_ref(),
            Next::Over => {
                // For one cancel only the outermost of the cancelled scopes has caught it.
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

    /// The number of nodes that walks have visited so far.
    #[cfg(test)]
    pub(crate) fn visited(&self) -> usize {
        self.scopes().visited.get()
    }

    /// Returns the earliest deadline that applies here; [`NEVER`] if there is none.
    pub(crate) fn effective_deadline(&self) -> Nanos {
        let now = clock::now();
        let scope = self.scope();
        self.scopes().effective_deadline(scope, now)
    }
}
