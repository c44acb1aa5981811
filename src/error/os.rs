//! `OsError`: an error of the operating system, with its operation and address.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::sync::Arc;

use super::shown_by_message;

/// An error of the operating system, with the operation and the address that it concerns.
///
/// Derefs to the [`io::Error`], so `error.kind()` and `error.raw_os_error()` work.
pub struct OsError(Arc<Details>);

struct Details {
    operation: &'static str,
    address: Option<String>,
    /// The number of bytes that may not have arrived because of it.
    lost: usize,
    cause: io::Error,
}

impl OsError {
    pub(crate) fn new(operation: &'static str, cause: io::Error) -> Self {
        Self::of(operation, None, cause)
    }

    fn of(operation: &'static str, address: Option<String>, cause: io::Error) -> Self {
        Self(Arc::new(Details {
            operation,
            address,
            lost: 0,
            cause,
        }))
    }

    /// Names the address the operation was about.
    pub(crate) fn at(self, address: impl fmt::Display) -> Self {
        Self::about(self.0.operation, &address, self.into_cause())
    }

    #[cold]
    pub(super) fn about(
        operation: &'static str,
        address: &dyn fmt::Display,
        cause: io::Error,
    ) -> Self {
        // Not `to_string`, which would be compiled here once more.
        Self::of(operation, Some(format!("{address}")), cause)
    }

    /// Notes the number of bytes that may not have arrived because of it.
    pub(super) fn losing(mut self, bytes: usize) -> Self {
        if let Some(details) = Arc::get_mut(&mut self.0) {
            details.lost = bytes;
        }
        self
    }

    #[cfg(feature = "tls")]
    pub(super) fn lost(&self) -> usize {
        self.0.lost
    }

    /// Returns the operating system's error alone.
    pub(crate) fn into_cause(self) -> io::Error {
        let details = Arc::into_inner(self.0);
        details.expect("it is not shared").cause
    }

    /// The operation that failed, such as `receive from`; empty if the error came from outside.
    #[must_use]
    pub fn operation(&self) -> &str {
        self.0.operation
    }

    /// The address or path of the operation, where there is one.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.0.address.as_deref()
    }
}

impl Deref for OsError {
    type Target = io::Error;

    fn deref(&self) -> &io::Error {
        &self.0.cause
    }
}

impl fmt::Display for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.operation.is_empty() {
            f.write_str(self.0.operation)?;
            if let Some(address) = &self.0.address {
                write!(f, " {address}")?;
            }
            f.write_str(": ")?;
        }
        if self.0.lost > 0 {
            write!(f, "{} bytes were not acknowledged: ", self.0.lost)?;
        }
        self.0.cause.fmt(f)
    }
}

shown_by_message!(OsError);

impl StdError for OsError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0.cause)
    }
}
