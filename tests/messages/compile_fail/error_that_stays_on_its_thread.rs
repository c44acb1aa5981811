//~ another error type: `serve_with`, `task_group_with`, `per_core_with`
//~ a boxed one with `+ Send + Sync`
use soloio::net::TcpStream;
use soloio::{Result, block_on, create_tcp_listener};
use std::error::Error;

async fn handle(client: TcpStream) -> Result<(), Box<dyn Error>> {
    client.close().await?;
    Ok(())
}

fn main() -> Result<()> {
    block_on(async {
        let listener = create_tcp_listener().await?;
        listener.serve(handle).await
    })
}
