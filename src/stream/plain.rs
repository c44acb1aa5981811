//! A stream that is only a socket of the kernel's: the operations that relays and `send_file` need
//! to keep bytes in the kernel.

use std::fmt;
#[cfg(feature = "relay")]
use std::io;
#[cfg(feature = "relay")]
use std::os::fd::BorrowedFd;
#[cfg(feature = "relay")]
use std::task::{Context, Poll};

#[cfg(feature = "relay")]
use crate::error::Result;
#[cfg(feature = "relay")]
use crate::runtime::context::Core;
#[cfg(feature = "relay")]
use crate::runtime::operation::{Direction, Operation};
#[cfg(feature = "tls")]
use crate::runtime::silence::SharedLimits;

/// A receive, of a UNIX stream or another: how much came, and whether more may be there.
#[cfg(feature = "relay")]
pub(crate) type ReceiveCall<'c> =
    dyn FnMut(&Core, BorrowedFd<'_>, bool) -> io::Result<(usize, bool)> + 'c;

/// A send: how much went.
#[cfg(feature = "relay")]
pub(crate) type SendCall<'c> = dyn FnMut(&Core, BorrowedFd<'_>) -> io::Result<usize> + 'c;

/// The operations of such a socket, with calls of the caller's: they obey the laws of its stream.
pub(crate) trait PlainSocket: Sync {
    #[cfg(feature = "relay")]
    fn operation(&self, direction: Direction) -> Operation<'_>;

    /// Receives by `call`; at the end of the stream that gives 0.
    #[cfg(feature = "relay")]
    fn poll_receive_by(
        &self,
        operation: &mut Operation<'_>,
        cx: &Context<'_>,
        call: &mut ReceiveCall<'_>,
    ) -> Poll<Result<usize>>;

    /// Sends by `call`.
    #[cfg(feature = "relay")]
    fn poll_send_by(
        &self,
        operation: &mut Operation<'_>,
        cx: &Context<'_>,
        call: &mut SendCall<'_>,
    ) -> Poll<Result<usize>>;

    /// Ends the sending direction.
    #[cfg(feature = "relay")]
    fn end(&self) -> Result<()>;

    /// The limits of a close.
    #[cfg(feature = "tls")]
    fn close_limits(&self) -> &SharedLimits;

    /// The number of bytes that the peer has not acknowledged.
    fn unacknowledged(&self) -> usize;
}

/// Such a socket, in the form that streams give to this crate: it has no public methods.
#[derive(Clone, Copy)]
pub struct Plain<'a>(pub(crate) &'a dyn PlainSocket);

impl fmt::Debug for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plain")
    }
}
