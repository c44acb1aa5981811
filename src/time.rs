//! Waits for points in time: `sleep`, `sleep_until`, `interval`.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::runtime::sleep::{Sleep as Timer, When};
use crate::sys::clock::{self, NEVER, Nanos};

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
    Sleep(Timer::new(When::After(duration)))
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
    Sleep(Timer::new(When::At(deadline)))
}

/// A wait for a point in time that can be moved; made by [`sleep`] and [`sleep_until`].
///
/// A poll after its end returns the same again.
///
/// # Cancel safety
///
/// Dropping it removes the timer; nothing else has happened. One that is awaited by `&mut` and cut
/// may be awaited again: it still ends at its deadline.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep(Timer);

impl Sleep {
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
        self.0.reset(When::At(deadline));
    }
}

impl Future for Sleep {
    type Output = Result<()>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll(cx)
    }
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
        sleep: Timer::new(When::After(period)),
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
    sleep: Timer,
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
        let period = When::After(self.period);
        let due = *self.next.get_or_insert_with(|| period.deadline());
        if !self.waits {
            self.sleep.reset(When::Deadline(due));
        }
        let slept = Pin::new(&mut self.sleep).poll(cx);
        self.waits = slept.is_pending();
        ready!(slept)?;
        let period = Nanos::try_from(self.period.as_nanos())
            .unwrap_or(NEVER)
            .max(1);
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
