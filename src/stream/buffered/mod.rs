//! Receives an exact number of bytes, or up to a delimiter, over any byte stream: [`Buffered`].
//!
//! | file | content |
//! |---|---|
//! | `ahead.rs` | the bytes in the buffer |
//! | `items.rs` | receives what a delimiter ends, or what a parser finds |
//! | `parsing.rs` | the receive of an item, between two polls |
//!
//! Received bytes that were not requested yet are in the object, never in a future, so a cancel
//! loses none of them. A call never takes more from the stream than it may need.

mod ahead;
mod items;
mod parsing;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::task::{Context, Poll, ready};

use ahead::Ahead;
use parsing::Parsing;

use super::pointers::sends_by;
use super::{ByteReceiveStream, ByteSendStream, ByteStream, byte_stream_face, no_room};
use crate::error::{Error, Result};
use crate::runtime::context;
use crate::runtime::place::{Claim, Place};
use crate::sys::room::Room;

/// A byte stream with a buffer on its receiving side: for lines, headers, and messages of known
/// length. The sending side is that of the stream.
///
/// It is a byte stream itself: `receive` and its like return the bytes in the buffer first. There
/// is one receiver at a time; a second one gets [`Error::Busy`]. An empty buffer uses no memory.
/// The buffer never has more bytes than the call in progress has requested, and those from
/// [`feed_data`].
///
/// [`feed_data`]: Self::feed_data
///
/// # Examples
///
/// ```
/// use soloio::{Buffered, Error, create_memory_byte_stream};
///
/// soloio::block_on(async {
///     let (ours, theirs) = create_memory_byte_stream(64);
///     theirs.send(b"length: 5\nhello and so on").await?;
///     theirs.send_eof().await?;
///
///     let ours = Buffered::new(ours);
///     assert_eq!(ours.receive_until(b"\n", 100).await?, b"length: 5");
///     assert_eq!(ours.receive_exactly(5).await?, b"hello");
///     let late = ours.receive_until(b"\n", 100).await;
///     assert!(matches!(late, Err(Error::IncompleteRead(10))));
///     assert_eq!(ours.receive().await?, b" and so on"); // nothing is lost by an error
///     assert!(matches!(ours.receive_exactly(1).await, Err(Error::EndOfStream)));
///     Ok::<_, Error>(())
/// })?;
/// # Ok::<_, Error>(())
/// ```
#[doc(alias("BufferedByteReceiveStream", "BufferedByteStream"))]
#[derive(Debug)]
pub struct Buffered<S> {
    stream: S,
    ahead: RefCell<Ahead>,
    receiving: Claim,
    aborted: Cell<bool>,
}

impl<S> Buffered<S> {
    /// Adds an empty buffer to a stream.
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            ahead: RefCell::default(),
            receiving: Claim::default(),
            aborted: Cell::new(false),
        }
    }

    /// Returns the stream below. A receive from it bypasses the bytes in the buffer.
    pub fn inner(&self) -> &S {
        &self.stream
    }

    /// Returns the stream and the bytes in the buffer.
    #[must_use = "otherwise the bytes in the buffer are lost"]
    pub fn into_parts(self) -> (S, Vec<u8>) {
        let mut ahead = self.ahead.into_inner();
        let count = ahead.as_slice().len();
        (self.stream, ahead.take(count))
    }

    /// Returns a copy of the bytes in the buffer.
    #[must_use]
    pub fn buffer(&self) -> Vec<u8> {
        self.ahead.borrow().as_slice().to_vec()
    }

    /// Appends data to the buffer, as if it had come from the stream.
    pub fn feed_data(&mut self, data: &[u8]) {
        if !data.is_empty() {
            self.ahead.get_mut().push(data.to_vec());
        }
    }

    fn open(&self) -> Result<()> {
        match self.aborted.get() {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }

    /// Ends all receives. A parser that is called right now borrows the bytes.
    fn end(&self) {
        self.aborted.set(true);
        drop((self.ahead.try_borrow_mut()).map(|mut ahead| *ahead = Ahead::default()));
    }
}

impl<S: ByteReceiveStream> Buffered<S> {
    /// Receives exactly `count` bytes. Returns immediately if `count` is 0.
    ///
    /// # Errors
    ///
    /// [`Error::EndOfStream`] if the stream has ended before the first of them,
    /// [`Error::IncompleteRead`] if it has ended after that; otherwise as
    /// [`receive`](Self::receive). Received bytes stay in the buffer.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has received nothing: bytes that have come stay in the buffer.
    pub async fn receive_exactly(&self, count: usize) -> Result<Vec<u8>> {
        let all = |bytes: &[u8]| Ok((bytes.len() == count).then_some((0, ())));
        self.parsed(count, all).await?;
        Ok(self.ahead.borrow_mut().take(count))
    }

    /// The same as [`receive_exactly`](Self::receive_exactly), with the number of bytes in the type
    /// of the result: for headers of a fixed size.
    ///
    /// # Errors
    ///
    /// As [`receive_exactly`](Self::receive_exactly).
    ///
    /// # Cancel safety
    ///
    /// As [`receive_exactly`](Self::receive_exactly).
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::{Buffered, Error, create_memory_byte_stream};
    ///
    /// soloio::block_on(async {
    ///     let (ours, theirs) = create_memory_byte_stream(64);
    ///     theirs.send(b"\0\0\0\x05hello").await?;
    ///     let ours = Buffered::new(ours);
    ///     let length = u32::from_be_bytes(ours.receive_array().await?);
    ///     assert_eq!(ours.receive_exactly(length as usize).await?, b"hello");
    ///     Ok::<_, Error>(())
    /// })?;
    /// # Ok::<_, Error>(())
    /// ```
    pub fn receive_array<const N: usize>(&self) -> impl Future<Output = Result<[u8; N]>> {
        self.parsed(N, |bytes: &[u8]| {
            Ok(bytes.try_into().ok().map(|array| (N, array)))
        })
    }

    /// Receives until `parse` has found its item; see [`Parsing::poll`].
    fn parsed<T>(
        &self,
        limit: usize,
        mut parse: impl FnMut(&[u8]) -> Result<Option<(usize, T)>>,
    ) -> impl Future<Output = Result<T>> {
        let mut parsing = Parsing::new(self, limit);
        poll_fn(move |cx| parsing.poll(cx, &mut parse))
    }
}

byte_stream_face!(
    Buffered<S>,
    [S: ByteReceiveStream],
    [S: ByteSendStream],
    [S: ByteStream]
);

impl<S: ByteReceiveStream> ByteReceiveStream for Buffered<S> {
    fn poll_receive(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        room: &mut Room<'_>,
    ) -> Poll<Result<()>> {
        if room.remaining() == 0 {
            return Poll::Ready(Err(no_room()));
        }
        self.open()?;
        // One that waits came first: the other receive is at its gate.
        if place.is_idle() && self.receiving.is_held() {
            return Poll::Ready(Err(Error::Busy));
        }
        // A receive waits only in the stream itself, when the buffer is empty.
        if self.ahead.borrow().as_slice().is_empty() {
            return self.stream.poll_receive(place, cx, room);
        }
        context::poll_with(|core| {
            ready!(place.admit(core, cx))?;
            let mut ahead = self.ahead.borrow_mut();
            let got = room.put(ahead.as_slice());
            ahead.skip(got);
            core.finished();
            // The bytes may have been fed while it waited in the stream.
            self.stream.leave_receive(place);
            *place = Place::default();
            Poll::Ready(Ok(()))
        })
    }

    fn leave_receive(&self, place: &mut Place) {
        self.stream.leave_receive(place);
    }
}

sends_by!([S: ByteSendStream] Buffered<S>, this => this.stream);

impl<S: ByteStream> ByteStream for Buffered<S> {
    fn poll_send_eof(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.stream.poll_send_eof(place, cx)
    }

    async fn close(self) -> Result<()> {
        self.stream.close().await
    }

    fn abort(&self) {
        self.end();
        self.stream.abort();
    }

    async fn reset(&self) -> Result<()> {
        // Before the wait, which may be dropped.
        self.end();
        self.stream.reset().await
    }
}
