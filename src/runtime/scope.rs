//! Scopes at run time: cancelling, telling operations, and ending what goes on.
//!
//! Cancelling has two phases. First every operation inside ends with `Err(Cancelled)`, again and
//! again, so that code unwinds and may clean up in a shield. What is still pending when nothing is
//! left to be told, and no shield holds, is dropped:
//!
//! ```text
//!   cancel ──> wake all that is below ──> poll the body ──┬─ ready: its value is handed on
//!                      ^                                  │
//!                      │                                  ├─ a shield holds, or tasks below have
//!                      │                                  │  not been polled yet: wait
//!                      └── something was told: once more ─┤
//!                          (at most POLLS times)          └─ nothing was told: drop the body
//! ```
//!
//! A loop that ignores the errors uses up the turn's budget, as any busy loop does, so it gives
//! way and ends after [`POLLS`] polls. So a time limit always fires.

use std::task::{Context, Waker};

use super::context::Core;
use super::scopes::{Hold, Kind, Left, Limit, ScopeKey, WaiterKey};
use crate::error::Error;
use crate::executor::{Base, SetKey, TaskId, wake_each};
use crate::sys::clock::{self, NEVER, Nanos};

/// How often the body of a cancelled scope is polled at most before it is dropped.
const POLLS: u8 = 16;

/// How many operations a cancelled task may begin in vain before its new shields hold no more.
const DEAF: u32 = 64;

/// How often operations were told that they are cancelled.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told {
    all: u64,
    /// Those that had begun before, but for those in a shield that came after the cancel: a loop
    /// can begin any number of these.
    waited: u64,
}

impl Core {
    /// The current scope; the running task is given a node of its own if it has none, so that a
    /// cancel of the task alone finds what is below.
    fn anchor(&self) -> ScopeKey {
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

    /// A new scope inside the current one.
    pub(super) fn enter_scope(&self, kind: Kind, limit: Limit) -> ScopeKey {
        let found_by_walks = kind != Kind::Scope;
        let parent = match found_by_walks {
            true => self.anchor(),
            false => self.scope(),
        };
        let mut scopes = self.scopes();
        let key = scopes.enter(parent, kind, limit);
        if found_by_walks {
            scopes.attach(key);
        }
        key
    }

    /// A new shield inside the current scope. None for a task that was told to end [`DEAF`] times
    /// and goes on beginning things: it could hold its scope up with one shield after the other.
    pub(super) fn enter_shield(&self, until: Nanos) -> ScopeKey {
        let key = self.enter_scope(Kind::Shield(until), Limit::At(NEVER));
        let parent = self.scopes().parent(key);
        let by = match self.is_alarmed() {
            true => self.outermost(parent),
            false => None,
        };
        if let Some(by) = by {
            let task = self.executor.scope_of(self.executor.task());
            if self.scopes().deaf(task, by) >= DEAF {
                self.scopes().expose(key);
            }
        }
        key
    }

    /// A group with its set is polled: its scope is made, or moved to where it is polled now.
    pub(crate) fn group_scope(&self, key: ScopeKey, set: SetKey) -> ScopeKey {
        if key == 0 {
            let key = self.enter_scope(Kind::Group(set), Limit::At(NEVER));
            self.executor.set_scope(set, key);
            return key;
        }
        let task = self.executor.task();
        let mut moved = self.scopes().moved(key, self.scope(), task);
        if self.is_alarmed() {
            moved &= self.outermost(key).is_some();
            self.scopes().begin(key);
            if moved {
                wake_each(self.executor.wake_set(set).into_iter());
            }
        }
        key
    }

    /// A run is over; true if something in it was told to end because of it.
    #[inline]
    pub(super) fn leave_run(&self, key: ScopeKey) -> bool {
        let alone = self.scopes().leave_alone(key);
        !alone && self.leave_scope(key).charged
    }

    /// A scope has ended.
    pub(crate) fn leave_scope(&self, key: ScopeKey) -> Left {
        let mut left = self.scopes().leave(key);
        if left.cancelled {
            self.calm_down();
        }
        if left.timer != 0 {
            let waker = self.reactor().timers.cancel(left.timer);
            drop(waker);
        }
        let wakers = std::mem::take(&mut left.wakers);
        drop(wakers);
        left
    }

    /// Forgets the scopes of tasks that have ended.
    pub(super) fn forget_scopes(&self) {
        for key in self.executor.take_retired() {
            self.leave_scope(key);
        }
    }

    /// Cancels a scope: wakes everything in it.
    pub(crate) fn cancel_scope(&self, key: ScopeKey) {
        if self.scopes().cancel(key) {
            self.alarm();
        }
        self.wake_below(key);
    }

    pub(super) fn wake_below(&self, key: ScopeKey) {
        let reached = self.scopes().reach(key, clock::now());
        let tasks = reached.tasks.into_iter();
        let tasks = tasks.filter_map(|task| self.executor.list(task));
        let mut foreign: Vec<Waker> = tasks.collect();
        let sets = reached.sets.into_iter();
        foreign.extend(sets.filter_map(|set| self.executor.wake_set(set)));
        foreign.extend(reached.wakers);
        wake_each(foreign.into_iter());
    }

    /// Cancels one task, if it is of this runtime.
    pub(crate) fn cancel_task(&self, task: TaskId) {
        let Some(base) = self.executor.base_of(task) else {
            return;
        };
        if base.own == 0 && task == self.executor.task() {
            self.anchor();
        } else if base.own == 0 {
            // What is in it already is moved into it when it is polled next.
            let own = self.scopes().enter(base.set, Kind::Task, Limit::At(NEVER));
            self.executor.set_task_scope(task, own);
        }
        let scope = self.executor.scope_of(task);
        if !self.scopes().is_cancelled(scope) {
            self.cancel_scope(scope);
        }
    }

    /// The same for the running task, which is going to be polled in its scope now.
    pub(crate) fn cancel_running_task(&self) -> ScopeKey {
        let task = self.executor.task();
        self.cancel_task(task);
        let scope = self.executor.scope_of(task);
        self.scopes().begin(scope);
        scope
    }

    pub(super) fn outermost(&self, from: ScopeKey) -> Option<ScopeKey> {
        self.scopes().outermost(from, clock::now)
    }

    /// True if the group's surroundings are cancelled, so that an error of a child is theirs.
    pub(crate) fn is_cancelled_around(&self, group: ScopeKey) -> bool {
        if !self.is_alarmed() {
            return false;
        }
        let around = self.scopes().parent(group);
        self.outermost(around).is_some()
    }

    pub(crate) fn was_told(&self, key: ScopeKey) -> bool {
        self.is_alarmed() && self.scopes().was_told(key)
    }

    pub(crate) fn is_cancelled(&self, key: ScopeKey) -> bool {
        self.is_alarmed() && self.scopes().is_cancelled(key)
    }

    /// Tells the operation that asks that it is cancelled, if it is; `waited` if it waited before,
    /// `false` if it has not begun.
    #[cold]
    pub(super) fn tell(&self, waited: bool) -> Option<Error> {
        let by = self.outermost(self.scope())?;
        self.finished();
        let from = self.anchor();
        let shielded = self.scopes().charge(from, by);
        let in_order = waited && !shielded;
        if !in_order {
            let task = self.executor.scope_of(self.executor.task());
            self.scopes().count_deaf(task, by);
        }
        let mut told = self.told.get();
        told.all += 1;
        told.waited += u64::from(in_order);
        self.told.set(told);
        Some(Error::Cancelled)
    }

    /// How often operations were told that they are cancelled.
    #[inline]
    pub(crate) fn told(&self) -> Told {
        self.told.get()
    }

    /// An operation waits with a waker that is not a task's: a cancel has to call it.
    pub(super) fn enlist(&self, key: WaiterKey, waker: &Waker) -> WaiterKey {
        if self.scope() == 0 {
            // Nothing around it can be cancelled but the task, by a handle that few ask for.
            return 0;
        }
        self.enlist_in(self.anchor(), key, waker)
    }

    fn enlist_in(&self, scope: ScopeKey, key: WaiterKey, waker: &Waker) -> WaiterKey {
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

    /// The body of a cancelled scope was polled and is pending, `before` being what was
    /// told until then: true
    /// if it has to be dropped now. Else it is polled again when something has changed.
    pub(crate) fn is_over(&self, key: ScopeKey, before: Told, cx: &Context<'_>) -> bool {
        if self.scopes().is_fresh(key) {
            // The cancel came in the middle, when not all of what is below could be found.
            self.wake_below(key);
            cx.waker().wake_by_ref();
            return false;
        }
        let now = clock::now();
        let hold = self.scopes().hold(key, now, |set| self.executor.held(set));
        let tasks = match hold {
            Hold::Shield(until) => {
                self.wake_at(key, until, cx);
                return false;
            }
            Hold::Tasks(tasks) => tasks,
            Hold::None => 0,
        };
        let told = self.told.get();
        // Operations that waited are as many as they are, and may take several turns; those that
        // begin now may be begun for ever.
        let in_order = told.waited != before.waited;
        let (polls, changed) = self.scopes().count(key, tasks, in_order);
        if polls >= POLLS {
            return true;
        }
        // Tasks that nobody polls, in a combinator that has lost interest, hold nothing.
        let waits_for_tasks = tasks > 0 && changed;
        let go_on = told.all != before.all || self.executor.is_spent() || waits_for_tasks;
        if go_on {
            cx.waker().wake_by_ref();
        }
        !go_on
    }

    fn wake_at(&self, key: ScopeKey, until: Nanos, cx: &Context<'_>) {
        let timer = self.scopes().timer(key);
        let waker = cx.waker().clone();
        let mut reactor = self.reactor();
        let old = reactor.timers.cancel(timer);
        let timer = match until {
            NEVER => 0,
            until => reactor.timers.insert(until, waker),
        };
        drop(reactor);
        self.scopes().set_timer(key, timer);
        drop(old);
    }

    /// The earliest deadline that is in effect here; [`NEVER`] if there is none.
    pub(crate) fn effective_deadline(&self) -> Nanos {
        let now = clock::now();
        let scope = self.scope();
        self.scopes().effective_deadline(scope, now)
    }
}
