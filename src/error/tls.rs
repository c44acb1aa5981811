//! `TlsError`: what went wrong with TLS, in words, with what the layer below said.

use std::error::Error as StdError;
use std::fmt;

#[cfg(feature = "tls")]
use super::Error;

/// What went wrong with TLS: the message says what to do where something can be done, and
/// [`source`](StdError::source) keeps what the TLS library or the operating system said.
pub struct TlsError {
    message: String,
    cause: Option<Box<dyn StdError + Send + Sync>>,
    /// The message says already what the cause says.
    says_all: bool,
}

impl TlsError {
    #[cfg(feature = "tls")]
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            cause: None,
            says_all: false,
        }
    }

    /// Keeps what the layer below said, which the message has told in better words.
    #[cfg(feature = "tls")]
    pub(crate) fn instead_of(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.says_all = true;
        self.caused_by(cause)
    }

    /// Adds what the layer below said.
    #[cfg(feature = "tls")]
    pub(crate) fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}

#[cfg(feature = "tls")]
impl From<TlsError> for Error {
    fn from(error: TlsError) -> Self {
        Self::Tls(Box::new(error))
    }
}

/// Reads like the message: it is what a `main` that returns the error prints.
impl fmt::Debug for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.cause {
            Some(cause) if !self.says_all => write!(f, ": {cause}"),
            _ => Ok(()),
        }
    }
}

impl StdError for TlsError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.cause {
            Some(cause) => Some(&**cause),
            None => None,
        }
    }
}
