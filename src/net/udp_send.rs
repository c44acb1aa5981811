//! Sending on UDP sockets, as a future written by hand: it is polled straight through to its system
//! call.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::udp_core::UdpCore;
use crate::error::{Error, Result};
use crate::runtime::context::Core;
use crate::runtime::operation::{After, Direction, First, Operation};
use crate::sys::addr::fitting;
use crate::sys::udp;
use crate::sys::{self, errno};

/// Sends one datagram.
#[derive(Debug)]
pub(super) struct Send<'s, 'd> {
    udp: &'s UdpCore,
    operation: Operation<'s>,
    data: &'d [u8],
    /// `None` on a connected socket.
    to: Option<SocketAddr>,
    source: Option<IpAddr>,
}

impl<'s, 'd> Send<'s, 'd> {
    pub(super) fn new(
        udp: &'s UdpCore,
        data: &'d [u8],
        to: Option<SocketAddr>,
        source: Option<IpAddr>,
    ) -> Self {
        Self {
            udp,
            operation: Operation::new(&udp.socket, Direction::Write).briefly(),
            data,
            to,
            source,
        }
    }
}

impl Future for Send<'_, '_> {
    type Output = Result<()>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self {
            udp,
            operation,
            data,
            to,
            source,
        } = self.get_mut();
        // By reference as far as it goes: an address is many moves.
        let to = to.as_ref();
        let call = |_: &Core, fd: BorrowedFd<'_>| {
            match to {
                Some(to) if source.is_none() && to.is_ipv4() == udp.local.is_ipv4() => {
                    sys::socket::send_to(fd, data, to)?
                }
                Some(to) => udp.send_by(fd, data, *to, *source)?,
                None => sys::socket::send(fd, data)?,
            };
            Ok(((), After::Ready))
        };
        let failed = |cause| udp.not_sent(to.copied(), cause);
        operation.poll(cx, First::Try, call, failed)
    }
}

impl UdpCore {
    /// Destination and source as the system takes them; an error if the socket cannot reach that
    /// family, or the source is of the other one.
    #[inline]
    pub(super) fn way(
        &self,
        to: SocketAddr,
        source: Option<IpAddr>,
    ) -> io::Result<(SocketAddr, Option<IpAddr>)> {
        let reached = fitting(&self.local, to)?;
        match source.map(|source| source.to_canonical()) {
            Some(source) if source.is_ipv4() != to.ip().to_canonical().is_ipv4() => {
                let message = format!("{source} is of another family than the destination");
                Err(io::Error::new(io::ErrorKind::InvalidInput, message))
            }
            source => Ok((reached, source)),
        }
    }

    /// To the other family, if this socket reaches it, or from an address of this host.
    #[cold]
    fn send_by(
        &self,
        fd: BorrowedFd<'_>,
        data: &[u8],
        to: SocketAddr,
        source: Option<IpAddr>,
    ) -> io::Result<usize> {
        match self.way(to, source)? {
            (to, Some(source)) => udp::send_from(fd, data, &to, source),
            (to, None) => sys::socket::send_to(fd, data, &to),
        }
    }

    /// Whether the option to send broadcasts may be what is missing. Which addresses are broadcast
    /// addresses only the routes know; nearly all end in 255.
    fn is_broadcast_refused(&self, to: SocketAddr, cause: &io::Error) -> bool {
        let ends_in_255 = matches!(to, SocketAddr::V4(to) if to.ip().octets()[3] == 255);
        ends_in_255
            && errno::is_forbidden(cause)
            && sys::sockopt::broadcast(self.socket.fd()).is_ok_and(|on| !on)
    }

    #[cold]
    pub(super) fn not_sent(&self, to: Option<SocketAddr>, cause: io::Error) -> Error {
        match to.or(self.peer) {
            Some(to) if self.is_broadcast_refused(to, &cause) => {
                let to = format!("{to} without `set_broadcast`, if it is a broadcast address");
                Error::io("send to", to, cause)
            }
            Some(to) => Error::io("send to", to, cause),
            None => Error::io("send on", self.local, cause),
        }
    }
}
