//! Binds a UNIX socket to its path under the lock of the folder, so that only one socket has the
//! path.
//!
//! A socket file refuses connections if its owner has died, but so does one that was just bound and
//! does not listen yet. A process that takes the second for the first removes a live server's file,
//! and both continue as if they had the path. So one process at a time checks, removes, binds, sets
//! the mode and listens; the others find an owner that answers. The lock is the kernel's
//! (flock(2)): it ends with its holder in any case.
//!
//! ```text
//!   lock ──> bind ──ok────────────────────────────> mode ──> listen ──> unlock
//!             └─in use──> a socket that refuses? ──> remove, bind again ──┘
//!                          └─ anything else: in use
//! ```
//!
//! In a folder that cannot be locked (its owner may not read it, its file system has no locks) a
//! name that is free is still bound; then no file is ever removed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::sys;
use crate::sys::addr::UnixName;
use crate::sys::file::{FolderLock, Found, OwnFile};
use crate::sys::socket::Kind;
use crate::time::sleep;

/// The first and the longest pause before another try for a lock that is taken. This crate holds it
/// for a few system calls; a program that cleans the folder may hold it for longer.
const LOCK_PAUSE: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(20));

/// The parameters of a bind.
#[derive(Debug)]
pub(super) struct Bind<'a> {
    /// The operation that errors name.
    pub(super) operation: &'static str,
    pub(super) name: &'a UnixName,
    pub(super) kind: Kind,
    pub(super) mode: Option<u32>,
    pub(super) unlink_on_close: bool,
    /// The backlog to listen with, before the lock is released.
    pub(super) backlog: Option<u32>,
}

impl Bind<'_> {
    /// Binds a socket of this kind, after waiting for the lock of the folder. Returns its file if
    /// the file is to be removed with it. Dropping the future while it waits has no effect.
    pub(super) async fn bind(&self, fd: &OwnedFd) -> Result<OwnFile> {
        let failed = |cause| Error::io(self.operation, self.name, cause);
        let Some(path) = self.name.as_path() else {
            let bound = self.bind_free(fd);
            return bound.map(|()| OwnFile::default()).map_err(failed);
        };
        let mut pause = LOCK_PAUSE.0;
        loop {
            match FolderLock::take(path) {
                Ok(lock) => {
                    let bound = self.bind_path(fd, path, true).map_err(failed);
                    drop(lock);
                    return bound;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sleep(pause).await?;
                    pause = (pause * 2).min(LOCK_PAUSE.1);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The error of the bind itself describes the fault of the path better.
                Err(_) => return self.bind_path(fd, path, false).map_err(failed),
            }
        }
    }

    #[inline]
    fn bind_path(&self, fd: &OwnedFd, path: &Path, is_locked: bool) -> io::Result<OwnFile> {
        match self.bind_free(fd) {
            Err(in_use) if in_use.kind() == io::ErrorKind::AddrInUse && is_locked => {
                self.remove_stale(path, in_use)?;
                self.bind_free(fd)?;
            }
            bound => bound?,
        }
        let finished = self.finish(fd, path);
        if finished.is_err() {
            // The file is ours and no socket will ever answer there; the first error counts.
            drop(sys::file::remove(path));
        }
        finished
    }

    /// Binds if the name is free.
    #[inline]
    fn bind_free(&self, fd: &OwnedFd) -> io::Result<()> {
        if let Some(mode) = self.mode {
            sys::file::limit_mode(fd.as_fd(), mode);
        }
        sys::socket::bind_unix(fd.as_fd(), self.name)?;
        match self.name.as_path() {
            Some(_) => Ok(()),
            None => self.listen(fd),
        }
    }

    #[inline]
    fn finish(&self, fd: &OwnedFd, path: &Path) -> io::Result<OwnFile> {
        if let Some(mode) = self.mode {
            // Before it listens, so that no client can connect with wider permissions.
            sys::file::set_mode(path, mode)?;
        }
        let file = match self.unlink_on_close {
            true => OwnFile::at(path)?,
            false => OwnFile::default(),
        };
        self.listen(fd)?;
        Ok(file)
    }

    #[inline]
    fn listen(&self, fd: &OwnedFd) -> io::Result<()> {
        match self.backlog {
            Some(backlog) => sys::socket::listen(fd.as_fd(), backlog),
            None => Ok(()),
        }
    }

    /// Removes the file if it is a socket that refuses connections; one with an owner does not
    /// refuse.
    #[inline]
    fn remove_stale(&self, path: &Path, in_use: io::Error) -> io::Result<()> {
        match sys::file::kind_at(path)? {
            Found::Nothing => return Ok(()),
            Found::Socket => {}
            Found::Other => {
                let message = "the path is that of a file that is no socket";
                return Err(io::Error::new(in_use.kind(), message));
            }
        }
        let probe = sys::socket::unix(self.kind)?;
        match sys::socket::connect_unix(probe.as_fd(), self.name) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                sys::file::remove(path)
            }
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(()),
            // It answers, has a full backlog, or is of another kind: it has an owner.
            _ => Err(in_use),
        }
    }
}
