//! TCP: connections that end in every way, and the operations that wait meanwhile. C4 to C21 of the
//! list of failures seen elsewhere. Long because it is that list.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::time::Duration;

use futures_util::future::join;
use socket2::SockRef;
use soloio::{
    Error, Family, Result, TcpStream, connect_tcp, create_tcp_listener, create_unix_listener,
    task_group,
};

use crate::kernel;
use crate::net_support::{
    TempDir, clog, is_broken, numbered, polled, receive_numbered, refused, run, tcp_listener,
    tcp_pair, turns, udp, unix_pair,
};
use crate::nobody;
use crate::support::{Random, alone, fds, rounds};

/// Returns a peer that std drives, and our accepted end.
async fn std_pair() -> (StdStream, TcpStream) {
    let listener = tcp_listener().await;
    let peer = StdStream::connect(listener.local_addr()).expect("connects");
    (peer, listener.accept().await.expect("accepts"))
}

/// Ends a connection with a reset.
fn reset(peer: StdStream) {
    SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .expect("set");
    drop(peer);
}

#[test]
fn c4_two_pending_connections_and_one_waiting_accept() {
    // One edge for two connections: the second waited for the next edge (edge-triggered epoll).
    run(async {
        let listener = tcp_listener().await;
        let connect = async {
            turns(3).await;
            let address = listener.local_addr();
            [(); 2].map(|()| StdStream::connect(address).expect("connects"))
        };
        let (first, [one, two]) = join(listener.accept(), connect).await;
        let second = listener.accept().await.expect("the second one");
        let peers = [
            first.expect("the first one").peer_addr(),
            second.peer_addr(),
        ];
        assert_eq!(
            peers,
            [one, two].map(|peer| peer.local_addr().expect("connected"))
        );
        assert!(
            polled(5, listener.accept()).await.is_none(),
            "there is no third"
        );
    });
}

#[test]
fn c4_all_connections_of_a_burst_are_accepted() {
    run(async {
        let listener = tcp_listener().await;
        assert!(polled(2, listener.accept()).await.is_none());
        for _ in 0..3 {
            let connect = || StdStream::connect(listener.local_addr()).expect("connects");
            let peers: Vec<_> = (0..300).map(|_| connect()).collect();
            // No accept waits while the events come.
            turns(3).await;
            for peer in &peers {
                let accepted = listener.accept().await.expect("accepts");
                assert_eq!(accepted.peer_addr(), peer.local_addr().expect("connected"));
            }
        }
    });
}

#[test]
fn c5_connections_that_are_gone_before_the_accept_end_nothing() {
    // getpeername or an option fails, and the loop ended (leap#1318, libdill#237, swift-nio#1030).
    run(async {
        let listener = tcp_listener().await;
        let port = listener.local_addr().port();
        let ended = task_group(async |group| {
            let server = listener.serve(async |client| {
                let data = client.receive().await?;
                client.send(&data).await
            });
            let server = group.spawn(server);
            for n in 0..rounds(5_000) {
                if n % 8 == 0 {
                    // Otherwise the backlog may be full, and std's connect waits for ever.
                    turns(8).await;
                }
                reset(StdStream::connect(listener.local_addr()).expect("connects"));
            }
            let client = connect_tcp("127.0.0.1", port).await?;
            client.send(b"alive?").await?;
            assert_eq!(client.receive().await?, b"alive?");
            server.cancel();
            Ok(())
        });
        ended.await.expect("the server survives");
    });
}

#[test]
fn c7_a_connect_to_oneself_is_refused() {
    // tokio#3405, ktor#2237.
    run(async {
        let (_nobody, port) = nobody::tcp("127.0.0.1");
        let to_itself = connect_tcp("127.0.0.1", port)
            .local_host("127.0.0.1")
            .local_port(port);
        match to_itself.await {
            Err(Error::ConnectFailed(failed)) => {
                assert_eq!(
                    failed.attempts[0].cause.kind(),
                    ErrorKind::ConnectionRefused
                );
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn c9_partial_sends_lose_no_tail() {
    // A short write led to a wrong offset (libuv's tcp_write_in_a_row, anyio#1422).
    run(async {
        let (a, b) = tcp_pair().await;
        SockRef::from(&a).set_send_buffer_size(1).expect("set");
        let mut at = 0;
        for size in [1, 2, 1000, 4096, 4097, 65_536, 300_001] {
            let data = numbered(at, size);
            let (sent, ()) = join(a.send(&data), receive_numbered(&b, at, size)).await;
            sent.expect("sent");
            at += size;
        }
    });
}

#[test]
fn c10_a_send_to_a_closed_peer_is_an_error_and_no_signal() {
    // SIGPIPE would end the process.
    alone(
        "tcp::c10_a_send_to_a_closed_peer_is_an_error_and_no_signal",
        || {
            kernel::default_action(libc::SIGPIPE);
            run(async {
                let (a, b) = tcp_pair().await;
                drop(b);
                while a.send(b"x").await.is_ok() {}
                assert!(is_broken(&a.send(b"x").await));
                let mut parts = [std::io::IoSlice::new(b"x")];
                assert!(is_broken(&a.send_vectored(&mut &mut parts[..]).await));
                let (a, b) = unix_pair().await;
                drop(b);
                assert!(is_broken(&a.send(b"x").await));
                let (a, b) = unix_pair().await;
                a.send(b"unread").await.expect("sent");
                drop(b);
                assert!(is_broken(&a.send(b"x").await));
            });
        },
    );
}

async fn stays_broken(stream: &TcpStream) {
    for _ in 0..3 {
        refused!(stream.receive().await, Error::Broken(_));
        refused!(stream.next().await, Error::Broken(_));
        refused!(stream.receive_into(&mut [0; 4]).await, Error::Broken(_));
        refused!(stream.send(b"x").await, Error::Broken(_));
    }
}

#[test]
fn c11_a_reset_is_never_an_orderly_end() {
    // anyio#671.
    run(async {
        // Nothing is queued, and no operation waits.
        let (peer, ours) = std_pair().await;
        reset(peer);
        match ours.receive().await {
            Err(Error::Broken(cause)) => {
                assert_eq!(cause.kind(), ErrorKind::ConnectionReset);
                assert_eq!(cause.address(), Some(&*ours.peer_addr().to_string()));
            }
            other => panic!("{other:?}"),
        }
        stays_broken(&ours).await;
        // A receive waits when the reset comes.
        let (peer, ours) = std_pair().await;
        let later = async {
            turns(3).await;
            reset(peer);
        };
        refused!(join(ours.receive(), later).await.0, Error::Broken(_));
        stays_broken(&ours).await;
        // Queued data comes before the error.
        let (mut peer, ours) = std_pair().await;
        peer.write_all(&numbered(0, 5000)).expect("written");
        reset(peer);
        receive_numbered(&ours, 0, 5000).await;
        stays_broken(&ours).await;
        // Our own data is unread at the peer, so its kernel sends a reset.
        let (peer, ours) = std_pair().await;
        ours.send(b"unread").await.expect("sent");
        drop(peer);
        refused!(ours.receive().await, Error::Broken(_));
        stays_broken(&ours).await;
    });
}

#[test]
fn c11_a_reset_that_a_send_saw_is_known_to_the_receive() {
    // The kernel reports an error once; after that a receive returns 0, as at an orderly end.
    run(async {
        for queued in [0, 3000] {
            for sends in [1, 2] {
                let (mut peer, ours) = std_pair().await;
                peer.write_all(&numbered(0, queued)).expect("written");
                reset(peer);
                for _ in 0..sends {
                    refused!(ours.send(b"x").await, Error::Broken(_));
                }
                receive_numbered(&ours, 0, queued).await;
                stays_broken(&ours).await;
            }
        }
        let (a, b) = unix_pair().await;
        a.send(b"unread").await.expect("sent");
        drop(b);
        refused!(a.send(b"x").await, Error::Broken(_));
        for _ in 0..3 {
            refused!(a.receive().await, Error::Broken(_));
        }
    });
}

#[test]
fn c11_an_end_before_a_reset_is_an_end() {
    run(async {
        for (queued, send_first) in [(0, false), (0, true), (3000, false), (3000, true)] {
            let (mut peer, ours) = std_pair().await;
            peer.write_all(&numbered(0, queued)).expect("written");
            peer.shutdown(Shutdown::Write).expect("shut down");
            turns(2).await;
            reset(peer);
            if send_first {
                refused!(ours.send(b"x").await, Error::Broken(_));
            }
            receive_numbered(&ours, 0, queued).await;
            for _ in 0..3 {
                refused!(ours.receive().await, Error::EndOfStream);
                refused!(ours.send(b"x").await, Error::Broken(_));
            }
        }
        // The end was received before the reset.
        let (peer, ours) = std_pair().await;
        peer.shutdown(Shutdown::Write).expect("shut down");
        refused!(ours.receive().await, Error::EndOfStream);
        reset(peer);
        refused!(ours.receive().await, Error::EndOfStream);
    });
}

#[test]
fn c12_the_second_send_eof_and_one_after_a_reset_are_fine() {
    run(async {
        let (peer, ours) = std_pair().await;
        reset(peer);
        refused!(ours.receive().await, Error::Broken(_));
        ours.send_eof().await.expect("there is nothing left to end");
        ours.send_eof().await.expect("there is nothing left to end");
        refused!(ours.send(b"x").await, Error::Closed);
        ours.close().await.expect("closed");
    });
}

/// A server that answers before it has read the upload, and closes.
async fn early_reply(upload: usize, reply: &[u8]) -> (Result<()>, Vec<u8>, Error) {
    let (client, server) = tcp_pair().await;
    let serve = async move {
        server
            .receive_max(100)
            .await
            .expect("the head of the upload");
        server.send(reply).await.expect("sent");
        server.close().await.expect("closed");
    };
    let ask = async move {
        // The client reads after its last send, or when a send fails, as many clients do.
        let sent = client.send(&numbered(0, upload)).await;
        if sent.is_ok() {
            client.send_eof().await.expect("ended");
        }
        let mut got = Vec::new();
        loop {
            match client.receive().await {
                Ok(bytes) => got.extend(bytes),
                Err(end) => return (sent, got, end),
            }
        }
    };
    join(ask, serve).await.0
}

#[test]
fn c14_a_reply_in_flight_survives_the_close() {
    // Unread input makes the kernel send a reset, which destroys the reply (asterinas#1855; nginx
    // lingers).
    run(async {
        for _ in 0..200 {
            let (sent, got, end) = early_reply(300_000, b"413 too large").await;
            sent.expect("all was read");
            assert_eq!(got, b"413 too large");
            assert!(matches!(end, Error::EndOfStream), "{end:?}");
        }
        for _ in 0..5 {
            // An upload larger than a close discards gets a reset, after the reply.
            let (_, got, _) = early_reply(16_000_000, b"413 too large").await;
            assert_eq!(got, b"413 too large");
        }
    });
}

#[test]
fn c17_cancelled_connects_leak_no_descriptor() {
    // anyio#1364.
    alone("tcp::c17_cancelled_connects_leak_no_descriptor", || {
        let open = StdListener::bind("127.0.0.1:0").expect("a port");
        let before = fds();
        run(async {
            let mut random = Random::new(3);
            let port = open.local_addr().expect("bound").port();
            open.set_nonblocking(true).expect("set");
            for _ in 0..rounds(10_000) {
                drop(polled(random.below(3), connect_tcp("127.0.0.1", port)).await);
                drop(polled(random.below(3), connect_tcp("127.0.0.1", 1)).await);
                while open.accept().is_ok() {}
            }
        });
        assert_eq!(fds(), before);
    });
}

#[test]
fn c18_abort_ends_every_operation_that_waits() {
    // anyio#1289: an accept hung for ever; anyio#1391.
    run(async {
        let (tcp, _tcp_peer) = tcp_pair().await;
        let (unix, _unix_peer) = unix_pair().await;
        clog(&tcp, 0).await;
        clog(&unix, 0).await;
        let dir = TempDir::new();
        let tcp_listener = create_tcp_listener().await.expect("listens");
        let unix_listener = create_unix_listener(dir.path("s")).await.expect("listens");
        let (datagrams, server) = (udp().await, udp().await);
        let port = server.local_addr().port();
        let connected = soloio::create_connected_udp_socket("127.0.0.1", port).await;
        let connected = connected.expect("a socket");
        let ended = task_group(async |group| {
            group.spawn(async { refused!(tcp.receive().await, Error::Closed) });
            group.spawn(async { refused!(tcp.send(b"x").await, Error::Closed) });
            group.spawn(async { refused!(unix.receive().await, Error::Closed) });
            group.spawn(async { refused!(unix.send(b"x").await, Error::Closed) });
            group.spawn(async { refused!(tcp_listener.accept().await, Error::Closed) });
            group.spawn(async { refused!(unix_listener.accept().await, Error::Closed) });
            group.spawn(async { refused!(datagrams.receive().await, Error::Closed) });
            group.spawn(async { refused!(connected.receive().await, Error::Closed) });
            turns(5).await;
            tcp.abort();
            unix.abort();
            datagrams.abort();
            connected.abort();
            tcp_listener.abort();
            unix_listener.abort();
        });
        ended.await.expect("no error");
        refused!(tcp_listener.accept().await, Error::Closed);
        refused!(
            datagrams.send_to(b"x", server.local_addr()).await,
            Error::Closed
        );
        refused!(connected.send(b"x").await, Error::Closed);
        refused!(tcp.close().await, Error::Closed);
    });
}

#[test]
fn abort_frees_port_and_peer_at_once_and_the_addresses_stay() {
    run(async {
        let listener = tcp_listener().await;
        let address = listener.local_addr();
        let mut peer = StdStream::connect(address).expect("connects");
        let stream = listener.accept().await.expect("accepts");
        listener.abort();
        listener.abort();
        assert_eq!(listener.local_addr(), address);
        StdStream::connect(address).expect_err("nobody listens");
        let again = create_tcp_listener()
            .local_host("127.0.0.1")
            .local_port(address.port())
            .await;
        again.expect("the port is free");
        let (local, remote) = (stream.local_addr(), stream.peer_addr());
        stream.abort();
        assert_eq!(
            peer.read(&mut [0; 1]).ok(),
            Some(0),
            "the peer sees the end"
        );
        assert_eq!((stream.local_addr(), stream.peer_addr()), (local, remote));
        assert_eq!(remote, peer.local_addr().expect("connected"));
    });
}

#[test]
fn addresses_are_known_after_a_reset() {
    run(async {
        let (peer, ours) = std_pair().await;
        let addresses = (
            peer.peer_addr().expect("known"),
            peer.local_addr().expect("known"),
        );
        reset(peer);
        refused!(ours.receive().await, Error::Broken(_));
        assert_eq!((ours.local_addr(), ours.peer_addr()), addresses);
    });
}

#[test]
fn c20_one_listener_for_both_families() {
    // anyio#857, anyio#1313: different ports, or only one of the families.
    run(async {
        let listener = create_tcp_listener().await.expect("listens");
        let ports: Vec<_> = listener
            .local_addrs()
            .iter()
            .map(SocketAddr::port)
            .collect();
        assert!(
            ports.iter().all(|port| *port == ports[0] && *port != 0),
            "{ports:?}"
        );
        for host in ["127.0.0.1", "::1"] {
            if host == "::1" && listener.local_addr().is_ipv4() {
                continue;
            }
            let client = connect_tcp(host, ports[0]).await.expect("connects");
            let server = listener.accept().await.expect("accepts");
            assert_eq!(
                server.peer_addr(),
                client.local_addr(),
                "IPv4 is shown as IPv4"
            );
            assert_eq!(server.local_addr(), client.peer_addr());
        }
        let listener = create_tcp_listener()
            .family(Family::V4)
            .await
            .expect("listens");
        assert!(listener.local_addrs().iter().all(SocketAddr::is_ipv4));
        let named = create_tcp_listener()
            .local_host("localhost")
            .await
            .expect("listens");
        let port = named.local_addr().port();
        assert!(
            named
                .local_addrs()
                .iter()
                .all(|address| address.port() == port)
        );
        connect_tcp("localhost", port).await.expect("connects");
    });
}

#[test]
fn c21_small_packets_are_sent_at_once() {
    // Nagle's algorithm with delayed acknowledgements stalls for 40 ms.
    run(async {
        let (client, server) = tcp_pair().await;
        for stream in [&client, &server] {
            assert!(SockRef::from(stream).tcp_nodelay().expect("asked"));
        }
    });
}

#[test]
fn a_peer_is_served_whatever_the_order_of_data_and_accept() {
    run(async {
        let listener = tcp_listener().await;
        let mut peer = StdStream::connect(listener.local_addr()).expect("connects");
        peer.write_all(b"early").expect("written");
        drop(peer);
        let server = listener.accept().await.expect("accepts");
        let got = server.receive().await.expect("data");
        assert_eq!(got, b"early");
        refused!(server.receive().await, Error::EndOfStream);
    });
}
