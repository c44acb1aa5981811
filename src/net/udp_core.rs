//! The core of both kinds of UDP sockets: the socket, its addresses, one datagram per call.
//!
//! An error of one peer is returned once, by one call. On an unconnected socket it does not concern
//! the other peers, so a receive skips it.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::task::{Poll, ready};

use super::udp::Datagram;
#[cfg(feature = "udp-batch")]
use super::udp_messages::Messages;
use crate::error::{Error, Result};
use crate::runtime::context::{Core, SCRATCH};
use crate::runtime::operation::{After, Direction, First, Operation};
use crate::runtime::socket::Socket;
use crate::sys::addr::{Inet, fitting};
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

    /// Receives one datagram into a buffer of the caller's.
    pub(super) fn receive_into<'b>(
        &self,
        mut buf: &'b mut [u8],
    ) -> impl Future<Output = Result<Datagram<'b>>> {
        let mut operation = Operation::new(&self.socket, Direction::Read).briefly();
        poll_fn(move |cx| {
            let mut from = Inet::default();
            #[cfg(feature = "udp-batch")]
            if self.messages.has_more_to_tell() {
                let polled = self.poll_message(&mut operation, cx, buf, &mut from);
                let datagram = |(length, to)| Datagram::new(&mut buf, length, from.address(), to);
                return polled.map_ok(datagram);
            }
            let call = |_: &Core, fd: BorrowedFd<'_>| {
                Ok((self.receive_plain(fd, buf, &mut from)?, After::Ready))
            };
            let failed = |cause| self.not_received(cause);
            let on = (&self.socket, Direction::Read);
            let length = ready!(operation.place().operate(on, cx, First::Wait, call, failed))?;
            match from.address_v4() {
                Some(from) => Poll::Ready(Ok(Datagram::new(&mut buf, length, from, None))),
                None => Datagram::from_v6(&mut buf, length, &from),
            }
        })
    }

    /// Receives one datagram as a vector.
    pub(super) fn receive(&self) -> impl Future<Output = Result<(Vec<u8>, SocketAddr)>> {
        let mut operation = Operation::new(&self.socket, Direction::Read).briefly();
        let call = |core: &Core, fd: BorrowedFd<'_>| {
            let (mut scratch, mut from) = (core.scratch(), Inet::default());
            let length = self.receive_one(core, fd, &mut scratch, &mut from)?;
            let data = scratch[..length.min(SCRATCH)].to_vec();
            Ok(((data, from.address()), After::Ready))
        };
        let failed = |cause| self.not_received(cause);
        poll_fn(move |cx| operation.poll(cx, self.first(), call, failed))
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

    /// Receives one datagram, and its sender into `from`; returns its length.
    fn receive_one(
        &self,
        _core: &Core,
        fd: BorrowedFd<'_>,
        buf: &mut [u8],
        from: &mut Inet,
    ) -> io::Result<usize> {
        #[cfg(feature = "udp-batch")]
        if self.messages.has_more_to_tell() {
            return Ok(self.receive_message(_core, fd, buf, from)?.0.0);
        }
        self.receive_plain(fd, buf, from)
    }

    /// The same on a socket of which the kernel reports no more than that.
    #[inline]
    fn receive_plain(
        &self,
        fd: BorrowedFd<'_>,
        buf: &mut [u8],
        from: &mut Inet,
    ) -> io::Result<usize> {
        match sys::socket::recv_from(fd, buf, from) {
            // The usual case, in which an address is not moved.
            Ok(length) if from.is_ipv4() && self.peer.is_none() => Ok(length),
            last => self.receive_other(fd, buf, from, last),
        }
    }

    /// Continues after a call whose result may not concern this receive.
    #[inline(never)]
    fn receive_other(
        &self,
        fd: BorrowedFd<'_>,
        buf: &mut [u8],
        from: &mut Inet,
        mut last: io::Result<usize>,
    ) -> io::Result<usize> {
        let mut passed = 0;
        loop {
            match last {
                Ok(length) if self.accepts(from) => return Ok(length),
                Ok(_) => {}
                Err(error) => self.pass(error, &mut passed)?,
            }
            *from = Inet::default();
            last = sys::socket::recv_from(fd, buf, from);
        }
    }

    /// Returns false for a datagram of another sender than the peer: those that came between bind
    /// and connect are still in the queue.
    fn accepts(&self, from: &mut Inet) -> bool {
        let Some(peer) = self.peer else {
            return from.is_known();
        };
        let accepted = !from.is_known() || from.is_at(&peer);
        *from = Inet::new(&peer);
        accepted
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
        self.send_by(to, move |udp, fd, to| match to {
            // The usual case, without a conversion.
            Some(to @ SocketAddr::V4(_)) if udp.local.is_ipv4() => {
                sys::socket::send_to(fd, data, &Inet::new(to))
            }
            Some(to) => sys::socket::send_to(fd, data, &udp.reach(to)?),
            None => sys::socket::send(fd, data),
        })
    }

    /// Sends one datagram by a call that gets its destination by reference, because an address is
    /// large to move.
    pub(super) fn send_by(
        &self,
        to: Option<SocketAddr>,
        mut send: impl FnMut(&Self, BorrowedFd<'_>, Option<&SocketAddr>) -> io::Result<usize>,
    ) -> impl Future<Output = Result<()>> {
        let mut operation = Operation::new(&self.socket, Direction::Write).briefly();
        poll_fn(move |cx| {
            let call = |_: &Core, fd: BorrowedFd<'_>| {
                send(self, fd, to.as_ref())?;
                Ok(((), After::Ready))
            };
            let on = (&self.socket, Direction::Write);
            let failed = |cause| self.not_sent(to, cause);
            operation.place().operate(on, cx, First::Try, call, failed)
        })
    }

    /// Returns the kernel's form of a destination for this socket.
    pub(super) fn reach(&self, to: &SocketAddr) -> io::Result<Inet> {
        match to.is_ipv4() == self.local.is_ipv4() {
            true => Ok(Inet::new(to)),
            false => Ok(Inet::new(&fitting(&self.local, *to)?)),
        }
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
