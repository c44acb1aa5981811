//! Files: that of a UNIX socket (its kind, the right to bind, permissions, removal), and files to
//! be sent.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::check;
use super::fork::Process;

/// The kind of file at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Socket,
    Other,
}

/// Returns the kind of file at a path, without following a link at its end.
#[inline]
pub(crate) fn kind_at(path: &Path) -> io::Result<Found> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => Ok(Found::Socket),
        Ok(_) => Ok(Found::Other),
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}

/// Sets the permission bits.
pub(crate) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Limits the permission bits with which the socket's file is made. Only Linux copies them from the
/// descriptor to the file; on other systems it has no effect.
pub(crate) fn limit_mode(fd: BorrowedFd<'_>, mode: u32) {
    #[allow(clippy::unnecessary_cast, reason = "16 bits wide on some systems")]
    let bits = (mode & 0o7777) as libc::mode_t;
    // SAFETY: no memory is passed.
    let limited = check(unsafe { libc::fchmod(fd.as_raw_fd(), bits) });
    // Refused where it would have no effect; `set_mode` comes later in any case.
    drop(limited);
}

/// Reads at an offset of a file; returns 0 if the file ends there.
#[cfg(feature = "relay")]
pub(crate) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match std::os::unix::fs::FileExt::read_at(file, buf, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Removes a file.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

/// The lock of a folder (flock(2)). A process that binds a name there holds it from its first check
/// until clients can connect. It is released on drop, and when its process dies. It leaves no file,
/// and locks of the folder by other programs are respected.
#[derive(Debug)]
pub(crate) struct FolderLock(#[expect(dead_code, reason = "its drop ends the lock")] File);

impl FolderLock {
    /// Takes the lock of the folder that `path` is in.
    ///
    /// # Errors
    ///
    /// `WouldBlock` while it is taken; an error of opening or locking if the folder may not be
    /// read, or its file system has no locks.
    #[inline]
    pub(crate) fn take(path: &Path) -> io::Result<Self> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        // The path may be a pipe, and opening that would wait for its other end.
        let folder = File::options()
            .read(true)
            .custom_flags(libc::O_DIRECTORY)
            .open(folder)?;
        // SAFETY: no memory is passed.
        check(unsafe { libc::flock(folder.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) })?;
        Ok(Self(folder))
    }
}

/// The file of a socket that is removed with it, unless it was replaced by then; or none.
#[derive(Debug, Default)]
pub(crate) struct OwnFile(Mutex<Option<Made>>);

#[derive(Debug)]
struct Made {
    path: PathBuf,
    /// Device and inode: a file that replaces it has others.
    identity: (u64, u64),
    /// In a forked process the parent's file stays.
    process: Process,
}

impl OwnFile {
    /// The file that is at `path` now.
    #[inline]
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        // The process may change its folder before the file is removed.
        let path = std::path::absolute(path)?;
        let identity = identity(&path)?;
        let process = Process::current();
        Ok(Self(Mutex::new(Some(Made {
            path,
            identity,
            process,
        }))))
    }

    /// Removes it now.
    pub(crate) fn remove(&self) {
        drop(self.take());
    }

    /// Keeps it.
    #[cfg(feature = "adopt")]
    pub(crate) fn keep(&self) {
        if let Some(mut made) = self.take() {
            // There is no file at the empty path.
            made.path = PathBuf::new();
        }
    }

    fn take(&self) -> Option<Made> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let is_ours = |found| found == self.identity && self.process.is_current();
        if identity(&self.path).is_ok_and(is_ours) {
            // If it cannot be removed any more, it stays.
            drop(remove(&self.path));
        }
    }
}

#[inline]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}
