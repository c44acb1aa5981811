//! A WebSocket server that gives back what it is sent: `websocket_echo [ADDRESS]`.
//!
//! The protocol is tokio-tungstenite's, over tokio's traits and nothing else of tokio. A message
//! may have 1 MiB; a client that says nothing for a minute is let go; on ctrl-c and SIGTERM all are
//! told goodbye.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::select;
use futures_util::{SinkExt, StreamExt};
use soloio::{
    Signal, TcpStream, block_on, create_tcp_listener, fail_after, move_on_after,
    open_signal_receiver, stopping,
};
use soloio_tokio_io::TokioIo;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

const HANDSHAKE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);

type AnyError = Box<dyn std::error::Error + Send + Sync>;

async fn echo(stream: TcpStream) -> Result<(), AnyError> {
    let limits = WebSocketConfig::default().max_message_size(Some(1 << 20));
    let accept = async {
        Ok::<_, AnyError>(accept_async_with_config(TokioIo::new(stream), Some(limits)).await?)
    };
    let mut socket = fail_after(HANDSHAKE, accept).await?;
    while let Some(message) = next(&mut socket).await? {
        // Pings are answered by the next read, and closes too.
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    // Its end may be there already.
    drop(socket.close(None).await);
    Ok(())
}

/// The next message; `None` if the client is gone or silent, or the server stops.
async fn next(
    socket: &mut WebSocketStream<TokioIo<TcpStream>>,
) -> Result<Option<Message>, AnyError> {
    let received = pin!(async { Ok::<_, AnyError>(socket.next().await.transpose()?) });
    let stopped = pin!(async { Ok(stopping().await.map(|()| None)?) });
    let first = async { select(received, stopped).await.factor_first().0 };
    Ok(move_on_after(IDLE, first).await?.flatten())
}

fn main() -> Result<(), AnyError> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:8080");
    let address: SocketAddr = address.parse()?;
    let signals = open_signal_receiver(&[Signal::Interrupt, Signal::Terminate])?;
    block_on(async {
        let listener = create_tcp_listener()
            .local_host(address.ip())
            .local_port(address.port())
            .await?;
        println!("ws {}", listener.local_addr());
        listener
            .serve_with(async |stream| echo(stream).await)
            .max_connections(10_000)
            .shutdown(signals.receive())
            .drain(Duration::from_secs(10))
            .await?;
        Ok(())
    })
}
