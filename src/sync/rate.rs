//! `RateLimiter`: a limited number per time, through a bucket of tokens.
//!
//! The bucket is exact: it counts in units of a token that are so small that no time is ever
//! rounded away. The first waiter in line has a timer, the others wait for it to leave; so there is
//! one timer at a time, and after a cancel all waiters move up.

use std::cell::RefCell;
use std::time::Duration;

use super::permits::{Permit, Permits};
use crate::error::{Error, Result};
use crate::runtime::scopes::Limit;
use crate::runtime::sleep::Sleep;
use crate::runtime::wait::Wait;
use crate::sys::clock::{self, NEVER, Nanos};

/// The fill level (a pure machine). One token has as many units as the interval has nanoseconds,
/// and each nanosecond adds as many units as there are tokens in an interval.
#[derive(Debug)]
struct Bucket {
    tokens: u64,
    interval: Nanos,
    burst: u64,
    level: u128,
    /// The time that `level` is for; `None` before the first use.
    at: Option<Nanos>,
}

impl Bucket {
    fn new(tokens: u64, interval: Nanos, burst: u64) -> Self {
        let mut bucket = Self {
            // In a fraction of an interval without end there would still be some.
            tokens: if interval == NEVER { 0 } else { tokens },
            interval,
            burst,
            level: 0,
            at: None,
        };
        bucket.level = bucket.units(burst);
        bucket
    }

    fn units(&self, tokens: u64) -> u128 {
        u128::from(tokens) * u128::from(self.interval)
    }

    fn refill(&mut self, now: Nanos) {
        let passed = now.saturating_sub(self.at.unwrap_or(now));
        let gained = u128::from(passed) * u128::from(self.tokens);
        self.level = self
            .level
            .saturating_add(gained)
            .min(self.units(self.burst));
        self.at = Some(now);
    }

    /// Takes a token, or returns the time of the next one.
    fn take(&mut self, now: Nanos) -> Result<(), Nanos> {
        self.refill(now);
        let cost = u128::from(self.interval);
        if self.level >= cost {
            self.level -= cost;
            return Ok(());
        }
        if self.tokens == 0 {
            return Err(NEVER);
        }
        let missing = (cost - self.level).div_ceil(u128::from(self.tokens));
        let wait = Nanos::try_from(missing).expect("at most an interval");
        Err(now.saturating_add(wait))
    }

    fn available(&mut self, now: Nanos) -> u64 {
        self.refill(now);
        match self.interval {
            0 => self.burst,
            interval => {
                let whole = self.level / u128::from(interval);
                u64::try_from(whole).expect("at most the burst")
            }
        }
    }
}

/// Limits the number of operations per time, and the size of a burst.
///
/// It is a bucket of tokens: it holds at most `burst` of them, is full at first, and gets `tokens`
/// per `interval`, evenly spread. [`acquire`](Self::acquire) takes one, and waits until there is
/// one.
///
/// # Examples
///
/// ```
/// use soloio::RateLimiter;
/// use std::time::{Duration, Instant};
///
/// soloio::block_on(async {
///     // 1,000 a second, at most 5 of them at once.
///     let limiter = RateLimiter::new(1000, Duration::from_secs(1)).burst(5);
///     let start = Instant::now();
///     for _ in 0..8 {
///         limiter.acquire().await?;
///     }
///     assert!(start.elapsed() >= Duration::from_millis(3));
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[derive(Debug)]
pub struct RateLimiter {
    bucket: RefCell<Bucket>,
    /// A single permit: the task that holds it has the timer.
    first: RefCell<Permits>,
}

/// The state of a [`RateLimiter`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimiterStatistics {
    /// The number of waits for a token.
    pub tasks_waiting: usize,
    /// The number of tokens.
    pub available_tokens: u64,
}

impl RateLimiter {
    /// Makes a limiter with `tokens` per `interval`, and a burst of as many.
    ///
    /// An interval of zero is no limit. With 0 tokens, or an interval of `Duration::MAX`, no token
    /// comes after the first burst. The burst is 0 if `tokens` is, so set the
    /// [`burst`](Self::burst) too.
    #[must_use]
    pub fn new(tokens: u64, interval: Duration) -> Self {
        let interval = clock::nanos(interval);
        Self {
            bucket: RefCell::new(Bucket::new(tokens, interval, tokens)),
            first: RefCell::new(Permits::new(1)),
        }
    }

    /// Sets the largest number of tokens that it can hold, at least 1. It is full at first.
    #[must_use]
    pub fn burst(self, burst: u64) -> Self {
        let Bucket {
            tokens, interval, ..
        } = *self.bucket.borrow();
        Self {
            bucket: RefCell::new(Bucket::new(tokens, interval, burst.max(1))),
            ..self
        }
    }

    /// Sets the number of tokens at first, no more than the burst; the time counts from its first
    /// use.
    #[must_use]
    pub fn initial_tokens(mut self, tokens: u64) -> Self {
        let bucket = self.bucket.get_mut();
        bucket.level = bucket.units(tokens.min(bucket.burst));
        self
    }

    /// Waits until there is a token, and takes it.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`], [`Error::NoRuntime`].
    ///
    /// # Cancel safety
    ///
    /// No token is taken, and the place in the line is given up.
    pub async fn acquire(&self) -> Result<()> {
        let wait = Wait::new(&"a token of a rate limiter");
        // The next in line becomes the first when it is dropped.
        let _first = Permit::take(&self.first, wait).await?;
        loop {
            // A statement of its own: the match would extend the borrow.
            let taken = self.bucket.borrow_mut().take(clock::now());
            match taken {
                Ok(()) => return Ok(()),
                Err(at) => Sleep::new(Limit::at(at)).await?,
            }
        }
    }

    /// Takes a token if there is one and no task waits for it.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`].
    pub fn acquire_nowait(&self) -> Result<()> {
        if self.first.borrow().free() == 0 {
            return Err(Error::WouldBlock);
        }
        let taken = self.bucket.borrow_mut().take(clock::now());
        taken.map_err(|_| Error::WouldBlock)
    }

    /// Returns the number of tokens, and of waiting tasks.
    #[must_use]
    pub fn statistics(&self) -> RateLimiterStatistics {
        let first = self.first.borrow();
        RateLimiterStatistics {
            tasks_waiting: first.waiting() + first.taken(),
            available_tokens: self.bucket.borrow_mut().available(clock::now()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The twin lets time pass a nanosecond at a time, and counts in whole units.
    struct Twin {
        tokens: u64,
        interval: u64,
        burst: u64,
        level: u64,
    }

    impl Twin {
        fn pass(&mut self) {
            self.level = (self.level + self.tokens).min(self.burst * self.interval);
        }

        fn take(&mut self) -> bool {
            let there = self.level >= self.interval;
            self.level -= if there { self.interval } else { 0 };
            there
        }
    }

    proptest! {
        #[test]
        fn a_bucket_fills_as_time_passes(
            (tokens, interval, burst) in (0..5_u64, 0..50_u64, 1..5_u64),
            waits in prop::collection::vec(0..40_u64, 0..60),
        ) {
            let mut bucket = Bucket::new(tokens, interval, burst);
            let mut twin = Twin { tokens, interval, burst, level: burst * interval };
            let mut now = 1000;
            for wait in waits {
                for _ in 0..wait {
                    twin.pass();
                }
                now += wait;
                let whole = twin.level.checked_div(interval).unwrap_or(burst);
                prop_assert_eq!(bucket.available(now), whole);
                let taken = bucket.take(now);
                prop_assert_eq!(taken.is_ok(), twin.take());
                match taken {
                    Ok(()) => {}
                    Err(NEVER) => prop_assert_eq!(tokens, 0),
                    Err(at) => {
                        // Exactly then, and not a nanosecond before.
                        prop_assert!(at > now);
                        for _ in now..at - 1 {
                            twin.pass();
                        }
                        prop_assert!(twin.level < interval);
                        twin.pass();
                        prop_assert!(twin.level >= interval);
                        now = at;
                    }
                }
            }
        }
    }

    #[test]
    fn extremes_neither_overflow_nor_spin() {
        let mut bucket = Bucket::new(u64::MAX, NEVER, u64::MAX);
        assert_eq!(bucket.take(0), Ok(()));
        assert_eq!(bucket.take(NEVER - 1), Ok(()));
        let mut slow = Bucket::new(1, NEVER, 1);
        assert_eq!(slow.take(5), Ok(()));
        assert_eq!(slow.take(5), Err(NEVER));
        let mut empty = Bucket::new(0, 7, 0);
        assert_eq!(empty.take(5), Err(NEVER));
        let mut free = Bucket::new(3, 0, 1);
        assert!((0..100).all(|_| free.take(5).is_ok()));
    }
}
