//! A TLS client with a rustls configuration of its own.

use std::io::{Error, Result};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

async fn client(config: rustls::ClientConfig) -> Result<()> {
    let stream = TcpStream::connect(("localhost", 443)).await?;
    let name = ServerName::try_from("localhost").map_err(Error::other)?;
    let connector = TlsConnector::from(Arc::new(config));
    let mut client = connector.connect(name, stream).await?;
    client.write_all(b"Client\n").await?;
    let mut response = vec![0; 65536];
    let received = client.read(&mut response).await?;
    println!("{}", String::from_utf8_lossy(&response[..received]));
    Ok(())
}

fn main() -> Result<()> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(client(config))
}
