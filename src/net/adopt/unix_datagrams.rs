//! Converts UNIX datagram sockets that were made elsewhere, and back.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net as unix;

use super::wanted::{UDP_SOCKET, Wanted};
use super::{conversions, give_away, give_away_blocking, shared};
use crate::error::{Error, Result};
use crate::net::sockets::Sockets;
use crate::net::unix_datagram::{ConnectedUnixDatagramSocket, UnixDatagramSocket};
use crate::sys;
use crate::sys::addr::UnixName;
use crate::sys::adopt::Domain;
use crate::sys::file::OwnFile;

const UNIX_DATAGRAMS: Wanted = Wanted {
    operation: "adopt a UNIX datagram socket",
    domain: Domain::Unix,
    ..UDP_SOCKET
};

const CONNECTED_UNIX_DATAGRAMS: Wanted = Wanted {
    operation: "adopt a connected UNIX datagram socket",
    ..UNIX_DATAGRAMS
};

impl TryFrom<OwnedFd> for UnixDatagramSocket {
    type Error = Error;

    /// Adopts a UNIX datagram socket. On an error the descriptor is closed.
    fn try_from(fd: OwnedFd) -> Result<Self> {
        UNIX_DATAGRAMS.check(fd.as_fd())?;
        UNIX_DATAGRAMS.refuse_peer(sys::socket::peer_name(fd.as_fd()))?;
        let local = UNIX_DATAGRAMS.local_name(fd.as_fd())?;
        Ok(shared(Self::new(fd, local, OwnFile::default())))
    }
}

impl TryFrom<OwnedFd> for ConnectedUnixDatagramSocket {
    type Error = Error;

    /// Adopts a connected UNIX datagram socket. On an error the descriptor is closed.
    fn try_from(fd: OwnedFd) -> Result<Self> {
        CONNECTED_UNIX_DATAGRAMS.check(fd.as_fd())?;
        let peer = CONNECTED_UNIX_DATAGRAMS.peer_name(fd.as_fd())?;
        let local = CONNECTED_UNIX_DATAGRAMS.local_name(fd.as_fd())?;
        // A peer without a name cannot be told from others without one.
        let only = (peer != UnixName::unnamed()).then(|| peer.clone());
        let mut socket = Self::new(fd, local, peer, OwnFile::default());
        socket.core.only = only;
        Ok(shared(socket))
    }
}

conversions!(UnixDatagramSocket, unix::UnixDatagram, UNIX_DATAGRAMS, it => it.core.file.keep());

conversions!(
    ConnectedUnixDatagramSocket,
    unix::UnixDatagram,
    CONNECTED_UNIX_DATAGRAMS,
    it => it.core.file.keep()
);
