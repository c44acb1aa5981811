//! Many datagrams at a time: receives into one buffer, sends from an iterator; and answers from the
//! address that a request was sent to.
//!
//! Sent datagrams are removed from the caller's data before anything else can happen.

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
use crate::shown::shown;
use crate::sys::udp::{self, Chunk};
use crate::sys::{self, errno};

/// Sent datagrams that count as one finished operation of the turn's budget.
const PER_CHARGE: usize = 8;

impl UdpSocket {
    /// Sends one datagram from a local address: an answer should come from the address that the
    /// request was sent to. Otherwise a socket on the wildcard address of a host with several
    /// addresses may answer from another one, and the client ignores it. If `source` is `None`, the
    /// system chooses, as in [`send_to`](Self::send_to).
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to). [`Error::Io`] for a source of another family than the
    /// destination, or one that is not local; on other systems than Linux for every source, with
    /// `Unsupported`.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has sent nothing.
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
        self.core.send_by(Some(to), move |udp, fd, to| {
            match udp.way(to.expect("given above"), source)? {
                (to, Some(source)) => udp::send_from(fd, data, &to, source),
                (to, None) => sys::socket::send_to(fd, data, &to),
            }
        })
    }

    /// Receives all waiting datagrams that fit, at least one, into a buffer that is reused for the
    /// next batch; allocates nothing. On Linux this is the way to receive at line rate: one system
    /// call takes up to 32 messages, and the kernel may merge several datagrams of one sender into
    /// one of them.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive); earlier contents of the buffer may be gone.
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
    ///         udp.send_many(&mut batch).await?; // an echo: the same bytes, to their sender
    ///     }
    ///     assert_eq!(client.receive().await?.0, b"one");
    ///     Ok::<_, soloio::Error>(())
    /// })?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    pub async fn receive_many<'b>(&self, buffer: &'b mut DatagramBuffer) -> Result<Datagrams<'b>> {
        self.core.receive_many(buffer).await
    }

    /// Sends all datagrams of `rest`, in order, many per system call if the system supports it
    /// (Linux: `sendmmsg`, and `UDP_SEGMENT` for datagrams of equal size to one destination). An
    /// item has the bytes and their destination, and may have the local address to send them from
    /// as a third part, as for [`reply`](Self::reply).
    ///
    /// `rest` is always advanced past exactly the datagrams that the kernel has accepted: after an
    /// error, the next datagram is the one with the error, and can be skipped or sent again. The
    /// iterator is cloned to look ahead, so it should be a cheap view, such as [`Datagrams`] or an
    /// iterator over a slice.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to), for the first datagram that is left.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has sent exactly the datagrams that `rest` was advanced past.
    pub async fn send_many<'d, I>(&self, rest: &mut I) -> Result<()>
    where
        I: Iterator<Item: Into<Parcel<'d>>> + Clone,
    {
        let turn = |parcel: I::Item| parcel.into();
        self.core.send_many(Each { rest, turn }).await
    }

    /// Sends `rest` to one destination, cut into datagrams of `segment` bytes; the last may be
    /// shorter. On Linux the kernel or the network card cuts it (`UDP_SEGMENT`) if it can. Segments
    /// should fit into the packets of the path: larger ones are sent too, but one by one and in
    /// fragments.
    ///
    /// `rest` is always advanced past exactly the bytes that the kernel has accepted.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to); segments of 0 bytes, or longer than a datagram can be, are
    /// `InvalidInput`.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has sent exactly the bytes that are missing from `rest`, in whole
    /// datagrams.
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
    /// Receives all waiting datagrams that fit, at least one: see [`UdpSocket::receive_many`].
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive); earlier contents of the buffer may be gone.
    pub async fn receive_many<'b>(&self, buffer: &'b mut DatagramBuffer) -> Result<Datagrams<'b>> {
        self.core.receive_many(buffer).await
    }

    /// Sends all datagrams of `rest`: see [`UdpSocket::send_many`]. Of owned data it is
    /// `&mut list.iter().map(|data| &data[..])`.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), for the first datagram that is left. (The kernel may drop an error
    /// of the peer that occurs between two datagrams of one system call.)
    ///
    /// # Cancel safety
    ///
    /// A dropped future has sent exactly the datagrams that `rest` was advanced past.
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
    /// A dropped future has sent exactly the bytes that are missing from `rest`, in whole
    /// datagrams.
    pub async fn send_segments(&self, rest: &mut &[u8], segment: usize) -> Result<()> {
        let size = self.core.segment(segment)?;
        let to = None;
        self.core.send_many(Pieces { rest, size, to }).await
    }
}

/// A source of many datagrams; it is advanced past those that were sent.
trait Outgoing<'d> {
    /// Puts the next ones into an empty chunk. Returns `true` if there are no more after them.
    fn gather(&self, udp: &UdpCore, chunk: &mut Chunk<'d>) -> io::Result<bool>;

    /// Removes `count` datagrams that were sent, at least one.
    fn advance(&mut self, count: usize);
}

/// A datagram to be sent: made by `into()` from bytes and their destination, optionally with the
/// local address to send them from.
#[derive(Clone, Copy)]
pub struct Parcel<'d> {
    data: &'d [u8],
    /// `None` on a connected socket.
    to: Option<SocketAddr>,
    /// `None` lets the system choose.
    source: Option<IpAddr>,
}

// Shows no content.
shown!([] Parcel<'_>, "Parcel", this => len: this.data.len(), to: this.to, source: this.source);

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

/// The items of an iterator, each turned into bytes and, on an unconnected socket, a destination.
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
            match to.map(|to| udp.way(&to, source)).transpose() {
                Ok(None) => chunk.push(data, None, None),
                Ok(Some((to, source))) => chunk.push(data, Some(to), source),
                // Those before it are sent first; then it is the first, and returns its error.
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
            Some(to) => Some(udp.reach(&to)?),
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

    /// Sends many datagrams, as many at a time as the system accepts.
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
                let failed = |cause| self.not_sent(to.get().map(|to| to.address()), cause);
                if ready!(operation.poll(cx, First::Try, call, failed))? {
                    return Poll::Ready(Ok(()));
                }
            }
        })
        .await
    }

    /// Sends a prefix of a chunk that is not empty, and returns the number of datagrams.
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

    /// Checks the size of segments.
    fn segment(&self, size: usize) -> Result<usize> {
        // The limit of the length field of UDP; that of IPv4 includes its own header (RFC 768, RFC
        // 791).
        let most = if self.local.is_ipv4() { 65_507 } else { 65_527 };
        let refused = |why| Err(Error::invalid("send segments", why));
        match size {
            0 => refused("segments of 0 bytes have no end".to_owned()),
            _ if size > most => refused(format!("no datagram here is longer than {most} bytes")),
            _ => Ok(size),
        }
    }
}
