//! `Buffered`: compared with a naive twin that has all bytes at once, and tested alone.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use futures_util::future::join;
use proptest::prelude::*;
use soloio::{
    Buffered, ByteReceiveStream, ByteStream, Error, Place, Result, Room, create_memory_byte_stream,
};

use crate::allocations::made;
#[cfg(feature = "relay")]
use crate::net_support::TempDir;
use crate::net_support::{clog, polled, refused, run, tcp_pair, turns};

/// One receive, with the number of polls after which it is dropped.
#[derive(Clone, Debug)]
enum Step {
    Exactly(usize),
    Array,
    Until(Vec<u8>, usize),
    Max(usize),
}

fn bytes(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(b"ab;".to_vec()), length)
}

fn steps() -> impl Strategy<Value = Vec<(Step, usize)>> {
    let step = prop_oneof![
        (0..12_usize).prop_map(Step::Exactly),
        Just(Step::Array),
        (bytes(1..4), 0..12_usize).prop_map(|(delimiter, max)| Step::Until(delimiter, max)),
        (1..8_usize).prop_map(Step::Max),
    ];
    prop::collection::vec((step, 0..5_usize), 0..60)
}

/// Returns the result of a step if all of `rest` is there (a `Max` may give less), and the number
/// of bytes it uses up (0 for a `Max`: the caller counts them).
fn expected(step: &Step, rest: &[u8]) -> (Result<Vec<u8>>, usize) {
    let ended = || match rest {
        [] => (Err(Error::EndOfStream), 0),
        _ => (Err(Error::IncompleteRead(rest.len())), 0),
    };
    match step {
        Step::Array => expected(&Step::Exactly(3), rest),
        Step::Exactly(count) if rest.len() >= *count => (Ok(rest[..*count].to_vec()), *count),
        Step::Exactly(_) => ended(),
        Step::Until(delimiter, max) => {
            let starts = 0..(max + 1).min(rest.len());
            match starts
                .into_iter()
                .find(|at| rest[*at..].starts_with(delimiter))
            {
                Some(at) => (Ok(rest[..at].to_vec()), at + delimiter.len()),
                None if rest.len() >= max + delimiter.len() => {
                    (Err(Error::DelimiterNotFound(*max)), 0)
                }
                None => ended(),
            }
        }
        Step::Max(_) if rest.is_empty() => (Err(Error::EndOfStream), 0),
        Step::Max(max) => (Ok(rest[..rest.len().min(*max)].to_vec()), 0),
    }
}

async fn taken(stream: &Buffered<soloio::MemoryStream>, step: &Step) -> Result<Vec<u8>> {
    match step {
        Step::Exactly(count) => stream.receive_exactly(*count).await,
        Step::Array => stream.receive_array::<3>().await.map(Vec::from),
        Step::Until(delimiter, max) => stream.receive_until(delimiter, *max).await,
        Step::Max(max) => stream.receive_max(*max).await,
    }
}

proptest! {
    /// The twin agrees however the bytes arrive, and whichever receives were dropped.
    #[test]
    fn it_agrees_with_its_twin(
        data in bytes(0..80),
        chunks in prop::collection::vec(1..9_usize, 1..9),
        capacity in 1..20_usize,
        fed in 0..9_usize,
        steps in steps(),
    ) {
        run(async {
            let (near, far) = create_memory_byte_stream(capacity);
            let mut near = Buffered::new(near);
            let fed = fed.min(data.len());
            near.feed_data(&data[..fed]);
            let send = async {
                let mut rest = &data[fed..];
                for chunk in chunks.iter().cycle() {
                    let (now, later) = rest.split_at(rest.len().min(*chunk));
                    // The receiver may have done all its steps.
                    if polled(400, far.send(now)).await.is_none() || later.is_empty() {
                        break;
                    }
                    rest = later;
                    turns(1).await;
                }
                far.send_eof().await.expect("ended");
            };
            let receive = async {
                let mut at = 0;
                for (step, polls) in &steps {
                    let polls = if *polls == 4 { usize::MAX } else { *polls };
                    let Some(got) = polled(polls, taken(&near, step)).await else {
                        continue;
                    };
                    let (wanted, gone) = expected(step, &data[at..]);
                    match (&got, &wanted) {
                        (Ok(got), Ok(wanted)) if matches!(step, Step::Max(_)) => {
                            assert!(!got.is_empty() && wanted.starts_with(got), "{step:?}");
                            at += got.len();
                        }
                        (Ok(got), Ok(wanted)) => assert_eq!(got, wanted, "{step:?}"),
                        _ => assert_eq!(format!("{got:?}"), format!("{wanted:?}"), "{step:?}"),
                    }
                    at += gone;
                    assert!(data[at..].starts_with(&near.buffer()));
                }
            };
            join(send, receive).await;
        });
    }
}

#[test]
fn a_second_receiver_is_busy_also_beside_a_full_buffer() {
    run(async {
        let (near, far) = create_memory_byte_stream(64);
        let mut near = Buffered::new(near);
        near.feed_data(b"abc");
        let first = near.receive_exactly(5);
        let second = async {
            refused!(near.receive().await, Error::Busy);
            refused!(near.receive_exactly(1).await, Error::Busy);
            refused!(near.receive_until(b"c", 9).await, Error::Busy);
            refused!(near.receive_into(&mut [0]).await, Error::Busy);
            far.send(b"de").await.expect("sent");
        };
        let (first, ()) = join(first, second).await;
        assert_eq!(first.expect("five"), b"abcde");
        assert_eq!(near.buffer(), b"");
    });
}

#[test]
fn an_abort_ends_who_waits_and_empties_the_buffer() {
    run(async {
        let (near, _far) = tcp_pair().await;
        let mut near = Buffered::new(near);
        near.feed_data(b"abc");
        let abort = async {
            turns(2).await;
            near.abort();
        };
        let (ended, ()) = join(near.receive_until(b"\n", 100), abort).await;
        refused!(ended, Error::Closed);
        refused!(near.receive().await, Error::Closed);
        refused!(near.receive_exactly(0).await, Error::Closed);
        assert_eq!(near.buffer(), b"");
    });
}

/// A receive that waits is the receiver, also while another one is at its gate.
#[test]
fn a_second_receiver_that_yields_takes_nothing_from_the_first() {
    run(async {
        let (near, far) = create_memory_byte_stream(64);
        let near = Buffered::new(near);
        let second = async {
            far.send(b"ab").await.expect("sent");
            // Each refusal uses some of the turn, until it is spent.
            loop {
                let mut second = pin!(near.receive_exactly(1));
                match poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx))).await {
                    Poll::Ready(refused) => refused!(refused, Error::Busy),
                    Poll::Pending => return second.await,
                }
            }
        };
        let (first, second) = join(near.receive_max(1), second).await;
        assert_eq!(first.expect("it was there first"), b"a");
        assert_eq!(second.expect("the first has ended"), b"b");
    });
}

#[test]
fn bytes_that_are_fed_to_a_receive_that_waits_end_it() {
    run(async {
        let (near, far) = create_memory_byte_stream(64);
        let (mut near, mut place) = (Buffered::new(near), Place::default());
        let mut bytes = [0; 8];
        let mut room = Room::new(&mut bytes);
        let waits = poll_fn(|cx| Poll::Ready(near.poll_receive(&mut place, cx, &mut room)));
        assert!(waits.await.is_pending());
        near.feed_data(b"abc");
        let fed = poll_fn(|cx| near.poll_receive(&mut place, cx, &mut room)).await;
        fed.expect("bytes");
        assert_eq!(room.filled(), b"abc");
        assert!(place.is_idle());
        far.send(b"de").await.expect("sent");
        assert_eq!(near.receive().await.expect("no other receives"), b"de");
    });
}

/// The reset waits for room in the kernel, or for the peer; its drop ends the stream all the same.
#[test]
fn a_reset_that_is_dropped_ends_it_and_empties_the_buffer() {
    run(async {
        let (near, _far) = tcp_pair().await;
        clog(&near, 0).await;
        let mut near = Buffered::new(near);
        near.feed_data(b"abc");
        assert!(polled(1, ByteStream::reset(&near)).await.is_none());
        refused!(near.receive().await, Error::Closed);
        assert_eq!(near.buffer(), b"");
    });
}

/// A line took an allocation each, which a server of many short requests pays with a sixth of its
/// time.
#[test]
fn lines_that_came_together_take_no_allocation() {
    run(async {
        let (ours, theirs) = create_memory_byte_stream(4096);
        let (ours, mut line) = (Buffered::new(ours), Vec::with_capacity(64));
        for delimiter in [&b"\n"[..], b"\r\n"] {
            for _ in 0..3 {
                let all = [b"a line of 20 bytes..", delimiter].concat().repeat(16);
                theirs.send(&all).await.expect("sent");
                ours.receive_until_into(&mut line, delimiter, 1024)
                    .await
                    .expect("received");
                let before = made();
                for _ in 1..16 {
                    let received = ours.receive_until_into(&mut line, delimiter, 1024);
                    received.await.expect("received");
                    assert_eq!(line, b"a line of 20 bytes..");
                }
                assert_eq!(made(), before);
                theirs.send(&all.repeat(2)).await.expect("sent");
                let whole = |bytes: &[u8]| (bytes.len() == 2 * all.len()).then_some((0, ()));
                ours.receive_with(4096, whole).await.expect("all of it");
                let before = made();
                ours.receive_array::<30>().await.expect("received");
                let received = ours.receive_with(9, |bytes| Some((bytes.len(), ())));
                received.await.expect("received");
                let lines = ours.receive_each(delimiter, 1024, |_| {}).await;
                assert_eq!((made(), lines.expect("received")), (before, 31));
            }
        }
        theirs.send_eof().await.expect("ended");
        let ended = ours.receive_until_into(&mut line, b"\n", 1024).await;
        refused!(ended, Error::EndOfStream);
        assert_eq!(line, b"a line of 20 bytes..", "an error changes nothing");
    });
}

#[test]
fn it_takes_no_more_than_it_may_need_and_can_be_taken_apart() {
    run(async {
        let (near, far) = tcp_pair().await;
        far.send(b"name: value\r\n\r\nbody and the next")
            .await
            .expect("sent");
        far.send_eof().await.expect("ended");
        let near = Buffered::new(near);
        refused!(
            near.receive_until(b"\r\n", 3).await,
            Error::DelimiterNotFound(3)
        );
        assert_eq!(
            near.buffer(),
            b"name:",
            "the limit and the delimiter, no more"
        );
        assert_eq!(
            near.receive_until(b"\r\n", 11).await.expect("a line"),
            b"name: value"
        );
        assert_eq!(
            near.receive_until(b"\r\n", 0).await.expect("an empty one"),
            b""
        );
        assert_eq!(near.receive_exactly(4).await.expect("the body"), b"body");
        // A length that the peer announces reserves no memory before the bytes have come.
        refused!(
            near.receive_exactly(usize::MAX).await,
            Error::IncompleteRead(13)
        );
        refused!(
            near.receive_until(b"\n", usize::MAX).await,
            Error::IncompleteRead(13)
        );
        refused!(near.receive_until(b"", 9).await, Error::Io(_));
        let (stream, rest) = near.into_parts();
        assert_eq!(rest, b" and the next");
        refused!(stream.receive().await, Error::EndOfStream);
    });
}

#[cfg(feature = "relay")]
#[test]
fn what_it_does_not_buffer_goes_straight_through() {
    run(async {
        let dir = TempDir::new();
        std::fs::write(dir.path("file"), b"0123456789").expect("room");
        let file = std::fs::File::open(dir.path("file")).expect("it is there");
        let (near, far) = tcp_pair().await;
        let near = Buffered::new(near);
        assert_eq!(near.inner().peer_addr(), far.local_addr());
        let mut rest = 2..5;
        near.send_file_from(&file, &mut rest).await.expect("room");
        assert_eq!(rest, 5..5);
        near.send_file(&file, 8, 2).await.expect("room");
        near.send_eof().await.expect("the end");
        let far = Buffered::new(far);
        assert_eq!(far.receive_exactly(5).await.expect("data"), b"23489");
        refused!(far.receive().await, Error::EndOfStream);
    });
}
