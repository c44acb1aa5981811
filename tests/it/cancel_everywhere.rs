//! Cancels every operation at each of its waits, and checks the state it leaves.
//!
//! The driver is in `cut.rs`. Long because every public operation has its round.

mod datagrams;
mod faces;
mod rest;
mod sync;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls;

use std::future::Future;
use std::io::IoSlice;
use std::time::Duration;

use futures_util::future::join;
use soloio::{
    ByteStream, Error, Result, connect_tcp, connect_unix, create_connected_udp_socket,
    create_memory_byte_stream, create_tcp_listener, create_udp_socket, create_unix_listener,
};
use soloio::{fail_after, interval, move_on_after, sleep, sleep_until, task_group, yield_now};

pub(crate) use crate::cut::{Cut, everywhere, everywhere_alone};
use crate::net_support::{
    TempDir, check_numbered, clog, numbered, refused, tcp_listener, tcp_pair, turns, unix_pair,
};
use crate::support::{Counter, forever};

/// The methods that receive.
#[derive(Clone, Copy)]
pub(crate) enum Receive {
    All,
    Max,
    Into,
    Next,
}

pub(crate) async fn cancelled_receive<S>(cut: Cut, how: Receive, (a, b): (S, S)) -> bool
where
    S: ByteStream,
{
    let data = numbered(0, 20);
    let partner = async {
        for half in data.chunks(10) {
            turns(2).await;
            b.send(half).await.expect("sent");
        }
        b.send_eof().await.expect("ended");
    };
    let receive = async {
        let mut room = [0; 7];
        let got = match how {
            Receive::All => cut.apply(a.receive()).await,
            Receive::Max => cut.apply(a.receive_max(3)).await,
            Receive::Next => {
                let next = cut.apply(a.next()).await;
                next.map(|next| next.map(|bytes| bytes.expect("no end yet")))
            }
            Receive::Into => {
                let got = cut.apply(a.receive_into(&mut room)).await;
                got.map(|got| got.map(|bytes| bytes.to_vec()))
            }
        };
        let done = got.is_some();
        let mut all = got.map_or_else(Vec::new, |got| got.expect("bytes"));
        while let Some(more) = a.next().await.expect("an orderly end") {
            all.extend(more);
        }
        assert_eq!(all, data, "nothing lost, nothing doubled");
        a.send(b"!")
            .await
            .expect("the other direction is not touched");
        done
    };
    let (done, ()) = join(receive, partner).await;
    assert_eq!(b.receive().await.expect("sent"), b"!");
    done
}

/// The methods that send.
#[derive(Clone, Copy)]
pub(crate) enum Send {
    Plain,
    From,
    Vectored,
}

pub(crate) async fn cancelled_send<S: ByteStream>(
    cut: Cut,
    how: Send,
    len: usize,
    (a, b): (S, S),
) -> bool {
    let taken = clog(&a, 0).await;
    cancelled_send_after(taken, cut, how, len, (a, b)).await
}

/// The same when `taken` numbered bytes were sent, and perhaps none waits.
pub(crate) async fn cancelled_send_after<S: ByteStream>(
    taken: usize,
    cut: Cut,
    how: Send,
    len: usize,
    (a, b): (S, S),
) -> bool {
    let data = numbered(taken, len);
    let send = async {
        let mut rest = &data[..];
        let mut parts: Vec<_> = data.chunks(1 + len / 10).map(IoSlice::new).collect();
        let mut parts = &mut parts[..];
        let sent = match how {
            Send::Plain => cut.apply(a.send(&data)).await,
            Send::From => cut.apply(a.send_from(&mut rest)).await,
            Send::Vectored => cut.apply(a.send_vectored(&mut parts)).await,
        };
        let left = match how {
            Send::Plain => None,
            Send::From => Some(rest.len()),
            Send::Vectored => Some(parts.iter().map(|part| part.len()).sum()),
        };
        let done = sent.is_some();
        if let Some(sent) = sent {
            sent.expect("sent");
        }
        a.send(b"!").await.expect("the stream goes on");
        a.send_eof().await.expect("ended");
        (done, left)
    };
    counted(&b, taken, len, send).await
}

/// Receives from `send`: `taken` bytes were sent before it, `len` more follow, then a mark and the
/// end. `send` returns whether it was done, and the number of unsent bytes if it knows.
pub(crate) async fn counted<S: ByteStream>(
    b: &S,
    taken: usize,
    len: usize,
    send: impl Future<Output = (bool, Option<usize>)>,
) -> bool {
    let receive = async {
        let mut all = Vec::new();
        while let Some(bytes) = b.next().await.expect("an orderly end") {
            all.extend(bytes);
            turns(1).await;
        }
        all
    };
    let ((done, left), mut all) = join(send, receive).await;
    assert_eq!(all.pop(), Some(b'!'));
    check_numbered(0, &all);
    let went = all.len() - taken;
    match left {
        Some(left) => assert_eq!(went + left, len, "what is left is what did not go"),
        None => assert!(went <= len && (!done || went == len)),
    }
    done
}

/// Covers: ByteReceiveStream::receive, ByteReceiveStream::receive_max,
/// ByteReceiveStream::receive_into, ByteReceiveStream::next.
#[test]
fn receives() {
    everywhere("receives", async |cut| {
        let mut done = true;
        for how in [Receive::All, Receive::Max, Receive::Into, Receive::Next] {
            done &= cancelled_receive(cut, how, tcp_pair().await).await;
            done &= cancelled_receive(cut, how, unix_pair().await).await;
            done &= cancelled_receive(cut, how, create_memory_byte_stream(5)).await;
        }
        done
    });
}

/// Covers: ByteSendStream::send, ByteSendStream::send_from, ByteSendStream::send_vectored.
#[test]
fn sends() {
    everywhere("sends", async |cut| {
        let mut done = true;
        for how in [Send::Plain, Send::From, Send::Vectored] {
            done &= cancelled_send(cut, how, 400_000, tcp_pair().await).await;
            done &= cancelled_send(cut, how, 400_000, unix_pair().await).await;
            done &= cancelled_send(cut, how, 23, create_memory_byte_stream(5)).await;
        }
        done
    });
}

async fn cancelled_goodbye<S: ByteStream>(cut: Cut, (a, b): (S, S)) -> bool {
    let taken = clog(&a, 0).await;
    let said = cut.apply(a.send_eof()).await.is_some();
    assert!(said || cut.polls == 0, "never suspends");
    let partner = async move {
        let mut all = 0;
        while let Some(bytes) = b.next().await.expect("an orderly end") {
            all += bytes.len();
        }
        assert_eq!(all, taken);
        turns(3).await;
    };
    let close = async {
        let closed = cut.apply(a.close()).await;
        closed.map(|closed| closed.expect("closed")).is_some()
    };
    join(close, partner).await.0
}

/// Covers: ByteStream::send_eof, ByteStream::close.
#[test]
fn goodbyes() {
    everywhere("goodbyes", async |cut| {
        cancelled_goodbye(cut, tcp_pair().await).await
            & cancelled_goodbye(cut, unix_pair().await).await
            & cancelled_goodbye(cut, create_memory_byte_stream(5)).await
    });
}

async fn cancelled_reset<S: ByteStream>(cut: Cut, (a, b): (S, S)) -> bool {
    let taken = clog(&a, 0).await;
    let partner = async {
        let mut all = 0;
        while let Ok(bytes) = b.receive().await {
            check_numbered(all, &bytes);
            all += bytes.len();
        }
        all
    };
    let reset = async {
        let reset = cut.apply(a.reset()).await;
        if cut.polls == 0 {
            a.abort();
        }
        refused!(a.receive().await, Error::Closed);
        reset
            .map(|reset| reset.expect("all of it arrived"))
            .is_some()
    };
    let (done, all) = join(reset, partner).await;
    // A cut loses the bytes that were on their way.
    assert!(all == taken || !done);
    done
}

/// Covers: ByteStream::reset.
#[test]
fn resets() {
    everywhere("resets", async |cut| {
        cancelled_reset(cut, tcp_pair().await).await
            & cancelled_reset(cut, unix_pair().await).await
            & cancelled_reset(cut, create_memory_byte_stream(5)).await
    });
}

/// Covers: TcpListener::accept.
#[test]
fn tcp_accept() {
    everywhere("tcp_accept", async |cut| {
        let listener = tcp_listener().await;
        let port = listener.local_addr().port();
        let connect = async {
            turns(2).await;
            connect_tcp("127.0.0.1", port).await.expect("connects")
        };
        let (accepted, client) = join(cut.apply(listener.accept()), connect).await;
        let done = accepted.is_some();
        let server = match accepted {
            Some(server) => server.expect("accepts"),
            None => listener
                .accept()
                .await
                .expect("the connection is still there"),
        };
        assert_eq!(server.peer_addr(), client.local_addr());
        done
    });
}

/// Covers: UnixListener::accept.
#[test]
fn unix_accept() {
    everywhere("unix_accept", async |cut| {
        let dir = TempDir::new();
        let path = dir.path("socket");
        let listener = create_unix_listener(&path).await.expect("listens");
        let connect = async {
            turns(2).await;
            let client = connect_unix(&path).await.expect("connects");
            client.send(b"me").await.expect("sent");
            client
        };
        let (accepted, _client) = join(cut.apply(listener.accept()), connect).await;
        let done = accepted.is_some();
        let server = match accepted {
            Some(server) => server.expect("accepts"),
            None => listener
                .accept()
                .await
                .expect("the connection is still there"),
        };
        assert_eq!(server.receive().await.expect("sent"), b"me");
        done
    });
}

async fn cancelled_connect(cut: Cut, host: &str) -> bool {
    // C17: a cancelled connect leaks a connected socket (anyio#1364).
    let listener = tcp_listener().await;
    let port = listener.local_addr().port();
    let connected = cut.apply(connect_tcp(host, port)).await;
    let done = connected.is_some();
    let client = match connected {
        Some(client) => client,
        None => connect_tcp(host, port).await,
    };
    let client = client.expect("connects");
    loop {
        let server = listener.accept().await.expect("accepts");
        if server.peer_addr() == client.local_addr() {
            client.send(b"x").await.expect("sent");
            assert_eq!(server.receive().await.expect("sent"), b"x");
            return done;
        }
        let ended = server
            .next()
            .await
            .expect("a cut connect is closed in order");
        assert!(ended.is_none());
    }
}

/// Covers: connect_tcp.
#[test]
fn connects_to_an_address() {
    everywhere("connects_to_an_address", async |cut| {
        cancelled_connect(cut, "127.0.0.1").await
    });
}

/// Covers: connect_tcp.
#[test]
fn connects_to_a_name() {
    everywhere("connects_to_a_name", async |cut| {
        cancelled_connect(cut, "localhost").await
    });
}

/// Covers: connect_unix.
#[test]
fn connects_to_a_full_backlog() {
    everywhere("connects_to_a_full_backlog", async |cut| {
        let dir = TempDir::new();
        let path = dir.path("socket");
        let listener = create_unix_listener(&path)
            .backlog(0)
            .await
            .expect("listens");
        let filler = connect_unix(&path).await.expect("room for one");
        let accept = async {
            turns(3).await;
            sleep(Duration::from_millis(2))
                .await
                .expect("inside a runtime");
            listener.accept().await.expect("the filler")
        };
        let (connected, _server) = join(cut.apply(connect_unix(&path)), accept).await;
        drop(filler);
        let done = connected.is_some();
        let client = match connected {
            Some(client) => client,
            None => connect_unix(&path).await,
        };
        client.expect("connects").send(b"me").await.expect("sent");
        let server = listener
            .accept()
            .await
            .expect("the client, and nobody before it");
        assert_eq!(server.receive().await.expect("sent"), b"me");
        done
    });
}

/// Covers: create_tcp_listener, create_udp_socket, create_connected_udp_socket,
/// create_unix_listener, connect_unix.
#[test]
fn makers() {
    everywhere("makers", async |cut| {
        let dir = TempDir::new();
        let tcp = cut
            .apply(create_tcp_listener().local_host("localhost"))
            .await;
        let bound = cut.apply(create_udp_socket().local_host("localhost")).await;
        let connected = cut.apply(create_connected_udp_socket("localhost", 9)).await;
        let unix = cut.apply(create_unix_listener(dir.path("socket"))).await;
        let client = cut.apply(connect_unix(dir.path("socket"))).await;
        assert!(
            cut.polls == 0 || client.is_some(),
            "never suspends with room in the backlog"
        );
        let made = [
            tcp.is_some_and(|made| made.is_ok()),
            bound.is_some_and(|made| made.is_ok()),
            connected.is_some_and(|made| made.is_ok()),
            unix.is_some_and(|made| made.is_ok()),
        ];
        made.into_iter().all(|made| made)
    });
}

/// Covers: sleep, sleep_until, Sleep, yield_now, Interval::tick, fail_after, move_on_after.
#[test]
fn waits_for_time() {
    everywhere("waits_for_time", async |cut| {
        let short = Duration::from_micros(50);
        let slept = cut.apply(sleep(short)).await;
        let until = cut
            .apply(sleep_until(std::time::Instant::now() + short))
            .await;
        let mut moved_sleep = sleep(Duration::MAX);
        moved_sleep.reset(std::time::Instant::now() + short);
        let reset = cut.apply(&mut moved_sleep).await;
        moved_sleep.await.expect("the sleep goes on");
        let yielded = cut.apply(yield_now()).await;
        let mut interval = interval(short);
        let ticked = cut.apply(interval.tick()).await;
        interval.tick().await.expect("the interval goes on");
        let limited = cut.apply(fail_after(short, sleep(Duration::MAX))).await;
        let moved = cut.apply(move_on_after(short, sleep(Duration::MAX))).await;
        for timed_out in limited.iter() {
            assert!(matches!(timed_out, Err(Error::TimedOut(_))));
        }
        let plain = [slept, until, reset, yielded, ticked];
        assert!(plain.iter().flatten().all(Result::is_ok));
        plain.iter().all(Option::is_some) && limited.is_some() && moved.is_some()
    });
}

/// Covers: task_group, TaskHandle.
#[test]
fn groups_and_handles() {
    everywhere("groups_and_handles", async |cut| {
        let alive = Counter::new();
        let (a, b) = create_memory_byte_stream(1);
        let group = task_group(async |group| {
            for _ in 0..3 {
                group.spawn(async {
                    let _held = alive.hold();
                    for _ in 0..3 {
                        sleep(Duration::ZERO).await?;
                    }
                    Ok(())
                });
            }
            let child = group.spawn(async {
                let _held = alive.hold();
                sleep(Duration::ZERO).await?;
                sleep(Duration::ZERO).await?;
                a.receive().await
            });
            b.send(b"x").await?;
            child.await
        });
        let ended = cut.apply(group).await;
        assert_eq!(alive.get(), 0, "with the group its children have ended");
        let joined = task_group(async |group| {
            let mut child = group.spawn(async {
                turns(3).await;
                Ok(7)
            });
            let early = cut.apply(&mut child).await;
            let done = early.is_some();
            let value = match early {
                Some(value) => value?,
                None => child.await?,
            };
            assert_eq!(value, 7, "a cut join loses no result");
            Ok(done)
        });
        joined.await.expect("no error") & ended.is_some()
    });
}

/// Covers: TcpListener::serve.
#[test]
fn serve() {
    everywhere("serve", async |cut| {
        let listener = tcp_listener().await;
        let port = listener.local_addr().port();
        let handlers = Counter::new();
        let serve = listener.serve(async |client| {
            let _held = handlers.hold();
            client.send(b"hi").await?;
            forever().await;
            Ok(())
        });
        let partner = async {
            let mut clients = Vec::new();
            for _ in 0..3 {
                turns(2).await;
                clients.push(connect_tcp("127.0.0.1", port).await.expect("connects"));
            }
            turns(10).await;
            listener.abort();
            clients
        };
        let (served, clients) = join(cut.apply(serve), partner).await;
        assert_eq!(handlers.get(), 0, "its connections end with the server");
        for client in clients {
            while client.receive().await.is_ok() {}
        }
        if let Some(served) = &served {
            assert!(matches!(served, Err(Error::Closed)), "{served:?}");
        }
        served.is_some()
    });
}
