//! Records facts of a handshake that rustls' unbuffered connections do not keep: the name that a
//! client has sent, and the secret for exported keying material.

use std::sync::{Arc, OnceLock};

use rustls::crypto::hash::Hash;
use rustls::crypto::tls13::{HkdfExpander, OkmBlock};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, KeyLog, ServerConfig, SupportedCipherSuite};

use crate::shown::shown;

const EXPORTER_SECRET: &str = "EXPORTER_SECRET";

/// The recorded facts of one connection. It replaces the configuration's key log and, on a server,
/// its certificate resolver, and passes all calls on to them.
pub(super) struct Observer {
    server_name: OnceLock<Box<str>>,
    exporter: OnceLock<OkmBlock>,
}

// The secret is not shown.
shown!([] Observer, "Observer", this => server_name: this.server_name, ..);

impl Observer {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            server_name: OnceLock::new(),
            exporter: OnceLock::new(),
        })
    }

    /// Makes a configuration for one observed connection.
    pub(super) fn of_client(config: &ClientConfig) -> (Arc<ClientConfig>, Arc<Self>) {
        let observer = Self::new();
        let mut config = config.clone();
        config.key_log = Arc::new(Watch {
            observer: Arc::clone(&observer),
            behind: config.key_log,
        });
        // No data is sent before the handshake has ended.
        config.enable_early_data = false;
        (Arc::new(config), observer)
    }

    /// Makes a configuration for one observed connection.
    pub(super) fn of_server(config: &ServerConfig) -> (Arc<ServerConfig>, Arc<Self>) {
        let observer = Self::new();
        let mut config = config.clone();
        config.key_log = Arc::new(Watch {
            observer: Arc::clone(&observer),
            behind: config.key_log,
        });
        config.cert_resolver = Arc::new(Watch {
            observer: Arc::clone(&observer),
            behind: config.cert_resolver,
        });
        // Data before the end of the handshake can be replayed: it is never accepted.
        config.max_early_data_size = 0;
        (Arc::new(config), observer)
    }

    pub(super) fn server_name(&self) -> Option<&str> {
        self.server_name.get().map(|name| &**name)
    }

    /// The exporter of RFC 8446, section 7.5. `None` without TLS 1.3, or if `output` is empty or
    /// too long.
    pub(super) fn export(
        &self,
        suite: SupportedCipherSuite,
        label: &[u8],
        context: &[u8],
        output: &mut [u8],
    ) -> Option<()> {
        let suite = suite.tls13()?;
        let hash: &dyn Hash = suite.common.hash_provider;
        let secret = self.exporter.get()?;
        let length = u16::try_from(output.len()).ok().filter(|len| *len > 0)?;
        let mut derived = vec![0; hash.output_len()];
        let derive = suite.hkdf_provider.expander_for_okm(secret);
        let size = u16::try_from(derived.len()).ok()?;
        expand_label(&*derive, label, hash.hash(&[]).as_ref(), size, &mut derived)?;
        let export = suite
            .hkdf_provider
            .expander_for_okm(&OkmBlock::new(&derived));
        let context = hash.hash(context);
        expand_label(&*export, b"exporter", context.as_ref(), length, output)
    }
}

/// HKDF-Expand-Label of RFC 8446, section 7.1.
fn expand_label(
    expander: &dyn HkdfExpander,
    label: &[u8],
    context: &[u8],
    length: u16,
    output: &mut [u8],
) -> Option<()> {
    const PREFIX: &[u8] = b"tls13 ";
    let label_length = u8::try_from(PREFIX.len() + label.len()).ok()?;
    let context_length = u8::try_from(context.len()).ok()?;
    let info = [
        &length.to_be_bytes()[..],
        &[label_length],
        PREFIX,
        label,
        &[context_length],
        context,
    ];
    expander.expand_slice(&info, output).ok()
}

/// A wrapper of a configuration's object, and the observer of its calls.
#[derive(Debug)]
struct Watch<T: ?Sized> {
    observer: Arc<Observer>,
    behind: Arc<T>,
}

impl KeyLog for Watch<dyn KeyLog> {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        if label == EXPORTER_SECRET {
            // Called once in a connection.
            self.observer.exporter.get_or_init(|| OkmBlock::new(secret));
        }
        if self.behind.will_log(label) {
            self.behind.log(label, client_random, secret);
        }
    }

    fn will_log(&self, label: &str) -> bool {
        label == EXPORTER_SECRET || self.behind.will_log(label)
    }
}

impl ResolvesServerCert for Watch<dyn ResolvesServerCert> {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            self.observer.server_name.get_or_init(|| name.into());
        }
        self.behind.resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.behind.only_raw_public_keys()
    }
}
