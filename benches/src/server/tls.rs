//! The TLS configuration of all sides, with a certificate made at the start.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Bytes that a bulk server receives, or sends, in one call.
pub const BULK: usize = 65_536;

/// Returns the same configuration for all sides: TLS 1.3 and 1.2, sessions kept in memory.
pub fn config() -> Arc<ServerConfig> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key);
    Arc::new(config.expect("a certificate and its key"))
}
