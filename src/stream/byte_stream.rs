//! The contract of a byte stream: a few polls that a stream implements, and futures over them that
//! every stream has.
//!
//! The contracts have polls, because futures, adapters to another crate's traits, and layers such
//! as TLS can all be made of them. The caller owns the place of an operation, because a stream that
//! is borrowed by several tasks cannot store it.

use std::future::Future;
use std::task::{Context, Poll};

use super::futures::send_eof;
use super::{ByteReceiveStream, ByteSendStream};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::runtime::place::Place;

/// A byte stream of both directions. Every kind obeys these laws:
///
/// 1. A receive returns at least one byte, or an error. A receive into an empty buffer is an error.
///    A send accepts at least one byte if there are any, and no more than there are, or returns an
///    error.
/// 2. The end is [`Error::EndOfStream`], a reset is [`Error::Broken`]. Both are permanent, and
///    neither is ever taken for the other. Data that came before is delivered first.
/// 3. `send` returns when all was handed over. `send_from` always reports the rest that was not.
/// 4. `send_eof` ends our direction and may be called again; receiving continues.
/// 5. `close` ends our direction and frees the stream's resources, also when it is dropped midway.
/// 6. There is one receiver and one sender at a time; a second one gets [`Error::Busy`] before
///    anything else happens.
/// 7. A receive that is dropped has lost nothing, and nothing is read without a receiver.
///
/// A stream that breaks law 1 neither hangs its users nor looks ended. The futures of every stream
/// end with an [`Error::Io`] that names the law, and so do the layers over it: `Buffered`, TLS, a
/// relay, `SendBuffer`, [`Io`](crate::Io). What they have received before stays valid.
///
/// # A stream of your own
///
/// A stream implements a few poll functions, and gets the `async` methods from them. A stream that
/// wraps another passes the [`Place`] on:
///
/// ```
/// use std::cell::Cell;
/// use std::io::IoSlice;
/// use std::task::{Context, Poll};
///
/// use soloio::{ByteReceiveStream, ByteSendStream, ByteStream, Place, Result, Room};
///
/// /// Counts the received bytes.
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
#[diagnostic::on_unimplemented(
    note = "a stream of any kind is an `AnyByteStream`; a builder of a stream has to be awaited"
)]
#[allow(
    async_fn_in_trait,
    reason = "one thread: no caller needs the future to be Send"
)]
pub trait ByteStream: ByteReceiveStream + ByteSendStream {
    /// Hands over the accepted bytes, and ends our direction. Ready at once if it has already
    /// ended.
    ///
    /// # Errors
    ///
    /// As [`send_eof`](Self::send_eof).
    fn poll_send_eof(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Ends our direction; the peer sees the end once it has received everything. It may be called
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
        send_eof(self)
    }

    /// Ends our direction, waits until the bytes that `send` accepted have arrived, and frees the
    /// stream's resources. A socket waits within its [`CloseLimits`](crate::CloseLimits), also in
    /// TLS. One rule decides whether the result is an error, however the connection ends:
    ///
    /// * It is `Ok` if the peer's kernel has acknowledged all bytes that `send` accepted. A later
    ///   reset is no error, before and after the peer's own end: any data lost then was discarded
    ///   by the peer.
    /// * It is [`Error::Broken`] with the number of bytes if some are not acknowledged at a reset,
    ///   another error or a limit; also after the peer's end and its `close_notify`.
    /// * Only data counts, not `close_notify` or session tickets of TLS. Sent data counts as
    ///   acknowledged where the system does not report it (Linux, FreeBSD and Apple's systems do),
    ///   and in UNIX and memory streams.
    ///
    /// Through a reference or an [`Rc`](std::rc::Rc) with other owners this ends only our
    /// direction: the stream is freed with its last owner.
    ///
    /// # Errors
    ///
    /// As above, and an error of ending our direction. In any case the stream is freed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future frees the stream; sent data and the end may not arrive.
    #[doc(alias = "aclose")]
    async fn close(self) -> Result<()>
    where
        Self: Sized;

    /// Ends the stream at once, even if other references to it exist. The peer sees a reset or an
    /// end; operations in progress end with [`Error::Closed`].
    fn abort(&self);

    /// Resets the stream, even if other references to it exist. The peer receives the sent data,
    /// and then [`Error::Broken`] instead of an end. [`relay`](crate::relay()) uses it to pass on
    /// that a stream is broken.
    ///
    /// TCP streams are reset once the peer has acknowledged everything, within their
    /// [`CloseLimits`](crate::CloseLimits); until then they discard received data. UNIX streams
    /// have no reset: their peer sees an end. TLS ends without its `close_notify`.
    ///
    /// The default is [`abort`](Self::abort). A stream that wraps one of this crate passes the call
    /// on.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if some sent data has not arrived. In any case the stream is reset.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future resets the stream at once.
    async fn reset(&self) -> Result<()>
    where
        Self: Sized,
    {
        self.abort();
        Ok(())
    }
}
