//! Begins in plain text and continues with TLS on the same connection, as SMTP and IMAP do.
//!
//! ```text
//! cargo run --example starttls
//! ```
//!
//! Client and server are in one process, with a certificate made at run time. The moment of the
//! change matters: the client may send nothing after its `STARTTLS`, and the server accepts nothing
//! that came with it, since an attacker in between could have inserted it (CVE-2011-0411). So both
//! read exactly one line, and any data after it is an error.

use std::process::ExitCode;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use soloio::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use soloio::tls::{self, TlsStream};
use soloio::{Error, Result, TcpStream, block_on, connect_tcp, create_tcp_listener, task_group};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match block_on(run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("starttls: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let (for_client, for_server) = configurations()?;
    let listener = create_tcp_listener().local_host("127.0.0.1").await?;
    let port = listener.local_addr().port();
    task_group(async |group| {
        group.spawn(async {
            let client = listener.accept().await?;
            serve(client, for_server).await
        });
        talk(connect_tcp("127.0.0.1", port).await?, for_client).await
    })
    .await
}

async fn serve(tcp: TcpStream, config: Arc<ServerConfig>) -> Result<()> {
    tcp.send(b"220 at your service\r\n").await?;
    if line(&tcp).await? != "STARTTLS" {
        return tcp.send(b"530 STARTTLS first\r\n").await;
    }
    tcp.send(b"220 go ahead\r\n").await?;
    let tls = TlsStream::server(tcp, config).await?;
    let name = tls.receive().await?;
    tls.send(&[b"250 hello, ", &name[..]].concat()).await?;
    tls.close().await
}

async fn talk(tcp: TcpStream, config: Arc<ClientConfig>) -> Result<()> {
    println!("plain  <  {}", line(&tcp).await?);
    println!("plain  >  STARTTLS");
    tcp.send(b"STARTTLS\r\n").await?;
    println!("plain  <  {}", line(&tcp).await?);
    let tls = TlsStream::client(tcp, "localhost", config).await?;
    println!("TLS    >  Ada");
    tls.send(b"Ada").await?;
    let answer = tls.receive().await?;
    println!("TLS    <  {}", String::from_utf8_lossy(&answer));
    tls.close().await
}

/// Receives a line, without its end. The peer must not have sent anything after it.
async fn line(tcp: &TcpStream) -> Result<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(tcp.receive_max(512 - line.len()).await?);
    }
    match line.split(|byte| *byte == b'\n').collect::<Vec<_>>()[..] {
        [one, []] => Ok(String::from_utf8_lossy(one).trim_end().to_owned()),
        _ => Err(Error::other(
            "something was sent behind the line, before TLS",
        )),
    }
}

/// Makes a certificate, and a client configuration that trusts only this one.
fn configurations() -> Result<(Arc<ClientConfig>, Arc<ServerConfig>), AnyError> {
    let made = generate_simple_self_signed(["localhost".to_owned()])?;
    let CertifiedKey { cert, signing_key } = made;
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone())?;
    let key = tls::private_key_from_pem(signing_key.serialize_pem())?;
    let server = tls::server_config().certificate(vec![cert.der().clone()], key);
    Ok((tls::client_config().roots(roots).build()?, server.build()?))
}
