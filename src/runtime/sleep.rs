//! A timer as a future.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::context::{self, Core};
use super::scopes::Limit;
use super::wait::Wait;
use crate::error::Result;
use crate::executor::{remote::Post, waker};
use crate::reactor::{Seen, TimerKey};
use crate::sys::clock::{self, NEVER, Nanos};

/// The time to wake.
#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    /// A duration after the first wait.
    After(Duration),
    /// At a time of the clock.
    At(Instant),
    /// At a time of the loop's clock.
    Deadline(Nanos),
}

/// Returns a duration in nanoseconds, if it fits (584 years).
#[inline]
fn nanos(duration: Duration) -> Option<Nanos> {
    let seconds = duration.as_secs().checked_mul(1_000_000_000)?;
    seconds.checked_add(u64::from(duration.subsec_nanos()))
}

impl When {
    #[inline]
    pub(crate) fn deadline(self) -> Nanos {
        match self {
            // A duration that does not fit, such as `Duration::MAX`, has no end.
            Self::After(duration) => match nanos(duration) {
                Some(nanos) => clock::now().saturating_add(nanos),
                None => NEVER,
            },
            Self::At(instant) => clock::at(instant),
            Self::Deadline(deadline) => deadline,
        }
    }

    /// The same for code that reads the clock when it first has to wait.
    #[inline]
    pub(super) fn limit(self) -> Limit {
        match self {
            Self::After(duration) => match nanos(duration) {
                Some(nanos) => Limit::After(nanos),
                None => Limit::At(NEVER),
            },
            other => Limit::At(other.deadline()),
        }
    }
}

impl Limit {
    /// Returns the deadline if the first wait began now.
    #[inline]
    pub(super) fn deadline(self, now: impl FnOnce() -> Nanos) -> Nanos {
        match self {
            Self::At(deadline) => deadline,
            Self::After(nanos) => now().saturating_add(nanos),
        }
    }
}

/// A timer that is set at the first poll.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct Sleep {
    limit: Limit,
    wait: Wait,
    /// The runtime, once set; else 0. All fields have a value from the start: the compiler would
    /// copy the uninitialised part of an `Option`, and the processor would stall on that.
    serial: u64,
    /// The timer in that runtime.
    key: TimerKey,
}

impl Sleep {
    #[inline]
    pub(crate) fn new(when: When) -> Self {
        Self {
            limit: when.limit(),
            wait: Wait::unnamed(),
            serial: 0,
            key: 0,
        }
    }

    /// Waits for another time from now on; a timer that is set is moved.
    #[inline]
    pub(crate) fn reset(&mut self, when: When) {
        self.limit = when.limit();
        self.wait = Wait::unnamed();
        if self.serial == 0 {
            return;
        }
        let moved = context::with_serial(self.serial, |core| {
            let deadline = self.limit.deadline(clock::now);
            core.reactor().timers.rearm(self.key, deadline)
        });
        if moved != Some(true) {
            self.cancel();
        }
    }

    /// Removes the timer if it is set.
    #[inline]
    fn cancel(&mut self) {
        if self.serial != 0 {
            cancel(self.serial, self.key);
            self.serial = 0;
        }
    }

    #[inline]
    fn poll_in(&mut self, core: &Core, cx: &Context<'_>) -> Poll<Result<()>> {
        ready!(self.wait.admit_wait(core, cx))?;
        if self.serial != core.serial() {
            self.set(core, cx);
            return self.wait.pend(core, cx);
        }
        let seen = core.reactor().timers.see(self.key, cx.waker());
        match seen {
            Seen::Set => {}
            Seen::Fired => {
                self.wait.done(core);
                return Poll::Ready(Ok(()));
            }
            Seen::Other => {
                // Cloned, and the old one dropped, while no cell is borrowed: it may be foreign.
                let waker = cx.waker().clone();
                let old = core.reactor().timers.set_waker(self.key, waker);
                waker::discard(old);
            }
        }
        self.wait.pend(core, cx)
    }

    #[inline]
    fn set(&mut self, core: &Core, cx: &Context<'_>) {
        self.cancel();
        let deadline = self.limit.deadline(clock::now);
        // Under another runtime it continues, instead of starting again.
        self.limit = Limit::At(deadline);
        let waker = cx.waker().clone();
        self.key = core.reactor().timers.insert(deadline, waker);
        self.serial = core.serial();
    }
}

impl Future for Sleep {
    type Output = Result<()>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        context::poll_with(|core| self.poll_in(core, cx))
    }
}

impl Drop for Sleep {
    #[inline]
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Removes a timer, of this runtime or another one.
pub(super) fn cancel(serial: u64, key: TimerKey) {
    let here = context::with_serial(serial, |core| {
        let waker = core.reactor().timers.cancel(key);
        waker::discard(waker);
    });
    if here.is_none() {
        if let Some(remote) = waker::by_serial(serial) {
            remote.post(Post::Timer(key));
        }
    }
}
