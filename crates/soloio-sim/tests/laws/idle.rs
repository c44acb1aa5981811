//! What needs no system call makes none: an operation that waits, a stream that has ended, an event
//! of a socket that is gone.

#![allow(
    unsafe_code,
    reason = "it duplicates descriptors, as a forked process has them"
)]

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use soloio::{Error, create_tcp_listener, create_udp_socket, sleep, unix_socket_pair};
use soloio_sim::{calls, run};

use super::tcp;

/// Returns the calls since `before`, without the loop's waits.
fn since(before: &BTreeMap<&'static str, usize>) -> BTreeMap<&'static str, usize> {
    let made = calls().into_iter().map(|(name, count)| {
        let earlier = before.get(name).copied().unwrap_or(0);
        (name, count - earlier)
    });
    let waits = [
        "epoll_wait",
        "timerfd_settime",
        "timerfd_create",
        "epoll_ctl",
    ];
    made.filter(|(name, count)| *count > 0 && !waits.contains(name))
        .collect()
}

/// Polls once.
async fn is_pending<F: Future>(mut operation: Pin<&mut F>) -> bool {
    poll_fn(|cx| Poll::Ready(operation.as_mut().poll(cx).is_pending())).await
}

/// Polls an operation that has to wait until it does, and then again for other reasons.
async fn expect_no_calls<F: Future>(what: &str, operation: F) {
    let mut operation = pin!(operation);
    let mut poll = async || {
        assert!(
            is_pending(operation.as_mut()).await,
            "{what}: it has to wait"
        );
        sleep(Duration::from_millis(1)).await.expect("a sleep");
    };
    poll().await;
    let before = calls();
    for _ in 0..9 {
        poll().await;
    }
    assert_eq!(since(&before), BTreeMap::new(), "{what}, polled again");
}

#[test]
fn an_operation_that_waits_makes_no_call_when_its_task_is_polled_again() {
    run(async {
        // More data than fits into the buffers on both sides.
        let lot = vec![0; 1 << 20];
        let (a, b) = tcp().await;
        expect_no_calls("a TCP receive", a.receive()).await;
        b.send(b"1234").await.expect("sent");
        assert_eq!(a.receive_max(4).await.expect("received"), b"1234");
        expect_no_calls("a TCP receive after one of all bytes", a.receive()).await;
        expect_no_calls("a TCP send", a.send(&lot)).await;

        let (a, b) = unix_socket_pair().expect("a pair");
        b.send(b"1234").await.expect("sent");
        assert_eq!(a.receive_max(4).await.expect("received"), b"1234");
        expect_no_calls("a UNIX receive", a.receive()).await;
        expect_no_calls("a UNIX send", a.send(&lot)).await;

        let made = create_udp_socket().local_host("127.0.0.1");
        let socket = made.await.expect("a socket");
        let to = socket.local_addr();
        expect_no_calls("a UDP receive", socket.receive()).await;
        socket.send_to(b"1234", to).await.expect("sent");
        socket.receive().await.expect("received");
        expect_no_calls("a UDP receive after another one", socket.receive()).await;

        let made = create_tcp_listener().local_host("127.0.0.1");
        let listener = made.await.expect("a port");
        let port = listener.local_addr().port();
        expect_no_calls("an accept", listener.accept()).await;
        let connect = soloio::connect_tcp("127.0.0.1", port);
        let (client, served) = soloio::join((connect, listener.accept())).await;
        client.expect("connected");
        served.expect("accepted");
        expect_no_calls("an accept after another one", listener.accept()).await;
    });
}

#[test]
fn a_stream_that_has_ended_makes_no_call_to_say_it_again() {
    run(async {
        let (a, b) = tcp().await;
        let (c, d) = unix_socket_pair().expect("a pair");
        b.send_eof().await.expect("ended");
        d.send_eof().await.expect("ended");
        assert!(matches!(a.receive().await, Err(Error::EndOfStream)));
        assert!(matches!(c.receive().await, Err(Error::EndOfStream)));
        let before = calls();
        for _ in 0..3 {
            assert!(matches!(a.receive().await, Err(Error::EndOfStream)));
            assert!(matches!(c.receive().await, Err(Error::EndOfStream)));
        }
        assert_eq!(since(&before), BTreeMap::new());
    });
}

/// Duplicates all descriptors of this machine, as a forked process has them.
fn fork() {
    // SAFETY: no memory is passed, and nothing owns the new numbers; the world ends with them.
    unsafe {
        let near = libc::eventfd(0, libc::EFD_CLOEXEC);
        let numbers = near - 50..near + 50;
        let duplicate = |fd: &c_int| libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, near + 50) > 0;
        assert!(
            numbers.filter(duplicate).count() > 5,
            "the sockets, and more"
        );
    }
}

/// A forked process keeps a socket open, and in the epoll set: its events go on.
#[test]
fn an_event_of_a_socket_that_is_closed_is_none_of_a_later_one() {
    run(async {
        let ((a, b), (_peer, later)) = (tcp().await, tcp().await);
        // Both are watched.
        expect_no_calls("a receive", a.receive()).await;
        expect_no_calls("a receive", b.receive()).await;
        fork();
        drop(b);
        // It takes the place of the closed one.
        let mut received = pin!(later.receive());
        assert!(is_pending(received.as_mut()).await);
        a.send(b"to the forked process").await.expect("sent");
        let before = calls();
        sleep(Duration::from_millis(1)).await.expect("a sleep");
        assert!(is_pending(received.as_mut()).await);
        let made = since(&before);
        assert!(!made.contains_key("recv"), "{made:?}");
    });
}
