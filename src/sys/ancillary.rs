//! Descriptors that travel beside the bytes of a UNIX socket (`SCM_RIGHTS`, unix(7)).
//!
//! What arrives is close-on-exec from the start where the system can (`MSG_CMSG_CLOEXEC`). The
//! control buffer is read by hand and never past what the kernel says it wrote: Apple's systems
//! leave a length in a truncated header that is larger than the buffer.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::check;
use super::socket::NO_SIGNAL;

/// The most descriptors one message takes (`SCM_MAX_FD` of Linux; others take at least as many).
pub(crate) const MAX_SENT: usize = 253;

/// More than any system puts into one message.
const MAX_RECEIVED: usize = 1024;

/// Size of a header, with the padding before its data.
const HEADER: usize = {
    // SAFETY: pure arithmetic.
    unsafe { libc::CMSG_LEN(0) as usize }
};

/// Room for control data, aligned for its headers.
#[derive(Debug)]
struct Control {
    words: Vec<u64>,
    length: usize,
}

impl Control {
    /// For so many descriptors, and not one more: what the kernel finds no room for it closes
    /// itself, and says so.
    #[allow(clippy::cast_possible_truncation, reason = "4 KiB at most")]
    fn for_descriptors(count: usize) -> Self {
        let size = (count * size_of::<RawFd>()) as libc::c_uint;
        // SAFETY: pure arithmetic.
        let (space, length) = unsafe { (libc::CMSG_SPACE(size), libc::CMSG_LEN(size)) };
        Self {
            words: vec![0; (space as usize).div_ceil(size_of::<u64>())],
            length: length as usize,
        }
    }

    fn bytes(&self) -> &[u8] {
        let all = self.words.as_ptr().cast::<u8>();
        // SAFETY: the words are initialised, and `length` bytes of them exist.
        unsafe { std::slice::from_raw_parts(all, self.length) }
    }
}

/// Sends a prefix of `data` with descriptors beside its first byte, and tells its length.
pub(crate) fn send(fd: BorrowedFd<'_>, data: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut control = Control::for_descriptors(fds.len());
    let mut part = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    let mut message = message(&mut part, &mut control);
    // On some systems the length has to be that with the padding.
    message.msg_controllen = (control.words.len() * size_of::<u64>()) as _;
    let header = control.words.as_mut_ptr().cast::<libc::cmsghdr>();
    // SAFETY: the buffer is aligned for a header, and has room for one and for the descriptors
    // behind it.
    unsafe {
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = control.length as _;
        let place = header.cast::<u8>().add(HEADER).cast::<RawFd>();
        for (n, fd) in fds.iter().enumerate() {
            place.add(n).write(fd.as_raw_fd());
        }
    }
    // SAFETY: the message points at valid data, which is only read, and valid control data.
    check(unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, NO_SIGNAL) })
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::unnecessary_cast,
    reason = "the types of lengths differ between systems; 4 KiB at most"
)]
fn message(part: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: a msghdr is integers and pointers, valid as zeros.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = control.words.as_mut_ptr().cast();
    message.msg_controllen = control.length as _;
    message
}

/// What one receive brought.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) length: usize,
    pub(crate) fds: Vec<OwnedFd>,
    /// Descriptors were sent that did not arrive: no room was asked for, or no number was free.
    pub(crate) truncated: bool,
}

/// Receives bytes and at most `max` descriptors; those beyond are closed.
pub(crate) fn recv(fd: BorrowedFd<'_>, buf: &mut [u8], max: usize) -> io::Result<Received> {
    let max = max.min(MAX_RECEIVED);
    let mut control = Control::for_descriptors(max);
    let mut part = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    let mut message = message(&mut part, &mut control);
    // SAFETY: the message points at a valid buffer and valid control room.
    let length = check(unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, CLOEXEC) })?;
    #[allow(clippy::unnecessary_cast, reason = "the type differs between systems")]
    let written = (message.msg_controllen as usize).min(control.length);
    control.length = written;
    let mut fds = descriptors(control.bytes())
        // SAFETY: the kernel has just made these descriptors for us, and nobody else knows them.
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect::<Vec<_>>();
    let truncated = message.msg_flags & libc::MSG_CTRUNC != 0 || fds.len() > max;
    fds.truncate(max);
    close_on_exec(&fds)?;
    Ok(Received {
        length,
        fds,
        truncated,
    })
}

#[cfg(not(target_vendor = "apple"))]
const CLOEXEC: i32 = libc::MSG_CMSG_CLOEXEC;
#[cfg(target_vendor = "apple")]
const CLOEXEC: i32 = 0;

#[cfg(not(target_vendor = "apple"))]
#[allow(
    clippy::unnecessary_wraps,
    reason = "elsewhere there is a call to make"
)]
fn close_on_exec(_fds: &[OwnedFd]) -> io::Result<()> {
    Ok(())
}

/// Apple's systems cannot do it on arrival.
#[cfg(target_vendor = "apple")]
fn close_on_exec(fds: &[OwnedFd]) -> io::Result<()> {
    for fd in fds {
        // SAFETY: the descriptor is open; no memory is passed.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    }
    Ok(())
}

/// The descriptors in control data. Pure: trusts no length in it beyond the data's own.
fn descriptors(control: &[u8]) -> impl Iterator<Item = RawFd> + '_ {
    let mut rest = control;
    let messages = std::iter::from_fn(move || {
        let (header, length) = header(rest)?;
        let data = &rest[HEADER..length];
        // Each message begins at a multiple of the header's alignment.
        let step = length.next_multiple_of(align_of::<libc::cmsghdr>());
        rest = rest.get(step..).unwrap_or_default();
        Some((header, data))
    });
    messages
        .filter(|((level, kind), _)| (*level, *kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS))
        .flat_map(|(_, data)| {
            data.chunks_exact(size_of::<RawFd>())
                .map(|bytes| RawFd::from_ne_bytes(bytes.try_into().expect("an exact chunk")))
        })
}

/// Level and type of the first message, and its length as far as it lies inside.
fn header(control: &[u8]) -> Option<((i32, i32), usize)> {
    if control.len() < HEADER {
        return None;
    }
    // SAFETY: a header is integers, for which all bytes are good, and so many bytes are there; it
    // need not be aligned.
    let header: libc::cmsghdr =
        unsafe { control.as_ptr().cast::<libc::cmsghdr>().read_unaligned() };
    #[allow(clippy::unnecessary_cast, reason = "the type differs between systems")]
    let length = (header.cmsg_len as usize).min(control.len());
    // A length below the header's own would never come to an end.
    (length >= HEADER).then_some(((header.cmsg_level, header.cmsg_type), length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::super::socket::Kind;
    use super::super::unix;

    #[test]
    fn descriptors_arrive_close_on_exec_and_the_surplus_is_gone() {
        let (a, b) = unix::pair(Kind::Stream).expect("a pair");
        let null = File::open("/dev/null").expect("a descriptor");
        for (sent, room) in [(1, 1), (5, 6), (6, 5), (64, 5), (253, 253), (7, 0)] {
            let fds = vec![null.as_fd(); sent];
            assert_eq!(send(a.as_fd(), b"data", &fds).expect("sent"), 4);
            let mut buf = [0; 9];
            let got = recv(b.as_fd(), &mut buf, room).expect("received");
            assert_eq!((got.length, got.fds.len()), (4, sent.min(room)));
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
        let mut control = Control::for_descriptors(2);
        let header = control.words.as_mut_ptr().cast::<libc::cmsghdr>();
        let write = |length: usize| {
            // SAFETY: the buffer has room for a header and is aligned for it.
            unsafe {
                (*header).cmsg_level = libc::SOL_SOCKET;
                (*header).cmsg_type = libc::SCM_RIGHTS;
                (*header).cmsg_len = length as _;
            }
        };
        for (length, found) in [(HEADER + 8, 2), (HEADER + 4000, 2), (HEADER, 0), (3, 0)] {
            write(length);
            assert_eq!(descriptors(control.bytes()).count(), found, "{length}");
        }
        assert_eq!(descriptors(&[0; 100]).count(), 0);
        assert_eq!(descriptors(&[255; 100]).count(), 0);
    }
}
