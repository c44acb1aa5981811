//! TCP streams and listeners.

use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use super::listen_socket::poll_accept;
#[cfg(any(feature = "adopt", feature = "options"))]
use super::sockets::Sockets;
use super::sockets::{close_options, one_socket};
use super::stream_socket::{Kind, StreamSocket};
use crate::error::{Error, Result};
use crate::runtime::operation::{Direction, Operation};
use crate::runtime::place::Place;
use crate::runtime::socket::{Socket, Trigger};
use crate::stream::{Listener, Peer, at_once, byte_stream_face, serve_face, socket_stream};
use crate::sys::room::Room;
use crate::sys::{self, errno};

/// A TCP connection.
///
/// Every operation takes `&self`: one task may receive while another sends, both borrowing the
/// stream. It may be made, dropped and aborted on any thread; its operations run on one runtime,
/// that of the first operation, as long as that runtime lives ([`Error::OtherLoop`]).
///
/// Dropping it closes it at once: if the peer continues to send, data that it has not received yet
/// is lost. [`close`](Self::close) waits until the data has arrived, and so does a server for a
/// stream that its handler drops (see [`Serve`](crate::Serve)). `TCP_NODELAY` is set.
#[doc(alias = "SocketStream")]
#[derive(Debug)]
pub struct TcpStream {
    socket: Box<StreamSocket<SocketAddr>>,
}

byte_stream_face!(TcpStream, [], [], [], Send);
socket_stream!(TcpStream, local_addr);
one_socket!(TcpStream, socket.socket, peer_addr);
close_options!(TcpStream, socket.socket);

impl TcpStream {
    /// Makes a connection of a `socket` that an operation has connected.
    pub(super) fn connected(socket: Socket, peer: SocketAddr, is_tcp: bool) -> Self {
        let kind = if is_tcp { Kind::Tcp } else { Kind::Other };
        let socket = StreamSocket::new(socket, peer, kind);
        Self { socket }
    }

    /// Returns the peer's address, also after the connection has ended.
    #[doc(alias = "remote_address")]
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.socket.peer
    }

    /// Returns our own address, also after the connection has ended.
    #[doc(alias = "local_address")]
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        *self.socket.local(|fd| {
            // The kernel knows it while the descriptor is open, which it is here.
            let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
            sys::socket::local_addr(fd).unwrap_or(unspecified)
        })
    }
}

/// Listens for TCP connections; made by [`create_tcp_listener`](crate::create_tcp_listener).
///
/// It may be several sockets, one for each address of the host; [`serve`](Self::serve) and
/// [`accept`](Self::accept) take connections from all of them.
#[doc(alias = "SocketListener")]
#[derive(Debug)]
pub struct TcpListener {
    sockets: Vec<Socket>,
    addresses: Vec<SocketAddr>,
}

close_options!(TcpListener, sockets[0]);

#[cfg(any(feature = "adopt", feature = "options"))]
impl Sockets for TcpListener {
    #[cfg(feature = "options")]
    fn sockets(&self) -> &[Socket] {
        &self.sockets
    }

    #[cfg(feature = "adopt")]
    fn sockets_mut(&mut self) -> &mut [Socket] {
        &mut self.sockets
    }

    #[cfg(feature = "options")]
    fn called(&self) -> String {
        self.local_addr().to_string()
    }
}

impl TcpListener {
    pub(super) fn new(bound: Vec<(OwnedFd, SocketAddr)>) -> Self {
        let listening = |(fd, address)| (Socket::new(fd, Trigger::Level), address);
        let (sockets, addresses) = bound.into_iter().map(listening).unzip();
        Self { sockets, addresses }
    }

    /// Returns the address listened on; the first if there are several, which share the port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Returns all addresses listened on, at least one.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Waits for a connection.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after [`abort`](Self::abort), [`Error::Busy`] while another task accepts,
    /// else [`Error::Io`]: out of descriptors, or a connection that ended before it was accepted.
    /// The listener stays usable.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the connection in the backlog, for the next accept.
    pub async fn accept(&self) -> Result<TcpStream> {
        if let [socket] = &*self.sockets {
            let mut accept = Operation::new(socket, Direction::Read);
            return poll_fn(|cx| self.poll_accept(&mut accept, 0, cx)).await;
        }
        self.accept_any().await
    }

    /// Accepts on all sockets. None starves the others: each event is used for one connection.
    async fn accept_any(&self) -> Result<TcpStream> {
        let accept = |socket| Operation::new(socket, Direction::Read);
        let mut accepts: Vec<_> = self.sockets.iter().map(accept).collect();
        poll_fn(|cx| {
            for (n, accept) in accepts.iter_mut().enumerate() {
                if let Poll::Ready(done) = self.poll_accept(accept, n, cx) {
                    return Poll::Ready(done);
                }
            }
            Poll::Pending
        })
        .await
    }

    fn poll_accept(
        &self,
        accept: &mut Operation<'_>,
        n: usize,
        cx: &Context<'_>,
    ) -> Poll<Result<TcpStream>> {
        let address = self.addresses[n];
        let failed = |cause| Error::io("accept on", address, cause);
        poll_accept(accept, cx, failed).map(|accepted| {
            let (fd, peer) = accepted?;
            // Some systems return a connection that has already ended, as one without an address or
            // with options that cannot be set.
            let gone = || failed(errno::aborted());
            let peer = peer.ok_or_else(gone)?;
            if !sys::socket::NODELAY_IS_INHERITED {
                sys::socket::set_nodelay(fd.as_fd(), true).map_err(|_| gone())?;
            }
            let socket = StreamSocket::accepted(fd, peer);
            let limits = &self.sockets[0].close_limits;
            socket.socket.close_limits.set_as(limits);
            Ok(TcpStream { socket })
        })
    }

    /// Returns the descriptors of the sockets, one for each address: for example to pass the
    /// listener on to another process.
    pub fn as_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(Socket::lend)
    }

    /// Stops listening at once, although other references to the listener exist: the port is free,
    /// and a waiting accept gets [`Error::Closed`].
    pub fn abort(&self) {
        self.sockets.iter().for_each(Socket::abort);
    }
}

serve_face!(TcpListener, [], [], TcpStream);

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept_begin(&self) -> Result<impl Future<Output = Result<TcpStream>>> {
        Ok(self.accept_from().await?.0)
    }

    async fn accept_from(&self) -> Result<(impl Future<Output = Result<TcpStream>>, Peer)> {
        let stream = self.accept().await?;
        let peer = Peer::Inet(stream.peer_addr());
        Ok((at_once(stream), peer))
    }

    fn abort(&self) {
        self.abort();
    }
}
