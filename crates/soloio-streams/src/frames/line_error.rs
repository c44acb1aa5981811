//! A line that is not what the stream is made of: [`LineError`].

use std::error::Error as StdError;
use std::fmt;

use soloio::Error;

/// A received line that could not be used; in [`Error::Other`]. The line is gone, and the next
/// receive continues after it.
///
/// The [`source`](StdError::source) is the error of the parser: a
/// [`FromUtf8Error`](std::string::FromUtf8Error), which has the line, or one of `serde_json`. The
/// message is that of the parser, which may quote values of the line.
#[derive(Debug)]
#[non_exhaustive]
pub struct LineError {
    /// The number of the line, from 1.
    pub line: u64,
    /// The number of the byte in it, from 1.
    pub column: usize,
    message: String,
    cause: Box<dyn StdError + Send + Sync>,
}

impl LineError {
    pub(super) fn error(
        line: u64,
        column: usize,
        message: String,
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Error {
        let cause = cause.into();
        Error::other(Self {
            line,
            column,
            message,
            cause,
        })
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, .. } = self;
        write!(f, "line {line}, column {column}: {}", self.message)
    }
}

impl StdError for LineError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.cause)
    }
}
