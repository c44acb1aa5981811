//! The memory of a TLS connection while its peer floods it and reads nothing, and after that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use futures_util::future::{join, join_all};
use soloio::tls::TlsStream;
use soloio::{ByteStream, Error, Result, ThreadEvent, connect_tcp, task_group};

use crate::allocations::held;
use crate::net_support::{clog, numbered, run, tcp_listener, turns};
use crate::support::Counter;
use crate::tls_support::{NAME, client_config, server_config};

const PEERS: usize = 16;

/// The bound: rustls' own need, and a record in each direction.
const MOST: usize = 65_536 + 2 * (16_384 + 256);

#[test]
fn an_echo_that_is_flooded_holds_little_and_gives_it_back() {
    flooded(65_536);
}

#[test]
fn so_does_one_that_receives_less_than_a_record_at_a_time() {
    flooded(1_000);
}

fn flooded(max: usize) {
    run(async {
        let listener = tcp_listener().await;
        let port = listener.local_addr().port();
        let all = Arc::new(Moments::default());
        let moments = Arc::clone(&all);
        let peers = thread::spawn(move || {
            run(join_all((0..PEERS).map(|_| flood(port, &moments))));
        });
        let mut streams = Vec::new();
        for _ in 0..PEERS {
            let stream = listener.accept().await.expect("accepts");
            let stream = TlsStream::server(stream, server_config()).await;
            streams.push(stream.expect("a handshake"));
        }
        let idle = held();
        while all.clogged.load(Relaxed) < PEERS {
            turns(1).await;
        }
        let (sending, ended) = (Counter::new(), Counter::new());
        task_group(async |group| {
            for stream in &streams {
                group.spawn(echo(stream, max, &sending, &ended));
            }
            let (mut most, mut calm) = (0, 0);
            while calm < 100 {
                turns(1).await;
                calm += 1;
                if sending.get() < PEERS {
                    calm = 0;
                } else {
                    most = most.max(held().saturating_sub(idle) / PEERS);
                }
            }
            assert!(
                most <= MOST,
                "{most} bytes for a connection that is flooded"
            );
            all.late.set();
            while ended.get() < PEERS {
                turns(1).await;
            }
            // Two buffers belong to the thread, for the connection that needs one next.
            let left = (held().saturating_sub(idle)) / PEERS;
            assert!(left < 4_000, "{left} bytes for one that is idle again");
            Ok::<_, Error>(())
        })
        .await
        .expect("all went well");
        peers.join().expect("so did the peers");
    });
}

/// Echoes; `sending` counts the connections that wait for room.
async fn echo<S: ByteStream>(
    stream: &TlsStream<S>,
    max: usize,
    sending: &Counter,
    ended: &Counter,
) -> Result<()> {
    loop {
        match stream.receive_max(max).await {
            Ok(data) => {
                let _waits = sending.hold();
                stream.send(&data).await?;
            }
            Err(Error::EndOfStream) => break,
            Err(error) => return Err(error),
        }
    }
    ended.add();
    stream.send_eof().await
}

#[derive(Default)]
struct Moments {
    /// The number of peers that have filled all buffers in between.
    clogged: AtomicUsize,
    /// Set when the peers may begin to read.
    late: ThreadEvent,
}

/// A peer that sends all the time, and reads late.
async fn flood(port: u16, moments: &Moments) {
    let stream = connect_tcp("127.0.0.1", port).await.expect("connects");
    let stream = TlsStream::client(stream, NAME, client_config()).await;
    let stream = stream.expect("a handshake");
    let chunk = numbered(0, 65_536);
    let mut sent = clog(&stream, 0).await;
    moments.clogged.fetch_add(1, Relaxed);
    let late = &moments.late;
    let send = async {
        while !late.is_set() {
            stream.send(&chunk).await.expect("sent");
            sent += chunk.len();
        }
        stream.send_eof().await.expect("said");
        sent
    };
    let receive = async {
        late.wait().await.expect("set");
        let mut got = 0;
        while let Some(data) = stream.next().await.expect("an end in order") {
            got += data.len();
        }
        got
    };
    let (sent, got) = join(send, receive).await;
    assert_eq!(sent, got);
}
