//! The README's server, with a time limit and a limit of connections.

use std::time::Duration;

use soloio::{Result, block_on, create_tcp_listener, fail_after};

fn main() -> Result<()> {
    block_on(async {
        let greeting = String::from("Hello, ");
        let listener = create_tcp_listener().local_port(1234).await?;
        let server = listener.serve(async |client| {
            let name = fail_after(Duration::from_secs(30), client.receive_max(1024)).await?;
            client.send(&[greeting.as_bytes(), &name].concat()).await
        });
        server.max_connections(1000).await
    })
}
