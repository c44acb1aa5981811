//! Sends a name to a TLS hello server and prints the answer.
//!
//! ```text
//! cargo run --example hello_tls_client [CA.pem [HOST [PORT]]]     (cert.pem localhost 1234)
//! ```
//!
//! The CA is the one that issued the server's certificate, or that certificate itself. A public
//! server needs neither a CA nor a configuration: `connect_tcp(host, 443).tls().await?`.

use std::error::Error;

use soloio::{block_on, connect_tcp, tls};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let ca = args.next().unwrap_or_else(|| "cert.pem".into());
    let host = args.next().unwrap_or_else(|| "localhost".into());
    let port = args.next().unwrap_or_else(|| "1234".into());
    let port = port.parse()?;

    block_on(async {
        let config = tls::client_config().ca_file(ca).build()?;
        let client = connect_tcp(host, port).tls_config(config).await?;
        client.send(b"Client\n").await?;
        let response = client.receive().await?;
        print!("{}", String::from_utf8_lossy(&response));
        Ok(client.close().await?)
    })
}
