//! Streams in polls: `Io`, the places, and the laws that adapters to other crates' traits rely on.
//!
//! Long because each law is tried over each kind of stream.

use std::future::poll_fn;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::join;
use futures_util::stream::{FuturesUnordered, StreamExt};
use soloio::{
    AnyByteStream, Buffered, ByteStream, Error, Io, MemoryStream, Place, Result, Room, TcpStream,
    UnixStream, create_memory_byte_stream, move_on_after, task_group,
};

use crate::allocations::made;
use crate::net_support::{
    check_numbered, clog, numbered, polled, receive_numbered, refused, run, tcp_pair, turns,
    unix_pair,
};
use crate::support::{Wakes, poll_once};

async fn receive<S: ByteStream>(io: &mut Io<S>, max: usize) -> Result<Vec<u8>> {
    let mut memory = vec![MaybeUninit::uninit(); max];
    poll_fn(|cx| {
        let (_, polled) = Room::fill(&mut memory, |room| {
            let polled = io.poll_receive(cx, room);
            polled.map_ok(|()| room.filled().to_vec())
        });
        polled
    })
    .await
}

async fn send<S: ByteStream>(io: &mut Io<S>, mut data: &[u8]) -> Result<()> {
    while !data.is_empty() {
        let sent = poll_fn(|cx| io.poll_send(cx, &[IoSlice::new(data)])).await?;
        assert!(sent > 0);
        data = &data[sent..];
    }
    poll_fn(|cx| io.poll_flush(cx)).await
}

/// The laws that adapters rely on, for any pair.
async fn laws<S: ByteStream>((a, b): (S, S)) {
    bytes_pass_both_ways_and_the_end_is_empty(&a, &b).await;
    one_that_is_left_pending_is_the_receiver(&a, &b).await;
    one_that_is_left_pending_is_the_sender(&a, &b).await;
    two_halves_need_no_lock(&a, &b).await;
    let (mut a, mut b) = (Io::new(a), Io::new(b));
    poll_fn(|cx| a.poll_send_eof(cx)).await.expect("ended");
    poll_fn(|cx| a.poll_send_eof(cx)).await.expect("again");
    assert_eq!(receive(&mut b, 9).await.expect("the end"), b"");
    assert_eq!(receive(&mut b, 9).await.expect("for good"), b"");
    refused!(send(&mut a, b"x").await, Error::Closed);
    let (a, b) = (a.into_inner(), b.into_inner());
    join(a.close(), b.close()).await.0.expect("closed");
}

async fn bytes_pass_both_ways_and_the_end_is_empty<S: ByteStream>(a: &S, b: &S) {
    let (mut a, mut b) = (Io::new(a), Io::new(b));
    send(&mut a, b"there").await.expect("sent");
    assert_eq!(receive(&mut b, 3).await.expect("some"), b"the");
    assert_eq!(receive(&mut b, 9).await.expect("the rest"), b"re");
    assert_eq!(receive(&mut b, 0).await.expect("no room is no error"), b"");
    let parts = [&b"a"[..], b"", b"nd back"].map(IoSlice::new);
    let sent = poll_fn(|cx| b.poll_send(cx, &parts)).await.expect("sent");
    poll_fn(|cx| b.poll_flush(cx)).await.expect("flushed");
    assert!((1..=8).contains(&sent));
    let mut got = receive(&mut a, 9).await.expect("data");
    assert_eq!(got, b"and back"[..got.len()]);
    while got.len() < sent {
        got.extend(receive(&mut a, 9).await.expect("data"));
    }
    assert_eq!(
        poll_fn(|cx| a.poll_send(cx, &[])).await.expect("nothing"),
        0
    );
}

async fn one_that_is_left_pending_is_the_receiver<S: ByteStream>(a: &S, b: &S) {
    let mut io = Io::new(a);
    assert!(pending_receive(&mut io).await);
    refused!(a.receive().await, Error::Busy);
    refused!(receive(&mut Io::new(a), 9).await, Error::Busy);
    io.leave();
    assert!(poll_once(pin!(a.receive())).await.is_pending());
    assert!(pending_receive(&mut io).await);
    drop(io);
    let mut io = Io::new(a);
    assert!(pending_receive(&mut io).await);
    b.send(b"for it").await.expect("sent");
    assert_eq!(receive(&mut io, 9).await.expect("data"), b"for it");
    b.send(b"next").await.expect("sent");
    assert_eq!(a.receive().await.expect("it is free"), b"next");
}

async fn pending_receive<S: ByteStream>(io: &mut Io<S>) -> bool {
    poll_once(pin!(receive(io, 9))).await.is_pending()
}

async fn one_that_is_left_pending_is_the_sender<S: ByteStream>(a: &S, b: &S) {
    let before = clog(a, 0).await;
    let data = numbered(before, 70_000);
    let (mut io, mut taken) = (Io::new(a), 0);
    // A layer takes some bytes before it has to wait.
    let sent = loop {
        match poll_once(pin!(poll_fn(
            |cx| io.poll_send(cx, &[IoSlice::new(&data[taken..])])
        )))
        .await
        {
            Poll::Ready(sent) => taken += sent.expect("sent"),
            Poll::Pending => break taken,
        }
    };
    refused!(a.send(b"x").await, Error::Busy);
    io.leave();
    let finish = async {
        send(&mut io, &data[sent..]).await.expect("sent");
    };
    join(finish, receive_numbered(b, 0, before + 70_000)).await;
}

async fn two_halves_need_no_lock<S: ByteStream>(a: &S, b: &S) {
    let data = numbered(0, 300_000);
    let (mut reading, mut writing) = (Io::new(a), Io::new(a));
    let echo = async {
        let (mut got, mut io) = (0, Io::new(b));
        while got < data.len() {
            let some = receive(&mut io, 5_000).await.expect("data");
            got += some.len();
            send(&mut io, &some).await.expect("sent");
        }
    };
    let back = async {
        let mut got = Vec::new();
        while got.len() < data.len() {
            got.extend(receive(&mut reading, 7_000).await.expect("data"));
        }
        assert!(got == data);
    };
    let send = async { send(&mut writing, &data).await.expect("sent") };
    join(echo, join(back, send)).await;
}

#[test]
fn of_tcp() {
    run(async { laws(tcp_pair().await).await });
}

#[test]
fn of_unix() {
    run(async { laws(unix_pair().await).await });
}

#[test]
fn of_memory() {
    run(async { laws(create_memory_byte_stream(1_000)).await });
}

#[test]
fn of_buffered() {
    run(async {
        let (a, b) = unix_pair().await;
        laws((Buffered::new(a), Buffered::new(b))).await;
    });
}

#[test]
fn of_any_and_of_what_leads_to_one() {
    run(async {
        let (a, b) = tcp_pair().await;
        laws((AnyByteStream::new(a), AnyByteStream::new(b))).await;
        let (a, b) = create_memory_byte_stream(1_000);
        laws((Rc::new(a), Rc::new(b))).await;
        let (a, b) = unix_pair().await;
        laws((Arc::new(a), Arc::new(b))).await;
    });
}

#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod over_tls {
    use super::*;
    use crate::tls_support::tls;

    #[test]
    fn of_tls_over_tcp() {
        run(async { laws(tls(tcp_pair()).await).await });
    }

    #[test]
    fn of_tls_over_memory() {
        run(async { laws(tls(async { create_memory_byte_stream(1_000) }).await).await });
    }

    #[test]
    fn of_tls_over_tls() {
        run(async { laws(tls(tls(unix_pair())).await).await });
    }

    /// Works in a task that has to be `Send`, where its own futures cannot be.
    #[test]
    fn an_io_over_tls_can_travel() {
        fn travels<T: Send>(_: T) {}
        run(async {
            let (a, _b) = tls(tcp_pair()).await;
            let mut io = Io::new(a);
            travels(async move { receive(&mut io, 9).await });
        });
    }

    #[test]
    fn a_tls_stream_that_gives_way_keeps_its_sender() {
        run(a_send_that_gives_way_is_the_sender(
            async || tls(async { create_memory_byte_stream(100_000) }).await,
            70_000,
        ));
    }

    /// A waiting receive hands over data that a dropped sender left in the session.
    #[test]
    fn a_receiver_that_waits_takes_over() {
        run(async {
            let (a, b) = tls(async { create_memory_byte_stream(4_000) }).await;
            let mut sending = Io::new(&a);
            let data = numbered(0, 9_000);
            let parts = [IoSlice::new(&data)];
            let taken = poll_fn(|cx| sending.poll_send(cx, &parts)).await;
            assert_eq!(taken.expect("into the session"), 9_000);
            let left = async {
                turns(3).await;
                let flush = poll_once(pin!(poll_fn(|cx| sending.poll_flush(cx)))).await;
                assert!(flush.is_pending(), "the peer has not read");
                drop(sending);
                receive_numbered(&b, 0, 9_000).await;
                b.send(b"all of it").await.expect("sent");
            };
            let (got, ()) = join(a.receive(), left).await;
            assert_eq!(got.expect("an answer"), b"all of it");
        });
    }
}

#[test]
fn futures_of_sockets_can_travel() {
    fn travels<T: Send>(_: &T) {}
    run(async {
        let (tcp, _b) = tcp_pair().await;
        let (shared, mut buf) = (Arc::new(tcp), [0; 9]);
        travels(&shared.receive());
        travels(&shared.send(b"x"));
        travels(&shared.receive_into(&mut buf));
        travels(&Io::new(Arc::clone(&shared)));
        travels::<Option<Io<UnixStream>>>(&None);
        travels::<Option<Io<Buffered<TcpStream>>>>(&None);
    });
}

/// Works with a combinator's waker, too, and the direction is free after that.
#[test]
fn a_cancel_is_told_to_a_poll() {
    run(async {
        let (a, b) = tcp_pair().await;
        for inside in [false, true] {
            let mut told = None;
            let ended = move_on_after(Duration::from_millis(1), async {
                let mut io = Io::new(&a);
                told = Some(match inside {
                    false => receive(&mut io, 9).await.map(drop),
                    true => {
                        let mut all: FuturesUnordered<_> =
                            [receive(&mut io, 9)].into_iter().collect();
                        all.next().await.expect("one").map(drop)
                    }
                });
                Ok::<_, Error>(())
            });
            ended.await.expect("moves on");
            refused!(told.expect("it was told, not dropped"), Error::Cancelled);
        }
        b.send(b"later").await.expect("sent");
        assert_eq!(a.receive().await.expect("it is free"), b"later");
    });
}

/// A time limit ends a loop of polls that are always ready.
#[test]
fn a_poll_that_never_waits_gives_way() {
    run(async {
        let (a, b) = create_memory_byte_stream(64);
        let ended = move_on_after(Duration::from_millis(20), async {
            let (mut a, mut b) = (Io::new(&a), Io::new(&b));
            loop {
                send(&mut a, b"ball").await?;
                receive(&mut b, 9).await?;
            }
            #[allow(unreachable_code, reason = "it says of what type the loop is")]
            Ok::<(), Error>(())
        });
        assert!(ended.await.expect("moves on").is_none());
    });
}

/// A place that is pending when its runtime ends continues under the next.
#[test]
fn a_place_goes_on_under_another_runtime() {
    let (a, b) = run(tcp_pair());
    let mut io = Io::new(a);
    run(async { assert!(pending_receive(&mut io).await) });
    run(async {
        join(
            async { assert_eq!(receive(&mut io, 9).await.expect("data"), b"hello") },
            async {
                turns(3).await;
                b.send(b"hello").await.expect("sent");
            },
        )
        .await;
    });
    let waker = Wakes::new().into();
    let polled = io.poll_receive(
        &mut Context::from_waker(&waker),
        &mut Room::new(&mut [0; 9]),
    );
    assert!(matches!(polled, Poll::Ready(Err(Error::NoRuntime))));
}

#[test]
fn an_operation_of_any_stream_allocates_nothing() {
    run(async {
        let (a, b) = unix_pair().await;
        let (a, b) = (AnyByteStream::new(a), AnyByteStream::new(b));
        let mut buf = [0; 9];
        for round in 0..20 {
            let before = made();
            a.send(b"ping").await.expect("sent");
            b.receive_into(&mut buf).await.expect("received");
            assert!(round < 3 || made() == before, "round {round}");
        }
    });
}

/// The tasks of a group have a place each, on both ends of one stream.
#[test]
fn places_may_be_held_by_tasks() {
    run(async {
        let (a, b): (MemoryStream, _) = create_memory_byte_stream(8);
        task_group(async |group| {
            group.spawn(async {
                let mut io = Io::new(&a);
                send(&mut io, &numbered(0, 1_000)).await?;
                poll_fn(|cx| io.poll_send_eof(cx)).await
            });
            let mut io = Io::new(&b);
            let mut got = Vec::new();
            loop {
                let some = receive(&mut io, 5).await?;
                if some.is_empty() {
                    break;
                }
                got.extend(some);
            }
            assert_eq!(got, numbered(0, 1_000));
            Ok::<_, Error>(())
        })
        .await
        .expect("all went well");
    });
}

/// A place is idle unless its operation waits.
#[test]
fn a_place_is_idle_but_while_it_waits() {
    run(async {
        let (a, b) = unix_pair().await;
        let mut place = Place::default();
        let poll = |cx: &mut Context<'_>, place: &mut Place| {
            soloio::ByteReceiveStream::poll_receive(&a, place, cx, &mut Room::new(&mut [0; 9]))
        };
        let waits = poll_fn(|cx| Poll::Ready(poll(cx, &mut place).is_pending()));
        assert!(waits.await);
        assert!(!place.is_idle());
        b.send(b"x").await.expect("sent");
        poll_fn(|cx| poll(cx, &mut place)).await.expect("data");
        assert!(place.is_idle());
    });
}

/// A send that yields in its middle, because the turn's budget is spent, remains the sender; tried
/// with each rest of the budget.
async fn a_send_that_gives_way_is_the_sender<S: ByteStream>(
    pair: impl AsyncFn() -> (S, S),
    length: usize,
) {
    let (x, y) = create_memory_byte_stream(1_000);
    let mut caught = 0;
    for used in (0..20).chain(220..300) {
        let (a, b) = pair().await;
        turns(1).await;
        for _ in 0..used / 2 {
            x.send(b"x").await.expect("room");
            y.receive().await.expect("a byte");
        }
        if used % 2 == 1 {
            x.send(b"x").await.expect("room");
        }
        let data = numbered(0, length);
        let mut send = pin!(a.send(&data));
        // Uses the rest of the turn's budget, and no more.
        if poll_once(send.as_mut()).await.is_ready() {
            continue;
        }
        turns(1).await;
        let Some(first) = polled(4, b.receive_max(1)).await else {
            // It yielded before it had sent anything.
            continue;
        };
        caught += 1;
        check_numbered(0, &first.expect("a byte"));
        let another = poll_once(pin!(a.send(b"another"))).await;
        assert!(
            matches!(another, Poll::Ready(Err(Error::Busy))),
            "{used}: {another:?}"
        );
        join(
            async { send.await.expect("sent") },
            receive_numbered(&b, 1, length - 1),
        )
        .await;
    }
    assert!(caught > 0);
}

#[test]
fn a_memory_stream_that_gives_way_keeps_its_sender() {
    run(a_send_that_gives_way_is_the_sender(
        async || create_memory_byte_stream(1_000),
        3_000,
    ));
}

#[test]
fn a_socket_that_gives_way_keeps_its_sender() {
    run(a_send_that_gives_way_is_the_sender(unix_pair, 1_000_000));
}
