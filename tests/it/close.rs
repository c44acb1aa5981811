//! `close`: the bytes that `send` accepted arrive, or `close` returns how many did not. That holds
//! for peers that read slowly, late or never, or go on sending (nginx's lingering close,
//! aiohttp#927, hyper#3078). Long because each kind of stream and of peer has its test.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use futures_util::future::join;
use soloio::{
    AnyByteStream, Buffered, ByteStream, CloseLimits, Error, Event, Result, TcpListener, TcpStream,
    connect_tcp, sleep, unix_socket_pair,
};

use crate::net_support::{
    check_numbered, clog, numbered, polled, receive_numbered, refused, run, tcp_listener, tcp_pair,
    turns,
};
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
use crate::support::rounds;
use crate::support::{alone, fds};
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
use crate::tls_support::tls;

const MIB: usize = 1 << 20;

/// The server answers with `answer` bytes before it has read the client's data, and closes. The
/// client reads after its last send, or when a send fails, as many clients do. Returns what both
/// saw.
async fn early_answer<S: ByteStream>(
    client: S,
    server: S,
    upload: usize,
    answer: usize,
) -> (Result<()>, usize, Error) {
    let serve = async {
        server.receive_max(100).await.expect("the head of it");
        server.send(&numbered(0, answer)).await?;
        server.close().await
    };
    let ask = async move {
        let sent = client.send(&numbered(0, upload)).await;
        if sent.is_ok() {
            client.send_eof().await.expect("ended");
        }
        let mut got = 0;
        loop {
            match client.receive().await {
                Ok(bytes) => {
                    check_numbered(got, &bytes);
                    got += bytes.len();
                }
                Err(end) => return (got, end),
            }
        }
    };
    let (closed, (got, end)) = join(serve, ask).await;
    (closed, got, end)
}

async fn survives_an_upload<S: ByteStream>(client: S, server: S, upload: usize, answer: usize) {
    let (closed, got, end) = early_answer(client, server, upload, answer).await;
    closed.expect("all of it arrived");
    assert_eq!(got, answer, "{upload}: {end:?}");
    assert!(matches!(end, Error::EndOfStream), "{end:?}");
}

#[test]
fn an_early_answer_survives_an_upload() {
    run(async {
        for upload in [2 * MIB, 8 * MIB, 40 * MIB] {
            let (client, server) = tcp_pair().await;
            survives_an_upload(client, server, upload, 300_000).await;
            let (client, server) = tcp_pair().await;
            survives_an_upload(client, server, upload, 10).await;
            let (client, server) = tcp_pair().await;
            let (client, server) = (Buffered::new(client), Buffered::new(server));
            survives_an_upload(client, server, upload, 300_000).await;
            let (client, server) = tcp_pair().await;
            let (client, server) = (AnyByteStream::new(client), AnyByteStream::new(server));
            survives_an_upload(client, server, upload, 300_000).await;
            let (client, server) = unix_socket_pair().expect("two descriptors");
            survives_an_upload(client, server, upload, 50_000).await;
        }
    });
}

#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
#[test]
fn an_early_answer_survives_an_upload_over_tls() {
    run(async {
        // A debug build takes half a minute to encrypt 40 MiB.
        for upload in [2 * MIB, 8 * MIB, rounds(40 * MIB)] {
            let (client, server) = tls(tcp_pair()).await;
            survives_an_upload(client, server, upload, 300_000).await;
        }
    });
}

/// Reads `total` bytes at a constant rate within `time`, and writes four bytes when 70 % of it is
/// over. Returns the number of bytes received, and the error at the end.
pub(crate) async fn read_slowly<S: ByteStream>(
    client: &S,
    total: usize,
    time: Duration,
) -> (usize, Error) {
    let (begun, mut got, mut written) = (Instant::now(), 0, false);
    loop {
        let due = time.mul_f64(got as f64 / total as f64);
        sleep(due.saturating_sub(begun.elapsed()))
            .await
            .expect("slept");
        if !written && due > time.mul_f64(0.7) {
            written = true;
            // The send may fail already; only the received bytes count.
            drop(client.send(b"more").await);
        }
        match client.receive_max(32_768).await {
            Ok(bytes) => {
                check_numbered(got, &bytes);
                got += bytes.len();
            }
            Err(end) => return (got, end),
        }
    }
}

async fn survives_a_slow_reader<S: ByteStream>(client: S, server: S, total: usize) {
    let serve = async {
        server.send(&numbered(0, total)).await?;
        server.close().await
    };
    let read = async move { read_slowly(&client, total, Duration::from_secs(2)).await };
    let (closed, (got, end)) = join(serve, read).await;
    closed.expect("all of it arrived");
    assert_eq!(got, total, "{end:?}");
    assert!(matches!(end, Error::EndOfStream), "{end:?}");
}

#[test]
fn a_slow_reader_that_writes_late_gets_everything() {
    run(async {
        let (client, server) = tcp_pair().await;
        client.set_receive_buffer_size(65_536).expect("set");
        survives_a_slow_reader(client, server, 3 * MIB).await;
    });
}

#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
#[test]
fn a_slow_reader_over_tls_gets_everything() {
    run(async {
        let (client, server) = tls(tcp_pair()).await;
        client.inner().set_receive_buffer_size(65_536).expect("set");
        survives_a_slow_reader(client, server, 3 * MIB).await;
    });
}

/// Serves one client with a handler that answers early and drops the stream at its end.
async fn served_early_answer(upload: usize, answer: usize) -> (usize, Error) {
    let listener = tcp_listener().await;
    let port = listener.local_addr().port();
    let failed = Cell::new(0);
    let serve = listener
        .serve(async |client: TcpStream| {
            client.receive_max(100).await?;
            client.send(&numbered(0, answer)).await
        })
        .on_error(|error, peer| {
            eprintln!("{peer}: {error}");
            failed.set(failed.get() + 1);
        });
    let ask = async {
        let client = connect_tcp("127.0.0.1", port).await.expect("connects");
        let sent = client.send(&numbered(0, upload)).await;
        if sent.is_ok() {
            client.send_eof().await.expect("ended");
        }
        let read = read_slowly(&client, answer, Duration::ZERO).await;
        listener.abort();
        read
    };
    let (served, read) = join(async { serve.await }, ask).await;
    refused!(served, Error::Closed);
    assert_eq!(failed.get(), 0);
    read
}

#[test]
fn what_a_handler_sent_arrives_although_it_drops_the_stream() {
    run(async {
        for upload in [2 * MIB, 8 * MIB, 40 * MIB] {
            let (got, end) = served_early_answer(upload, 300_000).await;
            assert_eq!(got, 300_000, "{upload}: {end:?}");
            assert!(matches!(end, Error::EndOfStream), "{end:?}");
        }
    });
}

fn short() -> CloseLimits {
    CloseLimits {
        total: Duration::from_secs(20),
        silence: Duration::from_millis(100),
    }
}

/// Returns the number of bytes that an error reports as not acknowledged.
pub(crate) fn lost(closed: Result<()>) -> usize {
    let Err(Error::Broken(error)) = closed else {
        panic!("{closed:?}");
    };
    lost_bytes(&error.to_string())
}

pub(crate) fn lost_bytes(text: &str) -> usize {
    let words: Vec<_> = text.split(' ').collect();
    let at = words.iter().position(|word| *word == "bytes");
    words[at.expect("a number of bytes") - 1]
        .parse()
        .expect("a number")
}

#[test]
fn a_peer_that_never_reads_cannot_hold_it() {
    run(async {
        let (client, server) = tcp_pair().await;
        client.set_receive_buffer_size(65_536).expect("set");
        server.set_close_limits(short());
        let sent = clog(&server, 0).await;
        let begun = Instant::now();
        let lost = lost(server.close().await);
        assert!(begun.elapsed() >= Duration::from_millis(100));
        assert!(begun.elapsed() < Duration::from_secs(10), "not the total");
        // The rest is in the peer's kernel, and can still be read.
        assert!(lost > 0 && lost < sent, "{lost} of {sent}");
    });
}

#[test]
fn the_limit_in_all_holds_for_a_peer_that_goes_on() {
    run(async {
        let (client, server) = tcp_pair().await;
        client.set_receive_buffer_size(65_536).expect("set");
        server.set_close_limits(CloseLimits {
            total: Duration::from_millis(100),
            silence: Duration::from_secs(20),
        });
        let sent = clog(&server, 0).await;
        let over = Event::new();
        let close = async {
            let closed = server.close().await;
            over.set();
            closed
        };
        // Sends until a send fails, and reads nothing.
        let go_on = async {
            while !over.is_set() && client.send(b"more").await.is_ok() {
                turns(1).await;
            }
        };
        let (closed, ()) = join(close, go_on).await;
        let lost = lost(closed);
        assert!(lost > 0 && lost < sent, "{lost} of {sent}");
    });
}

#[test]
fn a_peer_that_has_everything_and_stays_is_no_error() {
    run(async {
        let (client, server) = tcp_pair().await;
        server.set_close_limits(short());
        server.send(b"last words").await.expect("sent");
        server.close().await.expect("acknowledged");
        assert_eq!(client.receive().await.expect("sent"), b"last words");
        refused!(client.receive().await, Error::EndOfStream);
        let (client, server) = unix_socket_pair().expect("two descriptors");
        server.set_close_limits(short());
        // A UNIX stream's bytes are with the peer as soon as they are sent.
        let sent = clog(&server, 0).await;
        server.close().await.expect("with the peer");
        receive_numbered(&client, 0, sent).await;
        refused!(client.receive().await, Error::EndOfStream);
    });
}

#[test]
fn a_reset_before_everything_is_acknowledged_is_told() {
    run(async {
        let (client, server) = tcp_pair().await;
        client.set_receive_buffer_size(65_536).expect("set");
        let sent = clog(&server, 0).await;
        client.set_zero_linger(true).expect("set");
        let (closed, ()) = join(server.close(), async { drop(client) }).await;
        let lost = lost(closed);
        assert!(lost > 0 && lost < sent, "{lost} of {sent}");
    });
}

#[test]
fn a_peer_that_only_ended_its_own_direction_is_waited_for() {
    run(async {
        let (client, server) = tcp_pair().await;
        client.set_receive_buffer_size(65_536).expect("set");
        client.send_eof().await.expect("ended");
        refused!(server.receive().await, Error::EndOfStream);
        let sent = clog(&server, 0).await;
        let closed = Cell::new(false);
        let close = async {
            server.close().await.expect("acknowledged");
            closed.set(true);
        };
        let read = async {
            turns(20).await;
            assert!(!closed.get(), "the peer has not received everything");
            receive_numbered(&client, 0, sent).await;
            refused!(client.receive().await, Error::EndOfStream);
        };
        join(close, read).await;
    });
}

#[test]
fn one_that_is_dropped_frees_the_descriptor_at_once() {
    alone(
        "close::one_that_is_dropped_frees_the_descriptor_at_once",
        || {
            run(async {
                let (_client, server) = tcp_pair().await;
                clog(&server, 0).await;
                let before = fds();
                assert!(polled(5, server.close()).await.is_none());
                assert_eq!(fds(), before - 1);
            });
        },
    );
}

#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
#[test]
fn a_peer_that_never_reads_cannot_hold_tls() {
    run(async {
        for full in [false, true] {
            let (client, server) = tls(tcp_pair()).await;
            client.inner().set_receive_buffer_size(65_536).expect("set");
            server.inner().set_close_limits(short());
            // Runs with and without room for its close_notify.
            match full {
                true => drop(clog(&server, 0).await),
                false => server.send(&numbered(0, MIB)).await.expect("sent"),
            }
            assert!(lost(server.close().await) > 0);
            drop(client);
        }
    });
}

/// Serves clients that never read the `MIB` sent to them; `others` runs beside.
async fn serve_the_deaf<'a>(
    listener: &'a TcpListener,
    errors: &'a RefCell<Vec<String>>,
    stop: &'a Event,
) -> Result<()> {
    let serve = listener
        .serve(async |client: TcpStream| match client.receive().await?[0] {
            b'?' => client.send(b"!").await,
            _ => client.send(&numbered(0, MIB)).await,
        })
        .on_error(|error, _| errors.borrow_mut().push(error.to_string()));
    serve.shutdown(stop.wait()).drain(Duration::ZERO).await
}

#[test]
fn a_server_goes_on_beside_a_deaf_client_and_says_what_was_lost() {
    run(async {
        let listener = tcp_listener().await;
        let port = listener.local_addr().port();
        let (errors, stop) = (RefCell::new(Vec::new()), Event::new());
        listener.set_close_limits(short());
        let talk = async {
            let deaf = connect_tcp("127.0.0.1", port).await.expect("connects");
            deaf.set_receive_buffer_size(65_536).expect("set");
            deaf.send(b"x").await.expect("sent");
            turns(5).await;
            let other = connect_tcp("127.0.0.1", port).await.expect("connects");
            other.send(b"?").await.expect("sent");
            assert_eq!(other.receive().await.expect("an answer"), b"!");
            while errors.borrow().is_empty() {
                turns(1).await;
            }
            stop.set();
        };
        let serve = serve_the_deaf(&listener, &errors, &stop);
        let (served, ()) = join(serve, talk).await;
        served.expect("as it was told");
        let error = errors.borrow_mut().pop().expect("one");
        assert!(lost_bytes(&error) > 0);
    });
}

#[test]
fn the_end_of_a_drain_ends_a_close_of_a_handler() {
    run(async {
        let listener = tcp_listener().await;
        let port = listener.local_addr().port();
        let (errors, stop) = (RefCell::new(Vec::new()), Event::new());
        let talk = async {
            let deaf = connect_tcp("127.0.0.1", port).await.expect("connects");
            deaf.set_receive_buffer_size(65_536).expect("set");
            deaf.send(b"x").await.expect("sent");
            assert!(!deaf.receive_max(1).await.expect("one").is_empty());
            stop.set();
            deaf
        };
        let begun = Instant::now();
        let serve = serve_the_deaf(&listener, &errors, &stop);
        let (served, _deaf) = join(serve, talk).await;
        served.expect("as it was told");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "no limit is waited for"
        );
        assert!(errors.borrow().is_empty(), "it was cancelled");
    });
}

#[test]
fn a_handler_may_still_reset() {
    run(async {
        let listener = tcp_listener().await;
        let port = listener.local_addr().port();
        let serve = listener.serve(async |client: TcpStream| {
            client.set_zero_linger(true)?;
            client.receive().await?;
            client.send(&numbered(0, MIB)).await
        });
        let talk = async {
            let client = connect_tcp("127.0.0.1", port).await.expect("connects");
            client.set_receive_buffer_size(65_536).expect("set");
            client.send(b"x").await.expect("sent");
            let (_, end) = read_slowly(&client, MIB, Duration::ZERO).await;
            listener.abort();
            assert!(matches!(end, Error::Broken(_)), "{end:?}");
        };
        refused!(join(async { serve.await }, talk).await.0, Error::Closed);
    });
}

#[test]
fn limits_are_passed_on_and_clamped() {
    run(async {
        let listener = tcp_listener().await;
        let documented = CloseLimits {
            total: Duration::from_secs(30),
            silence: Duration::from_secs(5),
        };
        assert_eq!(listener.close_limits(), documented);
        let (client, server) = tcp_pair().await;
        assert_eq!(client.close_limits(), documented);
        assert_eq!(server.close_limits(), documented);
        listener.set_close_limits(CloseLimits {
            total: Duration::MAX,
            silence: Duration::from_nanos(1),
        });
        let _client = connect_tcp("127.0.0.1", listener.local_addr().port()).await;
        let limits = listener.accept().await.expect("accepts").close_limits();
        assert_eq!(limits.total, Duration::from_millis(u64::from(u32::MAX)));
        assert_eq!(limits.silence, Duration::from_millis(1));
        let (client, server) = tcp_pair().await;
        server.set_close_limits(CloseLimits {
            total: Duration::ZERO,
            silence: Duration::ZERO,
        });
        server.send(b"x").await.expect("sent");
        assert_eq!(
            polled(3, server.close()).await.map(|closed| closed.is_ok()),
            Some(true)
        );
        assert_eq!(client.receive().await.expect("sent"), b"x");
    });
}

#[test]
fn a_peer_that_is_gone_after_its_end_is_not_waited_for() {
    run(async {
        let (client, server) = tcp_pair().await;
        client.send_eof().await.expect("ended");
        refused!(server.receive().await, Error::EndOfStream);
        drop(client);
        // We do not know of the peer's end yet; this send is answered with a reset.
        server.send(b"too late").await.expect("sent");
        let begun = Instant::now();
        assert_eq!(lost(server.close().await), 8);
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "no limit is waited for"
        );
    });
}
