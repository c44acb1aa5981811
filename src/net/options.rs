//! Socket options: each is written once here, and declared for the types that have it.
//!
//! None of them waits or needs a runtime. They apply to the socket immediately, also during
//! operations. Other options can be set through `AsFd` and a package for socket options.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::sockets::Sockets;
use super::tcp::{TcpListener, TcpStream};
use super::udp::{ConnectedUdpSocket, UdpSocket};
use super::unix::UnixStream;
use crate::error::{Error, Result};
pub use crate::sys::options::Keepalive;
use crate::sys::{options as sys, socket, sockopt};

/// Reads an option.
pub(super) fn get<T>(
    of: &dyn Sockets,
    what: &'static str,
    read: &dyn Fn(BorrowedFd<'_>) -> io::Result<T>,
) -> Result<T> {
    let first = &of.sockets()[0];
    if first.is_closed() {
        return Err(Error::Closed);
    }
    read(first.fd()).map_err(|cause| Error::io(what, of.called(), cause))
}

/// Sets an option on every socket of the type.
pub(super) fn set(
    of: &dyn Sockets,
    what: &'static str,
    write: &dyn Fn(BorrowedFd<'_>) -> io::Result<()>,
) -> Result<()> {
    get(of, what, write)?;
    for other in &of.sockets()[1..] {
        write(other.fd()).map_err(|cause| Error::io(what, of.called(), cause))?;
    }
    Ok(())
}

fn set_keepalive(of: &dyn Sockets, mut keepalive: Option<Keepalive>) -> Result<()> {
    if let Some(wanted) = &mut keepalive {
        wanted.idle = whole(wanted.idle, SECOND, 32_767, "an idle time of 1 to 32,767 s")?;
        let range = "an interval of 1 to 32,767 s";
        wanted.interval = whole(wanted.interval, SECOND, 32_767, range)?;
        if !(1..=127).contains(&wanted.count) {
            return Err(out_of_range("a count of 1 to 127 probes", wanted.count));
        }
    }
    set(of, "set the keepalive of", &|fd| {
        sys::set_keepalive(fd, keepalive)
    })
}

fn set_ttl(of: &dyn Sockets, ttl: u8) -> Result<()> {
    if ttl == 0 {
        return Err(out_of_range("a TTL of 1 to 255", ttl));
    }
    set(of, "set the TTL of", &|fd| sys::set_ttl(fd, ttl))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_user_timeout(of: &dyn Sockets, timeout: Option<Duration>) -> Result<()> {
    const RANGE: &str = "a user timeout of 1 ms to 2,147,483,647 ms (24 days)";
    let whole = |timeout| whole(timeout, MILLISECOND, 2_147_483_647, RANGE);
    let timeout = timeout.map(whole).transpose()?;
    set(of, "set the user timeout of", &|fd| {
        sys::set_user_timeout(fd, timeout)
    })
}

fn set_buffer_size(
    of: &dyn Sockets,
    what: &'static str,
    bytes: usize,
    write: fn(BorrowedFd<'_>, usize) -> io::Result<()>,
) -> Result<()> {
    // The kernel doubles it, and the result has to fit in its integer.
    if !(1..=0x3FFF_FFFF).contains(&bytes) {
        return Err(out_of_range("a buffer of 1 to 1,073,741,823 bytes", bytes));
    }
    set(of, what, &|fd| write(fd, bytes))
}

const SECOND: Duration = Duration::from_secs(1);
#[cfg(any(target_os = "linux", target_os = "android"))]
const MILLISECOND: Duration = Duration::from_millis(1);

/// Rounds a time up to whole units: 1 to `most` of them.
fn whole(time: Duration, unit: Duration, most: u32, range: &'static str) -> Result<Duration> {
    let units = time.as_nanos().div_ceil(unit.as_nanos());
    match u32::try_from(units) {
        Ok(units) if (1..=most).contains(&units) => Ok(unit * units),
        _ => Err(out_of_range(range, format_args!("{time:?}"))),
    }
}

#[cold]
fn out_of_range(range: &'static str, got: impl std::fmt::Display) -> Error {
    Error::invalid(
        "set a socket option",
        format!("{range} was expected, not {got}"),
    )
}

/// The kernel's buffers: for every kind of socket.
macro_rules! buffer_options {
    ($type:ty) => {
        impl $type {
            /// Returns the size of the kernel's receive buffer, in bytes as the kernel counts them:
            /// Linux reports twice the size that was set, because it includes its own overhead
            /// (socket(7)).
            ///
            /// # Errors
            ///
            /// [`Error::Closed`] after an abort, else [`Error::Io`].
            pub fn receive_buffer_size(&self) -> Result<usize> {
                let what = "read the receive buffer size of";
                get(self, what, &sys::receive_buffer_size)
            }

            /// Sets a receive buffer of 1 to 1,073,741,823 bytes; the kernel clamps it to its own
            /// limits (`net.core.rmem_max` on Linux). After that the kernel no longer grows the
            /// buffer of a TCP socket.
            ///
            /// # Errors
            ///
            /// `InvalidInput` for sizes out of range; [`Error::Closed`] after an abort, else
            /// [`Error::Io`].
            pub fn set_receive_buffer_size(&self, bytes: usize) -> Result<()> {
                let what = "set the receive buffer size of";
                set_buffer_size(self, what, bytes, sys::set_receive_buffer_size)
            }

            /// Returns the size of the kernel's send buffer, in bytes as the kernel counts them.
            ///
            /// # Errors
            ///
            /// As [`receive_buffer_size`](Self::receive_buffer_size).
            pub fn send_buffer_size(&self) -> Result<usize> {
                get(self, "read the send buffer size of", &sys::send_buffer_size)
            }

            /// Sets a send buffer of 1 to 1,073,741,823 bytes; the kernel clamps it to its own
            /// limits (`net.core.wmem_max` on Linux).
            ///
            /// # Errors
            ///
            /// As [`set_receive_buffer_size`](Self::set_receive_buffer_size).
            pub fn set_send_buffer_size(&self, bytes: usize) -> Result<()> {
                let what = "set the send buffer size of";
                set_buffer_size(self, what, bytes, sys::set_send_buffer_size)
            }
        }
    };
}

/// Fields of the IP header: for internet sockets.
macro_rules! ip_options {
    ($type:ty) => {
        impl $type {
            /// Returns the number of routers that a packet may pass: the TTL of IPv4, the hop limit
            /// of IPv6.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`] after an abort, else [`Error::Io`].
            pub fn ttl(&self) -> Result<u8> {
                let ttl = get(self, "read the TTL of", &sys::ttl)?;
                Ok(u8::try_from(ttl).unwrap_or(u8::MAX))
            }

            /// Sets the number of routers that a packet may pass, 1 to 255 (ip(7), `IP_TTL`;
            /// ipv6(7), `IPV6_UNICAST_HOPS`).
            ///
            /// # Errors
            ///
            /// 0 is `InvalidInput`; [`Error::Closed`] after an abort, else [`Error::Io`].
            pub fn set_ttl(&self, ttl: u8) -> Result<()> {
                set_ttl(self, ttl)
            }

            /// Returns the byte of the IP header for the treatment of packets: six bits of DSCP
            /// (RFC 2474) above two of ECN (RFC 3168).
            ///
            /// # Errors
            ///
            /// [`Error::Closed`] after an abort, else [`Error::Io`].
            #[doc(alias = "dscp")]
            #[doc(alias = "tclass")]
            pub fn tos(&self) -> Result<u8> {
                let tos = get(self, "read the TOS of", &sys::tos)?;
                Ok(u8::try_from(tos).unwrap_or(u8::MAX))
            }

            /// Sets the byte of the IP header for the treatment of packets, any value (`IP_TOS`,
            /// `IPV6_TCLASS`). For TCP the kernel sets the two ECN bits itself.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`] after an abort, else [`Error::Io`].
            pub fn set_tos(&self, tos: u8) -> Result<()> {
                set(self, "set the TOS of", &|fd| sys::set_tos(fd, tos))
            }
        }
    };
}

/// Options of TCP alone. On a listener they apply to the connections that are accepted from then
/// on.
macro_rules! tcp_options {
    ($type:ty) => {
        impl $type {
            /// Returns whether small packets are sent at once (the default).
            ///
            /// # Errors
            ///
            /// [`Error::Closed`] after an abort, else [`Error::Io`].
            pub fn nodelay(&self) -> Result<bool> {
                get(self, "read TCP_NODELAY of", &sys::nodelay)
            }

            /// Sends small packets at once, or lets them wait for more while others are on their
            /// way (RFC 896, Nagle's algorithm).
            ///
            /// # Errors
            ///
            /// [`Error::Closed`] after an abort, else [`Error::Io`].
            pub fn set_nodelay(&self, on: bool) -> Result<()> {
                let write = |fd: BorrowedFd<'_>| socket::set_nodelay(fd, on);
                set(self, "set TCP_NODELAY of", &write)
            }

            /// Returns the keepalive of a silent peer; `None` (the default) if it is off.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`] after an abort, else [`Error::Io`].
            pub fn keepalive(&self) -> Result<Option<Keepalive>> {
                get(self, "read the keepalive of", &sys::keepalive)
            }

            /// Sends probes to a silent peer; see [`Keepalive`].
            ///
            /// # Errors
            ///
            /// `InvalidInput` for values out of range; [`Error::Closed`] after an abort, else
            /// [`Error::Io`].
            pub fn set_keepalive(&self, keepalive: Option<Keepalive>) -> Result<()> {
                set_keepalive(self, keepalive)
            }

            /// Returns the time that sent bytes may stay unacknowledged before the connection is
            /// broken; `None` (the default) means as long as the system retransmits, about a
            /// quarter of an hour.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`] after an abort, else [`Error::Io`].
            #[cfg(any(target_os = "linux", target_os = "android"))]
            pub fn user_timeout(&self) -> Result<Option<Duration>> {
                get(self, "read the user timeout of", &sys::user_timeout)
            }

            /// Sets the time that sent bytes may stay unacknowledged, 1 ms to 24 days, rounded up
            /// to whole milliseconds (RFC 5482; tcp(7), `TCP_USER_TIMEOUT`). Linux only.
            ///
            /// # Errors
            ///
            /// `InvalidInput` for times out of range; [`Error::Closed`] after an abort, else
            /// [`Error::Io`].
            #[cfg(any(target_os = "linux", target_os = "android"))]
            pub fn set_user_timeout(&self, timeout: Option<Duration>) -> Result<()> {
                set_user_timeout(self, timeout)
            }

            /// Returns whether dropping the connection resets it.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`] after an abort, else [`Error::Io`].
            pub fn zero_linger(&self) -> Result<bool> {
                get(self, "read the linger time of", &sockopt::zero_linger)
            }

            /// Makes a drop of the connection reset it: data that the kernel has not sent yet is
            /// lost, and the peer sees a reset. The port is free at once. (See `SO_LINGER` of 0 in
            /// socket(7).) Other linger times would block the thread, and cannot be set.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`] after an abort, else [`Error::Io`].
            pub fn set_zero_linger(&self, on: bool) -> Result<()> {
                let write = |fd: BorrowedFd<'_>| sockopt::set_zero_linger(fd, on);
                set(self, "set the linger time of", &write)
            }
        }
    };
}

buffer_options!(TcpStream);
ip_options!(TcpStream);
tcp_options!(TcpStream);
buffer_options!(TcpListener);
ip_options!(TcpListener);
tcp_options!(TcpListener);
buffer_options!(UnixStream);
buffer_options!(UdpSocket);
ip_options!(UdpSocket);
buffer_options!(ConnectedUdpSocket);
ip_options!(ConnectedUdpSocket);
