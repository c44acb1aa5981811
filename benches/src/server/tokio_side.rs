//! tokio's servers: an accept loop with a task per connection, a read and write_all loop in it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
    copy_bidirectional,
};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener};
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::{BUFFER, CORES, RECEIVE_LIMIT, announce, unix_address};
use crate::flavour::Flavour;
use crate::load::{BULK, BURST, BURSTS, LINES, MESSAGE};
use crate::sys::socket_option;
use crate::work::Kind;

pub fn run<F: Flavour>(kind: Kind) -> io::Result<()> {
    if kind == Kind::CoresEcho {
        return cores();
    }
    let runtime = F::runtime()?;
    F::block_on(&runtime, async {
        // In a task, as in a program that wants tokio's best speed.
        let server = F::spawn(async move {
            match kind {
                Kind::TcpEcho => serve::<F>(echo).await,
                Kind::TcpEchoTimeout => serve::<F>(echo_with_timeout).await,
                Kind::TcpIdle => serve::<F>(echo_without_buffer).await,
                Kind::TcpIdleBuffer => serve::<F>(echo_with_small_buffer).await,
                Kind::UnixEcho => unix_echo::<F>().await,
                Kind::Lines | Kind::LinesTogether => serve::<F>(lines).await,
                Kind::UdpEcho | Kind::UdpEchoMany => udp_echo().await,
                Kind::UdpSink => udp_sink().await,
                Kind::UdpBulk => udp_bulk().await,
                Kind::CoresEcho => Err(io::Error::other("it has a runtime of its own")),
                Kind::TcpRelay | Kind::TcpRelayCopied => relay_pairs::<F>().await,
                _ => Err(io::Error::other("TLS has servers of its own")),
            }
        });
        server.await.map_err(io::Error::other)?
    })
}

async fn serve<F: Flavour>(handler: impl AsyncFn(TcpStream) + Copy + 'static) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    announce(listener.local_addr()?)?;
    loop {
        let (stream, _): (TcpStream, SocketAddr) = listener.accept().await?;
        stream.set_nodelay(true)?;
        F::spawn(async move { handler(stream).await });
    }
}

/// Runs the multi-threaded runtime with a worker on each core, whichever flavour is asked for.
fn cores() -> io::Result<()> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(CORES)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let server = tokio::spawn(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            announce(listener.local_addr()?)?;
            loop {
                let (stream, _): (TcpStream, SocketAddr) = listener.accept().await?;
                stream.set_nodelay(true)?;
                tokio::spawn(echo(stream));
            }
        });
        server.await.map_err(io::Error::other)?
    })
}

async fn relay_pairs<F: Flavour>() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    announce(listener.local_addr()?)?;
    loop {
        let (mut a, _) = listener.accept().await?;
        let (mut b, _) = listener.accept().await?;
        a.set_nodelay(true)?;
        b.set_nodelay(true)?;
        F::spawn(async move { copy_bidirectional(&mut a, &mut b).await.ok() });
    }
}

async fn unix_echo<F: Flavour>() -> io::Result<()> {
    let (path, address) = unix_address()?;
    let listener = UnixListener::bind(path)?;
    announce(address)?;
    loop {
        let (stream, _) = listener.accept().await?;
        F::spawn(echo(stream));
    }
}

async fn lines(stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    let (mut line, mut answer) = (Vec::new(), Vec::new());
    loop {
        answer.clear();
        for _ in 0..LINES {
            line.clear();
            match stream.read_until(b'\n', &mut line).await {
                Ok(1..) => answer.extend_from_slice(&line),
                _ => return,
            }
        }
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// An error ends the connection, as on the other side.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buffer = [0; BUFFER];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn echo_with_timeout(mut stream: TcpStream) {
    let mut buffer = [0; BUFFER];
    while let Ok(Ok(count @ 1..)) = timeout(RECEIVE_LIMIT, stream.read(&mut buffer)).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn echo_with_small_buffer(mut stream: TcpStream) {
    let mut buffer = vec![0; MESSAGE];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn echo_without_buffer(mut stream: TcpStream) {
    while stream.readable().await.is_ok() {
        match take(&stream) {
            Ok(data) if data.is_empty() => return,
            Ok(data) => {
                if stream.write_all(&data).await.is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Takes the bytes that have arrived, exactly sized; not async, so that no connection keeps the
/// buffer.
fn take(stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut buffer = [0; BUFFER];
    let count = stream.try_read(&mut buffer)?;
    Ok(buffer[..count].to_vec())
}

async fn udp_socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    announce(socket.local_addr()?)?;
    Ok(socket)
}

async fn udp_echo() -> io::Result<()> {
    let socket = udp_socket().await?;
    let mut buffer = [0; BUFFER];
    loop {
        let (count, from) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..count], from).await?;
    }
}

async fn udp_sink() -> io::Result<()> {
    let socket = udp_socket().await?;
    socket_option::receive_room(&socket)?;
    let mut buffer = [0; BUFFER];
    let mut received = 0;
    loop {
        let (_, from) = socket.recv_from(&mut buffer).await?;
        received += 1;
        if received == BURST * BURSTS {
            received = 0;
            socket.send_to(b"+", from).await?;
        }
    }
}

async fn udp_bulk() -> io::Result<()> {
    let socket = udp_socket().await?;
    let data = vec![7; BURST * BULK];
    let mut buffer = [0; BUFFER];
    loop {
        let (_, from) = socket.recv_from(&mut buffer).await?;
        for datagram in data.chunks(BULK) {
            socket.send_to(datagram, from).await?;
        }
    }
}
