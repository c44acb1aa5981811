//! `relay`: the bytes of both directions arrive, ends are passed on, a cancel loses nothing, and
//! nothing is held while it waits. C13 of the list of failures seen elsewhere. Long because each
//! law is shown over every pair of kinds.

use std::cell::Cell;
use std::future::IntoFuture;
use std::time::Duration;

use futures_util::future::{join, join3};
use socket2::SockRef;
use soloio::{
    ByteStream, CancelScope, Error, Relay, RelaySide, Result, create_memory_byte_stream,
    fail_after, relay, sleep, task_group, unix_socket_pair,
};

use crate::cancel_everywhere::everywhere;
use crate::kernel;
use crate::net_support::{
    check_numbered, clog, numbered, receive_numbered, refused, run, tcp_pair, turns,
};
use crate::support::{Random, alone, fds, rounds};

/// Runs a test body over every pair of kinds: client, the relay's two streams, server.
macro_rules! over_all_kinds {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            run(async {
                let memory = || create_memory_byte_stream(5_000);
                let unix = || unix_socket_pair().expect("two descriptors");
                for splice in [true, false] {
                    of_two(tcp_pair().await, tcp_pair().await, splice, kinds::$name).await;
                    of_two(unix(), tcp_pair().await, splice, kinds::$name).await;
                    of_two(unix(), unix(), splice, kinds::$name).await;
                }
                of_two(memory(), tcp_pair().await, true, kinds::$name).await;
                of_two(unix(), memory(), true, kinds::$name).await;
                of_two(memory(), memory(), true, kinds::$name).await;
            });
        }
    )*};
}

over_all_kinds! {
    all_bytes_of_both_ways_arrive
    small_messages_are_not_held_back
    an_end_is_passed_on_and_the_other_way_goes_on
    a_way_that_is_silent_when_half_open_ends_the_relay
    an_idle_limit_ends_the_relay_and_keeps_the_streams
    a_peer_that_stops_listening_is_still_heard
    a_slow_receiver_holds_back_the_sender
    a_client_that_is_gone_ends_it
}

async fn of_two<A: ByteStream, B: ByteStream>(
    (client, a): (A, A),
    (b, server): (B, B),
    splice: bool,
    body: impl AsyncFn(A, Relay<'_, A, B>, B),
) {
    body(client, relay(a, b).splice(splice), server).await;
}

async fn send_all<S: ByteStream>(stream: &S, length: usize) {
    stream.send(&numbered(0, length)).await.expect("sent");
    stream.send_eof().await.expect("ended");
}

/// Receives to the end, in pieces of any size, and checks each byte.
async fn receive_all<S: ByteStream>(stream: &S) -> usize {
    let (mut random, mut at) = (Random::new(7), 0);
    loop {
        let max = 1 + random.below(100_000);
        match stream.receive_max(max).await {
            Ok(data) => {
                check_numbered(at, &data);
                at += data.len();
            }
            Err(Error::EndOfStream) => return at,
            Err(error) => panic!("{error}"),
        }
        if random.below(50) == 0 {
            turns(1).await;
        }
    }
}

mod kinds {
    use super::*;

    pub(super) async fn all_bytes_of_both_ways_arrive<A: ByteStream, B: ByteStream>(
        client: A,
        mut relay: Relay<'_, A, B>,
        server: B,
    ) {
        let (there, back) = (rounds(20_000_000), rounds(7_000_000));
        let client = join(send_all(&client, there), receive_all(&client));
        let server = join(send_all(&server, back), receive_all(&server));
        let (relayed, ((), by_client), ((), by_server)) = join3(relay.run(), client, server).await;
        let relayed = relayed.expect("both have ended");
        assert_eq!((by_server, by_client), (there, back));
        assert_eq!(
            (relayed.a_to_b, relayed.b_to_a),
            (there as u64, back as u64)
        );
        assert!(relayed.ended_first.is_some());
        assert_eq!(relay.relayed(), relayed);
        assert_eq!(relay.run().await.expect("it has ended"), relayed);
    }

    pub(super) async fn small_messages_are_not_held_back<A: ByteStream, B: ByteStream>(
        client: A,
        relay: Relay<'_, A, B>,
        server: B,
    ) {
        let talk = async {
            let mut at = 0;
            for n in 1..200 {
                let message = numbered(at, n * 37 % 3000 + 1);
                client.send(&message).await.expect("sent");
                receive_numbered(&server, at, message.len()).await;
                server.send(&message).await.expect("sent");
                receive_numbered(&client, at, message.len()).await;
                at += message.len();
            }
            client.send_eof().await.expect("ended");
            server.send_eof().await.expect("ended");
        };
        let (relayed, ()) = join(relay.into_future(), talk).await;
        let relayed = relayed.expect("both have ended");
        assert_eq!(relayed.a_to_b, relayed.b_to_a);
    }

    pub(super) async fn an_end_is_passed_on_and_the_other_way_goes_on<
        A: ByteStream,
        B: ByteStream,
    >(
        client: A,
        relay: Relay<'_, A, B>,
        server: B,
    ) {
        let talk = async {
            server.send(b"hello").await.expect("sent");
            server.send_eof().await.expect("ended");
            assert_eq!(client.receive_max(5).await.expect("data"), b"hello");
            refused!(client.receive().await, Error::EndOfStream);
            turns(5).await;
            client.send(b"goodbye").await.expect("sent");
            receive_exactly(&server, b"goodbye").await;
            turns(5).await;
            client.send_eof().await.expect("ended");
            refused!(server.receive().await, Error::EndOfStream);
        };
        let (relayed, ()) = join(relay.into_future(), talk).await;
        let relayed = relayed.expect("both have ended");
        assert_eq!((relayed.a_to_b, relayed.b_to_a), (7, 5));
        assert_eq!(relayed.ended_first, Some(RelaySide::B));
    }

    pub(super) async fn an_idle_limit_ends_the_relay_and_keeps_the_streams<
        A: ByteStream,
        B: ByteStream,
    >(
        client: A,
        relay: Relay<'_, A, B>,
        server: B,
    ) {
        let mut relay = relay.idle_limit(Duration::from_millis(20));
        client.send(b"hello").await.expect("sent");
        let hear = receive_exactly(&server, b"hello");
        let (ended, ()) = join(relay.run(), hear).await;
        refused!(ended, Error::TimedOut(_));
        assert_eq!(relay.relayed().a_to_b, 5);
        assert_eq!(relay.relayed().ended_first, None);
        // Another run continues.
        server.send(b"late").await.expect("sent");
        let hear = receive_exactly(&client, b"late");
        let (ended, ()) = join(relay.run(), hear).await;
        refused!(ended, Error::TimedOut(_));
        // It is the limit of a half-open relay as well.
        server.send_eof().await.expect("ended");
        refused!(relay.run().await, Error::TimedOut(_));
        refused!(client.receive().await, Error::EndOfStream);
    }

    pub(super) async fn a_way_that_is_silent_when_half_open_ends_the_relay<
        A: ByteStream,
        B: ByteStream,
    >(
        client: A,
        relay: Relay<'_, A, B>,
        server: B,
    ) {
        let mut relay = relay.half_open_limit(Duration::from_millis(20));
        client.send(b"hello").await.expect("sent");
        client.send_eof().await.expect("ended");
        let hear = async {
            receive_exactly(&server, b"hello").await;
            refused!(server.receive().await, Error::EndOfStream);
        };
        let (ended, ()) = join(relay.run(), hear).await;
        refused!(ended, Error::TimedOut(_));
        assert_eq!(relay.relayed().a_to_b, 5);
        assert_eq!(relay.relayed().ended_first, Some(RelaySide::A));
        // The limit did not end the connections: both are still good.
        server.send(b"late").await.expect("sent");
        server.send_eof().await.expect("ended");
        let (ended, ()) = join(relay.run(), receive_exactly(&client, b"late")).await;
        assert_eq!(ended.expect("both have ended").b_to_a, 4);
    }

    pub(super) async fn a_peer_that_stops_listening_is_still_heard<A: ByteStream, B: ByteStream>(
        client: A,
        mut relay: Relay<'_, A, B>,
        server: B,
    ) {
        // The server has answered and closed; the client continues to send.
        server.send(b"answer").await.expect("sent");
        let talk = async {
            server.send_eof().await.expect("ended");
            drop(server);
            receive_exactly(&client, b"answer").await;
            refused!(client.receive().await, Error::EndOfStream);
            while client.send(&[0; 1000]).await.is_ok() {
                turns(1).await;
            }
        };
        let relayed = async {
            let ended = relay.run().await;
            let relayed = relay.relayed();
            drop(relay);
            (ended, relayed)
        };
        let ((ended, relayed), ()) = join(relayed, talk).await;
        refused!(ended, Error::Broken(_));
        assert_eq!(relayed.b_to_a, 6);
        assert_eq!(relayed.ended_first, Some(RelaySide::B));
    }

    pub(super) async fn a_slow_receiver_holds_back_the_sender<A: ByteStream, B: ByteStream>(
        client: A,
        mut relay: Relay<'_, A, B>,
        server: B,
    ) {
        let flood = async {
            let taken = clog(&client, 0).await;
            // The kernel's buffers on both sides, and at most a pipe between.
            assert!(taken < 20_000_000, "{taken}");
            client.send_eof().await.expect("ended");
            assert_eq!(receive_all(&server).await, taken);
            server.send_eof().await.expect("ended");
            taken
        };
        let (relayed, taken) = join(relay.run(), flood).await;
        assert_eq!(relayed.expect("both have ended").a_to_b, taken as u64);
    }

    pub(super) async fn a_client_that_is_gone_ends_it<A: ByteStream, B: ByteStream>(
        client: A,
        relay: Relay<'_, A, B>,
        server: B,
    ) {
        let talk = async {
            client.send(b"x").await.expect("sent");
            receive_exactly(&server, b"x").await;
            client.abort();
            // The relay may end in several ways; in each of them the server's stream ends as well.
            while server.receive().await.is_ok() {}
            drop(server);
        };
        let limit = relay.half_open_limit(Duration::from_millis(20));
        let ended = async {
            let ended = limit.await;
            assert!(ended.is_err() || ended.is_ok_and(|relayed| relayed.a_to_b == 1));
        };
        join(ended, talk).await;
    }
}

async fn receive_exactly<S: ByteStream>(stream: &S, expected: &[u8]) {
    let mut got = Vec::new();
    while got.len() < expected.len() {
        let more = stream.receive_max(expected.len() - got.len()).await;
        got.extend(more.expect("more bytes"));
    }
    assert_eq!(got, expected);
}

#[test]
fn a_second_user_of_a_stream_is_busy() {
    run(async {
        let ((client, a), (b, server)) = (tcp_pair().await, tcp_pair().await);
        let mut first = relay(&a, &b);
        let use_it = async {
            turns(2).await;
            refused!(a.receive().await, Error::Busy);
            refused!(relay(&a, &b).await, Error::Busy);
            client.send(b"x").await.expect("sent");
            receive_exactly(&server, b"x").await;
        };
        until_second(first.run(), use_it).await;
        // A run that was dropped leaves the streams free.
        client.send(b"y").await.expect("sent");
        assert_eq!(a.receive().await.expect("data"), b"y");
    });
}

/// Polls both until the second is done.
async fn until_second<T>(first: impl Future<Output = Result<T>>, second: impl Future) {
    let (first, second) = (std::pin::pin!(first), std::pin::pin!(second));
    match futures_util::future::select(first, second).await {
        futures_util::future::Either::Left((ended, _)) => {
            panic!("the first ended: {:?}", ended.err())
        }
        futures_util::future::Either::Right(_) => {}
    }
}

#[test]
fn idle_relays_hold_no_pipes_and_few_are_kept() {
    alone("relay::idle_relays_hold_no_pipes_and_few_are_kept", || {
        let outside = fds();
        run(async {
            const COUNT: usize = 20;
            let mut pairs = Vec::new();
            for _ in 0..COUNT {
                pairs.push((tcp_pair().await, tcp_pair().await));
            }
            let before = fds();
            task_group(async |group| {
                for ((_, a), (b, _)) in &pairs {
                    group.spawn(relay(a, b));
                }
                let length = 3_000_000;
                for _ in 0..3 {
                    for ((client, _), (_, server)) in &pairs {
                        let send = client.send(&[7; 3_000_000]);
                        let receive = async {
                            let mut got = 0;
                            while got < length {
                                got += server.receive().await.expect("data").len();
                            }
                        };
                        join(send, receive).await.0.expect("sent");
                    }
                    // All relays wait, and at most 8 pipes are kept ready.
                    turns(5).await;
                    assert!(fds() <= before + 2 * 8 + 2, "{} and {before}", fds());
                }
                Err::<(), _>(Error::other("enough"))
            })
            .await
            .expect_err("enough");
        });
        assert_eq!(fds(), outside, "they end with their runtime");
    });
}

#[test]
fn without_descriptors_for_pipes_bytes_are_copied() {
    alone(
        "relay::without_descriptors_for_pipes_bytes_are_copied",
        || {
            run(async {
                let ((client, a), (b, server)) = (tcp_pair().await, tcp_pair().await);
                turns(2).await;
                let talk = async {
                    // Both directions of all streams are registered before the descriptors run out.
                    client.send(b"x").await.expect("sent");
                    receive_exactly(&server, b"x").await;
                    let _filler = kernel::use_up_descriptors();
                    join(send_all(&client, 2_000_000), async {
                        assert_eq!(receive_all(&server).await, 2_000_000);
                    })
                    .await;
                    server.send_eof().await.expect("ended");
                };
                let (relayed, ()) = join(relay(a, b).into_future(), talk).await;
                assert_eq!(relayed.expect("both have ended").a_to_b, 2_000_001);
            });
        },
    );
}

#[test]
fn an_urgent_byte_among_many_holds_nothing_back() {
    // splice(2) never passes an urgent byte (see r2 in readiness.rs for receives).
    run(async {
        let ((client, a), (b, server)) = (tcp_pair().await, tcp_pair().await);
        let talk = async {
            for n in 0..8 {
                // From this many bytes on the kernel moves them.
                let length = 2_000_000;
                let sent = join(client.send(&[7; 2_000_000]), async {
                    let mut got = 0;
                    while got < length {
                        got += server.receive().await.expect("sent").len();
                    }
                });
                sent.await.0.expect("sent");
                let before = n % 3;
                client.send(&b"tail"[..before]).await.expect("sent");
                let urgent = SockRef::from(&client).send_out_of_band(b"!");
                assert_eq!(urgent.expect("sent"), 1);
                client.send(&b"tail"[before..]).await.expect("sent");
                let mut tail = Vec::new();
                while tail.len() < 4 {
                    tail.extend(server.receive().await.expect("sent"));
                }
                assert_eq!(tail, b"tail");
            }
        };
        let limit = Duration::from_secs(30);
        let talk = fail_after(limit, async {
            talk.await;
            Ok::<_, Error>(())
        });
        until_second(relay(a, b).into_future(), async {
            talk.await.expect("nothing stands still");
        })
        .await;
    });
}

#[test]
fn a_reset_ends_it() {
    run(async {
        let ((client, a), (b, server)) = (tcp_pair().await, tcp_pair().await);
        let talk = async {
            turns(3).await;
            // Closing with unread data resets the connection.
            server.send(b"unread").await.expect("sent");
            turns(3).await;
            drop(client);
        };
        let mut relay = relay(a, b);
        let limited = fail_after(Duration::from_secs(10), relay.run());
        let (ended, ()) = join(limited, talk).await;
        refused!(ended, Error::Broken(_));
        assert_eq!(relay.relayed().ended_first, Some(RelaySide::A));
        assert_eq!(relay.relayed().b_to_a, 6);
    });
}

/// Runs a relay that is cut again and again, and checks the bytes that arrived.
async fn cut_again_and_again<A: ByteStream, B: ByteStream>(
    cut: crate::cancel_everywhere::Cut,
    (client, a): (A, A),
    (b, server): (B, B),
    length: usize,
) -> bool {
    let mut relay = relay(a, b);
    let talk = async {
        let ((), got) = join(send_all(&client, length), async {
            turns(3).await;
            receive_all(&server).await
        })
        .await;
        assert_eq!(got, length, "nothing lost, nothing doubled");
        let ((), got) = join(send_all(&server, length), receive_all(&client)).await;
        assert_eq!(got, length, "nothing lost, nothing doubled");
    };
    let relayed = async {
        let first = cut.apply(relay.run()).await;
        let done = first.is_some();
        if let Some(first) = first {
            first.expect("both have ended");
        }
        turns(1).await;
        let last = relay.run().await.expect("both have ended");
        assert_eq!((last.a_to_b, last.b_to_a), (length as u64, length as u64));
        done
    };
    join(relayed, talk).await.0
}

/// Covers: Relay::run.
#[test]
fn cancelled() {
    everywhere("relay::cancelled", async |cut| {
        // Makes the loop's precise timer now, so that not only some of the rounds make it.
        sleep(Duration::from_micros(300)).await.expect("a runtime");
        let unix = || unix_socket_pair().expect("two descriptors");
        let memory = || create_memory_byte_stream(9);
        let tcp = cut_again_and_again(cut, tcp_pair().await, tcp_pair().await, 900_000).await;
        let unix = cut_again_and_again(cut, unix(), unix(), 400_000).await;
        let memory = cut_again_and_again(cut, memory(), memory(), 60).await;
        tcp && unix && memory
    });
}

#[test]
fn a_cancelled_scope_ends_it_although_bytes_never_end() {
    run(async {
        for splice in [true, false] {
            let ((client, a), (b, server)) = (tcp_pair().await, tcp_pair().await);
            let mut relay = relay(a, b).splice(splice);
            let enough = Cell::new(false);
            let talk = async {
                let mut sent = 0;
                while !enough.get() {
                    client.send(&numbered(sent, 100_000)).await.expect("sent");
                    sent += 100_000;
                }
                client.send_eof().await.expect("ended");
                sent
            };
            let heard = async {
                let got = receive_all(&server).await;
                server.send_eof().await.expect("ended");
                got
            };
            let relayed = async {
                let scope = CancelScope::new();
                let cancel = async {
                    turns(20).await;
                    scope.cancel("enough");
                };
                let (cancelled, ()) = join(scope.run(relay.run()), cancel).await;
                refused!(
                    cancelled.expect("it was told, not dropped"),
                    Error::Cancelled
                );
                assert_eq!(relay.relayed().ended_first, None);
                enough.set(true);
                relay.run().await.expect("both have ended").a_to_b
            };
            let (sent, got, relayed) = join3(talk, heard, relayed).await;
            assert_eq!((sent, sent as u64), (got, relayed), "nothing lost");
        }
    });
}

#[test]
fn dropped_tasks_drop_it() {
    run(async {
        let ((client, a), (b, server)) = (tcp_pair().await, tcp_pair().await);
        task_group(async |group| {
            let handle = group.spawn(async move { relay(a, b).await.map(drop) });
            client.send(b"x").await?;
            receive_exactly(&server, b"x").await;
            handle.cancel();
            refused!(client.receive().await, Error::Broken(_));
            refused!(server.receive().await, Error::Broken(_));
            Ok(())
        })
        .await
        .expect("no error");
    });
}
