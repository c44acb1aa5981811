//! A byte stream with the places for its polls: [`Io`].

use std::io::IoSlice;
use std::task::{Context, Poll};

use super::ByteStream;
use super::futures::{lawful, lawful_send};
use crate::error::{Error, Result};
use crate::runtime::place::Place;
use crate::shown::shown;
use crate::sys::room::Room;

/// A byte stream for crates that poll: the base of adapters to the I/O traits of other crates.
///
/// `Io<S>` owns its stream. `Io<&S>`, `Io<Rc<S>>` and `Io<Arc<S>>` share it with code that uses the
/// stream's own methods, so two of them are the two halves of a stream. While a receive (or send)
/// of an `Io` is pending, the `Io` is the receiver (or sender) until the operation ends, [`leave`]
/// is called or the `Io` is dropped: other receives (or sends) get [`Error::Busy`] meanwhile.
///
/// It is `Send` if the stream is, also if the stream's own futures are not (those of `TlsStream`):
/// they borrow the stream shared, `Io` borrows it mutably.
///
/// [`leave`]: Self::leave
///
/// # Examples
///
/// ```
/// use std::future::poll_fn;
/// use std::io::IoSlice;
///
/// use soloio::{Io, Room, create_memory_byte_stream};
///
/// soloio::block_on(async {
///     let (ours, theirs) = create_memory_byte_stream(64);
///     let (mut ours, mut theirs) = (Io::new(ours), Io::new(theirs));
///     let sent = poll_fn(|cx| ours.poll_send(cx, &[IoSlice::new(b"ping")])).await?;
///     assert_eq!(sent, 4);
///     let mut buffer = [0; 16];
///     let mut room = Room::new(&mut buffer);
///     poll_fn(|cx| theirs.poll_receive(cx, &mut room)).await?;
///     assert_eq!(room.filled(), b"ping");
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "AsyncRead")]
#[doc(alias = "AsyncWrite")]
pub struct Io<S: ByteStream> {
    /// `None` only while `into_inner` runs.
    stream: Option<S>,
    receiving: Place,
    sending: Place,
}

impl<S: ByteStream> Io<S> {
    /// Makes the two places for a stream.
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self {
            stream: Some(stream),
            receiving: Place::default(),
            sending: Place::default(),
        }
    }

    /// Returns the stream.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        self.stream.as_ref().expect("only `into_inner` takes it")
    }

    /// Returns the stream, without operations in progress.
    #[must_use]
    pub fn into_inner(mut self) -> S {
        self.leave();
        self.stream.take().expect("only `into_inner` takes it")
    }

    /// The stream, and the places of its two directions.
    #[inline]
    fn parts(&mut self) -> Result<(&S, &mut Place, &mut Place)> {
        let stream = self.stream.as_ref().ok_or(Error::Closed)?;
        Ok((stream, &mut self.receiving, &mut self.sending))
    }

    /// Gives up pending operations: none of them loses a byte.
    pub fn leave(&mut self) {
        if let Some(stream) = &self.stream {
            stream.leave_receive(&mut self.receiving);
            stream.leave_send(&mut self.sending);
        }
    }

    /// Receives at least one byte into `room`. At the end of the stream, or if there is no room, it
    /// is ready and has received nothing.
    ///
    /// # Errors
    ///
    /// As [`receive`](crate::ByteReceiveStream::receive), except for the end.
    #[inline]
    pub fn poll_receive(&mut self, cx: &mut Context<'_>, room: &mut Room<'_>) -> Poll<Result<()>> {
        let (stream, place, _) = self.parts()?;
        if room.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let (before, most) = (room.len(), room.remaining());
        match stream.poll_receive(place, cx, room) {
            Poll::Ready(Ok(())) => {
                let got = room.len().wrapping_sub(before);
                Poll::Ready(lawful(got, most, "receive from").map(drop))
            }
            Poll::Ready(Err(Error::EndOfStream)) => Poll::Ready(Ok(())),
            polled => polled,
        }
    }

    /// Accepts a prefix of `parts`, and returns its length.
    ///
    /// # Errors
    ///
    /// As [`send`](crate::ByteSendStream::send).
    #[inline]
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let (stream, _, place) = self.parts()?;
        lawful_send(stream.poll_send(place, cx, parts), parts)
    }

    /// Hands over the accepted bytes.
    ///
    /// # Errors
    ///
    /// As [`poll_send`](Self::poll_send).
    #[inline]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let (stream, _, place) = self.parts()?;
        stream.poll_flush(place, cx)
    }

    /// Hands over the accepted bytes, and ends our direction.
    ///
    /// # Errors
    ///
    /// As [`send_eof`](crate::ByteStream::send_eof).
    pub fn poll_send_eof(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let (stream, _, place) = self.parts()?;
        stream.poll_send_eof(place, cx)
    }
}

// Nothing in it is pinned.
impl<S: ByteStream> Unpin for Io<S> {}

impl<S: ByteStream> Drop for Io<S> {
    fn drop(&mut self) {
        self.leave();
    }
}

shown!([S: ByteStream] Io<S>, "Io", _ => ..);
