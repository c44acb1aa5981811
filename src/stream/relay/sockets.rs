//! One way of a relay between two plain sockets.
//!
//! A few bytes at a time are received into a buffer and sent from it: two calls. A full buffer
//! means that there are many bytes: then the kernel moves them through a pipe (Linux), until they
//! are few again. The runtime lends the buffer and the pipe while there are bytes in them.

use std::cell::Cell;
use std::io;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll, ready};

use super::super::{Plain, lawful};
use super::{Counts, Ended, Held, RelaySide, Way};
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

    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<Ended> {
        for _ in 0..ROUNDS {
            if self.way.done {
                return Poll::Ready(Ok(()));
            }
            while self.way.held.length() > 0 {
                let sent = ready!(self.poll_send(cx));
                sent.map_err(|error| self.counts.failed(self.side.other(), error))?;
            }
            if self.way.ended {
                let ended = self.to.0.end();
                ended.map_err(|error| self.counts.failed(self.side.other(), error))?;
                self.way.done = true;
                return Poll::Ready(Ok(()));
            }
            // With endless bytes, each operation must still check for a cancelled scope.
            self.receive.again();
            self.send.again();
            let received = self.poll_receive(cx);
            if !matches!(received, Poll::Ready(Ok(()))) {
                self.way.held.give_back();
            }
            if let Err(error) = ready!(received) {
                match self.counts.failed(self.side, error) {
                    failed if failed.error.is_end_of_stream() => self.way.ended = true,
                    failed => return Poll::Ready(Err(failed)),
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Receives into a buffer or a pipe.
    fn poll_receive(&mut self, cx: &Context<'_>) -> Poll<Result<()>> {
        let (way, splice) = (&mut *self.way, self.splice);
        let mut call =
            |core: &Core, fd: BorrowedFd<'_>, is_unix| way.receive(core, (fd, is_unix), splice);
        let Plain(from) = self.from;
        let polled = from.poll_receive_by(&mut self.receive, cx, &mut call);
        let held = &mut self.way.held;
        (held.at, held.end) = (0, 0);
        polled.map_ok(|length| held.end = length)
    }

    /// Hands over some of the held bytes.
    fn poll_send(&mut self, cx: &Context<'_>) -> Poll<Result<()>> {
        let held = &mut self.way.held;
        let refused = Cell::new(false);
        let mut call = |_: &Core, fd: BorrowedFd<'_>| {
            let sent = held.send(fd)?;
            refused.set(sent.is_none());
            Ok(sent.unwrap_or(0))
        };
        let sent = ready!(self.to.0.poll_send_by(&mut self.send, cx, &mut call))?;
        if refused.get() {
            self.way.copies = true;
            return Poll::Ready(held.unpipe().map_err(Error::from));
        }
        held.at += lawful(sent, held.length(), "send to")?;
        let moved = &self.counts.moved[self.side as usize];
        moved.set(moved.get() + sent as u64);
        Poll::Ready(Ok(()))
    }
}

impl Way {
    /// Receives into the empty memory that is held, or into memory of the runtime.
    fn receive(
        &mut self,
        core: &Core,
        (fd, is_unix): (BorrowedFd<'_>, bool),
        splice: bool,
    ) -> io::Result<(usize, bool)> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if self.bulk && !self.copies && splice {
            if let Some(filled) = self.fill_pipe(core, fd)? {
                return Ok((filled, true));
            }
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(pipe) = self.held.pipe.take() {
            core.stores.give_pipe(pipe);
        }
        let data = &mut self.held.data;
        if data.is_empty() {
            *data = core.stores.take_buffer();
        }
        let received = Room::new(data).receive(fd, is_unix, || core.scratch())?;
        self.bulk = splice && received.0 == data.len();
        Ok(received)
    }

    /// Lets the kernel move bytes into a pipe; `None` if it cannot, or there are none now.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn fill_pipe(&mut self, core: &Core, fd: BorrowedFd<'_>) -> io::Result<Option<usize>> {
        let Held { data, pipe, .. } = &mut self.held;
        if pipe.is_none() {
            // Out of descriptors: a buffer is used instead.
            *pipe = core.stores.take_pipe().ok();
        }
        let Some(pipe) = pipe else {
            return Ok(None);
        };
        let filled = match pipe.fill(fd) {
            Err(error) if sys::errno::is_refused_shortcut(&error) => {
                self.copies = true;
                return Ok(None);
            }
            // Nothing there, or an urgent byte before the rest, which splice(2) never passes: a
            // receive into a buffer finds out.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            filled => filled?,
        };
        if !data.is_empty() {
            core.stores.give_buffer(std::mem::take(data));
        }
        self.few = if filled < FEW.0 { self.few + 1 } else { 0 };
        if self.few == FEW.1 {
            (self.few, self.bulk) = (0, false);
        }
        Ok(Some(filled))
    }
}

impl Held {
    pub(super) fn length(&self) -> usize {
        self.end - self.at
    }

    /// Sends some of the bytes; `None` if the kernel cannot move them.
    fn send(&self, fd: BorrowedFd<'_>) -> io::Result<Option<usize>> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(pipe) = &self.pipe {
            return match pipe.drain(fd, self.length()) {
                Err(error) if sys::errno::is_refused_shortcut(&error) => Ok(None),
                drained => drained.map(Some),
            };
        }
        sys::socket::send(fd, &self.data[self.at..self.end]).map(Some)
    }

    /// Takes the bytes out of their pipe into a buffer.
    fn unpipe(&mut self) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(pipe) = &self.pipe {
            self.data = pipe.take(self.length())?.into_boxed_slice();
            (self.pipe, self.at, self.end) = (None, 0, self.data.len());
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
        // Bytes of other streams are in buffers of other sizes.
        if held.data.len() == crate::runtime::stores::BUFFER {
            core.stores.give_buffer(held.data);
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(pipe) = held.pipe {
            core.stores.give_pipe(pipe);
        }
    }
}
