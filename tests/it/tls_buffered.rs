//! rustls' own connections with buffers, and a cryptography that leaves nothing to chance: what two
//! connections say to one peer is the same, byte for byte.

use std::io::{ErrorKind, Read, Write};
use std::sync::{Arc, OnceLock};

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use soloio::tls::rustls::client::Resumption;
use soloio::tls::rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret,
    SupportedKxGroup,
};
use soloio::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use soloio::tls::rustls::{
    self, ClientConfig, ClientConnection, Connection, NamedGroup, RootCertStore, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
};

use crate::tls_support::{NAME, provider};

/// A provider with constant random bytes and one shared secret.
fn determined() -> Arc<CryptoProvider> {
    let mut provider: CryptoProvider = (*provider()).clone();
    provider.kx_groups = vec![&Constant];
    provider.secure_random = &Constant;
    Arc::new(provider)
}

#[derive(Debug)]
struct Constant;

impl SecureRandom for Constant {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        bytes.fill(0x42);
        Ok(())
    }
}

impl SupportedKxGroup for Constant {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, rustls::Error> {
        Ok(Box::new(Self))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl ActiveKeyExchange for Constant {
    fn complete(self: Box<Self>, _: &[u8]) -> Result<SharedSecret, rustls::Error> {
        Ok(SharedSecret::from(&[7; 32][..]))
    }

    fn pub_key(&self) -> &[u8] {
        &[9; 32]
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// A certificate with a key of Ed25519: its signatures are always the same.
fn identity() -> &'static (CertificateDer<'static>, PrivateKeyDer<'static>) {
    static IDENTITY: OnceLock<(CertificateDer<'static>, PrivateKeyDer<'static>)> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let made = CertificateParams::new([NAME.to_owned()]).expect("a name");
        let made = made.self_signed(&key).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        (made.der().clone(), key)
    })
}

pub(crate) type Version = &'static SupportedProtocolVersion;

pub(crate) fn client(version: Version, fragment: Option<usize>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(identity().0.clone()).expect("a root");
    let mut config = ClientConfig::builder_with_provider(determined())
        .with_protocol_versions(&[version])
        .expect("a known version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.max_fragment_size = fragment;
    Arc::new(config)
}

pub(crate) fn server(version: Version, fragment: Option<usize>) -> Arc<ServerConfig> {
    let (certificate, key) = identity();
    let mut config = ServerConfig::builder_with_provider(determined())
        .with_protocol_versions(&[version])
        .expect("a known version")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.clone_key())
        .expect("a certificate and its key");
    config.max_fragment_size = fragment;
    config.send_half_rtt_data = true;
    Arc::new(config)
}

/// A connection of rustls' own, and all it has said and received.
pub(crate) struct Buffered {
    pub(crate) rustls: Connection,
    pub(crate) said: Vec<u8>,
    pub(crate) got: Vec<u8>,
    pub(crate) failed: Option<rustls::Error>,
}

impl Buffered {
    pub(crate) fn new(is_client: bool, version: Version, fragment: Option<usize>) -> Self {
        let mut rustls: Connection = if is_client {
            let name = NAME.try_into().expect("a name");
            let client = ClientConnection::new(client(version, fragment), name);
            client.expect("a client").into()
        } else {
            let server = ServerConnection::new(server(version, fragment));
            server.expect("a server").into()
        };
        rustls.set_buffer_limit(None);
        let mut this = Self {
            rustls,
            said: Vec::new(),
            got: Vec::new(),
            failed: None,
        };
        this.say();
        this
    }

    pub(crate) fn say(&mut self) {
        while self.rustls.wants_write() {
            self.rustls.write_tls(&mut self.said).expect("into memory");
        }
    }

    pub(crate) fn hear(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.failed.is_none() {
            if self.rustls.read_tls(&mut bytes).expect("from memory") == 0 {
                break;
            }
            self.failed = self.rustls.process_new_packets().err();
            self.read();
        }
        self.say();
    }

    /// Reads what has come; then the result is none at a regular end.
    pub(crate) fn read(&mut self) -> Option<ErrorKind> {
        let read = self.rustls.reader().read_to_end(&mut self.got);
        read.map_err(|error| error.kind()).err()
    }

    /// Ours encrypts as much at a time.
    pub(crate) fn send(&mut self, data: &[u8]) {
        for part in data.chunks(32_768) {
            let sent = self.rustls.writer().write_all(part);
            sent.expect("no limit, no failure");
        }
        self.say();
    }
}
