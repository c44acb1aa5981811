//! Receives an exact number of bytes, or up to a delimiter, over any byte stream: [`Buffered`].
//!
//! Received bytes that were not requested yet are in the object, never in a future, so a cancel
//! loses none of them. A call never takes more from the stream than it may need.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io::IoSlice;
use std::task::{Context, Poll, ready};

use super::pointers::sends_by;
use super::{
    ByteReceiveStream, ByteSendStream, ByteStream, RECEIVE_MAX, byte_stream_face, no_room,
};
use crate::error::{Error, Result};
use crate::room;
use crate::runtime::context;
use crate::runtime::place::{Claim, Held, Place};
use crate::sys::room::Room;

/// A byte stream with a buffer on its receiving side: for lines, headers, and messages of known
/// length. The sending side is that of the stream.
///
/// Receiving works as on every byte stream, from the buffer while it has bytes. There is one
/// receiver at a time; a second one gets [`Error::Busy`]. While it is empty the buffer uses no
/// memory, and it never holds more bytes than the call in progress has requested plus those from
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
///     assert!(matches!(late, Err(Error::IncompleteRead)));
///     assert_eq!(ours.receive().await?, b" and so on"); // nothing is lost by an error
///     assert!(matches!(ours.receive_exactly(1).await, Err(Error::EndOfStream)));
///     Ok::<_, Error>(())
/// })?;
/// # Ok::<_, Error>(())
/// ```
#[doc(alias = "BufferedByteReceiveStream")]
#[doc(alias = "BufferedByteStream")]
pub struct Buffered<S> {
    stream: S,
    ahead: RefCell<Ahead>,
    receiving: Claim,
    aborted: Cell<bool>,
}

/// Received bytes that were not requested yet.
#[derive(Default)]
struct Ahead {
    bytes: Vec<u8>,
    /// The number of bytes at the front that were already taken.
    gone: usize,
}

impl Ahead {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.gone..]
    }

    fn push(&mut self, data: Vec<u8>) {
        if self.rest().is_empty() {
            (self.bytes, self.gone) = (data, 0);
            return;
        }
        self.bytes.extend_from_slice(&data);
    }

    /// Takes the first `count` bytes, which must be there.
    fn take(&mut self, count: usize) -> Vec<u8> {
        if self.gone == 0 && count == self.bytes.len() {
            let mut taken = std::mem::take(&mut self.bytes);
            // Appended pieces have left spare capacity.
            taken.shrink_to_fit();
            return taken;
        }
        let taken = self.rest()[..count].to_vec();
        self.skip(count);
        taken
    }

    fn skip(&mut self, count: usize) {
        self.gone += count;
        if self.rest().is_empty() {
            *self = Self::default();
        } else if self.gone >= self.bytes.len() / 2 {
            // More bytes were taken than have to be moved.
            self.bytes.drain(..self.gone);
            self.gone = 0;
            room::shrink(&mut self.bytes);
        }
    }
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

    /// The stream. A receive from it directly bypasses the bytes in the buffer.
    pub fn inner(&self) -> &S {
        &self.stream
    }

    /// Returns the stream and the bytes in the buffer.
    #[must_use = "otherwise the bytes in the buffer are lost"]
    pub fn into_parts(self) -> (S, Vec<u8>) {
        let mut ahead = self.ahead.into_inner();
        let count = ahead.rest().len();
        (self.stream, ahead.take(count))
    }

    /// Returns a copy of the bytes in the buffer.
    #[must_use]
    pub fn buffer(&self) -> Vec<u8> {
        self.ahead.borrow().rest().to_vec()
    }

    /// Appends data to the buffer, as if it had come from the stream.
    pub fn feed_data(&mut self, data: &[u8]) {
        if !data.is_empty() {
            self.ahead.get_mut().push(data.to_vec());
        }
    }

    fn claim(&self) -> Result<Held<'_>> {
        self.open()?;
        self.receiving.hold()
    }

    fn open(&self) -> Result<()> {
        match self.aborted.get() {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }

    fn buffered(&self) -> usize {
        self.ahead.borrow().rest().len()
    }

    /// Buffered bytes are used without a wait, but they pass the gate, too.
    async fn pass(&self) -> Result<()> {
        context::checkpoint().await?;
        self.open()
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
        let _receiving = self.claim()?;
        self.pass().await?;
        loop {
            match count.saturating_sub(self.buffered()) {
                0 => return Ok(self.ahead.borrow_mut().take(count)),
                missing => self.fill(missing).await?,
            }
        }
    }

    /// Receives the bytes before `delimiter`, at most `max`, and removes the delimiter. The result
    /// is independent of the pieces in which the bytes arrive.
    ///
    /// # Errors
    ///
    /// * [`Error::DelimiterNotFound`] if more than `max` bytes precede it; returned as soon as
    ///   `max` bytes and the delimiter's length have come.
    /// * [`Error::EndOfStream`] if the stream has ended and nothing is left.
    /// * [`Error::IncompleteRead`] if it has ended before the delimiter came.
    /// * `InvalidInput` if the delimiter is empty; otherwise as [`receive`](Self::receive).
    ///
    /// Received bytes stay in the buffer.
    ///
    /// # Cancel safety
    ///
    /// As [`receive_exactly`](Self::receive_exactly).
    pub async fn receive_until(&self, delimiter: &[u8], max: usize) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        self.receive_until_into(&mut line, delimiter, max).await?;
        Ok(line)
    }

    /// [`receive_until`](Self::receive_until) that replaces the contents of `line` when the
    /// delimiter has come, and uses its memory again: for loops over many lines.
    ///
    /// # Errors
    ///
    /// As [`receive_until`](Self::receive_until).
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
    ///     theirs.send(b"GET a\r\nGET b\r\n").await?;
    ///     let (ours, mut line) = (Buffered::new(ours), Vec::new());
    ///     for expected in [b"GET a", b"GET b"] {
    ///         ours.receive_until_into(&mut line, b"\r\n", 100).await?;
    ///         assert_eq!(line, expected);
    ///     }
    ///     Ok::<_, Error>(())
    /// })?;
    /// # Ok::<_, Error>(())
    /// ```
    pub async fn receive_until_into(
        &self,
        line: &mut Vec<u8>,
        delimiter: &[u8],
        max: usize,
    ) -> Result<()> {
        let _receiving = self.claim()?;
        if delimiter.is_empty() {
            return Err(Error::invalid("receive", "an empty delimiter"));
        }
        self.pass().await?;
        let (limit, mut searched) = (max.saturating_add(delimiter.len()), 0);
        loop {
            let missing = {
                let mut ahead = self.ahead.borrow_mut();
                let rest = ahead.rest();
                let looked = &rest[..rest.len().min(limit)];
                if let Some(at) = position(&looked[searched..], delimiter) {
                    line.clear();
                    line.extend_from_slice(&rest[..searched + at]);
                    ahead.skip(searched + at + delimiter.len());
                    return Ok(());
                }
                // The searched bytes may end with the beginning of the delimiter.
                searched = (looked.len() + 1).saturating_sub(delimiter.len());
                limit - looked.len()
            };
            if missing == 0 {
                return Err(Error::DelimiterNotFound);
            }
            self.fill(missing.min(RECEIVE_MAX)).await?;
        }
    }

    /// Waits for more bytes, at most `most`.
    async fn fill(&self, most: usize) -> Result<()> {
        let came = self.stream.receive_max(most).await;
        self.open()?;
        match came {
            Ok(data) => self.ahead.borrow_mut().push(data),
            Err(Error::EndOfStream) if self.buffered() > 0 => return Err(Error::IncompleteRead),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Returns the first position of `what`, which is not empty. Searches for its last byte.
fn position(data: &[u8], what: &[u8]) -> Option<usize> {
    let (last, before) = what.split_last()?;
    let mut end = before.len();
    loop {
        end += position_of(data.get(end..)?, *last)?;
        if before.is_empty() || data[..end].ends_with(before) {
            return Some(end - before.len());
        }
        end += 1;
    }
}

/// Returns the first position of a byte; searches in eight bytes at a time.
#[inline]
fn position_of(data: &[u8], byte: u8) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    let words = data.chunks_exact(8);
    let rest = words.remainder();
    for (at, word) in words.enumerate() {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        let other = word ^ (ONES * u64::from(byte));
        // The lowest bit in it is that of the first byte that is zero.
        let zero = other.wrapping_sub(ONES) & !other & (ONES << 7);
        if zero != 0 {
            return Some(8 * at + zero.trailing_zeros() as usize / 8);
        }
    }
    let at = rest.iter().position(|other| *other == byte)?;
    Some(data.len() - rest.len() + at)
}

byte_stream_face!(
    Buffered<S>,
    [S: ByteReceiveStream],
    [S: ByteSendStream],
    [S: ByteStream]
);

impl<S> fmt::Debug for Buffered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffered")
            .field("buffered", &self.buffered())
            .finish_non_exhaustive()
    }
}

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
        if self.receiving.is_held() {
            return Poll::Ready(Err(Error::Busy));
        }
        // A receive waits only in the stream itself, when the buffer is empty.
        if self.buffered() == 0 {
            return self.stream.poll_receive(place, cx, room);
        }
        context::poll_with(|core| {
            ready!(place.admit(core, cx))?;
            let mut ahead = self.ahead.borrow_mut();
            let got = room.put(ahead.rest());
            ahead.skip(got);
            core.finished();
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
        self.aborted.set(true);
        let ahead = self.ahead.take();
        self.stream.abort();
        drop(ahead);
    }

    async fn reset(&self) -> Result<()> {
        let reset = self.stream.reset().await;
        ByteStream::abort(self);
        reset
    }
}
