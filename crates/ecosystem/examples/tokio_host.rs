//! soloio as the guest of tokio: both on one thread, in tokio's loop: `tokio_host`.
//!
//! For a program of tokio's that wants code of soloio's inside. A server of soloio's and a client
//! of tokio's talk by TCP, and its tasks and tokio's by a channel.

#![allow(unsafe_code, reason = "tokio's way to watch a descriptor")]

use std::os::fd::AsFd;
use std::time::Duration;

use soloio::{Runtime, create_tcp_listener, sleep};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::sync::mpsc::{self, Receiver, Sender};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Any code of soloio's: it does not depend on the loop that drives it.
async fn server(ports: Sender<u16>, mut names: Receiver<String>) -> Result<(), AnyError> {
    let listener = create_tcp_listener().local_host("127.0.0.1").await?;
    ports.send(listener.local_addr().port()).await?;
    drop(ports);
    // Each client is greeted with the next name that tokio's side sends.
    while let Some(name) = names.recv().await {
        let client = listener.accept().await?;
        sleep(Duration::from_millis(5)).await?;
        client.send(format!("Hello, {name}!\n").as_bytes()).await?;
        client.close().await?;
    }
    Ok(())
}

/// Any code of tokio's.
async fn client(mut ports: Receiver<u16>, names: Sender<String>) -> std::io::Result<()> {
    let port = ports.recv().await.expect("the server listens");
    for name in ["Ada", "Grace"] {
        names.send(name.into()).await.expect("the server runs");
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
        stream.shutdown().await?;
        let mut greeting = String::new();
        stream.read_to_string(&mut greeting).await?;
        print!("{greeting}");
    }
    Ok(())
}

/// Waits in tokio's loop until the guest has something to do.
async fn wait(guest: &Runtime) -> std::io::Result<()> {
    // Registered for this wait only: tokio reports a change, and not a state that goes on.
    // SAFETY: the descriptor is borrowed, so it stays open for as long as it is registered.
    let watched = unsafe { AsyncFd::register_with_interest(guest.as_fd(), Interest::READABLE) }?;
    let readable = async { watched.readable().await.map(drop) };
    match guest.next_timeout() {
        // Its tasks have not all had their turn; nor have tokio's.
        Some(Duration::ZERO) => {
            tokio::task::yield_now().await;
            Ok(())
        }
        Some(limit) => tokio::time::timeout(limit, readable)
            .await
            .unwrap_or(Ok(())),
        None => readable.await,
    }
}

fn main() -> Result<(), AnyError> {
    let mut host = tokio::runtime::Builder::new_current_thread();
    let host = host.enable_all().build()?;
    host.block_on(async {
        let (port_sender, ports) = mpsc::channel(1);
        let (name_sender, names) = mpsc::channel(1);
        let client = tokio::spawn(client(ports, name_sender));
        let mut guest = Runtime::new()?;
        let server = guest.spawn(server(port_sender, names));
        while !server.is_finished() {
            wait(&guest).await?;
            // It runs what there is, and does not wait.
            guest.turn(Some(Duration::ZERO))?;
        }
        client.await.expect("no panic")?;
        guest.block_on(server)??;
        println!("both have ended");
        Ok(())
    })
}
