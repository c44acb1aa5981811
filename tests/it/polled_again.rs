//! Operations that are polled again after they ended with a cancel, by code that ignores it: a few
//! polls later the cancelled scope drops that code.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::future::join;
use soloio::{
    ByteStream, CancelScope, Error, Io, Result, Room, block_on, create_memory_byte_stream,
    create_tcp_listener, move_on_after, shield, sleep, task_group, yield_now,
};

use crate::net_support::{run, tcp_pair, unix_pair};
use crate::scopes::{HOUR, SOON};
use crate::support::{deadline, poll_with};

/// It had 13 million polls in 20 s, as each of them was told in order.
const MOST: u32 = 1000;

/// Cancels a future that polls `again` and is pending for ever: under a limit, and as a task.
async fn dropped_soon(again: impl FnMut(&mut Context<'_>)) {
    let (polls, again) = (Cell::new(0), RefCell::new(again));
    let ignores = || {
        poll_fn(|cx| -> Poll<Result<()>> {
            polls.set(polls.get() + 1);
            assert!(polls.get() < MOST, "it is polled for ever");
            (again.borrow_mut())(cx);
            Poll::Pending
        })
    };
    let ended = move_on_after(SOON, ignores()).await;
    assert!(ended.expect("its own limit").is_none());
    polls.set(0);
    task_group(async |group| {
        let task = group.spawn(ignores());
        yield_now().await?;
        task.cancel();
        Ok(())
    })
    .await
    .expect("the task was cancelled");
}

#[test]
fn a_sleep() {
    let _deadline = deadline();
    block_on(async {
        let mut long = pin!(sleep(HOUR));
        dropped_soon(|cx| drop(long.as_mut().poll(cx))).await;
    });
}

async fn streams<S: ByteStream>((ours, _theirs): (S, S)) {
    let mut io = Io::new(ours);
    dropped_soon(|cx| {
        let mut memory = [0; 9];
        drop(io.poll_receive(cx, &mut Room::new(&mut memory)));
    })
    .await;
}

#[test]
fn a_receive() {
    run(async {
        streams(create_memory_byte_stream(9)).await;
        streams(tcp_pair().await).await;
        streams(unix_pair().await).await;
    });
}

#[test]
fn a_child_that_is_awaited_by_reference() {
    run(async {
        task_group(async |group| {
            let mut child = group.spawn(sleep(HOUR));
            dropped_soon(|cx| drop(pin!(&mut child).poll(cx))).await;
            child.cancel();
            Ok(())
        })
        .await
        .expect("it was cancelled");
    });
}

#[test]
fn an_accept_that_is_begun_anew() {
    run(async {
        let listener = create_tcp_listener().local_host("127.0.0.1").await;
        let listener = listener.expect("a listener");
        dropped_soon(|cx| drop(pin!(listener.accept()).poll(cx))).await;
    });
}

/// The limit of a shield may pass inside a poll: the body is polled again, and hears of the cancel
/// before it is dropped.
#[test]
fn a_shield_that_ends_while_its_body_is_polled_ends_it_in_order() {
    run(async {
        let limit = Duration::from_millis(5);
        let scope = CancelScope::new();
        let body = async {
            scope.cancel("for the test");
            let (start, mut polls) = (Instant::now(), 0);
            // No operation, which would end by the cancel.
            let slow = poll_fn(|cx| {
                polls += 1;
                if polls == 1 {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                while start.elapsed() <= 2 * limit {}
                Poll::Ready(())
            });
            join(shield(limit, sleep(HOUR)), slow).await.0
        };
        let ended = scope.run(body).await;
        assert!(matches!(ended, Some(Err(Error::Cancelled))), "{ended:?}");
    });
}

/// Polls a future that is ready, and once more after its end; returns that result.
fn twice<F: Future>(future: F) -> Poll<F::Output> {
    let mut future = pin!(future);
    assert!(poll_with(future.as_mut(), Waker::noop()).is_ready());
    poll_with(future.as_mut(), Waker::noop())
}

/// It begins anew; one that has given its buffer away has no room, says so, and takes nothing.
#[test]
fn an_operation_that_has_ended() {
    async fn check<S: ByteStream>((ours, theirs): (S, S)) {
        assert!(matches!(twice(theirs.send(b"abcdef")), Poll::Ready(Ok(()))));
        let mut buffer = [0; 2];
        let one = ours
            .receive_into(&mut buffer)
            .await
            .expect("they are there");
        assert_eq!(one, b"ab");
        let again = twice(ours.receive_max(1));
        assert_eq!(again.map(Result::unwrap), Poll::Ready(b"d".to_vec()));
        let Poll::Ready(Err(Error::Io(error))) = twice(ours.receive_into(&mut buffer[..1])) else {
            panic!("it has no room");
        };
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("after its end"), "{error}");
        let rest = ours.receive().await.expect("it is there");
        assert_eq!(rest, b"f");
    }
    run(async {
        check(create_memory_byte_stream(9)).await;
        check(tcp_pair().await).await;
        check(unix_pair().await).await;
    });
}
