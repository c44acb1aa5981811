//! `TrySendError`: the reason why an item could not be sent immediately, with the item.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::error::Error;

/// The reason why [`send_nowait`](super::ObjectSender::send_nowait) did not send the item, and the
/// item.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrySendError<T> {
    /// There is no room, and no receive waits.
    WouldBlock(T),
    /// This sender was closed.
    Closed(T),
    /// All receivers are gone.
    Broken(T),
}

impl<T> TrySendError<T> {
    /// Returns the item that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            Self::WouldBlock(item) | Self::Closed(item) | Self::Broken(item) => item,
        }
    }

    /// Returns the error without the item.
    fn reason(&self) -> Error {
        match self {
            Self::WouldBlock(_) => Error::WouldBlock,
            Self::Closed(_) => Error::Closed,
            Self::Broken(_) => no_receivers(),
        }
    }
}

/// The error of a send when no receiver is left.
pub(super) fn no_receivers() -> Error {
    let cause = io::Error::from(io::ErrorKind::BrokenPipe);
    Error::broken("send to", "a memory object stream without receivers", cause)
}

impl<T> From<TrySendError<T>> for Error {
    fn from(error: TrySendError<T>) -> Self {
        error.reason()
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason().fmt(f)
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::WouldBlock(_) => "WouldBlock",
            Self::Closed(_) => "Closed",
            Self::Broken(_) => "Broken",
        };
        write!(f, "{name}(..)")
    }
}

impl<T> StdError for TrySendError<T> {}
