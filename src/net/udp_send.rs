//! Sending on UDP sockets, as futures written by hand: each is polled straight through to its
//! system call. What went is taken off what the caller gave before anything else can happen.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use super::udp_core::UdpCore;
use crate::error::{Error, Result};
use crate::runtime::context::Core;
use crate::runtime::operation::{After, Direction, First, Operation};
use crate::sys::addr::fitting;
use crate::sys::udp::{self, Chunk};
use crate::sys::{self, errno};

/// Sent datagrams that count as one finished operation of the turn's budget.
const PER_CHARGE: usize = 8;

/// Sends one datagram.
#[derive(Debug)]
pub(super) struct Send<'s, 'd> {
    udp: &'s UdpCore,
    operation: Operation<'s>,
    data: &'d [u8],
    /// `None` on a connected socket.
    to: Option<SocketAddr>,
    source: Option<IpAddr>,
}

impl<'s, 'd> Send<'s, 'd> {
    pub(super) fn new(
        udp: &'s UdpCore,
        data: &'d [u8],
        to: Option<SocketAddr>,
        source: Option<IpAddr>,
    ) -> Self {
        Self {
            udp,
            operation: Operation::new(&udp.socket, Direction::Write).briefly(),
            data,
            to,
            source,
        }
    }
}

impl Future for Send<'_, '_> {
    type Output = Result<()>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self {
            udp,
            operation,
            data,
            to,
            source,
        } = self.get_mut();
        // By reference as far as it goes: an address is many moves.
        let to = to.as_ref();
        let call = |_: &Core, fd: BorrowedFd<'_>| {
            match to {
                Some(to) if source.is_none() && to.is_ipv4() == udp.local.is_ipv4() => {
                    sys::socket::send_to(fd, data, to)?
                }
                Some(to) => udp.send_by(fd, data, *to, *source)?,
                None => sys::socket::send(fd, data)?,
            };
            Ok(((), After::Ready))
        };
        let failed = |cause| udp.not_sent(to.copied(), cause);
        operation.poll(cx, First::Try, call, failed)
    }
}

/// What many datagrams are taken from; it is advanced past those that went.
pub(super) trait Outgoing<'d> {
    /// Puts the next ones into an empty chunk. `true` if there are no more behind them.
    fn gather(&self, udp: &UdpCore, chunk: &mut Chunk<'d>) -> io::Result<bool>;

    /// So many of them went, at least one.
    fn advance(&mut self, count: usize);
}

/// A datagram to be sent: made by `into()` from bytes and where they go, and from the same with the
/// address of this host that they are to come from.
#[derive(Debug, Clone, Copy)]
pub struct Parcel<'d> {
    pub(super) data: &'d [u8],
    /// `None` on a connected socket.
    pub(super) to: Option<SocketAddr>,
    /// `None` leaves it to the system.
    pub(super) source: Option<IpAddr>,
}

impl<'d> From<(&'d [u8], SocketAddr)> for Parcel<'d> {
    fn from((data, to): (&'d [u8], SocketAddr)) -> Self {
        (data, to, None).into()
    }
}

impl<'d> From<(&'d [u8], SocketAddr, Option<IpAddr>)> for Parcel<'d> {
    fn from((data, to, source): (&'d [u8], SocketAddr, Option<IpAddr>)) -> Self {
        Self {
            data,
            to: Some(to),
            source,
        }
    }
}

/// What an iterator gives, each item turned into bytes and, on an unconnected socket, where to.
#[derive(Debug)]
pub(super) struct Each<'i, I, F> {
    pub(super) rest: &'i mut I,
    pub(super) turn: F,
}

impl<'d, I, F> Outgoing<'d> for Each<'_, I, F>
where
    I: Iterator + Clone,
    F: Fn(I::Item) -> Parcel<'d>,
{
    fn gather(&self, udp: &UdpCore, chunk: &mut Chunk<'d>) -> io::Result<bool> {
        let mut ahead = self.rest.clone();
        while !chunk.is_full() {
            let Some(Parcel { data, to, source }) = ahead.next().map(&self.turn) else {
                return Ok(true);
            };
            match to.map(|to| udp.way(to, source)).transpose() {
                Ok(None) => chunk.push(data, None, None),
                Ok(Some((to, source))) => chunk.push(data, Some(to), source),
                // Those before it go first; then it is the first, and the error its own.
                Err(_) if chunk.len() > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn advance(&mut self, count: usize) {
        self.rest.nth(count - 1);
    }
}

/// One piece of memory, cut into datagrams of one size.
#[derive(Debug)]
pub(super) struct Pieces<'r, 'd> {
    pub(super) rest: &'r mut &'d [u8],
    /// Not 0.
    pub(super) size: usize,
    pub(super) to: Option<SocketAddr>,
}

impl<'d> Outgoing<'d> for Pieces<'_, 'd> {
    fn gather(&self, udp: &UdpCore, chunk: &mut Chunk<'d>) -> io::Result<bool> {
        let to = match self.to {
            Some(to) => Some(udp.way(to, None)?.0),
            None => None,
        };
        let mut pieces = self.rest.chunks(self.size);
        while !chunk.is_full() {
            let Some(data) = pieces.next() else {
                return Ok(true);
            };
            chunk.push(data, to, None);
        }
        Ok(pieces.len() == 0)
    }

    fn advance(&mut self, count: usize) {
        let sent = self.rest.len().min(count * self.size);
        *self.rest = &self.rest[sent..];
    }
}

/// Sends many datagrams, as many at a time as the system takes.
#[derive(Debug)]
pub(super) struct SendMany<'s, 'd, O> {
    udp: &'s UdpCore,
    operation: Operation<'s>,
    outgoing: O,
    data: PhantomData<&'d [u8]>,
}

impl<'s, O> SendMany<'s, '_, O> {
    pub(super) fn new(udp: &'s UdpCore, outgoing: O) -> Self {
        Self {
            udp,
            operation: Operation::new(&udp.socket, Direction::Write),
            outgoing,
            data: PhantomData,
        }
    }
}

impl<'d, O: Outgoing<'d> + Unpin> Future for SendMany<'_, 'd, O> {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self {
            udp,
            operation,
            outgoing,
            ..
        } = self.get_mut();
        loop {
            let to = Cell::new(None);
            let call = |core: &Core, fd: BorrowedFd<'_>| {
                let mut chunk = Chunk::new();
                let ended = outgoing.gather(udp, &mut chunk)?;
                to.set(chunk.first_to());
                if chunk.len() == 0 {
                    return Ok((ended, After::Ready));
                }
                let sent = udp.send_chunk(fd, &chunk)?;
                outgoing.advance(sent);
                (0..sent / PER_CHARGE).for_each(|_| core.finished());
                Ok((ended && sent == chunk.len(), After::Ready))
            };
            let failed = |cause| udp.not_sent(to.get(), cause);
            if ready!(operation.poll(cx, First::Try, call, failed))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl UdpCore {
    /// Sends a prefix of a chunk that is not empty, and tells how many datagrams went.
    pub(super) fn send_chunk(&self, fd: BorrowedFd<'_>, chunk: &Chunk<'_>) -> io::Result<usize> {
        if !self.plain.load(Relaxed) {
            match udp::send(fd, chunk, &self.segments) {
                Err(error) if errno::is_missing_call(&error) => self.plain.store(true, Relaxed),
                other => return other,
            }
        }
        chunk.send_plain(fd)
    }

    /// The size of segments, checked.
    pub(super) fn segment(&self, size: usize) -> Result<usize> {
        // What the length field of UDP leaves; that of IPv4 counts its own header too (RFC 768,
        // RFC 791).
        let most = if self.local.is_ipv4() { 65_507 } else { 65_527 };
        let refused = |why| Err(Error::invalid("send segments", why));
        match size {
            0 => refused("segments of 0 bytes have no end".to_owned()),
            _ if size > most => refused(format!("no datagram here is longer than {most} bytes")),
            _ => Ok(size),
        }
    }

    /// Destination and source as the system takes them; an error if the socket cannot reach that
    /// family, or the source is of the other one.
    #[inline]
    fn way(
        &self,
        to: SocketAddr,
        source: Option<IpAddr>,
    ) -> io::Result<(SocketAddr, Option<IpAddr>)> {
        let reached = fitting(&self.local, to)?;
        match source.map(|source| source.to_canonical()) {
            Some(source) if source.is_ipv4() != to.ip().to_canonical().is_ipv4() => {
                let message = format!("{source} is of another family than the destination");
                Err(io::Error::new(io::ErrorKind::InvalidInput, message))
            }
            source => Ok((reached, source)),
        }
    }

    /// To the other family, if this socket reaches it, or from an address of this host.
    #[cold]
    fn send_by(
        &self,
        fd: BorrowedFd<'_>,
        data: &[u8],
        to: SocketAddr,
        source: Option<IpAddr>,
    ) -> io::Result<usize> {
        match self.way(to, source)? {
            (to, Some(source)) => udp::send_from(fd, data, &to, source),
            (to, None) => sys::socket::send_to(fd, data, &to),
        }
    }

    /// Whether the option to send broadcasts may be what is missing. Which addresses are broadcast
    /// addresses only the routes know; nearly all end in 255.
    fn is_broadcast_refused(&self, to: SocketAddr, cause: &io::Error) -> bool {
        let ends_in_255 = matches!(to, SocketAddr::V4(to) if to.ip().octets()[3] == 255);
        ends_in_255
            && errno::is_forbidden(cause)
            && sys::udp_options::broadcast(self.socket.fd()).is_ok_and(|on| !on)
    }

    #[cold]
    fn not_sent(&self, to: Option<SocketAddr>, cause: io::Error) -> Error {
        match to.or(self.peer) {
            Some(to) if self.is_broadcast_refused(to, &cause) => {
                let to = format!("{to} without `set_broadcast`, if it is a broadcast address");
                Error::io("send to", to, cause)
            }
            Some(to) => Error::io("send to", to, cause),
            None => Error::io("send on", self.local, cause),
        }
    }
}
