//! An echo server: a task for each connection.

use std::io::Result;
use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn echo(mut client: TcpStream) -> Result<()> {
    let mut buffer = [0; 1024];
    loop {
        let received = client.read(&mut buffer).await?;
        if received == 0 {
            return Ok(());
        }
        client.write_all(&buffer[..received]).await?;
    }
}

async fn serve() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 1234)).await?;
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(echo(client));
    }
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve())
}
