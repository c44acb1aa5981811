//! Many datagrams in one system call: what Linux has more than others.
//!
//! Each call builds its headers on the stack, as many as are used, from parts that outlive it.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::addr::Inet;
use super::batch::{Batch, Message, SLOTS};
use super::socket::{self, Received};
use super::udp::{CHUNK, Chunk, Filled, Segments};
use super::{check, errno};

/// Room for one control message with an integer.
#[repr(C)]
#[derive(Clone, Copy)]
union Control {
    header: libc::cmsghdr,
    bytes: [u8; 32],
}

/// Room for all that the kernel may tell beside a message: whoever has the descriptor may have
/// asked for timestamps, interfaces, hops and more, and what is put there last is cut off first.
/// That is the size of the datagrams in it.
#[repr(C)]
#[derive(Clone, Copy)]
union Beside {
    header: libc::cmsghdr,
    bytes: [u8; 512],
}

/// Receives up to `want` messages: the first into `direct` if there is one, the others into
/// the batch, which is cleared before. Waits for none.
///
/// If fewer came than were asked for, the queue was empty, or an error came up, which the
/// kernel keeps for the next call; whatever comes after that makes an event (recvmmsg(2)).
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    mut direct: Option<&mut [u8]>,
    batch: &mut Batch,
    want: usize,
    coalesced: bool,
) -> io::Result<Filled> {
    let want = want.clamp(1, SLOTS);
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; SLOTS];
    let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; SLOTS];
    let mut controls = [const { MaybeUninit::<Beside>::uninit() }; SLOTS];
    batch.clear();
    for (at, (room, name)) in batch.rooms().take(want).enumerate() {
        let room = match &mut direct {
            Some(buf) if at == 0 => &mut **buf,
            _ => room,
        };
        let part = parts[at].write(libc::iovec {
            iov_base: room.as_mut_ptr().cast(),
            iov_len: room.len(),
        });
        let header = headers[at].write(message());
        name.forget();
        header.msg_hdr.msg_name = name.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = NAME;
        header.msg_hdr.msg_iov = std::ptr::from_mut(part);
        header.msg_hdr.msg_iovlen = 1;
        if coalesced {
            header.msg_hdr.msg_control = controls[at].as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = size_of::<Beside>() as _;
        }
    }
    // SAFETY: `want` headers are initialised; each points at its own room, name and control,
    // of the lengths told, which outlive the call. Rooms and names are the batch's, borrowed apart
    // from each other in one go, and the batch is not touched before the call is over.
    let count = check(unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr().cast(),
            u32::try_from(want).expect("at most 32"),
            0,
            std::ptr::null_mut(),
        )
    })?;
    let mut filled = Filled {
        direct: None,
        count,
        drained: count < want,
    };
    for (at, header) in headers[..count].iter().enumerate() {
        // SAFETY: the first `count` headers were initialised above.
        let header = unsafe { header.assume_init_ref() };
        let length = header.msg_len as usize;
        if at == 0 && direct.is_some() {
            filled.direct = Some(Received {
                length,
                from: batch.name(at).read(),
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            });
        } else {
            batch.push(Message {
                slot: at,
                length,
                segment: if coalesced {
                    segment(&header.msg_hdr)
                } else {
                    0
                },
            });
        }
    }
    Ok(filled)
}

#[allow(clippy::cast_possible_truncation, reason = "28 bytes")]
const NAME: libc::socklen_t = size_of::<Inet>() as libc::socklen_t;

fn message() -> libc::mmsghdr {
    // SAFETY: an mmsghdr is integers and pointers, valid as zeros.
    unsafe { std::mem::zeroed() }
}

/// Size of the datagrams in a message, 0 if it is one.
fn segment(header: &libc::msghdr) -> usize {
    // SAFETY: the kernel has written the control messages and their whole length; the macros
    // stay within it. The payload of UDP_GRO is an int, which may stand unaligned.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while let Some(found) = control.as_ref() {
            if (found.cmsg_level, found.cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO) {
                let size = libc::CMSG_DATA(control).cast::<i32>().read_unaligned();
                return usize::try_from(size).unwrap_or(0);
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    0
}

/// Sends a prefix of the chunk, which holds at least one, and tells how many went.
pub(crate) fn send(
    fd: BorrowedFd<'_>,
    chunk: &Chunk<'_>,
    segments: &Segments,
) -> io::Result<usize> {
    // One alone needs none of this.
    if chunk.count == 1 {
        return chunk.send_plain(fd);
    }
    let limit = segments.limit(fd);
    match send_runs(fd, chunk, limit) {
        Err(error) if errno::is_about_segments(&error) && chunk.run(0, limit) > 1 => {
            let sent = send_runs(fd, chunk, 0)?;
            segments.refused(chunk.data[0].len(), &error);
            Ok(sent)
        }
        other => other,
    }
}

/// One sendmmsg. What stops it half-way is told by the next one, if it still stands then.
fn send_runs(fd: BorrowedFd<'_>, chunk: &Chunk<'_>, limit: usize) -> io::Result<usize> {
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; CHUNK];
    let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; CHUNK];
    let mut names = [const { MaybeUninit::<Inet>::uninit() }; CHUNK];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; CHUNK];
    for (part, data) in parts.iter_mut().zip(&chunk.data[..chunk.count]) {
        part.write(libc::iovec {
            iov_base: data.as_ptr().cast_mut().cast(),
            iov_len: data.len(),
        });
    }
    let mut runs = [0; CHUNK];
    let (mut first, mut used) = (0, 0);
    while first < chunk.count {
        let run = chunk.run(first, limit);
        let header = &mut headers[used].write(message()).msg_hdr;
        if let Some(to) = &chunk.to[first] {
            let (name, length) = Inet::new(to);
            header.msg_name = names[used].write(name).as_mut_ptr().cast();
            header.msg_namelen = length;
        }
        header.msg_iov = parts[first].as_mut_ptr();
        header.msg_iovlen = run as _;
        if run > 1 {
            let control = controls[used].write(Control { bytes: [0; 32] });
            cut(header, control, chunk.data[first].len());
        }
        runs[used] = run;
        first += run;
        used += 1;
    }
    // SAFETY: `used` headers are initialised; each points at its own name and control, and at
    // initialised parts, which point at slices; all outlive the call.
    let sent = check(unsafe {
        libc::sendmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr().cast(),
            u32::try_from(used).expect("at most 64"),
            socket::NO_SIGNAL,
        )
    })?;
    Ok(runs[..sent].iter().sum())
}

/// Has the message cut into datagrams of this size.
fn cut(header: &mut libc::msghdr, control: &mut Control, size: usize) {
    let size = u16::try_from(size).expect("no datagram is longer");
    let length = u32::try_from(size_of::<u16>()).expect("2");
    header.msg_control = std::ptr::from_mut(control).cast();
    // SAFETY: the control buffer is aligned as a header, zeroed, and has room for one with 2
    // bytes; CMSG_FIRSTHDR is its start, since the length says that a header fits.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(length) as _;
        let first = libc::CMSG_FIRSTHDR(header);
        (*first).cmsg_level = libc::SOL_UDP;
        (*first).cmsg_type = libc::UDP_SEGMENT;
        (*first).cmsg_len = libc::CMSG_LEN(length) as _;
        libc::CMSG_DATA(first).cast::<u16>().write_unaligned(size);
    }
}

/// Lets the kernel hand out several datagrams as one message; tells whether it will. There is
/// no way back: what is queued already would lose its sizes.
pub(crate) fn coalesce(fd: BorrowedFd<'_>) -> bool {
    set_coalescing(fd, 1)
}

/// From now on each datagram comes by itself; what is queued already may lose its sizes.
pub(crate) fn part(fd: BorrowedFd<'_>) {
    // Refused by a kernel that cannot put them together either.
    set_coalescing(fd, 0);
}

fn set_coalescing(fd: BorrowedFd<'_>, on: libc::c_int) -> bool {
    // SAFETY: pointer and length are those of one integer.
    let set = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_GRO,
            std::ptr::from_ref(&on).cast(),
            INT,
        )
    };
    set == 0
}

/// Whether the kernel may hand out several datagrams as one message.
pub(crate) fn is_coalescing(fd: BorrowedFd<'_>) -> bool {
    integer(fd, libc::UDP_GRO).is_some_and(|on| on != 0)
}

/// How many messages the kernel has dropped since the socket was made: there was no room for them
/// in its queue, or their checksum was wrong.
pub(crate) fn dropped(fd: BorrowedFd<'_>) -> io::Result<u32> {
    // As many as there are by now; kernels fill those that they know (sock_diag(7), SKMEMINFO).
    let mut info = [0_u32; libc::SK_MEMINFO_DROPS as usize + 1];
    let size = size_of_val(&info);
    let mut length = libc::socklen_t::try_from(size).expect("36");
    // SAFETY: pointer and length are those of the array.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    if (length as usize) < size {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(info[libc::SK_MEMINFO_DROPS as usize])
}

pub(super) fn knows_segments(fd: BorrowedFd<'_>) -> bool {
    integer(fd, libc::UDP_SEGMENT).is_some()
}

/// What an option of UDP is set to; `None` if there is none of that name.
fn integer(fd: BorrowedFd<'_>, name: libc::c_int) -> Option<libc::c_int> {
    let (mut value, mut length): (libc::c_int, _) = (0, INT);
    // SAFETY: pointer and length are those of one integer.
    let got = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_UDP,
            name,
            std::ptr::from_mut(&mut value).cast(),
            &raw mut length,
        )
    };
    (got == 0).then_some(value)
}

#[allow(clippy::cast_possible_truncation, reason = "4 bytes")]
const INT: libc::socklen_t = size_of::<libc::c_int>() as libc::socklen_t;
