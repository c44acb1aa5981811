//! Handing a socket over to another loop: it is refused without `unbind`, and loses nothing with
//! it.

use std::time::Duration;

use futures_util::future::join;
use soloio::{
    Error, Runtime, TcpStream, UnixStream, block_on, connect_tcp, connect_unix,
    create_connected_udp_socket, create_unix_datagram_socket, create_unix_listener,
    unix_datagram_socket_pair,
};

use crate::net_support::{
    TempDir, check_numbered, numbered, polled, refused, run, tcp_listener, tcp_pair, turns, udp,
    unix_pair,
};
use crate::support::{alone, deadline, fds};

/// Echoes on its own thread and runtime.
fn echo_elsewhere(stream: TcpStream) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        block_on(async {
            let mut all = 0;
            while let Some(data) = stream.next().await.expect("an orderly end") {
                stream.send(&data).await.expect("sent");
                all += data.len();
            }
            all
        })
    })
}

#[test]
fn an_accepted_stream_is_served_on_another_loop() {
    let test = "hand_over::an_accepted_stream_is_served_on_another_loop";
    alone(test, || {
        let before = fds();
        run(async {
            let listener = tcp_listener().await;
            let port = listener.local_addr().port();
            for round in 0..20 {
                let client = connect_tcp("127.0.0.1", port).await.expect("connects");
                let server = listener.accept().await.expect("accepts");
                // Here the stream is used, waited for, and receives something.
                client.send(&numbered(0, 10)).await.expect("sent");
                assert!(server.receive_max(4).await.is_ok());
                if round % 2 == 0 {
                    // Receives the rest, so that the stream's readiness is known: data, then none.
                    server.receive().await.expect("the rest");
                    assert!(polled(2, server.receive()).await.is_none());
                    client.send(&numbered(0, 6)).await.expect("sent");
                }
                let thread = echo_elsewhere(server.unbind());
                client.send(b"more").await.expect("sent");
                client.send_eof().await.expect("ended");
                let mut answer = Vec::new();
                while let Some(data) = client.next().await.expect("an orderly end") {
                    answer.extend(data);
                }
                let from = if round % 2 == 0 { 0 } else { 4 };
                assert_eq!(&answer[6..], b"more");
                check_numbered(from, &answer[..6]);
                assert_eq!(thread.join().expect("it ended"), 10);
            }
        });
        assert_eq!(fds(), before);
    });
}

#[test]
fn without_it_another_loop_refuses() {
    let _guard = deadline();
    let mut here = Runtime::new().expect("a runtime");
    let (a, b) = here.block_on(tcp_pair());
    let (ua, _ub) = here.block_on(unix_pair());
    here.block_on(async {
        assert!(polled(2, a.receive()).await.is_none());
        assert!(polled(2, ua.receive()).await.is_none());
    });
    let (a, ua) = std::thread::spawn(move || {
        block_on(async {
            refused!(a.receive().await, Error::OtherLoop);
            refused!(a.send(b"x").await, Error::OtherLoop);
            refused!(ua.receive().await, Error::OtherLoop);
        });
        // `unbind` works on any thread: the loop that the socket was bound to is informed.
        let (a, ua) = (a.unbind(), ua.unbind());
        block_on(async {
            a.send(b"x").await.expect("sent");
            assert!(polled(2, a.receive()).await.is_none());
            assert!(polled(2, ua.receive()).await.is_none());
        });
        (a, ua)
    })
    .join()
    .expect("it ended");
    here.turn(Some(Duration::ZERO)).expect("a turn");
    let state = format!("{here:?}");
    assert!(!state.contains("sources: 2"), "{state}");
    // The last loop has ended, so the sockets need no `unbind`.
    here.block_on(async {
        assert_eq!(b.receive().await.expect("sent elsewhere"), b"x");
        b.send(b"y").await.expect("sent");
        assert_eq!(a.receive().await.expect("sent here"), b"y");
        drop(ua);
    });
}

#[test]
fn udp_and_unix_are_handed_over_too() {
    let _guard = deadline();
    let mut here = Runtime::new().expect("a runtime");
    let (server, client, mut near, far): (_, _, UnixStream, _) = here.block_on(async {
        let server = udp().await;
        let port = server.local_addr().port();
        let client = create_connected_udp_socket("127.0.0.1", port).await;
        let (near, far) = unix_pair().await;
        let client = client.expect("a socket");
        assert!(polled(2, server.receive()).await.is_none());
        assert!(polled(2, client.receive()).await.is_none());
        assert!(polled(2, near.receive()).await.is_none());
        (server, client, near, far)
    });
    near = near.unbind();
    let (server, client) = (server.unbind(), client.unbind());
    // Between turns the loop is informed as from another thread, and acts in the next turn.
    here.turn(Some(Duration::ZERO)).expect("a turn");
    assert!(format!("{here:?}").contains("sources: 0"), "{here:?}");
    let thread = std::thread::spawn(move || {
        block_on(async {
            let talk = async {
                client.send(b"ping").await.expect("sent");
                client.receive().await.expect("an answer")
            };
            let answer = async {
                let (data, from) = server.receive().await.expect("a datagram");
                server.send_to(&data, from).await.expect("sent");
            };
            assert_eq!(join(talk, answer).await.0, b"ping");
            near.send(&near.receive().await.expect("sent"))
                .await
                .expect("sent back");
        });
    });
    here.block_on(async {
        far.send(b"hello").await.expect("sent");
        assert_eq!(far.receive().await.expect("sent back"), b"hello");
        turns(1).await;
    });
    thread.join().expect("it ended");
}

#[test]
fn unix_datagrams_are_handed_over_too() {
    let _guard = deadline();
    let dir = TempDir::new();
    let (served, asking) = (dir.path("served"), dir.path("asking"));
    let mut here = Runtime::new().expect("a runtime");
    let (server, client, near, far) = here.block_on(async {
        let server = create_unix_datagram_socket().local_path(&served).await;
        let client = create_unix_datagram_socket().local_path(&asking).await;
        let (server, client) = (server.expect("a socket"), client.expect("a socket"));
        let (near, far) = unix_datagram_socket_pair().expect("a pair");
        assert!(polled(2, server.receive()).await.is_none());
        assert!(polled(2, near.receive()).await.is_none());
        (server, client, near, far)
    });
    // Datagrams that arrive during the hand-over are not lost.
    here.block_on(async {
        client.send_to(b"early", &served).await.expect("sent");
        far.send(b"early").await.expect("sent");
    });
    let thread = std::thread::spawn(move || {
        block_on(async {
            refused!(server.receive().await, Error::OtherLoop);
            refused!(near.receive().await, Error::OtherLoop);
            let (server, near) = (server.unbind(), near.unbind());
            for expected in [b"early", b"later"] {
                let (data, from) = server.receive().await.expect("a datagram");
                assert_eq!(data, expected);
                server.send_to(&data, from.as_os_str()).await.expect("sent");
                let data = near.receive().await.expect("a datagram");
                assert_eq!(data, expected);
                near.send(&data).await.expect("sent");
            }
            assert_eq!(server.local_name().as_os_str(), served.as_os_str());
        });
    });
    here.block_on(async {
        for expected in [b"early", b"later"] {
            assert_eq!(client.receive().await.expect("an answer").0, expected);
            assert_eq!(far.receive().await.expect("an answer"), expected);
            if expected == b"early" {
                client
                    .send_to(b"later", &dir.path("served"))
                    .await
                    .expect("sent");
                far.send(b"later").await.expect("sent");
            }
        }
    });
    thread.join().expect("it ended");
    here.turn(Some(Duration::ZERO)).expect("a turn");
    let state = format!("{here:?}");
    assert!(
        state.contains("sources: 2"),
        "only those that stayed: {state}"
    );
}

#[test]
fn an_ended_socket_stays_ended() {
    run(async {
        let (a, b) = tcp_pair().await;
        drop(b);
        refused!(a.receive().await, Error::EndOfStream);
        let a = a.unbind();
        refused!(a.receive().await, Error::EndOfStream);
        a.abort();
        let a = a.unbind();
        refused!(a.receive().await, Error::Closed);
        assert_ne!(a.local_addr(), a.peer_addr());
    });
}

#[test]
fn listeners_are_handed_over_too() {
    let _guard = deadline();
    let dir = TempDir::new();
    let mut here = Runtime::new().expect("a runtime");
    let (tcp, unix) = here.block_on(async {
        let (tcp, unix) = (
            tcp_listener().await,
            create_unix_listener(dir.path("s")).await,
        );
        let unix = unix.expect("listens");
        assert!(polled(2, tcp.accept()).await.is_none());
        assert!(polled(2, unix.accept()).await.is_none());
        (tcp, unix)
    });
    let (port, path) = (tcp.local_addr().port(), dir.path("s"));
    // A client that connects meanwhile waits.
    let early = here
        .block_on(connect_tcp("127.0.0.1", port))
        .expect("connects");
    let thread = std::thread::spawn(move || {
        block_on(async {
            refused!(tcp.accept().await, Error::OtherLoop);
            refused!(unix.accept().await, Error::OtherLoop);
            let (tcp, unix) = (tcp.unbind(), unix.unbind());
            for _ in 0..2 {
                let client = tcp.accept().await.expect("accepts");
                client.send(b"tcp").await.expect("sent");
            }
            let client = unix.accept().await.expect("accepts");
            client.send(b"unix").await.expect("sent");
        });
    });
    here.block_on(async {
        let late = connect_tcp("127.0.0.1", port).await.expect("connects");
        let unix = connect_unix(path).await.expect("connects");
        assert_eq!(early.receive().await.expect("served"), b"tcp");
        assert_eq!(late.receive().await.expect("served"), b"tcp");
        assert_eq!(unix.receive().await.expect("served"), b"unix");
    });
    thread.join().expect("it ended");
    here.turn(Some(Duration::ZERO)).expect("a turn");
    let state = format!("{here:?}");
    assert!(state.contains("sources: 1"), "only `early`: {state}");
    drop(early);
}
