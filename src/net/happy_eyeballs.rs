//! The order and the times of a host's addresses, and the race between several (RFC 8305).
//!
//! ```text
//!   resolver's order   v6a v6b v6c v4a v4b
//!   tried in           v6a v4a v6b v4b v6c     alternating families, the resolver's first
//!
//!   v6a |-------------------------------------| dropped: closed
//!            v4a |------ refused
//!                       v6b |------- connected: wins
//!        delay          at once
//! ```
//!
//! An attempt begins when the delay after the one before it has passed, or as soon as any running
//! attempt fails.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use crate::error::{ConnectAttempt, Result};
use crate::runtime::context;
use crate::sys::clock::{self, Nanos};
use crate::time::sleep;

/// The time from one attempt to the next, by default (RFC 8305, 5).
pub(super) const DELAY: Duration = Duration::from_millis(250);

/// The result of one attempt; the error is about its address alone.
pub(super) type Attempted<S> = io::Result<S>;

/// Returns the addresses in the order of the attempts: that of the resolver within each family,
/// with alternating families, without duplicates.
#[inline]
pub(super) fn order(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for address in addresses {
        let family = match address.is_ipv4() == first {
            true => &mut ours,
            false => &mut others,
        };
        // Not by hash: that is more code in every program, and an answer has few addresses.
        if !family.contains(&address) {
            family.push(address);
        }
    }
    let mut ordered = Vec::with_capacity(ours.len() + others.len());
    let (mut ours, mut others) = (ours.into_iter(), others.into_iter());
    while ours.len() + others.len() > 0 {
        ordered.extend(ours.next());
        ordered.extend(others.next());
    }
    ordered
}

/// Tries the addresses in their order until one is connected, and drops the other attempts. If all
/// fail, returns all causes, in the order in which the attempts began.
///
/// # Errors
///
/// Errors that are not of one attempt: cancelled, no runtime, a loop that cannot wait.
pub(super) async fn race<F, S>(
    addresses: Vec<SocketAddr>,
    delay: Duration,
    mut attempt: impl FnMut(SocketAddr) -> F,
) -> Result<std::result::Result<S, Vec<ConnectAttempt>>>
where
    F: Future<Output = Result<Attempted<S>>>,
{
    let mut race = Race {
        running: Vec::new(),
        failed: Vec::new(),
    };
    let mut addresses = addresses.into_iter().peekable();
    loop {
        match addresses.next() {
            Some(address) => race.begin(address, attempt(address)),
            None if race.running.is_empty() => return Ok(Err(race.causes())),
            None => {}
        }
        let more = addresses.peek().is_some();
        if more && delay.is_zero() {
            continue;
        }
        match race.news(more.then_some(delay)).await {
            Ok(Some(winner)) => return Ok(Ok(winner)),
            Ok(None) => {}
            Err(error) => return Err(context::describe(error, &mut |_| race.tried())),
        }
    }
}

/// Concurrent attempts.
struct Race<F> {
    running: Vec<Running<F>>,
    /// The attempts that failed, with their places in the order, in this order.
    failed: Vec<(usize, ConnectAttempt)>,
}

struct Running<F> {
    place: usize,
    address: SocketAddr,
    begun: Nanos,
    attempt: Pin<Box<F>>,
}

impl<F, S> Race<F>
where
    F: Future<Output = Result<Attempted<S>>>,
{
    fn begin(&mut self, address: SocketAddr, attempt: F) {
        self.running.push(Running {
            place: self.running.len() + self.failed.len(),
            address,
            begun: clock::now(),
            attempt: Box::pin(attempt),
        });
    }

    /// Waits until an attempt is connected (`Some`), until one has failed, or until `limit`.
    async fn news(&mut self, limit: Option<Duration>) -> Result<Option<S>> {
        let mut over = pin!(sleep(limit.unwrap_or(Duration::MAX)));
        poll_fn(|cx| {
            // An error that ends all, unless another attempt has connected in this poll.
            let mut last_word = None;
            for n in 0..self.running.len() {
                match self.running[n].attempt.as_mut().poll(cx) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(Ok(winner))) => return Poll::Ready(Ok(Some(winner))),
                    Poll::Ready(Ok(Err(cause))) if last_word.is_none() => {
                        self.failed(n, cause);
                        return Poll::Ready(Ok(None));
                    }
                    // All attempts end with `last_word` anyway.
                    Poll::Ready(Ok(Err(_))) => {}
                    Poll::Ready(Err(error)) => {
                        last_word.get_or_insert(error);
                    }
                }
            }
            if let Some(error) = last_word {
                return Poll::Ready(Err(error));
            }
            match limit {
                Some(_) => over.as_mut().poll(cx).map_ok(|()| None),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Records the cause of a failed attempt, and drops it.
    fn failed(&mut self, n: usize, cause: io::Error) {
        let ended = self.running.remove(n);
        let attempt = ConnectAttempt {
            address: ended.address,
            cause,
            elapsed: Duration::from_nanos(clock::now() - ended.begun),
        };
        let before = |(place, _): &(usize, _)| *place < ended.place;
        let at = self.failed.partition_point(before);
        self.failed.insert(at, (ended.place, attempt));
    }

    /// Describes all attempts so far.
    fn tried(&mut self) -> String {
        while !self.running.is_empty() {
            self.failed(0, io::Error::other("no answer"));
        }
        let tried = self.failed.iter().map(|(_, attempt)| format!("{attempt}"));
        let tried: Vec<_> = tried.collect();
        format!("tried {}", tried.join("; "))
    }

    fn causes(self) -> Vec<ConnectAttempt> {
        let failed = self.failed.into_iter();
        failed.map(|(_, attempt)| attempt).collect()
    }
}

#[cfg(test)]
mod tests;
