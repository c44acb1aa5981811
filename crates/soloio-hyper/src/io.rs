//! A byte stream with hyper's I/O traits: [`HyperIo`].

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
#[cfg(feature = "server")]
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use soloio::{ByteStream, Error, Io, Room, Sleep, sleep};

#[cfg(feature = "server")]
use crate::answers::Answers;

/// The free room that hyper's HTTP/1 wants in its buffer before each read.
const WANTED: usize = 8192;

/// How much more than that is little.
const LITTLE: usize = 2048;

/// How many reads a connection has with hyper's first buffer, of 8 KiB; those that go on are worth
/// one of twice that.
#[cfg(feature = "server")]
const FEW: u8 = 4;

/// A byte stream as hyper wants it; received straight into hyper's own buffers.
///
/// Made of a stream, of a reference to one, or of an `Rc` or `Arc`. It is `Send` if the stream is.
/// An error holds that of soloio: a cancelled scope ends hyper's connection with
/// [`soloio::Error::Cancelled`] in its error.
#[derive(Debug)]
pub struct HyperIo<S: ByteStream> {
    io: Io<S>,
    /// What was received before hyper had it.
    ahead: Vec<u8>,
    /// How much of that hyper has.
    handed: usize,
    /// How long a write may wait, and the wait if there is one.
    limit: Duration,
    stalled: Option<Box<Sleep>>,
    /// What it tells its connection, as a part of [`Http`](crate::Http).
    #[cfg(feature = "server")]
    answers: Option<Arc<Answers>>,
    /// How many reads there were, up to [`FEW`]; more than that over HTTP/2.
    #[cfg(feature = "server")]
    reads: u8,
}

impl<S: ByteStream> HyperIo<S> {
    /// Gives a stream hyper's traits.
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self::with(stream, Vec::new(), Duration::MAX)
    }

    /// The same with bytes that were received already, and a limit for writes that wait.
    pub(crate) fn with(stream: S, ahead: Vec<u8>, limit: Duration) -> Self {
        Self {
            io: Io::new(stream),
            ahead,
            handed: 0,
            limit,
            stalled: None,
            #[cfg(feature = "server")]
            answers: None,
            #[cfg(feature = "server")]
            reads: 0,
        }
    }

    /// Tells when answers wait for room, and keeps hyper's buffer (see [`Self::most`]).
    #[cfg(feature = "server")]
    pub(crate) fn telling(mut self, answers: &Arc<Answers>) -> Self {
        self.answers = Some(Arc::clone(answers));
        self
    }

    /// The same over HTTP/2, where hyper has its own buffers; tells each receive.
    #[cfg(feature = "server")]
    pub(crate) fn telling_all(mut self, answers: &Arc<Answers>) -> Self {
        self.reads = FEW + 1;
        self.telling(answers)
    }

    #[inline]
    #[cfg_attr(
        not(feature = "server"),
        allow(unused_variables, reason = "only a server's connection wants to know")
    )]
    fn set_blocked(&self, blocked: bool) {
        #[cfg(feature = "server")]
        if let Some(answers) = &self.answers {
            answers.set_blocked(blocked);
        }
    }

    #[inline]
    fn keeps_buffer(&self) -> bool {
        #[cfg(feature = "server")]
        return self.reads == FEW && self.answers.is_some();
        #[cfg(not(feature = "server"))]
        return false;
    }

    #[inline]
    fn count_read(&mut self) {
        #[cfg(feature = "server")]
        match &self.answers {
            Some(answers) if self.reads > FEW => answers.set_heard(true),
            _ if self.reads < FEW => self.reads += 1,
            _ => {}
        }
    }

    /// Returns how much to read if hyper's buffer has `free` room. hyper wants 8 KiB free for each
    /// read. If there is less while a request is alive, which is in the same memory, hyper takes
    /// new memory, for each request from then on. Between two requests it goes back to the
    /// beginning of its buffer, so that is where the room is used up: a read that would leave too
    /// little leaves one byte too little, and the next one comes at once.
    #[inline]
    fn most(&self, free: usize) -> usize {
        match free.checked_sub(WANTED - 1) {
            Some(most @ 1..=LITTLE) if self.keeps_buffer() => most,
            _ => free,
        }
    }

    /// The stream.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        self.io.get_ref()
    }

    /// The stream, and bytes that were received from it and that hyper has not asked for yet.
    #[must_use]
    pub fn into_inner(self) -> (S, Vec<u8>) {
        let ahead = self.ahead[self.handed..].to_vec();
        (self.io.into_inner(), ahead)
    }

    /// Gives hyper what was received before it.
    fn hand_over(&mut self, buf: &mut ReadBufCursor<'_>) {
        let rest = &self.ahead[self.handed..];
        let count = rest.len().min(self.most(buf.remaining()));
        buf.put_slice(&rest[..count]);
        self.handed += count;
        if self.handed == self.ahead.len() {
            (self.ahead, self.handed) = (Vec::new(), 0);
        }
    }

    /// Ends a write that waits for longer than the limit.
    fn limited<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<soloio::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(done) => {
                self.stalled = None;
                self.set_blocked(false);
                Poll::Ready(done.map_err(io::Error::from))
            }
            Poll::Pending => {
                self.set_blocked(true);
                let limit = self.limit;
                if limit == Duration::MAX {
                    return Poll::Pending;
                }
                let stalled = self.stalled.get_or_insert_with(|| Box::new(sleep(limit)));
                match Pin::new(&mut **stalled).poll(cx) {
                    Poll::Ready(Ok(())) => {
                        let late = "waiting for the peer to take what is sent";
                        Poll::Ready(Err(Error::timed_out(limit, late).into()))
                    }
                    // A cancel is told to the write itself.
                    Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}

impl<S: ByteStream> Read for HyperIo<S> {
    #[inline]
    #[allow(unsafe_code, reason = "hyper's memory need not be initialised")]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            this.count_read();
            this.hand_over(&mut buf);
            return Poll::Ready(Ok(()));
        }
        // SAFETY: a `Room` writes initialised bytes only, and never takes one back.
        let memory = unsafe { buf.as_mut() };
        let most = this.most(memory.len());
        let memory = &mut memory[..most];
        let (count, polled) = Room::fill(memory, |room| this.io.poll_receive(cx, room));
        // SAFETY: so many bytes at the front of the memory are initialised, says `fill`.
        unsafe { buf.advance(count) };
        if count > 0 {
            this.count_read();
        }
        polled.map_err(io::Error::from)
    }
}

impl<S: ByteStream> Write for HyperIo<S> {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = this.io.poll_send(cx, bufs);
        this.limited(cx, polled)
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = this.io.poll_flush(cx);
        this.limited(cx, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = this.io.poll_send_eof(cx);
        this.limited(cx, polled)
    }
}
