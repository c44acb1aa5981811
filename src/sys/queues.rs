//! The number of bytes in the kernel's queues of a socket.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// Returns the number of bytes that the peer's kernel has not acknowledged; `ended` if our
/// direction has ended, which Linux counts as one more. 0 if the system does not report it.
pub(crate) fn unacknowledged(fd: BorrowedFd<'_>, ended: bool) -> usize {
    queued(fd, ended).unwrap_or(0)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn queued(fd: BorrowedFd<'_>, ended: bool) -> io::Result<usize> {
    Ok(number(fd, libc::TIOCOUTQ)?.saturating_sub(usize::from(ended)))
}

#[cfg(target_vendor = "apple")]
fn queued(fd: BorrowedFd<'_>, _ended: bool) -> io::Result<usize> {
    let bytes: libc::c_int = super::sockopt::get(fd, libc::SOL_SOCKET, libc::SO_NWRITE, 0)?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

#[cfg(target_os = "freebsd")]
fn queued(fd: BorrowedFd<'_>, _ended: bool) -> io::Result<usize> {
    number(fd, libc::FIONWRITE)
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_vendor = "apple"
)))]
fn queued(_fd: BorrowedFd<'_>, _ended: bool) -> io::Result<usize> {
    Ok(0)
}

/// Returns the number of bytes that a receive would find.
pub(crate) fn unread(fd: BorrowedFd<'_>) -> usize {
    number(fd, libc::FIONREAD).unwrap_or(0)
}

/// The type of libc's requests of ioctl(2).
#[cfg(any(target_os = "android", target_env = "musl"))]
type Request = libc::c_int;
#[cfg(not(any(target_os = "android", target_env = "musl")))]
type Request = libc::c_ulong;

/// Calls an ioctl that returns a number of bytes.
pub(super) fn number(fd: BorrowedFd<'_>, which: Request) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the requests that it is called with write one integer.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), which, &raw mut bytes) })?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}
