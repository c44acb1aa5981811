//! UNIX socket calls beyond what all sockets have: datagrams by name, the peer's credentials.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::{MaybeUninitSlice, SockRef};

use super::addr::UnixName;
use super::check;
use super::socket::NO_SIGNAL;

/// A received datagram: its length in the buffer, its sender, and whether it was truncated.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) length: usize,
    pub(crate) from: UnixName,
    pub(crate) truncated: bool,
}

/// Receives one datagram.
pub(crate) fn recv_from(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<Received> {
    let room: *mut [u8] = buf;
    // SAFETY: initialised bytes are valid as bytes that may not be; no uninitialised ones are
    // written there, since the kernel only fills.
    let room = unsafe { &mut *(room as *mut [MaybeUninit<u8>]) };
    let parts = &mut [MaybeUninitSlice::new(room)];
    let (length, flags, from) = SockRef::from(&fd).recv_from_vectored_with_flags(parts, 0)?;
    Ok(Received {
        length,
        from: UnixName::read(&from),
        truncated: flags.is_truncated(),
    })
}

/// Returns the size of the datagram that the next receive takes, in bytes.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn next_size(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let flags = libc::MSG_PEEK | libc::MSG_TRUNC;
    // SAFETY: no room is offered, so nothing is written.
    check(unsafe { libc::recv(fd.as_raw_fd(), std::ptr::null_mut(), 0, flags) })
}

/// Returns at least the size of the datagram that the next receive takes, in bytes: FIONREAD also
/// counts the datagrams behind it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn next_size(fd: BorrowedFd<'_>) -> io::Result<usize> {
    // Checks that there is one: FIONREAD returns 0 for none and for an empty one.
    // SAFETY: no room is offered, so nothing is written.
    check(unsafe { libc::recv(fd.as_raw_fd(), std::ptr::null_mut(), 0, libc::MSG_PEEK) })?;
    super::queues::number(fd, libc::FIONREAD)
}

/// Sends one datagram to a name, all of it or nothing.
pub(crate) fn send_to(fd: BorrowedFd<'_>, data: &[u8], to: &UnixName) -> io::Result<usize> {
    SockRef::from(&fd).send_to_with_flags(data, &to.to_sock_addr()?, NO_SIGNAL)
}

/// The user, group and process at the other end when the connection was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerCredentials {
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// The process; `None` if the system does not report it. It may have ended since, and another
    /// process may have its number.
    pub pid: Option<i32>,
}

/// Returns the credentials of the other end (`SO_PEERCRED`, unix(7)).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn peer_credentials(fd: BorrowedFd<'_>) -> io::Result<PeerCredentials> {
    let none = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let credentials = super::sockopt::get(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, none)?;
    if credentials.pid == 0 && credentials.uid == u32::MAX {
        // The result of Linux for a socket without a peer.
        return Err(io::ErrorKind::NotConnected.into());
    }
    Ok(PeerCredentials {
        uid: credentials.uid,
        gid: credentials.gid,
        // 0: a process in a name space that this one cannot see.
        pid: Some(credentials.pid).filter(|pid| *pid != 0),
    })
}

/// Returns the credentials of the other end: getpeereid(3), which reads `LOCAL_PEERCRED`.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn peer_credentials(fd: BorrowedFd<'_>) -> io::Result<PeerCredentials> {
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: both are valid for the length of the call.
    check(unsafe { libc::getpeereid(fd.as_raw_fd(), &raw mut uid, &raw mut gid) })?;
    Ok(PeerCredentials {
        uid,
        gid,
        pid: peer_pid(fd)?,
    })
}

#[cfg(target_vendor = "apple")]
fn peer_pid(fd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let pid = super::sockopt::get(fd, libc::SOL_LOCAL, libc::LOCAL_PEERPID, 0)?;
    Ok(Some(pid).filter(|pid| *pid != 0))
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
#[allow(clippy::unnecessary_wraps, reason = "elsewhere the system is asked")]
fn peer_pid(_fd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::socket::{Kind, pair};
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn datagrams_tell_their_size_and_truncation() {
        let (a, b) = pair(Kind::Datagram).expect("a pair");
        for (data, cut) in [(&b"0123456789"[..], true), (b"0123", false), (b"", false)] {
            assert_eq!(
                crate::sys::socket::send(a.as_fd(), data).expect("sent"),
                data.len()
            );
            assert!(next_size(b.as_fd()).expect("one is there") >= data.len());
            let mut buf = [0; 4];
            let got = recv_from(b.as_fd(), &mut buf).expect("one is there");
            assert_eq!(&buf[..got.length], &data[..data.len().min(4)]);
            assert_eq!((got.truncated, got.from.is_unnamed()), (cut, true));
        }
        let nothing = next_size(b.as_fd()).expect_err("the queue is empty");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_pair_was_made_by_this_process() {
        let (a, _b) = pair(Kind::Stream).expect("a pair");
        let peer = peer_credentials(a.as_fd()).expect("connected");
        // SAFETY: these calls cannot fail and touch no memory.
        let own = unsafe { (libc::geteuid(), libc::getegid(), libc::getpid()) };
        assert_eq!((peer.uid, peer.gid), (own.0, own.1));
        assert!(peer.pid.is_none_or(|pid| pid == own.2));
        let alone = crate::sys::socket::unix(Kind::Stream).expect("a socket");
        assert!(peer_credentials(alone.as_fd()).is_err());
    }
}
