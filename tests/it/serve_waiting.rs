//! Connections that wait in the backlog when a server is stopped: all of them are served, with no
//! more at a time than `max_connections`.

use std::future::{Future, ready};
use std::time::Duration;

use futures_util::future::{join, join_all};
use soloio::{
    ByteStream, Error, Listener, MultiListener, Result, TcpListener, TcpStream, connect_tcp,
    connect_unix, create_unix_listener, sleep, task_group,
};

use crate::net_support::{TempDir, run, tcp_listener, turns};
use crate::serve_ends::{client_of, until};
use crate::support::{Counter, Gate, forever};

const CLIENTS: usize = 20;
const PLACES: usize = 2;

async fn answers<S: ByteStream>(running: &Counter, client: S) -> Result<()> {
    let _held = running.hold();
    assert!(running.get() <= PLACES, "{} at a time", running.get());
    turns(2).await;
    client.send(b"served").await?;
    client.close().await
}

async fn gets_it_all<S: ByteStream>(client: S) {
    let mut all = Vec::new();
    while let Some(data) = client.next().await.expect("no reset") {
        all.extend(data);
    }
    assert_eq!(all, b"served");
}

/// Stops a server before it has accepted anything.
async fn serves_all<L, F>(listener: &L, clients: Vec<F>)
where
    L: Listener<Stream: ByteStream>,
    F: Future<Output = ()>,
{
    let (running, count) = (Counter::new(), clients.len());
    let handler = async |client: L::Stream| answers(&running, client).await;
    let serve = Listener::serve(listener, handler).max_connections(PLACES);
    let counters = serve.counters();
    let serve = async { serve.shutdown(ready(())).await };
    let (ended, _) = join(serve, join_all(clients)).await;
    ended.expect("it was told to end");
    assert_eq!(counters.accepted(), u64::try_from(count).expect("few"));
    assert_eq!((counters.active(), counters.failed()), (0, 0));
}

async fn connected(listener: &TcpListener) -> Vec<TcpStream> {
    let connect = (0..CLIENTS).map(|_| client_of(listener));
    join_all(connect).await
}

#[test]
fn all_are_served_over_tcp_and_unix() {
    run(async {
        let listener = tcp_listener().await;
        let clients = connected(&listener).await;
        serves_all(&listener, clients.into_iter().map(gets_it_all).collect()).await;
        let dir = TempDir::new();
        let listener = create_unix_listener(dir.path("socket")).await;
        let listener = listener.expect("listens");
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let client = connect_unix(dir.path("socket")).await.expect("connects");
            clients.push(gets_it_all(client));
        }
        serves_all(&listener, clients).await;
    });
}

#[test]
fn all_are_served_by_several_listeners() {
    run(async {
        let (first, second) = (tcp_listener().await, tcp_listener().await);
        let mut clients = connected(&first).await;
        clients.extend(connected(&second).await);
        let listener = MultiListener::new().with(first).with(second);
        let clients = clients.into_iter().map(gets_it_all).collect();
        serves_all::<MultiListener<'_>, _>(&listener, clients).await;
    });
}

#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
#[test]
fn all_are_served_over_tls() {
    use crate::tls_support::{NAME, client_config, server_config};
    use soloio::tls::{TlsListener, TlsStream};

    run(async {
        let tcp = tcp_listener().await;
        let clients = connected(&tcp).await.into_iter().map(async |client| {
            let client = TlsStream::client(client, NAME, client_config());
            gets_it_all(client.await.expect("a handshake")).await;
        });
        let clients = clients.collect();
        serves_all(&TlsListener::new(tcp, server_config()), clients).await;
    });
}

/// A group of the caller's: the same.
#[test]
fn all_are_served_in_a_group() {
    run(async {
        let (listener, running) = (tcp_listener().await, Counter::new());
        let clients = connected(&listener).await;
        let served = task_group(async |group| {
            let handler = async |client| answers(&running, client).await;
            let serve = listener.serve(handler).max_connections(PLACES);
            let serve = serve.shutdown(ready(())).in_group(group);
            let clients = join_all(clients.into_iter().map(gets_it_all));
            join(serve, clients).await.0
        });
        served.await.expect("it was told to end");
    });
}

/// The listener is closed at once: no client waits longer for a server that is full.
#[test]
fn new_clients_are_refused_while_the_others_wait() {
    run(async {
        let (listener, running) = (tcp_listener().await, Counter::new());
        let (stop, go) = (Gate::default(), Gate::default());
        let serve = listener.serve(async |client| {
            let _held = running.hold();
            go.wait().await;
            client.send(b"served").await
        });
        let counters = serve.counters();
        let serve = serve.max_connections(1).shutdown(stop.wait());
        let talk = async {
            let clients = connected(&listener).await;
            until(|| running.get() == 1).await;
            stop.open();
            until(|| counters.accepted() == 20).await;
            turns(2).await;
            let port = listener.local_addr().port();
            assert!(connect_tcp("127.0.0.1", port).await.is_err());
            assert_eq!(running.get(), 1);
            go.open();
            for client in clients {
                gets_it_all(client).await;
            }
        };
        let (ended, ()) = join(async { serve.await }, talk).await;
        ended.expect("it was told to end");
    });
}

/// Those without a place at the limit of the drain are closed without a handler.
#[test]
fn the_drain_limit_ends_those_that_still_wait() {
    run(async {
        for limit in [Duration::ZERO, Duration::from_millis(20)] {
            let (listener, begun) = (tcp_listener().await, Counter::new());
            let clients = connected(&listener).await;
            let serve = listener.serve(async |_client| {
                begun.add();
                forever().await;
                Ok::<_, Error>(())
            });
            let counters = serve.counters();
            let serve = serve.max_connections(PLACES).shutdown(sleep(limit));
            serve.drain(limit).await.expect("it was told to end");
            assert!(begun.get() <= PLACES, "{}", begun.get());
            assert_eq!((counters.active(), counters.failed()), (0, 0));
            for client in clients {
                assert!(!matches!(client.next().await, Ok(Some(_))));
            }
        }
    });
}
