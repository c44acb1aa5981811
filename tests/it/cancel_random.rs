//! Cancels at random: a great many receives, sends and accepts, with every byte counted.

use std::cell::Cell;

use futures_util::future::join;
use soloio::{ByteStream, Error, connect_tcp};

use crate::net_support::{
    check_numbered, numbered, polled, run, tcp_listener, tcp_pair, turns, unix_pair,
};
use crate::support::{Random, rounds};

/// Cancels `count` receives while a stream of known bytes flows; none may be lost or doubled.
async fn cancelled_receives<S: ByteStream>(count: usize, (a, b): (S, S)) {
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
            let got = polled(polls, a.receive_into(&mut room[..size])).await;
            match got {
                None => cancelled += 1,
                Some(Ok(bytes)) => {
                    check_numbered(at, bytes);
                    at += bytes.len();
                }
                Some(Err(Error::EndOfStream)) => return at,
                Some(Err(error)) => panic!("{error}"),
            }
            enough.set(cancelled >= count);
        }
    };
    let (sent, received) = join(send, receive).await;
    assert_eq!(sent, received);
}

#[test]
fn receives_on_tcp_lose_nothing() {
    run(async { cancelled_receives(rounds(100_000), tcp_pair().await).await });
}

#[test]
fn receives_on_unix_lose_nothing() {
    run(async { cancelled_receives(rounds(100_000), unix_pair().await).await });
}

/// Cancels sends; what they say is left did not go, and all else did.
async fn cancelled_sends<S: ByteStream>(count: usize, (a, b): (S, S)) {
    let send = async {
        let (mut random, mut at) = (Random::new(11), 0);
        for _ in 0..count {
            let chunk = numbered(at, 1 + random.below(100_000));
            let mut rest = &chunk[..];
            if let Some(sent) = polled(random.below(3), a.send_from(&mut rest)).await {
                sent.expect("sent");
            }
            at += chunk.len() - rest.len();
        }
        a.send_eof().await.expect("ended");
        at
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
    let (sent, received) = join(send, receive).await;
    assert_eq!(
        sent, received,
        "the counts of send_from are those of the peer"
    );
}

#[test]
fn sends_on_tcp_are_counted() {
    run(async { cancelled_sends(rounds(10_000), tcp_pair().await).await });
}

#[test]
fn sends_on_unix_are_counted() {
    run(async { cancelled_sends(rounds(10_000), unix_pair().await).await });
}

#[test]
fn accepts_lose_no_connection() {
    run(async {
        let listener = tcp_listener().await;
        let port = listener.local_addr().port();
        let count = rounds(3_000);
        let connect = async {
            let mut clients = Vec::new();
            for _ in 0..count {
                let client = connect_tcp("127.0.0.1", port).await.expect("connects");
                clients.push(client.local_addr());
                turns(1).await;
            }
            clients
        };
        let accept = async {
            let (mut random, mut accepted) = (Random::new(17), Vec::new());
            while accepted.len() < count {
                if let Some(server) = polled(random.below(3), listener.accept()).await {
                    accepted.push(server.expect("accepts").peer_addr());
                }
            }
            accepted
        };
        let (clients, accepted) = join(connect, accept).await;
        assert_eq!(clients, accepted, "each once, in order");
    });
}
