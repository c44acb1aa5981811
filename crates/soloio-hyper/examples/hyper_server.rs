//! A server of HTTP/1 and HTTP/2: `hyper_server [ADDRESS]`.
//!
//! `GET /` greets, `POST /echo` gives back what it is sent, as it comes. Limits for slow clients
//! are on by themselves; ctrl-c and SIGTERM end it: idle connections at once, those that run within
//! 10 s.
//!
//!     curl http://127.0.0.1:8080/
//!     curl --http2-prior-knowledge --data-binary @Cargo.toml http://127.0.0.1:8080/echo

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Either;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use soloio::{Result, Signal, block_on, create_tcp_listener, open_signal_receiver};
use soloio_hyper::{Http, RequestBody};

type Body = Either<String, RequestBody>;

async fn answer(request: Request<RequestBody>) -> Result<Response<Body>> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => (StatusCode::OK, Either::Left("Hello, world!\n".into())),
        (&Method::POST, "/echo") => (StatusCode::OK, Either::Right(request.into_body())),
        _ => (
            StatusCode::NOT_FOUND,
            Either::Left("Nothing is here.\n".into()),
        ),
    };
    let mut response: Response<Body> = Response::new(body);
    *response.status_mut() = status;
    Ok(response)
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:8080");
    let address: SocketAddr = address.parse()?;
    let signals = open_signal_receiver(&[Signal::Interrupt, Signal::Terminate])?;
    block_on(async {
        let listener = create_tcp_listener()
            .local_host(address.ip())
            .local_port(address.port())
            .await?;
        println!("http {}", listener.local_addr());
        let http = Http::new();
        listener
            .serve(async |stream| http.serve_connection(stream, service_fn(answer)).await)
            .max_connections(10_000)
            .shutdown(signals.receive())
            .drain(Duration::from_secs(10))
            .await?;
        Ok(())
    })
}
