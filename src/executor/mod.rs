//! Runs tasks: wakers that are numbers, one slab of slots, sets that own the futures.
//!
//! | file | what it holds |
//! |---|---|
//! | `waker.rs` | a task's number as a `Waker`, and where a wake goes |
//! | `slots.rs` | which tasks are woken, in which order (a pure machine) |
//! | `child.rs` | a task as its set sees it |
//! | `labels.rs` | what tasks are called; notes of what they wait for |
//! | `survey.rs` | what a dump asks of the tasks |
//! | `task_set.rs` | the tasks of one group: who owns the futures and polls them |
//! | `remote.rs` | the one place that other threads reach |
//!
//! The executor knows nothing of sockets and clocks; it shares `std::task::Waker` and integers
//! with the reactor, and the bell that ends a wait.

mod child;
mod labels;
pub(crate) mod remote;
mod slots;
#[cfg(feature = "dump")]
mod survey;
mod task_set;
pub(crate) mod waker;

/// What `remote.rs` locks with; the model checker puts its own in place.
mod sync {
    pub(crate) use std::sync::{Arc, Mutex};
}

use std::cell::{Cell, RefCell, RefMut};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::task::Waker;

pub(crate) use child::{Child, Failed, Head, Payload, State, cancel};
pub(crate) use labels::Place;
pub(crate) use slots::{Base, Parent, SetKey};
#[cfg(feature = "dump")]
pub(crate) use survey::Survey;
pub(crate) use task_set::{Step, TaskSet};
pub(crate) use waker::TaskId;

use slots::Slots;

/// Polls of tasks and finished operations between two looks at the kernel.
const BUDGET: u32 = 256;

/// Calls wakers, which may be the user's code: goes on after a panic, and then with the first.
pub(crate) fn wake_each(mut wakers: impl Iterator<Item = Waker>) {
    each(&mut wakers, Waker::wake);
}

/// Drops wakers in the same way.
pub(crate) fn drop_each(wakers: Vec<Waker>) {
    each(&mut wakers.into_iter(), drop);
}

/// The same for a list, of which one copy is enough.
pub(crate) fn wake_list(wakers: Vec<Waker>) {
    each(&mut wakers.into_iter(), Waker::wake);
}

fn each(wakers: &mut dyn Iterator<Item = Waker>, f: fn(Waker)) {
    let mut first = None;
    for waker in wakers {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| f(waker))) {
            first.get_or_insert(payload);
        }
    }
    if let Some(payload) = first {
        resume_unwind(payload);
    }
}

/// The slots of one runtime and the budget of its turn.
#[derive(Debug)]
pub(crate) struct Executor {
    number: u16,
    budget: Cell<u32>,
    /// Counts the turns; never 0.
    turn: Cell<u32>,
    /// Who is being polled, and the scope around that: for what has to know who runs.
    task: Cell<TaskId>,
    scope: Cell<u64>,
    slots: RefCell<Slots>,
}

/// A task, or a part of it in a scope of its own, is being polled; at its end, also by a panic,
/// what was polled before is again.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    executor: &'a Executor,
    task: TaskId,
    scope: u64,
}

impl Drop for Running<'_> {
    #[inline]
    fn drop(&mut self) {
        self.executor.task.set(self.task);
        self.executor.scope.set(self.scope);
    }
}

/// Lists tasks as woken.
#[derive(Debug)]
pub(crate) struct Lister<'a> {
    number: u16,
    slots: RefMut<'a, Slots>,
}

impl Lister<'_> {
    /// As [`Executor::wake_own`].
    #[inline]
    #[must_use = "the waker has to be called"]
    pub(crate) fn wake(&mut self, waker: Waker) -> Option<Waker> {
        let Some(id) = TaskId::of(&waker, self.number) else {
            return Some(waker);
        };
        waker::discard(Some(waker));
        self.slots.wake(id)
    }

    /// As [`Executor::list`].
    #[inline]
    #[must_use = "the waker has to be called"]
    pub(crate) fn wake_task(&mut self, id: TaskId) -> Option<Waker> {
        self.slots.wake(id)
    }
}

impl Executor {
    pub(crate) fn new(number: u16) -> Self {
        Self {
            number,
            budget: Cell::new(BUDGET),
            turn: Cell::new(1),
            task: Cell::new(TaskId::NOBODY),
            scope: Cell::new(0),
            slots: RefCell::new(Slots::new(number)),
        }
    }

    /// The runtime's place in the process-wide table.
    #[inline]
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// True if it is the one that runs on this thread right now.
    pub(crate) fn is_entered(&self) -> bool {
        waker::is_entered(self)
    }

    #[inline]
    fn slots(&self) -> RefMut<'_, Slots> {
        self.slots.borrow_mut()
    }

    /// Lists a task as woken; a foreign waker that comes back is to be called.
    #[inline]
    #[must_use = "the waker has to be called"]
    pub(crate) fn list(&self, id: TaskId) -> Option<Waker> {
        self.slots().wake(id)
    }

    /// True if a task of the set is woken.
    pub(crate) fn has_ready(&self, set: SetKey) -> bool {
        self.slots().has_ready(set)
    }

    /// Gives a task a slot, woken.
    fn add(&self, set: SetKey, member: u32, place: Option<Place>) -> TaskId {
        let (id, foreign) = self.slots().add_woken(set, member, place);
        if let Some(foreign) = foreign {
            foreign.wake();
        }
        id
    }

    /// For many calls of wakers in a row; nothing else of the executor is to be used meanwhile.
    #[inline]
    pub(crate) fn lister(&self) -> Lister<'_> {
        Lister {
            number: self.number,
            slots: self.slots(),
        }
    }

    /// Calls `waker`, which comes from this executor's thread; gives back one that is foreign, and
    /// so may be the user's code.
    #[inline]
    #[must_use = "the waker has to be called"]
    pub(crate) fn wake_own(&self, waker: Waker) -> Option<Waker> {
        self.lister().wake(waker)
    }

    /// Lists every task as woken; the foreign wakers are to be called.
    pub(crate) fn list_all(&self, foreign: &mut Vec<Waker>) {
        let mut slots = self.slots();
        for id in slots.all() {
            if let Some(waker) = slots.wake(id) {
                foreign.push(waker);
            }
        }
    }

    /// `task` is being polled, in `scope`, until the guard is dropped.
    #[inline]
    pub(crate) fn run(&self, task: TaskId, scope: u64) -> Running<'_> {
        Running {
            executor: self,
            task: self.task.replace(task),
            scope: self.scope.replace(scope),
        }
    }

    /// The running task goes on in `scope` until its poll is over.
    #[inline]
    pub(crate) fn go_on_in(&self, scope: u64) {
        self.scope.set(scope);
    }

    /// True if `waker` is that of a task of this executor.
    #[inline]
    pub(crate) fn is_own(&self, waker: &Waker) -> bool {
        TaskId::of(waker, self.number).is_some()
    }

    /// The task that is being polled.
    pub(crate) fn task(&self) -> TaskId {
        self.task.get()
    }

    /// The scope in which it is polled; 0 for none.
    #[inline]
    pub(crate) fn scope(&self) -> u64 {
        self.scope.get()
    }

    /// True if the running task is the main future or a group's body, which no handle can cancel.
    pub(crate) fn is_body(&self) -> bool {
        let task = self.task.get();
        self.slots()
            .slot(task)
            .is_none_or(|slot| slot.member == task_set::BODY)
    }

    /// Where the running task stands among the scopes.
    pub(crate) fn base(&self) -> Option<Base> {
        self.base_of(self.task.get())
    }

    /// Where a task stands among the scopes; `None` if it is not of this executor, or gone.
    pub(crate) fn base_of(&self, task: TaskId) -> Option<Base> {
        self.slots().base(task)
    }

    /// The scope that a task has of its own; 0 for none.
    pub(crate) fn scope_of(&self, task: TaskId) -> u64 {
        self.slots().base(task).map_or(0, |base| base.own)
    }

    /// Gives a task a scope of its own.
    pub(crate) fn set_task_scope(&self, task: TaskId, scope: u64) {
        self.slots().set_task_scope(task, scope);
    }

    /// Tells the scope that the tasks of a set are in.
    pub(crate) fn set_scope(&self, set: SetKey, scope: u64) {
        self.slots().set_scope(set, scope);
    }

    /// All tasks of a set are to be polled; gives a foreign waker, which is to be called, and the
    /// number of the tasks.
    #[must_use = "the waker has to be called"]
    pub(crate) fn wake_set(&self, set: SetKey) -> (Option<Waker>, u32) {
        self.slots().wake_set(set)
    }

    /// How many of those were polled for the first time since this was asked last.
    pub(crate) fn take_first_polls(&self, set: SetKey) -> u32 {
        self.slots().take_first_polls(set)
    }

    /// True if tasks have ended that had a scope of their own.
    pub(crate) fn has_retired(&self) -> bool {
        self.slots().has_retired()
    }

    /// The scopes of tasks that have ended since this was asked last.
    pub(crate) fn take_retired(&self) -> Vec<u64> {
        self.slots().take_retired()
    }

    /// A new turn begins.
    pub(crate) fn refill(&self) {
        self.budget.set(BUDGET);
        self.turn.set(self.turn.get().checked_add(1).unwrap_or(1));
    }

    /// Tells the turn's time, in milliseconds of some clock.
    #[cfg(feature = "dump")]
    pub(crate) fn set_now(&self, now: u32) {
        self.slots().now = now;
    }

    /// Notes what the running task waits for, and who keeps it waiting, until it is polled again.
    pub(crate) fn note(&self, what: &'static str, holder: TaskId) {
        #[cfg(feature = "dump")]
        self.slots().note(self.task.get(), what, holder);
        #[cfg(not(feature = "dump"))]
        let _unread = (what, holder);
    }

    pub(crate) fn set_name(&self, task: TaskId, name: Rc<str>) {
        self.slots().set_name(task, name);
    }

    /// The task that `waker` wakes, if it is one of this executor's.
    #[inline]
    pub(crate) fn task_of(&self, waker: &Waker) -> Option<TaskId> {
        TaskId::of(waker, self.number)
    }

    /// Which turn this is; never 0.
    pub(crate) fn turn(&self) -> u32 {
        self.turn.get()
    }

    /// Takes one from the budget.
    #[inline]
    pub(crate) fn charge(&self) {
        self.budget.set(self.budget.get().saturating_sub(1));
    }

    /// What is left of the budget, for [`settle`](Self::settle).
    #[inline]
    pub(crate) fn left(&self) -> u32 {
        self.budget.get()
    }

    /// A task was polled, which takes one from the budget unless what it polled or did took from
    /// it already.
    ///
    /// So it is the leaves that count. If every level did, a task below as many groups as the
    /// budget allows polls would never have its turn.
    #[inline]
    pub(crate) fn settle(&self, before: u32) {
        if self.budget.get() == before {
            self.charge();
        }
    }

    /// True if operations should let the loop look at the kernel first.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.budget.get() == 0
    }
}
