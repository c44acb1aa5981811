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
use crate::reactor::TimerKey;
use crate::sys::clock::{self, NEVER, Nanos};

/// When to wake.
#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    /// So long after the first poll.
    After(Duration),
    /// At a moment of the clock.
    At(Instant),
    /// At a moment of the loop's clock.
    Deadline(Nanos),
}

/// A duration in nanoseconds, if that many can be counted (584 years).
#[inline]
fn nanos(duration: Duration) -> Option<Nanos> {
    let seconds = duration.as_secs().checked_mul(1_000_000_000)?;
    seconds.checked_add(u64::from(duration.subsec_nanos()))
}

impl When {
    #[inline]
    pub(crate) fn deadline(self) -> Nanos {
        match self {
            // So many that they cannot be counted, such as `Duration::MAX`, are for ever.
            Self::After(duration) => match nanos(duration) {
                Some(nanos) => clock::now().saturating_add(nanos),
                None => NEVER,
            },
            Self::At(instant) => clock::at(instant),
            Self::Deadline(deadline) => deadline,
        }
    }

    /// The same for a scope, which reads the clock when it first has to wait.
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

/// A timer that is set at the first poll.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct Sleep {
    when: When,
    wait: Wait,
    /// The runtime and the timer in it, once set.
    set: Option<(u64, TimerKey)>,
}

impl Sleep {
    pub(crate) fn new(when: When) -> Self {
        Self {
            when,
            wait: Wait::unnamed(),
            set: None,
        }
    }

    /// Waits for another moment from now on; the timer that is set is moved.
    pub(crate) fn reset(&mut self, when: When) {
        self.when = when;
        self.wait = Wait::unnamed();
        let Some((serial, key)) = self.set else {
            return;
        };
        let moved = context::with_serial(serial, |core| {
            core.reactor().timers.rearm(key, when.deadline())
        });
        if moved != Some(true) {
            cancel(serial, key);
            self.set = None;
        }
    }

    fn poll_in(&mut self, core: &Core, cx: &Context<'_>) -> Poll<Result<()>> {
        ready!(self.wait.admit_wait(core, cx))?;
        // Cloned, and the old one dropped, while no cell is borrowed: it may be foreign.
        match self.set {
            Some((serial, key)) if serial == core.serial() => {
                if core.reactor().timers.is_fired(key) {
                    self.wait.done(core);
                    return Poll::Ready(Ok(()));
                }
                let same = core.reactor().timers.would_wake(key, cx.waker());
                if !same {
                    let waker = cx.waker().clone();
                    let old = core.reactor().timers.set_waker(key, waker);
                    drop(old);
                }
            }
            elsewhere => {
                if let Some((serial, key)) = elsewhere {
                    cancel(serial, key);
                }
                let (deadline, waker) = (self.when.deadline(), cx.waker().clone());
                // Under another runtime it goes on, instead of starting anew.
                self.when = When::Deadline(deadline);
                let key = core.reactor().timers.insert(deadline, waker);
                self.set = Some((core.serial(), key));
            }
        }
        self.wait.pend(core, cx)
    }
}

impl Future for Sleep {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        context::poll_with(|core| self.poll_in(core, cx))
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((serial, key)) = self.set {
            cancel(serial, key);
        }
    }
}

/// Removes a timer, at home or from elsewhere.
pub(super) fn cancel(serial: u64, key: TimerKey) {
    let here = context::with_serial(serial, |core| {
        let waker = core.reactor().timers.cancel(key);
        drop(waker);
    });
    if here.is_none() {
        if let Some(remote) = waker::by_serial(serial) {
            remote.post(Post::Timer(key));
        }
    }
}
