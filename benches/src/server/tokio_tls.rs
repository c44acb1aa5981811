//! tokio's TLS servers, with tokio-rustls.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::tls::{BULK, config};
use super::{BUFFER, announce};
use crate::flavour::Flavour;
use crate::load::MESSAGE;
use crate::work::Kind;

type Client = TlsStream<TcpStream>;

pub fn run<F: Flavour>(kind: Kind) -> io::Result<()> {
    let runtime = F::runtime()?;
    F::block_on(&runtime, async {
        let server = F::spawn(async move {
            match kind {
                Kind::TlsEcho => serve::<F>(echo).await,
                Kind::TlsIdle => serve::<F>(idle).await,
                Kind::TlsSink => serve::<F>(sink).await,
                Kind::TlsSinkSmall => serve::<F>(sink_small).await,
                _ => serve::<F>(source).await,
            }
        });
        server.await.map_err(io::Error::other)?
    })
}

async fn serve<F: Flavour>(
    handler: impl AsyncFn(Client) -> io::Result<()> + Copy + 'static,
) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    announce(listener.local_addr()?)?;
    let acceptor = TlsAcceptor::from(config());
    loop {
        let (stream, _): (TcpStream, SocketAddr) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let acceptor = acceptor.clone();
        F::spawn(async move {
            if let Ok(client) = acceptor.accept(stream).await {
                // An error ends the connection, as on the other side.
                handler(client).await.ok();
            }
        });
    }
}

async fn echo(mut client: Client) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    loop {
        let count = client.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        client.write_all(&buffer[..count]).await?;
        client.flush().await?;
    }
}

async fn idle(mut client: Client) -> io::Result<()> {
    let mut buffer = [0; MESSAGE];
    loop {
        let count = client.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        client.write_all(&buffer[..count]).await?;
        client.flush().await?;
    }
}

async fn sink(client: Client) -> io::Result<()> {
    sink_into(client, &mut vec![0; BULK]).await
}

async fn sink_small(client: Client) -> io::Result<()> {
    sink_into(client, &mut [0; BUFFER]).await
}

async fn sink_into(mut client: Client, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        let mut left = client.read_u64_le().await?;
        while left > 0 {
            let count = client.read(buffer).await?;
            if count == 0 {
                return Ok(());
            }
            left -= count as u64;
        }
        client.write_all(b"!").await?;
        client.flush().await?;
    }
}

async fn source(mut client: Client) -> io::Result<()> {
    let buffer = vec![7; BULK];
    loop {
        let mut left = client.read_u64_le().await?;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(BULK).min(BULK);
            client.write_all(&buffer[..now]).await?;
            left -= now as u64;
        }
        client.flush().await?;
    }
}
