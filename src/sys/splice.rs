//! Transfers bytes from one descriptor to another without passing through this process (Linux):
//! splice(2) with a pipe, sendfile(2).
//!
//! Neither has a flag like `MSG_NOSIGNAL`: a peer that is gone would raise SIGPIPE, which ends a
//! program that has not ignored it. So the signal is blocked around the call, and removed if it was
//! raised.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;

use super::check;
use super::clock::NO_TIME;

/// The size of a pipe if the system allows it, in bytes: four times the default, so that one call
/// usually takes all that a socket has queued.
pub(crate) const PIPE: usize = 256 * 1024;

/// A buffer in the kernel for bytes in transit.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    pub(crate) fn new() -> io::Result<Self> {
        let mut fds: [RawFd; 2] = [-1; 2];
        // SAFETY: the call writes two integers, which `fds` has room for.
        check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
        // SAFETY: the call above just made these descriptors, and no other code has them.
        let [read, write] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        // Refused if this user has many large pipes: then it keeps the default size.
        // SAFETY: no memory is passed.
        let _size = unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE) };
        Ok(Self { read, write })
    }

    /// Moves bytes from a socket into the pipe, which is empty; returns 0 at the end of the stream.
    pub(crate) fn fill(&self, from: BorrowedFd<'_>) -> io::Result<usize> {
        splice(from.as_raw_fd(), self.write.as_raw_fd(), PIPE)
    }

    /// Moves a prefix of the `length` bytes in the pipe to a socket, and returns its length.
    pub(crate) fn drain(&self, to: BorrowedFd<'_>, length: usize) -> io::Result<usize> {
        without_sigpipe(|| splice(self.read.as_raw_fd(), to.as_raw_fd(), length))
    }

    /// Takes the `length` bytes out of the pipe.
    pub(crate) fn take(&self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let mut got = 0;
        while got < length {
            let rest = &mut bytes[got..];
            // SAFETY: pointer and length are those of one valid buffer.
            got += check(unsafe {
                libc::read(self.read.as_raw_fd(), rest.as_mut_ptr().cast(), rest.len())
            })?;
        }
        Ok(bytes)
    }
}

fn splice(from: RawFd, to: RawFd, length: usize) -> io::Result<usize> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    // SAFETY: no offsets are passed, so no memory is.
    check(unsafe { libc::splice(from, null_mut(), to, null_mut(), length, flags) })
}

/// Sends at most `length` bytes of a file from `offset` on, and returns the number; 0 if the file
/// ends there.
pub(crate) fn send_file(
    to: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    offset: u64,
    length: usize,
) -> io::Result<usize> {
    let too_far = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut offset: libc::off64_t = offset.try_into().map_err(too_far)?;
    without_sigpipe(|| {
        // SAFETY: the offset is valid for the length of the call.
        check(unsafe {
            libc::sendfile64(to.as_raw_fd(), file.as_raw_fd(), &raw mut offset, length)
        })
    })
}

/// Makes a call that may raise SIGPIPE on this thread, and removes that signal.
fn without_sigpipe<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let (only, mut before) = (only_sigpipe(), MaybeUninit::<libc::sigset_t>::uninit());
    // SAFETY: both sets are valid; the second is filled by the call, which cannot fail.
    let before = unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const only, before.as_mut_ptr());
        before.assume_init()
    };
    // SAFETY: the set is valid.
    let was_blocked = unsafe { libc::sigismember(&raw const before, libc::SIGPIPE) } == 1;
    // A signal that was raised before belongs to the code that blocked it.
    let was_raised = was_blocked && is_raised();
    let result = call();
    if matches!(&result, Err(error) if error.raw_os_error() == Some(libc::EPIPE)) && !was_raised {
        let at_once = NO_TIME;
        // Finds none if the kernel raised none.
        // SAFETY: the set and the time are valid; details of the signal are not requested.
        unsafe { libc::sigtimedwait(&raw const only, null_mut(), &raw const at_once) };
    }
    if !was_blocked {
        // SAFETY: the set is valid.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, null_mut()) };
    }
    result
}

fn only_sigpipe() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the first call initialises the set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE);
        set.assume_init()
    }
}

fn is_raised() -> bool {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the first call initialises the set.
    unsafe {
        libc::sigpending(set.as_mut_ptr());
        libc::sigismember(set.as_ptr(), libc::SIGPIPE) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    use super::super::room::{Room, no_scratch};
    use super::super::socket::{self, Kind, pair};

    #[test]
    fn bytes_go_through_and_can_be_taken_back() {
        let (a, b) = pair(Kind::Stream).expect("a pair");
        let (c, d) = pair(Kind::Stream).expect("a pair");
        let pipe = Pipe::new().expect("two descriptors");
        socket::send(a.as_fd(), b"0123456789").expect("sent");
        assert_eq!(pipe.fill(b.as_fd()).expect("spliced"), 10);
        assert_eq!(pipe.drain(c.as_fd(), 4).expect("spliced"), 4);
        assert_eq!(pipe.take(6).expect("they are there"), b"456789");
        let mut buf = [0; 9];
        let got = Room::new(&mut buf).receive(d.as_fd(), false, no_scratch);
        assert_eq!(got.expect("bytes").0, 4);
        assert_eq!(&buf[..4], b"0123");
        let nothing = pipe.fill(b.as_fd()).expect_err("the queue is empty");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        drop(a);
        assert_eq!(pipe.fill(b.as_fd()).expect("the end"), 0);
    }

    #[test]
    fn a_peer_that_is_gone_raises_no_signal() {
        extern "C" fn heard(_: i32) {
            HEARD.store(true, std::sync::atomic::Ordering::SeqCst);
        }
        static HEARD: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        // SAFETY: the handler stores a flag, which is safe at any moment.
        let before = unsafe { libc::signal(libc::SIGPIPE, heard as extern "C" fn(i32) as usize) };
        let (a, b) = pair(Kind::Stream).expect("a pair");
        let (c, d) = pair(Kind::Stream).expect("a pair");
        let pipe = Pipe::new().expect("two descriptors");
        socket::send(a.as_fd(), b"x").expect("sent");
        assert_eq!(pipe.fill(b.as_fd()).expect("spliced"), 1);
        drop(d);
        let gone = pipe.drain(c.as_fd(), 1).expect_err("nobody is there");
        assert_eq!(gone.kind(), io::ErrorKind::BrokenPipe);
        let file = std::fs::File::open("/proc/self/exe").expect("this test");
        let gone = send_file(c.as_fd(), file.as_fd(), 0, 10).expect_err("nobody is there");
        assert_eq!(gone.kind(), io::ErrorKind::BrokenPipe);
        // SAFETY: as above; `before` came from the same call.
        unsafe { libc::signal(libc::SIGPIPE, before) };
        assert!(!HEARD.load(std::sync::atomic::Ordering::SeqCst));
    }
}
