//! Converts sockets that were made elsewhere to the crate's types, and back.
//!
//! The sources are std's types, descriptors, and the process that started this one. Each descriptor
//! is checked for its kind. Adopted sockets become non-blocking, which applies to every duplicate
//! of the descriptor, in other processes too.

#[cfg(feature = "unix-ext")]
mod unix_datagrams;
mod wanted;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net as unix;

use super::sockets::Sockets;
use super::tcp::{TcpListener, TcpStream};
use super::udp::{ConnectedUdpSocket, UdpSocket};
use super::udp_core::UdpCore;
use super::unix::{UnixListener, UnixStream};
use crate::error::{Error, Result};
use crate::runtime::socket::{Socket, Trigger};
use crate::stream::MultiListener;
use crate::sys;
use crate::sys::adopt::Domain;
use crate::sys::file::OwnFile;
pub(super) use wanted::TCP_STREAM;
use wanted::{
    CONNECTED_UDP, TCP_LISTENER, UDP_SOCKET, UNIX_LISTENER, UNIX_STREAM, Wanted, read_facts,
};

/// Marks an adopted socket as lent: it may have duplicates, which would keep it in the poller, so
/// it is deregistered when it is closed.
fn shared<S: AsFd>(socket: S) -> S {
    let _lent = socket.as_fd();
    socket
}

impl TryFrom<OwnedFd> for TcpStream {
    type Error = Error;

    /// Adopts a connected TCP socket. On an error the descriptor is closed.
    fn try_from(fd: OwnedFd) -> Result<Self> {
        let facts = TCP_STREAM.check(fd.as_fd())?;
        let peer = TCP_STREAM.peer(fd.as_fd())?;
        let nodelay = sys::socket::set_nodelay(fd.as_fd(), true);
        nodelay.map_err(|cause| TCP_STREAM.failed(cause))?;
        let socket = Socket::new(fd, Trigger::Edge);
        Ok(shared(Self::connected(socket, peer, facts.is_tcp)))
    }
}

impl TryFrom<OwnedFd> for TcpListener {
    type Error = Error;

    /// Adopts a listening TCP socket. On an error the descriptor is closed.
    fn try_from(fd: OwnedFd) -> Result<Self> {
        Self::try_from(vec![fd])
    }
}

impl TryFrom<Vec<OwnedFd>> for TcpListener {
    type Error = Error;

    /// Adopts listening TCP sockets, at least one, as one listener. On an error all descriptors
    /// are closed.
    fn try_from(fds: Vec<OwnedFd>) -> Result<Self> {
        if fds.is_empty() {
            return Err(Error::invalid(
                TCP_LISTENER.operation,
                "there is no descriptor",
            ));
        }
        let adopt = |fd: OwnedFd| {
            TCP_LISTENER.check(fd.as_fd())?;
            // On some systems accepted connections inherit it.
            let nodelay = sys::socket::set_nodelay(fd.as_fd(), true);
            nodelay.map_err(|cause| TCP_LISTENER.failed(cause))?;
            let local = TCP_LISTENER.local(fd.as_fd())?;
            Ok((fd, local))
        };
        let bound: Result<Vec<_>> = fds.into_iter().map(adopt).collect();
        let listener = Self::new(bound?);
        // Marks all as lent: they may have duplicates, too.
        listener.as_fds().for_each(drop);
        Ok(listener)
    }
}

impl TryFrom<OwnedFd> for UnixStream {
    type Error = Error;

    /// Adopts a connected UNIX stream socket. On an error the descriptor is closed.
    fn try_from(fd: OwnedFd) -> Result<Self> {
        UNIX_STREAM.check(fd.as_fd())?;
        let peer = UNIX_STREAM.peer_name(fd.as_fd())?;
        Ok(shared(Self::new(fd, peer)))
    }
}

impl TryFrom<OwnedFd> for UnixListener {
    type Error = Error;

    /// Adopts a listening UNIX socket. On an error the descriptor is closed.
    fn try_from(fd: OwnedFd) -> Result<Self> {
        UNIX_LISTENER.check(fd.as_fd())?;
        let name = UNIX_LISTENER.local_name(fd.as_fd())?;
        Ok(shared(Self::new(fd, name, OwnFile::default())))
    }
}

impl TryFrom<OwnedFd> for UdpSocket {
    type Error = Error;

    /// Adopts a bound UDP socket. On an error the descriptor is closed.
    fn try_from(fd: OwnedFd) -> Result<Self> {
        UDP_SOCKET.check(fd.as_fd())?;
        UDP_SOCKET.refuse_peer(sys::socket::peer_addr(fd.as_fd()))?;
        let local = UDP_SOCKET.local(fd.as_fd())?;
        let core = UdpCore::adopted(Socket::new(fd, Trigger::Edge), local, None);
        Ok(shared(Self { core }))
    }
}

impl TryFrom<OwnedFd> for ConnectedUdpSocket {
    type Error = Error;

    /// Adopts a connected UDP socket. On an error the descriptor is closed.
    fn try_from(fd: OwnedFd) -> Result<Self> {
        CONNECTED_UDP.check(fd.as_fd())?;
        let peer = CONNECTED_UDP.peer(fd.as_fd())?;
        let local = CONNECTED_UDP.local(fd.as_fd())?;
        let core = UdpCore::adopted(Socket::new(fd, Trigger::Edge), local, Some(peer));
        Ok(shared(Self { core }))
    }
}

/// Duplicates the descriptor of a socket. [`Error::Closed`] if it was aborted.
fn give_away(wanted: Wanted, socket: &Socket) -> Result<OwnedFd> {
    if socket.is_closed() {
        return Err(Error::Closed);
    }
    let fd = socket.lend().try_clone_to_owned();
    let fd = fd.map_err(|cause| wanted.failed(cause))?;
    // A server would close the stream that its handler drops here.
    socket.retire();
    Ok(fd)
}

fn give_away_blocking(wanted: Wanted, socket: &Socket) -> Result<OwnedFd> {
    let fd = give_away(wanted, socket)?;
    sys::adopt::make_blocking(fd.as_fd()).map_err(|cause| wanted.failed(cause))?;
    Ok(fd)
}

/// Implements the conversions between a type of this crate, std's, and a descriptor. The last
/// argument is called when a socket continues outside of this crate.
macro_rules! conversions {
    ($ours:ty, $std:ty, $wanted:expr $(, $socket:ident => $leaves:expr)?) => {
        impl TryFrom<$std> for $ours {
            type Error = Error;

            /// Adopts std's socket, which becomes non-blocking.
            fn try_from(socket: $std) -> Result<Self> {
                OwnedFd::from(socket).try_into()
            }
        }

        impl TryFrom<$ours> for OwnedFd {
            type Error = Error;

            /// Leaves the runtime. The socket stays non-blocking. [`Error::Closed`] if it was
            /// aborted.
            fn try_from(mut socket: $ours) -> Result<Self> {
                let fd = give_away($wanted, &socket.sockets_mut()[0])?;
                $(
                    let $socket = &socket;
                    $leaves;
                )?
                Ok(fd)
            }
        }

        impl TryFrom<$ours> for $std {
            type Error = Error;

            /// Leaves the runtime, and becomes blocking as std expects. [`Error::Closed`] if it was
            /// aborted.
            fn try_from(mut socket: $ours) -> Result<Self> {
                let fd = give_away_blocking($wanted, &socket.sockets_mut()[0])?;
                $(
                    let $socket = &socket;
                    $leaves;
                )?
                Ok(Self::from(fd))
            }
        }
    };
}

#[cfg(feature = "unix-ext")]
use conversions;

conversions!(TcpStream, std::net::TcpStream, TCP_STREAM);
conversions!(UnixStream, unix::UnixStream, UNIX_STREAM);
conversions!(UnixListener, unix::UnixListener, UNIX_LISTENER, it => it.file.keep());
conversions!(UdpSocket, std::net::UdpSocket, UDP_SOCKET, it => it.core.leaves());
conversions!(ConnectedUdpSocket, std::net::UdpSocket, CONNECTED_UDP, it => it.core.leaves());

impl TryFrom<std::net::TcpListener> for TcpListener {
    type Error = Error;

    /// Adopts std's listener, which becomes non-blocking.
    fn try_from(socket: std::net::TcpListener) -> Result<Self> {
        OwnedFd::from(socket).try_into()
    }
}

impl TryFrom<TcpListener> for Vec<OwnedFd> {
    type Error = Error;

    /// Leaves the runtime: one descriptor for each address, still non-blocking. [`Error::Closed`]
    /// if the listener was aborted.
    fn try_from(mut listener: TcpListener) -> Result<Self> {
        let sockets = listener.sockets_mut().iter();
        sockets.map(|it| give_away(TCP_LISTENER, it)).collect()
    }
}

impl TryFrom<TcpListener> for std::net::TcpListener {
    type Error = Error;

    /// Leaves the runtime, and becomes blocking as std expects. `InvalidInput` if the listener has
    /// several sockets, [`Error::Closed`] if it was aborted.
    fn try_from(mut listener: TcpListener) -> Result<Self> {
        match listener.sockets_mut() {
            [socket] => give_away_blocking(TCP_LISTENER, socket).map(Self::from),
            _ => {
                let message = "the listener has several sockets, which std knows nothing of";
                Err(Error::invalid("give a TCP listener away", message))
            }
        }
    }
}

/// Makes one listener of listening sockets of any kind, TCP and UNIX: for example those of
/// [`inherited_sockets`](super::inherited_sockets), or sockets from another process.
///
/// Needs no runtime. The sockets become non-blocking, also for other processes that have them.
///
/// # Errors
///
/// [`Error::Io`] with `InvalidInput` and the reason: no socket, one that does not listen, one of
/// another kind. Then all descriptors are closed.
///
/// # Examples
///
/// ```
/// let std = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let listener = soloio::net::adopt_listeners([std.into()])?;
/// assert_eq!(listener.len(), 1);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "from_socket")]
pub fn adopt_listeners(fds: impl IntoIterator<Item = OwnedFd>) -> Result<MultiListener<'static>> {
    let mut all = MultiListener::new();
    for fd in fds {
        let facts = read_facts(fd.as_fd()).map_err(|cause| TCP_LISTENER.failed(cause))?;
        match facts.domain {
            Domain::Unix => all.push(UnixListener::try_from(fd)?),
            Domain::Internet | Domain::Other => all.push(TcpListener::try_from(fd)?),
        }
    }
    Ok(all)
}
