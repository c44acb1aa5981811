//! What the owner of a scope sees and does of it, while it runs or not, and what is made of the
//! end of a run.

use std::cell::{Cell, RefCell};
use std::mem;
use std::task::Waker;
use std::time::Instant;

use super::context::{self, Core};
use super::scopes::{Limit, ScopeKey};
use crate::executor::wake_list;
use crate::room::Slab;
use crate::sys::clock::{self, NEVER, Nanos};

/// What the owner of a scope sees and does of it; several runs may share one.
#[derive(Debug, Default)]
pub(crate) struct Control {
    deadline: Cell<Option<Instant>>,
    cancelled: Cell<bool>,
    caught: Cell<bool>,
    /// The runs under way.
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
        self.each(&Core::cancel_scope);
        first
    }

    /// Moves the deadline of every run.
    pub(crate) fn set_deadline(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
        let at = deadline.map_or(NEVER, clock::at);
        self.each(&|core, key| core.scopes().set_limit(key, Limit::At(at)));
    }

    /// Does `what` to the runs on the running loop, and wakes all.
    fn each(&self, what: &dyn Fn(&Core, ScopeKey)) {
        // Taken, not cloned: that would be foreign code while the list is borrowed. A run that is
        // polled again leaves another.
        let (mut runs, mut wakers) = (Vec::new(), Vec::new());
        for (_, run) in self.runs.borrow_mut().iter_mut() {
            wakers.push(mem::replace(&mut run.waker, Waker::noop().clone()));
            runs.push((run.serial, run.key));
        }
        for (serial, key) in runs {
            let here = context::with_serial(serial, |core| what(core, key));
            // Elsewhere it is done when the run is polled.
            here.unwrap_or_default();
        }
        wake_list(wakers);
    }

    /// A run is polled with `waker`. It has the place that it was given before, if any; gives the
    /// place that it has from now on. There may be a run for each of thousands of connections, so
    /// none is looked for.
    fn wait(&self, place: Option<usize>, serial: u64, key: ScopeKey, waker: &Waker) -> usize {
        let same = |run: &Run| run.key == key && run.serial == serial && run.waker.will_wake(waker);
        let known = place.filter(|place| self.runs.borrow().get(*place).is_some_and(same));
        if let Some(place) = known {
            return place;
        }
        let new = Run {
            serial,
            key,
            waker: waker.clone(),
        };
        let Some(place) = place else {
            return self.runs.borrow_mut().insert(new);
        };
        let old = mem::replace(&mut self.runs.borrow_mut()[place], new);
        drop(old);
        place
    }

    fn leave(&self, place: usize) {
        let gone = self.runs.borrow_mut().remove(place);
        drop(gone);
    }
}

/// One run's way to who may cancel it.
#[derive(Debug)]
pub(crate) struct Owned<'a> {
    control: &'a Control,
    /// Its place among the runs, once polled.
    place: Option<usize>,
    /// The deadline of the control that is in force.
    applied: Option<Instant>,
}

impl<'a> Owned<'a> {
    pub(crate) fn by(control: &'a Control) -> Self {
        Self {
            control,
            place: None,
            applied: None,
        }
    }
}

/// Who may cancel a run. A type, so that a time limit, which nobody may, is `Send` and holds
/// nothing for it.
pub(crate) trait Owner {
    /// The run is not a scope that may be cancelled but a shield.
    const SHIELDS: bool = false;

    fn control(&self) -> Option<&Control> {
        None
    }

    /// The deadline that the owner has set, which is in force from now on; `None` if there is no
    /// owner to set one.
    fn deadline(&mut self) -> Option<Nanos> {
        None
    }

    /// The same if it is another than the one in force.
    fn moved_deadline(&mut self) -> Option<Nanos> {
        None
    }

    /// The run is polled, under that name and with that waker.
    fn wait(&mut self, _serial: u64, _key: ScopeKey, _waker: &Waker) {}

    /// The run is over, or goes on under another name.
    fn leave(&mut self) {}
}

/// The owner of a run that nobody can cancel.
#[derive(Debug)]
pub(crate) struct Nobody;

impl Owner for Nobody {}

/// The owner of a shield, which nobody can cancel.
#[derive(Debug)]
pub(crate) struct Shield;

impl Owner for Shield {
    const SHIELDS: bool = true;
}

impl Owner for Owned<'_> {
    fn control(&self) -> Option<&Control> {
        Some(self.control)
    }

    fn deadline(&mut self) -> Option<Nanos> {
        self.applied = self.control.deadline();
        Some(self.applied.map_or(NEVER, clock::at))
    }

    fn moved_deadline(&mut self) -> Option<Nanos> {
        if self.control.deadline() == self.applied {
            return None;
        }
        self.deadline()
    }

    fn wait(&mut self, serial: u64, key: ScopeKey, waker: &Waker) {
        self.place = Some(self.control.wait(self.place, serial, key, waker));
    }

    fn leave(&mut self) {
        if let Some(place) = self.place.take() {
            self.control.leave(place);
        }
    }
}

/// How a body in a scope came to its end.
pub(crate) enum Ended<T> {
    /// By itself; `caught` if something in it ended because of this scope.
    Done { output: T, caught: bool },
    /// It was dropped: `caught` because of this scope, else because of one around it that is
    /// cancelled as well.
    Dropped { caught: bool },
    /// It had to wait outside a runtime, and was dropped.
    NoRuntime,
}
