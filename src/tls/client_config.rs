//! Safe configurations for clients: trusted roots, own certificate, protocols.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};

use super::failure;
use super::identity::Identity;
use super::pem::read_certificates;
use super::roots::system_roots;
use super::shared_options::{SharedOptions, no_versions, shared_options};
use crate::error::{Result, TlsError};

/// The number of sessions that rustls stores for one server.
const SESSIONS_OF_A_SERVER: usize = 8;

/// Begins a client's configuration. By default it verifies the server against the system's roots,
/// uses TLS 1.2 and 1.3, and resumes sessions.
///
/// It makes a [`rustls::ClientConfig`]; one that was made with rustls itself works as well. Make it
/// once and share it: sessions are resumed only between connections with the same configuration.
///
/// # Examples
///
/// ```
/// use soloio::tls::{client_config, rustls::RootCertStore};
///
/// # #[cfg(any(feature = "ring", feature = "aws-lc-rs"))] {
/// // A private CA instead of the system's roots, and a protocol.
/// let config = client_config().ca_file("/nowhere/ca.pem").alpn(["h2"]).build();
/// assert!(config.unwrap_err().to_string().starts_with("/nowhere/ca.pem cannot be read: "));
///
/// let empty = client_config().roots(RootCertStore::empty()).build();
/// assert!(empty.unwrap_err().to_string().contains("trusts no issuer"));
/// # }
/// ```
#[doc(alias = "SSLContext")]
#[doc(alias = "create_default_context")]
pub fn client_config() -> ClientConfigBuilder {
    ClientConfigBuilder::default()
}

/// A builder of a client's configuration; see [`client_config`].
#[derive(Default)]
#[must_use = "nothing is read or checked before `build()`"]
pub struct ClientConfigBuilder {
    shared: SharedOptions,
    trusted: Vec<Trusted>,
}

/// A source of root certificates.
pub(super) enum Trusted {
    System,
    File(PathBuf),
    Roots(Arc<RootCertStore>),
}

impl ClientConfigBuilder {
    /// Trusts the certificates of this PEM file. It may be called more than once. They replace the
    /// system's roots, unless [`system_roots`](Self::system_roots) is called too.
    #[doc(alias = "load_verify_locations")]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.trusted.push(Trusted::File(path.into()));
        self
    }

    /// Trusts these roots, such as those of the crate `webpki-roots`. It may be called more than
    /// once, and they replace the system's roots, as for [`ca_file`](Self::ca_file).
    pub fn roots(mut self, roots: impl Into<Arc<RootCertStore>>) -> Self {
        self.trusted.push(Trusted::Roots(roots.into()));
        self
    }

    /// Trusts the system's roots in addition to those of [`ca_file`](Self::ca_file) and
    /// [`roots`](Self::roots). If none of the three is called they are trusted anyway. See
    /// [`system_roots`](super::system_roots).
    #[doc(alias = "load_default_certs")]
    pub fn system_roots(mut self) -> Self {
        self.trusted.push(Trusted::System);
        self
    }

    /// Reads the files, and makes the configuration. It blocks while it reads.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`](crate::Error::Tls), which names the file and its fault, or the option that
    /// cannot be satisfied.
    pub fn build(self) -> Result<Arc<ClientConfig>> {
        let provider = self.shared.provider()?;
        let roots = self.roots_to_trust()?;
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&self.shared.versions)
            .map_err(no_versions)?
            .with_root_certificates(roots);
        let mut config = match &self.shared.identity {
            Some(identity) => {
                let certified = identity.load(&provider)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.shared.checked_alpn()?;
        config.resumption = match self.shared.bounded_sessions() {
            0 => Resumption::disabled(),
            servers => Resumption::in_memory_sessions(servers * SESSIONS_OF_A_SERVER),
        };
        if let Some(key_log) = self.shared.key_log()? {
            config.key_log = key_log;
        }
        Ok(Arc::new(config))
    }

    fn roots_to_trust(&self) -> Result<Arc<RootCertStore>> {
        if let [Trusted::Roots(only)] = &self.trusted[..] {
            return not_empty(only.clone());
        }
        let roots = match &self.trusted[..] {
            [] => system_roots()?,
            trusted => trusted_roots(trusted)?,
        };
        not_empty(Arc::new(roots))
    }
}

shared_options! {
    ClientConfigBuilder,
    /// Sets the client's certificate, for servers that request one: a certificate chain, the
    /// client's own first, and its key, as PEM files.
    certificate,
    /// The protocols to offer (ALPN), in order of preference: `["h2", "http/1.1"]`. A server that
    /// supports none of them may refuse the handshake, or continue without one: check the selected
    /// protocol.
    alpn,
    /// The number of servers with sessions stored for resumption, 256 by default and 65,536 at
    /// most; 0 disables resumption.
    sessions
}

/// Returns all the roots together.
pub(super) fn trusted_roots(trusted: &[Trusted]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for source in trusted {
        match source {
            Trusted::System => roots.extend(system_roots()?.roots),
            Trusted::File(path) => add_file(&mut roots, path)?,
            Trusted::Roots(more) => roots.extend(more.roots.iter().cloned()),
        }
    }
    Ok(roots)
}

/// Adds every certificate of the file, since the program named it; one that cannot be a root is an
/// error.
fn add_file(roots: &mut RootCertStore, path: &PathBuf) -> Result<()> {
    for (n, certificate) in read_certificates(path)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| {
            let (n, path) = (n + 1, path.display());
            let what = format!("certificate {n} of {path} cannot be used as a root");
            failure::unusable(what, error)
        })?;
    }
    Ok(())
}

fn not_empty(roots: Arc<RootCertStore>) -> Result<Arc<RootCertStore>> {
    if roots.is_empty() {
        let what = "the configuration trusts no issuer: it was given no root certificate";
        return Err(TlsError::new(what).into());
    }
    Ok(roots)
}

/// The default configuration, made when it is first needed.
static DEFAULT: Mutex<Option<Arc<ClientConfig>>> = Mutex::new(None);

/// Returns the configuration of clients that have none: `client_config().build()`, made once for
/// the whole process, so that the system's roots are read once and sessions are resumed. A failure
/// is not stored: the next call tries again.
///
/// # Errors
///
/// As [`ClientConfigBuilder::build`].
pub(crate) fn default_client_config() -> Result<Arc<ClientConfig>> {
    let mut made = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(config) = &*made {
        return Ok(config.clone());
    }
    let config = client_config().build()?;
    *made = Some(config.clone());
    Ok(config)
}
