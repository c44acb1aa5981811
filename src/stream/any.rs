//! A byte stream of whatever kind: [`AnyByteStream`].

use std::fmt;
use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;

use super::{ByteReceiveStream, ByteSendStream, ByteStream, RECEIVE_MAX, or_end};
use crate::error::Result;

/// A byte stream whose kind is known at run time only: what a `Box<dyn ByteStream>` would be, if
/// the contract's async functions allowed one.
///
/// Each operation costs a box for its future beside what the stream itself does. `'a` is how long
/// what the stream borrows lives: `'static` if it owns everything.
///
/// # Examples
///
/// ```
/// use soloio::{AnyByteStream, connect_tcp, connect_unix, Result};
///
/// /// Connects to a path or to a host and port.
/// async fn connect(to: &str) -> Result<AnyByteStream<'static>> {
///     Ok(match to.rsplit_once(':') {
///         Some((host, port)) => {
///             let port = port.parse().map_err(|_| soloio::Error::other("no port"))?;
///             AnyByteStream::new(connect_tcp(host, port).await?)
///         }
///         None => AnyByteStream::new(connect_unix(to).await?),
///     })
/// }
/// # let listener = soloio::block_on(soloio::create_tcp_listener().local_host("127.0.0.1"))?;
/// # let address = listener.local_addr().to_string();
/// # soloio::block_on(async { connect(&address).await?.send(b"x").await })?;
/// # Ok::<_, soloio::Error>(())
/// ```
pub struct AnyByteStream<'a>(Box<dyn AnyKind + 'a>);

impl<'a> AnyByteStream<'a> {
    /// Forgets which kind of stream it is.
    pub fn new(stream: impl ByteStream + 'a) -> Self {
        Self(Box::new(stream))
    }

    /// Receives 1 to 65,536 bytes, exactly sized.
    ///
    /// # Errors
    ///
    /// Those of the stream; see [`ByteReceiveStream::receive`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has received nothing: every byte is still there.
    pub async fn receive(&self) -> Result<Vec<u8>> {
        self.0.receive_max(RECEIVE_MAX).await
    }

    /// Receives 1 to `max` bytes (no more than 65,536 at a time), exactly sized.
    ///
    /// # Errors
    ///
    /// Those of the stream; see [`ByteReceiveStream::receive_max`].
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn receive_max(&self, max: usize) -> Result<Vec<u8>> {
        self.0.receive_max(max).await
    }

    /// Receives into `buf` and returns its filled part, never empty.
    ///
    /// # Errors
    ///
    /// Those of the stream; see [`ByteReceiveStream::receive_into`].
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn receive_into<'b>(&self, buf: &'b mut [u8]) -> Result<&'b mut [u8]> {
        self.0.receive_into(buf).await
    }

    /// [`receive`](Self::receive), with the end as `None`.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive), but for the end.
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn next(&self) -> Result<Option<Vec<u8>>> {
        or_end(self.receive().await)
    }

    /// Sends all of `data`. Sending nothing still checks the state.
    ///
    /// # Errors
    ///
    /// Those of the stream; see [`ByteSendStream::send`].
    ///
    /// # Cancel safety
    ///
    /// Some prefix of `data` was handed over; [`send_from`](Self::send_from) tells how much.
    pub async fn send(&self, data: &[u8]) -> Result<()> {
        let mut rest = data;
        self.0.send_from(&mut rest).await
    }

    /// Sends all of `rest`, and takes off its front what was handed over.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// Exactly the bytes no longer in `rest` were handed over; the stream goes on.
    pub async fn send_from(&self, rest: &mut &[u8]) -> Result<()> {
        self.0.send_from(rest).await
    }

    /// Sends all `parts` as if they stood in one piece, advancing them as
    /// [`IoSlice::advance_slices`] does.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// Those of the stream; see [`ByteSendStream::send_vectored`].
    pub async fn send_vectored(&self, parts: &mut &mut [IoSlice<'_>]) -> Result<()> {
        self.0.send_vectored(parts).await
    }

    /// Ends our direction; may be called again. Receiving goes on.
    ///
    /// # Errors
    ///
    /// Those of the stream; see [`ByteStream::send_eof`].
    ///
    /// # Cancel safety
    ///
    /// Those of the stream: sockets never suspend here.
    #[doc(alias = "shutdown")]
    pub async fn send_eof(&self) -> Result<()> {
        self.0.send_eof().await
    }

    /// Says goodbye and frees the stream.
    ///
    /// # Errors
    ///
    /// What the goodbye ran into; the stream is freed all the same.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future frees the stream; the goodbye may be cut short.
    #[doc(alias = "aclose")]
    pub async fn close(self) -> Result<()> {
        self.0.close().await
    }

    /// Ends the stream at once although others still hold it.
    #[doc(alias = "aclose_forcefully")]
    pub fn abort(&self) {
        self.0.abort();
    }
}

impl fmt::Debug for AnyByteStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyByteStream").finish_non_exhaustive()
    }
}

impl ByteReceiveStream for AnyByteStream<'_> {
    async fn receive_into<'b>(&self, buf: &'b mut [u8]) -> Result<&'b mut [u8]> {
        self.0.receive_into(buf).await
    }

    async fn receive_max(&self, max: usize) -> Result<Vec<u8>> {
        self.0.receive_max(max).await
    }
}

impl ByteSendStream for AnyByteStream<'_> {
    async fn send_from(&self, rest: &mut &[u8]) -> Result<()> {
        self.0.send_from(rest).await
    }

    async fn send_vectored(&self, parts: &mut &mut [IoSlice<'_>]) -> Result<()> {
        self.0.send_vectored(parts).await
    }
}

impl ByteStream for AnyByteStream<'_> {
    async fn send_eof(&self) -> Result<()> {
        self.0.send_eof().await
    }

    async fn close(self) -> Result<()> {
        self.0.close().await
    }

    fn abort(&self) {
        self.0.abort();
    }

    async fn reset(&self) -> Result<()> {
        self.0.reset().await
    }
}

/// A future in a box.
pub(super) type Boxed<'f, T> = Pin<Box<dyn Future<Output = Result<T>> + 'f>>;

/// The contract of a byte stream in a form that can be behind a `dyn`.
trait AnyKind {
    fn receive_into<'f, 'b: 'f>(&'f self, buf: &'b mut [u8]) -> Boxed<'f, &'b mut [u8]>;
    fn receive_max(&self, max: usize) -> Boxed<'_, Vec<u8>>;
    fn send_from<'f>(&'f self, rest: &'f mut &[u8]) -> Boxed<'f, ()>;
    fn send_vectored<'f>(&'f self, parts: &'f mut &mut [IoSlice<'_>]) -> Boxed<'f, ()>;
    fn send_eof(&self) -> Boxed<'_, ()>;
    fn close<'f>(self: Box<Self>) -> Boxed<'f, ()>
    where
        Self: 'f;
    fn abort(&self);
    fn reset(&self) -> Boxed<'_, ()>;
}

impl<S: ByteStream> AnyKind for S {
    fn receive_into<'f, 'b: 'f>(&'f self, buf: &'b mut [u8]) -> Boxed<'f, &'b mut [u8]> {
        Box::pin(ByteReceiveStream::receive_into(self, buf))
    }

    fn receive_max(&self, max: usize) -> Boxed<'_, Vec<u8>> {
        Box::pin(ByteReceiveStream::receive_max(self, max))
    }

    fn send_from<'f>(&'f self, rest: &'f mut &[u8]) -> Boxed<'f, ()> {
        Box::pin(ByteSendStream::send_from(self, rest))
    }

    fn send_vectored<'f>(&'f self, parts: &'f mut &mut [IoSlice<'_>]) -> Boxed<'f, ()> {
        Box::pin(ByteSendStream::send_vectored(self, parts))
    }

    fn send_eof(&self) -> Boxed<'_, ()> {
        Box::pin(ByteStream::send_eof(self))
    }

    fn close<'f>(self: Box<Self>) -> Boxed<'f, ()>
    where
        Self: 'f,
    {
        Box::pin(ByteStream::close(*self))
    }

    fn abort(&self) {
        ByteStream::abort(self);
    }

    fn reset(&self) -> Boxed<'_, ()> {
        Box::pin(ByteStream::reset(self))
    }
}
