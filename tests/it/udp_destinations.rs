//! UDP on a host with several addresses: each datagram has the address it was sent to, and the
//! answer goes out from there (tokio#6737, rust#128704).

#![cfg(target_os = "linux")]

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket as StdSocket};
use std::time::Duration;

use soloio::{
    DatagramBuffer, Error, Family, Result, UdpFault, UdpSocket, create_udp_socket, move_on_after,
};

use crate::cut::everywhere;
use crate::kernel;
use crate::namespace::in_namespace;
use crate::net_support::{polled, run, udp};

async fn wildcard(family: Family, batching: bool) -> UdpSocket {
    let made = create_udp_socket().family(family).batching(batching);
    made.tell_destination(true).await.expect("a socket")
}

fn at(server: &UdpSocket, ip: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(ip.into(), server.local_addr().port())
}

/// Returns a client that receives answers from this address only.
fn client(server: SocketAddr) -> StdSocket {
    let any = if server.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let client = StdSocket::bind(any).expect("a port");
    client.connect(server).expect("loopback");
    client.set_nonblocking(true).expect("an option");
    client
}

/// Returns the answer, which has arrived: loopback delivers immediately.
fn answer(client: &StdSocket) -> Vec<u8> {
    let mut room = [0; 2000];
    let length = client.recv(&mut room).expect("an answer from there");
    room[..length].to_vec()
}

fn loopbacks() -> impl Iterator<Item = Ipv4Addr> {
    (1..=40).map(|n| Ipv4Addr::new(127, 0, 0, n))
}

#[test]
fn an_answer_goes_out_from_where_the_question_came_to() {
    run(async {
        for (family, batching) in [
            (Family::V4, true),
            (Family::V4, false),
            (Family::V6, true),
            (Family::V6, false),
        ] {
            let server = wildcard(family, batching).await;
            // More datagrams than one call takes, so that some are taken ahead too.
            for _ in 0..3 {
                let clients: Vec<_> = loopbacks()
                    .map(|ip| (ip, client(at(&server, ip))))
                    .collect();
                for (ip, client) in &clients {
                    client.send(&ip.octets()).expect("sent");
                }
                for (ip, client) in &clients {
                    let mut room = [0; 100];
                    let got = server.receive_into(&mut room).await.expect("received");
                    assert_eq!((&*got.data, got.to), (&ip.octets()[..], Some((*ip).into())));
                    let sent = server.reply(got.data, got.from, got.to).await;
                    sent.expect("sent");
                    assert_eq!(answer(client), ip.octets());
                }
            }
            if family == Family::V6 {
                let client = client(at(&server, Ipv6Addr::LOCALHOST));
                client.send(b"six").expect("sent");
                let mut room = [0; 100];
                let got = server.receive_into(&mut room).await.expect("received");
                assert_eq!(got.to, Some(Ipv6Addr::LOCALHOST.into()));
                let sent = server.reply(got.data, got.from, got.to).await;
                sent.expect("sent");
                assert_eq!(answer(&client), b"six");
            }
        }
    });
}

#[test]
fn whole_batches_are_answered_from_where_they_came_to() {
    run(async {
        for (family, batching) in [(Family::V4, true), (Family::V6, true), (Family::V4, false)] {
            let server = wildcard(family, batching).await;
            let mut buffer = DatagramBuffer::new();
            for _ in 0..5 {
                let clients: Vec<_> = loopbacks().map(|ip| client(at(&server, ip))).collect();
                for client in &clients {
                    client.send(b"one").expect("sent");
                    client.send(b"two").expect("sent");
                }
                let mut left = 2 * clients.len();
                while left > 0 {
                    let batch = server.receive_many(&mut buffer).await.expect("received");
                    left -= batch.len();
                    let mut answers = batch.with_destinations();
                    server.send_many(&mut answers).await.expect("sent");
                    assert!(answers.next().is_none());
                }
                for client in &clients {
                    assert_eq!(
                        (answer(client), answer(client)),
                        (b"one".into(), b"two".into())
                    );
                }
            }
        }
    });
}

/// Equal datagrams of one sender come as one message, with the destination beside the size.
#[test]
fn a_train_tells_its_destination() {
    run(async {
        let server = wildcard(Family::V4, true).await;
        let ip = Ipv4Addr::new(127, 0, 0, 9);
        let sender = create_udp_socket()
            .local_host("127.0.0.1")
            .await
            .expect("a socket");
        let mut buffer = DatagramBuffer::new();
        for round in 0..4 {
            let data = [round; 3_000];
            let mut rest = &data[..];
            let to = at(&server, ip);
            sender
                .send_segments(&mut rest, 100, to)
                .await
                .expect("sent");
            let mut left = 30;
            while left > 0 {
                let batch = server.receive_many(&mut buffer).await.expect("received");
                for (data, from, to) in batch.with_destinations() {
                    let known = (sender.local_addr(), Some(ip.into()));
                    assert_eq!((data, from, to), (&[round; 100][..], known.0, known.1));
                    left -= 1;
                }
            }
            // The same one by one, from a batch that was taken ahead.
            let mut rest = &data[..];
            sender
                .send_segments(&mut rest, 100, to)
                .await
                .expect("sent");
            for _ in 0..30 {
                let mut room = [0; 100];
                let got = server.receive_into(&mut room).await.expect("received");
                assert_eq!((got.data.len(), got.to), (100, Some(ip.into())));
            }
        }
    });
}

/// The scope of the destination names the interface.
#[test]
fn a_link_local_address_is_answered_from() {
    in_namespace(
        "udp_destinations::a_link_local_address_is_answered_from",
        "ip -6 addr add fe80::98/64 dev hole nodad\nip -6 addr add fe80::99/64 dev hole nodad\n",
        || {
            run(async {
                let server = wildcard(Family::V6, true).await;
                let hole = soloio::Interface::named("hole").expect("made above");
                let scope = hole.index().expect("made from a name");
                for last in [0x98, 0x99] {
                    let ip = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
                    let port = server.local_addr().port();
                    let client = client(SocketAddrV6::new(ip, port, 0, scope).into());
                    let mut room = [0; 9];
                    let from = loop {
                        // A datagram to an address that was added just now may be lost.
                        client.send(b"x").expect("sent");
                        let receive = server.receive_into(&mut room);
                        let came = move_on_after(Duration::from_millis(50), receive).await;
                        if let Some(got) = came.expect("received") {
                            if got.to == Some(ip.into()) {
                                break got.from;
                            }
                        }
                    };
                    let sent = server.reply(b"x", from, Some(ip.into())).await;
                    sent.expect("sent");
                    assert_eq!(answer(&client), b"x");
                }
            });
        },
    );
}

#[test]
fn nothing_is_told_unless_asked_for() {
    run(async {
        let server = create_udp_socket()
            .family(Family::V4)
            .await
            .expect("a socket");
        let to = at(&server, Ipv4Addr::LOCALHOST);
        let mut room = [0; 9];
        client(to).send(b"x").expect("sent");
        assert_eq!(
            server.receive_into(&mut room).await.expect("received").to,
            None
        );
        let mut buffer = DatagramBuffer::new();
        client(to).send(b"x").expect("sent");
        let batch = server.receive_many(&mut buffer).await.expect("received");
        assert!(batch.with_destinations().all(|(_, _, to)| to.is_none()));
    });
}

#[test]
fn an_adopted_socket_tells_if_the_kernel_does() {
    run(async {
        let socket = StdSocket::bind("0.0.0.0:0").expect("a port");
        kernel::set_option(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1).expect("an option");
        let server = UdpSocket::try_from(socket).expect("adopted");
        let ip = Ipv4Addr::new(127, 0, 0, 5);
        client(at(&server, ip)).send(b"x").expect("sent");
        let mut room = [0; 9];
        let got = server.receive_into(&mut room).await.expect("received");
        assert_eq!(got.to, Some(ip.into()));
    });
}

/// A group or a broadcast address cannot be the source of an answer.
#[test]
fn what_came_to_many_is_answered_from_the_interface() {
    run(async {
        let server = wildcard(Family::V4, true).await;
        let group = Ipv4Addr::new(239, 255, 81, 11);
        let local = Ipv4Addr::LOCALHOST;
        server.join_multicast(group, local).expect("joined");
        let sender = create_udp_socket()
            .local_host(local)
            .await
            .expect("a socket");
        sender.set_multicast_interface(local).expect("set");
        sender.set_broadcast(true).expect("set");
        for many in [group, Ipv4Addr::new(127, 255, 255, 255)] {
            sender
                .send_to(b"all", at(&server, many))
                .await
                .expect("sent");
            let mut room = [0; 9];
            let got = server.receive_into(&mut room).await.expect("received");
            assert_eq!(got.to, Some(local.into()), "{many}");
            let sent = server.reply(got.data, got.from, got.to).await;
            sent.expect("sent");
            let (_, from) = sender.receive().await.expect("received");
            assert_eq!(from, at(&server, local));
        }
    });
}

fn refusal<T: std::fmt::Debug>(result: Result<T>) -> (ErrorKind, UdpFault) {
    let error = result.expect_err("no such source");
    let fault = UdpFault::of(&error);
    match error {
        Error::Io(error) => (error.kind(), fault),
        other => panic!("{other}"),
    }
}

#[test]
fn a_source_that_cannot_be_is_refused_and_the_socket_goes_on() {
    run(async {
        let server = wildcard(Family::V6, true).await;
        let other = create_udp_socket()
            .local_host("127.0.0.1")
            .await
            .expect("a socket");
        let to = other.local_addr();
        let mapped = SocketAddr::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), to.port());
        let elsewhere = Some(IpAddr::from([192, 0, 2, 1]));
        for to in [to, mapped] {
            let source = Some(Ipv6Addr::LOCALHOST.into());
            let refused = refusal(server.reply(b"x", to, source).await);
            assert_eq!(refused.0, ErrorKind::InvalidInput);
            refusal(server.reply(b"x", to, elsewhere).await);
            let mut many =
                [(&b"y"[..], to, None), (b"x", to, source), (b"z", to, None)].into_iter();
            assert_eq!(
                refusal(server.send_many(&mut many).await).0,
                ErrorKind::InvalidInput
            );
            assert_eq!(many.len(), 2, "the one before it went");
            many.next();
            server.send_many(&mut many).await.expect("sent");
            let source = Some(Ipv4Addr::new(127, 0, 0, 6).to_ipv6_mapped().into());
            server
                .reply(b"x", to, source)
                .await
                .expect("a mapped source is one of IPv4");
            let mut froms = Vec::new();
            for _ in 0..3 {
                froms.push(other.receive().await.expect("received").1.ip());
            }
            assert_eq!(froms[2], IpAddr::from([127, 0, 0, 6]));
        }
        server.reply(b"x", to, None).await.expect("as `send_to`");
        assert_eq!(other.receive().await.expect("received").0, b"x");
    });
}

/// A peer adds more control data to a datagram than there is room for: that datagram is lost, those
/// around it are not, and an error reports it. The size of the datagrams in a message is control
/// data too, and without it two would be taken for one.
#[test]
fn control_data_without_room_is_told_once() {
    in_namespace(
        "udp_destinations::control_data_without_room_is_told_once",
        "",
        || {
            run(async {
                let socket = StdSocket::bind("[::1]:0").expect("a port");
                let told = [libc::IPV6_RECVPKTINFO, libc::IPV6_RECVDSTOPTS];
                for option in told {
                    let set = kernel::set_option(&socket, libc::IPPROTO_IPV6, option, 1);
                    set.expect("an option");
                }
                let server = UdpSocket::try_from(socket).expect("adopted");
                let plain = client(server.local_addr());
                let large = client(server.local_addr());
                kernel::send_options(&large).expect("allowed in a namespace of its own");
                let mut buffer = DatagramBuffer::new();
                for many in [false, true] {
                    for sender in [&plain, &large, &plain, &large] {
                        sender.send(b"data").expect("sent");
                    }
                    let (mut came, mut lost) = (0, 0);
                    while let Some(got) = polled(3, async {
                        match many {
                            true => server.receive_many(&mut buffer).await.map(|all| all.len()),
                            false => server.receive().await.map(|_| 1),
                        }
                    })
                    .await
                    {
                        match got {
                            Ok(count) => came += count,
                            Err(error) => {
                                assert_eq!(UdpFault::of(&error), UdpFault::Datagram, "{error}");
                                lost += 1;
                            }
                        }
                    }
                    assert_eq!(came, 2);
                    assert!((1..=2).contains(&lost), "{lost}");
                }
            });
        },
    );
}

/// Covers: UdpSocket::reply.
#[test]
fn replies_are_cancelled() {
    everywhere("udp_destinations::replies_are_cancelled", async |cut| {
        let (a, b) = (udp().await, udp().await);
        let source = Some(a.local_addr().ip());
        let sent = cut.apply(a.reply(b"once", b.local_addr(), source)).await;
        let done = sent.is_some();
        if !done {
            a.reply(b"once", b.local_addr(), source)
                .await
                .expect("none went");
        }
        a.reply(b"end", b.local_addr(), source).await.expect("sent");
        assert_eq!(b.receive().await.expect("received").0, b"once");
        assert_eq!(b.receive().await.expect("received").0, b"end");
        done
    });
}
