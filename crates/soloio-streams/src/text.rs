//! Text over a byte stream: [`TextStream`].

use std::cell::Cell;
use std::error::Error as StdError;
use std::fmt;

use soloio::{Buffered, ByteReceiveStream, ByteSendStream, Error, Result};

use crate::layer::over_a_byte_stream;
use crate::object::{object_stream, or_end};
use crate::outgoing::Outgoing;

/// The most bytes of a receive.
const MOST: usize = 65_536;

/// Text (UTF-8) over a byte stream, or over one half of it.
///
/// A character that comes in two pieces is received with the second one. Received bytes that are
/// not text stay in the object, so an error loses nothing; a send that is cut in the middle of a
/// character leaves its rest in the object, and the next send begins with that. There is one
/// receiver and one sender at a time; a second one gets [`Error::Busy`].
///
/// # Examples
///
/// ```
/// use soloio::{Error, create_memory_byte_stream};
/// use soloio_streams::TextStream;
///
/// soloio::block_on(async {
///     let (ours, theirs) = create_memory_byte_stream(64);
///     let ours = TextStream::new(ours);
///     theirs.send("Grü".as_bytes()).await?;
///     theirs.send(&"ß".as_bytes()[..1]).await?;
///     assert_eq!(ours.receive().await?, "Grü"); // half of the ß is held back
///     theirs.send(&"ß".as_bytes()[1..]).await?;
///     assert_eq!(ours.receive().await?, "ß");
///     ours.send("dich").await?;
///     assert_eq!(theirs.receive().await?, b"dich");
///     Ok::<_, Error>(())
/// })?;
/// # Ok::<_, Error>(())
/// ```
#[doc(alias("TextReceiveStream", "TextSendStream", "utf8"))]
pub struct TextStream<S> {
    stream: Buffered<S>,
    outgoing: Outgoing,
    /// The number of bytes that were received as text.
    received: Cell<u64>,
}

/// Received bytes are not UTF-8; in [`Error::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotUtf8 {
    /// The number of bytes that were received before them, since the stream of text was made.
    pub at: u64,
    /// Their number, from 1 to 3.
    pub length: usize,
}

impl fmt::Display for NotUtf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, length } = self;
        write!(f, "{length} bytes after the first {at} are not UTF-8")
    }
}

impl StdError for NotUtf8 {}

impl<S> TextStream<S> {
    /// Text over `stream`.
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self {
            stream: Buffered::new(stream),
            outgoing: Outgoing::default(),
            received: Cell::new(0),
        }
    }
}

over_a_byte_stream!([] TextStream<S>);

impl<S: ByteReceiveStream> TextStream<S> {
    /// Receives text, at least one character.
    ///
    /// # Errors
    ///
    /// * [`Error::Other`] with [`NotUtf8`], which says where, when all before has been received.
    ///   The bytes stay where they are, so each later receive has the same error:
    ///   [`receive_lossy`](Self::receive_lossy) goes on.
    /// * [`Error::IncompleteRead`] if the stream has ended inside a character. Its bytes stay where
    ///   they are, too: `inner().buffer()`.
    /// * Otherwise as [`ByteReceiveStream::receive`].
    ///
    /// # Cancel safety
    ///
    /// A dropped future has received nothing: bytes that have come stay in the object.
    pub async fn receive(&self) -> Result<String> {
        let found = self.stream.receive_with(MOST, |bytes| match piece(bytes)? {
            Ok(text) => Some((text.len(), Ok(text.to_owned()))),
            Err(length) => Some((0, Err(length))),
        });
        let text = found.await?.map_err(|length| {
            let at = self.received.get();
            Error::other(NotUtf8 { at, length })
        })?;
        self.count(text.len());
        Ok(text)
    }

    /// Receives text, with U+FFFD for what is not UTF-8, as [`String::from_utf8_lossy`] has it.
    ///
    /// # Errors
    ///
    /// As [`ByteReceiveStream::receive`].
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    #[doc(alias = "replace")]
    pub async fn receive_lossy(&self) -> Result<String> {
        let replaced = || "\u{FFFD}".to_owned();
        let found = self.stream.receive_with(MOST, |bytes| match piece(bytes)? {
            Ok(text) => Some((text.len(), (text.len(), text.to_owned()))),
            Err(length) => Some((length, (length, replaced()))),
        });
        let (length, text) = match found.await {
            // A character that has no end: its bytes are in the buffer.
            Err(Error::IncompleteRead(length)) => {
                self.stream.receive_exactly(length).await?;
                (length, replaced())
            }
            found => found?,
        };
        self.count(length);
        Ok(text)
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
    pub async fn next(&self) -> Result<Option<String>> {
        or_end(self.receive().await)
    }

    fn count(&self, bytes: usize) {
        self.received.set(self.received.get() + bytes as u64);
    }
}

/// Returns the text at the front of `bytes`, or the number of bytes there that are none; `None` if
/// more bytes have to come.
fn piece(bytes: &[u8]) -> Option<Result<&str, usize>> {
    let text = bytes.utf8_chunks().next()?.valid();
    if !text.is_empty() {
        return Some(Ok(text));
    }
    std::str::from_utf8(bytes).err()?.error_len().map(Err)
}

impl<S: ByteSendStream> TextStream<S> {
    /// Sends all of `text`.
    ///
    /// # Errors
    ///
    /// As [`ByteSendStream::send`].
    ///
    /// # Cancel safety
    ///
    /// Some prefix of `text` was handed over; [`send_from`](Self::send_from) reports how much. Of
    /// a character that was begun the rest goes before whatever is sent next.
    pub async fn send(&self, mut text: &str) -> Result<()> {
        self.send_from(&mut text).await
    }

    /// Sends all of `rest`, and advances it past the text that was handed over: after an error, a
    /// drop or a cancel it has exactly the text that was not sent.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// Exactly the text no longer in `rest` was handed over, except that the last bytes of a
    /// character may be in the object; they go before whatever is sent next.
    pub async fn send_from(&self, rest: &mut &str) -> Result<()> {
        let text = *rest;
        let taken = |gone| {
            let mut end = gone;
            while !text.is_char_boundary(end) {
                end += 1;
            }
            *rest = &text[end..];
            end
        };
        let (stream, outgoing) = (&self.stream, &self.outgoing);
        outgoing.send(stream, text.as_bytes(), taken).await
    }

    async fn send_item(&self, item: &mut Option<String>) -> Result<()> {
        let Some(text) = item.clone() else {
            return Ok(());
        };
        let (stream, outgoing) = (&self.stream, &self.outgoing);
        outgoing.send_whole(stream, text.as_bytes(), item).await
    }
}

object_stream!([] TextStream<S>, String, String);

impl<S> fmt::Debug for TextStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TextStream");
        shown.field("received", &self.received.get());
        shown.finish_non_exhaustive()
    }
}
