//! A relay that is dropped or cancelled: a peer that has not got all that was there for it sees a
//! reset, never an end.

use std::future::IntoFuture;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, join, select};
use soloio::{
    AnyByteStream, Buffered, ByteStream, CancelScope, Error, Result, create_memory_byte_stream,
    relay, unix_socket_pair,
};

use crate::net_support::{clog, is_broken, polled, refused, run, tcp_pair, turns};
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
use crate::tls_support::{loose_tls, tls};

/// The way in which a relay ends before its time.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// The future of an awaited one is dropped.
    Dropped,
    /// A scope cancels an awaited one.
    Cancelled,
    /// A limit ends a run, and the relay is dropped.
    Limited,
    /// It was never polled.
    Unpolled,
}

const CUTS: [Cut; 4] = [Cut::Dropped, Cut::Cancelled, Cut::Limited, Cut::Unpolled];

/// Lets `talk` happen while the relay runs, which waits afterwards, and is dropped.
async fn during<T>(relayed: impl Future<Output = Result<T>>, talk: impl Future) {
    let (relayed, talk) = (pin!(relayed), pin!(talk));
    if let Either::Left((ended, _)) = select(relayed, talk).await {
        panic!("it ended: {:?}", ended.err());
    }
}

/// Relays between two streams, lets `talk` happen, and ends the relay.
async fn cut<A: ByteStream, B: ByteStream>(
    (a, b): (A, B),
    (cut, splice): (Cut, bool),
    talk: impl Future,
) {
    let mut relay = relay(a, b).splice(splice);
    match cut {
        Cut::Dropped => during(relay.into_future(), talk).await,
        Cut::Cancelled => {
            let scope = CancelScope::new();
            let talk = async {
                talk.await;
                scope.cancel("by the test");
            };
            let (ended, ()) = join(scope.run(relay.into_future()), talk).await;
            refused!(ended.expect("it was told"), Error::Cancelled);
        }
        Cut::Limited => {
            during(relay.run(), talk).await;
            let mut relay = relay.idle_limit(Duration::from_millis(20));
            refused!(relay.run().await, Error::TimedOut(_));
        }
        Cut::Unpolled => drop(relay),
    }
}

/// What a peer receives, up to the end.
async fn heard<S: ByteStream>(stream: &S) -> (Vec<u8>, Error) {
    let mut got = Vec::new();
    loop {
        match stream.receive().await {
            Ok(data) => got.extend(data),
            Err(end) => return (got, end),
        }
    }
}

/// Both peers are in the middle of a talk.
async fn in_the_middle<A: ByteStream, B: ByteStream>(
    (client, a): (A, A),
    (b, server): (B, B),
    form: (Cut, bool),
) {
    let talk = async {
        client.send(b"to the server").await.expect("sent");
        assert_eq!(server.receive().await.expect("sent"), b"to the server");
        server.send(b"to the client").await.expect("sent");
        assert_eq!(client.receive().await.expect("sent"), b"to the client");
    };
    cut((a, b), form, talk).await;
    for (got, end) in [heard(&client).await, heard(&server).await] {
        assert_eq!(got, b"", "{form:?}");
        assert!(matches!(end, Error::Broken(_)), "{form:?}: {end:?}");
    }
}

#[test]
fn both_peers_see_a_reset() {
    run(async {
        for cut in CUTS {
            for splice in [true, false] {
                in_the_middle(tcp_pair().await, tcp_pair().await, (cut, splice)).await;
            }
            let form = (cut, true);
            let memory = || create_memory_byte_stream(64);
            in_the_middle(memory(), tcp_pair().await, form).await;
            in_the_middle(memory(), memory(), form).await;
            let (b, server) = tcp_pair().await;
            let b = Buffered::new(AnyByteStream::new(b));
            let server = Buffered::new(AnyByteStream::new(server));
            in_the_middle(tcp_pair().await, (b, server), form).await;
        }
    });
}

/// Also where TLS needs no `close_notify`, so that an end below is an end.
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
#[test]
fn both_peers_see_a_reset_over_tls() {
    run(async {
        for cut in CUTS {
            let form = (cut, true);
            in_the_middle(tls(tcp_pair()).await, tcp_pair().await, form).await;
            in_the_middle(tcp_pair().await, tls(tcp_pair()).await, form).await;
            in_the_middle(
                loose_tls(tcp_pair()).await,
                loose_tls(tcp_pair()).await,
                form,
            )
            .await;
        }
    });
}

/// One peer has finished, and the other has got all of that.
#[test]
fn an_end_that_was_passed_on_stays_one() {
    run(async {
        for cut_by in [Cut::Dropped, Cut::Cancelled, Cut::Limited] {
            for splice in [true, false] {
                let ((client, a), (b, server)) = (tcp_pair().await, tcp_pair().await);
                let talk = async {
                    client.send(b"all").await.expect("sent");
                    client.send_eof().await.expect("ended");
                    assert_eq!(server.receive().await.expect("sent"), b"all");
                    refused!(server.receive().await, Error::EndOfStream);
                    server.send(b"half of").await.expect("sent");
                    assert_eq!(client.receive().await.expect("sent"), b"half of");
                };
                cut((a, b), (cut_by, splice), talk).await;
                refused!(server.receive().await, Error::EndOfStream);
                let (_, end) = heard(&client).await;
                assert!(matches!(end, Error::Broken(_)), "{cut_by:?}: {end:?}");
            }
        }
    });
}

/// The server breaks off, which a send to it finds out, while the client has no room for what the
/// server has sent before. So the break is not passed on yet when the relay is dropped.
async fn beside_a_break<A: ByteStream, B: ByteStream>(
    (client, a): (A, A),
    (b, server): (B, B),
    by_value: bool,
    splice: bool,
) {
    clog(&a, 0).await;
    let talk = async {
        server.send(b"the rest").await.expect("sent");
        turns(5).await;
        server.reset().await.expect("reset");
        drop(server);
        client.send(b"x").await.expect("sent");
        turns(5).await;
        // What a reset leaves of a direction may be taken for room.
        client.send(b"y").await.expect("sent");
        turns(5).await;
    };
    match by_value {
        true => cut((a, b), (Cut::Dropped, splice), talk).await,
        false => {
            cut((&a, &b), (Cut::Dropped, splice), talk).await;
            refused!(a.send(b"z").await, Error::Closed);
            drop((a, b));
        }
    }
    let (_, end) = heard(&client).await;
    assert!(
        matches!(end, Error::Broken(_)),
        "{by_value} {splice}: {end:?}"
    );
}

#[test]
fn a_break_that_was_not_passed_on_is_a_reset() {
    run(async {
        for by_value in [true, false] {
            for splice in [true, false] {
                beside_a_break(tcp_pair().await, tcp_pair().await, by_value, splice).await;
            }
            let memory = || create_memory_byte_stream(64);
            beside_a_break(memory(), memory(), by_value, true).await;
            beside_a_break(tcp_pair().await, memory(), by_value, true).await;
            #[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
            {
                beside_a_break(tls(tcp_pair()).await, tcp_pair().await, by_value, true).await;
                beside_a_break(tcp_pair().await, tls(tcp_pair()).await, by_value, true).await;
            }
        }
    });
}

/// A stream that is only borrowed has no end by the drop of the relay, and may go on, unless bytes
/// for it are lost.
#[test]
fn a_borrowed_stream_is_reset_only_for_lost_bytes() {
    run(async {
        for lost in [false, true] {
            let (client, a) = create_memory_byte_stream(4);
            let (b, server) = create_memory_byte_stream(64);
            let mut relay = relay(&a, &b);
            let talk = async {
                let message = if lost { &b"01234567"[..] } else { b"0123" };
                server.send(message).await.expect("sent");
                client.send(b"x").await.expect("sent");
                assert_eq!(server.receive().await.expect("sent"), b"x");
                turns(3).await;
            };
            during(relay.run(), talk).await;
            drop(relay);
            b.send(b"more").await.expect("it is open");
            assert_eq!(server.receive().await.expect("sent"), b"more");
            assert_eq!(client.receive().await.expect("sent"), b"0123");
            match lost {
                true => {
                    let end = polled(20, client.receive()).await;
                    assert!(is_broken(&end.expect("an end")));
                }
                false => {
                    a.send(b"more").await.expect("it is open");
                    assert_eq!(client.receive().await.expect("sent"), b"more");
                }
            }
        }
    });
}

/// They have no reset: the peer of a UNIX stream sees an end.
#[test]
fn unix_streams_end() {
    run(async {
        for cut_by in CUTS {
            let unix = || unix_socket_pair().expect("two descriptors");
            let ((client, a), (b, server)) = (unix(), unix());
            cut((a, b), (cut_by, true), async { turns(3).await }).await;
            for (_, end) in [heard(&client).await, heard(&server).await] {
                assert!(matches!(end, Error::EndOfStream), "{cut_by:?}: {end:?}");
            }
        }
    });
}

/// Another task uses the streams, which a refused relay leaves alone.
#[test]
fn a_relay_that_was_busy_resets_nothing() {
    run(async {
        let ((client, a), (b, server)) = (tcp_pair().await, tcp_pair().await);
        let mut first = relay(&a, &b);
        let second = async {
            turns(2).await;
            refused!(relay(&a, &b).await, Error::Busy);
            client.send(b"x").await.expect("sent");
            assert_eq!(server.receive().await.expect("sent"), b"x");
            client.send_eof().await.expect("ended");
            server.send_eof().await.expect("ended");
        };
        join(first.run(), second).await.0.expect("both have ended");
        refused!(client.receive().await, Error::EndOfStream);
    });
}
