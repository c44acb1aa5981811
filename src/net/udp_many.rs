//! Many datagrams at a time: receiving them into one buffer, sending what an iterator gives; and
//! answers from the address that a question came to.
//!
//! What went is taken off what the caller gave before anything else can happen.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, ready};

use super::datagrams::{DatagramBuffer, Datagrams};
use super::udp::{ConnectedUdpSocket, UdpSocket};
use super::udp_core::UdpCore;
use crate::error::{Error, Result};
use crate::runtime::context::Core;
use crate::runtime::operation::{After, Direction, First, Operation};
use crate::sys::udp::{self, Chunk};
use crate::sys::{self, errno};

/// Sent datagrams that count as one finished operation of the turn's budget.
const PER_CHARGE: usize = 8;

impl UdpSocket {
    /// Sends one datagram from an address of this host: the answer to a datagram goes out from
    /// where that came to. A socket on the wildcard address of a host with several addresses
    /// answers from another one otherwise, and the client does not take it for an answer. With
    /// `source` `None` the system chooses, as [`send_to`](Self::send_to) does.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to). A source of another family than the destination, or that is
    /// not an address of this host, is an [`Error::Io`]; outside Linux every source is, with
    /// `Unsupported`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has sent nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")]
    /// soloio::block_on(async {
    ///     use soloio::{create_connected_udp_socket, create_udp_socket};
    ///
    ///     let udp = create_udp_socket().local_host("0.0.0.0").tell_destination(true).await?;
    ///     let client = create_connected_udp_socket("127.0.0.7", udp.local_addr().port()).await?;
    ///     client.send(b"hello").await?;
    ///
    ///     let mut buf = [0; 1500];
    ///     let datagram = udp.receive_into(&mut buf).await?;
    ///     udp.reply(datagram.data, datagram.from, datagram.to).await?;
    ///     assert_eq!(client.receive().await?, b"hello");
    ///     Ok::<_, soloio::Error>(())
    /// })?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    #[doc(alias = "sendmsg")]
    pub fn reply(
        &self,
        data: &[u8],
        to: SocketAddr,
        source: Option<IpAddr>,
    ) -> impl Future<Output = Result<()>> {
        self.core.send_by(Some(to), move |fd, to| {
            match self.core.way(*to.expect("given above"), source)? {
                (to, Some(source)) => udp::send_from(fd, data, &to, source),
                (to, None) => sys::socket::send_to(fd, data, &to),
            }
        })
    }

    /// Receives what has come, at least one datagram, into a buffer that is used again for the
    /// next batch; allocates nothing. On Linux this is the way to receive at line rate: one system
    /// call takes up to 32 messages, and the kernel may put several datagrams of one sender into
    /// one of them.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive); what the buffer held before is still there.
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::{DatagramBuffer, create_udp_socket};
    ///
    /// soloio::block_on(async {
    ///     let udp = create_udp_socket().local_host("127.0.0.1").await?;
    ///     let client = create_udp_socket().local_host("127.0.0.1").await?;
    ///     let all = [(&b"one"[..], udp.local_addr()), (b"two", udp.local_addr())];
    ///     client.send_many(&mut all.into_iter()).await?;
    ///
    ///     let mut buffer = DatagramBuffer::new();
    ///     let mut received = 0;
    ///     while received < 2 {
    ///         let mut batch = udp.receive_many(&mut buffer).await?;
    ///         received += batch.len();
    ///         udp.send_many(&mut batch).await?; // an echo: bytes and sender as they came
    ///     }
    ///     assert_eq!(client.receive().await?.0, b"one");
    ///     Ok::<_, soloio::Error>(())
    /// })?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    pub async fn receive_many<'b>(&self, buffer: &'b mut DatagramBuffer) -> Result<Datagrams<'b>> {
        self.core.receive_many(buffer).await
    }

    /// Sends all datagrams that `rest` gives, in order, many per system call where the system can
    /// (Linux: `sendmmsg`, and `UDP_SEGMENT` for those of equal size to one destination). An item
    /// is the bytes and where they go, and may have the address of this host to send them from as
    /// a third part, as for [`reply`](Self::reply).
    ///
    /// `rest` is advanced past those that the kernel took, and past no other, whatever happens:
    /// after an error the datagram it is about is the next one, and can be skipped or tried again.
    /// The iterator is cloned to look ahead, so it should be a cheap view, such as
    /// [`Datagrams`] or an iterator over a slice.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to), about the first datagram that is left.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has sent exactly what `rest` was advanced past.
    pub async fn send_many<'d, I>(&self, rest: &mut I) -> Result<()>
    where
        I: Iterator<Item: Into<Parcel<'d>>> + Clone,
    {
        let turn = |parcel: I::Item| parcel.into();
        self.core.send_many(Each { rest, turn }).await
    }

    /// Sends `rest` to one destination, cut into datagrams of `segment` bytes; the last may be
    /// shorter. On Linux the kernel or the network card does the cutting (`UDP_SEGMENT`) where
    /// they can. Segments should fit into the packets of the way: larger ones go too, but one by
    /// one and in fragments.
    ///
    /// `rest` is cut short at its beginning by what the kernel took, whatever happens.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to); segments of 0 bytes, or longer than a datagram can be, are
    /// `InvalidInput`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has sent exactly what is missing from `rest`, in whole datagrams.
    pub async fn send_segments(
        &self,
        rest: &mut &[u8],
        segment: usize,
        to: SocketAddr,
    ) -> Result<()> {
        let size = self.core.segment(segment)?;
        let to = Some(to);
        self.core.send_many(Pieces { rest, size, to }).await
    }
}

impl ConnectedUdpSocket {
    /// Receives what has come, at least one datagram: see [`UdpSocket::receive_many`].
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive); what the buffer held before is still there.
    pub async fn receive_many<'b>(&self, buffer: &'b mut DatagramBuffer) -> Result<Datagrams<'b>> {
        self.core.receive_many(buffer).await
    }

    /// Sends all datagrams that `rest` gives: see [`UdpSocket::send_many`].
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), about the first datagram that is left. (An error about the peer
    /// that comes up between two datagrams of one system call may be dropped by the kernel.)
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has sent exactly what `rest` was advanced past.
    pub async fn send_many<'d, I>(&self, rest: &mut I) -> Result<()>
    where
        I: Iterator<Item = &'d [u8]> + Clone,
    {
        let turn = |data: &'d [u8]| Parcel {
            data,
            to: None,
            source: None,
        };
        self.core.send_many(Each { rest, turn }).await
    }

    /// Sends `rest` cut into datagrams of `segment` bytes: see [`UdpSocket::send_segments`].
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); segments of 0 bytes, or longer than a datagram can be, are
    /// `InvalidInput`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has sent exactly what is missing from `rest`, in whole datagrams.
    pub async fn send_segments(&self, rest: &mut &[u8], segment: usize) -> Result<()> {
        let size = self.core.segment(segment)?;
        let to = None;
        self.core.send_many(Pieces { rest, size, to }).await
    }
}

/// What many datagrams are taken from; it is advanced past those that went.
trait Outgoing<'d> {
    /// Puts the next ones into an empty chunk. `true` if there are no more behind them.
    fn gather(&self, udp: &UdpCore, chunk: &mut Chunk<'d>) -> io::Result<bool>;

    /// So many of them went, at least one.
    fn advance(&mut self, count: usize);
}

/// A datagram to be sent: made by `into()` from bytes and where they go, and from the same with the
/// address of this host that they are to come from.
#[derive(Debug, Clone, Copy)]
pub struct Parcel<'d> {
    data: &'d [u8],
    /// `None` on a connected socket.
    to: Option<SocketAddr>,
    /// `None` leaves it to the system.
    source: Option<IpAddr>,
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
struct Each<'i, I, F> {
    rest: &'i mut I,
    turn: F,
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
struct Pieces<'r, 'd> {
    rest: &'r mut &'d [u8],
    /// Not 0.
    size: usize,
    to: Option<SocketAddr>,
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

impl UdpCore {
    /// Receives a batch.
    async fn receive_many<'b>(&self, buffer: &'b mut DatagramBuffer) -> Result<Datagrams<'b>> {
        let mut operation = Operation::new(&self.socket, Direction::Read).briefly();
        let room = buffer.room();
        let mut call = |core: &Core, fd: BorrowedFd<'_>| self.receive_batch(core, fd, room);
        let failed = |cause| self.not_received(cause);
        poll_fn(|cx| operation.poll(cx, self.first(), &mut call, failed)).await?;
        Ok(buffer.datagrams())
    }

    /// Sends many datagrams, as many at a time as the system takes.
    async fn send_many<'d>(&self, mut outgoing: impl Outgoing<'d>) -> Result<()> {
        let mut operation = Operation::new(&self.socket, Direction::Write);
        poll_fn(|cx| {
            loop {
                let to = Cell::new(None);
                let call = |core: &Core, fd: BorrowedFd<'_>| {
                    let mut chunk = Chunk::new();
                    let ended = outgoing.gather(self, &mut chunk)?;
                    to.set(chunk.first_to());
                    if chunk.len() == 0 {
                        return Ok((ended, After::Ready));
                    }
                    let sent = self.send_chunk(fd, &chunk)?;
                    outgoing.advance(sent);
                    (0..sent / PER_CHARGE).for_each(|_| core.finished());
                    Ok((ended && sent == chunk.len(), After::Ready))
                };
                let failed = |cause| self.not_sent(to.get(), cause);
                if ready!(operation.poll(cx, First::Try, call, failed))? {
                    return Poll::Ready(Ok(()));
                }
            }
        })
        .await
    }

    /// Sends a prefix of a chunk that is not empty, and tells how many datagrams went.
    fn send_chunk(&self, fd: BorrowedFd<'_>, chunk: &Chunk<'_>) -> io::Result<usize> {
        if !self.messages.plain.load(Relaxed) {
            match udp::send(fd, chunk, &self.messages.segments) {
                Err(error) if errno::is_missing_call(&error) => {
                    self.messages.plain.store(true, Relaxed)
                }
                other => return other,
            }
        }
        chunk.send_plain(fd)
    }

    /// The size of segments, checked.
    fn segment(&self, size: usize) -> Result<usize> {
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
}
