//! Helpers of the TLS tests: a certificate made at run time, configurations, pairs of TLS streams
//! over any pair, a stream that moves one byte at a time.

use std::future::Future;
use std::io::IoSlice;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures_util::future::join;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use soloio::tls::TlsStream;
use soloio::tls::rustls::crypto::CryptoProvider;
use soloio::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use soloio::tls::rustls::server::WebPkiClientVerifier;
use soloio::tls::rustls::version::{TLS12, TLS13};
use soloio::tls::rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, crypto,
};
use soloio::{ByteReceiveStream, ByteSendStream, ByteStream, Place, Result, Room};

/// The name in the certificate.
pub(crate) const NAME: &str = "localhost";

struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// Returns one certificate for all tests of a process: making one takes a while.
fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let names = vec![NAME.to_owned(), "127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(names).expect("a certificate");
        Identity {
            certificate: cert.der().clone(),
            key: PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key"),
        }
    })
}

pub(crate) fn certificate() -> CertificateDer<'static> {
    identity().certificate.clone()
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "ring")]
    return Arc::new(crypto::ring::default_provider());
    #[cfg(not(feature = "ring"))]
    return Arc::new(crypto::aws_lc_rs::default_provider());
}

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// Returns a client's configuration that trusts the certificate.
pub(crate) fn client_of(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    client_with(provider(), versions)
}

/// Like `client_of`, with another provider.
pub(crate) fn client_with(
    provider: Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).expect("a good certificate");
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("known versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Returns a server's configuration with the certificate.
pub(crate) fn server_of(versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
    server_with(provider(), versions)
}

/// Like `server_of`, with another provider.
pub(crate) fn server_with(
    provider: Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("known versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate()], identity().key.clone_key())
        .expect("a certificate and its key")
}

/// Returns the configurations of two sides that both show the certificate, and `chain` behind it.
pub(crate) fn both_with_chain(
    versions: &[&'static SupportedProtocolVersion],
    chain: &CertificateDer<'static>,
) -> (ClientConfig, ServerConfig) {
    let chain = vec![certificate(), chain.clone()];
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).expect("a good certificate");
    let roots = Arc::new(roots);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider());
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("known versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.clone(), identity().key.clone_key());
    let server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("known versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(chain, identity().key.clone_key());
    let why = "a certificate and its key";
    (client.expect(why), server.expect(why))
}

pub(crate) fn client_config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    Arc::clone(CONFIG.get_or_init(|| Arc::new(client_of(BOTH))))
}

pub(crate) fn server_config() -> Arc<ServerConfig> {
    static CONFIG: OnceLock<Arc<ServerConfig>> = OnceLock::new();
    Arc::clone(CONFIG.get_or_init(|| Arc::new(server_of(BOTH))))
}

/// Returns TLS over a pair: the client, and the server.
pub(crate) async fn tls_over<S: ByteStream>(
    (a, b): (S, S),
    compatible: bool,
) -> (TlsStream<S>, TlsStream<S>) {
    let client = TlsStream::client(a, NAME, client_config()).standard_compatible(compatible);
    let server = TlsStream::server(b, server_config()).standard_compatible(compatible);
    let (client, server) = join(client.into_future(), server.into_future()).await;
    (client.expect("a handshake"), server.expect("a handshake"))
}

/// Returns TLS over a pair that is still to be made.
pub(crate) async fn tls<S: ByteStream>(
    pair: impl Future<Output = (S, S)>,
) -> (TlsStream<S>, TlsStream<S>) {
    tls_over(pair.await, true).await
}

/// Like `tls`, but the end of a connection needs no close_notify.
pub(crate) async fn loose_tls<S: ByteStream>(
    pair: impl Future<Output = (S, S)>,
) -> (TlsStream<S>, TlsStream<S>) {
    tls_over(pair.await, false).await
}

/// Like `tls`, with TLS 1.2 only.
pub(crate) async fn old_tls<S: ByteStream>(
    pair: impl Future<Output = (S, S)>,
) -> (TlsStream<S>, TlsStream<S>) {
    let (a, b) = pair.await;
    let client = TlsStream::client(a, NAME, Arc::new(client_of(&[&TLS12])));
    let server = TlsStream::server(b, Arc::new(server_of(&[&TLS12])));
    let (client, server) = join(client.into_future(), server.into_future()).await;
    (client.expect("a handshake"), server.expect("a handshake"))
}

/// Moves one byte at a time, both ways.
#[derive(Debug)]
pub(crate) struct Trickle<S>(pub(crate) S);

impl<S: ByteStream> ByteReceiveStream for Trickle<S> {
    fn poll_receive(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        room: &mut Room<'_>,
    ) -> Poll<Result<()>> {
        room.limited(1, |room| self.0.poll_receive(place, cx, room))
    }

    fn leave_receive(&self, place: &mut Place) {
        self.0.leave_receive(place);
    }
}

impl<S: ByteStream> ByteSendStream for Trickle<S> {
    fn poll_send(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let first = parts.iter().find(|part| !part.is_empty());
        let one = first.map_or(&[][..], |part| &part[..1]);
        self.0.poll_send(place, cx, &[IoSlice::new(one)])
    }

    fn poll_flush(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll_flush(place, cx)
    }

    fn leave_send(&self, place: &mut Place) {
        self.0.leave_send(place);
    }
}

impl<S: ByteStream> ByteStream for Trickle<S> {
    fn poll_send_eof(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll_send_eof(place, cx)
    }

    async fn close(self) -> Result<()> {
        self.0.close().await
    }

    fn abort(&self) {
        self.0.abort();
    }
}

/// Returns a pair in memory that moves one byte at a time.
pub(crate) async fn trickle(
    capacity: usize,
) -> (Trickle<soloio::MemoryStream>, Trickle<soloio::MemoryStream>) {
    let (a, b) = soloio::create_memory_byte_stream(capacity);
    (Trickle(a), Trickle(b))
}
