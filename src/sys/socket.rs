//! The socket calls: make, connect, accept, receive, send, shut down, options.
//!
//! Every descriptor made here is non-blocking, close-on-exec and raises no SIGPIPE. The calls of
//! the hot path (receiving, sending, accepting) use libc directly. The file is long because it has
//! a short function for each call.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::addr::{Inet, UnixName, unmapped};
use super::{check, errno};

/// The kind of socket to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A byte stream.
    Stream,
    /// Datagrams.
    Datagram,
    /// Messages over a connection.
    #[cfg(all(feature = "unix-ext", any(target_os = "linux", target_os = "android")))]
    Seqpacket,
}

impl From<Kind> for Type {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Stream => Self::STREAM,
            Kind::Datagram => Self::DGRAM,
            #[cfg(all(feature = "unix-ext", any(target_os = "linux", target_os = "android")))]
            Kind::Seqpacket => Self::SEQPACKET,
        }
    }
}

/// Set on each send, so that a closed peer is an error and not a signal.
#[cfg(not(target_vendor = "apple"))]
pub(super) const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;
/// Apple's systems have a socket option instead, which socket2 sets when it makes the socket.
#[cfg(target_vendor = "apple")]
pub(super) const NO_SIGNAL: i32 = 0;

/// A socket of the family of `address`.
pub(crate) fn internet(address: &SocketAddr, kind: Kind) -> io::Result<OwnedFd> {
    make(Domain::for_address(*address), kind)
}

/// A UNIX socket.
pub(crate) fn unix(kind: Kind) -> io::Result<OwnedFd> {
    make(Domain::UNIX, kind)
}

fn make(domain: Domain, kind: Kind) -> io::Result<OwnedFd> {
    let kind = Type::from(kind);
    // Set by the call that makes it, instead of two more calls.
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    let kind = kind.nonblocking();
    let socket = Socket::new(domain, kind, None)?;
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Sends a prefix of `data` and returns its length.
pub(crate) fn send(fd: BorrowedFd<'_>, data: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are those of one valid slice.
    check(unsafe { libc::send(fd.as_raw_fd(), data.as_ptr().cast(), data.len(), NO_SIGNAL) })
}

/// Sends a prefix of `parts`, as if they were one piece, and returns its length. With no bytes it
/// makes no call.
#[inline]
pub(crate) fn send_parts(fd: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    match parts {
        [part] if !part.is_empty() => send(fd, part),
        parts => send_vectored(fd, parts),
    }
}

#[inline(never)]
fn send_vectored(fd: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    if parts.iter().all(|part| part.is_empty()) {
        return Ok(0);
    }
    // More than the kernel's IOV_MAX (1,024 on all systems) would be refused as a whole.
    let parts = &parts[..parts.len().min(1024)];
    SockRef::from(&fd).send_vectored_with_flags(parts, NO_SIGNAL)
}

/// Receives one datagram; its sender is written into `from`, which is empty, if the kernel reports
/// it. Returns its length, which is more than that of the buffer if the datagram is truncated: with
/// `MSG_TRUNC` Linux returns its true length.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
pub(crate) fn recv_from(fd: BorrowedFd<'_>, buf: &mut [u8], from: &mut Inet) -> io::Result<usize> {
    let mut length = Inet::SIZE;
    // SAFETY: pointer and length are those of one valid buffer, and of one valid address.
    check(unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            buf.as_mut_ptr().cast(),
            buf.len(),
            libc::MSG_TRUNC,
            from.as_mut_ptr(),
            &raw mut length,
        )
    })
}

/// Receives one datagram, with calls that every system has.
#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
pub(crate) fn recv_from_portable(
    fd: BorrowedFd<'_>,
    buf: &mut [u8],
    from: &mut Inet,
) -> io::Result<usize> {
    let mut part = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: a msghdr is integers and pointers, valid as zeros.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = from.as_mut_ptr().cast();
    message.msg_namelen = Inet::SIZE;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    // SAFETY: the message points at one valid address and one valid buffer.
    let length = check(unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, 0) })?;
    let truncated = message.msg_flags & libc::MSG_TRUNC != 0;
    Ok(length + usize::from(truncated))
}

/// Receives one datagram.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use self::recv_from_portable as recv_from;

/// Sends one datagram, all of it or nothing.
#[inline]
pub(crate) fn send_to(fd: BorrowedFd<'_>, data: &[u8], to: &Inet) -> io::Result<usize> {
    // SAFETY: pointers and lengths are those of one valid slice and one valid address.
    check(unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            data.as_ptr().cast(),
            data.len(),
            NO_SIGNAL,
            to.as_ptr(),
            to.length(),
        )
    })
}

/// Wakes all pollers of a listener, in any process, because a connection woke one of them that does
/// not accept it.
pub(crate) fn tell_pollers(fd: BorrowedFd<'_>) {
    // On Linux this ends nothing of a listener, and wakes all that sleep on it. On other systems
    // each of them was woken for the connection.
    if cfg!(any(target_os = "linux", target_os = "android")) {
        // Fails on a socket that no longer listens.
        drop(SockRef::from(&fd).shutdown(Shutdown::Write));
    }
}

/// Accepts one connection; also returns its peer, if that has an internet address.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
pub(crate) fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    use std::os::fd::{FromRawFd, RawFd};

    let mut peer = Inet::default();
    let mut length = Inet::SIZE;
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the address is valid memory of the given length; a longer name is cut off.
    let accepted =
        check(unsafe { libc::accept4(fd.as_raw_fd(), peer.as_mut_ptr(), &raw mut length, flags) })?;
    let accepted = RawFd::try_from(accepted).expect("a descriptor is a small number");
    // SAFETY: the call above just made this descriptor, and no other code has it.
    Ok((unsafe { OwnedFd::from_raw_fd(accepted) }, peer.read()))
}

/// Accepts one connection; also returns its peer, if that has an internet address.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub(crate) fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    // Not `accept`, which on Apple's systems also sets the option for `NO_SIGNAL`: the socket has
    // it from its listener, and a client that has already left makes that fail (socket2#631).
    let (socket, peer) = SockRef::from(&fd).accept_raw()?;
    socket.set_cloexec(true)?;
    socket.set_nonblocking(true)?;
    Ok((socket.into(), peer.as_socket().map(unmapped)))
}

/// True if an accepted socket has the listener's TCP_NODELAY.
pub(crate) const NODELAY_IS_INHERITED: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Starts to connect; `Ok` if it is already done.
#[inline]
pub(crate) fn connect(fd: BorrowedFd<'_>, to: &SocketAddr) -> io::Result<()> {
    SockRef::from(&fd).connect(&SockAddr::from(*to))
}

/// Connects to a UNIX listener. If the backlog is full it returns `WouldBlock`, and nothing has
/// begun.
#[inline]
pub(crate) fn connect_unix(fd: BorrowedFd<'_>, to: &UnixName) -> io::Result<()> {
    SockRef::from(&fd).connect(&to.to_sock_addr()?)
}

/// Returns the result of a connect that has begun: the peer's address; `WouldBlock` while it
/// continues.
#[inline]
pub(crate) fn connect_result(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let socket = SockRef::from(&fd);
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(peer) => internet_address(&peer),
        // An event that came before the end of the connect.
        Err(error) if errno::is_not_connected(&error) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error),
    }
}

/// Gives the socket a local address.
pub(crate) fn bind(fd: BorrowedFd<'_>, address: &SocketAddr) -> io::Result<()> {
    SockRef::from(&fd).bind(&SockAddr::from(*address))
}

/// Makes a bind to port 0 set only the address, so that the connect chooses the port, which
/// connections to other peers may share (`IP_BIND_ADDRESS_NO_PORT`). On other systems the bind
/// chooses it.
pub(crate) fn choose_port_late(fd: BorrowedFd<'_>) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    drop(super::sockopt::set(
        fd,
        libc::IPPROTO_IP,
        libc::IP_BIND_ADDRESS_NO_PORT,
        1,
    ));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _unused = fd;
}

/// Binds a UNIX socket to a name.
pub(crate) fn bind_unix(fd: BorrowedFd<'_>, name: &UnixName) -> io::Result<()> {
    SockRef::from(&fd).bind(&name.to_sock_addr()?)
}

/// Starts to listen; the kernel clamps the backlog to its own limit.
pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: u32) -> io::Result<()> {
    SockRef::from(&fd).listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

/// Ends the sending direction.
pub(crate) fn shutdown_write(fd: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&fd).shutdown(Shutdown::Write)
}

/// Ends the connection at once and frees its address, while the descriptor number stays in use: a
/// dead socket replaces it. If no descriptor is free, both directions are shut down instead, which
/// ends the connection but leaves the address until the owner closes it. With `ends_others` the
/// connection also ends for duplicates of the descriptor.
pub(crate) fn kill(fd: BorrowedFd<'_>, ends_others: bool) {
    if ends_others {
        // Fails if it is not connected, and then there is nothing to end.
        drop(SockRef::from(&fd).shutdown(Shutdown::Both));
    }
    let replaced = unix(Kind::Stream).and_then(|dead| replace(fd, &dead));
    if replaced.is_err() {
        // Fails if it is not connected, and then there is nothing to end.
        drop(SockRef::from(&fd).shutdown(Shutdown::Both));
    }
}

/// Ends a connection at once by a reset; a UNIX stream has none, so its peer sees the end. If no
/// descriptor is free, the reset happens when the owner closes its descriptor.
pub(crate) fn reset(fd: BorrowedFd<'_>) {
    let lingers = super::sockopt::set_zero_linger(fd, true);
    let replaced = unix(Kind::Stream).and_then(|dead| replace(fd, &dead));
    // Each fails if it has already ended, or in the case described above.
    drop((lingers, replaced));
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn replace(fd: BorrowedFd<'_>, with: &OwnedFd) -> io::Result<()> {
    // SAFETY: both are open descriptors; the owner of the number does not change.
    check(unsafe { libc::dup3(with.as_raw_fd(), fd.as_raw_fd(), libc::O_CLOEXEC) }).map(drop)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn replace(fd: BorrowedFd<'_>, with: &OwnedFd) -> io::Result<()> {
    // SAFETY: both are open descriptors; the owner of the number does not change.
    check(unsafe { libc::dup2(with.as_raw_fd(), fd.as_raw_fd()) })?;
    SockRef::from(&fd).set_cloexec(true)
}

/// Returns the internet address that the socket is bound to.
pub(crate) fn local_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    internet_address(&SockRef::from(&fd).local_addr()?)
}

/// Returns the internet address that the socket is connected to.
pub(crate) fn peer_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    internet_address(&SockRef::from(&fd).peer_addr()?)
}

fn internet_address(address: &SockAddr) -> io::Result<SocketAddr> {
    address
        .as_socket()
        .map(unmapped)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an internet address"))
}

/// Returns the name that a UNIX socket is bound to.
pub(crate) fn local_name(fd: BorrowedFd<'_>) -> io::Result<UnixName> {
    Ok(UnixName::read(&SockRef::from(&fd).local_addr()?))
}

/// Returns the name that a UNIX socket is connected to.
pub(crate) fn peer_name(fd: BorrowedFd<'_>) -> io::Result<UnixName> {
    Ok(UnixName::read(&SockRef::from(&fd).peer_addr()?))
}

/// Makes two sockets that are connected with each other, without names.
#[inline]
pub(crate) fn pair(kind: Kind) -> io::Result<(OwnedFd, OwnedFd)> {
    let (a, b) = Socket::pair(Domain::UNIX, kind.into(), None)?;
    a.set_nonblocking(true)?;
    b.set_nonblocking(true)?;
    Ok((a.into(), b.into()))
}

/// Describes a descriptor for a person: with the peer's address, else its own. It must stay open
/// until this returns.
#[cfg(feature = "dump")]
pub(crate) fn describe(fd: std::os::fd::RawFd) -> String {
    // SAFETY: it is open. The one caller, the dump, holds the lock under which a socket that is
    // dropped on another thread posts that before it closes; on this thread the reactor removes it
    // before.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let internet = || peer_addr(socket).or_else(|_| local_addr(socket));
    let unix = || peer_name(socket).or_else(|_| local_name(socket));
    match (internet(), unix()) {
        (Ok(address), _) => format!("fd {fd}, {address}"),
        (_, Ok(name)) => format!("fd {fd}, {name}"),
        _ => format!("fd {fd}"),
    }
}

/// Returns true if the connection was reset, or has ended in both directions.
pub(crate) fn is_gone(fd: BorrowedFd<'_>) -> bool {
    SockRef::from(&fd).peer_addr().is_err()
}

/// Sends small packets at once, or lets them wait for more.
pub(crate) fn set_nodelay(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    SockRef::from(&fd).set_tcp_nodelay(on)
}

/// Lets a listener take an address that only closed connections still use.
pub(crate) fn set_reuse_addr(fd: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&fd).set_reuse_address(true)
}

/// Lets several sockets share an address; each of them must set it.
pub(crate) fn set_reuse_port(fd: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&fd).set_reuse_port(true)
}

/// Limits an IPv6 socket to IPv6, or lets it accept IPv4 too.
pub(crate) fn set_only_v6(fd: BorrowedFd<'_>, only: bool) -> io::Result<()> {
    SockRef::from(&fd).set_only_v6(only)
}

#[cfg(test)]
mod tests;
