//! Listens on a UNIX name: `create_unix_listener`.

use std::ffi::{OsStr, OsString};

use super::listen::BACKLOG;
use super::unix::UnixListener;
use super::unix_bind::Bind;
use crate::error::{Error, Result};
use crate::runtime::context;
use crate::sys;
use crate::sys::addr::UnixName;
use crate::sys::socket::Kind;

/// Listens for UNIX connections on a path, or on an abstract name with a leading NUL (Linux).
///
/// A socket file without a listener is replaced; one with a live listener, and any other file, is
/// left alone. If several processes listen on one path at the same time, exactly one gets it: they
/// take turns with a lock of the folder (flock(2)), which another program may hold too.
///
/// The path stays in the file system when the listener is dropped, unless
/// [`unlink_on_close`](CreateUnixListener::unlink_on_close) is set.
///
/// # Errors
///
/// [`Error::Io`], which names the path: in use, a directory or another file, a directory that does
/// not exist, a name that is too long or contains a NUL. In a folder that this process may not
/// read, a stale file is not replaced, and the error is "in use".
///
/// # Cancel safety
///
/// A future that is dropped before its end has had no effect.
///
/// # Examples
///
/// ```
/// let path = std::env::temp_dir().join(format!("soloio-doc-listen-{}", std::process::id()));
/// soloio::block_on(async {
///     let listener = soloio::create_unix_listener(&path).mode(0o600).unlink_on_close(true).await?;
///     assert_eq!(listener.local_name().as_path(), Some(&*path));
///     drop(listener);
///     assert!(!path.exists());
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "bind")]
pub fn create_unix_listener(path: impl AsRef<OsStr>) -> CreateUnixListener {
    CreateUnixListener {
        path: path.as_ref().to_owned(),
        mode: None,
        backlog: BACKLOG,
        unlink_on_close: false,
    }
}

/// A UNIX listener that is about to be made: await it. Made by [`create_unix_listener`].
#[derive(Debug, Clone)]
#[must_use = "nothing listens unless awaited"]
pub struct CreateUnixListener {
    path: OsString,
    mode: Option<u32>,
    backlog: u32,
    unlink_on_close: bool,
}

impl CreateUnixListener {
    /// Sets the permission bits of the socket file, before any client can connect. Without it the
    /// process's umask decides.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Sets the number of connections that may wait to be accepted (65,536 unless the kernel's
    /// limit is lower).
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// Removes the socket file when the listener is dropped or aborted, if it is still the one that
    /// this listener made.
    pub fn unlink_on_close(mut self, unlink: bool) -> Self {
        self.unlink_on_close = unlink;
        self
    }

    async fn create(self) -> Result<UnixListener> {
        self.listen(Kind::Stream).await
    }

    /// Makes a listener for connections of this kind.
    pub(super) async fn listen(self, kind: Kind) -> Result<UnixListener> {
        context::checkpoint().await?;
        let failed = |cause| Error::io("listen on", self.path.to_string_lossy(), cause);
        let name = UnixName::new(&self.path).map_err(failed)?;
        let bind = Bind {
            operation: "listen on",
            name: &name,
            kind,
            mode: self.mode,
            unlink_on_close: self.unlink_on_close,
            backlog: Some(self.backlog),
        };
        let fd = sys::socket::unix(bind.kind).map_err(failed)?;
        let file = bind.bind(&fd).await?;
        Ok(UnixListener::new(fd, name, file))
    }
}

awaited!(IntoFuture for CreateUnixListener, create -> UnixListener);
