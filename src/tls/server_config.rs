//! Configurations for servers: certificates by name, and the verification of client certificates.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache, WebPkiClientVerifier,
};
use rustls::{RootCertStore, ServerConfig};

use super::certificates::{Identities, Reload};
use super::client_config::{Trusted, trusted_roots};
use super::identity::Identity;
use super::shared_options::{SharedOptions, no_versions, shared_options};
use crate::error::{Error, Result, TlsError};

/// Begins a server's configuration. It has a certificate, and may have others by name. By default
/// it uses TLS 1.2 and 1.3, and resumes sessions.
///
/// It makes a [`rustls::ServerConfig`]; one that was made with rustls itself works as well.
///
/// # Examples
///
/// ```
/// use soloio::tls::server_config;
///
/// # #[cfg(any(feature = "ring", feature = "aws-lc-rs"))] {
/// let config = server_config().certificate_files("/nowhere/cert.pem", "/nowhere/key.pem").build();
/// assert!(config.unwrap_err().to_string().starts_with("/nowhere/cert.pem cannot be read: "));
///
/// let empty = server_config().build();
/// assert!(empty.unwrap_err().to_string().starts_with("a server needs a certificate"));
/// # }
/// ```
#[doc(alias = "SSLContext")]
pub fn server_config() -> ServerConfigBuilder {
    ServerConfigBuilder::default()
}

/// A builder of a server's configuration; see [`server_config`].
#[derive(Default)]
#[must_use = "nothing is read or checked before `build()`"]
pub struct ServerConfigBuilder {
    shared: SharedOptions,
    hosts: Vec<(String, Identity)>,
    reload: Option<Reload>,
    client_trusted: Vec<Trusted>,
    client_may_be_unknown: bool,
    ticketer: Option<Arc<dyn ProducesTickets>>,
}

impl ServerConfigBuilder {
    /// Sets the certificate for clients that send this name (SNI). `*.example.org` matches every
    /// name with one label more than `example.org`, unless there is a certificate for the name
    /// itself.
    #[doc(alias = "sni_callback")]
    pub fn host_files(
        mut self,
        name: impl Into<String>,
        chain: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        let (chain, key) = (chain.into(), key.into());
        let files = Identity::Files { chain, key };
        self.hosts.push((name.into(), files));
        self
    }

    /// The same as [`host_files`](Self::host_files), from values instead of files.
    pub fn host(
        mut self,
        name: impl Into<String>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Self {
        let values = Identity::Values { chain, key };
        self.hosts.push((name.into(), values));
        self
    }

    /// Reloads the files of [`certificate_files`](Self::certificate_files) and
    /// [`host_files`](Self::host_files) when they have changed, so that a renewed certificate needs
    /// no restart. A handshake checks for changes, but not more than once in `every`.
    ///
    /// If the new files are invalid, the earlier certificates stay in use, and `on_error` is called
    /// with the error, once for each change. Checking and reading block the thread, as
    /// [`build`](Self::build) does. The files of [`client_ca_file`](Self::client_ca_file) are not
    /// reloaded.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use soloio::tls::server_config;
    /// use std::time::Duration;
    ///
    /// let config = server_config()
    ///     .certificate_files("server.pem", "server.key")
    ///     .reload_files(Duration::from_secs(60), |error| eprintln!("not renewed: {error}"))
    ///     .build()?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    pub fn reload_files(
        mut self,
        every: Duration,
        on_error: impl Fn(&Error) + Send + Sync + 'static,
    ) -> Self {
        let on_error = Box::new(on_error);
        self.reload = Some(Reload { every, on_error });
        self
    }

    /// Requests from clients a certificate that an issuer of this PEM file has issued, and refuses
    /// clients without one. It may be called more than once.
    #[doc(alias = "CERT_REQUIRED")]
    pub fn client_ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.client_trusted.push(Trusted::File(path.into()));
        self
    }

    /// The same as [`client_ca_file`](Self::client_ca_file), with roots instead of a file.
    pub fn client_roots(mut self, roots: impl Into<Arc<RootCertStore>>) -> Self {
        self.client_trusted.push(Trusted::Roots(roots.into()));
        self
    }

    /// Accepts clients without a certificate, too: check the peer's certificate.
    #[doc(alias = "CERT_OPTIONAL")]
    pub fn client_certificate_optional(mut self) -> Self {
        self.client_may_be_unknown = true;
        self
    }

    /// Gives sessions to the clients as encrypted tickets, so that none are stored here and several
    /// servers may share them. rustls has such ticketers in its providers' modules.
    pub fn ticketer(mut self, ticketer: Arc<dyn ProducesTickets>) -> Self {
        self.ticketer = Some(ticketer);
        self
    }

    /// Reads the files, and makes the configuration. It blocks while it reads.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`](crate::Error::Tls), which names the file and its fault, or the option that
    /// cannot be satisfied: no certificate, a host's name that its certificate is not for.
    pub fn build(mut self) -> Result<Arc<ServerConfig>> {
        let provider = self.shared.provider()?;
        let verifier = self.verifier(&provider)?;
        let identities = Identities {
            fallback: self.shared.identity.take(),
            hosts: self.hosts,
        };
        let certificates = identities.resolver(self.reload, &provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.shared.versions)
            .map_err(no_versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(certificates);
        config.alpn_protocols = self.shared.checked_alpn()?;
        match self.shared.bounded_sessions() {
            0 => config.session_storage = Arc::new(NoServerSessionStorage {}),
            sessions => config.session_storage = ServerSessionMemoryCache::new(sessions),
        }
        if let Some(ticketer) = self.ticketer {
            config.ticketer = ticketer;
        } else if self.shared.sessions == 0 {
            config.send_tls13_tickets = 0;
        }
        if let Some(key_log) = self.shared.key_log()? {
            config.key_log = key_log;
        }
        Ok(Arc::new(config))
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>> {
        if self.client_trusted.is_empty() {
            if self.client_may_be_unknown {
                let what = "client certificates are asked for, but no issuer of them is set: \
                            call `client_ca_file(..)` too";
                return Err(TlsError::new(what).into());
            }
            return Ok(WebPkiClientVerifier::no_client_auth());
        }
        let roots = trusted_roots(&self.client_trusted)?;
        let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let builder = if self.client_may_be_unknown {
            builder.allow_unauthenticated()
        } else {
            builder
        };
        builder.build().map_err(|error| {
            let what = "client certificates cannot be verified with the roots given";
            TlsError::new(what).caused_by(error).into()
        })
    }
}

shared_options! {
    ServerConfigBuilder,
    /// Sets the certificate for clients that send no name, or a name without a certificate of
    /// [`host_files`](Self::host_files): a certificate chain, the server's own first, and its key,
    /// as PEM files. Without it such clients are refused.
    certificate,
    /// The supported protocols (ALPN), in order of preference: `["h2", "http/1.1"]`. Clients that
    /// offer protocols, but none of these, are refused (RFC 7301).
    alpn,
    /// The number of sessions that are stored in memory for resumption, 256 by default and 65,536
    /// at most; 0 disables resumption. TLS 1.3 uses two for each connection.
    sessions
}
