//! Sockets that several threads and runtimes hold: the threads that may use them, and the effect of
//! an end from elsewhere. A socket is bound by its first operation; others return `OtherLoop` while
//! that runtime lives. Long because each pair of holders has its race.

use std::future::{Future, IntoFuture};
use std::io::Write;
use std::net::TcpStream as StdStream;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::pin;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_util::future::join;
use socket2::SockRef;
use soloio::{
    ByteStream, ConnectedUdpSocket, DatagramBuffer, Error, Runtime, TcpListener, TcpStream,
    UdpSocket, UnixListener, UnixStream, block_on, connect_tcp, create_tcp_listener,
    create_unix_listener,
};
use static_assertions::{assert_impl_all, assert_not_impl_any};

use crate::net_support::{TempDir, polled, refused, tcp_listener, tcp_pair, turns, udp, unix_pair};
use crate::support::{alone, asked_rounds, deadline, fds, poll_once, rounds};

assert_impl_all!(TcpStream: Send, Sync);
assert_impl_all!(UnixStream: Send, Sync);
assert_impl_all!(UdpSocket: Send, Sync);
assert_impl_all!(ConnectedUdpSocket: Send, Sync);
assert_impl_all!(TcpListener: Send, Sync);
assert_impl_all!(UnixListener: Send, Sync);
assert_impl_all!(Error: Send, Sync);
assert_not_impl_any!(Runtime: Send, Sync);

/// Every future of a socket is `Send`.
#[test]
fn futures_of_sockets_are_send() {
    fn travels(_: impl Send) {}
    #[allow(dead_code, reason = "it has to compile, not to run")]
    fn all(tcp: &TcpStream, unix: &UnixStream, listener: &TcpListener, other: &UnixListener) {
        travels(tcp.receive());
        travels(tcp.receive_max(1));
        travels(tcp.receive_into(&mut [0]));
        travels(tcp.next());
        travels(tcp.send(b""));
        travels(tcp.send_from(&mut &b""[..]));
        travels(tcp.send_vectored(&mut &mut [][..]));
        travels(tcp.send_eof());
        travels(unix.receive());
        travels(unix.next());
        travels(unix.send(b""));
        travels(listener.accept());
        travels(other.accept());
        travels(IntoFuture::into_future(connect_tcp("", 1)));
        travels(IntoFuture::into_future(create_tcp_listener()));
        travels(soloio::connect_unix(""));
    }
    #[allow(dead_code, reason = "it has to compile, not to run")]
    fn datagrams(udp: &UdpSocket, connected: &ConnectedUdpSocket, stream: TcpStream) {
        travels(udp.receive());
        travels(udp.receive_into(&mut [0]));
        travels(udp.next());
        travels(udp.send_to(b"", ([127, 0, 0, 1], 1).into()));
        travels(udp.send_to_host(b"", "localhost", 1));
        travels(udp.receive_many(&mut DatagramBuffer::new()));
        travels(udp.send_many(&mut [(&b""[..], udp.local_addr())].into_iter()));
        travels(udp.send_segments(&mut &b""[..], 1, udp.local_addr()));
        travels(connected.receive());
        travels(connected.receive_into(&mut [0]));
        travels(connected.send(b""));
        travels(stream.close());
    }
}

/// Polls once, with no runtime.
fn polled_outside<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn an_operation_outside_a_runtime_says_so() {
    let _guard = deadline();
    let (tcp, _peer) = block_on(tcp_pair());
    let (unix, _other) = block_on(unix_pair());
    let listener = block_on(tcp_listener());
    let datagrams = block_on(udp());
    for _ in 0..2 {
        assert!(matches!(
            polled_outside(tcp.receive()),
            Poll::Ready(Err(Error::NoRuntime))
        ));
        assert!(matches!(
            polled_outside(tcp.send(b"x")),
            Poll::Ready(Err(Error::NoRuntime))
        ));
        assert!(matches!(
            polled_outside(unix.receive()),
            Poll::Ready(Err(Error::NoRuntime))
        ));
        assert!(matches!(
            polled_outside(listener.accept()),
            Poll::Ready(Err(Error::NoRuntime))
        ));
        assert!(matches!(
            polled_outside(datagrams.receive()),
            Poll::Ready(Err(Error::NoRuntime))
        ));
    }
    let mut connect = pin!(IntoFuture::into_future(connect_tcp("127.0.0.1", 1)));
    let mut context = Context::from_waker(Waker::noop());
    match connect.as_mut().poll(&mut context) {
        Poll::Ready(Err(Error::NoRuntime | Error::ConnectFailed(_))) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn sockets_may_be_made_by_one_runtime_and_used_by_the_next() {
    let _guard = deadline();
    for _ in 0..3 {
        let (a, b) = block_on(tcp_pair());
        let listener = block_on(tcp_listener());
        let address = listener.local_addr();
        for n in 0..5_u8 {
            // The socket is bound and registered anew in each runtime; the one before has ended.
            block_on(async {
                let send = async {
                    turns(3).await;
                    b.send(&[n]).await
                };
                let (got, sent) = join(a.receive(), send).await;
                sent.expect("sent");
                assert_eq!(got.expect("received"), [n]);
                let client = StdStream::connect(address).expect("connects");
                let accepted = listener.accept().await.expect("accepts");
                assert_eq!(
                    accepted.peer_addr(),
                    client.local_addr().expect("connected")
                );
            });
        }
        let back = thread::scope(|scope| {
            let there = scope.spawn(|| block_on(async { a.send(b"from elsewhere").await }));
            there.join().expect("no panic")
        });
        back.expect("the runtimes before are dead");
    }
}

#[test]
fn a_second_runtime_is_refused_while_the_first_lives() {
    let _guard = deadline();
    let (a, mut peer) = block_on(async {
        let listener = tcp_listener().await;
        let peer = StdStream::connect(listener.local_addr()).expect("connects");
        (listener.accept().await.expect("accepts"), peer)
    });
    let (bound, tried) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut first = Runtime::new().expect("a runtime");
            assert!(first.block_on(polled(2, a.receive())).is_none());
            bound.wait();
            tried.wait();
            // The other runtime's attempts did not disturb it.
            assert_eq!(first.block_on(a.receive()).expect("received"), b"x");
            drop(first);
            bound.wait();
        });
        scope.spawn(|| {
            bound.wait();
            block_on(async {
                refused!(a.receive().await, Error::OtherLoop);
                refused!(a.send(b"x").await, Error::OtherLoop);
                refused!(a.next().await, Error::OtherLoop);
            });
            peer.write_all(b"x").expect("written");
            tried.wait();
            bound.wait();
            block_on(async {
                assert!(polled(2, a.receive()).await.is_none());
                peer.write_all(b"y").expect("written");
                assert_eq!(a.receive().await.expect("the first is dead"), b"y");
            });
        });
    });
}

#[test]
fn an_operation_does_not_wander_between_living_runtimes() {
    let _guard = deadline();
    let (a, b) = block_on(tcp_pair());
    let (c, d) = block_on(tcp_pair());
    let mut first = Runtime::new().expect("a runtime");
    let mut receive = Box::pin(a.receive());
    assert!(first.block_on(poll_once(receive.as_mut())).is_pending());
    let mut second = Runtime::new().expect("a runtime");
    second.block_on(async {
        // This operation's key in the second runtime equals the other's key in the first.
        let mut own = pin!(c.receive());
        assert!(poll_once(own.as_mut()).await.is_pending());
        match poll_once(receive.as_mut()).await {
            Poll::Ready(Err(Error::OtherLoop)) => {}
            other => panic!("{other:?}"),
        }
        drop(receive);
        d.send(b"mine").await.expect("sent");
        assert_eq!(own.await.expect("received"), b"mine");
    });
    drop(first);
    second.block_on(async {
        b.send(b"late").await.expect("sent");
        assert_eq!(a.receive().await.expect("free again"), b"late");
    });
}

#[test]
fn a_key_of_a_dead_runtime_touches_no_source_of_the_next() {
    let _guard = deadline();
    for finish in [true, false] {
        let (a, b) = block_on(tcp_pair());
        let (c, d) = block_on(tcp_pair());
        let mut first = Runtime::new().expect("a runtime");
        let mut old = Box::pin(a.receive());
        assert!(first.block_on(poll_once(old.as_mut())).is_pending());
        drop(first);
        block_on(async {
            // This key has the index and the generation of the old one.
            let mut own = pin!(c.receive());
            assert!(poll_once(own.as_mut()).await.is_pending());
            if finish {
                // The operation binds anew and continues; a second one is still refused.
                assert!(poll_once(old.as_mut()).await.is_pending());
                refused!(a.receive().await, Error::Busy);
                b.send(b"old").await.expect("sent");
                assert_eq!(old.await.expect("received"), b"old");
            } else {
                // A new operation takes the direction; the drop of the old one must not release it.
                let mut new = pin!(a.receive());
                assert!(poll_once(new.as_mut()).await.is_pending());
                drop(old);
                refused!(a.receive().await, Error::Busy);
                b.send(b"new").await.expect("sent");
                assert_eq!(new.await.expect("received"), b"new");
            }
            d.send(b"own").await.expect("sent");
            assert_eq!(own.await.expect("received"), b"own");
        });
    }
}

#[test]
fn an_old_stream_dropped_under_a_new_runtime_frees_none_of_its_sources() {
    let _guard = deadline();
    let (a, _b) = block_on(tcp_pair());
    let (old, _peer) = block_on(tcp_pair());
    block_on(async { assert!(polled(2, old.receive()).await.is_none()) });
    let mut second = Runtime::new().expect("a runtime");
    second.block_on(async {
        assert!(polled(2, a.receive()).await.is_none());
        drop(old);
    });
    assert!(format!("{second:?}").contains("sources: 1"), "{second:?}");
}

/// Returns a stream and a peer that ends with a reset, which keeps no port in TIME_WAIT: there are
/// fewer ports than rounds.
async fn stream_of(listener: &TcpListener) -> (TcpStream, StdStream) {
    let peer = StdStream::connect(listener.local_addr()).expect("connects");
    let linger = SockRef::from(&peer).set_linger(Some(Duration::ZERO));
    linger.expect("set");
    (listener.accept().await.expect("accepts"), peer)
}

/// Aborts once from another thread, at a moment that depends on `n`.
fn aborted_elsewhere<S: ByteStream + Sync>(runtime: &mut Runtime, n: usize, stream: &S) {
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            barrier.wait();
            for _ in 0..n % 64 {
                std::hint::spin_loop();
            }
            stream.abort();
        });
        runtime.block_on(async {
            if n % 4 == 0 {
                // Registers the stream first.
                assert!(polled(1, stream.receive()).await.is_none());
            }
            barrier.wait();
            refused!(stream.receive().await, Error::Closed);
        });
        other.join().expect("no panic");
    });
}

fn all_aborted_elsewhere(count: usize) {
    let before = fds();
    let mut runtime = Runtime::new().expect("a runtime");
    let dir = TempDir::new();
    let path = dir.path("socket");
    let (tcp, unix) = runtime.block_on(async {
        let unix = create_unix_listener(&path).await.expect("listens");
        (tcp_listener().await, unix)
    });
    let mut guard = deadline();
    for n in 0..count {
        if n % 10_000 == 0 {
            guard = deadline();
        }
        let (stream, _peer) = runtime.block_on(stream_of(&tcp));
        aborted_elsewhere(&mut runtime, n, &stream);
        let _peer = StdUnixStream::connect(&path).expect("connects");
        let stream = runtime.block_on(unix.accept()).expect("accepts");
        aborted_elsewhere(&mut runtime, n, &stream);
    }
    drop((tcp, unix, guard));
    // Processes the posts of the other threads.
    runtime.block_on(turns(2));
    assert!(format!("{runtime:?}").contains("sources: 0"), "{runtime:?}");
    drop(runtime);
    assert_eq!(fds(), before);
}

/// 100,000 rounds on request, else fewer.
fn many() -> usize {
    asked_rounds().unwrap_or_else(|| rounds(10_000))
}

#[test]
fn an_abort_from_another_thread_ends_a_receive() {
    let test = "threads::an_abort_from_another_thread_ends_a_receive";
    alone(test, || all_aborted_elsewhere(many()));
}

fn all_dropped_elsewhere(count: usize) {
    let before = fds();
    let mut runtime = Runtime::new().expect("a runtime");
    let listener = runtime.block_on(tcp_listener());
    let ends = AtomicUsize::new(0);
    let mut guard = deadline();
    thread::scope(|scope| {
        let (give, take) = std::sync::mpsc::sync_channel::<(TcpStream, StdStream)>(4);
        let ends = &ends;
        scope.spawn(move || {
            for (stream, peer) in take {
                // The owner's loop runs meanwhile, and may just process the peer's end.
                drop(peer);
                drop(stream);
                ends.fetch_add(1, Ordering::Relaxed);
            }
        });
        for n in 0..count {
            if n % 10_000 == 0 {
                guard = deadline();
            }
            let pair = runtime.block_on(async {
                let (stream, peer) = stream_of(&listener).await;
                assert!(polled(1, stream.receive()).await.is_none());
                (stream, peer)
            });
            give.send(pair).expect("the other thread lives");
            runtime.block_on(turns(2));
        }
    });
    drop((listener, guard));
    runtime.block_on(turns(2));
    assert_eq!(ends.load(Ordering::Relaxed), count);
    assert!(format!("{runtime:?}").contains("sources: 0"), "{runtime:?}");
    drop(runtime);
    assert_eq!(fds(), before);
}

#[test]
fn a_drop_on_another_thread_leaves_nothing() {
    let test = "threads::a_drop_on_another_thread_leaves_nothing";
    alone(test, || all_dropped_elsewhere(many()));
}

#[test]
fn a_pending_operation_dropped_on_another_thread_frees_the_direction() {
    let _guard = deadline();
    let mut runtime = Runtime::new().expect("a runtime");
    let (a, b) = runtime.block_on(tcp_pair());
    for n in 0..rounds(2_000) {
        let mut receive = Box::pin(a.receive());
        assert!(runtime.block_on(poll_once(receive.as_mut())).is_pending());
        thread::scope(|scope| {
            scope.spawn(move || drop(receive));
        });
        runtime.block_on(async {
            b.send(&[n as u8]).await.expect("sent");
            assert_eq!(a.receive().await.expect("not busy"), [n as u8]);
        });
    }
}

#[test]
fn listeners_are_aborted_from_another_thread() {
    let _guard = deadline();
    let dir = TempDir::new();
    let mut runtime = Runtime::new().expect("a runtime");
    for n in 0..rounds(1_000) {
        let barrier = Barrier::new(2);
        let path = dir.path(&format!("socket {n}"));
        let (tcp, unix) = runtime.block_on(async {
            let unix = create_unix_listener(&path).await.expect("listens");
            (tcp_listener().await, unix)
        });
        thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                tcp.abort();
                unix.abort();
            });
            runtime.block_on(async {
                barrier.wait();
                refused!(tcp.accept().await, Error::Closed);
                refused!(unix.accept().await, Error::Closed);
            });
        });
    }
}

#[test]
fn a_runtime_that_ends_while_its_sockets_are_aborted_elsewhere() {
    alone(
        "threads::a_runtime_that_ends_while_its_sockets_are_aborted_elsewhere",
        || {
            let _guard = deadline();
            let before = fds();
            for n in 0..rounds(3_000) {
                let barrier = Barrier::new(2);
                let mut runtime = Runtime::new().expect("a runtime");
                let (a, b) = runtime.block_on(async {
                    let (a, b) = tcp_pair().await;
                    assert!(polled(1, join(a.receive(), b.receive())).await.is_none());
                    (a, b)
                });
                thread::scope(|scope| {
                    scope.spawn(|| {
                        barrier.wait();
                        a.abort();
                        drop(b);
                    });
                    barrier.wait();
                    for _ in 0..n % 32 {
                        std::hint::spin_loop();
                    }
                    drop(runtime);
                });
            }
            assert_eq!(fds(), before);
        },
    );
}
