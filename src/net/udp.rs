//! UDP sockets, unconnected and connected.
//!
//! A datagram is delivered whole, in order of arrival, the empty one too. Errors that the network
//! reports about one peer (a port that nobody listens on) come once, on whatever call is next, and
//! never break the socket: an unconnected socket passes over them when it receives, since they say
//! nothing about the other peers.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use super::hand_over::{Movable, hand_over};
use super::options::{HasOptions, buffer_options, ip_options};
use crate::error::{Error, Result};
use crate::runtime::context::Core;
use crate::runtime::operation::{After, Direction, First, Operation};
use crate::runtime::socket::{Socket, Trigger};
use crate::sys::socket::Received;
use crate::sys::{self, errno};

/// A received datagram in a buffer of the caller's.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Datagram<'b> {
    /// What came, as far as there was room; may be empty.
    pub data: &'b mut [u8],
    /// Who sent it.
    pub from: SocketAddr,
    /// True if there was not room for all of it: the rest is lost.
    pub truncated: bool,
}

/// What both kinds share.
#[derive(Debug)]
struct UdpCore {
    socket: Socket,
    local: SocketAddr,
}

impl UdpCore {
    fn new(fd: OwnedFd, local: SocketAddr) -> Self {
        Self {
            socket: Socket::new(fd, Trigger::Edge),
            local,
        }
    }

    /// Receives one datagram by `receive`.
    async fn receive<T>(
        &self,
        pass_over_peers: bool,
        mut receive: impl FnMut(&Core, BorrowedFd<'_>) -> io::Result<T>,
    ) -> Result<T> {
        let mut operation = Operation::new(&self.socket, Direction::Read);
        let call = |core: &Core, fd: BorrowedFd<'_>| loop {
            match receive(core, fd) {
                Err(error) if pass_over_peers && errno::is_about_a_peer(&error) => {}
                other => return other.map(|value| (value, After::Ready)),
            }
        };
        let mut call = call;
        poll_fn(|cx| {
            let failed = |cause| Error::io("receive on", self.local, cause);
            operation.poll(cx, First::Wait, &mut call, failed)
        })
        .await
    }

    /// Sends one datagram by `send`, all of it or nothing.
    async fn send(
        &self,
        to: &SocketAddr,
        mut send: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Result<()> {
        let mut operation = Operation::new(&self.socket, Direction::Write);
        poll_fn(|cx| self.poll_send(&mut operation, cx, to, &mut send)).await
    }

    fn poll_send(
        &self,
        operation: &mut Operation<'_>,
        cx: &Context<'_>,
        to: &SocketAddr,
        send: &mut impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<Result<()>> {
        let call = |_: &Core, fd: BorrowedFd<'_>| send(fd).map(|_| ((), After::Ready));
        operation.poll(cx, First::Try, call, |cause| {
            Error::io("send to", to, cause)
        })
    }
}

/// A UDP socket that talks to anybody; made by
/// [`create_udp_socket`](crate::create_udp_socket).
///
/// Receiving and sending take `&self` and may go on at the same time.
#[doc(alias = "UDPSocket")]
#[derive(Debug)]
pub struct UdpSocket {
    core: UdpCore,
}

impl UdpSocket {
    pub(super) fn new(fd: OwnedFd, local: SocketAddr) -> Self {
        Self {
            core: UdpCore::new(fd, local),
        }
    }

    /// The address it is bound to.
    #[doc(alias = "local_address")]
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.core.local
    }

    /// Receives one datagram, of up to 65,535 bytes, and who sent it.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] while another task receives, [`Error::Closed`] after
    /// [`abort`](Self::abort), [`Error::Io`]. Never an error about one peer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has received nothing: the datagram stays in the kernel's queue.
    pub async fn receive(&self) -> Result<(Vec<u8>, SocketAddr)> {
        let receive = |core: &Core, fd: BorrowedFd<'_>| {
            let mut scratch = core.scratch();
            let got = sys::socket::recv_from(fd, &mut scratch)?;
            let from = sender(&got)?;
            Ok((scratch[..got.length].to_vec(), from))
        };
        self.core.receive(true, receive).await
    }

    /// Receives one datagram into `buf`; allocates nothing.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn receive_into<'b>(&self, buf: &'b mut [u8]) -> Result<Datagram<'b>> {
        let receive = |_: &Core, fd: BorrowedFd<'_>| {
            let got = sys::socket::recv_from(fd, buf)?;
            let from = sender(&got)?;
            Ok((got.length, from, got.truncated))
        };
        let (length, from, truncated) = self.core.receive(true, receive).await?;
        Ok(Datagram {
            data: &mut buf[..length],
            from,
            truncated,
        })
    }

    /// [`receive`](Self::receive) for loops. A UDP socket has no end: `None` never comes.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn next(&self) -> Result<Option<(Vec<u8>, SocketAddr)>> {
        self.receive().await.map(Some)
    }

    /// Sends one datagram; `Ok` means that the kernel took it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: too large (`EMSGSIZE`), out of buffers (`ENOBUFS`), an unreachable network,
    /// or what an earlier datagram met. The socket is still good. [`Error::Busy`] while another
    /// task sends, [`Error::Closed`] after [`abort`](Self::abort).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has sent nothing.
    #[doc(alias = "sendto")]
    pub async fn send_to(&self, data: &[u8], to: SocketAddr) -> Result<()> {
        let to = self.reachable(to);
        self.core
            .send(&to, |fd| sys::socket::send_to(fd, data, &to))
            .await
    }

    /// An IPv4 peer of a dual-stack socket was shown as IPv4, and is reached as mapped IPv6.
    fn reachable(&self, to: SocketAddr) -> SocketAddr {
        match (self.core.local, to) {
            (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            _ => to,
        }
    }

    /// Ends the socket at once although others still hold it: its port is free, and operations
    /// under way get [`Error::Closed`].
    pub fn abort(&self) {
        self.core.socket.abort();
    }
}

fn sender(got: &Received) -> io::Result<SocketAddr> {
    got.from.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "a datagram without an internet address",
        )
    })
}

buffer_options!(UdpSocket);
ip_options!(UdpSocket);
hand_over!(UdpSocket);

impl HasOptions for UdpSocket {
    fn socket(&self) -> &Socket {
        &self.core.socket
    }

    fn called(&self) -> String {
        self.core.local.to_string()
    }
}

impl Movable for UdpSocket {
    fn socket_mut(&mut self) -> &mut Socket {
        &mut self.core.socket
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.socket.lend()
    }
}

/// A UDP socket that talks to one peer; made by
/// [`create_connected_udp_socket`](crate::create_connected_udp_socket).
///
/// Datagrams of others are not received.
#[doc(alias = "ConnectedUDPSocket")]
#[derive(Debug)]
pub struct ConnectedUdpSocket {
    core: UdpCore,
    peer: SocketAddr,
}

impl ConnectedUdpSocket {
    pub(super) fn new(fd: OwnedFd, local: SocketAddr, peer: SocketAddr) -> Self {
        Self {
            core: UdpCore::new(fd, local),
            peer,
        }
    }

    /// The address it is bound to.
    #[doc(alias = "local_address")]
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.core.local
    }

    /// The address it is connected to.
    #[doc(alias = "remote_address")]
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Receives one datagram, of up to 65,535 bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], such as `ConnectionRefused` once after a datagram that nobody took; the
    /// socket is still good. [`Error::Busy`] while another task receives, [`Error::Closed`] after
    /// [`abort`](Self::abort).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has received nothing: the datagram stays in the kernel's queue.
    pub async fn receive(&self) -> Result<Vec<u8>> {
        let receive = |core: &Core, fd: BorrowedFd<'_>| {
            let mut scratch = core.scratch();
            let got = self.receive_from_peer(fd, &mut scratch)?;
            Ok(scratch[..got.length].to_vec())
        };
        self.core.receive(false, receive).await
    }

    /// Receives one datagram, and passes over those of strangers: what came between bind and
    /// connect is still in the queue. There are no more of them once that is through.
    fn receive_from_peer(&self, fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<Received> {
        let same =
            |from: SocketAddr| (from.ip(), from.port()) == (self.peer.ip(), self.peer.port());
        loop {
            let got = sys::socket::recv_from(fd, buf)?;
            if got.from.is_none_or(same) {
                return Ok(got);
            }
        }
    }

    /// Receives one datagram into `buf`; allocates nothing.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn receive_into<'b>(&self, buf: &'b mut [u8]) -> Result<Datagram<'b>> {
        let receive = |_: &Core, fd: BorrowedFd<'_>| {
            let got = self.receive_from_peer(fd, buf)?;
            Ok((got.length, got.truncated))
        };
        let (length, truncated) = self.core.receive(false, receive).await?;
        Ok(Datagram {
            data: &mut buf[..length],
            from: self.peer,
            truncated,
        })
    }

    /// [`receive`](Self::receive) for loops. A UDP socket has no end: `None` never comes.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn next(&self) -> Result<Option<Vec<u8>>> {
        self.receive().await.map(Some)
    }

    /// Sends one datagram; `Ok` means that the kernel took it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: too large (`EMSGSIZE`), out of buffers (`ENOBUFS`), or `ConnectionRefused`
    /// once after an earlier datagram that nobody took; the socket is still good.
    /// [`Error::Busy`] while another task sends, [`Error::Closed`] after [`abort`](Self::abort).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has sent nothing.
    pub async fn send(&self, data: &[u8]) -> Result<()> {
        self.core
            .send(&self.peer, |fd| sys::socket::send(fd, data))
            .await
    }

    /// Ends the socket at once although others still hold it: its port is free, and operations
    /// under way get [`Error::Closed`].
    pub fn abort(&self) {
        self.core.socket.abort();
    }
}

buffer_options!(ConnectedUdpSocket);
ip_options!(ConnectedUdpSocket);
hand_over!(ConnectedUdpSocket);

impl HasOptions for ConnectedUdpSocket {
    fn socket(&self) -> &Socket {
        &self.core.socket
    }

    fn called(&self) -> String {
        self.core.local.to_string()
    }
}

impl Movable for ConnectedUdpSocket {
    fn socket_mut(&mut self) -> &mut Socket {
        &mut self.core.socket
    }
}

impl AsFd for ConnectedUdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.socket.lend()
    }
}
