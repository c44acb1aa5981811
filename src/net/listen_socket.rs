//! The part that TCP and UNIX listeners share: one accept per event.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use crate::error::{Error, Result};
use crate::runtime::operation::{After, First, Operation};
use crate::sys;

/// Accepts one connection per event. If more wait, the next event comes at once, which is cheaper
/// than an accept that fails.
pub(super) fn poll_accept(
    operation: &mut Operation<'_>,
    cx: &Context<'_>,
    error: impl Fn(io::Error) -> Error,
) -> Poll<Result<(OwnedFd, Option<SocketAddr>)>> {
    let lent = operation.socket().is_lent();
    let accept = |_: &_, fd: BorrowedFd<'_>| {
        let accepted = sys::socket::accept(fd)?;
        if lent {
            // Inherited from a listener that was made or changed elsewhere. It fails for a
            // connection that has ended, which does not linger.
            drop(sys::sockopt::linger_no_longer(accepted.0.as_fd()));
        }
        Ok((accepted, After::Taken))
    };
    operation.poll(cx, First::Wait, accept, error)
}
