//! The configurations of both sides of TLS, for each file of tests that needs them.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use soloio::tls;
use soloio::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Makes a certificate, and a client configuration that trusts only this one. In a world, so that
/// the seed decides about the key as well.
pub(crate) fn configurations() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let made = generate_simple_self_signed(["server".to_owned()]).expect("a certificate");
    let CertifiedKey { cert, signing_key } = made;
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a good certificate");
    let key = tls::private_key_from_pem(signing_key.serialize_pem()).expect("a key");
    let server = tls::server_config().certificate(vec![cert.der().clone()], key);
    let client = tls::client_config().roots(roots).build();
    (client.expect("a client"), server.build().expect("a server"))
}
