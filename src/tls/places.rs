//! Limits the number of handshakes at a time, and ends a slow one if its place is wanted.

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::task::{Poll, ready};
use std::time::Duration;

use crate::error::{Result, TlsError};
use crate::runtime::wait::Wait;
use crate::sync::{Semaphore, SemaphorePermit};
use crate::sys::clock;
use crate::time::sleep;

/// The time after which a client that has sent nothing may have to leave. A client's first message
/// comes immediately after the connect.
const SILENT: Duration = Duration::from_millis(100);

/// The time after which any handshake may have to leave: several round trips around the world.
const SLOW: Duration = Duration::from_secs(1);

/// The places of handshakes. One task at a time waits for a place: the one that accepts.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    free: Semaphore,
    /// Has a permit while a task waits for a place. A late handshake takes it, and leaves.
    wanted: Semaphore,
}

impl Places {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            free: Semaphore::new(max),
            wanted: Semaphore::new(0),
        }
    }

    /// Waits until a place is free, and takes it.
    pub(super) async fn take(&self) -> Result<Place<'_>> {
        let permit = match self.free.acquire_nowait() {
            Ok(permit) => permit,
            Err(_) => {
                let _wanted = Wanted::new(&self.wanted)?;
                let wait = Wait::new(&"the end of a TLS handshake");
                self.free.acquire_as(wait).await?
            }
        };
        Ok(Place {
            places: self,
            _permit: permit,
        })
    }
}

/// Marks a place as wanted until it is dropped.
struct Wanted<'a>(&'a Semaphore);

impl<'a> Wanted<'a> {
    fn new(wanted: &'a Semaphore) -> Result<Self> {
        wanted.add(1)?;
        Ok(Self(wanted))
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        if let Ok(permit) = self.0.acquire_nowait() {
            permit.forget();
        }
    }
}

/// The place of a handshake, given back on drop.
#[derive(Debug)]
pub(super) struct Place<'a> {
    places: &'a Places,
    _permit: SemaphorePermit<'a>,
}

impl Place<'_> {
    /// Runs a step of the handshake; returns an error if it is late and the place is wanted.
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
        if self.places.max == usize::MAX {
            return pending().await;
        }
        let begun = clock::now();
        sleep(SILENT).await?;
        if !has_spoken() {
            let late = self.places.wanted.acquire().await?;
            if !has_spoken() {
                late.forget();
                return Ok(());
            }
            // Its client has sent a message meanwhile: another handshake may be late.
        }
        let waited = Duration::from_nanos(clock::now() - begun);
        sleep(SLOW.saturating_sub(waited)).await?;
        self.places.wanted.acquire().await?.forget();
        Ok(())
    }
}
