//! UNIX streams and listeners.

use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll};

use super::listen_socket::poll_accept;
use super::sockets::{close_options, one_socket};
use super::stream_socket::StreamSocket;
use crate::error::{Error, Result};
use crate::runtime::operation::{Direction, Operation};
use crate::runtime::place::Place;
use crate::runtime::socket::{Socket, Trigger};
use crate::stream::{Listener, Peer, at_once, byte_stream_face, serve_face, socket_stream};
use crate::sys;
use crate::sys::addr::UnixName;
use crate::sys::file::OwnFile;
use crate::sys::room::Room;
use crate::sys::socket::Kind;

/// A UNIX stream connection; as [`TcpStream`](crate::TcpStream), with names for addresses.
#[doc(alias = "UNIXSocketStream")]
#[derive(Debug)]
pub struct UnixStream {
    pub(super) socket: Box<StreamSocket<UnixName>>,
}

byte_stream_face!(UnixStream, [], [], [], Send);
socket_stream!(UnixStream, local_name);
one_socket!(UnixStream, socket.socket, peer_name);
close_options!(UnixStream, socket.socket);

impl UnixStream {
    pub(super) fn new(fd: OwnedFd, peer: UnixName) -> Self {
        Self {
            socket: StreamSocket::unix(fd, peer),
        }
    }

    /// Returns the peer's name, also after the connection has ended; most clients have none.
    #[doc(alias = "remote_address")]
    #[must_use]
    pub fn peer_name(&self) -> &UnixName {
        &self.socket.peer
    }

    /// Returns our own name, also after the connection has ended.
    #[doc(alias = "local_address")]
    #[must_use]
    pub fn local_name(&self) -> &UnixName {
        self.socket.local(|fd| {
            // The kernel knows it while the descriptor is open, which it is here.
            sys::socket::local_name(fd).unwrap_or_else(|_| UnixName::unnamed())
        })
    }
}

/// Makes two UNIX streams that are connected with each other (socketpair(2)). Needs no runtime.
///
/// # Errors
///
/// [`Error::Io`]: out of descriptors.
///
/// # Examples
///
/// ```
/// let (ours, theirs) = soloio::unix_socket_pair()?;
/// soloio::block_on(async {
///     ours.send(b"ping").await?;
///     assert_eq!(theirs.receive().await?, b"ping");
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "socketpair")]
#[inline]
pub fn unix_socket_pair() -> Result<(UnixStream, UnixStream)> {
    let pair = sys::socket::pair(Kind::Stream);
    let (a, b) = pair.map_err(|cause| Error::io("make", "a pair of UNIX sockets", cause))?;
    let stream = |fd| UnixStream::new(fd, UnixName::unnamed());
    Ok((stream(a), stream(b)))
}

/// Listens for UNIX connections; made by
/// [`create_unix_listener`](crate::create_unix_listener).
#[doc(alias = "SocketListener")]
#[derive(Debug)]
pub struct UnixListener {
    /// Removed before the socket is closed: while the file exists the socket answers, so that no
    /// other process that binds the same path considers it stale.
    pub(super) file: OwnFile,
    socket: Socket,
    name: UnixName,
}

one_socket!(UnixListener, socket, local_name);
close_options!(UnixListener, socket);

impl UnixListener {
    pub(super) fn new(fd: OwnedFd, name: UnixName, file: OwnFile) -> Self {
        Self {
            file,
            socket: Socket::new(fd, Trigger::Level),
            name,
        }
    }

    /// Returns the name listened on.
    #[must_use]
    pub fn local_name(&self) -> &UnixName {
        &self.name
    }

    /// Waits for a connection.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after [`abort`](Self::abort), [`Error::Busy`] while another task accepts,
    /// else [`Error::Io`], such as out of descriptors. The listener stays usable.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the connection in the backlog, for the next accept.
    pub async fn accept(&self) -> Result<UnixStream> {
        let mut accept = Operation::new(&self.socket, Direction::Read);
        let failed = |cause| Error::io("accept on", &self.name, cause);
        let (fd, _) = poll_fn(|cx| poll_accept(&mut accept, cx, failed)).await?;
        // A peer that has already closed has no name; its data can still be received.
        let peer = sys::socket::peer_name(fd.as_fd()).unwrap_or_else(|_| UnixName::unnamed());
        let stream = UnixStream::new(fd, peer);
        let limits = &stream.socket.socket.close_limits;
        limits.set_as(&self.socket.close_limits);
        Ok(stream)
    }

    /// Stops listening at once, although other references to the listener exist: a waiting accept
    /// gets [`Error::Closed`]. The path stays in the file system unless
    /// [`unlink_on_close`](crate::net::CreateUnixListener::unlink_on_close) is set.
    pub fn abort(&self) {
        self.file.remove();
        self.socket.abort();
    }
}

serve_face!(UnixListener, [], [], UnixStream);

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn accept_begin(&self) -> Result<impl Future<Output = Result<UnixStream>>> {
        Ok(self.accept_from().await?.0)
    }

    async fn accept_from(&self) -> Result<(impl Future<Output = Result<UnixStream>>, Peer)> {
        let stream = self.accept().await?;
        let peer = Peer::Unix(stream.peer_name().clone());
        Ok((at_once(stream), peer))
    }

    fn abort(&self) {
        self.abort();
    }
}
