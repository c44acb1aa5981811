//! The part that TCP and UNIX streams share: receiving, sending, and the ends of a byte stream.
//!
//! The end is stored here, since the kernel forgets it: it reports an error once, and after a send
//! has reported a reset the next receive sees a regular end.
//!
//! ```text
//!   receiving:  open ──0 bytes──> EndOfStream        (both permanent; data that came
//!                 └──error─────> Broken(number)       before is delivered first)
//!   sending:    open ──send_eof──> Closed            (sends only; receiving continues)
//! ```

use std::fmt::Display;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI32};
use std::task::{Context, Poll, ready};

use crate::error::{Error, Result};
use crate::runtime::context::Core;
use crate::runtime::operation::{After, Direction, First, Operation};
use crate::runtime::place::Place;
use crate::runtime::socket::{Socket, Trigger};
use crate::stream::{lawful, no_room};
use crate::sys::room::{Room, no_scratch};
use crate::sys::{self, errno};

/// Receiving has ended regularly.
const ENDED: i32 = -1;

/// A connected stream socket; `A` is the type of its addresses.
#[derive(Debug)]
pub(crate) struct StreamSocket<A> {
    pub(super) socket: Socket,
    pub(super) peer: A,
    /// Filled when it is first needed, or at the latest before an abort.
    local: OnceLock<Box<A>>,
    /// 0 while data may come, [`ENDED`], or the number of the error that broke it.
    pub(super) end: AtomicI32,
    eof_sent: AtomicBool,
    /// The kernel has accepted our end, and counts it among the unacknowledged bytes.
    pub(super) end_is_queued: AtomicBool,
    pub(super) kind: Kind,
    /// Called when it is dropped: see [`StreamSocket::leave`].
    pub(super) on_drop: Option<fn(&Self)>,
}

/// What lies below a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    /// Sent data is already at its peer, and a receive also stops at control data.
    Unix,
    /// Nothing is known of it: a receive may be short although more data is there.
    Other,
}

/// With kqueue there is no way to detect that urgent or control data has cut a receive short.
const SHORT_IS_CLEAR: bool = cfg!(any(target_os = "linux", target_os = "android"));

impl<A: Display> StreamSocket<A> {
    /// Makes a TCP connection that a server's handler may drop.
    pub(super) fn accepted(fd: OwnedFd, peer: A) -> Box<Self>
    where
        A: Clone + 'static,
    {
        let mut accepted = Self::tcp(fd, peer);
        accepted.on_drop = Some(Self::leave);
        accepted
    }

    pub(super) fn tcp(fd: OwnedFd, peer: A) -> Box<Self> {
        Self::new(Socket::new(fd, Trigger::Edge), peer, Kind::Tcp)
    }

    pub(super) fn unix(fd: OwnedFd, peer: A) -> Box<Self> {
        Self::new(Socket::new(fd, Trigger::Edge), peer, Kind::Unix)
    }

    /// Returns a box, so that a stream is one pointer: futures have several copies of a value that
    /// is moved through them, and the memory of an idle connection is mostly its future.
    pub(super) fn new(socket: Socket, peer: A, kind: Kind) -> Box<Self> {
        Box::new(Self {
            socket,
            peer,
            local: OnceLock::new(),
            end: AtomicI32::new(0),
            eof_sent: AtomicBool::new(false),
            end_is_queued: AtomicBool::new(false),
            kind,
            on_drop: None,
        })
    }

    /// Our own address; `ask` gets it from the kernel.
    pub(super) fn local(&self, ask: impl FnOnce(BorrowedFd<'_>) -> A) -> &A {
        self.local.get_or_init(|| Box::new(ask(self.socket.fd())))
    }

    pub(super) fn operation(&self, direction: Direction) -> Operation<'_> {
        Operation::new(&self.socket, direction)
    }

    /// Makes one receive: `receive` makes the call, as [`Room::receive`](crate::sys::room::Room)
    /// does it for this kind of stream, and returns the same.
    #[inline(always)]
    pub(super) fn poll_receive(
        &self,
        place: &mut Place,
        cx: &Context<'_>,
        mut receive: impl FnMut(&Core, BorrowedFd<'_>, bool) -> io::Result<(usize, bool)>,
    ) -> Poll<Result<usize>> {
        if self.end.load(Relaxed) == ENDED && !self.socket.is_closed() {
            return Poll::Ready(Err(Error::EndOfStream));
        }
        let call = |core: &Core, fd: BorrowedFd<'_>| {
            let (got, more) = receive(core, fd, self.kind == Kind::Unix)?;
            // Together with the failures, which are as rare.
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // A short receive means that the queue is empty.
            let short = self.kind != Kind::Other && SHORT_IS_CLEAR && !more;
            Ok((got, if short { After::Short } else { After::Ready }))
        };
        let failed = |cause: io::Error| match cause.kind() {
            io::ErrorKind::UnexpectedEof => self.at_end(),
            _ => self.failed("receive from", cause),
        };
        let on = (&self.socket, Direction::Read);
        place.operate(on, cx, First::Wait, call, failed)
    }

    /// Receives into `buf`, in fewer steps than through a room of the caller's.
    pub(super) fn poll_receive_into(
        &self,
        place: &mut Place,
        cx: &Context<'_>,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Err(no_room()));
        }
        self.poll_receive(place, cx, |_, fd, is_unix| {
            Room::new(buf).receive(fd, is_unix, no_scratch)
        })
    }

    /// Makes one call in the sending direction.
    #[inline(always)]
    pub(super) fn poll_send<T>(
        &self,
        place: &mut Place,
        cx: &Context<'_>,
        mut send: impl FnMut(&Core, BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<Result<T>> {
        if self.eof_sent.load(Relaxed) {
            return Poll::Ready(Err(Error::Closed));
        }
        let call = |core: &Core, fd: BorrowedFd<'_>| Ok((send(core, fd)?, After::Ready));
        let failed = |cause| self.send_failed(cause);
        let on = (&self.socket, Direction::Write);
        place.operate(on, cx, First::Try, call, failed)
    }

    /// Sends all of `rest`, and advances it, in fewer steps than with pieces of the caller's.
    pub(super) fn poll_send_all(
        &self,
        place: &mut Place,
        cx: &Context<'_>,
        rest: &mut &[u8],
    ) -> Poll<Result<()>> {
        loop {
            let sent = ready!(self.poll_send(place, cx, |_, fd| match rest.is_empty() {
                // It checks the state of this side.
                true => Ok(0),
                false => sys::socket::send(fd, rest),
            }))?;
            if sent >= rest.len() {
                *rest = &[];
                return Poll::Ready(Ok(()));
            }
            *rest = &rest[lawful(sent, rest.len(), "send to")?..];
            // The rest is sent with the same claim: no other send can come between.
            place.keep();
        }
    }

    /// The error after the last byte: the regular end, unless a reset was seen before.
    #[cold]
    fn at_end(&self) -> Error {
        if self.socket.is_closed() {
            return Error::Closed;
        }
        match self.end.load(Relaxed) {
            0 | ENDED => {
                self.end.store(ENDED, Relaxed);
                Error::EndOfStream
            }
            number => self.broken("receive from", io::Error::from_raw_os_error(number)),
        }
    }

    #[cold]
    fn send_failed(&self, cause: io::Error) -> Error {
        // The peer ended regularly before this send: its data can still be received.
        if errno::is_broken_pipe(&cause) {
            return self.broken("send to", cause);
        }
        self.failed("send to", cause)
    }

    #[cold]
    fn failed(&self, operation: &'static str, cause: io::Error) -> Error {
        match errno::connection_end(&cause) {
            Some(number) => {
                if self.end.load(Relaxed) == 0 {
                    self.end.store(number, Relaxed);
                }
                self.broken(operation, cause)
            }
            None => Error::io(operation, &self.peer, cause),
        }
    }

    fn broken(&self, operation: &'static str, cause: io::Error) -> Error {
        Error::broken(operation, &self.peer, cause)
    }

    pub(super) fn send_eof(&self) -> Result<()> {
        self.socket.check()?;
        if self.eof_sent.swap(true, Relaxed) {
            return Ok(());
        }
        let ended = sys::socket::shutdown_write(self.socket.fd());
        self.end_is_queued.store(ended.is_ok(), Relaxed);
        // A UNIX socket reports no event of its own shutdown to a send that waits.
        self.socket.rouse(Direction::Write);
        match ended {
            // The peer has reset the connection: no direction is left to end.
            Err(error) if errno::is_not_connected(&error) => Ok(()),
            other => other.map_err(|cause| Error::io("send the end to", &self.peer, cause)),
        }
    }
}
