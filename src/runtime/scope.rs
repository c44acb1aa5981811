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
use super::scopes::{AfterPoll, Kind, ScopeKey, UNENTERED};
use crate::error::Error;
use crate::executor::{Base, SetKey, TaskId, drop_each, wake_list, waker};
use crate::sys::clock::{self, Nanos};

/// Entering, moving and leaving.
impl Core {
    /// Returns the scope of the running code; 0 for none. A time limit without a node gets one.
    #[inline]
    pub(crate) fn scope(&self) -> ScopeKey {
        match self.executor.scope() {
            UNENTERED => self.enter_limit(),
            scope => scope,
        }
    }

    #[cold]
    fn enter_limit(&self) -> ScopeKey {
        let (limit, around) = self.unentered.get();
        let (task, kind) = (self.executor.task(), Kind::Scope(limit));
        let key = self.scopes().enter(task, around, kind);
        self.executor.go_on_in(key);
        key
    }

    /// Adds a node inside the current scope.
    #[inline(always)]
    pub(super) fn enter_scope(&self, kind: Kind) -> ScopeKey {
        let (task, around) = (self.executor.task(), self.scope());
        self.scopes().enter(task, around, kind)
    }

    /// Gives the running task a node of its own if it has none, so that a cancel of the task alone
    /// reaches the nodes below; returns the current scope, which is inside it.
    fn enter_task(&self) -> ScopeKey {
        let (id, scope) = (self.executor.task(), self.scope());
        let Some(Base { own, set: above }) = self.executor.base_of(id) else {
            return scope;
        };
        let task = match own {
            0 => self.add_task(id, above),
            own => own,
        };
        // A task that got its node inside a scope, which has ended, continues in the group's until
        // the end of its poll.
        if scope == above {
            self.executor.go_on_in(task);
            return task;
        }
        self.scopes().splice(scope, above, task);
        scope
    }

    fn add_task(&self, task: TaskId, above: ScopeKey) -> ScopeKey {
        let own = self.scopes().enter(task, above, Kind::Task);
        self.executor.slots().set_task_scope(task, own);
        own
    }

    /// Adds a shield inside the current scope; returns it and its end.
    pub(super) fn enter_shield(&self, until: Nanos, now: Nanos) -> (ScopeKey, Nanos) {
        let (task, parent) = (self.executor.task(), self.enter_task());
        self.scopes().enter_shield(task, parent, until, now)
    }

    /// Adds the scope of a group, which is polled for the first time here.
    pub(crate) fn enter_group(&self, set: SetKey) -> ScopeKey {
        self.enter_task();
        let key = self.enter_scope(Kind::Group(set));
        self.executor.slots().set_scope(set, key);
        key
    }

    /// Registers an operation that waits with a foreign waker, which a cancel has to call.
    pub(super) fn enlist(&self, key: ScopeKey, waker: &Waker) -> ScopeKey {
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

    pub(super) fn delist(&self, key: ScopeKey) {
        let waker = self.scopes().delist(key);
        drop(waker);
    }

    /// Moves a scope to the place of the running task; if it is cancelled there, notifies all in
    /// it.
    #[inline]
    pub(crate) fn move_scope(&self, key: ScopeKey) {
        let (task, around) = (self.executor.task(), self.scope());
        let moved = self.scopes().moved(key, around, task);
        if moved {
            self.notify_moved(key);
        }
    }

    #[cold]
    fn notify_moved(&self, key: ScopeKey) {
        self.end_waits();
        if self.has_cancels() && self.outermost(key).is_some() {
            self.scopes().note_progress(key);
            self.wake_below(key);
        }
    }

    /// Ends a scope; returns true if something in it ended because of it.
    #[inline(always)]
    pub(crate) fn leave_scope(&self, key: ScopeKey) -> bool {
        let alone = self.scopes().leave_alone(key);
        !alone && self.leave_scopes(&[key])
    }

    /// Removes the scopes of tasks that have ended.
    #[inline]
    pub(super) fn forget_scopes(&self) {
        if self.executor.slots().has_retired() {
            let retired = self.executor.slots().take_retired();
            self.leave_scopes(&retired);
        }
    }

    #[cold]
    fn leave_scopes(&self, keys: &[ScopeKey]) -> bool {
        let (mut wakers, mut caught) = (Vec::new(), false);
        for key in keys {
            let left = self.scopes().leave(*key, &mut wakers);
            if left.cancelled {
                self.remove_cancel();
            }
            wakers.extend(self.reactor().timers.cancel(left.timer));
            caught |= left.caught;
        }
        self.end_waits();
        drop_each(wakers);
        caught
    }
}

/// Cancelling.
impl Core {
    /// Cancels a scope: wakes everything in it. No effect if it is already cancelled.
    pub(crate) fn cancel_scope(&self, key: ScopeKey) {
        self.cancel(key, false);
    }

    /// The same; `polled` if its body is polled next.
    pub(super) fn cancel(&self, key: ScopeKey, polled: bool) {
        if self.scopes().cancel(key, clock::now(), polled) {
            self.add_cancel();
            let tasks = self.wake_below(key);
            self.scopes().expect(key, tasks);
        }
    }

    /// Wakes everything in a scope; returns the number of its groups' tasks.
    fn wake_below(&self, key: ScopeKey) -> u32 {
        let reached = self.scopes().reach(key, clock::now());
        let (mut foreign, mut tasks) = (reached.wakers, 0);
        for task in reached.tasks {
            foreign.extend(self.executor.list(task));
        }
        for set in reached.sets {
            let (waker, len) = self.executor.slots().wake_set(set);
            foreign.extend(waker);
            tasks += len;
        }
        wake_list(foreign);
        tasks
    }

    /// Cancels one task, if it is of this runtime; returns its scope.
    pub(crate) fn cancel_task(&self, task: TaskId) -> ScopeKey {
        let Some(base) = self.executor.base_of(task) else {
            return 0;
        };
        let own = match base.own {
            0 if task == self.executor.task() => {
                self.enter_task();
                self.executor.scope_of(task)
            }
            // Scopes that are already in it are moved into the new one when they are polled next.
            0 => self.add_task(task, base.set),
            own => own,
        };
        self.cancel_scope(own);
        own
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

    pub(crate) fn is_cancelled(&self, key: ScopeKey) -> bool {
        self.has_cancels() && self.scopes().is_cancelled(key)
    }

    /// Returns the error for the calling operation if it is cancelled; `waited` is what it waited
    /// for before, and `None` if it has not begun.
    #[cold]
    pub(super) fn notify(&self, waited: Option<&str>) -> Option<Error> {
        let from = self.scope();
        let by = self.outermost(from)?;
        self.finished();
        self.scopes().notify(from, by, waited);
        Some(Error::Cancelled)
    }

    /// Replaces the description of the operation that was notified last, if it is described at all.
    #[cold]
    #[inline(never)]
    pub(crate) fn describe(&self, text: &mut dyn FnMut(&str) -> String) {
        let part = self.scopes().doing().cloned();
        // It may drop sockets: nothing is borrowed meanwhile.
        let text = part.map(|part| text(&part));
        if let (Some(doing), Some(text)) = (self.scopes().doing(), text) {
            *doing = text;
        }
    }

    /// Called before the body of a scope is polled.
    #[inline]
    pub(crate) fn begin(&self, key: ScopeKey) {
        if self.has_cancels() {
            let timer = self.scopes().begin(key);
            waker::discard(self.reactor().timers.cancel(timer));
        }
    }

    /// Called after the body of a scope was polled and is pending. Returns true if the scope is
    /// cancelled, and the body has to be dropped now. Otherwise it is polled again after a change.
    #[inline]
    pub(crate) fn is_over(&self, key: ScopeKey, cx: &Context<'_>) -> bool {
        self.has_cancels() && self.ends_body(key, cx)
    }

    #[cold]
    fn ends_body(&self, key: ScopeKey, cx: &Context<'_>) -> bool {
        let next = self
            .scopes()
            .after_poll(key, clock::now, self.executor.is_spent());
        match next {
            AfterPoll::Nothing => {}
            AfterPoll::Wait(until) => self.wake_at(key, until, cx),
            AfterPoll::Again => cx.waker().wake_by_ref(),
            AfterPoll::Over => {
                // For one cancel only the outermost of the cancelled scopes has caught it.
                let by = self.outermost(key).unwrap_or(key);
                self.scopes().blame(by);
            }
        }
        next == AfterPoll::Over
    }
}

/// Time: shields and deadlines.
impl Core {
    /// Ends the protection of a shield, and wakes everything in it that is cancelled.
    pub(super) fn end_shield(&self, key: ScopeKey) {
        self.scopes().end_shield(key);
        self.end_waits();
        if self.has_cancels() && self.outermost(key).is_some() {
            self.wake_below(key);
        }
    }

    fn wake_at(&self, key: ScopeKey, until: Nanos, cx: &Context<'_>) {
        let waker = cx.waker().clone();
        let timer = self.reactor().timers.insert(until, waker);
        self.scopes().set_timer(key, timer);
    }

    /// Wakes the cancelled scopes that have lost their last shield, also if it was moved out of
    /// them or dropped outside of them, where no wake reaches them.
    fn end_waits(&self) {
        let timers = self.scopes().take_unheld();
        let cancel = |timer| self.reactor().timers.cancel(timer);
        wake_list(timers.into_iter().filter_map(cancel).collect());
    }

    /// Returns the earliest deadline that applies here; `NEVER` if there is none.
    pub(crate) fn effective_deadline(&self) -> Nanos {
        let now = clock::now();
        let scope = self.scope();
        self.scopes().effective_deadline(scope, now)
    }

    /// The number of nodes that walks have visited so far.
    #[cfg(test)]
    pub(crate) fn visited(&self) -> usize {
        self.scopes().visited.get()
    }
}
