//! The options that client and server configurations share: provider, versions, ALPN, key log.

use std::env;
use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{KeyLog, KeyLogFile, SupportedProtocolVersion};

use super::identity::Identity;
use super::provider::default_provider;
use crate::error::{Error, Result, TlsError};

/// The number of sessions that are stored for resumption, by default.
const SESSIONS: usize = 256;

/// The largest number: rustls allocates memory for all of them at once.
const SESSIONS_MAX: usize = 65_536;

/// The bytes of all ALPN protocols together, each with one for its length: the message with them is
/// limited to 65,535 bytes, and has other contents. RFC 7301.
const ALPN_MAX: usize = 32_768;

#[derive(Debug)]
pub(super) struct SharedOptions {
    /// The certificate; of a server, that for all names without one of their own.
    pub(super) identity: Option<Identity>,
    pub(super) provider: Option<Arc<CryptoProvider>>,
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
    pub(super) alpn: Vec<Vec<u8>>,
    pub(super) sessions: usize,
    pub(super) key_log_file: bool,
}

impl Default for SharedOptions {
    fn default() -> Self {
        Self {
            identity: None,
            provider: None,
            versions: rustls::ALL_VERSIONS.to_vec(),
            alpn: Vec::new(),
            sessions: SESSIONS,
            key_log_file: false,
        }
    }
}

impl SharedOptions {
    /// Returns the given provider, or that of the features.
    pub(super) fn provider(&self) -> Result<Arc<CryptoProvider>> {
        self.provider.clone().map_or_else(default_provider, Ok)
    }

    /// Returns the number of sessions to be stored.
    pub(super) fn bounded_sessions(&self) -> usize {
        self.sessions.min(SESSIONS_MAX)
    }

    /// Returns the ALPN protocols, if each is valid (RFC 7301: 1 to 255 bytes), and all fit into a
    /// message.
    pub(super) fn checked_alpn(&self) -> Result<Vec<Vec<u8>>> {
        let mut lengths = self.alpn.iter().map(Vec::len);
        if let Some(odd) = lengths.clone().find(|length| !(1..=255).contains(length)) {
            let what = format!("an ALPN protocol has 1 to 255 bytes, and one has {odd}");
            return Err(TlsError::new(what).into());
        }
        let total: usize = lengths.by_ref().map(|length| length + 1).sum();
        if total > ALPN_MAX {
            let what = format!(
                "the ALPN protocols take {total} bytes together, and may take {ALPN_MAX}: name \
                 fewer of them"
            );
            return Err(TlsError::new(what).into());
        }
        Ok(self.alpn.clone())
    }

    /// Returns the key log, if it was requested: it writes the secrets of every connection to the
    /// file SSLKEYLOGFILE.
    pub(super) fn key_log(&self) -> Result<Option<Arc<dyn KeyLog>>> {
        if !self.key_log_file {
            return Ok(None);
        }
        if let Some(path) = env::var_os("SSLKEYLOGFILE").filter(|path| !path.is_empty()) {
            // rustls would only log the failure.
            let path = Path::new(&path);
            let mut options = OpenOptions::new();
            // Its contents decrypt every connection, so no other user may read it.
            options.append(true).create(true).mode(0o600);
            let found = options.open(path).and_then(|file| file.metadata());
            let found = found.map_err(|error| {
                let what = format!("SSLKEYLOGFILE: {} cannot be written", path.display());
                Error::from(TlsError::new(what).caused_by(error))
            })?;
            // Not changed silently: the file is the user's, and others may have read it already.
            if found.is_file() && found.mode() & 0o044 != 0 {
                let what = format!(
                    "SSLKEYLOGFILE: other users can read {}: remove it, or `chmod 600` it",
                    path.display()
                );
                return Err(TlsError::new(what).into());
            }
        }
        Ok(Some(Arc::new(KeyLogFile::new())))
    }
}

/// Declares the methods for these options, for a builder with a field `shared`.
macro_rules! shared_options {
    (
        $builder:ident,
        $(#[$certificate:meta])* certificate,
        $(#[$alpn:meta])* alpn,
        $(#[$sessions:meta])* sessions
    ) => {
        impl $builder {
            $(#[$certificate])*
            #[doc(alias = "load_cert_chain")]
            pub fn certificate_files(
                mut self,
                chain: impl Into<PathBuf>,
                key: impl Into<PathBuf>,
            ) -> Self {
                let (chain, key) = (chain.into(), key.into());
                self.shared.identity = Some(Identity::Files { chain, key });
                self
            }

            /// The same as [`certificate_files`](Self::certificate_files), from values instead of
            /// files.
            pub fn certificate(
                mut self,
                chain: Vec<CertificateDer<'static>>,
                key: PrivateKeyDer<'static>,
            ) -> Self {
                self.shared.identity = Some(Identity::Values { chain, key });
                self
            }

            $(#[$alpn])*
            #[doc(alias = "set_alpn_protocols")]
            pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
                let names = protocols.into_iter().map(|name| name.as_ref().to_vec());
                self.shared.alpn = names.collect();
                self
            }

            $(#[$sessions])*
            pub fn sessions(mut self, count: usize) -> Self {
                self.shared.sessions = count;
                self
            }

            /// Sets the TLS versions to use, by default 1.2 and 1.3.
            #[doc(alias = "minimum_version")]
            pub fn versions(
                mut self,
                versions: impl IntoIterator<Item = &'static rustls::SupportedProtocolVersion>,
            ) -> Self {
                self.shared.versions = versions.into_iter().collect();
                self
            }

            /// Sets the cryptography to use, instead of
            /// [`default_provider`](crate::tls::default_provider).
            pub fn provider(
                mut self,
                provider: impl Into<Arc<rustls::crypto::CryptoProvider>>,
            ) -> Self {
                self.shared.provider = Some(provider.into());
                self
            }

            /// Appends the secrets of every connection to the file that `SSLKEYLOGFILE` names, if
            /// it is set: with that file all data can be decrypted. It is for the analysis of
            /// connections with Wireshark. A file that cannot be written, or that its group or
            /// others can read, is an error of [`build`](Self::build); a new one gets mode 600.
            #[doc(alias = "keylog_filename")]
            pub fn key_log_file(mut self) -> Self {
                self.shared.key_log_file = true;
                self
            }
        }

        impl std::fmt::Debug for $builder {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($builder)).finish_non_exhaustive()
            }
        }
    };
}
pub(super) use shared_options;

/// The error if the provider has no cipher suite for the versions.
pub(super) fn no_versions(error: rustls::Error) -> Error {
    let what = "no TLS version is left: name one, and one that the crypto provider has";
    TlsError::new(what).caused_by(error).into()
}
