//! UDP sockets, unconnected and connected.
//!
//! A datagram is delivered whole, in order of arrival, the empty one too. The network may report
//! errors of one peer (a closed port). Each is returned once, by the next call of any kind, and
//! never breaks the socket. An unconnected socket skips them when it receives, since they do not
//! concern the other peers.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;

use super::connect::port_0;
use super::datagram_face::datagram_face;
use super::resolve::Host;
use super::udp_core::UdpCore;
#[allow(unused_imports, reason = "for the documentation")]
use crate::error::Error;
use crate::error::Result;
use crate::shown::shown;
use crate::sys::addr::{Inet, fitting};

/// A received datagram in a buffer of the caller's.
#[derive(PartialEq, Eq)]
#[non_exhaustive]
pub struct Datagram<'b> {
    /// The received bytes, as far as there was room; may be empty.
    pub data: &'b mut [u8],
    /// The address of the sender.
    pub from: SocketAddr,
    /// The local address that it was sent to, from which `reply` can answer; for a broadcast that
    /// of the interface. `None` for an IPv6 multicast group, and unless `tell_destination` is set
    /// (both with feature `udp-batch`).
    pub to: Option<IpAddr>,
    /// True if there was no room for all of it: the rest is lost.
    pub truncated: bool,
}

impl<'b> Datagram<'b> {
    /// Takes the buffer, which has the beginning of a datagram of this length.
    #[inline]
    pub(super) fn new(
        buf: &mut &'b mut [u8],
        length: usize,
        from: SocketAddr,
        to: Option<IpAddr>,
    ) -> Self {
        let buf = std::mem::take(buf);
        let room = length.min(buf.len());
        Self {
            data: &mut buf[..room],
            from,
            to,
            truncated: length > room,
        }
    }

    // Not inlined, so that an address of IPv4 is written into its final place.
    #[inline(never)]
    pub(super) fn from_v6(
        buf: &mut &'b mut [u8],
        length: usize,
        from: &Inet,
    ) -> Poll<Result<Self>> {
        Poll::Ready(Ok(Self::new(buf, length, from.address(), None)))
    }
}

// Shows no content.
shown!(
    [] Datagram<'_>, "Datagram", this =>
    len: this.data.len(),
    from: this.from,
    to: this.to,
    truncated: this.truncated
);

/// A UDP socket for any number of peers; made by
/// [`create_udp_socket`](crate::create_udp_socket).
///
/// Receiving and sending take `&self` and may happen at the same time. Each of the methods here
/// transfers one datagram in one system call.
///
/// With feature `udp-batch`, `receive_many` and `send_many` transfer many at once. On Linux the
/// first `receive_many` makes the kernel merge datagrams of equal size from one sender (`UDP_GRO`).
/// From then on a read from the descriptor by other means would return several datagrams as one,
/// and the socket may store a few that are not received yet. A socket that is given away
/// (`OwnedFd::try_from`) loses these, and returns one datagram at a time again.
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
    /// [`Error::Io`], never of one peer.
);

impl UdpSocket {
    /// Sends one datagram; `Ok` means that the kernel has accepted it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: too large (`EMSGSIZE`), out of buffers (`ENOBUFS`), an unreachable network,
    /// an IPv6 destination on an IPv4 socket, or the error of an earlier datagram. The socket stays
    /// usable. [`Error::Busy`] while another task sends, [`Error::Closed`] after
    /// [`abort`](Self::abort).
    ///
    /// # Cancel safety
    ///
    /// A dropped future has sent nothing.
    #[doc(alias = "sendto")]
    pub fn send_to(&self, data: &[u8], to: SocketAddr) -> impl Future<Output = Result<()>> {
        self.core.send(data, Some(to))
    }

    /// Sends one datagram to a host, which is looked up first, on another thread. If it has several
    /// addresses, the first one is used that the socket's family can reach.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to), and [`Error::Resolve`]; port 0 is `InvalidInput`.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has sent nothing; a lookup is abandoned, not waited for.
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
        // If none fits, a send to the first returns the error.
        let to = addresses.iter().copied().find(fits).unwrap_or(addresses[0]);
        self.send_to(data, to).await
    }
}

/// A UDP socket that is connected to one peer; made by
/// [`create_connected_udp_socket`](crate::create_connected_udp_socket).
///
/// It does not receive datagrams from other senders. The remarks at [`UdpSocket`] about several
/// datagrams at once apply here too.
#[doc(alias = "ConnectedUDPSocket")]
#[derive(Debug)]
pub struct ConnectedUdpSocket {
    /// Its `peer` is set.
    pub(super) core: UdpCore,
}

datagram_face!(
    ConnectedUdpSocket,
    local_addr -> SocketAddr,
    Vec<u8>,
    |(data, _)| data,
    Datagram,
    /// [`Error::Io`], such as `ConnectionRefused` once after a datagram that no socket received;
    /// the socket stays usable.
);

impl ConnectedUdpSocket {
    /// Returns the address that the socket is connected to.
    #[doc(alias = "remote_address")]
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.core.peer.expect("it is connected")
    }

    /// Sends one datagram; `Ok` means that the kernel has accepted it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: too large (`EMSGSIZE`), out of buffers (`ENOBUFS`), or `ConnectionRefused`
    /// once after an earlier datagram that no socket received; the socket stays usable.
    /// [`Error::Busy`] while another task sends, [`Error::Closed`] after [`abort`](Self::abort).
    ///
    /// # Cancel safety
    ///
    /// A dropped future has sent nothing.
    pub fn send(&self, data: &[u8]) -> impl Future<Output = Result<()>> {
        self.core.send(data, None)
    }
}
