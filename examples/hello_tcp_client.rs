//! Sends a name to a TCP hello server and prints the answer.
//!
//! ```text
//! cargo run --example hello_tcp_client [HOST [PORT]]     (localhost 1234)
//! ```

use std::error::Error;

use soloio::{block_on, connect_tcp};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let host = args.next().unwrap_or_else(|| "localhost".into());
    let port = args.next().unwrap_or_else(|| "1234".into());
    let port = port.parse()?;

    block_on(async {
        let client = connect_tcp(host, port).await?;
        client.send(b"Client\n").await?;
        let response = client.receive().await?;
        print!("{}", String::from_utf8_lossy(&response));
        Ok(())
    })
}
