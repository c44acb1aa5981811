//! UNIX streams and listeners.

use std::future::{Future, poll_fn, ready};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::hand_over::{Movable, hand_over};
use super::listen_socket::ListenSocket;
use super::options::{HasOptions, buffer_options};
use super::stream_socket::StreamSocket;
use crate::error::{Error, Result};
use crate::runtime::socket::Socket;
use crate::stream::{Listener, Serve, byte_stream_face};
use crate::sys;
use crate::sys::addr::UnixName;
use crate::task::Outcome;

/// A UNIX stream connection; as [`TcpStream`](crate::TcpStream), with names for addresses.
#[doc(alias = "UNIXSocketStream")]
#[derive(Debug)]
pub struct UnixStream {
    socket: Box<StreamSocket<UnixName>>,
}

byte_stream_face!(UnixStream, socket, Send);
buffer_options!(UnixStream);
hand_over!(UnixStream);

impl UnixStream {
    pub(super) fn new(fd: OwnedFd, peer: UnixName) -> Self {
        Self {
            socket: StreamSocket::unix(fd, peer),
        }
    }

    /// The peer's name, also after the connection has ended; clients mostly have none.
    #[doc(alias = "remote_address")]
    #[must_use]
    pub fn peer_name(&self) -> &UnixName {
        self.socket.peer()
    }

    /// Our own name, also after the connection has ended.
    #[doc(alias = "local_address")]
    #[must_use]
    pub fn local_name(&self) -> &UnixName {
        self.known_local()
    }

    fn known_local(&self) -> &UnixName {
        self.socket.local(|fd| {
            // The kernel knows it as long as the descriptor is open, which it is here.
            sys::socket::local_name(fd).unwrap_or_else(|_| UnixName::unnamed())
        })
    }

    /// The kernel forgets it then.
    fn before_abort(&self) {
        self.known_local();
    }
}

impl HasOptions for UnixStream {
    fn socket(&self) -> &Socket {
        self.socket.socket()
    }

    fn called(&self) -> String {
        self.peer_name().to_string()
    }
}

impl Movable for UnixStream {
    fn socket_mut(&mut self) -> &mut Socket {
        self.socket.socket_mut()
    }
}

impl AsFd for UnixStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.lend()
    }
}

/// Listens for UNIX connections; made by
/// [`create_unix_listener`](crate::create_unix_listener).
#[doc(alias = "SocketListener")]
#[derive(Debug)]
pub struct UnixListener {
    socket: ListenSocket,
    name: UnixName,
}

impl UnixListener {
    pub(super) fn new(fd: OwnedFd, name: UnixName) -> Self {
        Self {
            socket: ListenSocket::new(fd),
            name,
        }
    }

    /// The name listened on.
    #[must_use]
    pub fn local_name(&self) -> &UnixName {
        &self.name
    }

    /// Waits for a connection.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after [`abort`](Self::abort), [`Error::Busy`] while another task
    /// accepts, else [`Error::Io`], such as out of descriptors. The listener is still good then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the connection in the backlog, for the next accept.
    pub async fn accept(&self) -> Result<UnixStream> {
        let mut accept = self.socket.accept();
        let failed = |cause| Error::io("accept on", &self.name, cause);
        let (fd, _) = poll_fn(|cx| accept.poll(cx, failed)).await?;
        // A peer that is gone already has no name to tell; what it sent is still to be received.
        let peer = sys::socket::peer_name(fd.as_fd()).unwrap_or_else(|_| UnixName::unnamed());
        Ok(UnixStream::new(fd, peer))
    }

    /// Serves every connection with `handler`, each in a task of its own; see [`Serve`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the server drops all its connections; the listener is still good.
    pub fn serve<H, O>(&self, handler: H) -> Serve<'_, Self, H>
    where
        H: AsyncFn(UnixStream) -> O,
        O: Outcome<Error, Value = ()>,
    {
        Listener::serve(self, handler)
    }

    /// Stops listening at once although others still hold the listener: an accept that waits gets
    /// [`Error::Closed`]. The path stays in the file system.
    pub fn abort(&self) {
        self.socket.abort();
    }
}

impl AsFd for UnixListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.socket().lend()
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn accept_begin(&self) -> Result<impl Future<Output = Result<UnixStream>>> {
        Ok(ready(Ok(self.accept().await?)))
    }

    fn abort(&self) {
        self.abort();
    }
}
