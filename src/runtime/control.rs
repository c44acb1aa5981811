//! The owner's view of a scope, and its control, while it runs or not; and the end of a run.

use std::cell::{Cell, RefCell};
use std::mem;
use std::task::Waker;
use std::time::Instant;

use super::context::{self, Core};
use super::scopes::{Limit, ScopeKey};
use crate::executor::{TaskId, wake_list};
use crate::room::Slab;
use crate::sys::clock::{self, NEVER, Nanos};

/// The owner's view and control of a scope; several runs may share it.
#[derive(Debug, Default)]
pub(crate) struct Control {
    deadline: Cell<Option<Instant>>,
    cancelled: Cell<bool>,
    caught: Cell<bool>,
    /// The number of its changes, for a run to find out that there was none.
    changes: Cell<u32>,
    /// The runs in progress.
    runs: RefCell<Slab<Run>>,
}

/// One run.
#[derive(Debug)]
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

    /// Called at the deadline.
    pub(super) fn time_is_over(&self) {
        self.cancelled.set(true);
        self.change();
    }

    fn change(&self) {
        self.changes.set(self.changes.get().wrapping_add(1));
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.get()
    }

    /// Cancels every run, now and later; returns false if that was already done.
    pub(crate) fn cancel(&self) -> bool {
        let first = !self.cancelled.replace(true);
        self.each(&Core::cancel_scope);
        first
    }

    /// Moves the deadline of every run.
    pub(crate) fn set_deadline(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
        let at = deadline.map_or(NEVER, clock::at);
        self.each(&|core, key| core.scopes().set_limit(key, Limit::at(at)));
    }

    /// Calls `what` for the runs on the running loop, and wakes all runs.
    fn each(&self, what: &dyn Fn(&Core, ScopeKey)) {
        self.change();
        // Taken, not cloned: a clone would be foreign code while the list is borrowed. A run that
        // is polled again stores another waker.
        let (mut runs, mut wakers) = (Vec::new(), Vec::new());
        for (_, run) in self.runs.borrow_mut().iter_mut() {
            wakers.push(mem::replace(&mut run.waker, Waker::noop().clone()));
            runs.push((run.serial, run.key));
        }
        for (serial, key) in runs {
            let here = context::with_serial(serial, |core| what(core, key));
            // On other loops it happens when the run is polled.
            here.unwrap_or_default();
        }
        wake_list(wakers);
    }

    /// Called when a run is polled. There may be a run for each of thousands of connections, so it
    /// is never searched for.
    pub(super) fn wait(
        &self,
        owned: &mut Applied,
        by: (TaskId, ScopeKey),
        (serial, key): (u64, ScopeKey),
        waker: &Waker,
    ) {
        (owned.by, owned.changes) = (by, self.changes.get());
        let same = |run: &Run| run.key == key && run.serial == serial && run.waker.will_wake(waker);
        let place = owned.place;
        if place.is_some_and(|place| self.runs.borrow().get(place).is_some_and(same)) {
            return;
        }
        let new = Run {
            serial,
            key,
            waker: waker.clone(),
        };
        let mut runs = self.runs.borrow_mut();
        let Some(place) = place else {
            owned.place = Some(runs.insert(new));
            return;
        };
        let old = mem::replace(&mut runs[place], new);
        drop(runs);
        drop(old);
    }

    /// Called when a run has ended, or continues with another key; `caught` if something in it
    /// ended because of it.
    pub(super) fn leave(&self, owned: &mut Applied, caught: bool) {
        if caught {
            self.caught.set(true);
        }
        if let Some(place) = owned.place.take() {
            let gone = self.runs.borrow_mut().remove(place);
            drop(gone);
        }
    }
}

/// The owner that may cancel a run. A type, so that a time limit, which has no owner, is `Send` and
/// stores nothing for it.
pub(crate) trait Owner {
    /// The run is a shield, not a scope that may be cancelled.
    const SHIELDS: bool = false;

    /// Returns the control of a run that has one, and the run's state of it.
    #[inline]
    fn control(&mut self) -> Option<(&Control, &mut Applied)> {
        None
    }
}

/// The owner of a run that cannot be cancelled.
#[derive(Debug)]
pub(crate) struct Unowned;

impl Owner for Unowned {}

/// The owner of a shield, which cannot be cancelled.
#[derive(Debug)]
pub(crate) struct Shield;

impl Owner for Shield {
    const SHIELDS: bool = true;
}

/// The connection of a run to the control that may cancel it.
#[derive(Debug)]
pub(crate) struct Owned<'a> {
    control: &'a Control,
    applied: Applied,
}

/// The part of a control that a run has applied.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Its place among the runs, once polled.
    place: Option<usize>,
    /// The deadline of the control that is applied.
    deadline: Option<Instant>,
    /// The number of changes that are applied.
    changes: u32,
    /// The task that polled the run last, with its own waker, and the scope around that.
    by: (TaskId, ScopeKey),
}

impl Applied {
    /// Returns the deadline of a run that begins.
    pub(super) fn begin(&mut self, control: &Control) -> Nanos {
        self.deadline = control.deadline();
        self.deadline.map_or(NEVER, clock::at)
    }

    /// Returns true if the run is polled as the last time, and the control has not changed since.
    #[inline]
    pub(super) fn is_current(&self, control: &Control, by: (TaskId, ScopeKey)) -> bool {
        by.0 != TaskId::NONE && self.by == by && self.changes == control.changes.get()
    }

    /// Returns the deadline if it was moved.
    #[inline]
    pub(super) fn moved(&mut self, control: &Control) -> Option<Nanos> {
        (control.deadline() != self.deadline).then(|| self.begin(control))
    }
}

impl<'a> Owned<'a> {
    pub(crate) fn by(control: &'a Control) -> Self {
        let applied = Applied::default();
        Self { control, applied }
    }
}

impl Owner for Owned<'_> {
    #[inline]
    fn control(&mut self) -> Option<(&Control, &mut Applied)> {
        Some((self.control, &mut self.applied))
    }
}

/// The end of a body in a scope.
pub(crate) enum Ended<T> {
    /// It ended by itself; `caught` if something in it ended because of this scope.
    Done { output: T, caught: bool },
    /// It was dropped: `caught` because of this scope, else because a scope around it is cancelled
    /// as well.
    Dropped { caught: bool },
    /// It had to wait outside a runtime, and was dropped.
    NoRuntime,
}
