//! Foreign descriptors: a duplicate to watch, and its readiness.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::poller::ready;
use super::{check, errno};

/// Duplicates a descriptor, so that it can be watched beside others of the same file: a poller
/// accepts each number once. Also returns whether it is a file. Only the poller knows whether a
/// file can be watched: files of procfs, of cgroups and of pressure stall information can.
///
/// # Errors
///
/// No descriptor is free, or the descriptor is closed. On systems other than Linux also for a file,
/// with [`unwatched`].
pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, bool)> {
    let file = File::from(fd.try_clone_to_owned()?);
    let kind = file.metadata()?.file_type();
    let is_file = kind.is_file() || kind.is_dir();
    match is_file && !cfg!(any(target_os = "linux", target_os = "android")) {
        true => Err(unwatched()),
        false => Ok((file.into(), is_file)),
    }
}

/// Returns true if calls on it may block.
pub(crate) fn is_blocking(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // `SockRef` reads this flag of any descriptor.
    socket2::SockRef::from(&fd).nonblocking().map(|is| !is)
}

/// The error of a file that the poller does not accept.
pub(crate) fn unwatched() -> io::Error {
    errno::invalid("a regular file or a directory that the kernel does not watch")
}

/// Returns true if a call in this direction (one of the bits of [`ready`]) would not block now; for
/// `ENDED`, if nothing more will come.
pub(crate) fn is_ready(fd: BorrowedFd<'_>, direction: u8) -> io::Result<bool> {
    let asked = match direction {
        ready::WRITE => libc::POLLOUT,
        ready::URGENT => libc::POLLPRI,
        #[cfg(any(target_os = "linux", target_os = "android"))]
        ready::ENDED => libc::POLLRDHUP,
        _ => libc::POLLIN,
    };
    let mut entry = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: asked,
        revents: 0,
    };
    // SAFETY: one valid entry; a timeout of 0 returns at once.
    check(unsafe { libc::poll(&raw mut entry, 1, 0) })?;
    if entry.revents & libc::POLLNVAL != 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    Ok(entry.revents & (asked | libc::POLLERR | libc::POLLHUP) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn it_is_ready_when_it_is() {
        let (read, mut write) = UnixStream::pair().expect("a pair");
        let ready = |fd: BorrowedFd<'_>, way| is_ready(fd, way).expect("an open descriptor");
        assert!(!ready(read.as_fd(), ready::READ) && ready(write.as_fd(), ready::WRITE));
        write.write_all(b"x").expect("written");
        assert!(ready(read.as_fd(), ready::READ));
        let (copy, is_file) = duplicate(read.as_fd()).expect("a duplicate");
        assert!(!is_file);
        assert!(ready(copy.as_fd(), ready::READ));
        drop((read, copy));
        assert!(ready(write.as_fd(), ready::WRITE), "the error is to be met");
    }
}
