//! The contracts of the halves of a byte stream: a few polls that a stream implements, and futures
//! over them that every stream has.

use std::future::Future;
use std::io::IoSlice;
use std::task::{Context, Poll};

#[cfg(doc)]
use super::ByteStream;
use super::futures::{receive_into, receive_max, send_all};
#[cfg(feature = "relay")]
use super::send_file;
use super::{RECEIVE_MAX, or_end};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::runtime::place::Place;
use crate::sys::room::Room;

/// The receiving half of a byte stream; for its laws, and for what happens to a stream that breaks
/// one, see [`ByteStream`].
pub trait ByteReceiveStream {
    /// Receives at least one byte into `room`; on an error it has received none. The end is
    /// [`Error::EndOfStream`]; an empty `room` is
    /// [`InvalidInput`](std::io::ErrorKind::InvalidInput).
    ///
    /// If it is ready with `Ok` and has put no byte into `room`, its caller gets an [`Error::Io`]
    /// that names law 1. That is no end, and not permanent: the next receive polls it again.
    ///
    /// While it is pending, `place` claims the direction: another receive gets [`Error::Busy`].
    ///
    /// # Errors
    ///
    /// As [`receive_into`](Self::receive_into).
    fn poll_receive(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        room: &mut Room<'_>,
    ) -> Poll<Result<()>>;

    /// Gives up a receive that is pending; it has received nothing. It is called when a receive is
    /// cancelled or dropped, unless the place [`is_idle`](Place::is_idle).
    fn leave_receive(&self, place: &mut Place);

    /// Receives into `buf` and returns its filled part, never empty.
    ///
    /// # Errors
    ///
    /// [`Error::EndOfStream`], [`Error::Broken`], [`Error::Busy`], [`Error::Closed`]; an empty
    /// buffer is `InvalidInput`.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has received nothing: every byte is still there for the next receive.
    #[inline]
    fn receive_into<'b>(&self, buf: &'b mut [u8]) -> impl Future<Output = Result<&'b mut [u8]>>
    where
        Self: Sized,
    {
        receive_into(self, buf)
    }

    /// Receives 1 to `max` bytes (no more than 65,536 at a time), exactly sized.
    ///
    /// # Errors
    ///
    /// As [`receive_into`](Self::receive_into); a `max` of 0 is `InvalidInput`.
    ///
    /// # Cancel safety
    ///
    /// As [`receive_into`](Self::receive_into).
    #[inline]
    fn receive_max(&self, max: usize) -> impl Future<Output = Result<Vec<u8>>>
    where
        Self: Sized,
    {
        receive_max(self, max)
    }

    /// Receives 1 to 65,536 bytes, exactly sized.
    ///
    /// # Errors
    ///
    /// As [`receive_into`](Self::receive_into).
    ///
    /// # Cancel safety
    ///
    /// As [`receive_into`](Self::receive_into).
    #[inline]
    fn receive(&self) -> impl Future<Output = Result<Vec<u8>>>
    where
        Self: Sized,
    {
        receive_max(self, RECEIVE_MAX)
    }

    /// The same as [`receive`](Self::receive), with the end as `None`.
    ///
    /// # Errors
    ///
    /// As [`receive_into`](Self::receive_into), except for the end.
    ///
    /// # Cancel safety
    ///
    /// As [`receive_into`](Self::receive_into).
    fn next(&self) -> impl Future<Output = Result<Option<Vec<u8>>>>
    where
        Self: Sized,
    {
        async { or_end(self.receive().await) }
    }

    /// The socket that this is, if it is nothing else: for this crate's own streams.
    #[cfg(any(feature = "relay", feature = "tls"))]
    #[doc(hidden)]
    fn plain_receiver(&self) -> Option<crate::stream::Plain<'_>> {
        None
    }
}

/// The sending half of a byte stream; for its laws see [`ByteStream`].
pub trait ByteSendStream {
    /// Accepts a prefix of `parts`, as if they were one piece, and returns its length: at least one
    /// byte if there are any. Accepted bytes may not be handed over yet:
    /// [`poll_flush`](Self::poll_flush) does that, and so does every later operation before
    /// anything else. If it accepts none, or more than all, its caller gets an [`Error::Io`] that
    /// names law 1; then it counts as none.
    ///
    /// While it is pending, `place` claims the direction: another send gets [`Error::Busy`].
    ///
    /// # Errors
    ///
    /// As [`send_from`](Self::send_from).
    fn poll_send(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>>;

    /// Hands over the accepted bytes. Streams that store none are ready at once.
    ///
    /// # Errors
    ///
    /// As [`send_from`](Self::send_from).
    fn poll_flush(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Gives up a send that is pending; accepted bytes stay accepted.
    fn leave_send(&self, place: &mut Place);

    /// Sends all of `rest`, and advances it past the bytes that were handed over: after an error, a
    /// drop or a cancel it has exactly the bytes that were not sent.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`], [`Error::Busy`]; [`Error::Closed`] after `send_eof`.
    ///
    /// # Cancel safety
    ///
    /// Exactly the bytes no longer in `rest` were handed over; the stream stays usable.
    #[inline]
    fn send_from(&self, rest: &mut &[u8]) -> impl Future<Output = Result<()>>
    where
        Self: Sized,
    {
        send_all(self, rest)
    }

    /// Sends all of `data`. With no data it still checks the state.
    ///
    /// # Errors
    ///
    /// As [`send_from`](Self::send_from).
    ///
    /// # Cancel safety
    ///
    /// Some prefix of `data` was handed over; [`send_from`](Self::send_from) reports how much.
    #[inline]
    fn send(&self, data: &[u8]) -> impl Future<Output = Result<()>>
    where
        Self: Sized,
    {
        send_all(self, data)
    }

    /// Sends all `parts` as if they were one piece, and advances them like
    /// [`IoSlice::advance_slices`].
    ///
    /// # Errors
    ///
    /// As [`send_from`](Self::send_from).
    ///
    /// # Cancel safety
    ///
    /// Exactly the bytes no longer in `parts` were handed over; the stream stays usable.
    #[inline]
    fn send_vectored(&self, parts: &mut &mut [IoSlice<'_>]) -> impl Future<Output = Result<()>>
    where
        Self: Sized,
    {
        send_all(self, parts)
    }

    /// Sends `length` bytes of `file` from `offset` on. The file's own position is neither used nor
    /// changed. On Linux the kernel does it for TCP and UNIX streams (sendfile(2)).
    ///
    /// Reading the file blocks the loop: parts that are not in the page cache delay other tasks.
    ///
    /// # Errors
    ///
    /// As [`send_from`](Self::send_from). [`Error::Io`] with `UnexpectedEof` if the file ends
    /// before that, or was truncated meanwhile; the error of reading the file; `InvalidInput` for a
    /// part that no file has.
    ///
    /// # Cancel safety
    ///
    /// Some of the bytes were handed over, from the first on;
    /// [`send_file_from`](Self::send_file_from) reports how many. The stream stays usable.
    #[cfg(feature = "relay")]
    #[doc(alias = "sendfile")]
    fn send_file(
        &self,
        file: &std::fs::File,
        offset: u64,
        length: u64,
    ) -> impl Future<Output = Result<()>>
    where
        Self: Sized,
    {
        async move {
            let mut rest = send_file::part(offset, length)?;
            self.send_file_from(file, &mut rest).await
        }
    }

    /// Sends the bytes `rest` of `file`, and moves the start of `rest` past the bytes handed over.
    ///
    /// # Errors
    ///
    /// As [`send_file`](Self::send_file).
    ///
    /// # Cancel safety
    ///
    /// Exactly the bytes no longer in `rest` were handed over; the stream stays usable.
    #[cfg(feature = "relay")]
    fn send_file_from(
        &self,
        file: &std::fs::File,
        rest: &mut std::ops::Range<u64>,
    ) -> impl Future<Output = Result<()>>
    where
        Self: Sized,
    {
        send_file::send_file(self, file, rest)
    }

    /// The socket that this is, if it is nothing else: for this crate's own streams.
    #[cfg(any(feature = "relay", feature = "tls"))]
    #[doc(hidden)]
    fn plain_sender(&self) -> Option<crate::stream::Plain<'_>> {
        None
    }

    /// The number of bytes that the peer of the socket below has not acknowledged.
    #[cfg(feature = "relay")]
    #[doc(hidden)]
    fn unacknowledged(&self) -> u64 {
        (self.plain_sender()).map_or(0, |plain| plain.0.unacknowledged() as u64)
    }
}
