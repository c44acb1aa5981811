//! A connected pair of byte streams inside one process: for tests, and for layers over any stream.
//!
//! ```text
//!   a ──send──> [ pipe: bytes, at most `capacity` ] ──receive──> b
//!   a <─receive─ [ pipe ] <──send── b
//! ```

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, Read};
use std::rc::Rc;
use std::task::{Poll, Waker, ready};

use super::{Data, Rest, byte_stream_face};
use crate::error::{Error, OsError, Result};
use crate::executor::wake_each;
use crate::room;
use crate::runtime::context;
use crate::runtime::wait::Wait;

/// Makes two connected streams; each holds at most `capacity` bytes (at least 1) that the other
/// has not received yet, and a send waits for room.
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
pub fn create_memory_byte_stream(capacity: usize) -> (MemoryStream, MemoryStream) {
    let pipe = || Rc::new(Pipe::new(capacity.max(1)));
    let (there, back) = (pipe(), pipe());
    let ours = Ends::new(Rc::clone(&back), Rc::clone(&there));
    let theirs = Ends::new(there, back);
    (MemoryStream { ends: ours }, MemoryStream { ends: theirs })
}

/// One end of a pair of in-memory byte streams; see [`create_memory_byte_stream`].
///
/// Not `Send`: both ends stay with their thread.
#[derive(Debug)]
pub struct MemoryStream {
    ends: Ends,
}

impl MemoryStream {
    #[allow(clippy::unused_self, reason = "sockets have something to keep there")]
    fn before_abort(&self) {}
}

/// One direction.
struct Pipe {
    capacity: usize,
    bytes: RefCell<VecDeque<u8>>,
    /// The sender has finished.
    ended: Cell<bool>,
    /// One of the two sides is gone without having finished.
    broken: Cell<bool>,
    receiver: Side,
    sender: Side,
}

/// Who uses one side of a pipe, and who waits there.
#[derive(Debug, Default)]
struct Side {
    busy: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Side {
    fn wake(&self) {
        let waiter = self.waiter.take();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

/// Shows no content.
impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe")
            .field("capacity", &self.capacity)
            .field("filled", &self.bytes.borrow().len())
            .field("ended", &self.ended.get())
            .field("broken", &self.broken.get())
            .finish_non_exhaustive()
    }
}

impl Pipe {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            bytes: RefCell::default(),
            ended: Cell::new(false),
            broken: Cell::new(false),
            receiver: Side::default(),
            sender: Side::default(),
        }
    }
}

/// What a memory stream holds.
#[derive(Debug)]
struct Ends {
    incoming: Rc<Pipe>,
    outgoing: Rc<Pipe>,
    aborted: Cell<bool>,
}

impl Ends {
    fn new(incoming: Rc<Pipe>, outgoing: Rc<Pipe>) -> Self {
        Self {
            incoming,
            outgoing,
            aborted: Cell::new(false),
        }
    }

    /// It is no socket.
    #[allow(clippy::unused_self, reason = "sockets have something to show")]
    fn plain(&self) -> Option<super::Plain<'_>> {
        None
    }

    async fn receive_into<'b>(&self, buf: &'b mut [u8]) -> Result<&'b mut [u8]> {
        let max = buf.len();
        // A queue of bytes never fails to be read, and this one is not empty.
        let got = self.receive_with(max, |bytes| bytes.read(buf)).await??;
        Ok(&mut buf[..got])
    }

    async fn receive_max(&self, max: usize) -> Result<Vec<u8>> {
        let max = max.min(super::RECEIVE_MAX);
        self.receive_with(max, |bytes| {
            let got = bytes.len().min(max);
            // Collecting would make room for eight bytes at least.
            let mut taken = Vec::with_capacity(got);
            taken.extend(bytes.drain(..got));
            taken
        })
        .await
    }

    /// Waits for bytes and lets `take` have some of them.
    async fn receive_with<T>(
        &self,
        max: usize,
        mut take: impl FnMut(&mut VecDeque<u8>) -> T,
    ) -> Result<T> {
        if max == 0 {
            let message = "a receive of at most 0 bytes can never give any";
            return Err(Error::invalid("receive", message));
        }
        let pipe = &*self.incoming;
        self.operate(&pipe.receiver, || {
            let mut bytes = pipe.bytes.borrow_mut();
            if bytes.is_empty() {
                let end = || match pipe.broken.get() {
                    true => broken("receive from"),
                    false => Error::EndOfStream,
                };
                return pipe.ended.get().then(|| Err(end()));
            }
            let taken = take(&mut bytes);
            room::shrink(&mut *bytes);
            drop(bytes);
            pipe.sender.wake();
            Some(Ok(taken))
        })
        .await
    }

    async fn send(&self, mut data: impl Data) -> Result<()> {
        let pipe = &*self.outgoing;
        self.operate(&pipe.sender, || {
            if pipe.ended.get() {
                return Some(Err(Error::Closed));
            }
            if pipe.broken.get() {
                return Some(Err(broken("send to")));
            }
            let mut bytes = pipe.bytes.borrow_mut();
            let room = pipe.capacity - bytes.len();
            let sent = hand_over(&mut data, room, &mut bytes);
            drop(bytes);
            if sent > 0 {
                pipe.receiver.wake();
            }
            data.is_empty().then_some(Ok(()))
        })
        .await
    }

    /// Claims a side of a pipe and tries until there is an outcome, waiting in between.
    async fn operate<T>(
        &self,
        side: &Side,
        mut attempt: impl FnMut() -> Option<Result<T>>,
    ) -> Result<T> {
        let mut claim = Claim { side, held: false };
        let mut wait = Wait::new(&"the other end of a memory stream");
        poll_fn(|cx| {
            context::poll_with(|core| {
                ready!(wait.admit(core, cx))?;
                claim.take(self.aborted.get())?;
                if let Some(outcome) = attempt() {
                    wait.done(core);
                    return Poll::Ready(outcome);
                }
                let old = side.waiter.replace(Some(cx.waker().clone()));
                drop(old);
                wait.pend(core, cx)
            })
        })
        .await
    }

    fn send_eof(&self) -> Result<()> {
        if self.aborted.get() {
            return Err(Error::Closed);
        }
        self.outgoing.ended.set(true);
        self.outgoing.receiver.wake();
        self.outgoing.sender.wake();
        Ok(())
    }

    async fn close(self) -> Result<()> {
        self.send_eof()
    }

    fn abort(&self) {
        if !self.aborted.replace(true) {
            self.let_go();
        }
    }

    /// The other end sees that it is broken behind what was sent.
    #[allow(clippy::unused_async, reason = "sockets wait here")]
    async fn reset(&self) -> Result<()> {
        self.outgoing.broken.set(true);
        self.abort();
        Ok(())
    }

    /// The other end sees the end of ours, and a broken pipe if it sends.
    fn let_go(&self) {
        self.outgoing.ended.set(true);
        self.incoming.broken.set(true);
        let lost = self.incoming.bytes.take();
        drop(lost);
        let pipes = [&self.incoming, &self.outgoing];
        let sides = pipes.iter().flat_map(|pipe| [&pipe.receiver, &pipe.sender]);
        wake_each(sides.filter_map(|side| side.waiter.take()));
    }
}

#[cold]
fn broken(operation: &'static str) -> Error {
    let cause = io::Error::from(io::ErrorKind::BrokenPipe);
    Error::Broken(OsError::new(operation, cause).at("the other end of a memory stream"))
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// The right to use one side of a pipe, given back when dropped.
struct Claim<'a> {
    side: &'a Side,
    held: bool,
}

impl Claim<'_> {
    fn take(&mut self, aborted: bool) -> Result<()> {
        if aborted {
            return Err(Error::Closed);
        }
        if !self.held && self.side.busy.replace(true) {
            return Err(Error::Busy);
        }
        self.held = true;
        Ok(())
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if self.held {
            self.side.busy.set(false);
            let waiter = self.side.waiter.take();
            drop(waiter);
        }
    }
}

/// Moves at most `room` bytes over and tells how many.
fn hand_over(data: &mut impl Data, room: usize, to: &mut VecDeque<u8>) -> usize {
    let mut sent = 0;
    let mut take = |part: &[u8]| {
        let now = part.len().min(room - sent);
        to.extend(&part[..now]);
        sent += now;
        sent < room
    };
    match data.rest() {
        Rest::One(part) => {
            take(part);
        }
        Rest::Many(parts) => {
            parts.iter().all(|part| take(part));
        }
    }
    data.advance(sent);
    sent
}

byte_stream_face!(MemoryStream, ends);
