//! The part that an HTTP/1.1 server and a client share: a stream with a buffer on each side, and
//! bodies with a length or in chunks.

use std::{fmt, str};

use httparse::{EMPTY_HEADER, Header, Status, parse_chunk_size, parse_headers};
use soloio::{ByteStream, Error, Failure};

pub(crate) const HEAD_MAX: usize = 16 * 1024; // bytes of a first line and headers, or of trailers
pub(crate) const HEADERS_MAX: usize = 64;
const SEND_AT: usize = 64 << 10; // bytes of a body that do not wait for its end

/// An error of the protocol, or of the stream below.
#[derive(Debug)]
pub(crate) enum Failed {
    Malformed,
    TooLarge,
    Unsupported,
    Broken(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

impl From<httparse::Error> for Failed {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooLarge,
            httparse::Error::Version => Self::Unsupported,
            _ => Self::Malformed,
        }
    }
}

impl Failure for Failed {
    fn is_cancelled(&self) -> bool {
        matches!(self, Self::Broken(error) if error.is_cancelled())
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the peer does not speak HTTP/1.1"),
            Self::TooLarge => f.write_str("the message is too large"),
            Self::Unsupported => f.write_str("a version or coding that is not supported"),
            Self::Broken(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failed {}

/// The rest of a message's body.
#[derive(Debug)]
pub(crate) struct Body {
    kind: Kind,
    /// Bytes of the body, or of its present chunk.
    left: usize,
    /// Bytes received so far.
    pub(crate) total: usize,
    max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Ended,
    Length,
    /// The next chunk's size comes after this many bytes of a line's end.
    Chunks(usize),
    UntilClose,
}

impl Body {
    /// Returns the body that the headers announce, of at most `max` bytes. Without an announcement
    /// there is no body, or it ends with the connection. Two lengths, or a length beside chunks,
    /// are the sign of an attack (RFC 9112, 6.3).
    pub(crate) fn of(
        headers: &[Header<'_>],
        max: usize,
        until_close: bool,
    ) -> Result<Self, Failed> {
        let mut lengths = values(headers, "content-length");
        let mut codings = values(headers, "transfer-encoding");
        let (kind, left) = match (lengths.next(), codings.next()) {
            (None, None) if until_close => (Kind::UntilClose, max),
            (None, None) => (Kind::Length, 0),
            (Some(length), None) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                (Kind::Length, length.parse().map_err(|_| Failed::Malformed)?)
            }
            (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => (Kind::Chunks(0), 0),
            (None, Some(_)) => return Err(Failed::Unsupported),
            _ => return Err(Failed::Malformed),
        };
        if lengths.next().is_some() || codings.next().is_some() {
            return Err(Failed::Malformed);
        }
        let total = 0;
        let mut body = Self {
            kind,
            left,
            total,
            max,
        };
        if kind == Kind::Length {
            body.expect(left)?;
        }
        Ok(body)
    }

    /// Expects `left` bytes next.
    fn expect(&mut self, left: usize) -> Result<(), Failed> {
        if left > self.max - self.total {
            return Err(Failed::TooLarge);
        }
        self.left = left;
        if left == 0 {
            self.kind = Kind::Ended;
        }
        Ok(())
    }
}

/// Returns the values of all headers of this name.
pub(crate) fn values<'h>(headers: &'h [Header<'_>], name: &str) -> impl Iterator<Item = &'h str> {
    let named = headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| str::from_utf8(header.value).unwrap_or("?").trim())
}

/// True if one of the headers of this name lists the word.
pub(crate) fn lists(headers: &[Header<'_>], name: &str, word: &str) -> bool {
    let mut words = values(headers, name).flat_map(|value| value.split(','));
    words.any(|listed| listed.trim().eq_ignore_ascii_case(word))
}

/// The stream, with received bytes that were not used yet, and with bytes that were not sent yet.
pub(crate) struct Wire<S> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
    used: usize,
    filled: usize,
    pub(crate) output: Vec<u8>,
}

impl<S: ByteStream> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        let (buffer, output) = (vec![0; 4096], Vec::new());
        Self {
            stream,
            buffer,
            used: 0,
            filled: 0,
            output,
        }
    }

    pub(crate) fn input(&self) -> &[u8] {
        &self.buffer[self.used..self.filled]
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.used += count;
    }

    /// Receives more bytes into the buffer; returns false at the peer's end.
    pub(crate) async fn fill(&mut self) -> Result<bool, Error> {
        self.buffer.copy_within(self.used..self.filled, 0);
        (self.used, self.filled) = (0, self.filled - self.used);
        if self.filled == self.buffer.len() {
            self.buffer.resize(2 * self.filled, 0);
        }
        match self
            .stream
            .receive_into(&mut self.buffer[self.filled..])
            .await
        {
            Ok(received) => self.filled += received.len(),
            Err(Error::EndOfStream) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        if !self.output.is_empty() {
            self.stream.send(&self.output).await?;
            self.output.clear();
        }
        Ok(())
    }

    /// Receives more of a message that has begun.
    pub(crate) async fn more(&mut self) -> Result<(), Failed> {
        self.flush().await?;
        match self.fill().await? {
            true => Ok(()),
            false => {
                let received = self.filled - self.used;
                Err(Failed::Broken(Error::IncompleteRead(received)))
            }
        }
    }

    /// Receives the next part of a body, which replaces the content of `part`; returns false at its
    /// end.
    pub(crate) async fn part(
        &mut self,
        body: &mut Body,
        part: &mut Vec<u8>,
    ) -> Result<bool, Failed> {
        loop {
            let input = self.input();
            match body.kind {
                Kind::Ended => return Ok(false),
                Kind::Chunks(skip) if body.left == 0 => match chunk_head(input, skip)? {
                    Some((length, size)) => {
                        self.consume(length);
                        body.kind = Kind::Chunks(2);
                        body.expect(usize::try_from(size).map_err(|_| Failed::TooLarge)?)?;
                    }
                    None => self.more().await?,
                },
                Kind::UntilClose if input.is_empty() => {
                    if !self.fill().await? {
                        body.kind = Kind::Ended;
                    }
                }
                _ if input.is_empty() => self.more().await?,
                Kind::UntilClose if input.len() > body.left => return Err(Failed::TooLarge),
                kind => {
                    let count = input.len().min(body.left);
                    part.clear();
                    part.extend(&input[..count]);
                    self.consume(count);
                    body.left -= count;
                    body.total += count;
                    if kind == Kind::Length && body.left == 0 {
                        body.kind = Kind::Ended;
                    }
                    return Ok(true);
                }
            }
        }
    }

    /// Sends a part of a body: as a chunk, or unchanged to a peer without support for chunks.
    pub(crate) async fn send_part(&mut self, part: &[u8], chunked: bool) -> Result<(), Error> {
        if chunked {
            self.output.extend(format!("{:x}\r\n", part.len()).bytes());
        }
        self.output.extend(part);
        if chunked {
            self.output.extend(b"\r\n");
        }
        if self.output.len() < SEND_AT {
            return Ok(());
        }
        self.flush().await
    }
}

/// Parses the line between two chunks: returns its length and the next chunk's size. After the last
/// chunk, which has size 0, the length includes the trailers. Returns `None` if it is not complete.
fn chunk_head(input: &[u8], skip: usize) -> Result<Option<(usize, u64)>, Failed> {
    if !input.starts_with(&b"\r\n"[..skip.min(input.len())]) {
        return Err(Failed::Malformed);
    }
    let mut found = None;
    if let Some(line) = input.get(skip..) {
        let size = parse_chunk_size(line).map_err(|_| Failed::Malformed)?;
        if let Status::Complete((length, size)) = size {
            let mut trailers = [EMPTY_HEADER; HEADERS_MAX];
            found = match size {
                1.. => Some((skip + length, size)),
                0 => match parse_headers(&line[length..], &mut trailers)? {
                    Status::Complete((rest, _)) => Some((skip + length + rest, 0)),
                    Status::Partial => None,
                },
            };
        }
    }
    if found.is_none() && input.len() > HEAD_MAX {
        return Err(Failed::TooLarge);
    }
    Ok(found)
}
