//! Many datagrams in one system call (Linux), and the plain calls that replace it on other systems.
//!
//! Receiving: recvmmsg(2), and UDP_GRO (udp(7)), with which one message has several datagrams of a
//! sender. Sending: sendmmsg(2), and UDP_SEGMENT, with which one message becomes several datagrams.
//!
//! The plain calls transfer one datagram each. They do not continue until the kernel returns "would
//! block": an error in between would have to be stored, or would be lost.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU32;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::sync::atomic::Ordering::Relaxed;

use super::addr::Inet;
use super::batch::{Batch, Message, ROOM};
use super::socket;

/// The largest number of datagrams in one sending call.
pub(crate) const CHUNK: usize = 64;

/// The result of one receiving call.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    /// The queue was empty then, and later datagrams cause an event.
    pub(crate) drained: bool,
    /// A message was left out, because its control data had no room: the size of the datagrams in
    /// it is not known, nor their destination.
    pub(crate) cut: bool,
}

/// Datagrams to be sent, at most `N`.
#[derive(Debug)]
pub(crate) struct Chunk<'d, const N: usize = CHUNK> {
    pub(super) data: [&'d [u8]; N],
    /// `None` on a connected socket.
    pub(super) to: [Option<Inet>; N],
    /// The local address to send it from; `None` lets the kernel choose.
    pub(super) source: [Option<IpAddr>; N],
    pub(super) count: usize,
}

impl<'d, const N: usize> Chunk<'d, N> {
    pub(crate) fn new() -> Self {
        Self {
            data: [&[]; N],
            to: [None; N],
            source: [None; N],
            count: 0,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.count == N
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The destination of the first one.
    pub(crate) fn first_to(&self) -> Option<Inet> {
        self.to[0]
    }

    /// Adds one; there must be room.
    pub(crate) fn push(&mut self, data: &'d [u8], to: Option<Inet>, source: Option<IpAddr>) {
        self.data[self.count] = data;
        self.to[self.count] = to;
        self.source[self.count] = source;
        self.count += 1;
    }

    /// Sends the first one with a plain call, and returns 1.
    pub(crate) fn send_plain(&self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        let data = self.data[0];
        match (&self.to[0], self.source[0]) {
            (Some(to), Some(source)) => send_from(fd, data, to, source)?,
            (Some(to), None) => socket::send_to(fd, data, to)?,
            (None, _) => socket::send(fd, data)?,
        };
        Ok(1)
    }

    /// Returns the number of datagrams from `first` on that can be sent as one message: they have
    /// the same size, except that the last may be shorter, and the same destination. `limit` is the
    /// largest size to try.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn run(&self, first: usize, limit: usize) -> usize {
        // Kernels before 6.9 take 64 segments. The datagram that is cut has to be a valid one
        // itself; the margin is for IPv6, and larger messages would save nothing more.
        const TOTAL: usize = 65_000;
        let (size, to, source) = (self.data[first].len(), &self.to[first], self.source[first]);
        if size == 0 || size > limit {
            return 1;
        }
        let (mut count, mut total) = (1, size);
        for at in first + 1..self.count {
            let next = self.data[at].len();
            total += next;
            let elsewhere = self.to[at] != *to || self.source[at] != source;
            if next == 0 || next > size || total > TOTAL || elsewhere {
                break;
            }
            count += 1;
            if next < size {
                break;
            }
        }
        count
    }
}

/// The known limit of segments on a socket: the largest size to try.
#[derive(Debug)]
pub(crate) struct Segments {
    #[cfg_attr(
        not(any(target_os = "linux", target_os = "android")),
        allow(dead_code, reason = "no other system cuts")
    )]
    limit: AtomicU32,
}

impl Default for Segments {
    fn default() -> Self {
        Self {
            limit: AtomicU32::new(Self::UNKNOWN),
        }
    }
}

impl Segments {
    const UNKNOWN: u32 = u32::MAX;

    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn limit(&self, fd: BorrowedFd<'_>) -> usize {
        let mut limit = self.limit.load(Relaxed);
        if limit == Self::UNKNOWN {
            // A kernel without segments would send one long datagram, without an error.
            let knows = super::udp_linux::knows_segments(fd);
            limit = if knows { 65_535 } else { 0 };
            self.limit.store(limit, Relaxed);
        }
        usize::try_from(limit).expect("16 bits")
    }

    /// Called if the kernel refused segments of this size, and accepted them one by one. EIO means
    /// that the device cannot do it; otherwise they are larger than its packets, unless they are
    /// too small for that.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn refused(&self, size: usize, error: &io::Error) {
        let device = error.raw_os_error() == Some(libc::EIO);
        let limit = if device || size <= 512 { 0 } else { size - 1 };
        self.limit
            .store(u32::try_from(limit).expect("16 bits"), Relaxed);
    }
}

/// Receives one datagram by a plain call into the batch, which is cleared first.
pub(crate) fn receive_plain(fd: BorrowedFd<'_>, batch: &mut Batch) -> io::Result<Filled> {
    batch.clear();
    let mut from = Inet::default();
    let length = socket::recv_from(fd, batch.room(0), &mut from)?;
    *batch.name(0) = from;
    batch.push(Message {
        length: length.min(ROOM),
        ..Message::default()
    });
    Ok(Filled::default())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use super::udp_linux::{
    coalesce, destination, receive, send, send_from, tell_destinations,
};
#[cfg(all(feature = "adopt", any(target_os = "linux", target_os = "android")))]
pub(crate) use super::udp_linux::{is_coalescing, is_telling};

/// Receives up to `want` messages into the batch, which is cleared first. It never waits.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    batch: &mut Batch,
    _want: usize,
    _beside: bool,
) -> io::Result<Filled> {
    receive_plain(fd, batch)
}

/// Sends a prefix of the chunk, which must not be empty, and returns the number of datagrams.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn send(
    fd: BorrowedFd<'_>,
    chunk: &Chunk<'_>,
    _segments: &Segments,
) -> io::Result<usize> {
    chunk.send_plain(fd)
}

/// Lets the kernel merge several datagrams into one message; returns whether it will.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn coalesce(_fd: BorrowedFd<'_>) -> bool {
    false
}

/// Returns whether the kernel may merge several datagrams into one message.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn is_coalescing(_fd: BorrowedFd<'_>) -> bool {
    false
}

/// Makes the kernel report the destination of each datagram.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn tell_destinations(_fd: BorrowedFd<'_>) -> io::Result<()> {
    let message = "this system does not report the addresses that datagrams are sent to";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

/// Returns whether the kernel reports the destination of each datagram.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn is_telling(_fd: BorrowedFd<'_>) -> bool {
    false
}

/// Returns the local address in the control data of a datagram.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn destination(_beside: &[u8]) -> Option<IpAddr> {
    None
}

/// Sends one datagram from a local address.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn send_from(
    _fd: BorrowedFd<'_>,
    _data: &[u8],
    _to: &Inet,
    _source: IpAddr,
) -> io::Result<usize> {
    let message = "this system cannot set the address that a datagram is sent from";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}
