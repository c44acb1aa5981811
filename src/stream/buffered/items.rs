//! Receives what a delimiter ends, or what a parser finds.

use std::future::{Future, poll_fn};
use std::task::Poll;

use super::{Buffered, Parsing};
use crate::error::{Error, Result};
use crate::runtime::context;
use crate::stream::{ByteReceiveStream, or_end};
use crate::sys::search;

impl<S: ByteReceiveStream> Buffered<S> {
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

    /// The same as [`receive_until`](Self::receive_until), into `line`, whose contents are replaced
    /// when the delimiter has come. A loop over many lines uses the same memory for each.
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
    pub fn receive_until_into(
        &self,
        line: &mut Vec<u8>,
        delimiter: &[u8],
        max: usize,
    ) -> impl Future<Output = Result<()>> {
        let mut later = None;
        poll_fn(move |cx| {
            if later.is_none() && self.take_until(line, delimiter, max) {
                return Poll::Ready(Ok(()));
            }
            apart(|| {
                let new = || (Parsing::new(self, limit(delimiter, max)), 0);
                let (parsing, searched) = later.get_or_insert_with(new);
                let each = |found: &[u8]| found.clone_into(line);
                let items = delimited(delimiter, max, searched, 1, each);
                parsing.poll(cx, items).map_ok(drop)
            })
        })
    }

    /// The usual case of a line after another one: the delimiter is in the buffer, and all is calm.
    #[inline(always)]
    fn take_until(&self, line: &mut Vec<u8>, delimiter: &[u8], max: usize) -> bool {
        if self.aborted.get() || self.receiving.is_held() {
            return false;
        }
        let mut ahead = self.ahead.borrow_mut();
        let bytes = ahead.as_slice();
        match position(bytes, delimiter) {
            Some(at) if at <= max && context::pass_if_calm() => {
                bytes[..at].clone_into(line);
                ahead.skip(at + delimiter.len());
                true
            }
            _ => false,
        }
    }

    /// Receives all whole items that have come, at least one. Each ends with `delimiter`. Calls
    /// `each` with every item, without its delimiter and without copying it, and returns their
    /// number. At most `max` bytes may precede the first delimiter. One call takes no more than
    /// these and a delimiter from the stream or the buffer.
    ///
    /// If `max` has room for many items, this is the quickest way to serve pipelined requests
    /// whose answers are sent together.
    ///
    /// # Errors
    ///
    /// As [`receive_until`](Self::receive_until); then `each` was not called.
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
    ///     theirs.send(b"one\ntwo\nthr").await?;
    ///     let (ours, mut lengths) = (Buffered::new(ours), Vec::new());
    ///     let count = ours.receive_each(b"\n", 100, |line| lengths.push(line.len())).await?;
    ///     assert_eq!((count, &lengths[..]), (2, &[3, 3][..]));
    ///     theirs.send(b"ee\n").await?;
    ///     ours.receive_each(b"\n", 100, |line| lengths.push(line.len())).await?;
    ///     assert_eq!(lengths, [3, 3, 5]);
    ///     Ok::<_, Error>(())
    /// })?;
    /// # Ok::<_, Error>(())
    /// ```
    pub async fn receive_each(
        &self,
        delimiter: &[u8],
        max: usize,
        each: impl FnMut(&[u8]),
    ) -> Result<usize> {
        let mut searched = 0;
        let items = delimited(delimiter, max, &mut searched, usize::MAX, each);
        self.parsed(limit(delimiter, max), items).await
    }

    /// Receives the next line into `line`, without its `\n` or `\r\n`; at most `max` bytes precede
    /// the `\n`. Returns false at the end of the stream.
    ///
    /// # Errors
    ///
    /// As [`receive_until`](Self::receive_until), except for the end. A last line without `\n` is
    /// [`Error::IncompleteRead`], because it may have been cut; [`buffer`](Self::buffer) has it.
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
    ///     theirs.send(b"one\r\ntwo\n").await?;
    ///     theirs.send_eof().await?;
    ///     let (ours, mut line, mut lines) = (Buffered::new(ours), Vec::new(), Vec::new());
    ///     while ours.next_line(&mut line, 100).await? {
    ///         lines.push(line.clone());
    ///     }
    ///     assert_eq!(lines, [b"one", b"two"]);
    ///     Ok::<_, Error>(())
    /// })?;
    /// # Ok::<_, Error>(())
    /// ```
    #[doc(alias("lines", "read_line"))]
    pub async fn next_line(&self, line: &mut Vec<u8>, max: usize) -> Result<bool> {
        let came = or_end(self.receive_until_into(line, b"\n", max).await)?;
        if came.is_some() && line.ends_with(b"\r") {
            line.pop();
        }
        Ok(came.is_some())
    }

    /// Receives an item that `parse` finds at the front of the received bytes, without copying
    /// them. `parse` is called with the bytes in the buffer. It returns `None` if they do not
    /// suffice; then it is called again with all of them when more have come, at most `max`.
    /// Otherwise it returns its result and the number of bytes that it has used, which are removed.
    ///
    /// One call of `parse` may use the bytes of several items. If it uses 0 bytes, it has only
    /// looked at them. A parser that may fail returns a `Result` as its result.
    ///
    /// # Errors
    ///
    /// * [`Error::DelimiterNotFound`] if `max` bytes do not suffice.
    /// * [`Error::EndOfStream`] if the stream has ended and nothing is left,
    ///   [`Error::IncompleteRead`] if it has ended before the bytes sufficed.
    /// * Otherwise as [`receive`](Self::receive).
    ///
    /// Received bytes stay in the buffer.
    ///
    /// # Panics
    ///
    /// If `parse` has used more bytes than it was given.
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
    /// /// A byte with the length, and that many bytes.
    /// fn sum(bytes: &[u8]) -> Option<(usize, u32)> {
    ///     let (length, rest) = bytes.split_first()?;
    ///     let body = rest.get(..usize::from(*length))?;
    ///     Some((1 + body.len(), body.iter().map(|byte| u32::from(*byte)).sum()))
    /// }
    ///
    /// soloio::block_on(async {
    ///     let (ours, theirs) = create_memory_byte_stream(64);
    ///     theirs.send(&[2, 10, 20, 1, 5]).await?;
    ///     let ours = Buffered::new(ours);
    ///     let peeked = ours.receive_with(1, |bytes| Some((0, bytes[0]))).await?;
    ///     assert_eq!(peeked, 2);
    ///     assert_eq!(ours.receive_with(256, sum).await?, 30);
    ///     assert_eq!(ours.receive_with(256, sum).await?, 5);
    ///     Ok::<_, Error>(())
    /// })?;
    /// # Ok::<_, Error>(())
    /// ```
    #[doc(alias("peek", "decode", "frame"))]
    pub fn receive_with<T>(
        &self,
        max: usize,
        mut parse: impl FnMut(&[u8]) -> Option<(usize, T)>,
    ) -> impl Future<Output = Result<T>> {
        self.parsed(max, move |bytes: &[u8]| {
            let found = (!bytes.is_empty()).then(|| parse(bytes)).flatten();
            let used = found.as_ref().map_or(0, |(used, _)| *used);
            assert!(used <= bytes.len(), "{used} of {} bytes used", bytes.len());
            Ok(found)
        })
    }
}

/// Returns the number of bytes that an item may have with its delimiter; 0 if that is empty, which
/// is an error even if no bytes come.
fn limit(delimiter: &[u8], max: usize) -> usize {
    match delimiter.len() {
        0 => 0,
        more => max.saturating_add(more),
    }
}

/// Parses items that `delimiter` ends, 1 to `most` of them: calls `each` with them, and returns
/// their number. It searches no byte twice: the first `searched` were.
#[inline]
fn delimited(
    delimiter: &[u8],
    max: usize,
    searched: &mut usize,
    most: usize,
    mut each: impl FnMut(&[u8]),
) -> impl FnMut(&[u8]) -> Result<Option<(usize, usize)>> {
    move |bytes| {
        let (mut used, mut from, mut count) = (0, *searched, 0);
        while let Some(at) = position(&bytes[from..], delimiter) {
            each(&bytes[used..from + at]);
            (used, count) = (from + at + delimiter.len(), count + 1);
            from = used;
            if count == most {
                break;
            }
        }
        if count > 0 {
            return Ok(Some((used, count)));
        }
        if delimiter.is_empty() {
            return Err(Error::invalid("receive", "an empty delimiter"));
        }
        // The searched bytes may end with the beginning of the delimiter.
        *searched = (bytes.len() + 1).saturating_sub(delimiter.len());
        if bytes.len() == limit(delimiter, max) {
            return Err(Error::DelimiterNotFound(max));
        }
        Ok(None)
    }
}

/// Returns the first position of `what`; `None` if it is empty.
#[inline]
fn position(data: &[u8], what: &[u8]) -> Option<usize> {
    match what {
        [byte] => search::position(data, *byte),
        what => position_of(data, what),
    }
}

/// The same for what is longer than a byte, or empty. Searches for its last byte.
fn position_of(data: &[u8], what: &[u8]) -> Option<usize> {
    let (last, before) = what.split_last()?;
    let mut end = before.len();
    loop {
        end += search::position(data.get(end..)?, *last)?;
        if data[..end].ends_with(before) {
            return Some(end - before.len());
        }
        end += 1;
    }
}

/// Calls `f`. Not inlined, because the usual line needs none of this code.
#[inline(never)]
fn apart<T>(f: impl FnOnce() -> T) -> T {
    f()
}
