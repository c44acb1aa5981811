//! Makes UNIX datagram sockets: `create_unix_datagram_socket` and
//! `create_connected_unix_datagram_socket`.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};

use super::unix_bind::Bind;
use super::unix_datagram::{ConnectedUnixDatagramSocket, UnixDatagramSocket};
use crate::error::{Error, Result};
use crate::runtime::context;
use crate::sys;
use crate::sys::addr::UnixName;
use crate::sys::file::OwnFile;
use crate::sys::socket::Kind;

/// Makes a UNIX datagram socket. Without [`local_path`](CreateUnixDatagramSocket::local_path) it
/// can send, but gets no answers.
///
/// A path is bound as by [`create_unix_listener`](crate::create_unix_listener): a stale socket file
/// is replaced, one that answers is not, and the file stays unless
/// [`unlink_on_close`](CreateUnixDatagramSocket::unlink_on_close) is set.
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
/// use soloio::{create_connected_unix_datagram_socket, create_unix_datagram_socket};
///
/// let dir = std::env::temp_dir().join(format!("soloio-doc-datagram-{}", std::process::id()));
/// std::fs::create_dir_all(&dir)?;
/// soloio::block_on(async {
///     let server = create_unix_datagram_socket().local_path(dir.join("server")).await?;
///     let client = create_connected_unix_datagram_socket(dir.join("server"))
///         .local_path(dir.join("client"))
///         .await?;
///     client.send(b"world").await?;
///     let (data, from) = server.receive().await?;
///     server.send_to(&[b"Hello, ", &data[..]].concat(), from.as_os_str()).await?;
///     assert_eq!(client.receive().await?, b"Hello, world");
///     Ok::<_, soloio::Error>(())
/// })?;
/// std::fs::remove_dir_all(&dir)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn create_unix_datagram_socket() -> CreateUnixDatagramSocket {
    CreateUnixDatagramSocket {
        local: Local::default(),
    }
}

/// Makes a UNIX datagram socket that is connected to one peer: a path, or an abstract name with a
/// leading NUL (Linux). Without [`local_path`](CreateConnectedUnixDatagramSocket::local_path) the
/// peer cannot answer.
///
/// # Errors
///
/// [`Error::Io`], which names the path: no socket there, no such file, a socket of another kind,
/// and those of [`create_unix_datagram_socket`].
///
/// # Cancel safety
///
/// A future that is dropped before its end has had no effect.
pub fn create_connected_unix_datagram_socket(
    path: impl AsRef<OsStr>,
) -> CreateConnectedUnixDatagramSocket {
    CreateConnectedUnixDatagramSocket {
        peer: path.as_ref().to_owned(),
        local: Local::default(),
    }
}

/// The local name of a datagram socket, and the options of its file.
#[derive(Debug, Clone, Default)]
struct Local {
    path: Option<OsString>,
    mode: Option<u32>,
    unlink_on_close: bool,
}

/// Makes a socket without a name.
async fn socket() -> Result<OwnedFd> {
    context::checkpoint().await?;
    sys::socket::unix(Kind::Datagram)
        .map_err(|cause| Error::io("make", "a UNIX datagram socket", cause))
}

impl Local {
    async fn bind(&self, fd: &OwnedFd) -> Result<(UnixName, OwnFile)> {
        const BIND: &str = "bind to";
        let Some(path) = &self.path else {
            return Ok((UnixName::unnamed(), OwnFile::default()));
        };
        let failed = |cause| Error::io(BIND, path.to_string_lossy(), cause);
        let name = UnixName::new(path).map_err(failed)?;
        let bind = Bind {
            operation: BIND,
            name: &name,
            kind: Kind::Datagram,
            mode: self.mode,
            unlink_on_close: self.unlink_on_close,
            backlog: None,
        };
        let file = bind.bind(fd).await?;
        Ok((name, file))
    }
}

/// The options of both builders.
macro_rules! local_options {
    () => {
        /// Sets the path or abstract name (Linux) to bind to, so that other sockets can send to
        /// this one.
        pub fn local_path(mut self, path: impl AsRef<OsStr>) -> Self {
            self.local.path = Some(path.as_ref().to_owned());
            self
        }

        /// Sets the permission bits of the socket file. Without it the process's umask decides. The
        /// file never has wider permissions than these; on Linux not even for a moment.
        #[doc(alias = "mode")]
        pub fn local_mode(mut self, mode: u32) -> Self {
            self.local.mode = Some(mode);
            self
        }

        /// Removes the socket file when the socket is dropped or aborted, if it is still the one
        /// that this socket made.
        pub fn unlink_on_close(mut self, unlink: bool) -> Self {
            self.local.unlink_on_close = unlink;
            self
        }
    };
}

/// A UNIX datagram socket that is about to be made: await it. Made by
/// [`create_unix_datagram_socket`].
#[derive(Debug, Clone)]
#[must_use = "no socket is made unless awaited"]
pub struct CreateUnixDatagramSocket {
    local: Local,
}

impl CreateUnixDatagramSocket {
    local_options!();

    async fn create(self) -> Result<UnixDatagramSocket> {
        let fd = socket().await?;
        let (name, file) = self.local.bind(&fd).await?;
        Ok(UnixDatagramSocket::new(fd, name, file))
    }
}

awaited!(IntoFuture for CreateUnixDatagramSocket, create -> UnixDatagramSocket);

/// A connected UNIX datagram socket that is about to be made: await it. Made by
/// [`create_connected_unix_datagram_socket`].
#[derive(Debug, Clone)]
#[must_use = "no socket is made unless awaited"]
pub struct CreateConnectedUnixDatagramSocket {
    peer: OsString,
    local: Local,
}

impl CreateConnectedUnixDatagramSocket {
    local_options!();

    async fn create(self) -> Result<ConnectedUnixDatagramSocket> {
        let failed = |cause| Error::io("connect to", self.peer.to_string_lossy(), cause);
        let peer = UnixName::new(&self.peer).map_err(failed)?;
        let fd = socket().await?;
        // Before the bind: from then on only the peer can send to it. Connecting a datagram socket
        // never has to wait.
        sys::socket::connect_unix(fd.as_fd(), &peer).map_err(failed)?;
        let (name, file) = self.local.bind(&fd).await?;
        Ok(ConnectedUnixDatagramSocket::new(fd, name, peer, file))
    }
}

awaited!(IntoFuture for CreateConnectedUnixDatagramSocket, create -> ConnectedUnixDatagramSocket);

/// Makes two UNIX datagram sockets that are connected with each other (socketpair(2)). Needs no
/// runtime.
///
/// # Errors
///
/// [`Error::Io`]: out of descriptors.
///
/// # Examples
///
/// ```
/// let (ours, theirs) = soloio::unix_datagram_socket_pair()?;
/// soloio::block_on(async {
///     ours.send(b"one").await?;
///     ours.send(b"").await?;
///     assert_eq!(theirs.receive().await?, b"one");
///     assert_eq!(theirs.receive().await?, b"");
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "socketpair")]
pub fn unix_datagram_socket_pair()
-> Result<(ConnectedUnixDatagramSocket, ConnectedUnixDatagramSocket)> {
    let pair = sys::socket::pair(Kind::Datagram);
    let (a, b) = pair.map_err(|cause| Error::io("make", "a pair of UNIX sockets", cause))?;
    let none = UnixName::unnamed;
    let socket = |fd| ConnectedUnixDatagramSocket::new(fd, none(), none(), OwnFile::default());
    Ok((socket(a), socket(b)))
}
