//! Cancels receives, sends and accepts at random, very often, and counts every byte.
//!
//! The long form, with 1,000,000 receives and 100,000 sends and accepts of each kind:
//! `SOLOIO_TEST_ROUNDS=1000000 cargo test --release --test it cancel_random -- --nocapture`

use std::cell::Cell;
use std::future::{IntoFuture, poll_fn};
use std::task::Poll;

use futures_util::future::join;
use soloio::{ByteStream, CancelScope, Error, Result, connect_tcp, create_tcp_listener};

use crate::net_support::{check_numbered, numbered, polled, run, tcp_pair, turns, unix_pair};
use crate::support::{Random, asked_rounds, rounds};

/// The two ways to cut an operation short.
#[derive(Clone, Copy, Debug)]
enum By {
    Drop,
    Scope,
}

/// Returns the number of rounds: what the environment asks for divided by `part`, or else `short`.
fn count(short: usize, part: usize) -> usize {
    asked_rounds().map_or_else(|| rounds(short), |all| all / part)
}

/// Polls at most `polls` times; returns `None` if that was not enough.
async fn cut<F, T>(by: By, polls: usize, operation: F) -> Option<Result<T>>
where
    F: IntoFuture<Output = Result<T>>,
{
    let By::Scope = by else {
        return polled(polls, operation).await;
    };
    let scope = CancelScope::new();
    let mut run = std::pin::pin!(scope.run(operation));
    for _ in 0..polls {
        let poll = poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = poll {
            return output;
        }
        turns(1).await;
    }
    scope.cancel("the cut");
    match run.await {
        None => panic!("an operation of ours was dropped instead of being told"),
        Some(Err(Error::Cancelled)) => None,
        done => done,
    }
}

/// Cancels `count` receives while a stream of known bytes flows; none may be lost or doubled.
async fn cancelled_receives<S: ByteStream>(by: By, count: usize, (a, b): (S, S)) {
    let enough = Cell::new(false);
    let send = async {
        let (mut random, mut at) = (Random::new(7), 0);
        while !enough.get() {
            let chunk = numbered(at, 1 + random.below(3000));
            b.send(&chunk).await.expect("sent");
            at += chunk.len();
            if random.below(3) == 0 {
                turns(1).await;
            }
        }
        b.send_eof().await.expect("ended");
        at
    };
    let receive = async {
        let (mut random, mut at, mut cancelled) = (Random::new(9), 0, 0);
        let mut room = [0; 900];
        loop {
            let (polls, size) = (random.below(3), 1 + random.below(900));
            let got = cut(by, polls, a.receive_into(&mut room[..size])).await;
            match got {
                None => cancelled += 1,
                Some(Ok(bytes)) => {
                    check_numbered(at, bytes);
                    at += bytes.len();
                }
                Some(Err(Error::EndOfStream)) => return (at, cancelled),
                Some(Err(error)) => panic!("{error}"),
            }
            enough.set(cancelled >= count);
        }
    };
    let (sent, (received, cancelled)) = join(send, receive).await;
    println!("by {by:?}: {cancelled} receives cancelled, {received} bytes of {sent} received");
    assert_eq!(sent, received);
}

#[test]
fn receives_on_tcp_lose_nothing() {
    for by in [By::Drop, By::Scope] {
        run(async { cancelled_receives(by, count(100_000, 1), tcp_pair().await).await });
    }
}

#[test]
fn receives_on_unix_lose_nothing() {
    for by in [By::Drop, By::Scope] {
        run(async { cancelled_receives(by, count(100_000, 1), unix_pair().await).await });
    }
}

/// Cancels `count` sends midway: the reported rest was not sent, and all else was.
async fn cancelled_sends<S: ByteStream>(by: By, count: usize, (a, b): (S, S)) {
    let send = async {
        let (mut random, mut at, mut midway) = (Random::new(11), 0, 0);
        while midway < count {
            let chunk = numbered(at, 1 + random.below(100_000));
            let mut rest = &chunk[..];
            match cut(by, random.below(3), a.send_from(&mut rest)).await {
                Some(sent) => sent.expect("sent"),
                None => midway += usize::from(!rest.is_empty() && rest.len() < chunk.len()),
            }
            at += chunk.len() - rest.len();
        }
        a.send_eof().await.expect("ended");
        (at, midway)
    };
    let receive = async {
        let (mut random, mut at) = (Random::new(13), 0);
        while let Some(bytes) = b.next().await.expect("an orderly end") {
            check_numbered(at, &bytes);
            at += bytes.len();
            turns(random.below(4)).await;
        }
        at
    };
    let ((sent, midway), received) = join(send, receive).await;
    println!("by {by:?}: {midway} sends cancelled midway, {received} bytes of {sent} received");
    assert_eq!(
        sent, received,
        "the counts of send_from are those of the peer"
    );
}

/// The size of the kernel's buffers between the two. They grow to megabytes on their own, and all
/// of that has to pass for each send that is cut midway; with less than this TCP stalls.
const ON_THE_WAY: usize = 32 << 10;

#[test]
fn sends_on_tcp_are_counted() {
    for by in [By::Drop, By::Scope] {
        run(async {
            let (a, b) = tcp_pair().await;
            a.set_send_buffer_size(ON_THE_WAY).expect("set");
            b.set_receive_buffer_size(ON_THE_WAY).expect("set");
            cancelled_sends(by, count(5_000, 10), (a, b)).await;
        });
    }
}

#[test]
fn sends_on_unix_are_counted() {
    for by in [By::Drop, By::Scope] {
        run(async {
            let (a, b) = unix_pair().await;
            a.set_send_buffer_size(ON_THE_WAY).expect("set");
            cancelled_sends(by, count(5_000, 10), (a, b)).await;
        });
    }
}

/// Cancels `count` accepts; each client is answered in the end.
async fn cancelled_accepts(by: By, count: usize) {
    let listener = create_tcp_listener().local_host("0.0.0.0").await;
    let listener = listener.expect("a listener");
    let port = listener.local_addr().port();
    let (enough, ended) = (Cell::new(false), Cell::new(false));
    let connect = async {
        let mut clients = Vec::new();
        while !enough.get() {
            // Several hosts, because a port is free for the same peer only after a minute.
            let host = format!("127.0.0.{}", 1 + clients.len() % 16);
            let client = connect_tcp(host, port).await.expect("connects");
            assert_eq!(client.receive().await.expect("served"), b"you");
            clients.push(client.local_addr());
            turns(3).await;
        }
        ended.set(true);
        clients
    };
    let accept = async {
        let (mut random, mut accepted, mut cancelled) = (Random::new(17), Vec::new(), 0);
        while !ended.get() {
            let Some(server) = cut(by, random.below(3), listener.accept()).await else {
                cancelled += 1;
                enough.set(cancelled >= count);
                turns(random.below(2)).await;
                continue;
            };
            let server = server.expect("accepts");
            accepted.push(server.peer_addr());
            server.send(b"you").await.expect("sent");
        }
        (accepted, cancelled)
    };
    let (clients, (accepted, cancelled)) = join(connect, accept).await;
    println!(
        "by {by:?}: {cancelled} accepts cancelled, {} clients served",
        clients.len()
    );
    assert_eq!(clients, accepted, "each once, in order");
}

#[test]
fn accepts_lose_no_connection() {
    for by in [By::Drop, By::Scope] {
        run(cancelled_accepts(by, count(3_000, 10)));
    }
}
