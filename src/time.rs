//! Waits for points in time: `sleep`, `sleep_until`, `interval`.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::runtime::scopes::Limit;
use crate::runtime::sleep::Sleep;
use crate::sys::clock::{self, Nanos};

/// Waits until `duration` has passed since the first poll.
///
/// It never ends early; on Linux it is more precise than a millisecond. With a duration of zero,
/// the loop makes one turn first. `Duration::MAX` never ends. [`Sleep::reset`] moves the end.
///
/// # Errors
///
/// [`Error::NoRuntime`](crate::Error::NoRuntime) outside a runtime.
///
/// # Cancel safety
///
/// Dropping the future removes the timer; nothing else has happened.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// soloio::block_on(async {
///     let start = Instant::now();
///     soloio::sleep(Duration::from_millis(2)).await?;
///     assert!(start.elapsed() >= Duration::from_millis(2));
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[inline]
pub fn sleep(duration: Duration) -> Sleep {
    Sleep::new(Limit::after(duration))
}

/// Waits until `deadline`. If it has passed, the loop makes one turn first.
///
/// # Errors
///
/// [`Error::NoRuntime`](crate::Error::NoRuntime) outside a runtime.
///
/// # Cancel safety
///
/// Dropping the future removes the timer; nothing else has happened.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let deadline = Instant::now() + Duration::from_millis(2);
/// soloio::block_on(soloio::sleep_until(deadline))?;
/// assert!(Instant::now() >= deadline);
/// # Ok::<_, soloio::Error>(())
/// ```
#[inline]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::new(Limit::until(deadline))
}

/// Ticks every `period`, first one period after the first poll of [`tick`](Interval::tick). With a
/// period of zero, the loop makes one turn for each tick.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// soloio::block_on(async {
///     let start = Instant::now();
///     let mut interval = soloio::interval(Duration::from_millis(2));
///     for _ in 0..3 {
///         interval.tick().await?;
///     }
///     assert!(start.elapsed() >= Duration::from_millis(6));
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
pub fn interval(period: Duration) -> Interval {
    Interval {
        period,
        next: None,
        waits: false,
        sleep: Sleep::new(Limit::after(period)),
    }
}

/// A repeated point in time; made by [`interval`].
#[derive(Debug)]
pub struct Interval {
    period: Duration,
    /// The next tick; `None` before the first poll.
    next: Option<Nanos>,
    /// The sleep is set to the next tick.
    waits: bool,
    sleep: Sleep,
}

impl Interval {
    /// Waits for the next tick. Missed ticks are left out, so that a late caller does not get
    /// several at once; the times of the others stay multiples of the period apart.
    ///
    /// # Errors
    ///
    /// [`Error::NoRuntime`](crate::Error::NoRuntime) outside a runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no tick.
    pub async fn tick(&mut self) -> Result<()> {
        // A tick that was dropped may have left a pending sleep.
        self.waits = false;
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let due = *self.next.get_or_insert_with(|| clock::after(self.period));
        if !self.waits {
            self.sleep.set_limit(Limit::at(due));
        }
        let slept = Pin::new(&mut self.sleep).poll(cx);
        self.waits = slept.is_pending();
        ready!(slept)?;
        let period = clock::nanos(self.period).max(1);
        let missed = clock::now().saturating_sub(due) / period;
        self.next = Some(due.saturating_add(period.saturating_mul(missed + 1)));
        Poll::Ready(Ok(()))
    }
}

/// Returns its ticks, as [`tick`](Interval::tick) does; it has no end.
#[cfg(feature = "futures-core")]
impl futures_core::Stream for Interval {
    type Item = Result<()>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<()>>> {
        self.poll_tick(cx).map(Some)
    }
}
