//! Closures that other threads leave for the loop, which runs them between its tasks.
//!
//! It works together with the wakes of `executor/remote.rs`: the closure is queued here first, then
//! the loop is woken as by any task's waker, with a number that no task has. So a loop that is
//! about to sleep either finds that wake, and with it the closure, or is rung.
//!
//! ```text
//!   any thread                          the loop, once a turn
//!   lock: closed? push. unlock          takes the wakes        (remote)
//!   was it empty: wake                  lock: swap. unlock; runs some; so until it was empty
//! ```
//!
//! Only a push into an empty queue wakes. That is enough because the loop does not sleep before it
//! has found the queue empty, or still has some of the calls that it has taken
//! ([`has_left`](CallQueue::has_left)). `tests/loom.rs` includes this file too.

use std::any::Any;
use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::ops::DerefMut;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;

use super::sync::{Arc, Mutex};

/// The largest number of calls in one turn, so that the tasks and the kernel get their turn. The
/// model checker uses the smallest number, to explore calls that are left over.
const PER_TURN: usize = if cfg!(loom) { 1 } else { 64 };

/// The payload of a panic of a closure.
type Payload = Box<dyn Any + Send>;

/// A closure for the loop.
pub(crate) type Call = Box<dyn FnOnce() + Send>;

/// The part for other threads.
pub(crate) struct Calls {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    calls: VecDeque<Call>,
    /// Set once, when the loop ends.
    closed: bool,
}

impl Calls {
    fn new() -> Self {
        Self {
            queue: Mutex::new(Queue::default()),
        }
    }

    fn lock(&self) -> impl DerefMut<Target = Queue> {
        // No code of the user's runs under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a closure for the loop; `Ok(true)` means that the loop has to be woken. Returns the
    /// closure if the loop has ended.
    pub(crate) fn push(&self, call: Call) -> Result<bool, Call> {
        let mut queue = self.lock();
        if queue.closed {
            drop(queue);
            return Err(call);
        }
        let was_empty = queue.calls.is_empty();
        queue.calls.push_back(call);
        Ok(was_empty)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").finish_non_exhaustive()
    }
}

/// The part for the loop.
#[derive(Default)]
pub(crate) struct CallQueue {
    /// Made when it is first needed: most loops have none.
    shared: OnceCell<Arc<Calls>>,
    /// Taken from the shared queue, and not yet run.
    taken: RefCell<VecDeque<Call>>,
}

impl CallQueue {
    /// Returns the part for other threads.
    pub(crate) fn shared(&self) -> Arc<Calls> {
        Arc::clone(self.shared.get_or_init(|| Arc::new(Calls::new())))
    }

    /// Returns true if some are left from the last turn.
    pub(crate) fn has_left(&self) -> bool {
        !self.taken.borrow().is_empty()
    }

    /// Runs some of the closures. The others run after a panic of one, and the first panic is
    /// returned.
    pub(crate) fn run(&self) -> Option<Payload> {
        let shared = self.shared.get()?;
        let (mut first, mut left) = (None, PER_TURN);
        loop {
            if !self.has_left() {
                // The closures it took are only accessed by this thread, without the lock.
                let taken = mem::take(&mut shared.lock().calls);
                self.taken.replace(taken);
            }
            // Either the queue was empty, or some closures are left.
            if left == 0 {
                return first;
            }
            let Some(call) = self.taken.borrow_mut().pop_front() else {
                return first;
            };
            left -= 1;
            if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
                first.get_or_insert(payload);
            }
        }
    }

    /// Called when the loop ends: drops the closures that were not run, and refuses further ones.
    pub(crate) fn close(&self) -> Option<Payload> {
        // Made if there is none, so that later callers get one that is closed.
        let shared = self.shared();
        let mut queue = shared.lock();
        queue.closed = true;
        let left = mem::take(&mut queue.calls);
        drop(queue);
        let taken = self.taken.take();
        let mut first = None;
        for call in taken.into_iter().chain(left) {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(call))) {
                first.get_or_insert(payload);
            }
        }
        first
    }
}
