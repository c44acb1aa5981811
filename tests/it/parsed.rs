//! Receives of `Buffered` that use bytes in place, and those whose bytes are already there.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::task::{Poll, Waker};

use futures_util::FutureExt;
use futures_util::future::join;
use soloio::{Buffered, CancelScope, Error, create_memory_byte_stream};

use crate::net_support::{refused, run, turns};
use crate::support::poll_with;

/// Polls what is ready.
fn poll<F: Future>(future: Pin<&mut F>) -> F::Output {
    match poll_with(future, Waker::noop()) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn an_abort_by_a_parser_ends_its_receive() {
    run(async {
        let (near, _far) = create_memory_byte_stream(8);
        let mut near = Buffered::new(near);
        near.feed_data(b"abc");
        let aborts = |bytes: &[u8]| {
            near.abort();
            Some((1, bytes[0]))
        };
        refused!(near.receive_with(3, aborts).await, Error::Closed);
        assert_eq!(near.buffer(), b"");
    });
}

/// A parser runs inside the receive: it may look at the stream, and another receive is refused.
#[test]
fn a_parser_that_receives_is_busy_and_one_that_panics_has_taken_nothing() {
    run(async {
        let (near, _far) = create_memory_byte_stream(8);
        let mut near = Buffered::new(near);
        near.feed_data(b"abc");
        let again = |bytes: &[u8]| {
            let inner = poll(pin!(near.receive_until_into(&mut Vec::new(), b"c", 9)));
            refused!(inner, Error::Busy);
            let inner = poll(pin!(near.receive()));
            refused!(inner, Error::Busy);
            assert_eq!(near.buffer(), bytes);
            Some((1, ()))
        };
        near.receive_with(3, again).await.expect("a byte");
        for used in [0, 3] {
            let panics = async {
                let parse = |bytes: &[u8]| match used {
                    0 => resume_unwind(Box::new("parser")),
                    // More than there is.
                    used => Some((used.max(bytes.len() + 1), ())),
                };
                near.receive_with(2, parse).await
            };
            let panicked = AssertUnwindSafe(panics).catch_unwind().await;
            drop(panicked.expect_err("it panics"));
            assert_eq!(
                near.receive_with(2, |bytes| Some((0, bytes.len())))
                    .await
                    .expect("two"),
                2
            );
        }
    });
}

/// The receive of a parser that has panicked claims nothing, although it is still there; polled
/// again, it begins anew.
#[test]
fn a_panic_of_a_parser_frees_the_direction() {
    run(async {
        let (near, far) = create_memory_byte_stream(8);
        let (near, calls) = (Buffered::new(near), Cell::new(0));
        let parse = |bytes: &[u8]| {
            calls.set(calls.get() + 1);
            match calls.get() {
                1 => None,
                2 | 3 => resume_unwind(Box::new("parser")),
                _ => Some((bytes.len(), bytes.to_vec())),
            }
        };
        far.send(b"ab").await.expect("room");
        let mut kept = pin!(near.receive_with(8, parse));
        assert!(poll_with(kept.as_mut(), Waker::noop()).is_pending());
        far.send(b"cd").await.expect("room");
        for _ in 0..2 {
            let again = AssertUnwindSafe(|| poll_with(kept.as_mut(), Waker::noop()));
            drop(catch_unwind(again).expect_err("it panics"));
            let one = near.receive_with(8, |bytes| Some((1, bytes[0])));
            assert!(one.await.is_ok(), "nothing claims it");
        }
        let rest = poll_with(kept.as_mut(), Waker::noop()).map(|rest| rest.expect("it parses"));
        assert_eq!(rest, Poll::Ready(b"cd".to_vec()));
    });
}

/// A parser gets the bytes again only when more have come, however often its receive is polled; one
/// that has ended holds nothing, although it is still there.
#[test]
fn a_needless_poll_calls_no_parser() {
    run(async {
        let (near, far) = create_memory_byte_stream(8);
        let (near, seen) = (Buffered::new(near), RefCell::new(Vec::new()));
        let parse = |bytes: &[u8]| {
            seen.borrow_mut().push(bytes.len());
            (bytes.len() == 3).then_some((3, ()))
        };
        let mut receive = pin!(near.receive_with(3, parse));
        for part in [b"a", b"b", b"c"] {
            for _ in 0..2 {
                assert!(poll_with(receive.as_mut(), Waker::noop()).is_pending());
            }
            far.send(part).await.expect("there is room");
        }
        poll(receive.as_mut()).expect("three bytes");
        assert_eq!(*seen.borrow(), [1, 2, 3]);
        let next = poll_with(pin!(near.receive_until(b"", 9)), Waker::noop());
        assert!(matches!(next, Poll::Ready(Err(Error::Io(_)))), "{next:?}");
        assert!(poll_with(pin!(near.receive()), Waker::noop()).is_pending());
    });
}

/// Lines that are there already let other tasks run, and end with their scope.
#[test]
fn lines_in_the_buffer_pass_the_gate() {
    run(async {
        let (near, _far) = create_memory_byte_stream(8);
        let mut near = Buffered::new(near);
        near.feed_data(&b"a\n".repeat(10_000));
        let (lines, seen) = (Cell::new(0), RefCell::new(Vec::new()));
        let receive = async {
            let mut line = Vec::new();
            while lines.get() < 9_000 {
                near.receive_until_into(&mut line, b"\n", 1)
                    .await
                    .expect("a line");
                lines.set(lines.get() + 1);
            }
        };
        let other = async {
            while lines.get() < 9_000 {
                seen.borrow_mut().push(lines.get());
                turns(1).await;
            }
        };
        join(receive, other).await;
        let seen = seen.into_inner();
        let most = seen.windows(2).map(|two| two[1] - two[0]).max();
        assert!(most.is_some_and(|most| most < 1_000), "{most:?}");
        let (scope, mut line) = (CancelScope::new(), vec![9]);
        scope.cancel("a test");
        let cut = scope
            .run(async { near.receive_until_into(&mut line, b"\n", 1).await })
            .await;
        refused!(cut.expect("it returned"), Error::Cancelled);
        assert_eq!((&line[..], near.buffer().len()), (&[9][..], 2_000));
        let each = scope.run(near.receive_each(b"\n", 1, |_| {})).await;
        refused!(each.expect("it returned"), Error::Cancelled);
    });
    let (near, _far) = create_memory_byte_stream(8);
    let mut near = Buffered::new(near);
    near.feed_data(b"a\n");
    let mut line = Vec::new();
    let outside = poll(pin!(near.receive_until_into(&mut line, b"\n", 1)));
    refused!(outside, Error::NoRuntime);
}

#[test]
fn a_line_without_its_end_is_no_line() {
    run(async {
        let (near, far) = create_memory_byte_stream(64);
        far.send(b"\r\n\na\r\rb\r\ncut").await.expect("sent");
        far.send_eof().await.expect("ended");
        let (near, mut line) = (Buffered::new(near), Vec::new());
        for expected in [&b""[..], b"", b"a\r\rb"] {
            assert!(near.next_line(&mut line, 5).await.expect("a line"));
            assert_eq!(line, expected);
        }
        let cut = near.next_line(&mut line, 5).await;
        refused!(cut, Error::IncompleteRead(3));
        assert_eq!(near.buffer(), b"cut");
    });
}
