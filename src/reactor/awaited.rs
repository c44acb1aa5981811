//! The waits of tasks in the reactor, for a dump.

use std::os::fd::RawFd;
use std::task::Waker;

use super::{Direction, Reactor, SourceKey};
use crate::sys::clock::Nanos;

/// The object of a task's wait.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Awaited {
    /// A source and its descriptor, in one direction; true for a listener.
    Socket(SourceKey, RawFd, Direction, bool),
    /// A deadline.
    Moment(Nanos),
}

impl Reactor {
    /// Calls `visit` with every task that waits for a descriptor, by its number, and with `None`
    /// for each waker that is no task's.
    pub(crate) fn each_waiter(&self, mut visit: impl FnMut(Option<usize>, Awaited)) {
        for (key, source) in self.sources.iter() {
            for direction in [Direction::Read, Direction::Write] {
                if let Some(parked) = source.readiness.waiter(direction) {
                    let is_listener = source.readiness.listener.is_some();
                    let task = (!parked.apart).then_some(parked.number);
                    visit(
                        task,
                        Awaited::Socket(key, source.fd, direction, is_listener),
                    );
                }
            }
        }
    }

    /// Calls `visit` with each waker that waits for a deadline.
    pub(crate) fn each_timer<'a>(&'a self, mut visit: impl FnMut(&'a Waker, Awaited)) {
        for (waker, deadline) in self.timers.iter() {
            visit(waker, Awaited::Moment(deadline));
        }
    }
}
