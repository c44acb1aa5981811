//! soloio's servers: `serve` with a handler that receives and sends.

use std::io;

use soloio::net::TcpStream;
use soloio::{
    Error, Family, Result, block_on, create_tcp_listener, create_udp_socket, fail_after, relay,
    task_group,
};

use super::{BUFFER, RECEIVE_LIMIT, announce};
use crate::work::Kind;

pub fn run(kind: Kind) -> io::Result<()> {
    let ended = block_on(async {
        match kind {
            Kind::TcpEcho => serve(echo).await,
            Kind::TcpEchoTimeout => serve(echo_with_timeout).await,
            Kind::TcpIdle => serve(echo_without_buffer).await,
            Kind::UdpEcho => udp_echo().await,
            Kind::TcpRelay => relay_pairs(true).await,
            Kind::TcpRelayCopied => relay_pairs(false).await,
        }
    });
    ended.map_err(io::Error::from)
}

async fn serve(handler: impl AsyncFn(TcpStream) -> Result<()>) -> Result<()> {
    let listener = create_tcp_listener().local_host("127.0.0.1").await?;
    announce(listener.local_addr())?;
    // An error ends the connection, as on the other side; the client checks every answer.
    listener.serve(handler).on_error(|_: Error| {}).await
}

async fn echo(client: TcpStream) -> Result<()> {
    let mut buffer = [0; BUFFER];
    loop {
        let data = client.receive_into(&mut buffer).await?;
        client.send(data).await?;
    }
}

async fn echo_with_timeout(client: TcpStream) -> Result<()> {
    let mut buffer = [0; BUFFER];
    loop {
        let data = fail_after(RECEIVE_LIMIT, client.receive_into(&mut buffer)).await?;
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

async fn udp_echo() -> Result<()> {
    let socket = create_udp_socket()
        .family(Family::V4)
        .local_host("127.0.0.1")
        .await?;
    announce(socket.local_addr())?;
    let mut buffer = [0; BUFFER];
    loop {
        let datagram = socket.receive_into(&mut buffer).await?;
        socket.send_to(datagram.data, datagram.from).await?;
    }
}
