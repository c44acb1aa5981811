//! A TLS client with a rustls configuration of its own.

use std::sync::Arc;

use soloio::{Result, block_on, connect_tcp};

fn main() -> Result<()> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    block_on(async {
        let client = connect_tcp("localhost", 443)
            .tls_config(Arc::new(config))
            .await?;
        client.send(b"Client\n").await?;
        let response = client.receive().await?;
        println!("{}", String::from_utf8_lossy(&response));
        Ok(())
    })
}
