//! Bugs of soloio that reviews found, each with the program that showed it.

use std::cell::Cell;
use std::future::{Future, ready};
use std::net::UdpSocket as StdUdp;
use std::os::fd::AsFd;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use soloio::{
    Error, Listener, Result, Runtime, TaskGroup, TcpListener, TcpStream, block_on, connect_tcp,
    create_connected_udp_socket, create_tcp_listener, move_on_after, sleep, task_group,
};

use crate::kernel::{limit_descriptors, use_up_descriptors};
use crate::nobody;
use crate::support::{alone, deadline};

/// Spawns further `Spawner`s when it is dropped.
struct Spawner<'s> {
    group: &'s TaskGroup<'s, 'static>,
    more: u32,
}

impl Future for Spawner<'_> {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Pending
    }
}

impl Drop for Spawner<'_> {
    fn drop(&mut self) {
        for _ in 0..self.more {
            let (group, more) = (self.group, 0);
            group.spawn(Spawner { group, more });
        }
    }
}

/// The body is a plain function that spawned and then panicked, before it returned a future. The
/// children were dropped while the group's memory was freed, and spawned into it.
#[test]
fn a_body_that_panics_before_its_future_leaves_no_children() {
    fn body<'s>(group: &'s TaskGroup<'s, 'static>) -> std::future::Ready<Result<()>> {
        for _ in 0..3 {
            group.spawn(Spawner { group, more: 8 });
        }
        let ready = ready(Ok(()));
        assert!(group_is_odd(group), "before any future");
        ready
    }
    fn group_is_odd(_: &TaskGroup<'_, '_>) -> bool {
        false
    }
    let ended = catch_unwind(|| block_on(task_group(body)));
    assert!(ended.is_err());
}

/// Datagrams of other senders between bind and connect stayed in the queue.
#[test]
fn a_connected_udp_socket_hears_no_strangers() {
    let _deadline = deadline();
    let loopback = || StdUdp::bind("127.0.0.1:0").expect("a socket");
    let (peer, stop) = (loopback(), Stop::default());
    let port = loopback().local_addr().expect("bound").port();
    let peer_port = peer.local_addr().expect("bound").port();
    let heard = async || {
        let socket = create_connected_udp_socket("127.0.0.1", peer_port)
            .local_host("127.0.0.1")
            .local_port(port)
            .await?;
        loop {
            // Lost if the queue was full before the socket was connected.
            peer.send_to(b"peer", socket.local_addr())?;
            let patience = Duration::from_millis(10);
            if let Some(heard) = move_on_after(patience, socket.receive()).await? {
                return Ok(heard);
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let stranger = loopback();
            while !stop.0.load(Ordering::Relaxed) {
                // Mostly refused: no socket is bound there yet.
                stranger
                    .send_to(b"stranger", ("127.0.0.1", port))
                    .unwrap_or(0);
            }
        });
        let _stop = StopAtEnd(&stop);
        for _ in 0..300 {
            match block_on(heard()) {
                Ok(datagram) => assert_eq!(datagram, b"peer"),
                // Another test got the port meanwhile.
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
}

#[derive(Default)]
struct Stop(AtomicBool);

/// Ends the stranger's thread, also when the test fails.
struct StopAtEnd<'a>(&'a Stop);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// The failure of the loop was reported as an error of the address, or of the name.
#[test]
fn a_failed_loop_is_no_fault_of_an_address() {
    alone(
        "regressions::a_failed_loop_is_no_fault_of_an_address",
        || {
            let _deadline = deadline();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = listener.local_addr().expect("bound").port();
            let whole = |result: Result<TcpStream>| match result {
                Err(Error::Io(error)) => assert_eq!(error.raw_os_error(), Some(libc::EMFILE)),
                other => panic!("{other:?}"),
            };
            // The loop fails before the connect: nothing can begin.
            limit_descriptors(0);
            block_on(async {
                let slept = sleep(Duration::from_secs(3600)).await;
                assert!(slept.is_err(), "{slept:?}");
                whole(connect_tcp("127.0.0.1", port).await);
                whole(connect_tcp("localhost", port).await);
            });
            limit_descriptors(1024);
            // The loop fails during the connect: one descriptor is free for the socket, none for a
            // poller.
            let mut fillers = use_up_descriptors();
            drop(fillers.pop());
            block_on(async { whole(connect_tcp("127.0.0.1", port).await) });
        },
    );
}

/// A port in use for IPv6 was silently opened for IPv4 alone.
#[test]
fn a_listener_for_all_addresses_is_not_for_some() {
    let Ok(taken) = std::net::TcpListener::bind("[::1]:0") else {
        return; // No IPv6 here.
    };
    let port = taken.local_addr().expect("bound").port();
    match block_on(create_tcp_listener().local_port(port).into_future()) {
        Err(Error::Io(error)) => assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse),
        other => panic!("{other:?}"),
    }
}

/// The unspecified address means this host, so a connect to it could connect to itself.
#[test]
fn a_connection_to_oneself_is_refused_however_it_is_written() {
    for host in ["0.0.0.0", "127.0.0.1"] {
        let (_nobody, port) = nobody::tcp("0.0.0.0");
        let connected = block_on(connect_tcp(host, port).local_port(port).into_future());
        match connected {
            Err(Error::ConnectFailed(failed)) => {
                let kind = failed.attempts[0].cause.kind();
                assert_eq!(kind, std::io::ErrorKind::ConnectionRefused);
            }
            other => panic!("{host}: {other:?}"),
        }
    }
}

async fn pair() -> Result<(TcpStream, TcpStream)> {
    let listener = create_tcp_listener().local_host("127.0.0.1").await?;
    let client = connect_tcp("127.0.0.1", listener.local_addr().port()).await?;
    Ok((client, listener.accept().await?))
}

/// `send_eof` worked on any thread, where it could not wake a waiting send.
#[test]
fn the_end_is_sent_from_home_only() {
    let _deadline = deadline();
    block_on(async {
        let (client, server) = pair().await?;
        client.send(b"bound to this loop").await?;
        thread::scope(|scope| {
            let elsewhere = scope.spawn(|| block_on(client.send_eof()));
            let ended = elsewhere.join().expect("no panic");
            assert!(matches!(ended, Err(Error::OtherLoop)), "{ended:?}");
        });
        client.send_eof().await?;
        assert_eq!(server.receive().await?, b"bound to this loop");
        assert!(server.next().await?.is_none());
        Ok::<_, Error>(())
    })
    .expect("all at home");
}

/// A duplicate of the descriptor kept the connection open after an abort.
#[test]
fn an_abort_ends_the_connection_for_duplicates_too() {
    let _deadline = deadline();
    block_on(async {
        let (client, server) = pair().await?;
        let duplicate = server.as_fd().try_clone_to_owned()?;
        server.abort();
        let ended = client.receive().await;
        assert!(
            matches!(ended, Err(Error::EndOfStream | Error::Broken(_))),
            "{ended:?}"
        );
        drop(duplicate);
        Ok::<_, Error>(())
    })
    .expect("a connection");
}

/// An aborted connection ended the server if a custom listener reported it with an error of its
/// own.
#[test]
fn a_listener_of_ones_own_may_lose_a_connection() {
    struct Unlucky {
        inner: TcpListener,
        lost: Cell<bool>,
    }
    impl Listener for Unlucky {
        type Stream = TcpStream;

        async fn accept_begin(&self) -> Result<impl Future<Output = Result<TcpStream>>> {
            if !self.lost.replace(true) {
                return Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into());
            }
            Ok(ready(Ok(self.inner.accept().await?)))
        }

        fn abort(&self) {
            self.inner.abort();
        }
    }
    let _deadline = deadline();
    block_on(async {
        let inner = create_tcp_listener().local_host("127.0.0.1").await?;
        let (port, lost) = (inner.local_addr().port(), Cell::new(false));
        let listener = Unlucky { inner, lost };
        task_group(async |group| {
            let server = group.spawn(listener.serve(async |client| client.send(b"served").await));
            let client = connect_tcp("127.0.0.1", port).await?;
            assert_eq!(client.receive().await?, b"served");
            server.cancel();
            Ok(())
        })
        .await
    })
    .expect("the server goes on");
}

/// The loop's failure did not reach a wait inside a foreign combinator; and a runtime that was made
/// before failed for good when its first sleep found no descriptor for its bell.
#[test]
fn a_failed_loop_tells_everybody() {
    alone("regressions::a_failed_loop_tells_everybody", || {
        let _deadline = deadline();
        let mut made_in_time = Runtime::new().expect("a runtime");
        limit_descriptors(0);
        let inside = block_on(async {
            let mut sleeps = FuturesUnordered::new();
            sleeps.push(sleep(Duration::from_secs(3600)));
            sleeps.next().await
        });
        assert!(matches!(inside, Some(Err(Error::Io(_)))), "{inside:?}");
        let slept = made_in_time.block_on(sleep(Duration::from_millis(2)));
        assert!(slept.is_ok(), "{slept:?}");
        assert!(made_in_time.turn(Some(Duration::ZERO)).is_ok());
        // The leak checker needs descriptors at the end.
        limit_descriptors(1024);
    });
}
