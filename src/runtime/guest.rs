//! A loop inside another one: turns, the descriptor to watch, the time to wait.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::{Runtime, context};
use crate::error::Result;
use crate::executor::Payload;
use crate::sys::clock;

impl Runtime {
    /// Keeps the poller, for [`AsFd`].
    pub(super) fn watch(&mut self) -> io::Result<()> {
        let poller = self.core.reactor().poller(self.core.bell())?.clone();
        self.watch = Some(poller);
        Ok(())
    }

    /// Marks the runtime as asleep between turns, so that a wake rings. If a task is already woken
    /// that is not needed: [`next_timeout`](Self::next_timeout) reports it.
    fn fall_asleep(&mut self) -> Option<Payload> {
        let mut first = None;
        while !self.has_ready() && !self.core.has_failed() {
            let (core, inbox) = (&*self.core, &mut self.inbox);
            match core.make_poller() {
                Err(cause) => core.fail(cause, &mut inbox.woken),
                Ok(()) if inbox.try_sleep(core) => break,
                Ok(()) => {}
            }
            if let Some(payload) = inbox.wake_all(core) {
                first.get_or_insert(payload);
            }
        }
        first
    }

    /// Waits at most `max_wait` for an event (`None`: without limit), then runs the woken tasks
    /// once. It returns early if there was something to do.
    ///
    /// For a foreign loop: call it with a wait of zero when the runtime's descriptor ([`AsFd`]) is
    /// readable or [`next_timeout`](Self::next_timeout) has passed.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) if the kernel refused to let the loop wait; all operations
    /// end with the same error.
    ///
    /// # Panics
    ///
    /// With the panic of a spawned task.
    pub fn turn(&mut self, max_wait: Option<Duration>) -> Result<()> {
        self.core.recover();
        let core = Rc::clone(&self.core);
        context::enter(&core, || {
            let awake = Awake(self);
            awake.0.wait(max_wait.map(clock::after));
            let done = awake.0.run(|_| Poll::<Infallible>::Pending);
            debug_assert!(done.is_pending(), "there is no main future in a turn");
        });
        if self.core.has_failed() {
            Err(self.core.failure())
        } else {
            Ok(())
        }
    }

    /// Returns the time that a foreign loop may wait on the descriptor before it calls
    /// [`turn`](Self::turn): zero if a task is woken, `None` if no deadline is set.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        if self.has_ready() || self.core.remote().has_queued() {
            return Some(Duration::ZERO);
        }
        let earliest = self.core.reactor_ref().timers.earliest()?;
        Some(Duration::from_nanos(earliest.saturating_sub(clock::now())))
    }
}

impl AsFd for Runtime {
    /// The poller's descriptor: readable if an event or a wake from another thread has come. Only
    /// watch it. It does not include deadlines and tasks that are already woken:
    /// [`next_timeout`](Self::next_timeout) does.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch
            .as_ref()
            .expect("`new` makes it, and nothing else gives out a runtime")
            .as_fd()
    }
}

/// A runtime that is being driven; on drop, in any case, it counts as asleep again.
pub(super) struct Awake<'a>(pub(super) &'a mut Runtime);

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        // The bell of a runtime that was not given out would have no effect.
        let guest = self.0.watch.is_some();
        if let Some(payload) = guest.then(|| self.0.fall_asleep()).flatten() {
            if !std::thread::panicking() {
                resume_unwind(payload);
            }
        }
    }
}
