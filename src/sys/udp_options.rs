//! Options of datagram sockets: broadcast, multicast, hop limits.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::BorrowedFd;

use socket2::{InterfaceIndexOrAddress, SockRef};

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::sockopt;

/// The interface for multicast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    /// The interface that the system's routes select.
    Any,
    Index(u32),
    /// The interface with this address.
    Address(Ipv4Addr),
}

impl Via {
    fn v4(self) -> InterfaceIndexOrAddress {
        match self {
            Self::Any => InterfaceIndexOrAddress::Index(0),
            Self::Index(index) => InterfaceIndexOrAddress::Index(index),
            Self::Address(address) => InterfaceIndexOrAddress::Address(address),
        }
    }

    fn v6(self) -> io::Result<u32> {
        match self {
            Self::Any => Ok(0),
            Self::Index(index) => Ok(index),
            Self::Address(_) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "with IPv6 an interface is named by its index, not by an IPv4 address",
            )),
        }
    }
}

pub(crate) fn join(fd: BorrowedFd<'_>, group: IpAddr, via: Via) -> io::Result<()> {
    let socket = SockRef::from(&fd);
    own_groups_only(&socket, group.is_ipv4())?;
    match group {
        IpAddr::V4(group) => socket.join_multicast_v4_n(&group, &via.v4()),
        IpAddr::V6(group) => socket.join_multicast_v6(&group, via.v6()?),
    }
}

/// Limits a socket to its own groups: on Linux it receives all groups that any program of the host
/// has joined, unless that is disabled (`IP_MULTICAST_ALL`, ip(7)).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn own_groups_only(socket: &SockRef<'_>, v4: bool) -> io::Result<()> {
    if v4 {
        return socket.set_multicast_all_v4(false);
    }
    // Kernels before 4.20 have no such option; the call has no effect.
    drop(socket.set_multicast_all_v6(false));
    Ok(())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn own_groups_only(_socket: &SockRef<'_>, _v4: bool) -> io::Result<()> {
    Ok(())
}

pub(crate) fn leave(fd: BorrowedFd<'_>, group: IpAddr, via: Via) -> io::Result<()> {
    let socket = SockRef::from(&fd);
    match group {
        IpAddr::V4(group) => socket.leave_multicast_v4_n(&group, &via.v4()),
        IpAddr::V6(group) => socket.leave_multicast_v6(&group, via.v6()?),
    }
}

/// Sets an option of the socket's family; for an IPv6 socket also that of IPv4, for its IPv4 peers.
/// That fails if it has none, which does not matter.
fn set_both(
    fd: BorrowedFd<'_>,
    v4: impl FnOnce(&SockRef<'_>) -> io::Result<()>,
    v6: impl FnOnce(&SockRef<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let socket = SockRef::from(&fd);
    if socket.local_addr()?.is_ipv4() {
        return v4(&socket);
    }
    v6(&socket)?;
    drop(v4(&socket));
    Ok(())
}

/// Sets the interface through which datagrams to groups are sent.
pub(crate) fn set_multicast_interface(fd: BorrowedFd<'_>, via: Via) -> io::Result<()> {
    if let Via::Address(address) = via {
        return SockRef::from(&fd).set_multicast_if_v4(&address);
    }
    let index = via.v6()?;
    set_both(
        fd,
        |_| set_multicast_index_v4(fd, index),
        |socket| socket.set_multicast_if_v6(index),
    )
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_multicast_index_v4(fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let request = libc::ip_mreqn {
        imr_multiaddr: libc::in_addr { s_addr: 0 },
        imr_address: libc::in_addr { s_addr: 0 },
        imr_ifindex: i32::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?,
    };
    sockopt::set(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, request)
}

/// On the BSDs an address of 0.0.0.0/8 means the number of an interface (ip(4)).
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_multicast_index_v4(fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    SockRef::from(&fd).set_multicast_if_v4(&Ipv4Addr::from(index))
}

pub(crate) fn set_multicast_loop(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    set_both(
        fd,
        |socket| socket.set_multicast_loop_v4(on),
        |socket| socket.set_multicast_loop_v6(on),
    )
}

pub(crate) fn set_multicast_hops(fd: BorrowedFd<'_>, hops: u8) -> io::Result<()> {
    set_both(
        fd,
        |socket| socket.set_multicast_ttl_v4(hops.into()),
        |socket| socket.set_multicast_hops_v6(hops.into()),
    )
}

pub(crate) fn set_broadcast(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    SockRef::from(&fd).set_broadcast(on)
}

/// Returns the number of messages that the kernel has dropped since the socket was made, because
/// its queue was full or the checksum was wrong.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn dropped(fd: BorrowedFd<'_>) -> io::Result<u32> {
    // All current fields; kernels fill those that they have (sock_diag(7), SKMEMINFO).
    let none = [0_u32; libc::SK_MEMINFO_DROPS as usize + 1];
    let info = sockopt::get(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, none)?;
    Ok(info[libc::SK_MEMINFO_DROPS as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::interface;
    use crate::sys::socket::{Kind, bind, internet};
    use std::os::fd::AsFd;

    #[test]
    fn options_are_set_on_sockets_of_both_families() {
        for any in ["127.0.0.1:0", "[::]:0"] {
            let any = any.parse().expect("a literal");
            let fd = internet(&any, Kind::Datagram).expect("a socket");
            bind(fd.as_fd(), &any).expect("a free port");
            let fd = fd.as_fd();
            let lo = interface::index("lo").or_else(|_| interface::index("lo0"));
            set_multicast_interface(fd, Via::Index(lo.expect("loopback"))).expect("set");
            set_multicast_loop(fd, false).expect("set");
            set_multicast_hops(fd, 3).expect("set");
            assert_eq!(SockRef::from(&fd).multicast_ttl_v4().expect("asked"), 3);
        }
    }
}
