//! Connects: `connect_tcp` and `connect_unix`.

use std::ffi::OsStr;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::happy_eyeballs::{self, Attempted};
use super::local::{Local, about_local, local_options};
use super::resolve::Host;
use super::tcp::TcpStream;
use super::unix::UnixStream;
use crate::error::{ConnectFailed, Content, Error, Result};
use crate::runtime::context;
use crate::runtime::operation::{After, Direction, First, Operation};
use crate::runtime::socket::Socket;
use crate::sys::addr::UnixName;
use crate::sys::socket::Kind;
use crate::sys::{self, errno};
use crate::time::sleep;

/// Connects to a TCP port of a host: a name, an address in a string, or an address.
///
/// The addresses of a name are tried in the resolver's order, with alternating families. The next
/// attempt begins after [a delay](ConnectTcp::happy_eyeballs_delay), or as soon as one has failed.
/// The first that succeeds wins, and the others are closed (RFC 8305). The only time limit is the
/// kernel's: set one with [`fail_after`](crate::fail_after).
///
/// A name is resolved outside the loop, by the [`Resolver`](crate::net::Resolver) of the host. One
/// that is not ASCII needs the feature `idna`. An address starts no thread.
///
/// # Errors
///
/// * [`Error::ConnectFailed`] if no address could be connected, or the local address cannot be
///   used: it has every attempt with its cause.
/// * [`Error::Resolve`] if the name has no address, or could not be looked up.
/// * [`Error::Io`] if the runtime cannot wait for sockets. It is `InvalidInput` for port 0, and if
///   the local host has no address of the host's families.
///
/// # Cancel safety
///
/// Dropping the future closes the socket; the peer may have seen a connection that ended at once; a
/// lookup is abandoned, not waited for.
///
/// # Examples
///
/// ```
/// use soloio::{connect_tcp, create_tcp_listener};
///
/// soloio::block_on(async {
///     let listener = create_tcp_listener().local_host("127.0.0.1").await?;
///     let client = connect_tcp("127.0.0.1", listener.local_addr().port()).await?;
///     let server = listener.accept().await?;
///     assert_eq!(client.local_addr(), server.peer_addr());
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
pub fn connect_tcp(host: impl Into<Host>, port: u16) -> ConnectTcp {
    ConnectTcp {
        host: host.into(),
        port,
        local: Local::default(),
        delay: happy_eyeballs::DELAY,
    }
}

/// A TCP connection that is about to be made: await it. Made by [`connect_tcp`].
#[derive(Debug, Clone)]
#[must_use = "nothing is connected unless awaited"]
pub struct ConnectTcp {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) local: Local,
    pub(super) delay: Duration,
}

impl ConnectTcp {
    local_options!(
        [local]
        "The address to connect from. If it is a name, its first local address of the peer's \
        family is used. Connections to different peers share its ports (Linux)."
    );

    /// Sets the time after which the next address is tried, too (250 ms by default). With zero all
    /// are tried at once, with `Duration::MAX` one after the other.
    pub fn happy_eyeballs_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    async fn connect(self) -> Result<TcpStream> {
        let connected = self.try_all().await;
        connected.map_err(|error| {
            // Nothing has confirmed yet that it is a name.
            let (host, port) = (format!("{}", self.host), self.port);
            let host = host.escape_debug();
            context::describe(error, &mut |part| {
                format!("connecting to {host} port {port}, {part}")
            })
        })
    }

    async fn try_all(&self) -> Result<TcpStream> {
        if self.port == 0 {
            return Err(port_0(&self.host));
        }
        let locals = self.local.resolve().await?;
        let mut addresses = happy_eyeballs::order(self.host.resolve(self.port).await?);
        if let Some(locals) = &locals {
            addresses.retain(|address| !of_family(address, locals).is_empty());
            if addresses.is_empty() {
                let message = "the host and the local host have no addresses of one family";
                return Err(Error::invalid("connect", message));
            }
        }
        let begin = |address| {
            let locals = self.locals_for(&address, locals.as_deref());
            attempt(address, locals, &self.local)
        };
        let raced = happy_eyeballs::race(addresses, self.delay, begin).await?;
        raced.map_err(|attempts| {
            let failed = ConnectFailed {
                host: format!("{}", self.host),
                port: self.port,
                attempts,
            };
            Error::ConnectFailed(Content::new(failed))
        })
    }

    /// Returns the candidates for the local address of a connection to `address`, best first; none
    /// if the kernel may choose.
    #[inline]
    fn locals_for(&self, address: &SocketAddr, locals: Option<&[SocketAddr]>) -> Vec<SocketAddr> {
        match locals {
            Some(locals) => of_family(address, locals),
            None if self.local.port == 0 => Vec::new(),
            None => vec![any_address(address.is_ipv4(), self.local.port)],
        }
    }
}

/// Returns those of `locals` that have the family of `address`.
#[inline]
pub(super) fn of_family(address: &SocketAddr, locals: &[SocketAddr]) -> Vec<SocketAddr> {
    let same = |local: &&SocketAddr| local.is_ipv4() == address.is_ipv4();
    locals.iter().filter(same).copied().collect()
}

/// The error for port 0: where a socket is bound it means any port, but it is none to connect to.
pub(super) fn port_0(host: &Host) -> Error {
    let cause = errno::invalid("port 0 cannot be connected to");
    Error::io("connect to", format_args!("{host} port 0"), cause)
}

/// Returns the unspecified address, which means all addresses of this host.
pub(super) fn any_address(v4: bool, port: u16) -> SocketAddr {
    use std::net::{Ipv4Addr, Ipv6Addr};
    if v4 {
        (Ipv4Addr::UNSPECIFIED, port).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, port).into()
    }
}

awaited!(IntoFuture for ConnectTcp, connect -> TcpStream);

/// Makes one attempt. The inner error is of this address alone; the outer error ends all attempts.
async fn attempt(
    address: SocketAddr,
    locals: Vec<SocketAddr>,
    local: &Local,
) -> Result<Attempted<TcpStream>> {
    context::checkpoint().await?;
    let (fd, from) = match local.bound(&address, &locals) {
        Ok(bound) => bound,
        Err(error) => return Ok(Err(error)),
    };
    let connected = connect(local.own(fd), &address, true).await?;
    Ok(connected.map_err(|error| match from {
        // The address is local, since it could be bound.
        Some(from) if from.port() == 0 && error.kind() == io::ErrorKind::AddrNotAvailable => {
            about_local("no local port left for", from.ip(), &error)
        }
        _ => error,
    }))
}

/// Connects a socket that is ready for it.
pub(super) async fn connect(
    socket: Socket,
    address: &SocketAddr,
    is_tcp: bool,
) -> Result<Attempted<TcpStream>> {
    // May differ from `address`: the unspecified address connects to this host.
    let peer = match sys::socket::connect(socket.fd(), address) {
        Ok(()) => sys::socket::peer_addr(socket.fd()).unwrap_or(*address),
        // After EINTR the connect continues in the background (connect(2)).
        Err(error)
            if errno::is_in_progress(&error) || error.kind() == io::ErrorKind::Interrupted =>
        {
            match connected(&socket, address).await? {
                Ok(peer) => peer,
                Err(error) => return Ok(Err(error)),
            }
        }
        Err(error) => return Ok(Err(error)),
    };
    let stream = TcpStream::connected(socket, peer, is_tcp);
    if stream.local_addr() == peer {
        // A connect to a free port of the ephemeral range may connect the socket to itself.
        return Ok(Err(errno::refused()));
    }
    Ok(Ok(stream))
}

/// Waits until a connect that has begun ends: with the peer's address, or an error. The outer error
/// means that it was not possible to wait.
async fn connected(socket: &Socket, address: &SocketAddr) -> Result<Attempted<SocketAddr>> {
    let mut operation = Operation::new(socket, Direction::Write);
    let check = |_: &_, fd: BorrowedFd<'_>| match sys::socket::connect_result(fd) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
        ended => Ok((ended, After::Ready)),
    };
    let failed = |cause| Error::io("connect to", address, cause);
    poll_fn(|cx| operation.poll(cx, First::Wait, check, failed)).await
}

/// The first and the longest pause before a full backlog is tried again.
const BACKLOG_PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Connects to a UNIX listener: a path, or an abstract name with a leading NUL (Linux).
///
/// While the listener's backlog is full this tries again, with pauses of 1 to 50 ms, until there is
/// room: set a limit with [`fail_after`](crate::fail_after).
///
/// # Errors
///
/// [`Error::Io`], which names the path: no listener, no such file, a name that is too long or
/// contains a NUL.
///
/// # Cancel safety
///
/// Dropping the future closes the socket; the peer may have seen a connection that ended at once.
///
/// # Examples
///
/// ```
/// use soloio::{connect_unix, create_unix_listener};
///
/// let dir = std::env::temp_dir().join(format!("soloio-doc-{}", std::process::id()));
/// std::fs::create_dir_all(&dir)?;
/// let path = dir.join("socket");
/// soloio::block_on(async {
///     let listener = create_unix_listener(&path).await?;
///     let client = connect_unix(&path).await?;
///     client.send(b"hello").await?;
///     assert_eq!(listener.accept().await?.receive().await?, b"hello");
///     Ok::<_, soloio::Error>(())
/// })?;
/// std::fs::remove_dir_all(&dir)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub async fn connect_unix(path: impl AsRef<OsStr>) -> Result<UnixStream> {
    connect_name(path.as_ref(), Kind::Stream).await
}

/// Connects a UNIX socket of this kind.
pub(super) async fn connect_name(path: &OsStr, kind: Kind) -> Result<UnixStream> {
    let failed = |cause| Error::io("connect to", path.to_string_lossy(), cause);
    let name = UnixName::new(path).map_err(failed)?;
    let mut pause = BACKLOG_PAUSE.0;
    loop {
        context::checkpoint().await?;
        // A new socket each time: after a connect that was refused with EAGAIN, a socket is
        // reported as writable and is not connected.
        let fd = sys::socket::unix(kind).map_err(failed)?;
        match sys::socket::connect_unix(fd.as_fd(), &name) {
            Ok(()) => return Ok(UnixStream::new(fd, name)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                drop(fd);
                sleep(pause).await.map_err(|error| {
                    let path = path.to_string_lossy();
                    context::describe(error, &mut |part| format!("connecting to {path}, {part}"))
                })?;
                pause = (pause * 2).min(BACKLOG_PAUSE.1);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}
