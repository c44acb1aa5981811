//! The file of a UNIX listener: what is there, its permissions, its removal.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Socket,
    Other,
}

/// Looks at a path without following a link at its end.
pub(crate) fn look(path: &Path) -> io::Result<Found> {
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

/// Removes a file.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}
