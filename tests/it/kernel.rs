//! Kernel functions for tests that std does not have: limits, signals, ancillary data, and calls
//! that fail on demand.

#![allow(unsafe_code, reason = "system calls; each is explained")]

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

fn check(result: i32) -> io::Result<i32> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        other => Ok(other),
    }
}

/// Limits the number of this process's descriptors: only for a test that runs alone.
pub(crate) fn limit_descriptors(max: u64) {
    let limit = libc::rlimit {
        rlim_cur: max,
        rlim_max: max.max(4096),
    };
    // SAFETY: the structure is valid for the length of the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })
        .expect("a lower limit");
}

/// Opens files until no descriptor is left: only for a test that runs alone.
pub(crate) fn use_up_descriptors() -> Vec<File> {
    limit_descriptors(crate::support::fds() as u64 + 10);
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// Sets a signal's default action: only for a test that runs alone.
pub(crate) fn default_action(signal: i32) {
    // SAFETY: the default action is no code of ours.
    let before = unsafe { libc::signal(signal, libc::SIG_DFL) };
    assert_ne!(before, libc::SIG_ERR);
}

/// Lets a signal interrupt system calls and do nothing else.
pub(crate) fn interrupt_by(signal: i32) {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: a sigaction is integers and pointers, valid as zeros; no SA_RESTART among them.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
    // SAFETY: the handler does nothing, which is safe at any moment.
    check(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) })
        .expect("a handler");
}

/// A thread, to send signals to.
#[derive(Clone, Copy)]
pub(crate) struct Thread(libc::pthread_t);

// SAFETY: a thread's ID may be used from any thread while the thread lives; see `signal`.
unsafe impl Send for Thread {}

impl Thread {
    pub(crate) fn current() -> Self {
        // SAFETY: always allowed.
        Self(unsafe { libc::pthread_self() })
    }

    /// Sends a signal; the thread must still live, which the caller ensures by joining it later.
    pub(crate) fn signal(self, signal: i32) {
        // SAFETY: the thread lives.
        assert_eq!(unsafe { libc::pthread_kill(self.0, signal) }, 0);
    }
}

/// Returns the processor time this thread has used.
pub(crate) fn thread_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is valid for the length of the call.
    check(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) })
        .expect("a clock of the thread");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Sends `data` with descriptors as ancillary data over a UNIX stream.
pub(crate) fn send_descriptors(socket: impl AsFd, data: &[u8], fds: &[BorrowedFd<'_>]) {
    let size = (fds.len() * size_of::<i32>()) as u32;
    // SAFETY: pure arithmetic.
    let mut control = vec![0_u64; unsafe { libc::CMSG_SPACE(size) }.div_ceil(8) as usize];
    let mut part = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    // SAFETY: a msghdr is integers and pointers, valid as zeros.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: pure arithmetic.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size) } as usize;
    // SAFETY: the control buffer has room for one header with `size` bytes, and is aligned for it.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size) as usize;
        let place = libc::CMSG_DATA(header).cast::<i32>();
        for (n, fd) in fds.iter().enumerate() {
            place.add(n).write_unaligned(fd.as_raw_fd());
        }
    }
    // SAFETY: the message points at valid data and control buffers.
    let sent = unsafe {
        libc::sendmsg(
            socket.as_fd().as_raw_fd(),
            &raw const message,
            libc::MSG_NOSIGNAL,
        )
    };
    assert_eq!(sent, data.len() as isize, "{}", io::Error::last_os_error());
}

/// Returns a pipe: the reading end, the writing end.
pub(crate) fn pipe() -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })
        .expect("a pipe");
    // SAFETY: the call above just opened them, and nothing else owns them.
    let own = |fd| File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    (own(ends[0]), own(ends[1]))
}

/// Returns a descriptor that reports the files made in a folder.
pub(crate) fn inotify(folder: &std::path::Path) -> File {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).expect("no NUL");
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) });
    // SAFETY: the call above just opened it, and nothing else owns it.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(fd.expect("inotify")) });
    // SAFETY: the path is a valid string for the length of the call.
    check(unsafe { libc::inotify_add_watch(file.as_raw_fd(), path.as_ptr(), libc::IN_CREATE) })
        .expect("a watch");
    file
}

/// Makes a named pipe.
pub(crate) fn named_pipe(path: &std::path::Path) {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).expect("no NUL");
    // SAFETY: the path is a valid string for the length of the call.
    check(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }).expect("a named pipe");
}

/// Binds a UNIX socket to a path that leaves no room for the NUL after it, or to a shorter one.
#[cfg(target_os = "linux")]
pub(crate) fn bind_without_nul(socket: impl AsFd, path: &std::path::Path) {
    let path = path.as_os_str().as_encoded_bytes();
    let name = [&(libc::AF_UNIX as u16).to_ne_bytes(), path].concat();
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: pointer and length are those of the vector, which has a family and a path.
    check(unsafe { libc::bind(fd, name.as_ptr().cast(), name.len() as u32) }).expect("a free path");
}

/// Locks an open file or folder; the lock ends with the file.
pub(crate) fn lock(file: &File) {
    // SAFETY: no memory is passed.
    check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) }).expect("a lock");
}

/// Replaces the file behind a descriptor, unnoticed by its owner.
pub(crate) fn replace(fd: impl AsFd, with: impl AsFd) {
    let (from, to) = (with.as_fd().as_raw_fd(), fd.as_fd().as_raw_fd());
    // SAFETY: both are open; the owner of the number stays the same.
    check(unsafe { libc::dup3(from, to, libc::O_CLOEXEC) }).expect("both are open");
}

/// Makes a system call of this thread fail from now on, for good, if the given argument of it is at
/// least `least`: only for a test that runs alone. Returns false if the kernel has no such filter.
pub(crate) fn fail_call(call: libc::c_long, argument: u32, least: u32, errno: i32) -> bool {
    let load = |offset| filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let jump = |kind, yes, no, value| filter(libc::BPF_JMP | kind | libc::BPF_K, yes, no, value);
    let answer = |value| filter(libc::BPF_RET | libc::BPF_K, 0, 0, value);
    // struct seccomp_data: number, architecture, instruction pointer, six arguments of 64 bits.
    let low = if cfg!(target_endian = "little") { 0 } else { 4 };
    let mut program = [
        load(0),
        jump(libc::BPF_JEQ, 0, 3, call as u32),
        load(16 + 8 * argument + low),
        jump(libc::BPF_JGE, 0, 1, least),
        answer(libc::SECCOMP_RET_ERRNO | errno as u32),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the program is valid for the length of the calls, and allows all calls but one.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ) == 0
    }
}

fn filter(code: u32, yes: u8, no: u8, value: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: yes,
        jf: no,
        k: value,
    }
}

/// Sets a socket option that is an integer.
pub(crate) fn set_option(fd: impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let value: *const i32 = &raw const value;
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: pointer and length are those of one integer.
    check(unsafe { libc::setsockopt(fd, level, name, value.cast(), size_of::<i32>() as u32) })
        .map(drop)
}

/// Adds 1,280 bytes of IPv6 options to each datagram from now on: only for a privileged process.
pub(crate) fn send_options(socket: impl AsFd) -> io::Result<()> {
    // The next header, which the kernel fills in, and the length in units of 8 bytes after the
    // first; five options of an unknown type that every host skips; three bytes of padding.
    let mut header = vec![0_u8, 159];
    for _ in 0..5 {
        header.extend([0x1e, 253]);
        header.extend([7; 253]);
    }
    header.extend([1, 1, 0]);
    let (fd, length) = (socket.as_fd().as_raw_fd(), header.len() as u32);
    let (level, name) = (libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS);
    // SAFETY: pointer and length are those of the vector.
    check(unsafe { libc::setsockopt(fd, level, name, header.as_ptr().cast(), length) }).map(drop)
}
