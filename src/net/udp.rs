//! UDP sockets, unconnected and connected.
//!
//! A datagram is delivered whole, in order of arrival, the empty one too. Errors that the network
//! reports about one peer (a port that nobody listens on) come once, on whatever call is next, and
//! never break the socket: an unconnected socket passes over them when it receives, since they say
//! nothing about the other peers.
//!
//! The file is long because it is the documentation of two types; the code is elsewhere.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::connect::port_0;
use super::resolve::Host;
use super::sockets::Sockets;
use super::udp_core::UdpCore;
use super::udp_receive::{Receive, ReceiveInto};
use super::udp_send::Send;
#[allow(unused_imports, reason = "for the documentation")]
use crate::error::Error;
use crate::error::Result;
use crate::runtime::socket::Socket;
use crate::sys::addr::fitting;

/// A received datagram in a buffer of the caller's.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Datagram<'b> {
    /// What came, as far as there was room; may be empty.
    pub data: &'b mut [u8],
    /// Who sent it.
    pub from: SocketAddr,
    /// The address of this host that it came to, and can be answered from by
    /// [`reply`](UdpSocket::reply); of a broadcast that of the interface. `None` for an IPv6
    /// multicast group, and unless
    /// [`tell_destination`](crate::net::CreateUdpSocket::tell_destination) asked for it.
    pub to: Option<IpAddr>,
    /// True if there was not room for all of it: the rest is lost.
    pub truncated: bool,
}

/// A UDP socket that talks to anybody; made by
/// [`create_udp_socket`](crate::create_udp_socket).
///
/// Receiving and sending take `&self` and may go on at the same time.
///
/// When datagrams come in quick succession, a receive takes several out of the kernel's queue at
/// once and keeps what was not asked for yet, at most 32 messages. So what is read from the
/// descriptor by other means may come out of order; and, on Linux, the descriptor may give several
/// datagrams as one (`UDP_GRO`) once [`receive_many`](Self::receive_many) was called, or equal
/// datagrams of one sender had come in long bursts before it was lent out. A socket that is given
/// away (`OwnedFd::try_from`) leaves what was taken out of the queue behind, and gives one datagram
/// at a time from then on.
/// [`batching(false)`](crate::net::CreateUdpSocket::batching) keeps to one datagram per call.
#[doc(alias = "UDPSocket")]
#[derive(Debug)]
pub struct UdpSocket {
    pub(super) core: UdpCore,
}

impl UdpSocket {
    pub(super) fn new(fd: OwnedFd, local: SocketAddr, plain: bool, tells: bool) -> Self {
        Self {
            core: UdpCore::new(fd, local, None, plain, tells),
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
    /// Dropping the future has received nothing: the next receive gets the datagram.
    pub async fn receive(&self) -> Result<(Vec<u8>, SocketAddr)> {
        Receive::new(&self.core).await
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
    pub fn receive_into<'b>(
        &self,
        buf: &'b mut [u8],
    ) -> impl Future<Output = Result<Datagram<'b>>> {
        ReceiveInto::new(&self.core, buf)
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
    /// an IPv6 destination on an IPv4 socket, or what an earlier datagram met. The socket is still
    /// good. [`Error::Busy`] while another task sends, [`Error::Closed`] after
    /// [`abort`](Self::abort).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has sent nothing.
    #[doc(alias = "sendto")]
    pub fn send_to(&self, data: &[u8], to: SocketAddr) -> impl Future<Output = Result<()>> {
        Send::new(&self.core, data, Some(to), None)
    }

    /// Sends one datagram from an address of this host: the answer to a datagram goes out from
    /// where that came to. A socket on the wildcard address of a host with several addresses
    /// answers from another one otherwise, and the client does not take it for an answer. With
    /// `source` `None` the system chooses, as [`send_to`](Self::send_to) does.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to). A source of another family than the destination, or that is
    /// not an address of this host, is an [`Error::Io`]; outside Linux every source is, with
    /// `Unsupported`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has sent nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")]
    /// soloio::block_on(async {
    ///     use soloio::{create_connected_udp_socket, create_udp_socket};
    ///
    ///     let udp = create_udp_socket().local_host("0.0.0.0").tell_destination(true).await?;
    ///     let client = create_connected_udp_socket("127.0.0.7", udp.local_addr().port()).await?;
    ///     client.send(b"hello").await?;
    ///
    ///     let mut buf = [0; 1500];
    ///     let datagram = udp.receive_into(&mut buf).await?;
    ///     udp.reply(datagram.data, datagram.from, datagram.to).await?;
    ///     assert_eq!(client.receive().await?, b"hello");
    ///     Ok::<_, soloio::Error>(())
    /// })?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    #[doc(alias = "sendmsg")]
    pub fn reply(
        &self,
        data: &[u8],
        to: SocketAddr,
        source: Option<IpAddr>,
    ) -> impl Future<Output = Result<()>> {
        Send::new(&self.core, data, Some(to), source)
    }

    /// Sends one datagram to a host, which is looked up first, off the loop's thread. Of several
    /// addresses it is the first that the socket's family can reach.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to), and [`Error::Resolve`]; port 0 is `InvalidInput`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has sent nothing; a lookup is abandoned, not waited for.
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::{Family, create_udp_socket};
    ///
    /// soloio::block_on(async {
    ///     let udp = create_udp_socket().family(Family::V4).await?;
    ///     udp.send_to_host(b"to myself", "localhost", udp.local_addr().port()).await?;
    ///     assert_eq!(udp.receive().await?.0, b"to myself");
    ///     Ok::<_, soloio::Error>(())
    /// })?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    #[doc(alias = "sendto")]
    pub async fn send_to_host(&self, data: &[u8], host: impl Into<Host>, port: u16) -> Result<()> {
        let host = host.into();
        if port == 0 {
            return Err(port_0(&host));
        }
        let addresses = host.resolve(port).await?;
        let fits = |to: &SocketAddr| fitting(&self.core.local, *to).is_ok();
        // If none fits, the first makes the error that says so.
        let to = addresses.iter().copied().find(fits).unwrap_or(addresses[0]);
        self.send_to(data, to).await
    }

    /// Ends the socket at once although others still hold it: its port is free, and operations
    /// under way get [`Error::Closed`].
    pub fn abort(&self) {
        self.core.socket.abort();
    }
}

impl Sockets for UdpSocket {
    fn socket(&self) -> &Socket {
        &self.core.socket
    }

    fn called(&self) -> String {
        self.core.local.to_string()
    }

    fn each_socket(&mut self, change: fn(&mut Socket)) {
        change(&mut self.core.socket);
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
/// Datagrams of others are not received. What [`UdpSocket`] says of taking several datagrams at
/// once holds here too.
#[doc(alias = "ConnectedUDPSocket")]
#[derive(Debug)]
pub struct ConnectedUdpSocket {
    pub(super) core: UdpCore,
    pub(super) peer: SocketAddr,
}

impl ConnectedUdpSocket {
    pub(super) fn new(fd: OwnedFd, local: SocketAddr, peer: SocketAddr, plain: bool) -> Self {
        Self {
            core: UdpCore::new(fd, local, Some(peer), plain, false),
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
    /// Dropping the future has received nothing: the next receive gets the datagram.
    pub async fn receive(&self) -> Result<Vec<u8>> {
        Ok(Receive::new(&self.core).await?.0)
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
    pub fn receive_into<'b>(
        &self,
        buf: &'b mut [u8],
    ) -> impl Future<Output = Result<Datagram<'b>>> {
        ReceiveInto::new(&self.core, buf)
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
    pub fn send(&self, data: &[u8]) -> impl Future<Output = Result<()>> {
        Send::new(&self.core, data, None, None)
    }

    /// Ends the socket at once although others still hold it: its port is free, and operations
    /// under way get [`Error::Closed`].
    pub fn abort(&self) {
        self.core.socket.abort();
    }
}

impl Sockets for ConnectedUdpSocket {
    fn socket(&self) -> &Socket {
        &self.core.socket
    }

    fn called(&self) -> String {
        self.core.local.to_string()
    }

    fn each_socket(&mut self, change: fn(&mut Socket)) {
        change(&mut self.core.socket);
    }
}

impl AsFd for ConnectedUdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.socket.lend()
    }
}
