//! Limits of a wait for a peer: in total, and without progress.

use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::scopes::Limit;
use super::sleep::Sleep;
use crate::error::Result;
use crate::sys::clock::{self, NEVER, Nanos};

/// The limits of the time that `close` waits until the peer has received everything and has
/// finished.
///
/// `close` ends when the peer has acknowledged everything and has ended its own direction. Until
/// then it discards data from the peer, because unread bytes would make the kernel reset the
/// connection and drop data in flight. At either limit it ends earlier, with an error if bytes are
/// not acknowledged by then.
///
/// Limits are whole milliseconds, rounded up, and at most 49 days. With zero there is no wait.
///
/// # Examples
///
/// ```
/// use soloio::{CloseLimits, connect_tcp, create_tcp_listener};
/// use std::time::Duration;
///
/// soloio::block_on(async {
///     let listener = create_tcp_listener().local_host("127.0.0.1").await?;
///     let limits = CloseLimits { silence: Duration::from_secs(1), ..CloseLimits::default() };
///     // For the streams that it accepts from now on.
///     listener.set_close_limits(limits);
///     let client = connect_tcp("127.0.0.1", listener.local_addr().port()).await?;
///     assert_eq!(listener.accept().await?.close_limits(), limits);
///     assert_eq!(client.close_limits(), CloseLimits::default());
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(alias = "lingering_close")]
#[doc(alias = "SO_LINGER")]
pub struct CloseLimits {
    /// The limit in total; 30 s by default.
    pub total: Duration,
    /// The limit without a byte from the peer and without a byte that it acknowledges; 5 s by
    /// default.
    pub silence: Duration,
}

impl Default for CloseLimits {
    fn default() -> Self {
        Self {
            total: Duration::from_secs(30),
            silence: Duration::from_secs(5),
        }
    }
}

/// The limits of one socket, which any thread may read and set: two numbers of milliseconds.
#[derive(Debug)]
pub(crate) struct SharedLimits(AtomicU64);

impl SharedLimits {
    pub(crate) fn new(limits: CloseLimits) -> Self {
        let shared = Self(AtomicU64::new(0));
        shared.set(limits);
        shared
    }

    pub(crate) fn set(&self, limits: CloseLimits) {
        let [total, silence] = [limits.total, limits.silence].map(|limit| {
            let millis = limit.as_nanos().div_ceil(1_000_000);
            u64::from(u32::try_from(millis).unwrap_or(u32::MAX))
        });
        self.0.store(total << 32 | silence, Relaxed);
    }

    pub(crate) fn set_as(&self, other: &Self) {
        self.0.store(other.0.load(Relaxed), Relaxed);
    }

    pub(crate) fn get(&self) -> CloseLimits {
        let both = self.0.load(Relaxed);
        CloseLimits {
            total: Duration::from_millis(both >> 32),
            silence: Duration::from_millis(both & u64::from(u32::MAX)),
        }
    }
}

/// Ends a wait at its limits; polled whenever the wait continues.
///
/// The kernel has no event for "the peer has acknowledged some", so it is polled: a 256th of the
/// silence after the first wait, then in growing steps, finally five times per silence.
#[derive(Debug)]
pub(crate) struct Silence {
    silence: Nanos,
    total: Duration,
    end: Nanos,
    step: Nanos,
    /// The time of the last progress, and the value of `moved` then.
    changed: Nanos,
    seen: u64,
    sleep: Option<Sleep>,
}

impl Silence {
    pub(crate) fn new(CloseLimits { total, silence }: CloseLimits) -> Self {
        let silence = clock::nanos(silence);
        Self {
            silence,
            total,
            end: NEVER,
            step: silence / 256,
            changed: 0,
            seen: 0,
            sleep: None,
        }
    }

    /// Ready when a limit is reached. `moved` is a number that changes with progress.
    pub(crate) fn poll(
        &mut self,
        mut moved: impl FnMut() -> u64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        loop {
            let now = if let Some(sleep) = &mut self.sleep {
                ready!(Pin::new(sleep).poll(cx))?;
                let (now, seen) = (clock::now(), moved());
                if seen != self.seen {
                    (self.seen, self.changed) = (seen, now);
                }
                now
            } else {
                // Progress is read from the first step on: most waits have ended by then.
                self.changed = clock::now();
                self.end = clock::after(self.total);
                self.changed
            };
            let over = self.changed.saturating_add(self.silence).min(self.end);
            if over <= now {
                return Poll::Ready(Ok(()));
            }
            let next = now.saturating_add(self.step.max(1_000_000)).min(over);
            self.step = self.step.saturating_mul(2).min(self.silence / 5);
            self.sleep = Some(Sleep::new(Limit::at(next)));
        }
    }
}
