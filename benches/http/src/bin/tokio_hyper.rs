//! The service by hyper-util on tokio: both versions, the limit for heads, a graceful end. With
//! `bare`, by hyper's HTTP/1 and the limit alone.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use soloio_http_benches::{HEAD, hello, tls};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;

fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(LocalSet::new().run_until(run()))
}

async fn run() -> io::Result<()> {
    let mut end = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let acceptor = tls().map(TlsAcceptor::from);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD);
    builder.http2().timer(TokioTimer::new());
    let (builder, graceful) = (Rc::new(builder), GracefulShutdown::new());
    let bare = std::env::args().nth(1).as_deref() == Some("bare");
    let mut ended = pin!(end.recv());
    loop {
        let mut accept = pin!(listener.accept());
        let accepted = poll_fn(|cx| match ended.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => accept.as_mut().poll(cx).map(Some),
        });
        let Some(accepted) = accepted.await else {
            break;
        };
        let (stream, _) = accepted?;
        stream.set_nodelay(true)?;
        if bare {
            spawn_local(serve_bare(stream));
            continue;
        }
        let (builder, watcher) = (Rc::clone(&builder), graceful.watcher());
        let acceptor = acceptor.clone();
        spawn_local(async move { serve(&builder, watcher, acceptor, stream).await });
    }
    graceful.shutdown().await;
    Ok(())
}

async fn serve(
    builder: &Builder<TokioExecutor>,
    watcher: Watcher,
    acceptor: Option<TlsAcceptor>,
    stream: TcpStream,
) {
    let service = service_fn(hello);
    let ended = match acceptor {
        None => {
            let io = TokioIo::new(stream);
            let connection = builder.serve_connection_with_upgrades(io, service);
            watcher.watch(connection).await
        }
        Some(acceptor) => {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let io = TokioIo::new(stream);
            let connection = builder.serve_connection_with_upgrades(io, service);
            watcher.watch(connection).await
        }
    };
    if let Err(error) = ended {
        eprintln!("{error}");
    }
}

/// By hyper's HTTP/1 alone: no version to be told, no graceful end.
async fn serve_bare(stream: TcpStream) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let connection = builder.serve_connection(TokioIo::new(stream), service_fn(hello));
    if let Err(error) = connection.await {
        eprintln!("{error}");
    }
}
