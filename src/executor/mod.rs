//! Runs tasks: wakers that are numbers, one slab of slots, sets that own the futures.
//!
//! | file | what it holds |
//! |---|---|
//! | `waker.rs` | a task's number as a `Waker`, and where a wake goes |
//! | `slots.rs` | which tasks are woken, in which order (a pure machine) |
//! | `task_set.rs` | the tasks of one group: who owns the futures and polls them |
//! | `remote.rs` | the one place that other threads reach |
//!
//! The executor knows nothing of sockets and clocks; it shares `std::task::Waker` and integers
//! with the reactor, and the bell that ends a wait.

pub(crate) mod remote;
mod slots;
mod task_set;
pub(crate) mod waker;

/// What `remote.rs` locks with; the model checker puts its own in place.
mod sync {
    pub(crate) use std::sync::{Arc, Mutex};
}

use std::cell::{Cell, RefCell, RefMut};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

pub(crate) use slots::{Parent, SetKey};
pub(crate) use task_set::{Child, Payload, Step, TaskSet};
pub(crate) use waker::TaskId;

use slots::Slots;

/// Polls of tasks and finished operations between two looks at the kernel.
const BUDGET: u32 = 256;

/// Calls wakers, which may be the user's code: goes on after a panic, and then with the first.
pub(crate) fn wake_each(wakers: impl Iterator<Item = Waker>) {
    let mut first = None;
    for waker in wakers {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
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
    slots: RefCell<Slots>,
}

impl Executor {
    pub(crate) fn new(number: u16) -> Self {
        Self {
            number,
            budget: Cell::new(BUDGET),
            slots: RefCell::new(Slots::new(number)),
        }
    }

    /// The runtime's place in the process-wide table.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    fn slots(&self) -> RefMut<'_, Slots> {
        self.slots.borrow_mut()
    }

    /// Lists a task as woken; a foreign waker that comes back is to be called.
    #[must_use = "the waker has to be called"]
    pub(crate) fn list(&self, id: TaskId) -> Option<Waker> {
        self.slots().wake(id)
    }

    /// True if a task of the set is woken.
    pub(crate) fn has_ready(&self, set: SetKey) -> bool {
        self.slots().has_ready(set)
    }

    /// Gives a task a slot, woken.
    fn add(&self, set: SetKey, member: u32) -> TaskId {
        let (id, foreign) = self.slots().add_woken(set, member);
        if let Some(foreign) = foreign {
            foreign.wake();
        }
        id
    }

    /// Calls `waker`, which comes from this executor's thread; gives back one that is foreign, and
    /// so may be the user's code.
    #[must_use = "the waker has to be called"]
    pub(crate) fn wake_own(&self, waker: Waker) -> Option<Waker> {
        match TaskId::of(&waker, self.number) {
            Some(id) => self.list(id),
            None => Some(waker),
        }
    }

    /// Lists every task as woken; the foreign wakers that come back are to be called.
    #[must_use = "the wakers have to be called"]
    pub(crate) fn list_all(&self) -> Vec<Waker> {
        let mut slots = self.slots();
        let all = slots.all();
        all.into_iter().filter_map(|id| slots.wake(id)).collect()
    }

    /// A new turn begins.
    pub(crate) fn refill(&self) {
        self.budget.set(BUDGET);
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
    pub(crate) fn is_spent(&self) -> bool {
        self.budget.get() == 0
    }
}
