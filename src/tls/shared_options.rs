//! What client and server configurations have in common: provider, versions, ALPN, key log.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{KeyLog, KeyLogFile, SupportedProtocolVersion};

use super::provider::default_provider;
use crate::error::{Error, Result, TlsError};

/// How many sessions are kept for resumption unless told otherwise, as in rustls.
const SESSIONS: usize = 256;

#[derive(Debug)]
pub(super) struct SharedOptions {
    pub(super) provider: Option<Arc<CryptoProvider>>,
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
    pub(super) alpn: Vec<Vec<u8>>,
    pub(super) sessions: usize,
    pub(super) key_log_file: bool,
}

impl Default for SharedOptions {
    fn default() -> Self {
        Self {
            provider: None,
            versions: rustls::ALL_VERSIONS.to_vec(),
            alpn: Vec::new(),
            sessions: SESSIONS,
            key_log_file: false,
        }
    }
}

impl SharedOptions {
    /// The provider that was given, or that of the features.
    pub(super) fn provider(&self) -> Result<Arc<CryptoProvider>> {
        self.provider.clone().map_or_else(default_provider, Ok)
    }

    /// The ALPN protocols, if each can be one (RFC 7301: 1 to 255 bytes).
    pub(super) fn checked_alpn(&self) -> Result<Vec<Vec<u8>>> {
        match self
            .alpn
            .iter()
            .find(|name| !(1..=255).contains(&name.len()))
        {
            None => Ok(self.alpn.clone()),
            Some(name) => {
                let length = name.len();
                let what = format!("an ALPN protocol has 1 to 255 bytes, and one has {length}");
                Err(TlsError::new(what).into())
            }
        }
    }

    /// Whoever asked for it gets the secrets of every connection into the file SSLKEYLOGFILE.
    pub(super) fn key_log(&self) -> Option<Arc<dyn KeyLog>> {
        self.key_log_file.then(|| Arc::new(KeyLogFile::new()) as _)
    }
}

/// The versions cannot be had with the provider's cipher suites.
pub(super) fn no_versions(error: rustls::Error) -> Error {
    let what = "no TLS version is left: name one, and one that the crypto provider has";
    TlsError::new(what).caused_by(error).into()
}
