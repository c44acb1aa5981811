//! smol's echo servers: a task per connection on a local executor.

use std::io;
use std::net::Ipv4Addr;

use smol::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use smol::net::unix::UnixListener;
use smol::net::{TcpListener, UdpSocket};
use smol::{LocalExecutor, block_on};

use super::{BUFFER, announce, not_here, unix_address};
use crate::work::Kind;

pub fn run(kind: Kind) -> io::Result<()> {
    let tasks = LocalExecutor::new();
    block_on(tasks.run(async {
        match kind {
            Kind::TcpEcho => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                announce(listener.local_addr()?)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    stream.set_nodelay(true)?;
                    tasks.spawn(echo(stream)).detach();
                }
            }
            Kind::UnixEcho => {
                let (path, address) = unix_address()?;
                let listener = UnixListener::bind(path)?;
                announce(address)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    tasks.spawn(echo(stream)).detach();
                }
            }
            Kind::UdpEcho => {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                announce(socket.local_addr()?)?;
                let mut buffer = [0; BUFFER];
                loop {
                    let (count, from) = socket.recv_from(&mut buffer).await?;
                    socket.send_to(&buffer[..count], from).await?;
                }
            }
            _ => Err(not_here(kind)),
        }
    }))
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buffer = [0; BUFFER];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
