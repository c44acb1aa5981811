//! Makes UDP sockets: `create_udp_socket` and `create_connected_udp_socket`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use super::Family;
use super::connect::{any_address, of_family, port_0};
use super::local::{Local, local_options};
use super::resolve::Host;
use super::udp::{ConnectedUdpSocket, UdpSocket};
use super::udp_core::UdpCore;
#[cfg(feature = "udp-batch")]
use super::udp_messages::Messages;
use crate::error::{Error, Result};
use crate::runtime::context;
use crate::sys;
use crate::sys::errno;
use crate::sys::socket::Kind;

/// Makes a UDP socket; [`family`](CreateUdpSocket::family) or
/// [`local_host`](CreateUdpSocket::local_host) must be set.
///
/// It is always bound: to `local_port` if that is set, else to a port of the kernel's choice.
///
/// A server on the wildcard address of a host with several addresses should set `tell_destination`
/// and answer with `reply` (both with feature `udp-batch`). Otherwise its answers may come from
/// another address, and clients and firewalls reject them.
///
/// # Errors
///
/// [`Error::Io`], which names the address: in use, not local; `InvalidInput` without family and
/// local host. [`Error::Resolve`] for a name.
///
/// # Cancel safety
///
/// Dropping the future closes the socket.
///
/// # Examples
///
/// ```
/// use soloio::{Family, create_connected_udp_socket, create_udp_socket};
///
/// soloio::block_on(async {
///     let udp = create_udp_socket().family(Family::V4).local_host("127.0.0.1").await?;
///     let client = create_connected_udp_socket("127.0.0.1", udp.local_addr().port()).await?;
///     client.send(b"world").await?;
///     let (packet, from) = udp.receive().await?;
///     udp.send_to(&[b"Hello, ", &packet[..]].concat(), from).await?;
///     assert_eq!(client.receive().await?, b"Hello, world");
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
pub fn create_udp_socket() -> CreateUdpSocket {
    CreateUdpSocket {
        bound: Bound::default(),
    }
}

/// Makes a UDP socket that is connected to one peer: the first address of `host` that has a route.
///
/// # Errors
///
/// [`Error::Io`], which names the address; [`Error::Resolve`] for a name; `InvalidInput` for port
/// 0, and for a family that the host has no address of.
///
/// # Cancel safety
///
/// Dropping the future closes the socket; a lookup is abandoned, not waited for.
pub fn create_connected_udp_socket(host: impl Into<Host>, port: u16) -> CreateConnectedUdpSocket {
    CreateConnectedUdpSocket {
        host: host.into(),
        port,
        bound: Bound::default(),
    }
}

/// The local address of a UDP socket, and the options of its bind.
#[derive(Debug, Clone, Default)]
struct Bound {
    local: Local,
    reuse_port: bool,
    reuse_addr: bool,
    #[cfg(feature = "udp-batch")]
    plain: bool,
    #[cfg(feature = "udp-batch")]
    tell_destination: bool,
}

impl Bound {
    /// Returns the addresses to bind to, of the requested family; at least one.
    async fn addresses(&self) -> Result<Vec<SocketAddr>> {
        let everywhere = || [false, true].map(|v4| any_address(v4, self.local.port));
        let given = self.local.resolve().await?;
        let mut addresses = given.unwrap_or_else(|| everywhere().into());
        addresses.retain(|address| self.local.takes(address));
        if addresses.is_empty() {
            let message = "the local host has no address of the family asked for";
            return Err(Error::invalid("bind", message));
        }
        Ok(addresses)
    }

    fn bind(&self, address: &SocketAddr) -> Result<OwnedFd> {
        self.try_bind(address)
            .map_err(|cause| Error::io("bind to", address, cause))
    }

    fn try_bind(&self, address: &SocketAddr) -> io::Result<OwnedFd> {
        let fd = self.local.socket(address, Kind::Datagram)?;
        if self.reuse_addr {
            sys::socket::set_reuse_addr(fd.as_fd())?;
        }
        if self.reuse_port {
            sys::socket::set_reuse_port(fd.as_fd())?;
        }
        // Before the bind, because datagrams may come as soon as it is bound.
        #[cfg(feature = "udp-batch")]
        if self.tell_destination {
            sys::udp::tell_destinations(fd.as_fd())?;
        }
        sys::socket::bind(fd.as_fd(), address)?;
        Ok(fd)
    }

    fn core(&self, fd: OwnedFd, local: SocketAddr, peer: Option<SocketAddr>) -> UdpCore {
        UdpCore {
            #[cfg(feature = "udp-batch")]
            messages: Messages::new(self.plain, self.tell_destination),
            ..UdpCore::new(self.local.own(fd), local, peer)
        }
    }
}

/// Returns the first result, skipping errors of unreachable addresses; else the first error.
fn first_in_reach<T>(
    addresses: &[SocketAddr],
    mut make: impl FnMut(&SocketAddr) -> Result<T>,
) -> Result<T> {
    let mut first = None;
    for address in addresses {
        match make(address) {
            Err(Error::Io(error)) if errno::is_out_of_reach(&error) => {
                first.get_or_insert(error);
            }
            other => return other,
        }
    }
    Err(Error::Io(first.expect("there is an address")))
}

/// The options of both builders.
macro_rules! udp_options {
    () => {
        local_options!(
            [bound.local]
            "The address to bind to. If it is a name, its first local address of the family counts."
        );

        /// Uses addresses of this family.
        pub fn family(mut self, family: Family) -> Self {
            self.bound.local.family = Some(family);
            self
        }

        /// Lets several sockets share the port (`SO_REUSEPORT`); each of them must set it.
        pub fn reuse_port(mut self, reuse: bool) -> Self {
            self.bound.reuse_port = reuse;
            self
        }

        /// Lets several sockets receive a multicast group on one port (`SO_REUSEADDR`).
        pub fn reuse_addr(mut self, reuse: bool) -> Self {
            self.bound.reuse_addr = reuse;
            self
        }

        /// Sets whether one system call of `receive_many` and `send_many` may transfer several
        /// datagrams (true by default, if the system supports it). With `false` the socket stores
        /// no datagrams, and the descriptor can be read by other means.
        #[cfg(feature = "udp-batch")]
        pub fn batching(mut self, batching: bool) -> Self {
            self.bound.plain = !batching;
            self
        }
    };
}

/// A UDP socket that is about to be made: await it. Made by [`create_udp_socket`].
#[derive(Debug, Clone)]
#[must_use = "no socket is made unless awaited"]
pub struct CreateUdpSocket {
    bound: Bound,
}

impl CreateUdpSocket {
    udp_options!();

    /// Records for each datagram the local address that it was sent to
    /// ([`Datagram::to`](crate::Datagram::to)). Then a socket on the wildcard address of a host
    /// with several addresses can [`reply`](UdpSocket::reply) from there. It is off by default,
    /// because it makes each receive slightly slower. It is for Linux; on other systems the socket
    /// is not made, and the error is `Unsupported`.
    ///
    /// An adopted socket does this if `IP_PKTINFO` or `IPV6_RECVPKTINFO` is set on it.
    #[cfg(feature = "udp-batch")]
    #[doc(alias = "IP_PKTINFO")]
    #[doc(alias = "IPV6_RECVPKTINFO")]
    pub fn tell_destination(mut self, tell: bool) -> Self {
        self.bound.tell_destination = tell;
        self
    }

    async fn create(self) -> Result<UdpSocket> {
        context::checkpoint().await?;
        if self.bound.local.family.is_none() && self.bound.local.host.is_none() {
            let message = "either `family` or `local_host` must be given";
            return Err(Error::invalid("make a UDP socket", message));
        }
        let addresses = self.bound.addresses().await?;
        first_in_reach(&addresses, |address| self.bind(address))
    }

    fn bind(&self, address: &SocketAddr) -> Result<UdpSocket> {
        let fd = self.bound.bind(address)?;
        let failed = |cause| Error::io("bind to", address, cause);
        let local = sys::socket::local_addr(fd.as_fd()).map_err(failed)?;
        Ok(UdpSocket {
            core: self.bound.core(fd, local, None),
        })
    }
}

awaited!(IntoFuture for CreateUdpSocket, create -> UdpSocket);

/// A connected UDP socket that is about to be made: await it. Made by
/// [`create_connected_udp_socket`].
#[derive(Debug, Clone)]
#[must_use = "no socket is made unless awaited"]
pub struct CreateConnectedUdpSocket {
    host: Host,
    port: u16,
    bound: Bound,
}

impl CreateConnectedUdpSocket {
    udp_options!();

    async fn create(self) -> Result<ConnectedUdpSocket> {
        context::checkpoint().await?;
        if self.port == 0 {
            return Err(port_0(&self.host));
        }
        let mut peers = self.host.resolve(self.port).await?;
        let locals = self.bound.addresses().await?;
        peers.retain(|peer| !of_family(peer, &locals).is_empty());
        if peers.is_empty() {
            let message = "the host has no address of the family asked for";
            return Err(Error::invalid("connect", message));
        }
        first_in_reach(&peers, |peer| {
            first_in_reach(&of_family(peer, &locals), |local| self.connect(local, peer))
        })
    }

    fn connect(&self, local: &SocketAddr, peer: &SocketAddr) -> Result<ConnectedUdpSocket> {
        let fd = self.bound.bind(local)?;
        let failed = |cause| Error::io("connect to", peer, cause);
        sys::socket::connect(fd.as_fd(), peer).map_err(failed)?;
        // May differ from `peer`: the unspecified address connects to this host.
        let peer = sys::socket::peer_addr(fd.as_fd()).map_err(failed)?;
        let local = sys::socket::local_addr(fd.as_fd()).map_err(failed)?;
        Ok(ConnectedUdpSocket {
            core: self.bound.core(fd, local, Some(peer)),
        })
    }
}

awaited!(IntoFuture for CreateConnectedUdpSocket, create -> ConnectedUdpSocket);
