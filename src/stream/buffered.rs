//! Receives exactly so many bytes, or up to a delimiter, over any byte stream: [`Buffered`].
//!
//! What came and was not asked for yet lies in the object, never in a future, so that a cancel
//! loses none of it. No more is taken from the stream than the call in progress may need.
//!
//! Long because its face is all that a byte stream has, and two receives more.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::IoSlice;

use super::{ByteReceiveStream, ByteSendStream, ByteStream, RECEIVE_MAX, or_end};
use crate::error::{Error, Result};
use crate::room;
use crate::runtime::context;

/// A byte stream with a buffer in front of its receiving side: for lines, headers, and messages of
/// known length. The sending side is that of the stream.
///
/// Receiving is as with every byte stream, from the buffer as long as there is something in it. One
/// receiver at a time; a second one gets [`Error::Busy`]. While nothing is in it the buffer takes
/// no memory, and it never holds more bytes than the call in progress asked for and [`feed_data`]
/// put there.
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
    receiving: Cell<bool>,
    aborted: Cell<bool>,
}

/// What came and was not asked for yet.
#[derive(Default)]
struct Ahead {
    bytes: Vec<u8>,
    /// How many of them are gone already.
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

    /// The first `count` of them, which are there.
    fn take(&mut self, count: usize) -> Vec<u8> {
        if self.gone == 0 && count == self.bytes.len() {
            let mut taken = std::mem::take(&mut self.bytes);
            // Pieces that came one after the other have left room behind them.
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
            // More has gone than has to be moved.
            self.bytes.drain(..self.gone);
            self.gone = 0;
            room::shrink(&mut self.bytes);
        }
    }
}

/// Who receives, until it is dropped.
struct Receiving<'a>(&'a Cell<bool>);

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl<S> Buffered<S> {
    /// Puts an empty buffer in front of a stream.
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            ahead: RefCell::default(),
            receiving: Cell::new(false),
            aborted: Cell::new(false),
        }
    }

    /// The stream. Receiving from it directly overtakes what is in the buffer.
    pub fn inner(&self) -> &S {
        &self.stream
    }

    /// Takes it apart: the stream, and what is in the buffer.
    #[must_use = "what is in the buffer is lost else"]
    pub fn into_parts(self) -> (S, Vec<u8>) {
        let mut ahead = self.ahead.into_inner();
        let count = ahead.rest().len();
        (self.stream, ahead.take(count))
    }

    /// A copy of what is in the buffer.
    #[must_use]
    pub fn buffer(&self) -> Vec<u8> {
        self.ahead.borrow().rest().to_vec()
    }

    /// Puts data behind what is in the buffer, as if it had come from the stream.
    pub fn feed_data(&mut self, data: &[u8]) {
        if !data.is_empty() {
            self.ahead.get_mut().push(data.to_vec());
        }
    }

    fn claim(&self) -> Result<Receiving<'_>> {
        self.open()?;
        match self.receiving.replace(true) {
            true => Err(Error::Busy),
            false => Ok(Receiving(&self.receiving)),
        }
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

    /// What is in the buffer is used without a wait, but not past the gate.
    async fn pass(&self) -> Result<()> {
        context::checkpoint().await?;
        self.open()
    }
}

impl<S: ByteReceiveStream> Buffered<S> {
    /// Receives exactly `count` bytes. None are there at once.
    ///
    /// # Errors
    ///
    /// [`Error::EndOfStream`] if the stream has ended before the first of them,
    /// [`Error::IncompleteRead`] if it has after that; otherwise as [`receive`](Self::receive).
    /// What had come stays in the buffer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has received nothing: what has come stays in the buffer.
    pub async fn receive_exactly(&self, count: usize) -> Result<Vec<u8>> {
        let _receiving = self.claim()?;
        if self.buffered() >= count {
            self.pass().await?;
        }
        loop {
            match count.saturating_sub(self.buffered()) {
                0 => return Ok(self.ahead.borrow_mut().take(count)),
                missing => self.fill(missing).await?,
            }
        }
    }

    /// Receives what stands before `delimiter`, at most `max` bytes, and takes the delimiter off
    /// too. How the bytes arrive makes no difference.
    ///
    /// # Errors
    ///
    /// * [`Error::DelimiterNotFound`] if there are more than `max` bytes before it; told when `max`
    ///   bytes and the delimiter's length have come.
    /// * [`Error::EndOfStream`] if the stream has ended and nothing is left.
    /// * [`Error::IncompleteRead`] if it has ended before the delimiter came.
    /// * `InvalidInput` if the delimiter is empty; otherwise as [`receive`](Self::receive).
    ///
    /// What had come stays in the buffer.
    ///
    /// # Cancel safety
    ///
    /// As [`receive_exactly`](Self::receive_exactly).
    pub async fn receive_until(&self, delimiter: &[u8], max: usize) -> Result<Vec<u8>> {
        let _receiving = self.claim()?;
        if delimiter.is_empty() {
            return Err(Error::invalid("receive", "an empty delimiter"));
        }
        let limit = max.saturating_add(delimiter.len());
        let (mut searched, mut waited) = (0, false);
        loop {
            let (found, looked) = {
                let ahead = self.ahead.borrow();
                let rest = ahead.rest();
                let looked = &rest[..rest.len().min(limit)];
                let found = position(&looked[searched..], delimiter);
                (found.map(|at| searched + at), looked.len())
            };
            if found.is_none() && looked < limit {
                // The delimiter may have begun already.
                searched = searched.max((looked + 1).saturating_sub(delimiter.len()));
                self.fill((limit - looked).min(RECEIVE_MAX)).await?;
                waited = true;
                continue;
            }
            if !waited {
                self.pass().await?;
            }
            let mut ahead = self.ahead.borrow_mut();
            let Some(length) = found else {
                return Err(Error::DelimiterNotFound);
            };
            let taken = ahead.rest()[..length].to_vec();
            ahead.skip(length + delimiter.len());
            return Ok(taken);
        }
    }

    /// Receives 1 to 65,536 bytes, exactly sized: what is in the buffer, else what comes.
    ///
    /// # Errors
    ///
    /// Those of the stream; see [`ByteReceiveStream::receive`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has received nothing: every byte is still there.
    pub async fn receive(&self) -> Result<Vec<u8>> {
        self.receive_max(RECEIVE_MAX).await
    }

    /// Receives 1 to `max` bytes (no more than 65,536 at a time), exactly sized.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive); a `max` of 0 is `InvalidInput`.
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn receive_max(&self, max: usize) -> Result<Vec<u8>> {
        let _receiving = self.claim()?;
        // The stream refuses to receive nothing.
        if max == 0 || self.buffered() == 0 {
            return self.stream.receive_max(max).await;
        }
        self.pass().await?;
        let count = self.buffered().min(max).min(RECEIVE_MAX);
        Ok(self.ahead.borrow_mut().take(count))
    }

    /// Receives into `buf` and returns its filled part, never empty.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive); an empty buffer is `InvalidInput`.
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn receive_into<'b>(&self, buf: &'b mut [u8]) -> Result<&'b mut [u8]> {
        let _receiving = self.claim()?;
        if buf.is_empty() || self.buffered() == 0 {
            return self.stream.receive_into(buf).await;
        }
        self.pass().await?;
        let mut ahead = self.ahead.borrow_mut();
        let count = ahead.rest().len().min(buf.len());
        buf[..count].copy_from_slice(&ahead.rest()[..count]);
        ahead.skip(count);
        Ok(&mut buf[..count])
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

    /// Waits for more, at most so many bytes.
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

/// Where `what`, which is not empty, stands first.
fn position(data: &[u8], what: &[u8]) -> Option<usize> {
    match what {
        [one] => data.iter().position(|byte| byte == one),
        _ => data.windows(what.len()).position(|part| part == what),
    }
}

impl<S: ByteSendStream> Buffered<S> {
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
        self.stream.send(data).await
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
        self.stream.send_from(rest).await
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
        self.stream.send_vectored(parts).await
    }
}

impl<S: ByteStream> Buffered<S> {
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
        self.stream.send_eof().await
    }

    /// Says goodbye and frees the stream, and what is in the buffer.
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
        self.stream.close().await
    }

    /// Ends the stream at once although others still hold it; what is in the buffer is gone too.
    #[doc(alias = "aclose_forcefully")]
    pub fn abort(&self) {
        self.aborted.set(true);
        let ahead = self.ahead.take();
        self.stream.abort();
        drop(ahead);
    }
}

impl<S> fmt::Debug for Buffered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffered")
            .field("buffered", &self.buffered())
            .finish_non_exhaustive()
    }
}

impl<S: ByteReceiveStream> ByteReceiveStream for Buffered<S> {
    async fn receive_into<'b>(&self, buf: &'b mut [u8]) -> Result<&'b mut [u8]> {
        self.receive_into(buf).await
    }

    async fn receive_max(&self, max: usize) -> Result<Vec<u8>> {
        self.receive_max(max).await
    }
}

impl<S: ByteSendStream> ByteSendStream for Buffered<S> {
    async fn send_from(&self, rest: &mut &[u8]) -> Result<()> {
        self.stream.send_from(rest).await
    }

    async fn send_vectored(&self, parts: &mut &mut [IoSlice<'_>]) -> Result<()> {
        self.stream.send_vectored(parts).await
    }

    #[cfg(feature = "relay")]
    async fn send_file_from(
        &self,
        file: &std::fs::File,
        rest: &mut std::ops::Range<u64>,
    ) -> Result<()> {
        self.stream.send_file_from(file, rest).await
    }
}

impl<S: ByteStream> ByteStream for Buffered<S> {
    async fn send_eof(&self) -> Result<()> {
        self.stream.send_eof().await
    }

    async fn close(self) -> Result<()> {
        self.stream.close().await
    }

    fn abort(&self) {
        self.abort();
    }

    async fn reset(&self) -> Result<()> {
        let reset = self.stream.reset().await;
        self.abort();
        reset
    }
}
