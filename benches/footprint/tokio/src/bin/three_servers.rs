//! 3 servers, each with a handler of its own: the difference to `one_server` is the size of two
//! more.

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

async fn handler_1(mut client: TcpStream) -> Result<()> {
    let mut buffer = vec![0; 2048];
    let received = client.read(&mut buffer).await?;
    client.write_all(&buffer[..received]).await
}

async fn serve_1(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await?;
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(handler_1(client));
    }
}

async fn handler_2(mut client: TcpStream) -> Result<()> {
    let mut buffer = vec![0; 3072];
    let received = client.read(&mut buffer).await?;
    client.write_all(&buffer[..received]).await
}

async fn serve_2(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await?;
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(handler_2(client));
    }
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::spawn(serve_1(1235));
        tokio::spawn(serve_2(1236));
        serve_0(1234).await
    })
}
