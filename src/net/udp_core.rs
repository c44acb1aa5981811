//! The core of both kinds of UDP sockets: the socket, its addresses, one datagram per call.
//!
//! An error of one peer is returned once, by one call. On an unconnected socket it does not concern
//! the other peers, so a receive skips it.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::task::{Poll, ready};

use super::udp::Datagram;
#[cfg(feature = "udp-batch")]
use super::udp_messages::Messages;
use crate::error::{Error, Result};
use crate::runtime::context::Core;
use crate::runtime::operation::{After, Direction, First, Operation};
use crate::runtime::socket::Socket;
use crate::sys::addr::fitting;
use crate::sys::socket::Received;
use crate::sys::{self, errno};

/// The number of errors of peers that one receive skips. Each is reported once, so more of them in
/// a row have another cause.
const PASSED: usize = 16;

/// The part that both kinds share.
#[derive(Debug)]
pub(super) struct UdpCore {
    pub(super) socket: Socket,
    pub(super) local: SocketAddr,
    /// The address that it is connected to.
    pub(super) peer: Option<SocketAddr>,
    #[cfg(feature = "udp-batch")]
    pub(super) messages: Messages,
}

/// The addresses of a received datagram.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) from: SocketAddr,
    /// The local address, if the kernel has reported it.
    pub(super) to: Option<IpAddr>,
}

/// One datagram in a caller's buffer.
#[derive(Debug)]
pub(super) struct One {
    pub(super) length: usize,
    pub(super) truncated: bool,
}

impl UdpCore {
    pub(super) fn new(socket: Socket, local: SocketAddr, peer: Option<SocketAddr>) -> Self {
        Self {
            socket,
            local,
            peer,
            #[cfg(feature = "udp-batch")]
            messages: Messages::default(),
        }
    }

    /// The same for a socket that was made elsewhere, which may already merge datagrams.
    #[cfg(feature = "adopt")]
    pub(super) fn adopted(socket: Socket, local: SocketAddr, peer: Option<SocketAddr>) -> Self {
        #[allow(unused_mut, reason = "without batches there is nothing to note")]
        let mut core = Self::new(socket, local, peer);
        #[cfg(feature = "udp-batch")]
        core.messages.read_options(core.socket.fd());
        #[cfg(not(feature = "udp-batch"))]
        sys::sockopt::part(core.socket.fd());
        core
    }

    /// The socket leaves the crate.
    #[cfg(feature = "adopt")]
    pub(super) fn leaves(&self) {
        #[cfg(feature = "udp-batch")]
        self.messages.leaves(self.socket.fd());
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn abort(&self) {
        self.socket.abort();
    }

    /// Returns whether a receive needs the kernel at all.
    #[inline]
    pub(super) fn first(&self) -> First {
        #[cfg(feature = "udp-batch")]
        if self.messages.has_some() {
            return First::AtHand;
        }
        First::Wait
    }

    /// Receives one datagram into a buffer of the caller's.
    pub(super) fn receive_into<'b>(
        &self,
        mut buf: &'b mut [u8],
    ) -> impl Future<Output = Result<Datagram<'b>>> {
        let mut operation = Operation::new(&self.socket, Direction::Read).briefly();
        poll_fn(move |cx| {
            // Written once, when a datagram comes, because an address is large to move.
            let mut ends = self.ends();
            let call = |core: &Core, fd: BorrowedFd<'_>| self.receive_one(core, fd, buf, &mut ends);
            let failed = |cause| self.not_received(cause);
            let one = ready!(operation.poll(cx, self.first(), call, failed))?;
            Poll::Ready(Ok(Datagram {
                data: &mut std::mem::take(&mut buf)[..one.length],
                from: ends.from,
                to: ends.to,
                truncated: one.truncated,
            }))
        })
    }

    /// Receives one datagram as a vector.
    pub(super) fn receive(&self) -> impl Future<Output = Result<(Vec<u8>, SocketAddr)>> {
        let mut operation = Operation::new(&self.socket, Direction::Read).briefly();
        let call = |core: &Core, fd: BorrowedFd<'_>| {
            let (mut scratch, mut ends) = (core.scratch(), self.ends());
            let (one, after) = self.receive_one(core, fd, &mut scratch, &mut ends)?;
            Ok(((scratch[..one.length].to_vec(), ends.from), after))
        };
        let failed = |cause| self.not_received(cause);
        poll_fn(move |cx| operation.poll(cx, self.first(), call, failed))
    }

    /// Returns memory for the ends of the next datagram.
    fn ends(&self) -> Ends {
        Ends {
            from: self.local,
            to: None,
        }
    }

    /// Receives one datagram into `buf`, and its ends into `ends`.
    #[inline]
    fn receive_one(
        &self,
        _core: &Core,
        fd: BorrowedFd<'_>,
        buf: &mut [u8],
        ends: &mut Ends,
    ) -> io::Result<(One, After)> {
        #[cfg(feature = "udp-batch")]
        if self.messages.has_more_to_tell() {
            return self.receive_message(_core, fd, buf, ends);
        }
        let mut passed = 0;
        loop {
            match sys::socket::recv_from(fd, buf) {
                Ok(got) => {
                    if let Some(one) = self.accept(&got, &mut ends.from) {
                        return Ok((one, After::Ready));
                    }
                }
                Err(error) => self.pass(error, &mut passed)?,
            }
        }
    }

    /// Returns the datagram in the caller's buffer, unless it is of another sender: datagrams that
    /// came between bind and connect are still in the queue.
    fn accept(&self, got: &Received, from: &mut SocketAddr) -> Option<One> {
        let same = |a: &SocketAddr, b: &SocketAddr| (a.ip(), a.port()) == (b.ip(), b.port());
        *from = match (self.peer, got.from) {
            (Some(peer), Some(from)) if !same(&peer, &from) => return None,
            (Some(peer), _) => peer,
            (None, from) => from?,
        };
        Some(One {
            length: got.length,
            truncated: got.truncated,
        })
    }

    /// Skips an error that does not concern this receive.
    pub(super) fn pass(&self, error: io::Error, passed: &mut usize) -> io::Result<()> {
        if self.peer.is_some() || !errno::is_about_a_peer(&error) || *passed == PASSED {
            return Err(error);
        }
        *passed += 1;
        Ok(())
    }

    #[cold]
    pub(super) fn not_received(&self, cause: io::Error) -> Error {
        match self.peer {
            Some(peer) => Error::io("receive from", peer, cause),
            None => Error::io("receive on", self.local, cause),
        }
    }

    /// Sends one datagram, to the peer unless another destination is given.
    pub(super) fn send(
        &self,
        data: &[u8],
        to: Option<SocketAddr>,
    ) -> impl Future<Output = Result<()>> {
        self.send_by(to, move |fd, to| match to {
            Some(to) if to.is_ipv4() == self.local.is_ipv4() => sys::socket::send_to(fd, data, to),
            Some(to) => sys::socket::send_to(fd, data, &fitting(&self.local, *to)?),
            None => sys::socket::send(fd, data),
        })
    }

    /// Sends one datagram by a call that gets its destination by reference, because an address is
    /// large to move.
    pub(super) fn send_by(
        &self,
        to: Option<SocketAddr>,
        mut send: impl FnMut(BorrowedFd<'_>, Option<&SocketAddr>) -> io::Result<usize>,
    ) -> impl Future<Output = Result<()>> {
        let mut operation = Operation::new(&self.socket, Direction::Write).briefly();
        poll_fn(move |cx| {
            let call = |_: &Core, fd: BorrowedFd<'_>| {
                send(fd, to.as_ref())?;
                Ok(((), After::Ready))
            };
            operation.poll(cx, First::Try, call, |cause| self.not_sent(to, cause))
        })
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

    /// Returns whether the option to send broadcasts may be missing. Only the routes define the
    /// broadcast addresses; nearly all of them end in 255.
    fn is_broadcast_refused(&self, to: SocketAddr, cause: &io::Error) -> bool {
        let ends_in_255 = matches!(to, SocketAddr::V4(to) if to.ip().octets()[3] == 255);
        ends_in_255
            && errno::is_forbidden(cause)
            && sys::sockopt::broadcast(self.socket.fd()).is_ok_and(|on| !on)
    }
}
