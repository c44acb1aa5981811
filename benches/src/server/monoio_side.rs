//! monoio's echo servers, with its epoll driver: a task per connection, and a buffer that it owns.

use std::io;
use std::net::SocketAddr;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::udp::UdpSocket;
use monoio::net::{TcpListener, TcpStream};
use monoio::{LegacyDriver, RuntimeBuilder};

use super::{BUFFER, announce, not_here};
use crate::work::Kind;

pub fn run(kind: Kind) -> io::Result<()> {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut runtime = RuntimeBuilder::<LegacyDriver>::new().build()?;
    runtime.block_on(async {
        match kind {
            Kind::TcpEcho => {
                let listener = TcpListener::bind(loopback)?;
                announce(listener.local_addr()?)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    stream.set_nodelay(true)?;
                    monoio::spawn(echo(stream));
                }
            }
            Kind::UdpEcho => {
                let socket = UdpSocket::bind(loopback)?;
                announce(socket.local_addr()?)?;
                let mut buffer = vec![0; BUFFER];
                loop {
                    let received;
                    (received, buffer) = socket.recv_from(buffer).await;
                    let (count, from) = received?;
                    buffer.truncate(count);
                    let sent;
                    (sent, buffer) = socket.send_to(buffer, from).await;
                    sent?;
                    buffer.resize(BUFFER, 0);
                }
            }
            _ => Err(not_here(kind)),
        }
    })
}

async fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let (received, filled) = stream.read(buffer).await;
        buffer = filled;
        let Ok(count @ 1..) = received else {
            return;
        };
        buffer.truncate(count);
        let (sent, emptied) = stream.write_all(buffer).await;
        buffer = emptied;
        if sent.is_err() {
            return;
        }
        buffer.resize(BUFFER, 0);
    }
}
