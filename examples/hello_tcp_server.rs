//! Greets every TCP client by the name it sends.
//!
//! ```text
//! cargo run --example hello_tcp_server [PORT]     (1234; 0 for any free port)
//! ```

use std::error::Error;

use soloio::{block_on, create_tcp_listener};

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "1234".into());
    let port = port.parse()?;

    block_on(async {
        let greeting = String::from("Hello, "); // all handlers borrow it
        let listener = create_tcp_listener().local_port(port).await?;
        println!("tcp {}", listener.local_addr());
        let server = listener.serve(async |client| {
            let name = client.receive_max(1024).await?;
            client.send(&[greeting.as_bytes(), &name].concat()).await?;
            client.close().await
        });
        Ok(server.await?)
    })
}
