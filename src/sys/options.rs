//! Socket options: read and written as plain numbers and times, their ranges checked above.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// The times of keepalive probes to a silent TCP peer. The first is sent after `idle` without a
/// packet from it, the next ones after `interval` each. After `count` probes without an answer the
/// connection is broken (`ETIMEDOUT`).
///
/// `idle` and `interval` are 1 to 32,767 s, rounded up to whole seconds; `count` is 1 to 127. These
/// are Linux's limits (tcp(7)). The default is that of most systems: 2 h, 75 s, 9.
///
/// # Examples
///
/// ```
/// use soloio::{Keepalive, connect_tcp, create_tcp_listener};
/// use std::time::Duration;
///
/// soloio::block_on(async {
///     let listener = create_tcp_listener().local_host("127.0.0.1").await?;
///     let client = connect_tcp("127.0.0.1", listener.local_addr().port()).await?;
///     assert_eq!(client.keepalive()?, None);
///     let keepalive = Keepalive { idle: Duration::from_secs(60), ..Keepalive::default() };
///     client.set_keepalive(Some(keepalive))?;
///     assert_eq!(client.keepalive()?, Some(keepalive));
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// The silence before the first probe.
    pub idle: Duration,
    /// The time between two probes.
    pub interval: Duration,
    /// The number of probes.
    pub count: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(7200),
            interval: Duration::from_secs(75),
            count: 9,
        }
    }
}

/// Returns whether small packets are sent at once.
pub(crate) fn nodelay(fd: BorrowedFd<'_>) -> io::Result<bool> {
    SockRef::from(&fd).tcp_nodelay()
}

/// Returns idle time, interval and count of keepalive probes; `None` if they are off.
pub(crate) fn keepalive(fd: BorrowedFd<'_>) -> io::Result<Option<Keepalive>> {
    let socket = SockRef::from(&fd);
    if !socket.keepalive()? {
        return Ok(None);
    }
    Ok(Some(Keepalive {
        idle: socket.tcp_keepalive_time()?,
        interval: socket.tcp_keepalive_interval()?,
        count: socket.tcp_keepalive_retries()?,
    }))
}

/// Sets the keepalive probes, in whole seconds, and enables or disables them.
pub(crate) fn set_keepalive(fd: BorrowedFd<'_>, keepalive: Option<Keepalive>) -> io::Result<()> {
    let socket = SockRef::from(&fd);
    let Some(to) = keepalive else {
        return socket.set_keepalive(false);
    };
    let times = TcpKeepalive::new().with_time(to.idle);
    let probes = times.with_interval(to.interval).with_retries(to.count);
    socket.set_tcp_keepalive(&probes)
}

/// Returns the size of the kernel's receive buffer, in bytes as the kernel counts them.
pub(crate) fn receive_buffer_size(fd: BorrowedFd<'_>) -> io::Result<usize> {
    SockRef::from(&fd).recv_buffer_size()
}

/// Sets the size of the receive buffer.
pub(crate) fn set_receive_buffer_size(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    SockRef::from(&fd).set_recv_buffer_size(bytes)
}

/// Returns the size of the kernel's send buffer, in bytes as the kernel counts them.
pub(crate) fn send_buffer_size(fd: BorrowedFd<'_>) -> io::Result<usize> {
    SockRef::from(&fd).send_buffer_size()
}

/// Sets the size of the send buffer.
pub(crate) fn set_send_buffer_size(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    SockRef::from(&fd).set_send_buffer_size(bytes)
}

/// Returns the number of routers that a packet may pass.
pub(crate) fn ttl(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let socket = SockRef::from(&fd);
    socket.unicast_hops_v6().or_else(|_| socket.ttl_v4())
}

/// Sets the number of routers that a packet may pass.
pub(crate) fn set_ttl(fd: BorrowedFd<'_>, ttl: u8) -> io::Result<()> {
    let (socket, ttl) = (SockRef::from(&fd), u32::from(ttl));
    of_both(socket.set_unicast_hops_v6(ttl), || socket.set_ttl_v4(ttl))
}

/// Returns the byte of the IP header for the treatment of packets.
pub(crate) fn tos(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let socket = SockRef::from(&fd);
    socket.tclass_v6().or_else(|_| socket.tos_v4())
}

/// Sets the byte of the IP header for the treatment of packets.
pub(crate) fn set_tos(fd: BorrowedFd<'_>, tos: u8) -> io::Result<()> {
    let (socket, tos) = (SockRef::from(&fd), u32::from(tos));
    of_both(socket.set_tclass_v6(tos), || socket.set_tos_v4(tos))
}

/// An IPv6 socket may have IPv4 peers, for which the IPv4 option is needed. If it may not, setting
/// that option fails, which does not matter. An IPv4 socket has only the IPv4 option.
fn of_both(v6: io::Result<()>, v4: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match (v6, v4()) {
        (Ok(()), _) => Ok(()),
        (Err(_), v4) => v4,
    }
}

/// Returns the time that sent bytes may stay unacknowledged; `None` means the system's default.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn user_timeout(fd: BorrowedFd<'_>) -> io::Result<Option<Duration>> {
    let timeout = SockRef::from(&fd).tcp_user_timeout()?;
    Ok(timeout.filter(|timeout| !timeout.is_zero()))
}

/// Sets the time that sent bytes may stay unacknowledged, in whole milliseconds.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn set_user_timeout(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<()> {
    SockRef::from(&fd).set_tcp_user_timeout(timeout)
}
