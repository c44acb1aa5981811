//! Messages over a UNIX connection (`SOCK_SEQPACKET`, unix(7)): the types, and the functions.
//!
//! Each is a UNIX stream or listener with a socket of this kind, and the methods that keep the
//! boundaries of messages. A receive of 0 bytes is an empty message or the end; as long as the peer
//! may still send, or bytes follow, it is a message.

use std::ffi::OsStr;
use std::future::poll_fn;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::connect::connect_name;
use super::listen_unix::CreateUnixListener;
use super::sockets::one_socket;
use super::unix::{UnixListener, UnixStream};
use super::unix_datagram::longer;
use crate::error::{Error, Result};
use crate::runtime::operation::Direction;
use crate::stream::or_end;
use crate::sys;
use crate::sys::addr::UnixName;
use crate::sys::poller::ready::ENDED;
use crate::sys::socket::Kind;

/// A UNIX connection that keeps the boundaries of messages (`SOCK_SEQPACKET`); made by
/// [`connect_unix_seqpacket`], [`UnixSeqpacketListener::accept`] and [`unix_seqpacket_pair`].
/// Linux only.
///
/// Each message arrives whole, once, and in order, as a datagram does; and the end of the one peer
/// is seen, as with a stream. Receiving and sending take `&self` and may happen at the same
/// time.
#[doc(alias = "SOCK_SEQPACKET")]
#[derive(Debug)]
pub struct UnixSeqpacket {
    stream: UnixStream,
}

one_socket!(UnixSeqpacket, stream.socket.socket, peer_name);

impl UnixSeqpacket {
    /// Receives one message, of any size. Descriptors that come with it are closed.
    ///
    /// # Errors
    ///
    /// [`Error::EndOfStream`] when the peer has ended, [`Error::Broken`] if it has closed and left
    /// messages unread; both are permanent. [`Error::Busy`] while another task receives,
    /// [`Error::Closed`] after [`abort`](Self::abort).
    ///
    /// # Cancel safety
    ///
    /// A dropped future has received nothing: the next receive gets the message.
    pub async fn receive(&self) -> Result<Vec<u8>> {
        Ok(self.receive_beside(0).await?.0)
    }

    /// The same as [`receive`](Self::receive), with the end as `None`.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive), except for the end.
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn next(&self) -> Result<Option<Vec<u8>>> {
        or_end(self.receive().await)
    }

    /// Receives one message, and up to `max_fds` descriptors if some came with it; they are
    /// close-on-exec.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive). If more descriptors came than `max_fds`, or than this process
    /// may still open, [`Error::Io`] with `InvalidData`: all of them are closed, and the message is
    /// lost.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has received nothing: message and descriptors are still there.
    pub async fn receive_fds(&self, max_fds: usize) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
        let (data, came) = self.receive_beside(max_fds).await?;
        Ok((data, self.stream.whole(came)?))
    }

    async fn receive_beside(&self, max_fds: usize) -> Result<(Vec<u8>, sys::ancillary::Received)> {
        let mut got = None;
        let mut operation = self.stream.socket.operation(Direction::Read);
        poll_fn(|cx| {
            let receive = |_: &_, fd: BorrowedFd<'_>, _| {
                let size = sys::unix::next_size(fd)?;
                if size == 0 && sys::foreign::is_ready(fd, ENDED)? && sys::queues::unread(fd) == 0 {
                    return Ok((0, true));
                }
                // Room for one byte more shows that this is another message.
                let mut data = vec![0; size + 1];
                let came = sys::ancillary::recv(fd, &mut data, max_fds)?;
                if came.length > size {
                    return Err(longer());
                }
                data.truncate(came.length);
                got = Some((data, came));
                Ok((1, true))
            };
            let socket = &self.stream.socket;
            socket.poll_receive(operation.place(), cx, receive)
        })
        .await?;
        Ok(got.expect("the receive has succeeded"))
    }

    /// Sends one message; `Ok` means that it is in the peer's queue. Waits while that is full.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an empty message, which looks like the end. [`Error::Io`] if it is too
    /// large (`EMSGSIZE`); the connection stays usable. [`Error::Broken`] if the peer is gone,
    /// [`Error::Busy`] while another task sends, [`Error::Closed`] after
    /// [`send_eof`](Self::send_eof) or [`abort`](Self::abort).
    ///
    /// # Cancel safety
    ///
    /// A dropped future has sent nothing.
    pub async fn send(&self, data: &[u8]) -> Result<()> {
        if data.is_empty() {
            return Err(Error::invalid(
                "send",
                "an empty message looks like the end",
            ));
        }
        self.stream.send(data).await
    }

    /// Sends one message with descriptors. The receiver gets duplicates; `fds` stay the caller's.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and those of descriptors as [`UnixStream::send_fds`].
    ///
    /// # Cancel safety
    ///
    /// A dropped future has sent nothing.
    #[doc(alias = "SCM_RIGHTS")]
    pub async fn send_fds(&self, data: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        self.stream.send_fds(data, fds).await
    }

    /// Ends our direction; receiving continues.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after an abort.
    pub fn send_eof(&self) -> Result<()> {
        self.stream.socket.send_eof()
    }

    /// Ends our direction, waits until the peer has ended its own, and closes the connection. What
    /// comes until then is discarded.
    ///
    /// # Errors
    ///
    /// As [`UnixStream::close`].
    ///
    /// # Cancel safety
    ///
    /// A dropped future has closed the connection.
    #[doc(alias = "aclose")]
    pub async fn close(self) -> Result<()> {
        self.stream.close().await
    }

    /// Ends the connection at once, although other references to it exist: operations in progress
    /// get [`Error::Closed`].
    pub fn abort(&self) {
        self.stream.abort();
    }

    /// Returns the peer's name; most clients have none.
    #[must_use]
    pub fn peer_name(&self) -> &UnixName {
        self.stream.peer_name()
    }

    /// Returns the user, group and process that made the other end.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: after an abort there is no peer.
    pub fn peer_credentials(&self) -> Result<sys::unix::PeerCredentials> {
        self.stream.peer_credentials()
    }
}

/// Makes two connections for messages that are connected with each other (socketpair(2)). Needs no
/// runtime. Linux only.
///
/// # Errors
///
/// [`Error::Io`]: out of descriptors.
///
/// # Examples
///
/// ```
/// let (ours, theirs) = soloio::net::unix_seqpacket_pair()?;
/// soloio::block_on(async {
///     ours.send(b"one").await?;
///     ours.send(b"two").await?;
///     drop(ours);
///     assert_eq!(theirs.receive().await?, b"one"); // not "onetwo"
///     assert_eq!(theirs.next().await?, Some(b"two".to_vec()));
///     assert_eq!(theirs.next().await?, None);
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "socketpair")]
pub fn unix_seqpacket_pair() -> Result<(UnixSeqpacket, UnixSeqpacket)> {
    let pair = sys::socket::pair(Kind::Seqpacket);
    let (a, b) = pair.map_err(|cause| Error::io("make", "a pair of UNIX sockets", cause))?;
    let connection = |fd| UnixSeqpacket {
        stream: UnixStream::new(fd, UnixName::unnamed()),
    };
    Ok((connection(a), connection(b)))
}

/// Connects to a UNIX listener for messages ([`CreateUnixListener::seqpacket`]), as
/// [`connect_unix`](crate::connect_unix) does. Linux only.
///
/// # Errors
///
/// As [`connect_unix`](crate::connect_unix); a listener for a byte stream is one of another kind
/// (`EPROTOTYPE`).
///
/// # Cancel safety
///
/// Dropping the future closes the socket; the peer may have seen a connection that ended at once.
pub async fn connect_unix_seqpacket(path: impl AsRef<OsStr>) -> Result<UnixSeqpacket> {
    let stream = connect_name(path.as_ref(), Kind::Seqpacket).await?;
    Ok(UnixSeqpacket { stream })
}

impl CreateUnixListener {
    /// Listens for connections that keep the boundaries of messages. Linux only.
    ///
    /// # Errors
    ///
    /// As [`create_unix_listener`](crate::create_unix_listener).
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped before its end has had no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::{create_unix_listener, net::connect_unix_seqpacket};
    ///
    /// let path = std::env::temp_dir().join(format!("soloio-doc-packets-{}", std::process::id()));
    /// soloio::block_on(async {
    ///     let listener = create_unix_listener(&path).unlink_on_close(true).seqpacket().await?;
    ///     let client = connect_unix_seqpacket(&path).await?;
    ///     client.send(b"hello").await?;
    ///     assert_eq!(listener.accept().await?.receive().await?, b"hello");
    ///     Ok::<_, soloio::Error>(())
    /// })?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    #[doc(alias = "SOCK_SEQPACKET")]
    pub async fn seqpacket(self) -> Result<UnixSeqpacketListener> {
        let inner = self.listen(Kind::Seqpacket).await?;
        Ok(UnixSeqpacketListener { inner })
    }
}

/// Listens for UNIX connections that keep the boundaries of messages; made by
/// [`CreateUnixListener::seqpacket`]. Linux only.
#[derive(Debug)]
pub struct UnixSeqpacketListener {
    inner: UnixListener,
}

impl UnixSeqpacketListener {
    /// Waits for a connection.
    ///
    /// # Errors
    ///
    /// As [`UnixListener::accept`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the connection in the backlog, for the next accept.
    pub async fn accept(&self) -> Result<UnixSeqpacket> {
        let stream = self.inner.accept().await?;
        Ok(UnixSeqpacket { stream })
    }

    /// Returns the name listened on.
    #[must_use]
    pub fn local_name(&self) -> &UnixName {
        self.inner.local_name()
    }

    /// Stops listening at once, as [`UnixListener::abort`].
    pub fn abort(&self) {
        self.inner.abort();
    }
}
