//! tokio's I/O traits, not its runtime, for the byte streams of [soloio](https://docs.rs/soloio).
//!
//! For crates that are generic over [`AsyncRead`] and [`AsyncWrite`] and need nothing else of
//! tokio: WebSocket and database protocols, `h2`, TLS libraries. The crate `tokio` is built without
//! any feature, which is its traits and no more.
//!
//! ```
//! use soloio::create_memory_byte_stream;
//! use soloio_tokio_io::TokioIo;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! soloio::block_on(async {
//!     let (ours, theirs) = create_memory_byte_stream(64);
//!     let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
//!     ours.write_all(b"hello").await?;
//!     ours.shutdown().await?;
//!     let mut text = String::new();
//!     theirs.read_to_string(&mut text).await?;
//!     assert_eq!(text, "hello");
//!     Ok::<_, std::io::Error>(())
//! })?;
//! # Ok::<_, std::io::Error>(())
//! ```

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use soloio::{ByteStream, Io, Room};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A byte stream with tokio's I/O traits.
///
/// Made of a stream, of a reference to one, or of an `Rc` or `Arc`; so two of them over references
/// are the two halves of a stream, without a lock. It is `Send` if the stream is.
///
/// * One that was left in the middle of a read (or write) is the reader (or writer) until it is
///   polled to its end or dropped; others get [`soloio::Error::Busy`].
/// * An error holds that of soloio: `soloio::Error::from(io_error)` gives it back. A cancelled
///   scope is told so, and is never an `Interrupted` or `WouldBlock` that would be tried again.
/// * `shutdown` ends our direction, as `send_eof` does; reading goes on.
#[derive(Debug)]
pub struct TokioIo<S: ByteStream>(Io<S>);

impl<S: ByteStream> TokioIo<S> {
    /// Gives a stream the traits.
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self(Io::new(stream))
    }

    /// The stream.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        self.0.get_ref()
    }

    /// The stream; of what was left in the middle nothing is lost.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.0.into_inner()
    }
}

impl<S: ByteStream> AsyncRead for TokioIo<S> {
    #[inline]
    #[allow(unsafe_code, reason = "the caller's memory need not be initialised")]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: a `Room` writes initialised bytes only, and never takes one back.
        let memory = unsafe { buf.unfilled_mut() };
        let (count, polled) = Room::fill(memory, |room| self.get_mut().0.poll_receive(cx, room));
        // SAFETY: so many bytes at the front of the memory are initialised, says `fill`.
        unsafe { buf.assume_init(count) };
        buf.advance(count);
        polled.map_err(io::Error::from)
    }
}

impl<S: ByteStream> AsyncWrite for TokioIo<S> {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.get_mut().0.poll_send(cx, bufs);
        polled.map_err(io::Error::from)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_flush(cx).map_err(io::Error::from)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_send_eof(cx).map_err(io::Error::from)
    }
}

/// The programs of the document are compiled, and run where they can.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
