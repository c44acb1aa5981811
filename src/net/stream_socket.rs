//! What TCP and UNIX streams share: receiving, sending, and the ways a byte stream ends.
//!
//! The end is remembered here, since the kernel forgets it: it tells an error once, and a reset
//! that was told to a send looks like an orderly end to the next receive.
//!
//! ```text
//!   receiving:  open ──0 bytes──> EndOfStream        (both for good; data that came
//!                 └──error─────> Broken(number)       before is delivered first)
//!   sending:    open ──send_eof──> Closed            (sends only; receiving goes on)
//! ```

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI32};
use std::task::{Context, Poll, ready};

use crate::error::{Error, OsError, Result};
use crate::runtime::context::{Core, SCRATCH};
use crate::runtime::operation::{After, Direction, First, Operation};
use crate::runtime::socket::{Socket, Trigger};
use crate::stream::{Data, Rest};
use crate::sys::{self, errno};

/// Receiving ended in order.
const ENDED: i32 = -1;

/// A connected stream socket; `A` is what its addresses look like.
#[derive(Debug)]
pub(crate) struct StreamSocket<A> {
    pub(super) socket: Socket,
    peer: A,
    /// Asked for when somebody wants to know, or at the latest before an abort.
    local: OnceLock<Box<A>>,
    /// 0 while receiving goes on, [`ENDED`], or the number of the error that broke it.
    pub(super) end: AtomicI32,
    eof_sent: AtomicBool,
    /// The kernel took our end, and counts it among what is not acknowledged.
    pub(super) end_is_queued: AtomicBool,
    /// Plain TCP. What a UNIX stream has sent is at its peer already, and a receive of it also
    /// stops at a message that carried descriptors.
    pub(super) is_tcp: bool,
    /// What to do when it is dropped: see [`StreamSocket::leave`].
    pub(super) on_drop: Option<fn(&Self)>,
}

/// kqueue has no way to tell that urgent data cut a receive short.
const URGENT_IS_TOLD: bool = cfg!(any(target_os = "linux", target_os = "android"));

impl<A: Display> StreamSocket<A> {
    /// A TCP connection that a server's handler may drop.
    pub(super) fn accepted(fd: OwnedFd, peer: A) -> Box<Self>
    where
        A: Clone + 'static,
    {
        let mut accepted = Self::tcp(fd, peer);
        accepted.on_drop = Some(Self::leave);
        accepted
    }

    pub(super) fn tcp(fd: OwnedFd, peer: A) -> Box<Self> {
        Self::tcp_connected(Socket::new(fd, Trigger::Edge), peer, true)
    }

    /// A socket that connected through an operation, and keeps its place in the loop. What is not
    /// plain TCP may cut a receive short without being empty, as a UNIX stream does.
    pub(super) fn tcp_connected(socket: Socket, peer: A, is_tcp: bool) -> Box<Self> {
        Self::new(socket, peer, is_tcp)
    }

    pub(super) fn unix(fd: OwnedFd, peer: A) -> Box<Self> {
        Self::new(Socket::new(fd, Trigger::Edge), peer, false)
    }

    /// In a box, so that a stream is one pointer: futures keep several copies of what is moved
    /// through them, and an idle connection is mostly its future.
    fn new(socket: Socket, peer: A, is_tcp: bool) -> Box<Self> {
        Box::new(Self {
            socket,
            peer,
            local: OnceLock::new(),
            end: AtomicI32::new(0),
            eof_sent: AtomicBool::new(false),
            end_is_queued: AtomicBool::new(false),
            is_tcp,
            on_drop: None,
        })
    }

    pub(super) fn peer(&self) -> &A {
        &self.peer
    }

    /// Our own address; `ask` is how to ask the kernel.
    pub(super) fn local(&self, ask: impl FnOnce(BorrowedFd<'_>) -> A) -> &A {
        self.local.get_or_init(|| Box::new(ask(self.socket.fd())))
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn socket_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.fd()
    }

    pub(super) fn lend(&self) -> BorrowedFd<'_> {
        self.socket.lend()
    }

    pub(super) fn receive_into<'a, 'b>(&'a self, buf: &'b mut [u8]) -> ReceiveInto<'a, 'b, A> {
        ReceiveInto {
            stream: self,
            operation: self.operation(Direction::Read).briefly(),
            buf: Some(buf),
        }
    }

    pub(super) fn receive_max(&self, max: usize) -> ReceiveMax<'_, A> {
        ReceiveMax {
            stream: self,
            operation: self.operation(Direction::Read).briefly(),
            max,
        }
    }

    pub(super) fn send<D: Data>(&self, data: D) -> Send<'_, A, D> {
        Send {
            stream: self,
            operation: self.operation(Direction::Write).briefly(),
            data,
            begun: false,
        }
    }

    pub(super) fn operation(&self, direction: Direction) -> Operation<'_> {
        Operation::new(&self.socket, direction)
    }

    /// One receive: `receive` makes the call and tells how much came, and whether there was no
    /// room for more.
    #[inline]
    pub(super) fn poll_receive(
        &self,
        operation: &mut Operation<'_>,
        cx: &Context<'_>,
        mut receive: impl FnMut(&Core, BorrowedFd<'_>) -> io::Result<(usize, bool)>,
    ) -> Poll<Result<usize>> {
        if self.end.load(Relaxed) == ENDED && !self.socket.is_closed() {
            return Poll::Ready(Err(Error::EndOfStream));
        }
        let call = |core: &Core, fd: BorrowedFd<'_>| {
            let (got, full) = receive(core, fd)?;
            // Then the queue is empty.
            let short = self.is_tcp && URGENT_IS_TOLD && !full && got > 0;
            Ok((got, if short { After::Short } else { After::Ready }))
        };
        match operation.poll(cx, First::Wait, call, |cause| self.receive_failed(cause)) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(self.at_end())),
            other => other,
        }
    }

    /// One call in the sending direction.
    #[inline]
    pub(super) fn poll_send<T>(
        &self,
        operation: &mut Operation<'_>,
        cx: &Context<'_>,
        mut send: impl FnMut(&Core, BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<Result<T>> {
        if self.eof_sent.load(Relaxed) {
            return Poll::Ready(Err(Error::Closed));
        }
        let call = |core: &Core, fd: BorrowedFd<'_>| Ok((send(core, fd)?, After::Ready));
        operation.poll(cx, First::Try, call, |cause| self.send_failed(cause))
    }

    /// Nothing will come any more: in order, unless a reset was seen before.
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
    fn receive_failed(&self, cause: io::Error) -> Error {
        self.failed("receive from", cause)
    }

    #[cold]
    fn send_failed(&self, cause: io::Error) -> Error {
        // The peer ended in order before we sent: what it sent is still there to be received.
        if errno::is_broken_pipe(&cause) {
            return self.broken("send to", cause);
        }
        self.failed("send to", cause)
    }

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
        Error::Broken(OsError::new(operation, cause).at(&self.peer))
    }

    pub(super) fn send_eof(&self) -> Result<()> {
        self.socket.check()?;
        if self.eof_sent.swap(true, Relaxed) {
            return Ok(());
        }
        let ended = sys::socket::shutdown_write(self.fd());
        self.end_is_queued.store(ended.is_ok(), Relaxed);
        // A UNIX socket reports no event of its own shutdown to a send that waits.
        self.socket.rouse(Direction::Write);
        match ended {
            // The peer has reset the connection: there is no direction left to end.
            Err(error) if errno::is_not_connected(&error) => Ok(()),
            other => other.map_err(|cause| Error::io("send the end to", &self.peer, cause)),
        }
    }

    pub(super) fn abort(&self) {
        self.socket.abort();
    }
}

/// Receives into a buffer of the caller's.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct ReceiveInto<'a, 'b, A> {
    stream: &'a StreamSocket<A>,
    operation: Operation<'a>,
    buf: Option<&'b mut [u8]>,
}

impl<'b, A: Display> Future for ReceiveInto<'_, 'b, A> {
    type Output = Result<&'b mut [u8]>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(buf) = &mut this.buf else {
            return Poll::Ready(Err(Error::Closed));
        };
        if buf.is_empty() {
            return Poll::Ready(Err(empty_buffer()));
        }
        let polled = this.stream.poll_receive(&mut this.operation, cx, |_, fd| {
            let got = sys::socket::recv(fd, buf)?;
            Ok((got, got == buf.len()))
        });
        match this.operation.conclude(polled) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(got)) => {
                let buf = this.buf.take().expect("it was there above");
                Poll::Ready(Ok(&mut buf[..got]))
            }
        }
    }
}

/// Receives into memory of its own, of exactly the size of what came.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct ReceiveMax<'a, A> {
    stream: &'a StreamSocket<A>,
    operation: Operation<'a>,
    max: usize,
}

impl<A: Display> Future for ReceiveMax<'_, A> {
    type Output = Result<Vec<u8>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.max == 0 {
            return Poll::Ready(Err(empty_buffer()));
        }
        let max = this.max.min(SCRATCH);
        let mut received = Vec::new();
        let polled = this
            .stream
            .poll_receive(&mut this.operation, cx, |core, fd| {
                let mut scratch = core.scratch();
                let got = sys::socket::recv(fd, &mut scratch[..max])?;
                received = scratch[..got].to_vec();
                Ok((got, got == max))
            });
        this.operation.conclude(polled).map_ok(|_| received)
    }
}

#[cold]
fn empty_buffer() -> Error {
    Error::invalid("receive", "a receive of at most 0 bytes can never give any")
}

fn send_rest(fd: BorrowedFd<'_>, data: &impl Data) -> io::Result<usize> {
    match data.rest() {
        Rest::One(part) => sys::socket::send(fd, part),
        Rest::Many(parts) => sys::socket::send_vectored(fd, parts),
    }
}

/// Sends all of `data`; what was taken by the kernel is no longer in it.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct Send<'a, A, D> {
    stream: &'a StreamSocket<A>,
    operation: Operation<'a>,
    data: D,
    begun: bool,
}

impl<A: Display, D: Data + Unpin> Future for Send<'_, A, D> {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let polled = this.poll_all(cx);
        this.operation.conclude(polled)
    }
}

impl<A: Display, D: Data> Send<'_, A, D> {
    #[inline]
    fn poll_all(&mut self, cx: &Context<'_>) -> Poll<Result<()>> {
        loop {
            if self.begun && self.data.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let data = &self.data;
            // An empty send looks at the state of this side and sends nothing.
            let send = |_: &_, fd: BorrowedFd<'_>| match data.is_empty() {
                true => Ok(0),
                false => send_rest(fd, data),
            };
            let sent = ready!(self.stream.poll_send(&mut self.operation, cx, send))?;
            self.data.advance(sent);
            self.begun = true;
            if !self.data.is_empty() {
                self.operation.hold_on();
            }
        }
    }
}
