//! Limits the number of handshakes at a time, and ends a slow one if another waits to begin.

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::task::{Poll, ready};
use std::time::Duration;

use crate::error::{Result, TlsError};
use crate::runtime::wait::Wait;
use crate::sync::{CapacityLimiter, Semaphore, SemaphorePermit};
use crate::sys::clock;
use crate::time::sleep;

/// The time after which a client that has sent nothing may have to leave. A client's first message
/// comes immediately after the connect.
const SILENT: Duration = Duration::from_millis(100);

/// The time after which any handshake may have to leave: several round trips around the world.
const SLOW: Duration = Duration::from_secs(1);

/// Permits for handshakes. One task at a time waits for one: the task that accepts.
#[derive(Debug)]
pub(super) struct HandshakeLimiter {
    max: usize,
    free: Semaphore,
    /// Has a token while a task waits. A late handshake takes it, and leaves. A limiter, because a
    /// token that was handed over can be withdrawn.
    wanted: CapacityLimiter,
}

impl HandshakeLimiter {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            free: Semaphore::new(max),
            wanted: CapacityLimiter::new(0),
        }
    }

    /// Waits until one more handshake may begin.
    pub(super) async fn acquire(&self) -> Result<HandshakePermit<'_>> {
        let permit = match self.free.acquire_nowait() {
            Ok(permit) => permit,
            Err(_) => {
                let _wanted = Wanted::new(&self.wanted);
                let wait = Wait::new(&"the end of a TLS handshake");
                self.free.acquire_as(wait).await?
            }
        };
        Ok(HandshakePermit {
            limiter: self,
            _permit: permit,
        })
    }
}

/// Marks a permit as wanted until it is dropped.
struct Wanted<'a>(&'a CapacityLimiter);

impl<'a> Wanted<'a> {
    fn new(wanted: &'a CapacityLimiter) -> Self {
        wanted.set_total_tokens(1);
        Self(wanted)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.set_total_tokens(0);
    }
}

/// The permit of one handshake, given back on drop.
#[derive(Debug)]
pub(super) struct HandshakePermit<'a> {
    limiter: &'a HandshakeLimiter,
    _permit: SemaphorePermit<'a>,
}

impl HandshakePermit<'_> {
    /// Runs a step of the handshake; returns an error if it is late and its permit is wanted.
    pub(super) async fn keep_for<T>(
        &self,
        step: impl Future<Output = Result<T>>,
        has_spoken: impl Fn() -> bool,
    ) -> Result<T> {
        let (mut step, mut late) = (pin!(step), pin!(self.has_to_leave(has_spoken)));
        poll_fn(|cx| {
            let polled = step.as_mut().poll(cx);
            if polled.is_ready() {
                return polled;
            }
            ready!(late.as_mut().poll(cx))?;
            let message = "the handshake was slow, and others waited for its place: there are as \
                           many as max_handshakes allows";
            Poll::Ready(Err(TlsError::new(message).into()))
        })
        .await
    }

    async fn has_to_leave(&self, has_spoken: impl Fn() -> bool) -> Result<()> {
        if self.limiter.max == usize::MAX {
            return pending().await;
        }
        let (wanted, begun) = (&self.limiter.wanted, clock::now());
        sleep(SILENT).await?;
        loop {
            let spoke = has_spoken();
            if spoke {
                let waited = Duration::from_nanos(clock::now() - begun);
                sleep(SLOW.saturating_sub(waited)).await?;
            }
            let _late = wanted.acquire().await?;
            // If not, its client has sent a message meanwhile, or no task waits any more.
            if spoke == has_spoken() && wanted.total_tokens() > 0 {
                wanted.set_total_tokens(0);
                return Ok(());
            }
        }
    }
}
