//! Tasks of any loop that wait for another thread: [`Waiters`], [`Waiting`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use soloio::{Half, Place, Result};

/// The wakers of the tasks that wait.
#[derive(Default)]
pub(super) struct Waiters(Mutex<List>);

#[derive(Default)]
struct List {
    /// The number of the next waiter.
    next: u64,
    wakers: Vec<(u64, Waker)>,
}

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all of them: each tries again, or waits again. One that is dropped instead has
    /// nothing to pass on. Until a task waits again this is a lock and no more, so that a batch
    /// costs one wake.
    pub(super) fn wake(&self) {
        let woken = std::mem::take(&mut self.lock().wakers);
        for (_, waker) in woken {
            waker.wake();
        }
    }
}

/// An operation that waits; its place in the list is given up on drop.
pub(super) struct Waiting<'a> {
    waiters: &'a Waiters,
    number: Option<u64>,
    /// The gate: so a cancelled scope ends the wait.
    gate: Half,
    place: Place,
}

impl<'a> Waiting<'a> {
    pub(super) fn at(waiters: &'a Waiters) -> Self {
        Self {
            waiters,
            number: None,
            gate: Half::default(),
            place: Place::default(),
        }
    }

    /// Polls an operation: `attempt` returns `None` if it has to wait. It is tried once more when
    /// the waker is in the list, because that may have been too late for a wake.
    pub(super) fn poll<T>(
        &mut self,
        cx: &Context<'_>,
        mut attempt: impl FnMut() -> Option<Result<T>>,
    ) -> Poll<Result<T>> {
        let Self {
            waiters,
            number,
            gate,
            place,
        } = self;
        let try_or_wait = || {
            attempt().or_else(|| {
                let mut list = waiters.lock();
                let List { next, wakers } = &mut *list;
                let own = *number.get_or_insert_with(|| {
                    *next += 1;
                    *next
                });
                wakers.retain(|(number, _)| *number != own);
                wakers.push((own, cx.waker().clone()));
                drop(list);
                attempt()
            })
        };
        gate.poll(place, cx, || Ok(()), try_or_wait)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.gate.leave(&mut self.place);
        if let Some(own) = self.number {
            let mut list = self.waiters.lock();
            list.wakers.retain(|(number, _)| *number != own);
        }
    }
}
