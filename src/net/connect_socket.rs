//! `connect_socket`: connects a socket that was made elsewhere.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use super::adopt::TCP_STREAM;
use super::connect::{connect, port_0};
use super::tcp::TcpStream;
use crate::error::{Error, Result};
use crate::runtime::context;
use crate::runtime::socket::{Socket, Trigger};
use crate::sys;
use crate::sys::addr::fitting;

/// Connects a TCP socket that was made elsewhere and is not connected yet. The socket becomes
/// non-blocking and gets `TCP_NODELAY`, like those of [`connect_tcp`](crate::connect_tcp); its
/// other options stay. For options that must be set before the connect,
/// [`prepare`](crate::net::ConnectTcp::prepare) is simpler.
///
/// # Errors
///
/// [`Error::Io`], which names the address; `InvalidInput` for a descriptor that is no internet
/// stream socket, or listens. The socket is closed.
///
/// # Cancel safety
///
/// Dropping the future closes the socket; the peer may have seen a connection that ended at once.
///
/// # Examples
///
/// ```
/// use soloio::{create_tcp_listener, net::connect_socket};
/// use socket2::{Domain, Socket, Type};
///
/// soloio::block_on(async {
///     let listener = create_tcp_listener().local_host("127.0.0.1").await?;
///     let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
///     socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 7], 0)).into())?;
///     let client = connect_socket(socket, listener.local_addr()).await?;
///     assert_eq!(listener.accept().await?.peer_addr(), client.local_addr());
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "TcpSocket")]
pub async fn connect_socket(socket: impl Into<OwnedFd>, to: SocketAddr) -> Result<TcpStream> {
    let fd = socket.into();
    context::checkpoint().await?;
    if to.port() == 0 {
        return Err(port_0(&to.ip().into()));
    }
    let facts = TCP_STREAM.check(fd.as_fd())?;
    let failed = |cause| Error::io("connect to", to, cause);
    sys::socket::set_nodelay(fd.as_fd(), true).map_err(failed)?;
    let local = sys::adopt::family_addr(fd.as_fd()).map_err(failed)?;
    let to = fitting(&local, to).map_err(failed)?;
    let socket = Socket::new(fd, Trigger::Edge);
    // The program may have duplicates of it.
    socket.lend();
    let connected = connect(socket, &to, facts.is_tcp).await?;
    connected.map_err(failed)
}
