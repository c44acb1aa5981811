//! Handshakes with peers that end, stall, speak another protocol or attack; streams over a
//! transport that cuts everything into pieces, or changes it.

use std::cell::{Cell, RefCell};
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::{join, join3};
use soloio::tls::rustls::client::Resumption;
use soloio::tls::rustls::version::TLS13;
use soloio::tls::{TlsListener, TlsStream};
use soloio::{Error, MemoryStream, TcpStream, connect_tcp, fail_after, task_group};

use crate::net_support::{refused, run, tcp_listener, tcp_pair, turns};
use crate::support::{Random, alone, fds, rounds};
use crate::tls_pieces::{Between, between, pass_on};
use crate::tls_support::{NAME, client_config, client_of, server_config};

/// Passes only this many bytes of a handshake in each direction. Returns the success of each side,
/// and the number of bytes passed.
async fn cut_handshake(from_client: usize, from_server: usize) -> (bool, bool, usize, usize) {
    let Between {
        client,
        server,
        at_client,
        at_server,
    } = between();
    let client = async {
        // Without resumption the number of bytes is constant, except for signatures.
        let mut config = client_of(&[&TLS13]);
        config.resumption = Resumption::disabled();
        let client = TlsStream::client(client, NAME, Arc::new(config)).await;
        good(client).await
    };
    let server = async {
        let server = TlsStream::server(server, server_config()).await;
        good(server).await
    };
    let pass = join(
        pass_on(&at_client, &at_server, &[10_000], from_client, None),
        pass_on(&at_server, &at_client, &[10_000], from_server, None),
    );
    let (client, server, (one, two)) = join3(client, server, pass).await;
    (client, server, one, two)
}

/// Exchanges a word; false for an error that a bad peer may cause.
async fn good(stream: soloio::Result<TlsStream<MemoryStream>>) -> bool {
    let said = async {
        let stream = stream?;
        stream.send(b"word").await?;
        let heard = stream.receive().await?;
        assert_eq!(heard, b"word");
        // One end at a time: memory streams do not linger.
        stream.send_eof().await?;
        assert!(stream.next().await?.is_none());
        Ok(())
    };
    match said.await {
        Ok(()) => true,
        Err(Error::Broken(_) | Error::Tls(_)) => false,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_handshake_that_ends_after_any_byte_is_an_error() {
    run(async {
        // L2: an end inside a handshake caused a hang or a busy loop.
        let (client, server, from_client, from_server) = cut_handshake(50_000, 50_000).await;
        assert!(client && server);
        let step = if cfg!(debug_assertions) { 7 } else { 1 };
        for limit in (0..from_client).step_by(step) {
            let (_, server, ..) = cut_handshake(limit, 50_000).await;
            assert!(!server, "{limit} bytes of the client's {from_client}");
        }
        for limit in (0..from_server - 8).step_by(step) {
            let (client, ..) = cut_handshake(50_000, limit).await;
            assert!(!client, "{limit} bytes of the server's {from_server}");
        }
    });
}

#[test]
fn a_client_hello_may_come_in_any_two_pieces() {
    run(async {
        // L11: a fragmented ClientHello caused a panic.
        let step = if cfg!(debug_assertions) { 5 } else { 1 };
        for first in (1..260).step_by(step) {
            let (pair, sizes) = (between(), [first, 50_000]);
            let pass = join(
                pass_on(&pair.at_client, &pair.at_server, &sizes, usize::MAX, None),
                pass_on(
                    &pair.at_server,
                    &pair.at_client,
                    &[50_000],
                    usize::MAX,
                    None,
                ),
            );
            let client = TlsStream::client(pair.client, NAME, client_config());
            let server = TlsStream::server(pair.server, server_config());
            let both = join(async { good(client.await).await }, async {
                good(server.await).await
            });
            let (fared, _) = join(both, pass).await;
            assert_eq!(fared, (true, true), "split after {first} bytes");
        }
    });
}

/// The kinds of clients that connect to a TLS port.
#[derive(Debug, Clone, Copy)]
enum Guest {
    Garbage,
    PlainHttp,
    HalfOpen,
    HelloAndGone,
    Record,
}

const GUESTS: [Guest; 5] = [
    Guest::Garbage,
    Guest::PlainHttp,
    Guest::HalfOpen,
    Guest::HelloAndGone,
    Guest::Record,
];

async fn visit(port: u16, guest: Guest, seed: usize) {
    let stream = connect_tcp("127.0.0.1", port).await.expect("connects");
    let mut random = Random::new(seed as u64 + 1);
    let bytes: Vec<u8> = match guest {
        Guest::Garbage => (0..random.below(3000))
            .map(|_| random.next() as u8)
            .collect(),
        Guest::PlainHttp => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        Guest::HalfOpen => b"\x16\x03\x01".to_vec(),
        Guest::HelloAndGone => {
            let hello = TlsStream::client(stream, NAME, client_config()).into_future();
            let cut = crate::net_support::polled(1, hello).await;
            assert!(cut.is_none(), "too fast for a handshake");
            return;
        }
        Guest::Record => [&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..], &[0; 600]].concat(),
    };
    // The server may refuse before everything is sent.
    drop(stream.send(&bytes).await);
    while stream.receive().await.is_ok() {}
}

#[test]
fn hostile_clients_are_reaped_and_delay_nobody() {
    alone(
        "tls_hostile::hostile_clients_are_reaped_and_delay_nobody",
        || {
            run(hostile_clients());
        },
    );
}

async fn hostile_clients() {
    // L10, X2: one failed handshake ended the server, a slow one blocked it.
    let before = fds();
    let failed = Cell::new(0);
    let timed_out = Cell::new(0);
    let listener = TlsListener::new(tcp_listener().await, server_config())
        .handshake_timeout(Duration::from_millis(300))
        .on_handshake_error(|error, stream: &TcpStream| {
            assert!(stream.peer_addr().ip().is_loopback());
            assert!(
                matches!(error, Error::Tls(_) | Error::Broken(_) | Error::TimedOut(_)),
                "{error}"
            );
            failed.set(failed.get() + 1);
            timed_out.set(timed_out.get() + usize::from(matches!(error, Error::TimedOut(_))));
        });
    let port = listener.inner().local_addr().port();
    let total = rounds(10_000);
    let times = RefCell::new(Vec::new());
    let result = task_group(async |group| {
        let server = group.spawn(listener.serve(async |client: TlsStream<TcpStream>| {
            let word = client.receive().await?;
            client.send(&word).await?;
            client.close().await
        }));
        let guests = task_group(async |guests| {
            // A hundred lanes at a time, each with the next kind in turn.
            for lane in 0..100 {
                guests.spawn(async move {
                    for n in (lane..total).step_by(100) {
                        visit(port, GUESTS[(n / 100) % GUESTS.len()], n).await;
                    }
                    Ok(())
                });
            }
            guests.spawn(async {
                for _ in 0..50 {
                    let start = Instant::now();
                    let stream = connect_tcp("127.0.0.1", port).await?;
                    let client = TlsStream::client(stream, NAME, client_config()).await?;
                    times.borrow_mut().push(start.elapsed());
                    client.send(b"word").await?;
                    assert_eq!(client.receive().await?, b"word");
                    client.close().await?;
                    turns(20).await;
                }
                Ok(())
            });
            Ok(())
        });
        guests.await?;
        server.cancel();
        Ok(())
    });
    result.await.expect("all served");
    assert_eq!(failed.get(), total, "each was told to the hook");
    assert!(timed_out.get() > 0);
    drop(listener);
    // The loop has opened three descriptors of its own meanwhile.
    assert!(
        fds() <= before + 3,
        "{} descriptors, {before} before",
        fds()
    );
    let mut times = times.into_inner();
    times.sort();
    println!(
        "honest handshakes: median {:?}, worst {:?}",
        times[25], times[49]
    );
}

#[test]
fn handshakes_are_limited_in_number_and_time() {
    run(async {
        let listener = TlsListener::new(tcp_listener().await, server_config())
            .max_handshakes(2)
            .handshake_timeout(Duration::from_millis(50));
        let port = listener.inner().local_addr().port();
        let served = Cell::new(0);
        let result = task_group(async |group| {
            let server = group.spawn(listener.serve(async |client: TlsStream<TcpStream>| {
                served.set(served.get() + 1);
                client.send(b"in").await?;
                client.close().await
            }));
            // Two silent clients take both places, until their time is over.
            let silent = (
                connect_tcp("127.0.0.1", port).await?,
                connect_tcp("127.0.0.1", port).await?,
            );
            turns(5).await;
            let stream = connect_tcp("127.0.0.1", port).await?;
            let client = TlsStream::client(stream, NAME, client_config()).await?;
            assert_eq!(client.receive().await?, b"in");
            refused!(silent.0.receive().await, Error::EndOfStream);
            refused!(silent.1.receive().await, Error::EndOfStream);
            server.cancel();
            Ok(())
        });
        result.await.expect("served");
        assert_eq!(served.get(), 1);
    });
}

#[test]
fn a_second_accept_is_busy_also_while_no_place_is_free() {
    run(async {
        let listener = TlsListener::new(tcp_listener().await, server_config()).max_handshakes(1);
        let port = listener.inner().local_addr().port();
        let result = task_group(async |group| {
            let silent = connect_tcp("127.0.0.1", port).await?;
            let shaking = group.spawn(async { Ok(listener.accept().await) });
            turns(5).await;
            let waiting = group.spawn(async { Ok(listener.accept().await) });
            turns(5).await;
            // A third accept would replace the waiting one, which would never be woken.
            refused!(listener.accept().await, Error::Busy);
            drop(silent);
            refused!(shaking.await?, Error::Broken(_));
            let stream = connect_tcp("127.0.0.1", port).await?;
            TlsStream::client(stream, NAME, client_config()).await?;
            waiting.await?.expect("a good handshake");
            Ok::<_, Error>(())
        });
        result.await.expect("one is accepted");
    });
}

/// Clients take all places and stop after `say` has sent their data; others must still be served.
async fn delay_nobody(say: impl AsyncFn(&TcpStream)) {
    let dropped = Cell::new(0);
    let listener = TlsListener::new(tcp_listener().await, server_config())
        .max_handshakes(2)
        .handshake_timeout(Duration::from_secs(3_600))
        .on_handshake_error(|error, _: &TcpStream| {
            assert!(error.to_string().contains("max_handshakes"), "{error}");
            dropped.set(dropped.get() + 1);
        });
    let port = listener.inner().local_addr().port();
    let result = task_group(async |group| {
        let server = group.spawn(listener.serve(async |client: TlsStream<TcpStream>| {
            client.send(b"in").await?;
            client.close().await
        }));
        let mut hostile = Vec::new();
        for _ in 0..3 {
            for _ in 0..3 {
                let stream = connect_tcp("127.0.0.1", port).await?;
                say(&stream).await;
                hostile.push(stream);
            }
            let stream = connect_tcp("127.0.0.1", port).await?;
            let client = TlsStream::client(stream, NAME, client_config()).await?;
            assert_eq!(client.receive().await?, b"in");
        }
        server.cancel();
        Ok(())
    });
    let result = fail_after(Duration::from_secs(60), result).await;
    result.expect("an hour is not waited for");
    assert!((7..=9).contains(&dropped.get()), "{dropped:?}");
}

#[test]
fn silent_clients_that_take_all_places_delay_nobody() {
    run(delay_nobody(async |_| {}));
}

#[test]
fn clients_that_stop_midway_in_all_places_delay_nobody() {
    run(async {
        let (hello, end) = tcp_pair().await;
        let mut client = pin!(TlsStream::client(hello, NAME, client_config()).into_future());
        let polled = poll_fn(|cx| Poll::Ready(client.as_mut().poll(cx).is_pending())).await;
        assert!(polled);
        let hello = end.receive().await.expect("a first message");
        delay_nobody(async |stream| stream.send(&hello).await.expect("sent")).await;
    });
}

#[test]
fn a_slow_handshake_under_a_limit_is_dropped() {
    run(async {
        let (a, b) = tcp_pair().await;
        let limit = Duration::from_millis(20);
        let ended = fail_after(limit, TlsStream::server(a, server_config())).await;
        refused!(ended, Error::TimedOut(_));
        refused!(b.receive().await, Error::EndOfStream);
    });
}

#[test]
fn a_server_that_ends_reports_no_client() {
    run(async {
        let failed = Cell::new(0);
        let listener = TlsListener::new(tcp_listener().await, server_config())
            .on_handshake_error(|_, _: &TcpStream| failed.set(failed.get() + 1));
        let port = listener.inner().local_addr().port();
        let result = task_group(async |group| {
            let server = group.spawn(listener.serve(async |_: TlsStream<TcpStream>| Ok(())));
            let silent = connect_tcp("127.0.0.1", port).await?;
            turns(5).await;
            server.cancel();
            turns(5).await;
            refused!(
                silent.receive().await,
                Error::EndOfStream | Error::Broken(_)
            );
            Ok::<_, Error>(())
        });
        result.await.expect("ended");
        assert_eq!(failed.get(), 0, "it has done nothing wrong");
    });
}
