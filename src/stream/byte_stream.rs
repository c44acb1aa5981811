//! The contracts of byte streams: a few polls that a stream has, and futures over them that every
//! stream gets.
//!
//! Polls, because they are what a future, an adapter to another crate's traits and a layer such as
//! TLS can all be made of; with the place of an operation in the hands of its caller, because a
//! stream that is borrowed by many has no place for it.
//!
//! Long because a contract is mostly its documentation.

use std::future::Future;
use std::io::IoSlice;
use std::task::{Context, Poll};

use super::futures::{ReceiveInto, ReceiveMax, SendAll, SendEof};
#[cfg(feature = "relay")]
use super::send_file;
use super::{RECEIVE_MAX, or_end};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::runtime::place::Place;
use crate::sys::room::Room;

/// The receiving half of a byte stream; its laws stand at [`ByteStream`].
pub trait ByteReceiveStream {
    /// Receives at least one byte into `room`; an error has received none. The end is
    /// [`Error::EndOfStream`], no room [`InvalidInput`](std::io::ErrorKind::InvalidInput).
    ///
    /// While it is pending, `place` holds the direction: another one gets [`Error::Busy`].
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

    /// Gives up a receive that was left in the middle; it has received nothing.
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
    /// Dropping the future has received nothing: every byte is still there for the next receive.
    #[inline]
    fn receive_into<'b>(&self, buf: &'b mut [u8]) -> impl Future<Output = Result<&'b mut [u8]>>
    where
        Self: Sized,
    {
        ReceiveInto::new(self, buf)
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
        ReceiveMax::new(self, max)
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
        ReceiveMax::new(self, RECEIVE_MAX)
    }

    /// [`receive`](Self::receive), with the end as `None`.
    ///
    /// # Errors
    ///
    /// As [`receive_into`](Self::receive_into), but for the end.
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

/// The sending half of a byte stream; its laws stand at [`ByteStream`].
pub trait ByteSendStream {
    /// Takes a prefix of `parts`, as if they stood in one piece, and tells its length: at least one
    /// byte if there are any. What was taken may not be handed over yet, which
    /// [`poll_flush`](Self::poll_flush) does, and every later operation before anything else.
    ///
    /// While it is pending, `place` holds the direction: another one gets [`Error::Busy`].
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

    /// Hands over what was taken. Streams that keep nothing are ready at once.
    ///
    /// # Errors
    ///
    /// As [`send_from`](Self::send_from).
    fn poll_flush(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Gives up a send that was left in the middle; what was taken stays taken.
    fn leave_send(&self, place: &mut Place);

    /// Sends all of `rest`, and takes off its front what was handed over: after an error, a drop
    /// or a cancel, what is left in it did not go.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`], [`Error::Busy`]; [`Error::Closed`] after `send_eof`.
    ///
    /// # Cancel safety
    ///
    /// Exactly the bytes no longer in `rest` were handed over; the stream goes on.
    #[inline]
    fn send_from(&self, rest: &mut &[u8]) -> impl Future<Output = Result<()>>
    where
        Self: Sized,
    {
        SendAll::new(self, rest)
    }

    /// Sends all of `data`. Sending nothing still checks the state.
    ///
    /// # Errors
    ///
    /// As [`send_from`](Self::send_from).
    ///
    /// # Cancel safety
    ///
    /// Some prefix of `data` was handed over; [`send_from`](Self::send_from) tells how much.
    #[inline]
    fn send(&self, data: &[u8]) -> impl Future<Output = Result<()>>
    where
        Self: Sized,
    {
        SendAll::new(self, data)
    }

    /// Sends all `parts` as if they stood in one piece, advancing them as
    /// [`IoSlice::advance_slices`] does.
    ///
    /// # Errors
    ///
    /// As [`send_from`](Self::send_from).
    ///
    /// # Cancel safety
    ///
    /// Exactly the bytes no longer in `parts` were handed over; the stream goes on.
    #[inline]
    fn send_vectored(&self, parts: &mut &mut [IoSlice<'_>]) -> impl Future<Output = Result<()>>
    where
        Self: Sized,
    {
        SendAll::new(self, parts)
    }

    /// Sends `length` bytes of `file` from `offset` on. Its own position neither counts nor moves.
    /// TCP and UNIX streams let the kernel do it on Linux (sendfile(2)).
    ///
    /// Reading the file waits for the disk and not for the loop: parts that are not in memory
    /// already hold up other tasks.
    ///
    /// # Errors
    ///
    /// As [`send_from`](Self::send_from). [`Error::Io`] with `UnexpectedEof` if the file ends
    /// before, or was truncated meanwhile; what reading says; `InvalidInput` for a part that no
    /// file has.
    ///
    /// # Cancel safety
    ///
    /// Some of the bytes were handed over, from the first on;
    /// [`send_file_from`](Self::send_file_from) tells how many. The stream goes on.
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

    /// Sends the bytes `rest` of `file`, and moves its start past what was handed over.
    ///
    /// # Errors
    ///
    /// As [`send_file`](Self::send_file).
    ///
    /// # Cancel safety
    ///
    /// Exactly the bytes no longer in `rest` were handed over; the stream goes on.
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
}

/// A byte stream of both directions. Every kind of it keeps these laws:
///
/// 1. A receive gives at least one byte, or an error. Asking for none is an error.
/// 2. The end is [`Error::EndOfStream`], a reset [`Error::Broken`]; both for good, and neither is
///    ever taken for the other. What came before is delivered first.
/// 3. `send` returns when all was handed over. `send_from` tells what was not, whatever happens.
/// 4. `send_eof` ends our direction and may be called again; receiving goes on.
/// 5. `close` says goodbye and frees what the stream holds, also when it is dropped midway.
/// 6. One receiver and one sender at a time; a second one gets [`Error::Busy`] before anything
///    else happens.
/// 7. A receive that is dropped has lost nothing, and nothing is read without a receiver.
///
/// # A stream of your own
///
/// A stream has a few polls; the `async` methods come with them. One that wraps another passes the
/// [`Place`] on:
///
/// ```
/// use std::cell::Cell;
/// use std::io::IoSlice;
/// use std::task::{Context, Poll};
///
/// use soloio::{ByteReceiveStream, ByteSendStream, ByteStream, Place, Result, Room};
///
/// /// Counts the bytes that come.
/// struct Counted<S> {
///     inner: S,
///     received: Cell<usize>,
/// }
///
/// impl<S: ByteStream> ByteReceiveStream for Counted<S> {
///     fn poll_receive(
///         &self,
///         place: &mut Place,
///         cx: &mut Context<'_>,
///         room: &mut Room<'_>,
///     ) -> Poll<Result<()>> {
///         let before = room.len();
///         let polled = self.inner.poll_receive(place, cx, room);
///         self.received.set(self.received.get() + room.len() - before);
///         polled
///     }
///
///     fn leave_receive(&self, place: &mut Place) {
///         self.inner.leave_receive(place);
///     }
/// }
///
/// impl<S: ByteStream> ByteSendStream for Counted<S> {
///     fn poll_send(
///         &self,
///         place: &mut Place,
///         cx: &mut Context<'_>,
///         parts: &[IoSlice<'_>],
///     ) -> Poll<Result<usize>> {
///         self.inner.poll_send(place, cx, parts)
///     }
///
///     fn poll_flush(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
///         self.inner.poll_flush(place, cx)
///     }
///
///     fn leave_send(&self, place: &mut Place) {
///         self.inner.leave_send(place);
///     }
/// }
///
/// impl<S: ByteStream> ByteStream for Counted<S> {
///     fn poll_send_eof(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
///         self.inner.poll_send_eof(place, cx)
///     }
///
///     async fn close(self) -> Result<()> {
///         self.inner.close().await
///     }
///
///     fn abort(&self) {
///         self.inner.abort();
///     }
/// }
///
/// soloio::block_on(async {
///     let (ours, theirs) = soloio::create_memory_byte_stream(64);
///     let ours = Counted { inner: ours, received: Cell::new(0) };
///     theirs.send(b"hello").await?;
///     assert_eq!(ours.receive().await?, b"hello");
///     assert_eq!(ours.received.get(), 5);
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[allow(
    async_fn_in_trait,
    reason = "one thread: no caller needs the future to be Send"
)]
pub trait ByteStream: ByteReceiveStream + ByteSendStream {
    /// Hands over what was taken, and ends our direction. Ready again when it has ended already.
    ///
    /// # Errors
    ///
    /// As [`send_eof`](Self::send_eof).
    fn poll_send_eof(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Ends our direction; the peer sees the end once it has received everything. May be called
    /// again.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after an abort; [`Error::Io`].
    ///
    /// # Cancel safety
    ///
    /// Sockets and memory streams never suspend here.
    #[doc(alias = "shutdown")]
    fn send_eof(&self) -> impl Future<Output = Result<()>>
    where
        Self: Sized,
    {
        SendEof::new(self)
    }

    /// Ends our direction, waits until the bytes that `send` accepted have arrived, and frees what
    /// the stream holds. A socket waits within its [`CloseLimits`](crate::CloseLimits), also in
    /// TLS. One rule tells whether it is an error, however the connection ends:
    ///
    /// * It is `Ok` if the peer's kernel has acknowledged all that `send` accepted. A reset after
    ///   that is no error, before and after the peer's own end: what is lost, the peer discarded.
    /// * It is [`Error::Broken`] with the number of bytes if some are not acknowledged at a reset,
    ///   another error or a limit; also behind the peer's end and its `close_notify`.
    /// * Only data counts, not `close_notify` nor session tickets of TLS. Where the system does not
    ///   tell (Linux, FreeBSD and Apple's do), and in UNIX and memory streams, what was sent counts
    ///   as acknowledged.
    ///
    /// Through a reference or an [`Rc`](std::rc::Rc) that has other owners this ends our direction
    /// only: the stream is freed with its last owner.
    ///
    /// # Errors
    ///
    /// As above, and what ending our direction ran into. The stream is freed all the same.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future frees the stream; the goodbye may be cut short.
    #[doc(alias = "aclose")]
    async fn close(self) -> Result<()>
    where
        Self: Sized;

    /// Ends the stream at once although others still hold it: the peer sees a reset or an end,
    /// operations that are under way get [`Error::Closed`].
    fn abort(&self);

    /// Breaks the stream off although others still hold it: the peer receives what was sent, and
    /// then [`Error::Broken`] instead of an end. This is how [`relay`](crate::relay()) passes on
    /// that a stream is broken.
    ///
    /// TCP streams are reset once the peer has acknowledged everything, within their
    /// [`CloseLimits`](crate::CloseLimits); until then they discard what comes. UNIX streams have
    /// no reset: their peer sees an end. TLS ends without its `close_notify`.
    ///
    /// The provided form is [`abort`](Self::abort). A stream of yours that wraps one of ours passes
    /// the call on.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if something that was sent has not arrived. The stream is broken off all
    /// the same.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future breaks the stream off at once.
    async fn reset(&self) -> Result<()>
    where
        Self: Sized,
    {
        self.abort();
        Ok(())
    }
}
