//! A connected pair of byte streams inside one process: for tests, and for layers over any stream.
//!
//! ```text
//!   a ──send──> [ pipe: bytes, at most `capacity` ] ──receive──> b
//!   a <─receive─ [ pipe ] <──send── b
//! ```

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};

use super::{ByteReceiveStream, ByteSendStream, ByteStream, Half, byte_stream_face, no_room};
use crate::error::{Error, Result};
use crate::executor::wake_each;
use crate::room;
use crate::runtime::place::Place;
use crate::shown::shown;
use crate::sys::room::Room;

/// Makes two connected streams. Each buffers at most `capacity` bytes (at least 1) that the other
/// one has not received yet; a send waits for room.
///
/// # Examples
///
/// ```
/// soloio::block_on(async {
///     let (ours, theirs) = soloio::create_memory_byte_stream(64);
///     ours.send(b"ping").await?;
///     ours.send_eof().await?;
///     assert_eq!(theirs.receive().await?, b"ping");
///     assert!(theirs.next().await?.is_none());
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[inline]
pub fn create_memory_byte_stream(capacity: usize) -> (MemoryStream, MemoryStream) {
    let pipe = || Rc::new(Pipe::new(capacity.max(1)));
    let (there, back) = (pipe(), pipe());
    let ours = MemoryStream::new(Rc::clone(&back), Rc::clone(&there));
    (ours, MemoryStream::new(there, back))
}

/// One end of a pair of in-memory byte streams; see [`create_memory_byte_stream`].
///
/// Not `Send`: both ends stay with their thread.
#[derive(Debug)]
pub struct MemoryStream {
    incoming: Rc<Pipe>,
    outgoing: Rc<Pipe>,
    aborted: Cell<bool>,
}

byte_stream_face!(MemoryStream, [], [], []);

/// One direction.
#[derive(Default)]
struct Pipe {
    capacity: usize,
    bytes: RefCell<VecDeque<u8>>,
    /// The sender has finished.
    ended: Cell<bool>,
    /// One of the two sides was dropped without having finished.
    broken: Cell<bool>,
    receiver: Half,
    sender: Half,
}

// Shows only the number of bytes.
shown!(
    [] Pipe, "Pipe", this =>
    capacity: this.capacity,
    filled: this.bytes.borrow().len(),
    ended: this.ended.get(),
    broken: this.broken.get(),
    ..
);

impl Pipe {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            ..Self::default()
        }
    }

    /// Moves the buffered bytes into `room`; `None` if there are none.
    #[inline]
    fn take(&self, room: &mut Room<'_>) -> Option<Result<()>> {
        let mut bytes = self.bytes.borrow_mut();
        if bytes.is_empty() {
            let end = || match self.broken.get() {
                true => broken("receive from"),
                false => Error::EndOfStream,
            };
            return self.ended.get().then(|| Err(end()));
        }
        let (front, back) = bytes.as_slices();
        let got = room.put_before(front, back.len()) + room.put(back);
        bytes.drain(..got);
        room::shrink(&mut *bytes);
        drop(bytes);
        self.sender.wake();
        Some(Ok(()))
    }

    /// Accepts the prefix of `parts` that fits; `None` if there is no room.
    #[inline]
    fn put(&self, parts: &[IoSlice<'_>]) -> Option<Result<usize>> {
        if self.ended.get() {
            return Some(Err(Error::Closed));
        }
        if self.broken.get() {
            return Some(Err(broken("send to")));
        }
        let mut bytes = self.bytes.borrow_mut();
        let mut sent = 0;
        for part in parts {
            let room = self.capacity - bytes.len();
            if room == 0 {
                break;
            }
            let now = part.len().min(room);
            bytes.extend(&part[..now]);
            sent += now;
        }
        drop(bytes);
        if sent > 0 {
            self.receiver.wake();
            return Some(Ok(sent));
        }
        parts.iter().all(|part| part.is_empty()).then_some(Ok(0))
    }
}

impl MemoryStream {
    fn new(incoming: Rc<Pipe>, outgoing: Rc<Pipe>) -> Self {
        Self {
            incoming,
            outgoing,
            aborted: Cell::new(false),
        }
    }

    fn open(&self) -> Result<()> {
        match self.aborted.get() {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }

    /// Ends both directions: the other end sees the end of ours, and a broken pipe if it sends.
    #[inline]
    fn let_go(&self) {
        self.outgoing.ended.set(true);
        self.incoming.broken.set(true);
        drop(self.incoming.bytes.take());
        let pipes = [&self.incoming, &self.outgoing];
        let sides = pipes.iter().flat_map(|pipe| [&pipe.receiver, &pipe.sender]);
        wake_each(sides.filter_map(|side| side.waiter.take()));
    }
}

impl ByteReceiveStream for MemoryStream {
    #[inline]
    fn poll_receive(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        room: &mut Room<'_>,
    ) -> Poll<Result<()>> {
        if room.remaining() == 0 {
            return Poll::Ready(Err(no_room()));
        }
        let pipe = &*self.incoming;
        pipe.receiver
            .poll(place, cx, || self.open(), || pipe.take(room))
    }

    fn leave_receive(&self, place: &mut Place) {
        self.incoming.receiver.leave(place);
    }
}

impl ByteSendStream for MemoryStream {
    #[inline]
    fn poll_send(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let pipe = &*self.outgoing;
        pipe.sender
            .poll(place, cx, || self.open(), || pipe.put(parts))
    }

    fn poll_flush(&self, _: &mut Place, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn leave_send(&self, place: &mut Place) {
        self.outgoing.sender.leave(place);
    }
}

impl ByteStream for MemoryStream {
    #[inline]
    fn poll_send_eof(&self, _: &mut Place, _: &mut Context<'_>) -> Poll<Result<()>> {
        self.open()?;
        self.outgoing.ended.set(true);
        self.outgoing.receiver.wake();
        self.outgoing.sender.wake();
        Poll::Ready(Ok(()))
    }

    async fn close(self) -> Result<()> {
        self.send_eof().await
    }

    fn abort(&self) {
        if !self.aborted.replace(true) {
            self.let_go();
        }
    }

    /// Breaks our direction: the other end receives the sent data, and then an error.
    async fn reset(&self) -> Result<()> {
        // An end that was sent stays one.
        let pipe = &self.outgoing;
        pipe.broken.set(pipe.broken.get() || !pipe.ended.get());
        self.abort();
        Ok(())
    }
}

#[cold]
fn broken(operation: &'static str) -> Error {
    let cause = io::Error::from(io::ErrorKind::BrokenPipe);
    Error::broken(operation, "the other end of a memory stream", cause)
}

impl Drop for MemoryStream {
    #[inline]
    fn drop(&mut self) {
        self.let_go();
    }
}
