//! Connects again after a failure: [`Retry`].

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::num::NonZeroU32;
use std::time::Duration;

use soloio::{Error, Result, sleep};

use super::Connectable;

/// A connectable that tries again when a connection could not be made, after a pause.
///
/// The pause doubles with each attempt, up to a longest one. It is shortened by up to a half, at
/// random, so that many clients of a server that comes back do not all come at once. Only what may
/// pass is tried again: a host that refuses, cannot be reached or is not found, a connection that
/// breaks or ends before it is complete, and a time limit inside. An error of TLS, a refused
/// argument or a cancel is returned at once.
///
/// # Examples
///
/// ```
/// use soloio::{Error, connect_tcp, create_tcp_listener};
/// use soloio_streams::{Connectable, Retry, TcpConnectable};
/// use std::time::Duration;
///
/// soloio::block_on(async {
///     let listener = create_tcp_listener().local_host("127.0.0.1").await?;
///     let client = connect_tcp("127.0.0.1", listener.local_addr().port());
///     let client = client.local_host("127.0.0.1").await?;
///     // The port of a client refuses: nothing listens there.
///     let server = Retry::new(TcpConnectable::new("127.0.0.1", client.local_addr().port()))
///         .attempts(3)
///         .pause(Duration::from_millis(1));
///     assert!(matches!(server.connect().await, Err(Error::ConnectFailed(_))));
///     Ok::<_, Error>(())
/// })?;
/// # Ok::<_, Error>(())
/// ```
#[doc(alias = "backoff")]
#[derive(Debug, Clone)]
pub struct Retry<C> {
    connectable: C,
    /// The number of attempts; `None` for no limit.
    attempts: Option<NonZeroU32>,
    pause: Duration,
    longest: Duration,
}

impl<C> Retry<C> {
    /// Tries for ever, with pauses from 100 ms to 10 s: a time limit is set with
    /// [`fail_after`](soloio::fail_after).
    #[must_use]
    pub fn new(connectable: C) -> Self {
        Self {
            connectable,
            attempts: None,
            pause: Duration::from_millis(100),
            longest: Duration::from_secs(10),
        }
    }

    /// The most attempts; then the error of the last one is returned. 0 is no limit.
    #[must_use]
    pub fn attempts(mut self, most: u32) -> Self {
        self.attempts = NonZeroU32::new(most);
        self
    }

    /// The pause after the first attempt.
    #[must_use]
    pub fn pause(mut self, first: Duration) -> Self {
        self.pause = first;
        self
    }

    /// The longest pause.
    #[must_use]
    pub fn longest_pause(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }
}

impl<C: Connectable> Connectable for Retry<C> {
    type Stream = C::Stream;

    async fn connect(&self) -> Result<C::Stream> {
        let (mut pause, mut made) = (self.pause.min(self.longest), 0_u32);
        loop {
            let error = match self.connectable.connect().await {
                Err(error) if may_pass(&error) => error,
                connected => return connected,
            };
            made = made.saturating_add(1);
            if self.attempts.is_some_and(|most| made >= most.get()) {
                return Err(error);
            }
            sleep(shortened(pause)).await?;
            pause = pause.saturating_mul(2).min(self.longest);
        }
    }
}

/// Returns true for an error that another attempt may not meet.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Io(cause) => cause.kind() != io::ErrorKind::InvalidInput,
        Error::ConnectFailed(_) | Error::Resolve(_) | Error::Broken(_) => true,
        error => matches!(
            error,
            Error::EndOfStream | Error::IncompleteRead(_) | Error::TimedOut(_)
        ),
    }
}

/// Shortens a pause by up to a half. The keys of a hash map are random, and need no crate.
fn shortened(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) as u32;
    pause - (pause / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}
