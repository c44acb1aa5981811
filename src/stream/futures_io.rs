//! [`Io`] with the I/O traits of futures-io.
//!
//! As these traits require, the end of a stream is an empty read here. An error is an [`io::Error`]
//! with an [`Error`](crate::Error) inside: `Error::from(io_error)` unwraps it. No error is
//! `Interrupted` or `WouldBlock`, so code that retries after those also ends at a cancel.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};

use super::{ByteStream, Io};
use crate::sys::room::Room;

impl<S: ByteStream> AsyncRead for Io<S> {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut room = Room::new(buf);
        ready!(self.get_mut().poll_receive(cx, &mut room))?;
        Poll::Ready(Ok(room.len()))
    }
}

impl<S: ByteStream> AsyncWrite for Io<S> {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = self.get_mut().poll_send(cx, bufs);
        polled.map_err(io::Error::from)
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Self::poll_flush(self.get_mut(), cx);
        polled.map_err(io::Error::from)
    }

    /// Hands over the accepted bytes, and ends our direction: `close` of these traits is
    /// `send_eof`.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.get_mut().poll_send_eof(cx);
        polled.map_err(io::Error::from)
    }
}
