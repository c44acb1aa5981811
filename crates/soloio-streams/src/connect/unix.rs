//! The path of a UNIX listener: [`UnixConnectable`].

use std::ffi::OsString;

use soloio::{Result, UnixStream, connect_unix};

use super::Connectable;

/// The path of a UNIX listener, or an abstract name with a leading NUL (Linux).
#[doc(alias = "UNIXConnectable")]
#[derive(Debug, Clone)]
pub struct UnixConnectable(OsString);

impl UnixConnectable {
    /// The listener with this path.
    #[must_use]
    pub fn new(path: impl Into<OsString>) -> Self {
        Self(path.into())
    }
}

impl Connectable for UnixConnectable {
    type Stream = UnixStream;

    async fn connect(&self) -> Result<UnixStream> {
        connect_unix(&self.0).await
    }
}
