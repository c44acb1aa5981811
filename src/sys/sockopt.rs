//! Socket options in the kernel's form; and the options that the library itself needs.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use socket2::SockRef;

/// The value of a socket option, in the form that the kernel reads and writes.
///
/// # Safety
///
/// The type consists of integers: all bytes are valid.
pub(super) unsafe trait Integers: Copy {}

// SAFETY: an integer.
unsafe impl Integers for libc::c_int {}
// SAFETY: integers.
unsafe impl<const N: usize> Integers for [u32; N] {}
// SAFETY: integers.
#[cfg(any(target_os = "linux", target_os = "android"))]
unsafe impl Integers for libc::ucred {}
// SAFETY: integers.
#[cfg(any(target_os = "linux", target_os = "android"))]
unsafe impl Integers for libc::ip_mreqn {}

/// Reads an option into `value`. `Unsupported` if the kernel fills only the beginning of it.
#[cfg(any(
    feature = "adopt",
    feature = "options",
    feature = "udp-batch",
    feature = "unix-ext",
    target_vendor = "apple"
))]
#[allow(clippy::cast_possible_truncation, reason = "36 bytes at most")]
pub(super) fn get<T: Integers>(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    mut value: T,
) -> io::Result<T> {
    use std::os::fd::AsRawFd;

    let mut length = size_of::<T>() as libc::socklen_t;
    let place = (&raw mut value).cast();
    // SAFETY: the kernel writes at most `length` bytes, which `value` has; its type takes any.
    super::check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, place, &raw mut length) })?;
    if (length as usize) < size_of::<T>() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(value)
}

/// Sets an option.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(clippy::cast_possible_truncation, reason = "12 bytes at most")]
pub(super) fn set<T: Integers>(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: T,
) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let length = size_of::<T>() as libc::socklen_t;
    let value = (&raw const value).cast();
    // SAFETY: pointer and length are those of one valid value.
    super::check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value, length) }).map(drop)
}

/// Returns whether closing resets the connection.
pub(crate) fn zero_linger(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(SockRef::from(&fd).linger()? == Some(Duration::ZERO))
}

/// Removes a linger time for which closing would block the thread. Zero, which resets, stays.
pub(crate) fn linger_no_longer(fd: BorrowedFd<'_>) -> io::Result<()> {
    let socket = SockRef::from(&fd);
    match socket.linger()? {
        Some(time) if !time.is_zero() => socket.set_linger(None),
        _ => Ok(()),
    }
}

/// Sets whether closing resets the connection. (No other time can be set: it would block the thread
/// that closes.)
pub(crate) fn set_zero_linger(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    SockRef::from(&fd).set_linger(on.then_some(Duration::ZERO))
}

/// Returns whether the socket may send to broadcast addresses.
pub(crate) fn broadcast(fd: BorrowedFd<'_>) -> io::Result<bool> {
    SockRef::from(&fd).broadcast()
}

/// Disables merging of datagrams; those that are already queued may lose their sizes.
#[cfg(any(feature = "adopt", feature = "udp-batch"))]
pub(crate) fn part(fd: BorrowedFd<'_>) {
    // Refused by a kernel that cannot merge them either; only Linux can.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    drop(set(fd, libc::SOL_UDP, libc::UDP_GRO, 0));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _unused = fd;
}
