//! soloio's TLS servers.

use std::io;

use soloio::net::TcpStream;
use soloio::tls::{TlsListener, TlsStream};
use soloio::{Result, block_on, create_tcp_listener};

use super::tls::{BULK, config};
use super::{BUFFER, announce};
use crate::load::MESSAGE;
use crate::work::Kind;

type Client = TlsStream<TcpStream>;

pub fn run(kind: Kind) -> io::Result<()> {
    let ended = block_on(async {
        match kind {
            Kind::TlsEcho => serve(echo).await,
            Kind::TlsIdle => serve(idle).await,
            Kind::TlsSink => serve(sink).await,
            Kind::TlsSinkSmall => serve(sink_small).await,
            _ => serve(source).await,
        }
    });
    ended.map_err(io::Error::from)
}

async fn serve(handler: impl AsyncFn(Client) -> Result<()>) -> Result<()> {
    let listener = create_tcp_listener().local_host("127.0.0.1").await?;
    announce(listener.local_addr())?;
    let listener = TlsListener::new(listener, config());
    listener.serve(handler).on_error(|_, _| {}).await
}

async fn echo(client: Client) -> Result<()> {
    let mut buffer = [0; BUFFER];
    loop {
        let data = client.receive_into(&mut buffer).await?;
        client.send(data).await?;
    }
}

async fn idle(client: Client) -> Result<()> {
    let mut buffer = [0; MESSAGE];
    loop {
        let data = client.receive_into(&mut buffer).await?;
        client.send(data).await?;
    }
}

async fn length(client: &Client) -> Result<u64> {
    let mut bytes = [0; 8];
    let mut got = 0;
    while got < 8 {
        got += client.receive_into(&mut bytes[got..]).await?.len();
    }
    Ok(u64::from_le_bytes(bytes))
}

async fn sink(client: Client) -> Result<()> {
    sink_into(client, &mut vec![0; BULK]).await
}

async fn sink_small(client: Client) -> Result<()> {
    sink_into(client, &mut [0; BUFFER]).await
}

async fn sink_into(client: Client, buffer: &mut [u8]) -> Result<()> {
    loop {
        let mut left = length(&client).await?;
        while left > 0 {
            left -= client.receive_into(buffer).await?.len() as u64;
        }
        client.send(b"!").await?;
    }
}

async fn source(client: Client) -> Result<()> {
    let buffer = vec![7; BULK];
    loop {
        let mut left = length(&client).await?;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(BULK).min(BULK);
            client.send(&buffer[..now]).await?;
            left -= now as u64;
        }
    }
}
