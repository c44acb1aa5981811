//! What the owner of a scope sees and does of it, while it runs or not.

use std::cell::{Cell, RefCell};
use std::task::Waker;
use std::time::Instant;

use super::context::{self, Core};
use super::scopes::{Limit, ScopeKey};
use crate::executor::wake_each;
use crate::sys::clock::{self, NEVER};

/// What the owner of a scope sees and does of it; several runs may share one.
#[derive(Debug, Default)]
pub(crate) struct Control {
    deadline: Cell<Option<Instant>>,
    cancelled: Cell<bool>,
    caught: Cell<bool>,
    /// The runs under way.
    runs: RefCell<Vec<Run>>,
}

/// One run.
#[derive(Debug, Clone)]
struct Run {
    serial: u64,
    key: ScopeKey,
    waker: Waker,
}

impl Control {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    pub(crate) fn has_caught(&self) -> bool {
        self.caught.get()
    }

    /// Something ended because of it.
    pub(super) fn catch(&self) {
        self.caught.set(true);
    }

    /// The deadline has come.
    pub(super) fn time_is_over(&self) {
        self.cancelled.set(true);
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.get()
    }

    /// Cancels every run, now and later; false if that was done before.
    pub(crate) fn cancel(&self) -> bool {
        let first = !self.cancelled.replace(true);
        self.each(Core::cancel_scope);
        first
    }

    /// Moves the deadline of every run.
    pub(crate) fn set_deadline(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
        let at = deadline.map_or(NEVER, clock::at);
        self.each(|core, key| core.scopes().set_limit(key, Limit::At(at)));
    }

    /// Does `what` to the runs on the running loop, and wakes all.
    fn each(&self, what: impl Fn(&Core, ScopeKey)) {
        let runs = self.runs.borrow().clone();
        for run in &runs {
            let here = context::with_serial(run.serial, |core| what(core, run.key));
            // Elsewhere it is done when the run is polled.
            here.unwrap_or_default();
        }
        wake_each(runs.into_iter().map(|run| run.waker));
    }

    pub(super) fn wait(&self, serial: u64, key: ScopeKey, waker: &Waker) {
        let find = |run: &Run| run.key == key && run.serial == serial;
        let place = self.runs.borrow().iter().position(find);
        let run = |waker| Run { serial, key, waker };
        match place {
            Some(at) if self.runs.borrow()[at].waker.will_wake(waker) => {}
            Some(at) => {
                let new = run(waker.clone());
                let old = std::mem::replace(&mut self.runs.borrow_mut()[at], new);
                drop(old);
            }
            None => {
                let new = run(waker.clone());
                self.runs.borrow_mut().push(new);
            }
        }
    }

    pub(super) fn leave(&self, serial: u64, key: ScopeKey) {
        let mut runs = self.runs.borrow_mut();
        let find = |run: &Run| run.key == key && run.serial == serial;
        let gone = runs.iter().position(find).map(|at| runs.swap_remove(at));
        drop(runs);
        drop(gone);
    }
}

/// Who may cancel a run. A type, so that a time limit, which nobody may, is `Send` and holds
/// nothing for it.
pub(crate) trait Owner {
    fn control(&self) -> Option<&Control>;
}

/// The owner of a run that nobody can cancel.
#[derive(Debug)]
pub(crate) struct Nobody;

impl Owner for Nobody {
    fn control(&self) -> Option<&Control> {
        None
    }
}

impl Owner for &Control {
    fn control(&self) -> Option<&Control> {
        Some(self)
    }
}
