//! Sends datagrams to one peer through a connected UDP socket, and prints its answer.
//!
//! ```text
//! cargo run --example udp_connected [HOST [PORT]]     (127.0.0.1 1234)
//! ```

use std::error::Error;
use std::time::Duration;

use soloio::{block_on, create_connected_udp_socket, fail_after};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let host = args.next().unwrap_or_else(|| "127.0.0.1".into());
    let port = args.next().unwrap_or_else(|| "1234".into());
    let port = port.parse()?;

    block_on(async {
        let udp = create_connected_udp_socket(host, port).await?;
        udp.send(b"Hi there!\n").await?;
        // A datagram may be lost, or no server may run: the answer has a time limit.
        let answer = fail_after(Duration::from_secs(1), udp.receive()).await?;
        print!("{}", String::from_utf8_lossy(&answer));
        Ok(())
    })
}
