//! One way of a relay between two plain sockets.
//!
//! A few bytes at a time are received into a buffer and sent from it: two calls. A full buffer
//! means that there are many bytes: then the kernel moves them through a pipe (Linux), until they
//! are few again. The runtime lends the buffer and the pipe while there are bytes in them.

use std::cell::Cell;
use std::io;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll};

use super::super::Plain;
use super::{Counts, Failed, Held, RelaySide, Way};
use crate::error::{Error, Result};
use crate::runtime::context::{self, Core};
use crate::runtime::operation::{Direction, Operation};
use crate::sys;
use crate::sys::room::Room;

/// The number of receives in one poll, so that the other way, and other tasks, have their turn.
const ROUNDS: usize = 16;

/// With fewer bytes than this in each receive, this often in a row, a way returns to buffers.
#[cfg(any(target_os = "linux", target_os = "android"))]
const FEW: (usize, u8) = (16 * 1024, 4);

/// One way while it runs.
#[derive(Debug)]
pub(super) struct Pump<'a> {
    from: Plain<'a>,
    to: Plain<'a>,
    receive: Operation<'a>,
    send: Operation<'a>,
    way: &'a mut Way,
    counts: &'a Counts,
    side: RelaySide,
    splice: bool,
}

/// The memory that one receive has filled.
#[derive(Debug, Default)]
struct Filled {
    buffer: Option<Box<[u8]>>,
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pipe: Option<sys::splice::Pipe>,
}

impl<'a> Pump<'a> {
    pub(super) fn new(
        (from, to): (Plain<'a>, Plain<'a>),
        way: &'a mut Way,
        counts: &'a Counts,
        side: RelaySide,
        splice: bool,
    ) -> Self {
        Self {
            from,
            to,
            receive: from.0.operation(Direction::Read),
            send: to.0.operation(Direction::Write),
            way,
            counts,
            side,
            splice,
        }
    }

    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<std::result::Result<(), Failed>> {
        for _ in 0..ROUNDS {
            if self.way.done {
                return Poll::Ready(Ok(()));
            }
            while self.way.held.length() > 0 {
                match self.poll_send(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => {
                        self.counts.failed(self.side.other(), &error);
                        return Poll::Ready(Err(Failed::of(self.side.other())(error)));
                    }
                }
            }
            if self.way.ended {
                self.to.0.end().map_err(Failed::of(self.side.other()))?;
                self.way.done = true;
                return Poll::Ready(Ok(()));
            }
            // With endless bytes, each operation must still check for a cancelled scope.
            self.receive.again();
            self.send.again();
            match self.poll_receive(cx) {
                Poll::Pending => {
                    self.way.held.give_back();
                    return Poll::Pending;
                }
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.counts.failed(self.side, &error);
                    self.way.held.give_back();
                    match error {
                        Error::EndOfStream => self.way.ended = true,
                        error => return Poll::Ready(Err(Failed::of(self.side)(error))),
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Receives into a buffer or a pipe.
    fn poll_receive(&mut self, cx: &Context<'_>) -> Poll<Result<()>> {
        let mut filled = Filled::of(&mut self.way.held);
        let (way, splice) = (&mut *self.way, self.splice);
        let mut call = |core: &Core, fd: BorrowedFd<'_>, is_unix| {
            filled.receive(core, (fd, is_unix), way, splice)
        };
        let polled = self
            .from
            .0
            .poll_receive_by(&mut self.receive, cx, &mut call);
        let length = match &polled {
            Poll::Ready(Ok(length)) => *length,
            _ => 0,
        };
        self.way.held = filled.into_held(length);
        polled.map_ok(drop)
    }

    /// Hands over some of the held bytes.
    fn poll_send(&mut self, cx: &Context<'_>) -> Poll<Result<()>> {
        let held = &mut self.way.held;
        let refused = Cell::new(false);
        let mut call = |_: &Core, fd: BorrowedFd<'_>| match &*held {
            Held::Nothing => Ok(0),
            Held::Bytes { data, at, end } => sys::socket::send(fd, &data[*at..*end]),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Held::Piped { pipe, length } => match pipe.drain(fd, *length) {
                Err(error) if sys::errno::is_refused_shortcut(&error) => {
                    refused.set(true);
                    Ok(0)
                }
                drained => drained,
            },
        };
        let polled = self.to.0.poll_send_by(&mut self.send, cx, &mut call);
        let sent = match polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(sent)) => sent,
        };
        if refused.get() {
            self.way.copies = true;
            held.unpipe().map_err(Error::from)?;
        }
        held.advance(sent);
        let moved = &self.counts.moved[self.side as usize];
        moved.set(moved.get() + sent as u64);
        Poll::Ready(Ok(()))
    }
}

impl Filled {
    /// Takes the memory of an empty `held` for reuse.
    fn of(held: &mut Held) -> Self {
        match std::mem::take(held) {
            Held::Nothing => Self::default(),
            Held::Bytes { data, .. } => Self {
                buffer: Some(data),
                ..Self::default()
            },
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Held::Piped { pipe, .. } => Self {
                pipe: Some(pipe),
                ..Self::default()
            },
        }
    }

    fn receive(
        &mut self,
        core: &Core,
        (fd, is_unix): (BorrowedFd<'_>, bool),
        way: &mut Way,
        splice: bool,
    ) -> io::Result<(usize, bool)> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if way.bulk && !way.copies && splice {
            if let Some(filled) = self.fill_pipe(core, fd, way)? {
                return Ok((filled, true));
            }
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        self.give_pipe(core);
        let buffer = self.buffer.get_or_insert_with(|| core.stores.take_buffer());
        let received = Room::new(buffer).receive(fd, is_unix, || core.scratch())?;
        way.bulk = splice && received.0 == buffer.len();
        Ok(received)
    }

    /// Lets the kernel move bytes into a pipe; `None` if it cannot, or there are none now.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn fill_pipe(
        &mut self,
        core: &Core,
        fd: BorrowedFd<'_>,
        way: &mut Way,
    ) -> io::Result<Option<usize>> {
        if self.pipe.is_none() {
            // Out of descriptors: a buffer is used instead.
            self.pipe = core.stores.take_pipe().ok();
        }
        let Some(pipe) = &self.pipe else {
            return Ok(None);
        };
        let filled = match pipe.fill(fd) {
            Err(error) if sys::errno::is_refused_shortcut(&error) => {
                way.copies = true;
                return Ok(None);
            }
            // Nothing there, or an urgent byte before the rest, which splice(2) never passes: a
            // receive into a buffer finds out.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            filled => filled?,
        };
        if let Some(buffer) = self.buffer.take() {
            core.stores.give_buffer(buffer);
        }
        way.few = if filled < FEW.0 { way.few + 1 } else { 0 };
        if way.few == FEW.1 {
            (way.few, way.bulk) = (0, false);
        }
        Ok(Some(filled))
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn give_pipe(&mut self, core: &Core) {
        if let Some(pipe) = self.pipe.take() {
            core.stores.give_pipe(pipe);
        }
    }

    /// Returns the memory that holds the `length` received bytes, if any.
    fn into_held(self, length: usize) -> Held {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(pipe) = self.pipe {
            return Held::Piped { pipe, length };
        }
        match self.buffer {
            Some(data) => Held::Bytes {
                data,
                at: 0,
                end: length,
            },
            None => Held::Nothing,
        }
    }
}

impl Held {
    fn length(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Bytes { at, end, .. } => end - at,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Self::Piped { length, .. } => *length,
        }
    }

    fn advance(&mut self, sent: usize) {
        match self {
            Self::Nothing => {}
            Self::Bytes { at, .. } => *at += sent,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Self::Piped { length, .. } => *length -= sent,
        }
    }

    /// Takes the bytes out of their pipe into a buffer.
    fn unpipe(&mut self) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Self::Piped { pipe, length } = self {
            let data = pipe.take(*length)?.into_boxed_slice();
            let end = data.len();
            *self = Self::Bytes { data, at: 0, end };
        }
        Ok(())
    }

    /// Gives an empty buffer or pipe back to the runtime, before a wait.
    fn give_back(&mut self) {
        let held = std::mem::take(self);
        // Outside a runtime they are freed.
        let Some(core) = context::current() else {
            return;
        };
        match held {
            // Bytes of other streams are in buffers of other sizes.
            Self::Bytes { data, .. } if data.len() == crate::runtime::stores::BUFFER => {
                core.stores.give_buffer(data);
            }
            Self::Nothing | Self::Bytes { .. } => {}
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Self::Piped { pipe, .. } => core.stores.give_pipe(pipe),
        }
    }
}
