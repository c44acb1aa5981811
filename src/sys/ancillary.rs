//! Descriptors sent with the bytes of a message (`SCM_RIGHTS`, unix(7)).
//!
//! There is room for all control data that the socket's options make the kernel add. Unexpected
//! control data is skipped, and its descriptors are closed. Descriptors are close-on-exec from the
//! start if the system supports that (`MSG_CMSG_CLOEXEC`).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::check;
use super::control::{Kind, messages, put, space};
use super::room::message;
use super::socket::NO_SIGNAL;

/// The largest number of descriptors in one message (`SCM_MAX_FD` of Linux; other systems allow at
/// least as many).
pub(crate) const MAX_SENT: usize = 253;

/// More than any system puts into one message.
const MAX_RECEIVED: usize = 1024;

/// Size of a descriptor's number.
const FD: usize = size_of::<RawFd>();

/// Bytes for all other control data that socket options may make the kernel add: the sender's
/// credentials, process and security label (a page at most), the time.
const OTHERS: usize = 4096 + 512;

/// The size of the buffer for control data of a received message.
const ROOM: usize = space(MAX_RECEIVED * FD) + OTHERS;

/// Sends a prefix of `data` with descriptors beside its first byte, and returns its length.
pub(crate) fn send(fd: BorrowedFd<'_>, data: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let numbers = fds.iter().flat_map(|fd| fd.as_raw_fd().to_ne_bytes());
    let mut control = vec![0; space(fds.len() * FD)];
    put(&mut control, RIGHTS, &numbers.collect::<Vec<_>>());
    let mut part = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    let message = message(&mut part, &mut control);
    // SAFETY: the message points at valid data, which is only read, and valid control data.
    check(unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, NO_SIGNAL) })
}

/// The result of one receive.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) length: usize,
    pub(crate) fds: Vec<OwnedFd>,
    /// Not all sent descriptors are there: there were more than requested, or no number was free.
    /// The received ones were closed.
    pub(crate) truncated: bool,
    /// There was control data, at which a receive stops even if more bytes wait.
    pub(crate) is_marked: bool,
}

/// Receives bytes and at most `max` descriptors. Other options of the socket may make the kernel
/// add more control data; a descriptor in that is closed.
pub(crate) fn recv(fd: BorrowedFd<'_>, buf: &mut [u8], max: usize) -> io::Result<Received> {
    let mut control = [0; ROOM];
    let mut part = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    let mut message = message(&mut part, &mut control);
    // SAFETY: the message points at a valid buffer and valid control room.
    let length = check(unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, CLOEXEC) })?;
    #[allow(clippy::unnecessary_cast, reason = "the type differs between systems")]
    let written = (message.msg_controllen as usize).min(ROOM);
    let mut fds = Vec::new();
    for (kind, data) in messages(&control[..written]) {
        // SAFETY: the kernel has just made these descriptors for us, and no other code has them.
        let came = descriptors(kind, data).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        match kind {
            RIGHTS => fds.extend(came),
            _ => came.for_each(drop),
        }
    }
    let cut = message.msg_flags & libc::MSG_CTRUNC != 0;
    let truncated = cut || fds.len() > max;
    if truncated {
        fds.clear();
    }
    #[cfg(target_vendor = "apple")]
    close_on_exec(&fds)?;
    Ok(Received {
        length,
        fds,
        truncated,
        is_marked: cut || written > 0,
    })
}

#[cfg(not(target_vendor = "apple"))]
const CLOEXEC: i32 = libc::MSG_CMSG_CLOEXEC;
#[cfg(target_vendor = "apple")]
const CLOEXEC: i32 = 0;

/// Apple's systems cannot set it on arrival.
#[cfg(target_vendor = "apple")]
fn close_on_exec(fds: &[OwnedFd]) -> io::Result<()> {
    for fd in fds {
        // SAFETY: the descriptor is open; no memory is passed.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    }
    Ok(())
}

const RIGHTS: Kind = (libc::SOL_SOCKET, libc::SCM_RIGHTS);

/// The sender's process (`SO_PASSPIDFD`, Linux 6.5; libc has no name for it yet).
const PIDFD: Kind = (
    libc::SOL_SOCKET,
    if cfg!(any(target_os = "linux", target_os = "android")) {
        4
    } else {
        -1
    },
);

/// The descriptors in a control message. A number below 0 means one that could not be made.
fn descriptors(kind: Kind, data: &[u8]) -> impl Iterator<Item = RawFd> + '_ {
    let is_known = matches!(kind, RIGHTS | PIDFD);
    let data = if is_known { data } else { &[] };
    data.chunks_exact(FD)
        .map(|bytes| RawFd::from_ne_bytes(bytes.try_into().expect("an exact chunk")))
        .filter(|fd| *fd >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::super::control::HEADER;
    use super::super::socket::{self, pair};

    #[test]
    fn descriptors_arrive_close_on_exec_and_the_surplus_is_gone() {
        let (a, b) = pair(socket::Kind::Stream).expect("a pair");
        let null = File::open("/dev/null").expect("a descriptor");
        for (sent, room) in [(1, 1), (5, 6), (6, 5), (64, 5), (253, 253), (7, 0)] {
            let fds = vec![null.as_fd(); sent];
            assert_eq!(send(a.as_fd(), b"data", &fds).expect("sent"), 4);
            let mut buf = [0; 9];
            let got = recv(b.as_fd(), &mut buf, room).expect("received");
            let kept = if sent > room { 0 } else { sent };
            assert_eq!((got.length, got.fds.len()), (4, kept));
            assert_eq!(got.truncated, sent > room);
            for fd in &got.fds {
                // SAFETY: no memory is passed.
                let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) };
                assert_eq!(flags, libc::FD_CLOEXEC);
            }
        }
    }

    #[test]
    fn no_length_is_trusted() {
        let count = |control: &[u8]| {
            let all = messages(control).flat_map(|(kind, data)| descriptors(kind, data));
            all.count()
        };
        let mut control = [0; 2 * space(8)];
        let used = put(&mut control, RIGHTS, &[0; 8]);
        put(
            &mut control[used..],
            PIDFD,
            &[255, 255, 255, 255, 0, 0, 0, 0],
        );
        assert_eq!(count(&control), 3, "one could not be made");
        for length in 0..control.len() {
            let whole = length.saturating_sub(HEADER) / FD;
            assert!(count(&control[..length]) <= whole.min(2), "{length}");
        }
        // Wrong lengths in the header: shorter than itself, longer than the data.
        for (lie, found) in [(0, 0), (3, 0), (200, 2)] {
            control[0] = lie;
            assert_eq!(count(&control[..used]), found, "{lie}");
        }
        assert_eq!(count(&[0; 100]), 0);
        assert_eq!(count(&[255; 100]), 0);
    }
}
