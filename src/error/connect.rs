//! The errors of connecting: [`ConnectFailed`] with every address, and [`ResolveError`].

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::shown_by_message;

/// Every address of a host that was tried, with the reason why it could not be connected.
#[non_exhaustive]
pub struct ConnectFailed {
    /// The host as the caller wrote it.
    pub host: String,
    /// The requested port.
    pub port: u16,
    /// The attempts, in the order in which they were started.
    pub attempts: Vec<ConnectAttempt>,
}

/// One address that could not be connected.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConnectAttempt {
    /// The address that was tried.
    pub address: SocketAddr,
    /// The error of the operating system.
    pub cause: io::Error,
    /// From the start of this attempt to its end.
    pub elapsed: Duration,
}

impl fmt::Display for ConnectAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In 64 bits: no other text needs the code for 128 bits.
        let millis = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX);
        write!(f, "{}: {} (after {millis} ms)", self.address, self.cause)
    }
}

impl ConnectFailed {
    /// Returns the kind that all attempts have in common, else `Other`.
    pub(super) fn kind(&self) -> io::ErrorKind {
        let mut kinds = self.attempts.iter().map(|attempt| attempt.cause.kind());
        let first = kinds.next().unwrap_or(io::ErrorKind::Other);
        if kinds.all(|kind| kind == first) {
            first
        } else {
            io::ErrorKind::Other
        }
    }
}

impl fmt::Display for ConnectFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connect to {} port {} failed", self.host, self.port)?;
        for (n, attempt) in self.attempts.iter().enumerate() {
            let separator = if n == 0 { ": " } else { "; " };
            write!(f, "{separator}{attempt}")?;
        }
        Ok(())
    }
}

shown_by_message!(ConnectFailed);

impl StdError for ConnectFailed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.attempts.last().map(|attempt| &attempt.cause as _)
    }
}

/// A host name that gave no address.
#[non_exhaustive]
pub struct ResolveError {
    /// The name that was looked up.
    pub host: String,
    /// The error of the resolver. The system's is of kind `NotFound` if there is no such name, and
    /// of
    /// kind `ResourceBusy` if a later try may succeed.
    pub cause: io::Error,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "look up {:?}: {}", self.host, self.cause)
    }
}

shown_by_message!(ResolveError);

impl StdError for ResolveError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.cause)
    }
}
