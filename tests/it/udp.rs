//! UDP: datagrams of every size, and errors about one peer. D1 to D6 of the list of failures seen
//! elsewhere.

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::UdpSocket as StdSocket;
use std::os::fd::AsFd;
use std::pin::pin;

use futures_util::future::join;
use soloio::{
    DatagramBuffer, Error, Family, Result, create_connected_udp_socket, create_udp_socket,
    yield_now,
};

use crate::net_support::{numbered, polled, refused, run, turns, udp};
use crate::nobody;
use crate::support::{poll_once, rounds};

#[test]
fn d1_an_empty_datagram_is_a_datagram() {
    // An empty datagram was taken for an end or an error (ponyc#5289, mongoose#3696, libkqueue#39).
    run(async {
        let (a, b) = (udp().await, udp().await);
        for data in [&b""[..], b"x", b""] {
            a.send_to(data, b.local_addr()).await.expect("sent");
            assert_eq!(
                b.receive().await.expect("received"),
                (data.to_vec(), a.local_addr())
            );
            a.send_to(data, b.local_addr()).await.expect("sent");
            let mut room = [0; 4];
            let got = b.receive_into(&mut room).await.expect("received");
            assert_eq!(
                (&*got.data, got.from, got.truncated),
                (data, a.local_addr(), false)
            );
            a.send_to(data, b.local_addr()).await.expect("sent");
            let next = b.next().await.expect("received");
            assert_eq!(next, Some((data.to_vec(), a.local_addr())));
        }
        let connected = create_connected_udp_socket("127.0.0.1", a.local_addr().port()).await;
        let connected = connected.expect("a socket");
        connected.send(b"").await.expect("sent");
        assert_eq!(
            a.receive().await.expect("received"),
            (vec![], connected.local_addr())
        );
        a.send_to(b"", connected.local_addr()).await.expect("sent");
        assert_eq!(connected.next().await.expect("received"), Some(vec![]));
    });
}

fn is_refused<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::Io(error)) if error.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn d2_a_refused_datagram_is_told_once_and_the_socket_lives_on() {
    // The error never came, and the receive hung (tokio#8000, tokio#8001).
    run(async {
        let (nobody, port) = nobody::udp();
        let socket = create_connected_udp_socket("127.0.0.1", port).await;
        let socket = socket.expect("a socket");
        for waiting in [false, true] {
            if waiting {
                let send = async {
                    turns(3).await;
                    socket.send(b"anybody?").await.expect("sent");
                };
                assert!(is_refused(join(socket.receive(), send).await.0));
            } else {
                socket.send(b"anybody?").await.expect("sent");
                assert!(is_refused(socket.receive().await));
            }
            assert!(polled(5, socket.receive()).await.is_none(), "once only");
        }
        // The next send reports it too.
        socket.send(b"anybody?").await.expect("sent");
        assert!(is_refused(socket.send(b"anybody?").await));
        // The peer comes.
        nobody.connect(socket.local_addr()).expect("connected");
        socket.send(b"hello").await.expect("sent");
        let mut room = [0; 9];
        let len = nobody.recv(&mut room).expect("received");
        assert_eq!(&room[..len], b"hello");
        nobody.send(b"answer").expect("sent");
        assert_eq!(socket.receive().await.expect("received"), b"answer");
    });
}

#[test]
fn d3_a_peer_that_is_gone_does_not_end_an_unconnected_server() {
    // bun#35922, bun#29135.
    run(async {
        let server = udp().await;
        for _ in 0..rounds(2_000) {
            let client = StdSocket::bind("127.0.0.1:0").expect("a port");
            client.send_to(b"ask", server.local_addr()).expect("sent");
            let (data, from) = server.receive().await.expect("received");
            drop(client);
            server
                .send_to(&data, from)
                .await
                .expect("the kernel took it");
        }
        let client = StdSocket::bind("127.0.0.1:0").expect("a port");
        client
            .send_to(b"alive?", server.local_addr())
            .expect("sent");
        let next = server.next().await.expect("received").expect("has no end");
        assert_eq!(next.0, b"alive?");
    });
}

#[test]
fn d4_what_is_cut_off_is_told() {
    // tokio#7604.
    run(async {
        let (a, b) = (udp().await, udp().await);
        let to_b = create_connected_udp_socket("127.0.0.1", b.local_addr().port()).await;
        let to_b = to_b.expect("a socket");
        let data = numbered(0, 100);
        for (size, cut) in [(10, true), (99, true), (100, false), (101, false)] {
            let mut room = vec![0; size];
            a.send_to(&data, b.local_addr()).await.expect("sent");
            let got = b.receive_into(&mut room).await.expect("received");
            assert_eq!((&*got.data, got.truncated), (&data[..size.min(100)], cut));
            b.send_to(&data, to_b.local_addr()).await.expect("sent");
            let got = to_b.receive_into(&mut room).await.expect("received");
            assert_eq!((&*got.data, got.truncated), (&data[..size.min(100)], cut));
            assert_eq!(got.from, b.local_addr());
        }
        // A buffer without room: the datagram is received, and all of it is lost.
        a.send_to(&data, b.local_addr()).await.expect("sent");
        let got = b.receive_into(&mut []).await;
        assert!(got.is_err() || got.is_ok_and(|got| got.truncated));
    });
}

#[test]
fn d5_a_datagram_that_is_too_large_is_an_error_and_no_more() {
    // bun#35922, its second case.
    run(async {
        let (a, b) = (udp().await, udp().await);
        let connected = create_connected_udp_socket("127.0.0.1", b.local_addr().port()).await;
        let connected = connected.expect("a socket");
        let most = numbered(0, 65_507);
        for _ in 0..2 {
            for size in [65_508, 65_536, 100_000] {
                let data = vec![0; size];
                match a.send_to(&data, b.local_addr()).await {
                    Err(Error::Io(error)) => {
                        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
                        assert!(error.to_string().contains(&b.local_addr().to_string()));
                    }
                    other => panic!("{other:?}"),
                }
                refused!(connected.send(&data).await, Error::Io(_));
            }
            a.send_to(&most, b.local_addr()).await.expect("sent");
            assert!(b.receive().await.expect("received").0 == most);
            connected.send(&most).await.expect("sent");
            assert!(b.receive().await.expect("received").0 == most);
        }
    });
}

#[test]
fn d6_a_flood_starves_nobody() {
    // ponyc#5644 counts even empty reads against the budget.
    run(async {
        let (a, b) = (udp().await, udp().await);
        let (over, ticks) = (Cell::new(false), Cell::new(0));
        let flood = async {
            for _ in 0..rounds(100_000) {
                // Never waits: there is always room, and always one datagram.
                a.send_to(b"x", b.local_addr()).await.expect("sent");
                b.receive().await.expect("received");
            }
            over.set(true);
        };
        let tick = async {
            while !over.get() {
                yield_now().await.expect("inside a runtime");
                ticks.set(ticks.get() + 1);
            }
        };
        soloio::task_group(async |group| {
            group.spawn(flood);
            group.spawn(tick);
        })
        .await
        .expect("no error");
        assert!(
            ticks.get() > rounds(100_000) / 1000,
            "{} ticks",
            ticks.get()
        );
    });
}

/// A future that is done claims no direction while it still exists: the next one is not `Busy`.
#[test]
fn a_future_that_is_done_holds_no_direction() {
    run(async {
        let (a, b) = (udp().await, udp().await);
        let mut sent = pin!(a.send_to(b"one", b.local_addr()));
        sent.as_mut().await.expect("sent");
        a.send_to(b"two", b.local_addr()).await.expect("sent");
        a.send_to(b"three", b.local_addr()).await.expect("sent");

        let mut one = pin!(b.receive());
        assert_eq!(one.as_mut().await.expect("sent").0, b"one");
        let mut buf = [0; 9];
        let mut two = pin!(b.receive_into(&mut buf));
        assert_eq!(two.as_mut().await.expect("sent").data, b"two");
        let mut buffer = DatagramBuffer::new();
        let mut three = pin!(b.receive_many(&mut buffer));
        assert_eq!(three.as_mut().await.expect("sent").count(), 1);
        let mut next = pin!(b.receive());
        assert!(poll_once(next.as_mut()).await.is_pending());
    });
}

#[test]
fn a_second_user_of_a_direction_is_busy() {
    run(async {
        let a = udp().await;
        let mut receive = Box::pin(a.receive());
        assert!(poll_once(receive.as_mut()).await.is_pending());
        refused!(a.receive().await, Error::Busy);
        refused!(a.receive_into(&mut [0; 1]).await, Error::Busy);
        refused!(a.next().await, Error::Busy);
        a.send_to(b"x", a.local_addr())
            .await
            .expect("the other direction is free");
        assert_eq!(receive.await.expect("received").0, b"x");
    });
}

#[test]
fn a_connected_socket_hears_its_peer_only() {
    run(async {
        let (peer, stranger) = (udp().await, udp().await);
        let socket = create_connected_udp_socket("127.0.0.1", peer.local_addr().port()).await;
        let socket = socket.expect("a socket");
        stranger
            .send_to(b"psst", socket.local_addr())
            .await
            .expect("sent");
        peer.send_to(b"hello", socket.local_addr())
            .await
            .expect("sent");
        assert_eq!(socket.receive().await.expect("received"), b"hello");
        assert_eq!(socket.peer_addr(), peer.local_addr());
    });
}

#[test]
fn a_dual_stack_socket_reaches_both_families_and_shows_ipv4_as_such() {
    run(async {
        let both = create_udp_socket()
            .family(Family::V6)
            .await
            .expect("a socket");
        let four = udp().await;
        let port = both.local_addr().port();
        four.send_to(b"x", ([127, 0, 0, 1], port).into())
            .await
            .expect("sent");
        let (_, from) = both.receive().await.expect("received");
        assert_eq!(from, four.local_addr());
        both.send_to(b"y", from).await.expect("sent");
        assert_eq!(four.receive().await.expect("received").0, b"y");
    });
}

#[test]
fn the_local_port_asked_for_is_the_one_bound() {
    // AnyIO ignores the port.
    run(async {
        let first = udp().await;
        let port = first.local_addr().port();
        drop(first);
        let again = create_udp_socket()
            .family(Family::V4)
            .local_port(port)
            .await;
        assert_eq!(again.expect("free").local_addr().port(), port);
        let shared = || create_udp_socket().local_host("127.0.0.1").reuse_port(true);
        let first = shared().await.expect("a socket");
        let port = first.local_addr().port();
        let second = shared().local_port(port).await.expect("both asked for it");
        assert_eq!(second.local_addr(), first.local_addr());
        refused!(
            create_udp_socket()
                .local_host("127.0.0.1")
                .local_port(port)
                .await,
            Error::Io(_)
        );
    });
}

/// A count of long bursts overflowed if a socket had lent out its descriptor. There is none now.
#[test]
fn any_number_of_long_bursts_is_received_from_a_lent_socket() {
    run(async {
        let (at, from) = (udp().await, udp().await);
        let _lent = at.as_fd();
        let burst = vec![(&b"equal"[..], at.local_addr()); 40];
        for _ in 0..300 {
            let sent = from.send_many(&mut burst.iter().copied()).await;
            sent.expect("sent");
            for _ in 0..burst.len() {
                assert_eq!(at.receive().await.expect("received").0, b"equal");
            }
        }
    });
}

#[test]
fn a_batch_is_shown_by_its_sizes() {
    run(async {
        let (from, at) = (udp().await, udp().await);
        let mut buffer = DatagramBuffer::default();
        assert!(buffer.datagrams().is_empty());
        from.send_to(b"abc", at.local_addr()).await.expect("sent");
        let mut batch = at.receive_many(&mut buffer).await.expect("one");
        let shown = format!("{batch:?}");
        assert_eq!(shown, format!("[(3, {})]", from.local_addr()));
        assert_eq!((batch.size_hint(), batch.is_empty()), ((1, Some(1)), false));
        assert_eq!(batch.next(), Some((&b"abc"[..], from.local_addr())));
        assert!(batch.next().is_none() && batch.next().is_none());
        assert_eq!(format!("{buffer:?}"), "DatagramBuffer(1)");
    });
}
