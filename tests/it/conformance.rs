//! The laws of a byte stream, as one suite that runs over every kind of stream.
//!
//! A law takes a connected pair of any kind. `all_laws!` makes a test of each law for one kind of
//! pair; a new kind of stream is one more line at the end. Modelled on trio's
//! `check_one_way_stream`, `check_two_way_stream` and `check_half_closeable_stream`.
//!
//! `shared_laws` hold for `&S` too, where dropping a reference ends nothing. Long because it is one
//! list.

use std::future::Future;
use std::io::{ErrorKind, IoSlice};
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{join, join3, join4};
use soloio::{
    AnyByteStream, Buffered, ByteReceiveStream, ByteStream, Error, Result,
    create_memory_byte_stream,
};

use crate::net_support::{
    check_numbered, clog, is_broken, numbered, polled, receive_numbered, refused, run_both,
    tcp_pair, turns, unix_pair,
};
use crate::support::poll_once;

/// The bytes of a transfer: more than the small pipes hold, few enough for pipes of one byte.
const LOT: usize = 50_000;

fn refused_argument<T>(result: Result<T>) {
    match result {
        Err(Error::Io(error)) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
        other => panic!("{:?} instead of a refused argument", other.err()),
    }
}

/// Receives everything up to the end, which has to be orderly.
async fn receive_all<S: ByteReceiveStream>(stream: &S) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await.expect("an orderly end") {
        assert!(!bytes.is_empty());
        all.extend(bytes);
    }
    all
}

async fn small_messages_pass_both_ways(a: impl ByteStream, b: impl ByteStream) {
    for message in [&b"x"[..], b"yz", b"a longer one"] {
        let (sent, ()) = join(a.send(message), async {
            let mut got = Vec::new();
            while got.len() < message.len() {
                got.extend(b.receive().await.expect("bytes"));
            }
            assert_eq!(got, message);
        })
        .await;
        sent.expect("sent");
        let answered = async {
            let mut room = [0; 3];
            assert_eq!(a.receive_into(&mut room[..1]).await.expect("a byte"), b"!");
        };
        let (sent, ()) = join(b.send(b"!"), answered).await;
        sent.expect("sent");
    }
}

async fn a_receive_of_nothing_is_refused(a: impl ByteStream, b: impl ByteStream) {
    refused_argument(a.receive_max(0).await);
    refused_argument(a.receive_into(&mut []).await);
    b.send(b"x").await.expect("room for one");
    refused_argument(a.receive_into(&mut []).await);
    refused_argument(a.receive_max(0).await);
    assert_eq!(a.receive().await.expect("still there"), b"x");
}

async fn a_receive_is_bounded_and_exactly_sized(a: impl ByteStream, b: impl ByteStream) {
    let data = numbered(0, LOT);
    let receive = async {
        let mut at = 0;
        for n in (0..).take_while(|n| *n < 10_000) {
            let (max, got) = match n % 6 {
                0 => (1, a.receive_max(1).await),
                1 => (7, a.receive_max(7).await),
                2 => (1000, a.receive_max(1000).await),
                3 => (65_536, a.receive_max(usize::MAX).await),
                4 => (65_536, a.receive().await),
                _ => (65_536, a.next().await.map(|bytes| bytes.expect("no end"))),
            };
            let got = got.expect("bytes");
            assert!((1..=max).contains(&got.len()));
            assert_eq!(got.capacity(), got.len());
            check_numbered(at, &got);
            at += got.len();
            if at == LOT {
                return;
            }
        }
        receive_numbered(&a, at, LOT - at).await;
    };
    let (sent, ()) = join(b.send(&data), receive).await;
    sent.expect("sent");
}

async fn the_end_comes_after_the_data_and_stays(a: impl ByteStream, b: impl ByteStream) {
    let data = numbered(0, 1000);
    let send = async {
        b.send(&data).await.expect("sent");
        b.send_eof().await.expect("ended");
    };
    let receive = async {
        receive_numbered(&a, 0, 999).await;
        receive_numbered(&a, 999, 1).await;
        for _ in 0..3 {
            refused!(a.receive().await, Error::EndOfStream);
            refused!(a.receive_max(1).await, Error::EndOfStream);
            refused!(a.receive_into(&mut [0; 9]).await, Error::EndOfStream);
            assert!(a.next().await.expect("the end is no error here").is_none());
        }
    };
    join(send, receive).await;
}

async fn a_buffer_of_exactly_the_data_sees_the_end_next(a: impl ByteStream, b: impl ByteStream) {
    // R3: an end that arrives together with the data.
    b.send(b"x").await.expect("room for one");
    b.send_eof().await.expect("ended");
    turns(3).await;
    assert_eq!(a.receive_into(&mut [0; 1]).await.expect("the byte"), b"x");
    refused!(a.receive().await, Error::EndOfStream);
}

async fn the_end_ends_a_waiting_receive(a: impl ByteStream, b: impl ByteStream) {
    let end = async {
        turns(5).await;
        b.send_eof().await
    };
    let (received, ended) = join(a.receive(), end).await;
    refused!(received, Error::EndOfStream);
    ended.expect("ended");
}

async fn send_eof_ends_one_direction_only(a: impl ByteStream, b: impl ByteStream) {
    for _ in 0..3 {
        a.send_eof().await.expect("may be called again");
    }
    refused!(a.send(b"x").await, Error::Closed);
    refused!(a.send(b"").await, Error::Closed);
    let mut rest = &b"abc"[..];
    refused!(a.send_from(&mut rest).await, Error::Closed);
    assert_eq!(rest, b"abc");
    let mut parts = [IoSlice::new(b"abc")];
    let mut parts = &mut parts[..];
    refused!(a.send_vectored(&mut parts).await, Error::Closed);
    assert_eq!(parts.len(), 1);
    refused!(b.receive().await, Error::EndOfStream);
    let data = numbered(0, LOT);
    let back = async {
        b.send(&data).await.expect("the other direction goes on");
        b.send_eof().await.expect("ended");
    };
    let ((), all) = join(back, receive_all(&a)).await;
    assert_eq!(all.len(), LOT);
    check_numbered(0, &all);
    a.send_eof().await.expect("also when both have ended");
    b.send_eof().await.expect("also when both have ended");
    refused!(a.send(b"x").await, Error::Closed);
}

async fn send_eof_ends_a_waiting_send(a: impl ByteStream, b: impl ByteStream) {
    let taken = clog(&a, 0).await;
    let mut rest = &b"not all of this"[..];
    let end = async {
        turns(5).await;
        a.send_eof().await
    };
    let receive = async {
        turns(10).await;
        receive_numbered(&b, 0, taken).await;
        refused!(b.receive().await, Error::EndOfStream);
    };
    let (sent, ended, ()) = join3(a.send_from(&mut rest), end, receive).await;
    refused!(sent, Error::Closed);
    ended.expect("ended");
    assert_eq!(rest, b"not all of this");
}

async fn a_second_receiver_is_busy(a: impl ByteStream, b: impl ByteStream) {
    // W5: two tasks wait for one direction, and one of them is never woken.
    let mut first = pin!(a.receive_max(1));
    assert!(poll_once(first.as_mut()).await.is_pending());
    refused!(a.receive().await, Error::Busy);
    refused!(a.receive_max(1).await, Error::Busy);
    refused!(a.receive_into(&mut [0; 9]).await, Error::Busy);
    refused!(a.next().await, Error::Busy);
    a.send(b"y").await.expect("the other direction is free");
    assert_eq!(b.receive().await.expect("sent"), b"y");
    b.send(b"x").await.expect("room for one");
    refused!(a.receive().await, Error::Busy);
    assert_eq!(first.await.expect("nobody took it away"), b"x");
    let mut next = pin!(a.receive());
    assert!(poll_once(next.as_mut()).await.is_pending(), "free again");
}

async fn a_second_sender_is_busy(a: impl ByteStream, b: impl ByteStream) {
    let taken = clog(&a, 0).await;
    let more = numbered(taken, 100);
    {
        let mut first = pin!(a.send(&more));
        assert!(poll_once(first.as_mut()).await.is_pending());
        refused!(a.send(b"z").await, Error::Busy);
        refused!(a.send(b"").await, Error::Busy);
        let mut rest = &b"zz"[..];
        refused!(a.send_from(&mut rest).await, Error::Busy);
        assert_eq!(rest, b"zz");
        let mut parts = [IoSlice::new(b"zz")];
        let mut parts = &mut parts[..];
        refused!(a.send_vectored(&mut parts).await, Error::Busy);
        assert_eq!(parts.len(), 1);
        b.send(b"y").await.expect("the other direction is free");
        assert_eq!(a.receive().await.expect("sent"), b"y");
        let (sent, ()) = join(first, receive_numbered(&b, 0, taken + 100)).await;
        sent.expect("sent");
    }
    a.send(b"x").await.expect("free again");
    assert_eq!(
        b.receive().await.expect("no byte of the refused ones"),
        b"x"
    );
}

async fn a_dropped_receive_loses_nothing(a: impl ByteStream, b: impl ByteStream) {
    // Law 7; also S-7: the result is ready when the receive is dropped.
    let data = numbered(0, LOT);
    let receive = async {
        let mut at = 0;
        for n in 0.. {
            let polls = n % 4;
            let got = match n % 3 {
                0 => polled(polls, a.receive_max(37)).await,
                1 => polled(polls, a.receive()).await,
                _ => {
                    let mut room = [0; 100];
                    let got = polled(polls, a.receive_into(&mut room)).await;
                    got.map(|got| got.map(|bytes| bytes.to_vec()))
                }
            };
            if let Some(got) = got {
                let got = got.expect("bytes");
                check_numbered(at, &got);
                at += got.len();
            }
            if at == LOT {
                return;
            }
        }
    };
    let (sent, ()) = join(b.send(&data), receive).await;
    sent.expect("sent");
}

async fn a_dropped_send_from_tells_what_went(a: impl ByteStream, b: impl ByteStream) {
    // Law 3; C9: partial sends at a wrong offset.
    let send = async {
        let mut at = 0;
        for n in 0.. {
            let chunk = numbered(at, (LOT - at).min(1 + n * 7 % 5000));
            let mut rest = &chunk[..];
            if let Some(sent) = polled(n % 4, a.send_from(&mut rest)).await {
                sent.expect("sent");
                assert!(rest.is_empty());
            }
            at += chunk.len() - rest.len();
            if at == LOT {
                return a.send_eof().await.expect("ended");
            }
        }
    };
    let ((), all) = join(send, receive_all(&b)).await;
    assert_eq!(all.len(), LOT);
    check_numbered(0, &all);
}

async fn a_send_waits_for_room_and_is_exact(a: impl ByteStream, b: impl ByteStream) {
    // C19: a send returns Ok for bytes that are not sent; W6: the edge comes before the waiter.
    let taken = clog(&a, 0).await;
    let data = numbered(taken, LOT);
    let mut rest = &data[..];
    assert!(
        polled(5, a.send_from(&mut rest)).await.is_none(),
        "there is no room"
    );
    let (sent, ()) = join(a.send(rest), receive_numbered(&b, 0, taken + LOT)).await;
    sent.expect("sent once there was room");
    a.send(b"").await.expect("an empty send is fine");
}

async fn vectored_parts_go_as_one_piece(a: impl ByteStream, b: impl ByteStream) {
    let data = numbered(0, LOT);
    let mut parts: Vec<_> = data.chunks(17).map(IoSlice::new).collect();
    parts.insert(0, IoSlice::new(b""));
    parts.insert(3, IoSlice::new(b""));
    parts.push(IoSlice::new(b""));
    let mut parts = &mut parts[..];
    let send = async {
        a.send_vectored(&mut parts).await.expect("sent");
        let left: usize = parts.iter().map(|part| part.len()).sum();
        assert_eq!(left, 0);
        a.send_vectored(&mut &mut [][..])
            .await
            .expect("nothing to send");
        a.send_vectored(&mut &mut [IoSlice::new(b"")][..])
            .await
            .expect("nothing to send");
        a.send_eof().await.expect("ended");
    };
    let ((), all) = join(send, receive_all(&b)).await;
    assert_eq!(all.len(), LOT);
    check_numbered(0, &all);
}

async fn a_dropped_send_vectored_tells_what_went(a: impl ByteStream, b: impl ByteStream) {
    let taken = clog(&a, 0).await;
    let data = numbered(taken, LOT);
    let mut parts: Vec<_> = data.chunks(997).map(IoSlice::new).collect();
    let mut parts = &mut parts[..];
    let send = async {
        for n in 0.. {
            if let Some(sent) = polled(n % 3, a.send_vectored(&mut parts)).await {
                return sent.expect("sent");
            }
        }
    };
    join(send, receive_numbered(&b, 0, taken + LOT)).await;
}

async fn both_directions_flow_at_once(a: impl ByteStream, b: impl ByteStream) {
    let data = numbered(0, LOT);
    let (one, two, (), ()) = join4(
        a.send(&data),
        b.send(&data),
        receive_numbered(&a, 0, LOT),
        receive_numbered(&b, 0, LOT),
    )
    .await;
    one.expect("sent");
    two.expect("sent");
}

async fn nothing_is_read_without_a_receiver(a: impl ByteStream, b: impl ByteStream) {
    // C16: reading continues after a cancelled receive, and memory grows (anyio#1423).
    assert!(polled(2, b.receive()).await.is_none());
    let taken = clog(&a, 0).await;
    let again = clog(&a, taken).await;
    assert!(
        again < 65_536,
        "{again} bytes more were taken, and nobody receives"
    );
    // A layer may hold some bytes back; an empty send hands them over.
    let (sent, ()) = join(a.send(b""), receive_numbered(&b, 0, taken + again)).await;
    sent.expect("sent");
}

async fn abort_ends_who_waits(a: impl ByteStream, b: impl ByteStream) {
    // C18: a task that waits hangs when another one closes the stream (anyio#1289, anyio#1391).
    clog(&a, 0).await;
    let abort = async {
        turns(5).await;
        a.abort();
    };
    let ((), received, sent) = {
        let (sent, received) = (a.send(b"x"), a.receive());
        let (ended, (received, sent)) = join(abort, join(received, sent)).await;
        (ended, received, sent)
    };
    refused!(received, Error::Closed);
    refused!(sent, Error::Closed);
    a.abort();
    refused!(a.receive().await, Error::Closed);
    refused!(a.next().await, Error::Closed);
    refused!(a.send(b"x").await, Error::Closed);
    refused!(a.send(b"").await, Error::Closed);
    refused!(a.send_eof().await, Error::Closed);
    sees_the_end(&b).await;
}

async fn sees_the_end<S: ByteStream>(b: &S) {
    let end = loop {
        if let Err(end) = b.receive().await {
            break end;
        }
    };
    assert!(
        matches!(end, Error::EndOfStream | Error::Broken(_)),
        "{end:?}"
    );
    for _ in 0..2 {
        let again = b.receive().await.expect_err("the end stays");
        assert_eq!(std::mem::discriminant(&again), std::mem::discriminant(&end));
    }
    sends_break(b).await;
}

async fn sends_break<S: ByteStream>(b: &S) {
    let mut sent = Ok(());
    for _ in 0..1000 {
        sent = b.send(b"into the void").await;
        if sent.is_err() {
            break;
        }
        turns(1).await;
    }
    assert!(is_broken(&sent), "{sent:?}");
    assert!(is_broken(&b.send(b"x").await), "broken for good");
}

async fn a_dropped_peer_is_the_end(a: impl ByteStream, b: impl ByteStream) {
    let receive = async {
        let received = a.receive().await;
        refused!(received, Error::EndOfStream);
        refused!(a.receive().await, Error::EndOfStream);
        sends_break(&a).await;
    };
    let leave = async move {
        turns(5).await;
        drop(b);
    };
    join(receive, leave).await;
}

async fn a_dropped_peer_breaks_a_waiting_send(a: impl ByteStream, b: impl ByteStream) {
    clog(&a, 0).await;
    let leave = async move {
        turns(5).await;
        drop(b);
    };
    let (sent, ()) = join(a.send(b"x"), leave).await;
    assert!(is_broken(&sent), "{sent:?}");
}

async fn what_was_sent_before_a_drop_arrives(a: impl ByteStream, b: impl ByteStream) {
    let taken = clog(&a, 0).await;
    drop(a);
    receive_numbered(&b, 0, taken).await;
    refused!(b.receive().await, Error::EndOfStream);
}

async fn close_delivers_everything(a: impl ByteStream, b: impl ByteStream) {
    let data = numbered(0, LOT);
    let close = async move {
        a.send(&data).await.expect("sent");
        a.close().await.expect("closed");
    };
    let receive = async move {
        let all = receive_all(&b).await;
        assert_eq!(all.len(), LOT);
        check_numbered(0, &all);
        b.close().await.expect("closed");
    };
    join(close, receive).await;
}

async fn close_may_be_dropped_midway(a: impl ByteStream, b: impl ByteStream) {
    let taken = clog(&a, 0).await;
    {
        let mut close = pin!(a.close());
        let ended = poll_once(close.as_mut()).await;
        drop(ended);
    }
    receive_numbered(&b, 0, taken).await;
    refused!(b.receive().await, Error::EndOfStream);
}

/// Makes a test of one law, on both ways; a `borrowed` one gets references to the pair.
macro_rules! law {
    (owned, $pair:expr, $law:ident) => {
        #[test]
        fn $law() {
            run_both(|| async {
                let (a, b) = $pair.await;
                super::$law(a, b).await;
            });
        }
    };
    (borrowed, $pair:expr, $law:ident) => {
        #[test]
        fn $law() {
            run_both(|| async {
                let (a, b) = $pair.await;
                super::$law(&a, &b).await;
            });
        }
    };
}

/// The laws that hold for `&S` too.
macro_rules! shared_laws {
    ($how:ident, $pair:expr) => {
        law!($how, $pair, small_messages_pass_both_ways);
        law!($how, $pair, a_receive_of_nothing_is_refused);
        law!($how, $pair, a_receive_is_bounded_and_exactly_sized);
        law!($how, $pair, the_end_comes_after_the_data_and_stays);
        law!($how, $pair, a_buffer_of_exactly_the_data_sees_the_end_next);
        law!($how, $pair, the_end_ends_a_waiting_receive);
        law!($how, $pair, send_eof_ends_one_direction_only);
        law!($how, $pair, send_eof_ends_a_waiting_send);
        law!($how, $pair, a_second_receiver_is_busy);
        law!($how, $pair, a_second_sender_is_busy);
        law!($how, $pair, a_dropped_receive_loses_nothing);
        law!($how, $pair, a_dropped_send_from_tells_what_went);
        law!($how, $pair, a_send_waits_for_room_and_is_exact);
        law!($how, $pair, vectored_parts_go_as_one_piece);
        law!($how, $pair, a_dropped_send_vectored_tells_what_went);
        law!($how, $pair, both_directions_flow_at_once);
        law!($how, $pair, nothing_is_read_without_a_receiver);
        law!($how, $pair, abort_ends_who_waits);
        law!($how, $pair, close_delivers_everything);
    };
}

/// Tests every law for an owner.
macro_rules! all_laws {
    ($kind:ident, $pair:expr) => {
        mod $kind {
            use super::*;
            shared_laws!(owned, $pair);
            law!(owned, $pair, close_may_be_dropped_midway);
            law!(owned, $pair, a_dropped_peer_is_the_end);
            law!(owned, $pair, a_dropped_peer_breaks_a_waiting_send);
            law!(owned, $pair, what_was_sent_before_a_drop_arrives);
        }
    };
}

/// Tests every law that holds for a reference.
macro_rules! laws_of_references {
    ($kind:ident, $pair:expr) => {
        mod $kind {
            use super::*;
            shared_laws!(borrowed, $pair);
            law!(borrowed, $pair, close_may_be_dropped_midway);
        }
    };
}

/// Returns a pair in `Rc`s.
async fn counted<S>(pair: impl Future<Output = (S, S)>) -> (Rc<S>, Rc<S>) {
    let (a, b) = pair.await;
    (Rc::new(a), Rc::new(b))
}

async fn memory_pair(capacity: usize) -> (soloio::MemoryStream, soloio::MemoryStream) {
    create_memory_byte_stream(capacity)
}

/// Returns the accepting end first.
async fn turned<S>(pair: impl Future<Output = (S, S)>) -> (S, S) {
    let (a, b) = pair.await;
    (b, a)
}

/// Returns a pair with the type erased.
async fn any<S: ByteStream + 'static>(
    pair: impl Future<Output = (S, S)>,
) -> (AnyByteStream<'static>, AnyByteStream<'static>) {
    let (a, b) = pair.await;
    (AnyByteStream::new(a), AnyByteStream::new(b))
}

/// Returns a pair behind buffers.
async fn buffered<S>(pair: impl Future<Output = (S, S)>) -> (Buffered<S>, Buffered<S>) {
    let (a, b) = pair.await;
    (Buffered::new(a), Buffered::new(b))
}

all_laws!(tcp, tcp_pair());
all_laws!(tcp_turned, turned(tcp_pair()));
all_laws!(unix, unix_pair());
all_laws!(unix_turned, turned(unix_pair()));
all_laws!(socket_pair, async {
    soloio::unix_socket_pair().expect("two descriptors")
});
all_laws!(memory_of_1, memory_pair(1));
all_laws!(memory_of_7, memory_pair(7));
all_laws!(memory_of_65536, memory_pair(65_536));
all_laws!(counted_tcp, counted(tcp_pair()));
all_laws!(counted_unix, counted(unix_pair()));
all_laws!(counted_memory, counted(memory_pair(7)));
all_laws!(any_tcp, any(tcp_pair()));
all_laws!(any_unix, any(unix_pair()));
all_laws!(any_memory, any(memory_pair(7)));
all_laws!(buffered_tcp, buffered(tcp_pair()));
all_laws!(buffered_memory, buffered(memory_pair(7)));
all_laws!(buffered_any, buffered(any(unix_pair())));
laws_of_references!(borrowed_tcp, tcp_pair());
laws_of_references!(borrowed_unix, unix_pair());
laws_of_references!(borrowed_memory, memory_pair(7));
laws_of_references!(borrowed_buffered, buffered(memory_pair(7)));

#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod over_tls;
