//! Values as JSON, one a line: [`JsonLines`].

use std::borrow::Borrow;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use serde_core::Serialize;
use serde_core::de::DeserializeOwned;
use soloio::{Buffered, ByteReceiveStream, ByteSendStream, ByteStream, Error, Result};

use super::{LineError, Lines};
use crate::object::{object_stream, or_end};

/// The memory that an idle stream keeps for the next line.
const SPARE: usize = 4096;

/// Values as JSON, one a line (JSON Lines, NDJSON), over a byte stream: receives `R`, sends `W`.
///
/// Empty lines are skipped. As with every object stream over a byte stream, a cut receive loses
/// nothing, and a cut send leaves the rest of its line in the object; see
/// [`LengthPrefixed`](super::LengthPrefixed).
///
/// # Examples
///
/// ```
/// use soloio::{Error, create_memory_byte_stream};
/// use soloio_streams::JsonLines;
///
/// soloio::block_on(async {
///     let (ours, theirs) = create_memory_byte_stream(64);
///     let ours = JsonLines::<_, (String, u32)>::new(ours, 1_000);
///     theirs.send(b"[\"a\",1]\n{}\n[\"b\",2]\n").await?;
///     assert_eq!(ours.receive().await?, ("a".to_owned(), 1));
///     let bad = ours.receive().await.unwrap_err();
///     assert!(bad.to_string().starts_with("line 2, column 0: invalid type: map"), "{bad}");
///     assert_eq!(ours.receive().await?, ("b".to_owned(), 2)); // the next one is good
///
///     ours.send(&("c".to_owned(), 3)).await?;
///     assert_eq!(theirs.receive().await?, b"[\"c\",3]\n");
///     Ok::<_, Error>(())
/// })?;
/// # Ok::<_, Error>(())
/// ```
#[doc(alias("ndjson", "jsonl"))]
pub struct JsonLines<S, R, W = R> {
    lines: Lines<S>,
    /// Memory for the next line.
    spare: RefCell<Vec<u8>>,
    kind: PhantomData<fn(W) -> R>,
}

impl<S, R, W> JsonLines<S, R, W> {
    /// Values of at most `max` bytes each over `stream`.
    #[must_use]
    pub fn new(stream: S, max: usize) -> Self {
        Self {
            lines: Lines::new(stream, max),
            spare: RefCell::default(),
            kind: PhantomData,
        }
    }

    /// The byte stream below, with the bytes that were received and not requested yet.
    pub fn inner(&self) -> &Buffered<S> {
        self.lines.inner()
    }

    /// The lines below.
    #[must_use = "otherwise the bytes in the buffer are lost"]
    pub fn into_inner(self) -> Lines<S> {
        self.lines
    }

    /// The number of bytes of a value that a cut send has begun; the next send begins with them.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.lines.unsent()
    }
}

impl<S: ByteReceiveStream, R: DeserializeOwned, W> JsonLines<S, R, W> {
    /// Receives a value.
    ///
    /// # Errors
    ///
    /// * [`Error::Other`] with a [`LineError`] if the line is no such value: it has the number of
    ///   the line and the parser's message. The next receive continues after it.
    /// * Otherwise as [`Lines::receive`].
    ///
    /// # Cancel safety
    ///
    /// A dropped future has received nothing: bytes that have come stay in the object.
    pub async fn receive(&self) -> Result<R> {
        loop {
            let mut line = self.spare.take();
            if !self.lines.next_into(&mut line).await? {
                return Err(Error::EndOfStream);
            }
            let is_empty = line.trim_ascii().is_empty();
            let parsed = (!is_empty).then(|| serde_json::from_slice(&line));
            line.clear();
            line.shrink_to(SPARE);
            self.spare.replace(line);
            if let Some(parsed) = parsed {
                return parsed.map_err(|cause| self.bad(cause));
            }
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
    pub async fn next(&self) -> Result<Option<R>> {
        or_end(self.receive().await)
    }

    fn bad(&self, cause: serde_json::Error) -> Error {
        // The parser has seen one line only, and numbers it.
        let mut message = cause.to_string();
        message.truncate(message.rfind(" at line ").unwrap_or(message.len()));
        LineError::error(self.lines.received(), cause.column(), message, cause)
    }
}

impl<S: ByteSendStream, R, W: Serialize> JsonLines<S, R, W> {
    /// Sends a value, or a reference to one.
    ///
    /// # Errors
    ///
    /// [`Error::Other`] if JSON cannot have it, such as a map with keys that are not text; else as
    /// [`ByteSendStream::send`].
    ///
    /// # Cancel safety
    ///
    /// The value is not sent, or it was begun: then its rest goes before whatever is sent next.
    /// [`send_from`](Self::send_from) reports which of the two.
    pub async fn send(&self, value: impl Borrow<W>) -> Result<()> {
        self.send_from(&mut Some(value)).await
    }

    /// Sends the value that is in `value`, and takes it out when it is begun. With `None` nothing
    /// is sent.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// Nothing of a value that is still in `value` was sent. One that is no longer there was sent,
    /// or its rest is in the object and goes before whatever is sent next.
    pub async fn send_from(&self, value: &mut Option<impl Borrow<W>>) -> Result<()> {
        let Some(object) = value.as_ref() else {
            return Ok(());
        };
        let mut bytes = serde_json::to_vec(object.borrow()).map_err(Error::other)?;
        bytes.push(b'\n');
        let Lines {
            stream, outgoing, ..
        } = &self.lines;
        outgoing.send_whole(stream, &bytes, value).await
    }

    async fn send_item(&self, value: &mut Option<W>) -> Result<()> {
        self.send_from(value).await
    }
}

impl<S: ByteStream, R, W> JsonLines<S, R, W> {
    /// As [`Lines::send_eof`].
    ///
    /// # Errors
    ///
    /// As [`ByteStream::send_eof`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: another call continues.
    pub async fn send_eof(&self) -> Result<()> {
        self.lines.send_eof().await
    }

    /// As [`Lines::close`].
    ///
    /// # Errors
    ///
    /// As [`ByteStream::close`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future frees the stream; sent values and the end may not arrive.
    #[doc(alias = "aclose")]
    pub async fn close(self) -> Result<()> {
        self.lines.close().await
    }

    /// As [`Lines::abort`].
    #[doc(alias = "aclose_forcefully")]
    pub fn abort(&self) {
        self.lines.abort();
    }
}

object_stream!([R: DeserializeOwned, W: Serialize] JsonLines<S, R, W>, R, W);

impl<S, R, W> fmt::Debug for JsonLines<S, R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("JsonLines");
        shown.field("lines", &self.lines).finish_non_exhaustive()
    }
}
