//! The README's server, with a time limit and a limit of connections.

use std::io::Result;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

async fn greet(mut client: TcpStream, greeting: &str) -> Result<()> {
    let mut buffer = vec![0; 1024];
    let received = timeout(Duration::from_secs(30), client.read(&mut buffer)).await??;
    let reply = [greeting.as_bytes(), &buffer[..received]].concat();
    client.write_all(&reply).await
}

async fn serve() -> Result<()> {
    let greeting = Arc::new(String::from("Hello, "));
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 1234)).await?;
    let places = Arc::new(tokio::sync::Semaphore::new(1000));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let place = place.map_err(std::io::Error::other)?;
        let (client, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                eprintln!("accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let greeting = Arc::clone(&greeting);
        tokio::spawn(async move {
            if let Err(error) = greet(client, &greeting).await {
                eprintln!("{peer}: {error}");
            }
            drop(place);
        });
    }
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve())
}
