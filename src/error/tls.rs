//! `TlsError`: a failure of TLS as a message, with the error of the layer below.

use std::error::Error as StdError;
use std::fmt;

use super::{Content, Error, shown_by_message};

/// A failure of TLS. The message names the remedy if there is one, and
/// [`source`](StdError::source) is the error of the TLS library or the operating system.
pub struct TlsError {
    message: String,
    cause: Option<Box<dyn StdError + Send + Sync>>,
    /// True if the message already contains the message of the cause.
    says_all: bool,
}

impl TlsError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            cause: None,
            says_all: false,
        }
    }

    /// Adds the error of the layer below, which the message has already described.
    pub(crate) fn instead_of(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.says_all = true;
        self.caused_by(cause)
    }

    /// Adds the error of the layer below.
    pub(crate) fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}

impl From<TlsError> for Error {
    fn from(error: TlsError) -> Self {
        Self::Tls(Content::new(error))
    }
}

impl Error {
    /// Adds the peer to the message of an error of TLS that is not shared yet.
    pub(crate) fn of_tls_with(mut self, peer: &str) -> Self {
        if let Self::Tls(error) = &mut self {
            if let Some(TlsError { message, .. }) = error.get_mut() {
                *message = format!("TLS with {peer}: {message}");
            }
        }
        self
    }
}

shown_by_message!(TlsError);

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
        Some(&**self.cause.as_ref()?)
    }
}
