//! What waits for a source: a task of the loop, or a foreign waker.

use std::task::Waker;

use super::readiness::{Direction, Parked};
use super::sources::Source;
use crate::room::Slab;

/// A waiter for a source. A task is stored as a number in the source; the rare foreign waker is
/// stored separately, so that an idle source is small.
#[derive(Debug)]
#[must_use = "a foreign waker is called or dropped outside the borrow"]
pub(crate) enum Waiter {
    /// A task of the loop, by its number, which is never 0.
    Task(usize),
    /// A waker that may be the user's code.
    Foreign(Waker),
}

/// The tasks of the loop, as far as the reactor uses them.
pub(crate) trait Tasks {
    /// Wakes a task; the caller has to call a waker that is returned.
    fn wake(&mut self, number: usize) -> Option<Waker>;

    /// The same in little code.
    fn wake_rarely(&mut self, number: usize) -> Option<Waker>;
}

/// The foreign wakers of sources, by their index plus one.
#[derive(Debug, Default)]
pub(super) struct Foreign(pub(super) Slab<Waker>);

impl Foreign {
    /// Stores `waiter` in the form for a source.
    #[inline]
    pub(super) fn keep(&mut self, waiter: Waiter) -> Parked {
        let (number, apart) = match waiter {
            Waiter::Task(number) => (number, false),
            Waiter::Foreign(waker) => (self.0.insert(waker) + 1, true),
        };
        Parked { number, apart }
    }

    /// Removes a stored waiter.
    #[inline(always)]
    pub(super) fn take(&mut self, parked: Parked) -> Waiter {
        if parked.apart {
            return self.take_apart(parked.number);
        }
        Waiter::Task(parked.number)
    }

    #[cold]
    fn take_apart(&mut self, number: usize) -> Waiter {
        Waiter::Foreign(self.0.remove(number - 1))
    }
}

/// Wakes a task, or adds a foreign waker to `woken`.
#[inline(always)]
pub(super) fn wake(waiter: Waiter, woken: &mut Vec<Waker>, tasks: &mut impl Tasks) {
    // Not `extend`: that took 15 instructions more (`instructions tcp-echo`).
    let foreign = match waiter {
        Waiter::Task(number) => tasks.wake(number),
        Waiter::Foreign(waker) => Some(waker),
    };
    if let Some(foreign) = foreign {
        woken.push(foreign);
    }
}

/// The same for writers, which wait rarely.
#[cold]
#[inline(never)]
pub(super) fn wake_rarely(waiter: Waiter, woken: &mut Vec<Waker>, tasks: &mut impl Tasks) {
    woken.extend(match waiter {
        Waiter::Task(number) => tasks.wake_rarely(number),
        Waiter::Foreign(waker) => Some(waker),
    });
}

/// Removes the waiters of a source.
pub(super) fn waiters(source: &mut Source, foreign: &mut Foreign) -> [Option<Waiter>; 2] {
    [Direction::Read, Direction::Write]
        .map(|direction| Some(foreign.take(source.readiness.unpark(direction)?)))
}
