//! Many datagrams in one system call (Linux), and the plain calls that stand in for it elsewhere.
//!
//! Receiving: recvmmsg(2), and UDP_GRO (udp(7)), by which one message holds several datagrams of a
//! sender. Sending: sendmmsg(2), and UDP_SEGMENT, by which one message becomes several datagrams.
//!
//! The plain calls take one datagram each. They do not go on until the kernel says "would block":
//! an error in between would have to be kept for later, or be lost.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU32;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::sync::atomic::Ordering::Relaxed;

use super::addr::Inet;
use super::batch::{Batch, Message, ROOM};
use super::socket;

/// How many datagrams one sending call takes at most.
pub(crate) const CHUNK: usize = 64;

/// What one receiving call gave.
#[derive(Debug)]
pub(crate) struct Filled {
    /// The queue was empty then, and what comes later makes an event.
    pub(crate) drained: bool,
    /// A message was left out: what the kernel told beside it had no room, so that the size of the
    /// datagrams in it is not known, nor where it came to.
    pub(crate) cut: bool,
}

/// Datagrams about to be sent, at most [`CHUNK`].
#[derive(Debug)]
pub(crate) struct Chunk<'d> {
    pub(super) data: [&'d [u8]; CHUNK],
    /// `None` on a connected socket.
    pub(super) to: [Option<SocketAddr>; CHUNK],
    /// The address of this host to send it from; `None` leaves that to the kernel.
    pub(super) source: [Option<IpAddr>; CHUNK],
    pub(super) count: usize,
}

impl<'d> Chunk<'d> {
    pub(crate) fn new() -> Self {
        Self {
            data: [&[]; CHUNK],
            to: [None; CHUNK],
            source: [None; CHUNK],
            count: 0,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.count == CHUNK
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Where the first is to go.
    pub(crate) fn first_to(&self) -> Option<SocketAddr> {
        self.to[0]
    }

    /// Adds one; there must be room.
    pub(crate) fn push(&mut self, data: &'d [u8], to: Option<SocketAddr>, source: Option<IpAddr>) {
        self.data[self.count] = data;
        self.to[self.count] = to;
        self.source[self.count] = source;
        self.count += 1;
    }

    /// Sends the first one with a plain call, and tells that one went.
    pub(crate) fn send_plain(&self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        let data = self.data[0];
        match (&self.to[0], self.source[0]) {
            (Some(to), Some(source)) => send_from(fd, data, to, source)?,
            (Some(to), None) => socket::send_to(fd, data, to)?,
            (None, _) => socket::send(fd, data)?,
        };
        Ok(1)
    }

    /// How many datagrams from `first` on can go as one message: of one size, which only the last
    /// may fall short of, to one place. `limit` is the largest size that may be tried.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn run(&self, first: usize, limit: usize) -> usize {
        // Kernels before 6.9 take 64 segments. The datagram they are cut from has to be a valid
        // one itself; the margin is for IPv6, and what is saved beyond this is nothing.
        const TOTAL: usize = 65_000;
        let (size, to) = (self.data[first].len(), self.to[first]);
        let source = self.source[first];
        if size == 0 || size > limit {
            return 1;
        }
        let (mut count, mut total) = (1, size);
        for at in first + 1..self.count {
            let next = self.data[at].len();
            total += next;
            let elsewhere = self.to[at] != to || self.source[at] != source;
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

/// What is known of a socket's sending of segments: the largest that may be tried.
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
            // A kernel that does not know them would send one long datagram, without an error.
            limit = if super::udp_linux::knows_segments(fd) {
                65_535
            } else {
                0
            };
            self.limit.store(limit, Relaxed);
        }
        usize::try_from(limit).expect("16 bits")
    }

    /// The kernel refused segments of this size, and took them one by one. EIO means that the
    /// device cannot; else they are larger than its packets, unless they are so small that they
    /// can't be.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn refused(&self, size: usize, error: &io::Error) {
        let device = error.raw_os_error() == Some(libc::EIO);
        let limit = if device || size <= 512 { 0 } else { size - 1 };
        self.limit
            .store(u32::try_from(limit).expect("16 bits"), Relaxed);
    }
}

/// Receives one datagram by a plain call into the batch, which is cleared before.
pub(crate) fn receive_plain(fd: BorrowedFd<'_>, batch: &mut Batch) -> io::Result<Filled> {
    batch.clear();
    let got = socket::recv_from(fd, batch.room(0))?;
    if let Some(from) = &got.from {
        *batch.name(0) = Inet::new(from).0;
        batch.push(Message {
            slot: 0,
            length: got.length.min(ROOM),
            segment: 0,
            beside: 0,
        });
    }
    Ok(Filled {
        drained: false,
        cut: false,
    })
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use super::udp_linux::{
    coalesce, destination, receive, send, send_from, tell_destinations,
};
#[cfg(all(feature = "adopt", any(target_os = "linux", target_os = "android")))]
pub(crate) use super::udp_linux::{is_coalescing, is_telling};

/// Receives up to `want` messages into the batch, which is cleared before. Waits for none.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    batch: &mut Batch,
    _want: usize,
    _beside: bool,
) -> io::Result<Filled> {
    receive_plain(fd, batch)
}

/// Sends a prefix of the chunk, which holds at least one, and tells how many went.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn send(
    fd: BorrowedFd<'_>,
    chunk: &Chunk<'_>,
    _segments: &Segments,
) -> io::Result<usize> {
    chunk.send_plain(fd)
}

/// Lets the kernel hand out several datagrams as one message; tells whether it will.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn coalesce(_fd: BorrowedFd<'_>) -> bool {
    false
}

/// Whether the kernel may hand out several datagrams as one message.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn is_coalescing(_fd: BorrowedFd<'_>) -> bool {
    false
}

/// Has the kernel tell the address that each datagram came to.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn tell_destinations(_fd: BorrowedFd<'_>) -> io::Result<()> {
    let message = "this system is not asked for the addresses that datagrams come to";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

/// Whether the kernel tells the address that each datagram came to.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn is_telling(_fd: BorrowedFd<'_>) -> bool {
    false
}

/// The address of this host in what the kernel told beside a datagram.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn destination(_beside: &[u8]) -> Option<IpAddr> {
    None
}

/// Sends one datagram from an address of this host.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn send_from(
    _fd: BorrowedFd<'_>,
    _data: &[u8],
    _to: &SocketAddr,
    _source: IpAddr,
) -> io::Result<usize> {
    let message = "this system is not told the address that a datagram goes out from";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}
