//! The part that TCP and UNIX listeners share: one accept per event.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use crate::error::{Error, Result};
use crate::runtime::operation::{After, Direction, First, Operation};
use crate::runtime::socket::{Socket, Trigger};
use crate::sys;

/// A listening socket.
#[derive(Debug)]
pub(super) struct ListenSocket {
    socket: Socket,
}

impl ListenSocket {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self {
            socket: Socket::new(fd, Trigger::Level),
        }
    }

    pub(super) fn accept(&self) -> Accept<'_> {
        Accept {
            operation: Operation::new(&self.socket, Direction::Read),
        }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    #[cfg(feature = "adopt")]
    pub(super) fn socket_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }

    pub(super) fn abort(&self) {
        self.socket.abort();
    }
}

/// An accept in progress.
pub(super) struct Accept<'a> {
    operation: Operation<'a>,
}

impl Accept<'_> {
    /// Accepts one connection per event. If more wait, the next event comes at once, which is
    /// cheaper than an accept that fails.
    pub(super) fn poll(
        &mut self,
        cx: &Context<'_>,
        error: impl Fn(io::Error) -> Error,
    ) -> Poll<Result<(OwnedFd, Option<SocketAddr>)>> {
        let lent = self.operation.socket().is_lent();
        let accept = |_: &_, fd: BorrowedFd<'_>| {
            let accepted = sys::socket::accept(fd)?;
            if lent {
                // Inherited from a listener that was made or changed elsewhere. It fails for a
                // connection that has ended, which does not linger.
                drop(sys::sockopt::linger_no_longer(accepted.0.as_fd()));
            }
            Ok((accepted, After::Taken))
        };
        self.operation.poll(cx, First::Wait, accept, error)
    }
}
