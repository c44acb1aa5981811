//! The options of UDP sockets: broadcast, multicast, hop limits, the size of the queue.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;

use super::options::set;
use super::udp::UdpSocket;
use crate::error::{Error, Result};
use crate::sys::interface;
use crate::sys::udp_options::{self, Via};

/// A network interface for multicast.
///
/// Made by `into()` from an index (0 is the default), or from one of the interface's IPv4
/// addresses. [`Interface::named`] looks up the index of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface(Via);

impl Interface {
    /// The interface that the system's routes select.
    pub const DEFAULT: Self = Self(Via::Any);

    /// Returns the interface with this name, such as `eth0` (if_nametoindex(3)).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there is none.
    pub fn named(name: &str) -> Result<Self> {
        let index = interface::index(name);
        let index = index.map_err(|cause| Error::io("look up the interface", name, cause))?;
        Ok(Self(Via::Index(index)))
    }

    /// Returns its index, unless it is the default or was given by address. The index is also the
    /// scope of the interface's IPv6 addresses
    /// ([`SocketAddrV6::scope_id`](std::net::SocketAddrV6::scope_id)).
    #[must_use]
    pub fn index(self) -> Option<u32> {
        match self.0 {
            Via::Index(index) => Some(index),
            Via::Any | Via::Address(_) => None,
        }
    }
}

impl From<u32> for Interface {
    fn from(index: u32) -> Self {
        match index {
            0 => Self::DEFAULT,
            index => Self(Via::Index(index)),
        }
    }
}

impl From<Ipv4Addr> for Interface {
    fn from(address: Ipv4Addr) -> Self {
        if address.is_unspecified() {
            Self::DEFAULT
        } else {
            Self(Via::Address(address))
        }
    }
}

impl UdpSocket {
    /// Lets the socket send to broadcast addresses (`SO_BROADCAST`). Off by default, and then such
    /// a send is refused. IPv6 has no broadcast.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after [`abort`](Self::abort).
    pub fn set_broadcast(&self, on: bool) -> Result<()> {
        set(self, "set broadcast", &|fd| {
            udp_options::set_broadcast(fd, on)
        })
    }

    /// Joins a multicast group: the socket receives datagrams that are sent to the group and its
    /// own port through `interface`. It leaves the group with
    /// [`leave_multicast`](Self::leave_multicast), or when it is closed.
    ///
    /// Several programs can share the port if each sets
    /// [`reuse_addr`](crate::net::CreateUdpSocket::reuse_addr).
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an address that is no group, an IPv6 group on an IPv4 socket, or an IPv6
    /// group with an interface given by address; [`Error::Io`] for an interface that does not exist
    /// and a group that was already joined.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::net::Ipv4Addr;
    /// use soloio::{Family, create_udp_socket};
    ///
    /// soloio::block_on(async {
    ///     let udp = create_udp_socket().family(Family::V4).reuse_addr(true).await?;
    ///     let group = Ipv4Addr::new(239, 255, 7, 7);
    ///     udp.join_multicast(group, Ipv4Addr::LOCALHOST)?;
    ///     udp.set_multicast_interface(Ipv4Addr::LOCALHOST)?;
    ///     udp.send_to(b"everybody", (group, udp.local_addr().port()).into()).await?;
    ///     assert_eq!(udp.receive().await?.0, b"everybody");
    ///     udp.leave_multicast(group, Ipv4Addr::LOCALHOST)?;
    ///     Ok::<_, soloio::Error>(())
    /// })?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    pub fn join_multicast(
        &self,
        group: impl Into<IpAddr>,
        interface: impl Into<Interface>,
    ) -> Result<()> {
        self.change("join", group.into(), interface.into(), udp_options::join)
    }

    /// Leaves a multicast group; `interface` must be the same as for the join.
    ///
    /// # Errors
    ///
    /// As [`join_multicast`](Self::join_multicast); [`Error::Io`] if it was not joined.
    pub fn leave_multicast(
        &self,
        group: impl Into<IpAddr>,
        interface: impl Into<Interface>,
    ) -> Result<()> {
        self.change("leave", group.into(), interface.into(), udp_options::leave)
    }

    /// Joins or leaves a group.
    fn change(
        &self,
        operation: &'static str,
        group: IpAddr,
        Interface(via): Interface,
        call: fn(BorrowedFd<'_>, IpAddr, Via) -> io::Result<()>,
    ) -> Result<()> {
        let group = group.to_canonical();
        let refused = |why: &str| Err(Error::invalid(operation, format!("{group} {why}")));
        if !group.is_multicast() {
            return refused("is no multicast group");
        }
        if group.is_ipv6() && self.local_addr().is_ipv4() {
            return refused("is an IPv6 group, and the socket is of IPv4");
        }
        if self.core.socket.is_closed() {
            return Err(Error::Closed);
        }
        let changed = call(self.core.socket.fd(), group, via);
        changed.map_err(|cause| Error::io(operation, group, cause))
    }

    /// Sets the interface through which datagrams to groups are sent.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] for an interface that does not exist; [`Error::Closed`] after
    /// [`abort`](Self::abort).
    pub fn set_multicast_interface(&self, interface: impl Into<Interface>) -> Result<()> {
        let Interface(via) = interface.into();
        let write = |fd: BorrowedFd<'_>| udp_options::set_multicast_interface(fd, via);
        set(self, "set the multicast interface", &write)
    }

    /// Sets whether datagrams that this host sends to groups come back to its own sockets (true by
    /// default).
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after [`abort`](Self::abort).
    pub fn set_multicast_loop(&self, on: bool) -> Result<()> {
        let write = |fd: BorrowedFd<'_>| udp_options::set_multicast_loop(fd, on);
        set(self, "set multicast loop", &write)
    }

    /// Sets the largest number of hops of a datagram to a group; by default 1, which means this
    /// network.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after [`abort`](Self::abort).
    pub fn set_multicast_ttl(&self, hops: u8) -> Result<()> {
        let write = |fd: BorrowedFd<'_>| udp_options::set_multicast_hops(fd, hops);
        set(self, "set the multicast hop limit", &write)
    }
}

/// Declares the counter for `$type`.
macro_rules! drop_counter {
    ($type:ty) => {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        impl $type {
            /// Returns the number of datagrams that the kernel has dropped since the socket was
            /// made, because its queue was full
            /// ([`set_receive_buffer_size`](Self::set_receive_buffer_size)) or a checksum was
            /// wrong. Merged datagrams count as one. Linux only (`SO_MEMINFO`).
            ///
            /// Reading it is a system call; counting costs nothing. The number wraps at 2^32.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`] after [`abort`](Self::abort), [`Error::Io`] with a kernel older
            /// than 4.12.
            pub fn dropped(&self) -> Result<u32> {
                crate::net::options::get(self, "count drops of", &udp_options::dropped)
            }
        }
    };
}

drop_counter!(UdpSocket);
drop_counter!(super::udp::ConnectedUdpSocket);
