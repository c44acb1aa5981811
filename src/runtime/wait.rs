//! One waiting operation that is no socket's: the gate at each poll, and the wait.
//!
//! Queues, locks, jobs and memory streams keep their own lists of who waits; what they share is
//! here, so that there is one place where a poll is told to give way or to end:
//!
//! ```text
//!   poll:  admit ──> try ──> done            (ready wins)
//!                      └───> pend            (the waker is in the operation's own list)
//! ```

use std::task::{Context, Poll};

use super::context::Core;
use crate::error::Result;

/// The part of a waiting operation that the runtime knows of. Lives in the operation's future.
#[derive(Debug)]
pub(crate) struct Wait {
    /// It gave way at the last poll.
    yielded: bool,
}

impl Wait {
    /// An operation that waits for `what`, such as "room in a memory object stream".
    pub(crate) const fn new(_what: &'static str) -> Self {
        Self { yielded: false }
    }

    /// The gate. Called first at each poll: `Pending` has woken the task already, an error ends
    /// the operation, which then leaves every list it is in.
    pub(crate) fn admit(&mut self, core: &Core, cx: &Context<'_>) -> Poll<Result<()>> {
        if self.yielded {
            // Once in a row only: what stands before it in the same task may use the budget of
            // every turn.
            self.yielded = false;
            return Poll::Ready(core.admit_wait());
        }
        let admitted = core.admit(cx);
        self.yielded = admitted.is_pending();
        admitted
    }

    /// The operation has to wait: called at the end of each such poll, after its waker was put
    /// where it will be called. An error ends the operation instead, which then leaves every list
    /// it is in.
    pub(crate) fn pend<T>(&mut self, _core: &Core, _cx: &Context<'_>) -> Poll<Result<T>> {
        Poll::Pending
    }

    /// The operation succeeded: it counts against the turn's budget.
    pub(crate) fn done(&mut self, core: &Core) {
        core.finished();
    }
}
