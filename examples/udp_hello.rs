//! Answers every datagram with "Hello, " and its content.
//!
//! ```text
//! cargo run --example udp_hello [PORT]     (1234; 0 for any free port)
//! ```

use std::error::Error;

use soloio::{Family, block_on, create_udp_socket};

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "1234".into());
    let port = port.parse()?;

    block_on(async {
        let udp = create_udp_socket()
            .family(Family::V4)
            .local_port(port)
            .await?;
        println!("udp {}", udp.local_addr());
        while let Some((packet, from)) = udp.next().await? {
            let answer = [b"Hello, ", &packet[..]].concat();
            // An error about one peer's network must not end the service for the others.
            if let Err(error) = udp.send_to(&answer, from).await {
                eprintln!("{error}");
            }
        }
        Ok(())
    })
}
