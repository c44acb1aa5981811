//! Sends a name to a UNIX hello server and prints the answer.
//!
//! ```text
//! cargo run --example hello_unix_client [PATH]     (/tmp/mysock)
//! ```

use soloio::{Result, block_on, connect_unix};

fn main() -> Result<()> {
    let path = std::env::args_os().nth(1);
    let path = path.unwrap_or_else(|| "/tmp/mysock".into());

    block_on(async {
        let client = connect_unix(path).await?;
        client.send(b"Client\n").await?;
        let response = client.receive_max(1024).await?;
        print!("{}", String::from_utf8_lossy(&response));
        Ok(())
    })
}
