//! Sockets that were made elsewhere: their kind, and adopting them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use socket2::SockRef;

use super::{check, errno, sockopt};

/// The family of a socket's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Domain {
    Internet,
    Unix,
    Other,
}

/// The way in which a socket transfers data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carries {
    Stream,
    Datagrams,
    Other,
}

/// The properties of a descriptor.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) domain: Domain,
    pub(crate) carries: Carries,
    /// `None` if the system does not report it.
    pub(crate) listens: Option<bool>,
    /// Plain TCP, and no other protocol that carries a stream.
    pub(crate) is_tcp: bool,
}

/// Reads the properties of a descriptor. The error is `ENOTSOCK` if it is not a socket.
pub(crate) fn read_facts(fd: BorrowedFd<'_>) -> io::Result<Facts> {
    let local = SockRef::from(&fd).local_addr()?;
    let carries = match sockopt::get(fd, libc::SOL_SOCKET, libc::SO_TYPE, 0)? {
        libc::SOCK_STREAM => Carries::Stream,
        libc::SOCK_DGRAM => Carries::Datagrams,
        _ => Carries::Other,
    };
    let domain = match i32::from(local.family()) {
        libc::AF_INET | libc::AF_INET6 => Domain::Internet,
        libc::AF_UNIX => Domain::Unix,
        _ => Domain::Other,
    };
    let is_inet_stream = domain == Domain::Internet && carries == Carries::Stream;
    Ok(Facts {
        domain,
        carries,
        // Not read for a datagram socket: some systems refuse it.
        listens: match carries {
            Carries::Stream => listens(fd)?,
            _ => Some(false),
        },
        is_tcp: is_inet_stream && protocol(fd)? == libc::IPPROTO_TCP,
    })
}

/// Apple's systems, OpenBSD and NetBSD have the option's number, but do not report it
/// (dotnet/runtime#34986). There a socket without a peer may listen or not.
fn listens(fd: BorrowedFd<'_>) -> io::Result<Option<bool>> {
    match sockopt::get(fd, libc::SOL_SOCKET, libc::SO_ACCEPTCONN, 0) {
        Err(error) if errno::is_unsupported(&error) => {
            let is_connected = SockRef::from(&fd).peer_addr().is_ok();
            Ok(is_connected.then_some(false))
        }
        listens => Ok(Some(listens? != 0)),
    }
}

/// Returns the internet address that a socket is bound to, in the form of its family: that of an
/// IPv6 socket may be a mapped IPv4 address.
pub(crate) fn family_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let local = SockRef::from(&fd).local_addr()?.as_socket();
    local.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn protocol(fd: BorrowedFd<'_>) -> io::Result<i32> {
    sockopt::get(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL, 0)
}

/// On other systems nothing depends on it.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn protocol(_fd: BorrowedFd<'_>) -> io::Result<i32> {
    Ok(libc::IPPROTO_TCP)
}

/// Sets the flags that the crate's own sockets have: non-blocking, close-on-exec, no SIGPIPE.
pub(crate) fn make_ours(fd: BorrowedFd<'_>) -> io::Result<()> {
    let socket = SockRef::from(&fd);
    socket.set_nonblocking(true)?;
    #[cfg(target_vendor = "apple")]
    socket.set_nosigpipe(true)?;
    socket.set_cloexec(true)
}

/// Makes the socket blocking, as std expects it.
pub(crate) fn make_blocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&fd).set_nonblocking(false)
}

/// The first descriptor that a service manager passes on (`sd_listen_fds(3)`).
const FIRST_PASSED: RawFd = 3;

/// Duplicates the `count` descriptors from 3 on, which the environment announces. The originals
/// become close-on-exec and stay open. If one of them is no socket, none is taken.
///
/// They are duplicates, because the environment may be wrong: the numbers may be descriptors that
/// this program has opened and owns.
pub(crate) fn take_passed(count: usize) -> io::Result<Vec<OwnedFd>> {
    let end = i32::try_from(count)
        .ok()
        .and_then(|n| FIRST_PASSED.checked_add(n));
    let end = end.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
    let passed = FIRST_PASSED..end;
    let duplicate = |number| {
        // Above all of them: it must not get the number of one that is missing.
        let copy = fcntl(number, libc::F_DUPFD_CLOEXEC, end)?;
        let copy = RawFd::try_from(copy).expect("a descriptor is a small number");
        // SAFETY: the call above just made this descriptor, and nothing else has its number.
        let copy = unsafe { OwnedFd::from_raw_fd(copy) };
        read_facts(copy.as_fd()).map(|_| copy)
    };
    let taken = passed.clone().map(duplicate).collect::<io::Result<_>>()?;
    for number in passed {
        fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC)?;
    }
    Ok(taken)
}

fn fcntl(number: RawFd, command: i32, argument: i32) -> io::Result<usize> {
    // SAFETY: no memory is passed, and the two commands used here close nothing: a number that is
    // not open is an error.
    check(unsafe { libc::fcntl(number, command, argument) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_told_apart() {
        let read_facts = |fd: BorrowedFd<'_>| {
            let facts = read_facts(fd).expect("a socket");
            (facts.domain, facts.carries, facts.listens, facts.is_tcp)
        };
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let internet = (Domain::Internet, Carries::Stream, Some(true), true);
        assert_eq!(read_facts(tcp.as_fd()), internet);
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let datagrams = (Domain::Internet, Carries::Datagrams, Some(false), false);
        assert_eq!(read_facts(udp.as_fd()), datagrams);
        let (unix, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let stream = (Domain::Unix, Carries::Stream, Some(false), false);
        assert_eq!(read_facts(unix.as_fd()), stream);
    }

    #[test]
    fn what_is_no_socket_is_an_error() {
        let file = std::fs::File::open("/dev/null").expect("a file");
        let error = read_facts(file.as_fd()).expect_err("no socket");
        assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
        assert!(take_passed(usize::MAX).is_err());
        assert!(take_passed(100_000).is_err(), "not that many are open");
    }

    #[test]
    fn a_blocking_socket_becomes_ours_and_blocking_again() {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        make_ours(udp.as_fd()).expect("options");
        let error = udp.recv(&mut [0; 9]).expect_err("nothing came");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        make_blocking(udp.as_fd()).expect("an option");
        let flags = SockRef::from(&udp).nonblocking().expect("a flag");
        assert!(!flags);
    }
}
