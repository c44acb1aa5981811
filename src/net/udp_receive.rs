//! Receiving from UDP sockets, as futures written by hand: each is polled straight through to its
//! system call. None of them holds a datagram: it is with the caller or still with the socket.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::udp::Datagram;
use super::udp_core::{One, UdpCore};
use crate::error::{Error, Result};
use crate::runtime::context::Core;
use crate::runtime::operation::{Direction, Operation};
use crate::sys::socket::Received;

/// Receives one datagram into a buffer of the caller's.
#[derive(Debug)]
pub(super) struct ReceiveInto<'s, 'b> {
    udp: &'s UdpCore,
    operation: Operation<'s>,
    /// Empty once it was given back.
    buf: &'b mut [u8],
}

impl<'s, 'b> ReceiveInto<'s, 'b> {
    pub(super) fn new(udp: &'s UdpCore, buf: &'b mut [u8]) -> Self {
        Self {
            udp,
            operation: Operation::new(&udp.socket, Direction::Read).briefly(),
            buf,
        }
    }
}

impl<'b> Future for ReceiveInto<'_, 'b> {
    type Output = Result<Datagram<'b>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self {
            udp,
            operation,
            buf,
        } = self.get_mut();
        // Written once, if a datagram comes.
        let mut ends = udp.ends();
        let call = |core: &Core, fd: BorrowedFd<'_>| udp.receive_one(core, fd, buf, &mut ends);
        let polled = operation.poll(cx, udp.first(), call, |cause| udp.not_received(cause));
        let one = ready!(polled)?;
        Poll::Ready(Ok(Datagram {
            data: &mut std::mem::take(buf)[..one.length],
            from: ends.from,
            to: ends.to,
            truncated: one.truncated,
        }))
    }
}

/// Receives one datagram as a vector.
#[derive(Debug)]
pub(super) struct Receive<'s> {
    udp: &'s UdpCore,
    operation: Operation<'s>,
}

impl<'s> Receive<'s> {
    pub(super) fn new(udp: &'s UdpCore) -> Self {
        Self {
            udp,
            operation: Operation::new(&udp.socket, Direction::Read).briefly(),
        }
    }
}

impl Future for Receive<'_> {
    type Output = Result<(Vec<u8>, SocketAddr)>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { udp, operation } = self.get_mut();
        let call = |core: &Core, fd: BorrowedFd<'_>| udp.receive_vec(core, fd);
        operation.poll(cx, udp.first(), call, |cause| udp.not_received(cause))
    }
}

impl UdpCore {
    #[cold]
    pub(super) fn not_received(&self, cause: io::Error) -> Error {
        match self.peer {
            Some(peer) => Error::io("receive from", peer, cause),
            None => Error::io("receive on", self.local, cause),
        }
    }
}

impl UdpCore {
    /// What came into the caller's buffer, unless it is a stranger's.
    pub(super) fn accept(&self, got: &Received, from: &mut SocketAddr) -> Option<One> {
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
}

fn same(a: &SocketAddr, b: &SocketAddr) -> bool {
    (a.ip(), a.port()) == (b.ip(), b.port())
}
