//! UDP sockets, unconnected and connected.
//!
//! A datagram is delivered whole, in order of arrival, the empty one too. Errors that the network
//! reports about one peer (a port that nobody listens on) come once, on whatever call is next, and
//! never break the socket: an unconnected socket passes over them when it receives, since they say
//! nothing about the other peers.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use super::connect::port_0;
use super::datagram_face::datagram_face;
use super::resolve::Host;
use super::udp_core::UdpCore;
#[allow(unused_imports, reason = "for the documentation")]
use crate::error::Error;
use crate::error::Result;
use crate::sys::addr::fitting;

/// A received datagram in a buffer of the caller's.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Datagram<'b> {
    /// What came, as far as there was room; may be empty.
    pub data: &'b mut [u8],
    /// The address it was sent from.
    pub from: SocketAddr,
    /// The address of this host that it came to, and can be answered from by `reply`; of a
    /// broadcast that of the interface. `None` for an IPv6 multicast group, and unless
    /// `tell_destination` asked for it (both with feature `udp-batch`).
    pub to: Option<IpAddr>,
    /// True if there was not room for all of it: the rest is lost.
    pub truncated: bool,
}

/// A UDP socket that talks to any peer; made by
/// [`create_udp_socket`](crate::create_udp_socket).
///
/// Receiving and sending take `&self` and may go on at the same time. Each of the methods here
/// takes or gives one datagram by one system call.
///
/// With feature `udp-batch`, `receive_many` and `send_many` take and give many at once. On Linux
/// `receive_many` has the kernel put equal datagrams of one sender together (`UDP_GRO`) from then
/// on: what is read from the descriptor by other means would be several datagrams as one, and the
/// socket may hold a few that are not received yet. One that is given away (`OwnedFd::try_from`)
/// leaves these behind, and gives one datagram at a time again.
#[doc(alias = "UDPSocket")]
#[derive(Debug)]
pub struct UdpSocket {
    pub(super) core: UdpCore,
}

datagram_face!(
    UdpSocket,
    local_addr -> SocketAddr,
    (Vec<u8>, SocketAddr),
    |got| got,
    Datagram,
    /// [`Error::Io`], never about one peer.
);

impl UdpSocket {
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
        self.core.send(data, Some(to))
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
}

/// A UDP socket that talks to one peer; made by
/// [`create_connected_udp_socket`](crate::create_connected_udp_socket).
///
/// Datagrams of others are not received. What [`UdpSocket`] says of taking several datagrams at
/// once holds here too.
#[doc(alias = "ConnectedUDPSocket")]
#[derive(Debug)]
pub struct ConnectedUdpSocket {
    /// With a peer.
    pub(super) core: UdpCore,
}

datagram_face!(
    ConnectedUdpSocket,
    local_addr -> SocketAddr,
    Vec<u8>,
    |(data, _)| data,
    Datagram,
    /// [`Error::Io`], such as `ConnectionRefused` once after a datagram that nothing took; the
    /// socket is still good.
);

impl ConnectedUdpSocket {
    /// The address it is connected to.
    #[doc(alias = "remote_address")]
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.core.peer.expect("it is connected")
    }

    /// Sends one datagram; `Ok` means that the kernel took it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: too large (`EMSGSIZE`), out of buffers (`ENOBUFS`), or `ConnectionRefused`
    /// once after an earlier datagram that nothing took; the socket is still good.
    /// [`Error::Busy`] while another task sends, [`Error::Closed`] after [`abort`](Self::abort).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has sent nothing.
    pub fn send(&self, data: &[u8]) -> impl Future<Output = Result<()>> {
        self.core.send(data, None)
    }
}
