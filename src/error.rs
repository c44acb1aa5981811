//! Defines [`Error`], the error of every operation, and [`Result`].

mod connect;
mod content;
mod failure;
mod os;
mod panicked;
mod task_failed;
mod timed_out;
#[cfg(feature = "tls")]
mod tls;

use std::error::Error as StdError;
use std::fmt;
use std::io;

use failure::holds_cancelled;

pub use connect::{ConnectAttempt, ConnectFailed, ResolveError};
pub use content::Content;
pub use failure::Failure;
pub use os::OsError;
pub use panicked::Panicked;
pub use task_failed::TaskFailed;
pub use timed_out::TimedOut;
#[cfg(feature = "tls")]
pub use tls::TlsError;

/// Declares that `Debug` shows the message, because a `main` that returns the error prints this.
macro_rules! shown_by_message {
    ($error:ty) => {
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}
use shown_by_message;

/// An error inside another one.
type Source<'a> = &'a (dyn StdError + 'static);

/// The result of every operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reason why an operation did not succeed.
///
/// The variants have AnyIO's names. Code decides by the variant; the message is for a person, and
/// [`source`](StdError::source) is the error of the operating system.
#[non_exhaustive]
pub enum Error {
    /// The peer finished sending. It is never reported as an empty read, and each later receive
    /// returns it again. [`next`](crate::ByteReceiveStream::next) turns it into `Ok(None)`.
    EndOfStream,
    /// This side has already closed the object, or its sending direction.
    Closed,
    /// The connection is unusable for a reason from outside, such as a reset.
    Broken(Content<OsError>),
    /// Another task uses the same direction of this object right now.
    Busy,
    /// Nothing was ready, and the operation (its name ends in `_nowait`) does not wait.
    WouldBlock,
    /// The operation, or the task waited for, was cancelled.
    Cancelled,
    /// A time limit passed first, such as that of [`fail_after`](crate::fail_after). It has the
    /// limit, and the operation that was waiting.
    TimedOut(Content<TimedOut>),
    /// No address of the host could be connected. The error lists every attempt.
    ConnectFailed(Content<ConnectFailed>),
    /// The host name could not be turned into addresses.
    Resolve(Content<ResolveError>),
    /// TLS could not be set up, or failed: a handshake, a certificate, a configuration.
    #[cfg(feature = "tls")]
    Tls(Content<TlsError>),
    /// The stream ended before all requested bytes had come, with this number of them; see
    /// [`Buffered`](crate::Buffered).
    IncompleteRead(usize),
    /// More bytes than this limit came before the delimiter, or before the end of an item; see
    /// [`Buffered`](crate::Buffered).
    DelimiterNotFound(usize),
    /// The operation was polled outside a runtime: enter one with [`block_on`](crate::block_on).
    NoRuntime,
    /// The socket belongs to another runtime that is still alive.
    OtherLoop,
    /// Code that was waited for panicked, on another thread or on the loop.
    Panicked(Content<Panicked>),
    /// A task that was waited for has ended without the awaited value. It failed, its value was
    /// taken already, or it ended before it reported that it was ready.
    TaskFailed(Content<TaskFailed>),
    /// A system call failed, or an argument was refused before one was made.
    Io(Content<OsError>),
    /// An error that is not of this crate; see [`Error::other`].
    Other(Content<dyn StdError + Send + Sync>),
}

impl Error {
    /// Wraps an error of another kind, as [`std::io::Error::other`] does.
    ///
    /// # Examples
    ///
    /// ```
    /// let error = soloio::Error::other("the greeting was rude");
    /// assert_eq!(error.to_string(), "the greeting was rude");
    /// ```
    pub fn other(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Other(Content::of(error.into()))
    }

    /// Returns true for [`Error::EndOfStream`].
    #[must_use]
    pub fn is_end_of_stream(&self) -> bool {
        matches!(self, Self::EndOfStream)
    }

    /// Returns true for [`Error::Cancelled`], also where it comes back inside [`Error::Other`] or
    /// [`Error::Io`], or is the source of the error in there.
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::Error;
    ///
    /// assert!(Error::other(std::io::Error::from(Error::Cancelled)).is_cancelled());
    /// assert!(!Error::Closed.is_cancelled());
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Cancelled => true,
            Self::Other(error) => holds_cancelled(&**error),
            error => error.source().is_some_and(holds_cancelled),
        }
    }

    /// Makes the error of a refused argument: `InvalidInput` with the operation and the reason.
    #[cold]
    pub(crate) fn invalid(operation: &'static str, message: impl Into<String>) -> Self {
        let cause = io::Error::new(io::ErrorKind::InvalidInput, message.into());
        Self::Io(OsError::new(operation, cause))
    }

    /// Makes the error of a connection that ended by another error before the peer had received all
    /// bytes.
    pub(crate) fn not_acknowledged(bytes: usize, by: OsError, at: impl fmt::Display) -> Self {
        let operation = "close the connection to";
        Self::Broken(OsError::about(operation, &at, bytes, by.cause))
    }

    /// Returns the number of bytes given to [`not_acknowledged`](Self::not_acknowledged), if any.
    #[cfg(feature = "tls")]
    pub(crate) fn lost(&self) -> Option<usize> {
        match self {
            Self::Broken(error) => Some(error.lost).filter(|lost| *lost > 0),
            _ => None,
        }
    }

    /// Makes the error of a failed system call from its operation and address.
    pub(crate) fn io(operation: &'static str, at: impl fmt::Display, cause: io::Error) -> Self {
        Self::Io(OsError::about(operation, &at, 0, cause))
    }

    /// Makes the error of a broken connection.
    pub(crate) fn broken(operation: &'static str, at: impl fmt::Display, cause: io::Error) -> Self {
        Self::Broken(OsError::about(operation, &at, 0, cause))
    }

    /// Returns the number of bytes that ends the message, if one does.
    fn bytes(&self) -> Option<usize> {
        match self {
            Self::IncompleteRead(bytes) | Self::DelimiterNotFound(bytes) => Some(*bytes),
            _ => None,
        }
    }

    /// Returns its name, its message, and the error in it, which ends the message. One table,
    /// because each `match` would generate its own code.
    fn parts(&self) -> (&'static str, &'static str, Option<Source<'_>>) {
        const INCOMPLETE: &str = "the stream ended inside an item, after ";
        const NO_RUNTIME: &str =
            "no runtime is running on this thread: enter one with `soloio::block_on`";
        match self {
            Self::EndOfStream => ("EndOfStream", "the peer has finished sending", None),
            Self::Closed => ("Closed", "this side has already been closed", None),
            Self::Broken(error) => ("Broken", "the connection is broken: ", Some(error.any())),
            Self::Busy => ("Busy", "another task is already using this direction", None),
            Self::WouldBlock => ("WouldBlock", "it would have to wait", None),
            Self::Cancelled => ("Cancelled", "the operation was cancelled", None),
            Self::TimedOut(error) => ("TimedOut", "", Some(error.any())),
            Self::ConnectFailed(error) => ("ConnectFailed", "", Some(error.any())),
            Self::Resolve(error) => ("Resolve", "", Some(error.any())),
            #[cfg(feature = "tls")]
            Self::Tls(error) => ("Tls", "", Some(error.any())),
            Self::IncompleteRead(_) => ("IncompleteRead", INCOMPLETE, None),
            Self::DelimiterNotFound(_) => ("DelimiterNotFound", "no end of an item within ", None),
            Self::NoRuntime => ("NoRuntime", NO_RUNTIME, None),
            Self::OtherLoop => ("OtherLoop", "the socket is in use by another runtime", None),
            Self::Panicked(error) => ("Panicked", "", Some(error.any())),
            Self::TaskFailed(error) => ("TaskFailed", "", Some(error.any())),
            Self::Io(error) => ("Io", "", Some(error.any())),
            Self::Other(error) => ("Other", "", Some(&**error)),
        }
    }
}

/// Shows the variant and the error in it.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bytes) = self.bytes() {
            return write!(f, "{}({bytes} bytes)", self.parts().0);
        }
        match (self, self.parts()) {
            // The message alone does not name its type.
            (Self::Other(error), (name, ..)) => write!(f, "{name}({error:?})"),
            (_, (name, _, Some(inner))) => write!(f, "{name}({inner})"),
            (_, (name, _, None)) => f.write_str(name),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, text, inner) = self.parts();
        f.write_str(text)?;
        if let Some(bytes) = self.bytes() {
            return write!(f, "{bytes} bytes");
        }
        inner.map_or(Ok(()), |inner| fmt::Display::fmt(inner, f))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<Source<'_>> {
        self.parts().2?.source()
    }
}

impl From<io::Error> for Error {
    /// Unwraps an [`Error`] that was wrapped in an `io::Error`; anything else becomes
    /// [`Error::Io`].
    fn from(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => own,
            Err(foreign) => Self::Io(OsError::new("", foreign)),
        }
    }
}

impl From<Box<dyn StdError + Send + Sync>> for Error {
    /// Unwraps an [`Error`] that is in the box, also inside an `io::Error`; anything else becomes
    /// [`Error::Other`].
    fn from(error: Box<dyn StdError + Send + Sync>) -> Self {
        let foreign = match error.downcast::<Self>() {
            Ok(own) => return *own,
            Err(foreign) => foreign,
        };
        match foreign.downcast::<io::Error>() {
            Ok(of_std) => Self::from(*of_std),
            Err(foreign) => Self::Other(Content::of(foreign)),
        }
    }
}

impl From<Error> for io::Error {
    /// The kind is never `Interrupted` or `WouldBlock`, because std's own loops retry on those.
    fn from(error: Error) -> Self {
        use io::ErrorKind as Kind;
        let kind = match &error {
            Error::EndOfStream | Error::IncompleteRead(_) => Kind::UnexpectedEof,
            Error::Closed => Kind::NotConnected,
            Error::Busy => Kind::ResourceBusy,
            Error::TimedOut(_) => Kind::TimedOut,
            Error::DelimiterNotFound(_) => Kind::InvalidData,
            Error::ConnectFailed(failed) => failed.kind(),
            Error::Broken(cause) | Error::Io(cause) => cause.kind(),
            _ => Kind::Other,
        };
        let retried = matches!(kind, Kind::Interrupted | Kind::WouldBlock);
        Self::new(if retried { Kind::Other } else { kind }, error)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::panic::{RefUnwindSafe, UnwindSafe};
    use std::time::Duration;

    use super::*;

    #[test]
    fn messages_name_operation_and_address() {
        let refused = || io::Error::from_raw_os_error(libc_econnrefused());
        let error = Error::io("connect to", "127.0.0.1:9", refused());
        assert!(error.to_string().starts_with("connect to 127.0.0.1:9: "));
        assert!(StdError::source(&error).is_some());
        let Error::Io(content) = error else {
            panic!("{error:?}")
        };
        assert!(StdError::source(&content).is_some(), "it is an error, too");
        let peer: SocketAddr = "[::1]:9".parse().expect("a literal");
        let attempt = ConnectAttempt {
            address: peer,
            cause: refused(),
            elapsed: Duration::from_millis(3),
        };
        let failed = ConnectFailed {
            host: "example".into(),
            port: 9,
            attempts: vec![attempt],
        };
        assert_eq!(
            format!("{failed:?}"),
            failed.to_string(),
            "what `main` prints"
        );
        assert_eq!(failed.kind(), io::ErrorKind::ConnectionRefused);
        assert!(
            failed
                .to_string()
                .starts_with("connect to example port 9 failed: [::1]:9: ")
        );
    }

    #[test]
    fn round_trip_through_io_error_keeps_the_variant() {
        let io_error = io::Error::from(Error::Cancelled);
        assert_eq!(io_error.kind(), io::ErrorKind::Other);
        assert!(matches!(Error::from(io_error), Error::Cancelled));
        let would_block = Error::from(io::Error::from(io::ErrorKind::WouldBlock));
        assert_eq!(io::Error::from(would_block).kind(), io::ErrorKind::Other);
    }

    #[test]
    fn an_error_is_small_and_can_travel() {
        fn travels<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe + 'static>() {}
        travels::<Error>();
        assert_eq!(size_of::<Error>(), 2 * size_of::<usize>());
        assert_eq!(size_of::<Result<usize>>(), 2 * size_of::<usize>());
    }

    #[test]
    fn a_foreign_error_comes_back_as_it_was() {
        let number = "many".parse::<u16>().expect_err("no number");
        let error = Error::other(number.clone());
        assert_eq!(error.to_string(), number.to_string());
        let Error::Other(other) = error else {
            panic!("{error:?}")
        };
        assert_eq!(other.downcast_ref(), Some(&number));
        let inner = other.into_inner().downcast();
        assert_eq!(inner.ok(), Some(Box::new(number)));
    }

    /// The number itself, so that this file needs nothing of libc.
    fn libc_econnrefused() -> i32 {
        if cfg!(target_os = "linux") { 111 } else { 61 }
    }
}
