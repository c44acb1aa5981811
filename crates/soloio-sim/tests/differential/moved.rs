//! Steps that move more than a caller's bytes: descriptors in messages, and parts of files.

use std::ffi::c_int;
use std::fs::File;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// Room for a header and two descriptors, aligned as C's macros need it.
type Control = [u64; 4];

/// The number of bytes in the file.
const SIZE: u8 = 200;

fn message(part: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: integers and pointers, valid as zeros.
    let mut message: libc::msghdr = unsafe { zeroed() };
    (message.msg_iov, message.msg_iovlen) = (part, 1);
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Control>();
    message
}

fn part(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    }
}

/// Sends bytes with `count` times the descriptor `passed`.
pub(crate) fn send_descriptors(fd: c_int, bytes: &mut [u8], passed: c_int, count: u32) -> isize {
    let (mut part, mut control) = (part(bytes), Control::default());
    let mut message = message(&mut part, &mut control);
    // SAFETY: the room holds a header and two descriptors.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(4 * count) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4 * count) as usize;
        for at in 0..count as usize {
            libc::CMSG_DATA(header)
                .cast::<c_int>()
                .add(at)
                .write(passed);
        }
        libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL)
    }
}

/// Receives bytes and at most `room` descriptors; returns the count, the flags, and those.
pub(crate) fn receive_descriptors(
    fd: c_int,
    bytes: &mut [u8],
    room: u32,
) -> (isize, c_int, Vec<c_int>) {
    let (mut part, mut control) = (part(bytes), Control::default());
    let mut message = message(&mut part, &mut control);
    let mut descriptors = Vec::new();
    // SAFETY: the room holds a header and two descriptors; the kernel has written its length.
    unsafe {
        message.msg_controllen = libc::CMSG_LEN(4 * room) as usize;
        if room == 0 {
            message.msg_controllen = 0;
        }
        let count = libc::recvmsg(fd, &raw mut message, libc::MSG_CMSG_CLOEXEC);
        if count < 0 {
            return (count, 0, descriptors);
        }
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if !header.is_null() && (*header).cmsg_type == libc::SCM_RIGHTS {
            let length = (*header).cmsg_len - libc::CMSG_LEN(0) as usize;
            let data = libc::CMSG_DATA(header).cast::<c_int>();
            descriptors.extend((0..length / 4).map(|at| data.add(at).read()));
        }
        (count, message.msg_flags, descriptors)
    }
}

/// Sends a part of a file, from an offset or the file's own position; returns the position after
/// it, too.
pub(crate) fn send_file(
    fd: c_int,
    file: &File,
    offset: Option<i64>,
    length: usize,
) -> (isize, i64) {
    let mut at = offset.unwrap_or(0);
    let place = match offset {
        Some(_) => &raw mut at,
        None => std::ptr::null_mut(),
    };
    // SAFETY: null or a valid offset.
    let sent = unsafe { libc::sendfile64(fd, file.as_raw_fd(), place, length) };
    // SAFETY: no memory is passed.
    let own = unsafe { libc::lseek64(file.as_raw_fd(), 0, libc::SEEK_CUR) };
    (sent, offset.map_or(own, |_| at))
}

/// Opens a file with known bytes.
pub(crate) fn file() -> File {
    static PATH: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let path = PATH.get_or_init(|| {
        let name = format!("soloio-sim-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let bytes: Vec<u8> = (0..SIZE).collect();
        std::fs::write(&path, bytes).expect("a file");
        path
    });
    File::open(path).expect("the file")
}
