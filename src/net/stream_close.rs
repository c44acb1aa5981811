//! Closing and resetting TCP and UNIX streams: sent data arrives first, within limits.

use std::fmt::Display;
use std::future::poll_fn;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use super::stream_socket::{Kind, StreamSocket};
use crate::error::{Error, OsError, Result};
use crate::runtime::context::{self, Core};
use crate::runtime::operation::{After, Direction, First, Operation};
use crate::runtime::silence::Silence;
use crate::stream::leaving;
use crate::sys;
use crate::sys::room::Room;

impl<A: Display> StreamSocket<A> {
    /// Ends our direction, and discards received data until the peer has acknowledged everything
    /// and has ended its direction (see [`CloseLimits`](crate::CloseLimits)). Then it closes the
    /// socket, in any case and also when dropped midway.
    pub(super) async fn close(mut self: Box<Self>) -> Result<()> {
        self.on_drop = None;
        self.send_eof()?;
        self.settle(true).await
    }

    /// Waits until the peer has the sent data, and resets the connection, also when dropped midway.
    /// A UNIX stream, which has no reset, is closed.
    pub(super) async fn reset(&self) -> Result<()> {
        let _resets = Resets(self);
        self.settle(false).await
    }

    /// Discards received data until the peer has acknowledged everything and, if `finished`, has
    /// ended its direction; at most as long as the limits allow. An error if some sent data has not
    /// arrived.
    async fn settle(&self, finished: bool) -> Result<()> {
        let mut receive = self.operation(Direction::Read);
        let mut acknowledged = self.operation(Direction::Write);
        let mut silence = Silence::new(self.socket.close_limits.get());
        let mut discarded = 0;
        let ended = poll_fn(|cx| {
            let peer_ended = loop {
                match self.poll_discard(&mut receive, cx) {
                    Poll::Ready(Ok(got)) => {
                        discarded += got;
                        receive.again();
                    }
                    Poll::Ready(Err(Error::EndOfStream)) => break true,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break false,
                }
            };
            if peer_ended || !finished {
                if let Poll::Ready(done) = self.poll_acknowledged(&mut acknowledged, cx) {
                    return Poll::Ready(done);
                }
            }
            // Grows with discarded and with acknowledged bytes.
            let moved = || discarded.wrapping_sub(self.unacknowledged()) as u64;
            ready!(silence.poll(moved, cx))?;
            let cause = io::Error::from(io::ErrorKind::TimedOut);
            Poll::Ready(Err(Error::Broken(OsError::new("close", cause))))
        });
        match ended.await {
            Err(Error::Broken(by)) => match self.unacknowledged() {
                0 => Ok(()),
                lost => Err(Error::not_acknowledged(lost, by.into_inner(), &self.peer)),
            },
            other => {
                let mut whole = |part: &str| format!("closing {}, {part}", self.peer);
                other.map_err(|error| context::describe(error, &mut whole))
            }
        }
    }

    fn poll_discard(&self, operation: &mut Operation<'_>, cx: &Context<'_>) -> Poll<Result<usize>> {
        self.poll_receive(operation.place(), cx, |core, fd, is_unix| {
            Room::new(&mut core.scratch()).receive(fd, is_unix, || core.scratch())
        })
    }

    /// Checks whether the peer has everything. On Linux an event comes when our end is
    /// acknowledged.
    fn poll_acknowledged(
        &self,
        operation: &mut Operation<'_>,
        cx: &Context<'_>,
    ) -> Poll<Result<()>> {
        let call = |_: &Core, fd: BorrowedFd<'_>| match self.unacknowledged() {
            0 => Ok(((), After::Ready)),
            // After the peer's end no receive would report the loss of the connection.
            _ if sys::socket::is_gone(fd) => Err(io::ErrorKind::ConnectionReset.into()),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        };
        let broken = |cause| Error::Broken(OsError::new("close", cause));
        operation.poll(cx, First::AtHand, call, broken)
    }

    pub(super) fn unacknowledged(&self) -> usize {
        let ended = self.end_is_queued.load(Relaxed);
        match self.kind {
            Kind::Tcp => sys::queues::unacknowledged(self.socket.fd(), ended),
            Kind::Unix | Kind::Other => 0,
        }
    }

    /// Closes the stream in the background, because a server's handler has dropped it while sent
    /// data was on its way: a duplicate of the descriptor is closed instead of it.
    pub(super) fn leave(&self)
    where
        A: Clone + 'static,
    {
        let end = self.end.load(Relaxed);
        let fd = self.socket.fd();
        let unread = || end == 0 && sys::queues::unread(fd) > 0;
        let lost = || self.unacknowledged() > 0 || unread();
        let over = self.socket.is_closed() || end > 0 || !leaving::is_handler();
        if over || !lost() || sys::sockopt::zero_linger(fd).is_ok_and(|is_zero| is_zero) {
            return;
        }
        // If no descriptor is free it closes at once.
        if let Ok(fd) = self.socket.lend().try_clone_to_owned() {
            let left = Self::tcp(fd, self.peer.clone());
            // The program may have a duplicate, too.
            left.socket.lend();
            left.end.store(end, Relaxed);
            // A second end has no effect.
            left.socket.close_limits.set_as(&self.socket.close_limits);
            leaving::leave(left.close());
        }
    }
}

impl<A> Drop for StreamSocket<A> {
    fn drop(&mut self) {
        if let Some(leave) = self.on_drop {
            leave(self);
        }
    }
}

/// Resets a connection when dropped.
struct Resets<'a, A>(&'a StreamSocket<A>);

impl<A> Drop for Resets<'_, A> {
    fn drop(&mut self) {
        match self.0.kind {
            Kind::Tcp => self.0.socket.reset(),
            Kind::Unix | Kind::Other => self.0.socket.abort(),
        }
    }
}
