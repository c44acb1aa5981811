//! Text, one object a line: [`Lines`].

use std::cell::Cell;
use std::fmt;
use std::io;

use soloio::{Buffered, ByteReceiveStream, ByteSendStream, Result};

use super::LineError;
use crate::layer::over_a_byte_stream;
use crate::object::{object_stream, or_end};
use crate::outgoing::Outgoing;

/// Lines of text (UTF-8) over a byte stream.
///
/// A received line ends with `\n` or `\r\n`, a sent one with `\n`, or `\r\n` after
/// [`crlf`](Self::crlf). As with every object stream over a byte stream, a cut receive loses
/// nothing, and a cut send leaves the rest of its line in the object; see
/// [`LengthPrefixed`](super::LengthPrefixed). To receive many lines without an allocation each, use
/// [`Buffered::next_line`].
///
/// # Examples
///
/// ```
/// use soloio::{Error, create_memory_byte_stream};
/// use soloio_streams::Lines;
///
/// soloio::block_on(async {
///     let (ours, theirs) = create_memory_byte_stream(64);
///     let (ours, theirs) = (Lines::new(ours, 80), Lines::new(theirs, 80).crlf());
///     ours.send("HELO me").await?;
///     assert_eq!(theirs.receive().await?, "HELO me");
///     theirs.send("250 Grüß Gott").await?;
///     assert_eq!(ours.receive().await?, "250 Grüß Gott");
///     Ok::<_, Error>(())
/// })?;
/// # Ok::<_, Error>(())
/// ```
pub struct Lines<S> {
    pub(super) stream: Buffered<S>,
    pub(super) outgoing: Outgoing,
    max: usize,
    end: &'static str,
    /// The number of received lines.
    received: Cell<u64>,
}

impl<S> Lines<S> {
    /// Lines of at most `max` bytes over `stream`.
    #[must_use]
    pub fn new(stream: S, max: usize) -> Self {
        Self {
            stream: Buffered::new(stream),
            outgoing: Outgoing::default(),
            max,
            end: "\n",
            received: Cell::new(0),
        }
    }

    /// Ends each sent line with `\r\n`, as the text protocols of the Internet do.
    #[must_use]
    pub fn crlf(mut self) -> Self {
        self.end = "\r\n";
        self
    }

    /// The number of lines that were received.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.get()
    }
}

over_a_byte_stream!([] Lines<S>);

impl<S: ByteReceiveStream> Lines<S> {
    /// Receives a line, without its end.
    ///
    /// # Errors
    ///
    /// * [`Error::EndOfStream`](soloio::Error::EndOfStream) after the last line.
    ///   [`Error::IncompleteRead`](soloio::Error::IncompleteRead) if that has no `\n`, because it
    ///   may have been cut: `inner().buffer()` has it.
    /// * [`Error::Other`](soloio::Error::Other) with a [`LineError`] if the line is not UTF-8. The
    ///   next receive continues after it.
    /// * [`Error::DelimiterNotFound`](soloio::Error::DelimiterNotFound) if it is longer than the
    ///   limit, which the error has. The bytes stay where they are.
    /// * Otherwise as [`ByteReceiveStream::receive`].
    ///
    /// # Cancel safety
    ///
    /// A dropped future has received nothing: bytes that have come stay in the object.
    pub async fn receive(&self) -> Result<String> {
        let mut line = Vec::new();
        match self.next_into(&mut line).await? {
            true => self.text(line),
            false => Err(soloio::Error::EndOfStream),
        }
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

    /// Receives and counts the bytes of a line; false at the end.
    pub(super) async fn next_into(&self, line: &mut Vec<u8>) -> Result<bool> {
        let came = self.stream.next_line(line, self.max).await?;
        self.received.set(self.received() + u64::from(came));
        Ok(came)
    }

    fn text(&self, line: Vec<u8>) -> Result<String> {
        String::from_utf8(line).map_err(|cause| {
            let column = cause.utf8_error().valid_up_to() + 1;
            let message = "the text is not UTF-8".to_owned();
            LineError::error(self.received(), column, message, cause)
        })
    }
}

impl<S: ByteSendStream> Lines<S> {
    /// Sends a line, and its end.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it contains `\n`, or ends with `\r`: it would not be received as this
    /// line. Otherwise as [`ByteSendStream::send`].
    ///
    /// # Cancel safety
    ///
    /// The line is not sent, or it was begun: then its rest goes before whatever is sent next.
    /// [`send_from`](Self::send_from) reports which of the two.
    pub async fn send(&self, line: impl AsRef<str>) -> Result<()> {
        self.send_from(&mut Some(line)).await
    }

    /// Sends the line that is in `line`, and takes it out when it is begun. With `None` nothing is
    /// sent.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// Nothing of a line that is still in `line` was sent. One that is no longer there was sent, or
    /// its rest is in the object and goes before whatever is sent next.
    pub async fn send_from(&self, line: &mut Option<impl AsRef<str>>) -> Result<()> {
        let Some(text) = line.as_ref().map(AsRef::as_ref) else {
            return Ok(());
        };
        if text.contains('\n') || text.ends_with('\r') {
            let message = "a line must not contain a newline, or end with a carriage return";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message).into());
        }
        let bytes = [text, self.end].concat();
        let (stream, outgoing) = (&self.stream, &self.outgoing);
        outgoing.send_whole(stream, bytes.as_bytes(), line).await
    }

    async fn send_item(&self, line: &mut Option<String>) -> Result<()> {
        self.send_from(line).await
    }
}

object_stream!([] Lines<S>, String, String);

impl<S> fmt::Debug for Lines<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Lines");
        shown.field("received", &self.received());
        shown.field("max", &self.max).finish_non_exhaustive()
    }
}
