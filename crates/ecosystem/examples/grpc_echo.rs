//! A server of gRPC's wire format on the crate h2: `grpc_echo [ADDRESS]`.
//!
//! A call of any method gives back each of its messages as soon as it has come, and ends with a
//! status in the trailers: one in and one out, or a stream both ways. A message may have 1 MiB.
//! ctrl-c and SIGTERM end it: calls that run have 10 s.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream};
use hyper::body::{Buf, Bytes};
use hyper::{HeaderMap, Request, Response};
use soloio::{
    Signal, TcpStream, block_on, create_tcp_listener, fail_after, open_signal_receiver, stopping,
    task_group_with,
};
use soloio_tokio_io::TokioIo;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

const HANDSHAKE: Duration = Duration::from_secs(10);
const LARGEST: usize = 1 << 20;
/// gRPC's own numbers.
const OK: &str = "0";
const RESOURCE_EXHAUSTED: &str = "8";
const INTERNAL: &str = "13";

async fn serve(stream: TcpStream) -> Result<(), AnyError> {
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(100);
    let handshake = async {
        let handshake = builder.handshake::<_, Bytes>(TokioIo::new(stream));
        Ok::<_, AnyError>(handshake.await?)
    };
    let mut connection = fail_after(HANDSHAKE, handshake).await?;
    task_group_with(async |group| {
        let (mut stop, mut told) = (pin!(stopping()), false);
        loop {
            let accepted = poll_fn(|cx| {
                if !told && stop.as_mut().poll(cx).is_ready() {
                    told = true;
                    connection.graceful_shutdown();
                }
                connection.poll_accept(cx)
            });
            match accepted.await {
                // The error of one call is told to its client, and ends no other.
                Some(Ok((request, respond))) => drop(group.spawn(async move {
                    drop(call(request, respond).await);
                    Ok(())
                })),
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            }
        }
    })
    .await
}

/// One call: messages in, the same out, a status.
async fn call(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let head = Response::builder().header("content-type", "application/grpc");
    let head = head.body(()).expect("a valid head");
    let mut answer = respond.send_response(head, false)?;
    let status = echo(request.into_body(), &mut answer).await?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().expect("a number"));
    answer.send_trailers(trailers)
}

async fn echo(
    mut body: RecvStream,
    answer: &mut SendStream<Bytes>,
) -> Result<&'static str, h2::Error> {
    let mut waiting = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        waiting.extend_from_slice(&part);
        while let Some(length) = message(&waiting) {
            if length > LARGEST {
                return Ok(RESOURCE_EXHAUSTED);
            }
            if waiting.len() < length {
                break;
            }
            send(answer, waiting.drain(..length).collect()).await?;
        }
    }
    Ok(if waiting.is_empty() { OK } else { INTERNAL })
}

/// The length of the message that these bytes begin with: a flag and a number before its text.
fn message(mut bytes: &[u8]) -> Option<usize> {
    bytes.try_get_u8().ok()?;
    let length = bytes.try_get_u32().ok()?;
    Some(
        usize::try_from(length)
            .unwrap_or(usize::MAX)
            .saturating_add(5),
    )
}

/// Sends as the client has room: a client that does not read holds up its own call only.
async fn send(answer: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        answer.reserve_capacity(bytes.len());
        let room = poll_fn(|cx| match answer.poll_capacity(cx) {
            Poll::Ready(None) => Poll::Ready(Err(h2::Reason::CANCEL.into())),
            Poll::Ready(Some(room)) => Poll::Ready(room),
            Poll::Pending => Poll::Pending,
        });
        let part = bytes.split_to(room.await?.min(bytes.len()));
        answer.send_data(part, false)?;
    }
    Ok(())
}

fn main() -> Result<(), AnyError> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:50051");
    let address: SocketAddr = address.parse()?;
    let signals = open_signal_receiver(&[Signal::Interrupt, Signal::Terminate])?;
    block_on(async {
        let listener = create_tcp_listener()
            .local_host(address.ip())
            .local_port(address.port())
            .await?;
        println!("grpc {}", listener.local_addr());
        listener
            .serve_with(async |stream| serve(stream).await)
            .max_connections(1_000)
            .shutdown(signals.receive())
            .drain(Duration::from_secs(10))
            .await?;
        Ok(())
    })
}
