//! Many datagrams in one system call: Linux only.
//!
//! Each call builds its headers on the stack, as many as are used, from parts that outlive it.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::addr::Inet;
use super::batch::{BESIDE, Batch, Message, ROOM, SLOTS, STRIDE};
use super::control::{messages, put};
use super::socket;
use super::udp::{Chunk, Filled, Segments};
use super::{check, errno, sockopt};

/// Room for the control data of a sent message: the size of its segments, its source address.
type Control = [u8; 64];

/// Receives up to `want` messages into the batch, which is cleared first. It never waits. With
/// `beside` it also receives control data.
///
/// If fewer came than were requested, the queue was empty, or an error occurred, which the kernel
/// returns from the next call; later datagrams cause an event (recvmmsg(2)).
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    batch: &mut Batch,
    want: usize,
    beside: bool,
) -> io::Result<Filled> {
    let want = want.clamp(1, SLOTS);
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; SLOTS];
    let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; SLOTS];
    batch.clear();
    let (storage, names) = batch.memory(want);
    for slot in 0..want {
        let control = storage.wrapping_add(slot * STRIDE);
        let part = parts[slot].write(libc::iovec {
            iov_base: control.wrapping_add(BESIDE).cast(),
            iov_len: ROOM,
        });
        let header = &mut headers[slot].write(message()).msg_hdr;
        header.msg_name = names.wrapping_add(slot).cast();
        header.msg_namelen = Inet::SIZE;
        header.msg_iov = std::ptr::from_mut(part);
        header.msg_iovlen = 1;
        if beside {
            header.msg_control = control.cast();
            header.msg_controllen = BESIDE as _;
        }
    }
    // SAFETY: `want` headers are initialised; each points at its own room, name and control, of the
    // given lengths, which outlive the call. All are the batch's, in slots apart from each other,
    // and the batch is not touched between `memory` and the end of the call.
    let count = check(unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr().cast(),
            u32::try_from(want).expect("at most 32"),
            0,
            std::ptr::null_mut(),
        )
    })?;
    batch.came(count);
    let mut cut = false;
    for (slot, header) in headers[..count].iter().enumerate() {
        // SAFETY: the first `count` headers were initialised above.
        let header = unsafe { header.assume_init_ref() };
        if beside && header.msg_hdr.msg_flags & libc::MSG_CTRUNC != 0 {
            cut = true;
            continue;
        }
        // 0 if no room was given.
        #[allow(clippy::unnecessary_cast, reason = "the type differs between systems")]
        let beside = header.msg_hdr.msg_controllen as usize;
        batch.push(Message {
            slot,
            length: header.msg_len as usize,
            segment: segment(batch.beside(slot, beside)),
            beside,
        });
    }
    let drained = count < want;
    Ok(Filled { drained, cut })
}

fn message() -> libc::mmsghdr {
    // SAFETY: an mmsghdr is integers and pointers, valid as zeros.
    unsafe { std::mem::zeroed() }
}

/// Returns the size of the datagrams in a message, 0 if it is one.
#[inline]
fn segment(beside: &[u8]) -> usize {
    let found = messages(beside).find(|(kind, _)| *kind == (libc::SOL_UDP, libc::UDP_GRO));
    let size = found.and_then(|(_, data)| i32::from_ne_bytes(*data.first_chunk()?).try_into().ok());
    size.unwrap_or(0)
}

/// Returns the local address in the control data of a datagram, from which it can be answered:
/// never a group. For a broadcast it is the address of the interface. A datagram of IPv4 to an IPv6
/// socket has both messages; that of IPv4 comes later.
pub(crate) fn destination(beside: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for (kind, data) in messages(beside) {
        match kind {
            // An index of 4 bytes, the local address, the address in the datagram (ip(7)).
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let local = data.get(4..).and_then(<[u8]>::first_chunk::<4>);
                found = local.map(|octets| Ipv4Addr::from(*octets).into());
            }
            // The address in the datagram, an index (RFC 3542, 6.1).
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let local = data.first_chunk::<16>();
                found = local.map(|octets| Ipv6Addr::from(*octets).to_canonical());
            }
            _ => {}
        }
    }
    found.filter(|ip| !ip.is_multicast())
}

/// Makes the kernel report the destination of each datagram.
pub(crate) fn tell_destinations(fd: BorrowedFd<'_>) -> io::Result<()> {
    let v6 = sockopt::set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1);
    let v4 = sockopt::set(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1);
    // An IPv4 socket has no option of IPv6; an IPv6 socket has both.
    v6.or(v4)
}

/// Returns whether the kernel reports the destination of each datagram.
#[cfg(feature = "adopt")]
pub(crate) fn is_telling(fd: BorrowedFd<'_>) -> bool {
    let is_on = |level, name| sockopt::get(fd, level, name, 0).is_ok_and(|on| on != 0);
    is_on(libc::IPPROTO_IP, libc::IP_PKTINFO) || is_on(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
}

/// Sends one datagram from a local address.
pub(crate) fn send_from(
    fd: BorrowedFd<'_>,
    data: &[u8],
    to: &Inet,
    source: IpAddr,
) -> io::Result<usize> {
    let mut chunk = Chunk::<1>::new();
    chunk.push(data, Some(*to), Some(source));
    send_runs(fd, &chunk, 0)
}

/// Sends a prefix of the chunk, which must not be empty, and returns the number of datagrams.
pub(crate) fn send(
    fd: BorrowedFd<'_>,
    chunk: &Chunk<'_>,
    segments: &Segments,
) -> io::Result<usize> {
    // A single datagram needs none of this.
    if chunk.count == 1 && chunk.source[0].is_none() {
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

/// Makes one sendmmsg call. An error in the middle is returned by the next call, if it persists.
fn send_runs<const N: usize>(
    fd: BorrowedFd<'_>,
    chunk: &Chunk<'_, N>,
    limit: usize,
) -> io::Result<usize> {
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; N];
    let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; N];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; N];
    for (part, data) in parts.iter_mut().zip(&chunk.data[..chunk.count]) {
        part.write(libc::iovec {
            iov_base: data.as_ptr().cast_mut().cast(),
            iov_len: data.len(),
        });
    }
    let mut runs = [0; N];
    let (mut first, mut used) = (0, 0);
    while first < chunk.count {
        let run = chunk.run(first, limit);
        let header = &mut headers[used].write(message()).msg_hdr;
        if let Some(to) = &chunk.to[first] {
            header.msg_name = to.as_ptr().cast_mut().cast();
            header.msg_namelen = to.length();
        }
        header.msg_iov = parts[first].as_mut_ptr();
        header.msg_iovlen = run as _;
        let source = chunk.source[first];
        if run > 1 || source.is_some() {
            let control = controls[used].write([0; 64]);
            let segment = (run > 1).then_some(chunk.data[first].len());
            header.msg_controllen = put_control(control, segment, source) as _;
            header.msg_control = control.as_mut_ptr().cast();
        }
        runs[used] = run;
        first += run;
        used += 1;
    }
    // SAFETY: `used` headers are initialised; each points at a name, at its own control, and at
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

/// Writes control data for the size of segments and the source address; returns its length.
fn put_control(control: &mut Control, segment: Option<usize>, source: Option<IpAddr>) -> usize {
    let mut used = 0;
    if let Some(size) = segment {
        let size = u16::try_from(size).expect("no datagram is longer");
        used += put(
            control,
            (libc::SOL_UDP, libc::UDP_SEGMENT),
            &size.to_ne_bytes(),
        );
    }
    let control = &mut control[used..];
    used += match source {
        // An index of 4 bytes, the local address, 4 bytes that do not count here (ip(7)).
        Some(IpAddr::V4(ip)) => {
            let mut info = [0; 12];
            info[4..8].copy_from_slice(&ip.octets());
            put(control, (libc::IPPROTO_IP, libc::IP_PKTINFO), &info)
        }
        // The local address, an index of 4 bytes (RFC 3542, 6.1).
        Some(IpAddr::V6(ip)) => {
            let mut info = [0; 20];
            info[..16].copy_from_slice(&ip.octets());
            put(control, (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO), &info)
        }
        None => 0,
    };
    used
}

/// Lets the kernel merge several datagrams into one message; returns whether it will. It cannot be
/// undone: datagrams that are already queued would lose their sizes.
pub(crate) fn coalesce(fd: BorrowedFd<'_>) -> bool {
    sockopt::set(fd, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok()
}

/// Returns whether the kernel may merge several datagrams into one message.
#[cfg(feature = "adopt")]
pub(crate) fn is_coalescing(fd: BorrowedFd<'_>) -> bool {
    sockopt::get(fd, libc::SOL_UDP, libc::UDP_GRO, 0).is_ok_and(|on| on != 0)
}

pub(super) fn knows_segments(fd: BorrowedFd<'_>) -> bool {
    sockopt::get(fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
}
