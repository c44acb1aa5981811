//! A timer as a future.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::context::{self, Core};
use super::scopes::Limit;
use super::wait::Wait;
use crate::error::{Content, Result, TimedOut};
use crate::executor::{remote::Post, waker};
use crate::reactor::{Seen, TimerKey};
use crate::sys::clock::{self, NEVER, Nanos};

impl Limit {
    /// A duration after the first wait; `Duration::MAX` has no end.
    #[inline]
    pub(crate) fn after(duration: Duration) -> Self {
        let length = clock::nanos(duration);
        Self { at: NEVER, length }
    }

    #[inline]
    pub(crate) fn until(instant: Instant) -> Self {
        Self::at(clock::at(instant))
    }

    #[inline]
    pub(crate) const fn at(at: Nanos) -> Self {
        Self { at, length: NEVER }
    }

    /// Returns an empty report.
    pub(super) fn report(self) -> Content<TimedOut> {
        let limit = (self.length != NEVER).then_some(Duration::from_nanos(self.length));
        TimedOut::new(limit, String::new())
    }

    /// Returns the deadline if the first wait began now.
    #[inline]
    pub(super) fn deadline(self, now: impl FnOnce() -> Nanos) -> Nanos {
        match self.at {
            NEVER if self.length != NEVER => now().saturating_add(self.length),
            at => at,
        }
    }
}

/// A wait for a point in time that can be moved; made by [`sleep`](crate::sleep) and
/// [`sleep_until`](crate::sleep_until).
///
/// A poll after its end returns the same again.
///
/// # Cancel safety
///
/// Dropping it removes the timer; nothing else has happened. One that is awaited by `&mut` and cut
/// may be awaited again: it still ends at its deadline.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
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
    pub(crate) fn new(limit: Limit) -> Self {
        Self {
            limit,
            wait: Wait::unnamed(),
            serial: 0,
            key: 0,
        }
    }

    /// Sets the deadline, which may be later or earlier than before. If the wait has already ended,
    /// it can be awaited once more. A waiting task continues to wait.
    ///
    /// It is cheaper than a new sleep, for example for an idle limit that restarts with each
    /// message.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// soloio::block_on(async {
    ///     let mut pause = soloio::sleep(Duration::from_secs(60));
    ///     for _ in 0..3 {
    ///         let deadline = Instant::now() + Duration::from_millis(2);
    ///         pause.reset(deadline);
    ///         (&mut pause).await?;
    ///         assert!(Instant::now() >= deadline);
    ///     }
    ///     Ok::<_, soloio::Error>(())
    /// })?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    #[inline]
    pub fn reset(&mut self, deadline: Instant) {
        self.set_limit(Limit::until(deadline));
    }

    /// Waits for another time from now on; a timer that is set is moved.
    #[inline]
    pub(crate) fn set_limit(&mut self, limit: Limit) {
        self.limit = limit;
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
                core.finished();
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
        self.limit = Limit::at(deadline);
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
