//! UNIX datagram sockets, unconnected and connected.
//!
//! A datagram is delivered whole and in order, the empty one too, and none is lost: if the receiver
//! is full the sender waits. The two kinds wait for room in different ways. A connected socket
//! becomes writable when its peer has room (Linux). An unconnected one is always writable, since
//! each datagram may have another receiver, so it retries on a timer.

use std::ffi::OsStr;
use std::future::poll_fn;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use super::datagram_face::datagram_face;
use crate::error::{Error, Result};
use crate::runtime::context::{Core, describe};
use crate::runtime::operation::{After, Direction, First, Operation};
use crate::runtime::socket::{Socket, Trigger};
use crate::shown::shown;
use crate::sys::addr::UnixName;
use crate::sys::file::OwnFile;
use crate::sys::{self, errno};
use crate::time::sleep;

/// The first and the longest pause before a full receiver is tried again.
const FULL_PAUSE: (Duration, Duration) = (Duration::from_micros(250), Duration::from_millis(16));

/// A received datagram in a buffer of the caller's.
#[derive(PartialEq, Eq)]
#[non_exhaustive]
pub struct UnixDatagram<'b> {
    /// The received bytes, as far as there was room; may be empty.
    pub data: &'b mut [u8],
    /// The sender; unnamed if it has not bound a name, and then it cannot be answered.
    pub from: UnixName,
    /// True if there was no room for all of it: the rest is lost.
    pub truncated: bool,
}

// Shows no content.
shown!(
    [] UnixDatagram<'_>, "UnixDatagram", this =>
    len: this.data.len(),
    from: this.from,
    truncated: this.truncated
);

/// The part that both kinds share.
#[derive(Debug)]
pub(super) struct DatagramCore {
    /// Removed before the socket is closed: while the file exists the socket answers.
    pub(super) file: OwnFile,
    socket: Socket,
    local: UnixName,
    /// The only sender, if others may have sent before the socket was connected.
    pub(super) only: Option<UnixName>,
}

impl DatagramCore {
    fn new(fd: OwnedFd, local: UnixName, file: OwnFile) -> Self {
        Self {
            file,
            socket: Socket::new(fd, Trigger::Edge),
            local,
            only: None,
        }
    }

    fn local(&self) -> &UnixName {
        &self.local
    }

    /// Receives one datagram by `receive`.
    async fn receive_by<T>(
        &self,
        mut receive: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Result<T> {
        let mut operation = Operation::new(&self.socket, Direction::Read);
        poll_fn(|cx| {
            let failed = |cause| Error::io("receive on", &self.local, cause);
            let call = |_: &Core, fd: BorrowedFd<'_>| Ok((receive(fd)?, After::Ready));
            operation.poll(cx, First::Wait, call, failed)
        })
        .await
    }

    async fn receive(&self) -> Result<(Vec<u8>, UnixName)> {
        self.receive_by(|fd| {
            loop {
                // Its size is read first: a datagram may be larger than any buffer kept ready.
                let mut data = vec![0; sys::unix::next_size(fd)?];
                let got = sys::unix::recv_from(fd, &mut data)?;
                if got.truncated {
                    return Err(longer());
                }
                if self.takes(&got.from) {
                    data.truncate(got.length);
                    data.shrink_to_fit();
                    return Ok((data, got.from));
                }
            }
        })
        .await
    }

    fn takes(&self, from: &UnixName) -> bool {
        self.only.as_ref().is_none_or(|only| only == from)
    }

    async fn receive_into<'b>(&self, buf: &'b mut [u8]) -> Result<UnixDatagram<'b>> {
        let receive = |fd: BorrowedFd<'_>| {
            loop {
                let got = sys::unix::recv_from(fd, buf)?;
                if self.takes(&got.from) {
                    return Ok(got);
                }
            }
        };
        let got = self.receive_by(receive).await?;
        Ok(UnixDatagram {
            data: &mut buf[..got.length],
            from: got.from,
            truncated: got.truncated,
        })
    }

    /// Sends one datagram by `send`, all of it or nothing; waits while the receiver is full. If
    /// `reports_room`, the socket becomes writable when there is room.
    async fn send(
        &self,
        to: &UnixName,
        reports_room: bool,
        mut send: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Result<()> {
        // Claims the direction during the pauses too.
        let mut operation = Operation::new(&self.socket, Direction::Write);
        let mut pause = FULL_PAUSE.0;
        loop {
            let mut call = |_: &Core, fd: BorrowedFd<'_>| match send(fd) {
                Err(error) if !reports_room && errno::is_receiver_full(&error) => {
                    Ok((false, After::Ready))
                }
                sent => sent.map(|_| (true, After::Ready)),
            };
            let failed = |cause| Error::io("send to", to, cause);
            let sent = poll_fn(|cx| operation.poll(cx, First::Try, &mut call, failed));
            if sent.await? {
                return Ok(());
            }
            let slept = sleep(pause).await;
            slept
                .map_err(|error| describe(error, &mut |part| format!("sending to {to}, {part}")))?;
            pause = (pause * 2).min(FULL_PAUSE.1);
        }
    }

    fn abort(&self) {
        self.file.remove();
        self.socket.abort();
    }
}

/// The error if another process receives from the same socket, and took the datagram whose size
/// was read.
pub(super) fn longer() -> io::Error {
    let message = "the datagram was longer than the one before it, and is lost";
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// A UNIX datagram socket for any number of peers; made by
/// [`create_unix_datagram_socket`](crate::create_unix_datagram_socket).
///
/// Receiving and sending take `&self` and may happen at the same time.
#[doc(alias = "UNIXDatagramSocket")]
#[derive(Debug)]
pub struct UnixDatagramSocket {
    pub(super) core: DatagramCore,
}

datagram_face!(
    UnixDatagramSocket,
    local_name -> &UnixName,
    (Vec<u8>, UnixName),
    |got| got,
    UnixDatagram,
    /// [`Error::Io`].
);

impl UnixDatagramSocket {
    pub(super) fn new(fd: OwnedFd, local: UnixName, file: OwnFile) -> Self {
        Self {
            core: DatagramCore::new(fd, local, file),
        }
    }

    /// Sends one datagram to the socket of that path or abstract name; `Ok` means that it is in
    /// the receiver's queue. While that is full this tries again, with pauses of 0.25 to 16 ms: set
    /// a limit with [`fail_after`](crate::fail_after). To answer, give the sender's name's
    /// [`as_os_str`](UnixName::as_os_str).
    ///
    /// # Errors
    ///
    /// [`Error::Io`], which names the receiver: no such path, no socket there, too large
    /// (`EMSGSIZE`), a name that is too long ([`UnixName`]) or contains a NUL. The socket stays
    /// usable. [`Error::Busy`] while another task sends, [`Error::Closed`] after
    /// [`abort`](Self::abort).
    ///
    /// # Cancel safety
    ///
    /// A dropped future has sent nothing.
    #[doc(alias = "sendto")]
    pub async fn send_to(&self, data: &[u8], to: impl AsRef<OsStr>) -> Result<()> {
        let to = to.as_ref();
        let name =
            UnixName::new(to).map_err(|cause| Error::io("send to", to.to_string_lossy(), cause))?;
        let send = |fd: BorrowedFd<'_>| sys::unix::send_to(fd, data, &name);
        self.core.send(&name, false, send).await
    }
}

/// A UNIX datagram socket that is connected to one peer; made by
/// [`create_connected_unix_datagram_socket`](crate::create_connected_unix_datagram_socket) and
/// [`unix_datagram_socket_pair`](crate::unix_datagram_socket_pair).
///
/// It does not receive datagrams from other senders. Only a send detects that the peer is gone.
#[doc(alias = "ConnectedUNIXDatagramSocket")]
#[derive(Debug)]
pub struct ConnectedUnixDatagramSocket {
    pub(super) core: DatagramCore,
    peer: UnixName,
}

datagram_face!(
    ConnectedUnixDatagramSocket,
    local_name -> &UnixName,
    Vec<u8>,
    |(data, _)| data,
    UnixDatagram,
    /// [`Error::Io`].
);

impl ConnectedUnixDatagramSocket {
    pub(super) fn new(fd: OwnedFd, local: UnixName, peer: UnixName, file: OwnFile) -> Self {
        Self {
            core: DatagramCore::new(fd, local, file),
            peer,
        }
    }

    /// Returns the name that the socket is connected to.
    #[doc(alias = "remote_address")]
    #[must_use]
    pub fn peer_name(&self) -> &UnixName {
        &self.peer
    }

    /// Sends one datagram; `Ok` means that it is in the receiver's queue. Waits while that is full.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: `ConnectionRefused` if the peer is gone, too large (`EMSGSIZE`). The socket
    /// stays usable. [`Error::Busy`] while another task sends, [`Error::Closed`] after
    /// [`abort`](Self::abort).
    ///
    /// # Cancel safety
    ///
    /// A dropped future has sent nothing.
    pub async fn send(&self, data: &[u8]) -> Result<()> {
        // On other systems a full receiver is an error, and no event reports room.
        let reports_room = cfg!(any(target_os = "linux", target_os = "android"));
        let send = |fd: BorrowedFd<'_>| sys::socket::send(fd, data);
        self.core.send(&self.peer, reports_room, send).await
    }
}
