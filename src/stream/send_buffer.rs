//! Collects bytes to be sent: [`SendBuffer`].

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::futures::send_all;
use super::{ByteStream, reset_now};
use crate::error::Result;
use crate::shown::shown;

/// Collects small pieces for a byte stream, which [`flush`](Self::flush) sends together.
///
/// Nothing is sent before that, and the size has no limit. A program that writes much has to flush
/// when there are many [`unsent`](Self::unsent) bytes. After a flush the memory is used again, up
/// to 4 KiB of it.
///
/// If it is dropped with unsent bytes, it [resets](ByteStream::reset) the stream, so that the peer
/// does not take the part that it has received for the whole. (A UNIX stream has no reset: its peer
/// sees an end.) Operations of the stream then end with [`Error::Closed`](crate::Error::Closed).
/// Call [`clear`](Self::clear) first if the bytes are not to be sent.
///
/// # Examples
///
/// ```
/// use soloio::{Buffered, Error, SendBuffer, create_memory_byte_stream};
///
/// soloio::block_on(async {
///     let (ours, theirs) = create_memory_byte_stream(64);
///     let client = Buffered::new(ours); // a reference sends, too, while it receives
///     let mut answers = SendBuffer::new(&client);
///     answers.write(b"+OK\r\n");
///     write!(answers, ":{}\r\n", 7);
///     answers.flush().await?;
///     assert_eq!(theirs.receive().await?, b"+OK\r\n:7\r\n");
///     Ok::<_, Error>(())
/// })?;
/// # Ok::<_, Error>(())
/// ```
#[must_use = "without a flush nothing is sent"]
pub struct SendBuffer<S: ByteStream> {
    stream: S,
    bytes: VecDeque<u8>,
}

impl<S: ByteStream> SendBuffer<S> {
    /// Makes an empty buffer in front of a stream.
    pub fn new(stream: S) -> Self {
        let bytes = VecDeque::new();
        Self { stream, bytes }
    }

    /// Appends data.
    pub fn write(&mut self, data: &[u8]) {
        self.bytes.extend(data);
    }

    /// Appends formatted text; called by `write!`.
    ///
    /// # Panics
    ///
    /// If the formatting of a value fails, as in [`format!`], or panics. Then nothing is appended.
    pub fn write_fmt(&mut self, text: fmt::Arguments<'_>) {
        let (length, bytes) = (self.bytes.len(), &mut self.bytes);
        let append = || (bytes.write_fmt(text)).expect("a value was not formatted");
        if let Err(panic) = catch_unwind(AssertUnwindSafe(append)) {
            self.bytes.truncate(length);
            resume_unwind(panic);
        }
    }

    /// Returns the number of bytes that were not sent yet.
    pub fn unsent(&self) -> usize {
        self.bytes.len()
    }

    /// Discards the bytes that were not sent yet.
    pub fn clear(&mut self) {
        self.bytes = VecDeque::new();
    }

    /// Sends everything; returns when it was handed over. With no data it still checks the state.
    ///
    /// # Errors
    ///
    /// As [`send`](crate::ByteSendStream::send). Bytes that were not handed over stay in the
    /// buffer.
    ///
    /// # Cancel safety
    ///
    /// Exactly the bytes no longer in the buffer were handed over; another call continues.
    pub async fn flush(&mut self) -> Result<()> {
        send_all(&self.stream, &mut self.bytes).await
    }
}

shown!([S: ByteStream] SendBuffer<S>, "SendBuffer", this => unsent: this.unsent(), ..);

impl<S: ByteStream> Drop for SendBuffer<S> {
    fn drop(&mut self) {
        if self.unsent() > 0 {
            reset_now(&self.stream);
        }
    }
}
