//! Frames of bytes behind their number: [`LengthPrefixed`].

use std::error::Error as StdError;
use std::fmt;

use soloio::{Buffered, ByteReceiveStream, ByteSendStream, Error, Result};

use super::Prefix;
use crate::layer::over_a_byte_stream;
use crate::object::{object_stream, or_end};
use crate::outgoing::Outgoing;

/// Frames of bytes over a byte stream, each behind the number of its bytes.
///
/// A frame may be empty. Received bytes that were not requested yet stay in the object, so a cut
/// receive loses nothing; a send that is cut in the middle of a frame leaves its rest in the
/// object, so the peer never sees half of one. There is one receiver and one sender at a time; a
/// second one gets [`Error::Busy`].
///
/// # Examples
///
/// ```
/// use soloio::{Error, create_memory_byte_stream};
/// use soloio_streams::{LengthPrefixed, Prefix};
///
/// soloio::block_on(async {
///     let (ours, theirs) = create_memory_byte_stream(64);
///     let ours = LengthPrefixed::new(ours, Prefix::U16Be, 1_000);
///     ours.send(b"hello").await?;
///     ours.send(b"").await?;
///     ours.send_eof().await?;
///     let theirs = LengthPrefixed::new(theirs, Prefix::U16Be, 1_000);
///     assert_eq!(theirs.receive().await?, b"hello");
///     assert_eq!(theirs.next().await?.as_deref(), Some(&b""[..]));
///     assert_eq!(theirs.next().await?, None);
///     Ok::<_, Error>(())
/// })?;
/// # Ok::<_, Error>(())
/// ```
#[doc(alias("frames", "LengthDelimitedCodec", "ObjectStream"))]
pub struct LengthPrefixed<S> {
    stream: Buffered<S>,
    outgoing: Outgoing,
    prefix: Prefix,
    max: usize,
}

/// A frame is longer than the stream allows; in [`Error::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameTooLong {
    /// The most bytes that a frame may have.
    pub limit: usize,
    /// The number of its bytes.
    pub length: u64,
}

impl fmt::Display for FrameTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, length } = self;
        write!(f, "a frame of {length} bytes, more than {limit}")
    }
}

impl StdError for FrameTooLong {}

impl<S> LengthPrefixed<S> {
    /// Frames of at most `max` bytes, or of the largest number that the prefix can have, over
    /// `stream`.
    #[must_use]
    pub fn new(stream: S, prefix: Prefix, max: usize) -> Self {
        Self {
            stream: Buffered::new(stream),
            outgoing: Outgoing::default(),
            prefix,
            max: usize::try_from(prefix.max()).map_or(max, |most| most.min(max)),
        }
    }

    fn check(&self, length: u64) -> Result<usize> {
        let size = usize::try_from(length)
            .ok()
            .filter(|size| *size <= self.max);
        let limit = self.max;
        size.ok_or_else(|| Error::other(FrameTooLong { limit, length }))
    }
}

over_a_byte_stream!([] LengthPrefixed<S>);

impl<S: ByteReceiveStream> LengthPrefixed<S> {
    /// Receives a frame.
    ///
    /// # Errors
    ///
    /// * [`Error::EndOfStream`] if the stream has ended before a frame, [`Error::IncompleteRead`]
    ///   if it has ended inside one.
    /// * [`Error::Other`] with [`FrameTooLong`], as soon as its number has come. The bytes stay
    ///   where they are, so each later receive has the same error.
    /// * Otherwise as [`ByteReceiveStream::receive`].
    ///
    /// # Cancel safety
    ///
    /// A dropped future has received nothing: bytes that have come stay in the object.
    pub async fn receive(&self) -> Result<Vec<u8>> {
        let mut frame = Vec::new();
        self.receive_into(&mut frame).await?;
        Ok(frame)
    }

    /// [`receive`](Self::receive), with the end as `None`.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive), except for the end.
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn next(&self) -> Result<Option<Vec<u8>>> {
        or_end(self.receive().await)
    }

    /// [`receive`](Self::receive) that replaces the contents of `frame` when all of it has come,
    /// and uses its memory again: for loops over many frames.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive); `frame` is as it was.
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive); `frame` is as it was.
    pub async fn receive_into(&self, frame: &mut Vec<u8>) -> Result<()> {
        let head = self.prefix.size();
        let parse = |bytes: &[u8]| {
            let length = match self.check(self.prefix.decode(bytes)?) {
                Ok(length) => length,
                Err(error) => return Some((0, Err(error))),
            };
            bytes[head..].get(..length)?.clone_into(frame);
            Some((head + length, Ok(())))
        };
        let most = self.max.saturating_add(head);
        self.stream.receive_with(most, parse).await?
    }
}

impl<S: ByteSendStream> LengthPrefixed<S> {
    /// Sends a frame.
    ///
    /// # Errors
    ///
    /// [`Error::Other`] with [`FrameTooLong`], before anything is sent; otherwise as
    /// [`ByteSendStream::send`].
    ///
    /// # Cancel safety
    ///
    /// The frame is not sent, or it was begun: then its rest goes before whatever is sent next.
    /// [`send_from`](Self::send_from) reports which of the two.
    pub async fn send(&self, frame: impl AsRef<[u8]>) -> Result<()> {
        self.send_from(&mut Some(frame)).await
    }

    /// Sends the frame that is in `frame`, and takes it out when it is begun. With `None` nothing
    /// is sent.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// Nothing of a frame that is still in `frame` was sent. One that is no longer there was sent,
    /// or its rest is in the object and goes before whatever is sent next.
    pub async fn send_from(&self, frame: &mut Option<impl AsRef<[u8]>>) -> Result<()> {
        let Some(data) = frame.as_ref().map(AsRef::as_ref) else {
            return Ok(());
        };
        self.check(data.len() as u64)?;
        let mut bytes = Vec::with_capacity(self.prefix.size() + data.len());
        self.prefix.encode(data.len() as u64, &mut bytes);
        bytes.extend_from_slice(data);
        self.outgoing.send_whole(&self.stream, &bytes, frame).await
    }

    async fn send_item(&self, frame: &mut Option<Vec<u8>>) -> Result<()> {
        self.send_from(frame).await
    }
}

object_stream!([] LengthPrefixed<S>, Vec<u8>, Vec<u8>);

impl<S> fmt::Debug for LengthPrefixed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("LengthPrefixed");
        shown.field("prefix", &self.prefix).field("max", &self.max);
        shown.finish_non_exhaustive()
    }
}
