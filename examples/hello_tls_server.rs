//! Greets every TLS client by the name it sends.
//!
//! ```text
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
//!     -keyout key.pem -out cert.pem -subj /CN=localhost \
//!     -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE
//! cargo run --example hello_tls_server [CERT.pem [KEY.pem [PORT]]]     (cert.pem key.pem 1234)
//! ```

use std::error::Error;

use soloio::tls::{self, TlsListener};
use soloio::{block_on, create_tcp_listener};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let cert = args.next().unwrap_or_else(|| "cert.pem".into());
    let key = args.next().unwrap_or_else(|| "key.pem".into());
    let port = args.next().unwrap_or_else(|| "1234".into());
    let port = port.parse()?;

    block_on(async {
        let greeting = String::from("Hello, "); // all handlers borrow it
        let config = tls::server_config().certificate_files(cert, key).build()?;
        let tcp = create_tcp_listener().local_port(port).await?;
        println!("tls {}", tcp.local_addr());
        let listener = TlsListener::new(tcp, config);
        let server = listener.serve(async |client| {
            let name = client.receive_max(1024).await?;
            client.send(&[greeting.as_bytes(), &name].concat()).await?;
            client.close().await
        });
        Ok(server.await?)
    })
}
