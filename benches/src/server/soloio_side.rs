//! soloio's servers: `serve` with a handler that receives and sends.

use std::io;

use soloio::net::{TcpStream, UdpSocket, UnixStream};
use soloio::{
    Buffered, DatagramBuffer, Error, Family, Result, block_on, create_tcp_listener,
    create_udp_socket, create_unix_listener, fail_after, per_core, relay, task_group,
};

use super::{BUFFER, CORES, RECEIVE_LIMIT, announce, unix_address};
use crate::load::{BULK, BURST, BURSTS, LINES, MESSAGE};
use crate::sys::socket_option;
use crate::work::Kind;

pub fn run(kind: Kind) -> io::Result<()> {
    if kind == Kind::CoresEcho {
        return cores().map_err(io::Error::from);
    }
    let ended = block_on(async {
        match kind {
            Kind::TcpEcho => serve(echo).await,
            Kind::TcpEchoTimeout => serve(echo_with_timeout).await,
            Kind::TcpIdle => serve(echo_without_buffer).await,
            Kind::TcpIdleBuffer => serve(echo_with_small_buffer).await,
            Kind::UnixEcho => unix_echo().await,
            Kind::Lines => serve(lines).await,
            Kind::LinesTogether => serve(lines_together).await,
            Kind::UdpEcho => udp_echo().await,
            Kind::UdpEchoMany => udp_echo_many().await,
            Kind::UdpSink => udp_sink().await,
            Kind::UdpBulk => udp_bulk().await,
            Kind::CoresEcho => Err(Error::other("it has no loop of its own")),
            Kind::TcpRelay => relay_pairs(true).await,
            Kind::TcpRelayCopied => relay_pairs(false).await,
            _ => Err(Error::other("TLS has servers of its own")),
        }
    });
    ended.map_err(io::Error::from)
}

async fn serve(handler: impl AsyncFn(TcpStream) -> Result<()>) -> Result<()> {
    let listener = create_tcp_listener().local_host("127.0.0.1").await?;
    announce(listener.local_addr())?;
    // An error ends the connection, as on the other side; the client checks every answer.
    listener.serve(handler).on_error(|_, _| {}).await
}

/// Runs a loop on each core, each with a listener on the same port.
fn cores() -> Result<()> {
    let listeners = block_on(async {
        let listen = || {
            create_tcp_listener()
                .local_host("127.0.0.1")
                .reuse_port(true)
        };
        let mut listeners = vec![listen().await?];
        let port = listeners[0].local_addr().port();
        for _ in 1..CORES {
            listeners.push(listen().local_port(port).await?);
        }
        Ok::<_, Error>(listeners)
    })?;
    announce(listeners[0].local_addr())?;
    per_core(CORES, async |core| {
        listeners[core.index()]
            .serve(echo)
            .on_error(|_, _| {})
            .await
    })?;
    Ok(())
}

async fn echo(client: TcpStream) -> Result<()> {
    let mut buffer = [0; BUFFER];
    loop {
        let data = client.receive_into(&mut buffer).await?;
        client.send(data).await?;
    }
}

async fn unix_echo() -> Result<()> {
    let (path, address) = unix_address()?;
    let listener = create_unix_listener(&path).await?;
    announce(address)?;
    let echo = async |client: UnixStream| -> Result<()> {
        let mut buffer = [0; BUFFER];
        loop {
            let data = client.receive_into(&mut buffer).await?;
            client.send(data).await?;
        }
    };
    listener.serve(echo).on_error(|_, _| {}).await
}

async fn lines(client: TcpStream) -> Result<()> {
    let (client, mut line, mut answer) = (Buffered::new(client), Vec::new(), Vec::new());
    loop {
        answer.clear();
        for _ in 0..LINES {
            client.receive_until_into(&mut line, b"\n", BUFFER).await?;
            answer.extend_from_slice(&line);
            answer.push(b'\n');
        }
        client.send(&answer).await?;
    }
}

async fn lines_together(client: TcpStream) -> Result<()> {
    let (client, mut answer) = (Buffered::new(client), Vec::new());
    loop {
        answer.clear();
        let each = |line: &[u8]| {
            answer.extend_from_slice(line);
            answer.push(b'\n');
        };
        client.receive_each(b"\n", BUFFER, each).await?;
        client.send(&answer).await?;
    }
}

async fn echo_with_timeout(client: TcpStream) -> Result<()> {
    let mut buffer = [0; BUFFER];
    loop {
        let data = fail_after(RECEIVE_LIMIT, client.receive_into(&mut buffer)).await?;
        client.send(data).await?;
    }
}

async fn echo_with_small_buffer(client: TcpStream) -> Result<()> {
    let mut buffer = vec![0; MESSAGE];
    loop {
        let data = client.receive_into(&mut buffer).await?;
        client.send(data).await?;
    }
}

async fn echo_without_buffer(client: TcpStream) -> Result<()> {
    loop {
        let data = client.receive().await?;
        client.send(&data).await?;
    }
}

async fn relay_pairs(splice: bool) -> Result<()> {
    let listener = create_tcp_listener().local_host("127.0.0.1").await?;
    announce(listener.local_addr())?;
    task_group(async |group| -> Result<()> {
        loop {
            let (a, b) = (listener.accept().await?, listener.accept().await?);
            group.spawn(async move {
                // An error ends the two connections, as on the other side.
                relay(a, b).splice(splice).await.ok();
            });
        }
    })
    .await
}

async fn udp_socket() -> Result<UdpSocket> {
    let socket = create_udp_socket()
        .family(Family::V4)
        .local_host("127.0.0.1")
        .await?;
    announce(socket.local_addr())?;
    Ok(socket)
}

async fn udp_echo() -> Result<()> {
    let socket = udp_socket().await?;
    let mut buffer = [0; BUFFER];
    loop {
        let datagram = socket.receive_into(&mut buffer).await?;
        socket.send_to(datagram.data, datagram.from).await?;
    }
}

async fn udp_echo_many() -> Result<()> {
    let socket = udp_socket().await?;
    let mut buffer = DatagramBuffer::new();
    loop {
        let mut datagrams = socket.receive_many(&mut buffer).await?;
        socket.send_many(&mut datagrams).await?;
    }
}

async fn udp_sink() -> Result<()> {
    let socket = udp_socket().await?;
    socket_option::receive_room(&socket)?;
    let mut buffer = DatagramBuffer::new();
    let mut received = 0;
    loop {
        for (_, from) in socket.receive_many(&mut buffer).await? {
            received += 1;
            if received == BURST * BURSTS {
                received = 0;
                socket.send_to(b"+", from).await?;
            }
        }
    }
}

async fn udp_bulk() -> Result<()> {
    let socket = udp_socket().await?;
    let data = vec![7; BURST * BULK];
    let mut buffer = [0; BUFFER];
    loop {
        let from = socket.receive_into(&mut buffer).await?.from;
        socket.send_segments(&mut &data[..], BULK, from).await?;
    }
}
