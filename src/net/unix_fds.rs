//! Features of a UNIX stream beside bytes: the credentials of its peer, descriptors to send.

use std::future::poll_fn;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::unix::UnixStream;
use crate::error::{Error, Result};
use crate::runtime::context::{Core, SCRATCH};
use crate::runtime::operation::Direction;
use crate::stream::lawful;
use crate::sys;
use crate::sys::ancillary::{MAX_SENT, Received};
use crate::sys::unix::PeerCredentials;

impl UnixStream {
    /// Returns the user, group and process that made the other end: the one that connected, or the
    /// one that started to listen.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: after an abort there is no peer.
    ///
    /// # Examples
    ///
    /// ```
    /// let (ours, _theirs) = soloio::unix_socket_pair()?;
    /// let peer = ours.peer_credentials()?;
    /// println!("user {}, process {:?}", peer.uid, peer.pid);
    /// # Ok::<_, soloio::Error>(())
    /// ```
    #[doc(alias = "SO_PEERCRED")]
    #[doc(alias = "ucred")]
    pub fn peer_credentials(&self) -> Result<PeerCredentials> {
        sys::unix::peer_credentials(self.socket.socket.fd())
            .map_err(|cause| Error::io("read the credentials of", self.peer_name(), cause))
    }

    /// Sends all of `data`, and descriptors with its first byte. The receiver gets duplicates;
    /// `fds` stay the caller's, and may be closed when this returns.
    ///
    /// A stream has no boundaries: the receiver may get the bytes in other pieces, and the
    /// descriptors together with bytes that were sent before them, but never before the first byte
    /// that they were sent with.
    ///
    /// To pass on a connection in a server's handler, convert it first (`OwnedFd::try_from`): the
    /// server closes a stream that its handler drops, also for duplicates of its descriptor.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). `InvalidInput` if `data` is empty, or `fds` is empty or has more
    /// than 253 of them. [`Error::Io`] if too many descriptors are in flight and not received
    /// (`ETOOMANYREFS`); the stream stays usable.
    ///
    /// # Cancel safety
    ///
    /// Some prefix of `data` was handed over, and the descriptors if it is not empty;
    /// [`send_fds_from`](Self::send_fds_from) reports how much. The stream stays usable.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::fs::File;
    /// use std::io::Read;
    /// use std::os::fd::AsFd;
    ///
    /// let (ours, theirs) = soloio::unix_socket_pair()?;
    /// soloio::block_on(async {
    ///     let file = File::open("/dev/zero")?;
    ///     ours.send_fds(b"a file", &[file.as_fd()]).await?;
    ///     let (data, mut fds) = theirs.receive_fds(100, 1).await?;
    ///     assert_eq!((&data[..], fds.len()), (&b"a file"[..], 1));
    ///     File::from(fds.remove(0)).read_exact(&mut [0; 10])?;
    ///     Ok::<_, soloio::Error>(())
    /// })?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    #[doc(alias = "SCM_RIGHTS")]
    pub async fn send_fds(&self, data: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        let mut rest = data;
        self.send_fds_from(&mut rest, fds).await
    }

    /// The same as [`send_fds`](Self::send_fds), and advances `rest` past the bytes that were
    /// handed over; the descriptors were sent if it has advanced.
    ///
    /// # Errors
    ///
    /// As [`send_fds`](Self::send_fds).
    ///
    /// # Cancel safety
    ///
    /// Exactly the bytes no longer in `rest` were handed over, and the descriptors with the first
    /// of them. The stream stays usable; [`send_from`](Self::send_from) sends the rest.
    pub async fn send_fds_from(&self, rest: &mut &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        let invalid = |message| Err(Error::invalid("send descriptors", message));
        match fds.len() {
            0 => return invalid("there are none: `send` sends bytes alone"),
            1..=MAX_SENT => {}
            _ => return invalid("more than 253 do not fit into one message"),
        }
        if rest.is_empty() {
            return invalid("they need at least one byte to travel with");
        }
        let mut operation = self.socket.operation(Direction::Write);
        let mut left = fds;
        while !rest.is_empty() {
            let sent = poll_fn(|cx| {
                let send = |_: &Core, fd: BorrowedFd<'_>| match left {
                    [] => sys::socket::send(fd, rest),
                    fds => sys::ancillary::send(fd, rest, fds),
                };
                self.socket.poll_send(operation.place(), cx, send)
            });
            let sent = lawful(sent.await?, rest.len(), "send to")?;
            (*rest, left) = (&rest[sent..], &[]);
        }
        Ok(())
    }

    /// Receives 1 to `max_len` bytes (no more than 65,536 at a time), and up to `max_fds`
    /// descriptors if some came with them; they are close-on-exec. The list is empty for bytes
    /// without descriptors. Other receives drop the descriptors that come with the bytes. Other
    /// control data that a socket option makes the kernel add (credentials, the sender's pidfd) is
    /// skipped and closed.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive); a `max_len` or `max_fds` of 0 is `InvalidInput`. It is
    /// [`Error::Io`] with `InvalidData` if more descriptors came than `max_fds`, or than this
    /// process may still open. Then all of them are closed, and the bytes that came with them are
    /// lost; later bytes can still be received.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has received nothing: bytes and descriptors are still there.
    pub async fn receive_fds(
        &self,
        max_len: usize,
        max_fds: usize,
    ) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
        if max_len == 0 || max_fds == 0 {
            let message = "a receive of at most 0 bytes or descriptors can never give any";
            return Err(Error::invalid("receive descriptors", message));
        }
        let max_len = max_len.min(SCRATCH);
        let mut got = None;
        let mut operation = self.socket.operation(Direction::Read);
        poll_fn(|cx| {
            let receive = |core: &Core, fd: BorrowedFd<'_>, _| {
                let mut scratch = core.scratch();
                let came = sys::ancillary::recv(fd, &mut scratch[..max_len], max_fds)?;
                let (length, more) = (came.length, came.is_marked || came.length == max_len);
                got = Some((scratch[..length].to_vec(), came));
                Ok((length, more))
            };
            self.socket.poll_receive(operation.place(), cx, receive)
        })
        .await?;
        let (data, came) = got.expect("the receive has succeeded");
        Ok((data, self.whole(came)?))
    }

    /// Returns the descriptors, if all that were sent are there.
    pub(super) fn whole(&self, came: Received) -> Result<Vec<OwnedFd>> {
        if came.truncated {
            let message = "more descriptors were sent than there was room for: all are closed";
            let cause = io::Error::new(io::ErrorKind::InvalidData, message);
            return Err(Error::io(
                "receive descriptors from",
                self.peer_name(),
                cause,
            ));
        }
        Ok(came.fds)
    }
}
