//! Greets every UNIX client by the name it sends.
//!
//! ```text
//! cargo run --example hello_unix_server [PATH]     (/tmp/mysock)
//! ```

use soloio::{Result, block_on, create_unix_listener};

fn main() -> Result<()> {
    let path = std::env::args_os().nth(1);
    let path = path.unwrap_or_else(|| "/tmp/mysock".into());

    block_on(async {
        let greeting = String::from("Hello, "); // all handlers borrow it
        let listener = create_unix_listener(path).await?;
        println!("unix {}", listener.local_name());
        let server = listener.serve(async |client| {
            let name = client.receive_max(1024).await?;
            client.send(&[greeting.as_bytes(), &name].concat()).await?;
            client.close().await
        });
        server.await
    })
}
