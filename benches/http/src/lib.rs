//! What the servers of both sides share: the answer, the limits, a certificate.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

/// The limit for the head of a request.
pub const HEAD: Duration = Duration::from_secs(30);

/// The service: it does nothing with its request.
pub async fn hello<R>(request: R) -> Result<Response<Full<Bytes>>, Infallible> {
    drop(request);
    Ok(Response::new(Full::new(Bytes::from_static(
        b"Hello, world!",
    ))))
}

/// A configuration with a certificate of its own, if the first argument is `tls`.
pub fn tls() -> Option<Arc<ServerConfig>> {
    if std::env::args().nth(1).as_deref() != Some("tls") {
        return None;
    }
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key);
    let mut config = config.expect("its key fits");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Some(Arc::new(config))
}
