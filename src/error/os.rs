//! `OsError`: an error of the operating system, with its operation and address.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::ops::Deref;

use super::{Content, shown_by_message};
use crate::shown::printed;

/// An error of the operating system, with the operation and the address that it concerns.
///
/// Derefs to the [`io::Error`], so `error.kind()` and `error.raw_os_error()` work.
pub struct OsError {
    operation: &'static str,
    address: Option<String>,
    /// The number of bytes that may not have arrived because of it.
    pub(super) lost: usize,
    pub(crate) cause: io::Error,
}

impl OsError {
    pub(crate) fn new(operation: &'static str, cause: io::Error) -> Content<Self> {
        Self::of(operation, None, 0, cause)
    }

    fn of(
        operation: &'static str,
        address: Option<String>,
        lost: usize,
        cause: io::Error,
    ) -> Content<Self> {
        Content::new(Self {
            operation,
            address,
            lost,
            cause,
        })
    }

    /// Names the address that the operation was about, and counts the bytes that may not have
    /// arrived.
    #[cold]
    pub(super) fn about(
        operation: &'static str,
        address: &dyn fmt::Display,
        lost: usize,
        cause: io::Error,
    ) -> Content<Self> {
        // Not `to_string`, which would be compiled here once more.
        Self::of(operation, Some(printed(format!("{address}"))), lost, cause)
    }

    /// Returns the operation that failed, such as `receive from`; empty if the error came from
    /// outside.
    #[must_use]
    pub fn operation(&self) -> &str {
        self.operation
    }

    /// Returns the address or path of the operation, where there is one.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }
}

impl Deref for OsError {
    type Target = io::Error;

    fn deref(&self) -> &io::Error {
        &self.cause
    }
}

impl fmt::Display for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.operation.is_empty() {
            f.write_str(self.operation)?;
            if let Some(address) = &self.address {
                write!(f, " {address}")?;
            }
            f.write_str(": ")?;
        }
        if self.lost > 0 {
            write!(f, "{} bytes were not acknowledged: ", self.lost)?;
        }
        self.cause.fmt(f)
    }
}

shown_by_message!(OsError);

impl StdError for OsError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.cause)
    }
}
