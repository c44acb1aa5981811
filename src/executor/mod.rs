//! Runs tasks: wakers that are numbers, one slab of slots, sets that own the futures.
//!
//! | file | content |
//! |---|---|
//! | `waker.rs` | a task's number as a `Waker`, and the way of a wake |
//! | `slots.rs` | the slot of each task, and the scope that it runs in |
//! | `sets.rs` | the sets of tasks: the woken ones, their order (a pure machine) |
//! | `child.rs` | a task in the form for its set |
//! | `labels.rs` | the names of tasks; notes of their waits |
//! | `survey.rs` | the state of the tasks for a dump |
//! | `task_set.rs` | the tasks of one group: owns the futures and polls them |
//! | `remote.rs` | the only part that other threads use |
//!
//! The executor does not depend on sockets and clocks; it shares `std::task::Waker` and integers
//! with the reactor, and the bell that ends a wait.

mod child;
mod labels;
pub(crate) mod remote;
mod sets;
mod slots;
#[cfg(feature = "dump")]
mod survey;
mod task_set;
pub(crate) mod waker;

/// The types of `remote.rs` that threads share; the model checker replaces them.
mod sync {
    pub(crate) use std::sync::atomic::AtomicU8;
    pub(crate) use std::sync::{Arc, Mutex};
}

use std::cell::{Cell, RefCell, RefMut};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

pub(crate) use child::{Child, Failed, Head, Payload, State, cancel};
pub(crate) use labels::CallSite;
pub(crate) use sets::{Parent, SetKey};
pub(crate) use slots::{Base, Slots};
#[cfg(feature = "dump")]
pub(crate) use survey::Survey;
pub(crate) use task_set::{Step, TaskSet};
pub(crate) use waker::TaskId;

/// The number of polls of tasks and finished operations between two polls of the kernel.
const BUDGET: u32 = 256;

/// Calls wakers, which may be the user's code: continues after a panic, and then resumes the first.
pub(crate) fn wake_each(mut wakers: impl Iterator<Item = Waker>) {
    resume(each(&mut wakers, Waker::wake));
}

/// Calls the waker, if there is one.
#[inline]
pub(crate) fn wake_one(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Drops wakers in the same way.
pub(crate) fn drop_each(wakers: Vec<Waker>) {
    resume(each(&mut wakers.into_iter(), drop));
}

/// The same for a list. Compiled once.
pub(crate) fn wake_list(wakers: Vec<Waker>) {
    resume(each(&mut wakers.into_iter(), Waker::wake));
}

/// Calls `f` for each, also after a panic; returns the first.
pub(crate) fn each(wakers: &mut dyn Iterator<Item = Waker>, f: fn(Waker)) -> Option<Payload> {
    let mut first = None;
    for waker in wakers {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| f(waker))) {
            first.get_or_insert(payload);
        }
    }
    first
}

fn resume(panic: Option<Payload>) {
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
}

/// The slots of one runtime and the budget of its turn.
#[derive(Debug)]
pub(crate) struct Executor {
    number: u16,
    budget: Cell<u32>,
    /// The number of the turn; never 0.
    turn: Cell<u32>,
    /// The task that is being polled, and the scope around it.
    task: Cell<TaskId>,
    scope: Cell<u64>,
    slots: RefCell<Slots>,
}

/// Marks a task, or a part of it in its own scope, as being polled; on drop, also after a panic,
/// the previous one is restored.
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

impl Executor {
    /// Makes the executor of the runtime with this number and serial.
    pub(crate) fn new(number: u16, serial: u64) -> Self {
        Self {
            number,
            budget: Cell::new(BUDGET),
            turn: Cell::new(1),
            task: Cell::new(TaskId::NONE),
            scope: Cell::new(0),
            slots: RefCell::new(Slots::new(number, waker::first_generation(serial))),
        }
    }

    /// Returns the runtime's index in the process-wide table.
    #[inline]
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// Returns the slots. No waker of the program's may be called or dropped meanwhile.
    #[inline]
    pub(crate) fn slots(&self) -> RefMut<'_, Slots> {
        self.slots.borrow_mut()
    }

    /// Lists a task as woken; the caller has to call a foreign waker that is returned.
    #[inline]
    #[must_use = "the waker has to be called"]
    pub(crate) fn list(&self, id: TaskId) -> Option<Waker> {
        self.slots().wake_inline(id)
    }

    /// Returns true if a task of the set is woken.
    pub(crate) fn has_ready(&self, set: SetKey) -> bool {
        self.slots().has_ready(set)
    }

    /// Returns the scopes of a task; `None` if it is not of this executor, or gone.
    pub(crate) fn base_of(&self, task: TaskId) -> Option<Base> {
        self.slots().base(task)
    }

    /// Gives a task a slot, woken.
    fn add(&self, set: SetKey, member: u32, site: Option<CallSite>) -> TaskId {
        let (id, foreign) = self.slots().add_woken(set, member, site);
        wake_one(foreign);
        id
    }

    /// Lists every task as woken; the caller has to call the foreign wakers.
    pub(crate) fn list_all(&self, foreign: &mut Vec<Waker>) {
        let mut slots = self.slots();
        for id in slots.all() {
            if let Some(waker) = slots.wake(id) {
                foreign.push(waker);
            }
        }
    }

    /// Marks `task` as being polled, in `scope`, until the guard is dropped.
    #[inline]
    pub(crate) fn run(&self, task: TaskId, scope: u64) -> Running<'_> {
        Running {
            executor: self,
            task: self.task.replace(task),
            scope: self.scope.replace(scope),
        }
    }

    /// Lets the running task continue in `scope` until the end of its poll.
    #[inline]
    pub(crate) fn go_on_in(&self, scope: u64) {
        self.scope.set(scope);
    }

    /// Returns true if `waker` is that of a task of this executor.
    #[inline]
    pub(crate) fn is_own(&self, waker: &Waker) -> bool {
        TaskId::of(waker, self.number).is_some()
    }

    /// Returns the task that is being polled, if `waker` is its own; else none.
    #[inline]
    pub(crate) fn running(&self, waker: &Waker) -> TaskId {
        match self.task_of(waker) {
            Some(task) if task == self.task.get() => task,
            _ => TaskId::NONE,
        }
    }

    /// Returns the task that is being polled.
    pub(crate) fn task(&self) -> TaskId {
        self.task.get()
    }

    /// Returns the scope in which it is polled; 0 for none.
    #[inline]
    pub(crate) fn scope(&self) -> u64 {
        self.scope.get()
    }

    /// Returns true if the running task is the main future or a group's body, which no handle can
    /// cancel.
    pub(crate) fn is_body(&self) -> bool {
        let task = self.task.get();
        self.slots()
            .slot(task)
            .is_none_or(|slot| slot.member == task_set::BODY)
    }

    /// Returns the scope that a task has of its own; 0 for none.
    pub(crate) fn scope_of(&self, task: TaskId) -> u64 {
        self.base_of(task).map_or(0, |base| base.own)
    }

    /// Begins a new turn.
    pub(crate) fn refill(&self) {
        self.budget.set(BUDGET);
        self.turn.set(self.turn.get().checked_add(1).unwrap_or(1));
    }

    /// Stores a description of the running task's wait, and the task it waits for, until its next
    /// poll.
    pub(crate) fn note(&self, what: &'static str, holder: TaskId) {
        #[cfg(feature = "dump")]
        self.slots().note(self.task.get(), what, holder);
        #[cfg(not(feature = "dump"))]
        let _unread = (what, holder);
    }

    /// Returns the task that `waker` wakes, if it is one of this executor's.
    #[inline]
    pub(crate) fn task_of(&self, waker: &Waker) -> Option<TaskId> {
        TaskId::of(waker, self.number)
    }

    /// Returns the number of the turn; never 0.
    pub(crate) fn turn(&self) -> u32 {
        self.turn.get()
    }

    /// Consumes one unit of the budget.
    #[inline]
    pub(crate) fn charge(&self) {
        self.budget.set(self.budget.get().saturating_sub(1));
    }

    /// Returns the rest of the budget, for [`settle`](Self::settle).
    #[inline]
    pub(crate) fn left(&self) -> u32 {
        self.budget.get()
    }

    /// Consumes one unit of the budget for the poll of a task, unless the poll itself has consumed
    /// some.
    ///
    /// So only the leaves count. If every level did, a task inside as many groups as the budget has
    /// units would never run.
    #[inline]
    pub(crate) fn settle(&self, before: u32) {
        if self.budget.get() == before {
            self.charge();
        }
    }

    /// Returns true if operations should let the loop poll the kernel first.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.budget.get() == 0
    }
}
