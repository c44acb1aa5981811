//! 1 server with a handler of its own: the difference to `three_servers` is the size of two more.

use std::io::Result;
use std::net::Ipv6Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn handler_0(mut client: TcpStream) -> Result<()> {
    let mut buffer = vec![0; 1024];
    let received = client.read(&mut buffer).await?;
    client.write_all(&buffer[..received]).await
}

async fn serve_0(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await?;
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(handler_0(client));
    }
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async { serve_0(1234).await })
}
