//! UDP: socket options, names as destinations, and the subject of errors.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use soloio::{
    Error, Family, Interface, Result, UdpFault, UdpSocket, create_connected_udp_socket,
    create_udp_socket,
};

use crate::net_support::{polled, refused, run, udp};
use crate::nobody;

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn loopback() -> Interface {
    Interface::named("lo")
        .or_else(|_| Interface::named("lo0"))
        .expect("every system has one")
}

/// Expects an error of the library or the system with these words.
fn invalid<T: std::fmt::Debug>(result: Result<T>, words: &str) {
    match result {
        Err(Error::Io(error)) => {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(words), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

async fn shared(port: u16) -> UdpSocket {
    let made = create_udp_socket().family(Family::V4).local_port(port);
    made.reuse_addr(true).await.expect("a shared port")
}

#[test]
fn a_group_is_joined_heard_and_left() {
    run(async {
        let group = Ipv4Addr::new(239, 255, 81, 7);
        let one = shared(0).await;
        let port = one.local_addr().port();
        let two = shared(port).await;
        for way in [Interface::from(LOCAL), loopback()] {
            for member in [&one, &two] {
                member.join_multicast(group, way).expect("joined");
            }
            refused!(one.join_multicast(group, way), Error::Io(_));
            let sender = udp().await;
            sender.set_multicast_interface(way).expect("set");
            sender.set_multicast_ttl(0).expect("set");
            let to = SocketAddr::from((group, port));
            sender.send_to(b"all", to).await.expect("sent");
            for member in [&one, &two] {
                let (data, from) = member.receive().await.expect("received");
                assert_eq!((&data[..], from), (&b"all"[..], sender.local_addr()));
            }
            two.leave_multicast(group, way).expect("left");
            refused!(two.leave_multicast(group, way), Error::Io(_));
            sender.send_to(b"again", to).await.expect("sent");
            assert_eq!(one.receive().await.expect("received").0, b"again");
            one.leave_multicast(group, way).expect("left");
            sender.send_to(b"nobody", to).await.expect("sent");
            assert!(polled(3, one.receive()).await.is_none());
        }
    });
}

#[test]
fn an_ipv6_group_is_joined_by_interface() {
    run(async {
        let made = create_udp_socket().family(Family::V6).await;
        let at = made.expect("a socket");
        let group: Ipv6Addr = "ff01::81:7".parse().expect("a literal");
        at.join_multicast(group, loopback()).expect("joined");
        at.set_multicast_interface(loopback()).expect("set");
        let scope = loopback().index().expect("made from a name");
        let to = SocketAddrV6::new(group, at.local_addr().port(), 0, scope);
        match at.send_to(b"all", to.into()).await {
            Ok(()) => assert_eq!(at.receive().await.expect("received").0, b"all"),
            // Loopback needs no route for groups, and some machines have none there.
            Err(error) => assert_eq!(UdpFault::of(&error), UdpFault::Peer, "{error}"),
        }
        at.set_multicast_loop(false).expect("set");
        at.set_multicast_ttl(3).expect("set");
        at.leave_multicast(group, loopback()).expect("left");
        // A dual-stack socket joins groups of both families.
        let group = Ipv4Addr::new(239, 255, 81, 8);
        at.join_multicast(group, LOCAL).expect("joined");
        at.leave_multicast(group, LOCAL).expect("left");
    });
}

#[test]
fn groups_that_are_none_are_refused() {
    run(async {
        let v4 = udp().await;
        let none: [IpAddr; 5] = [
            Ipv4Addr::new(10, 0, 0, 1).into(),
            Ipv4Addr::BROADCAST.into(),
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv6Addr::LOCALHOST.into(),
            Ipv6Addr::UNSPECIFIED.into(),
        ];
        for group in none {
            invalid(v4.join_multicast(group, 0), &group.to_string());
            invalid(v4.leave_multicast(group, 0), "is no multicast group");
        }
        let group: Ipv6Addr = "ff02::1".parse().expect("a literal");
        invalid(v4.join_multicast(group, 0), "the socket is of IPv4");
        let v6 = create_udp_socket()
            .family(Family::V6)
            .await
            .expect("a socket");
        invalid(v6.join_multicast(group, LOCAL), "by its index");
        invalid(v6.set_ttl(0), "a TTL of 1 to 255");
        // Interfaces that do not exist.
        let group = Ipv4Addr::new(239, 255, 81, 9);
        refused!(v4.join_multicast(group, 4_000_000), Error::Io(_));
        refused!(
            v4.join_multicast(group, Ipv4Addr::new(192, 0, 2, 1)),
            Error::Io(_)
        );
        refused!(v4.set_multicast_interface(4_000_000), Error::Io(_));
        refused!(
            v4.set_multicast_interface(Ipv4Addr::new(192, 0, 2, 1)),
            Error::Io(_)
        );
        for name in [
            "",
            "no-such-interface",
            "a\0b",
            "a name that is much too long",
        ] {
            refused!(Interface::named(name), Error::Io(_));
        }
    });
}

#[test]
fn broadcast_is_refused_until_it_is_asked_for() {
    run(async {
        let at = create_udp_socket()
            .family(Family::V4)
            .await
            .expect("a socket");
        let from = udp().await;
        let to = SocketAddr::from(([127, 255, 255, 255], at.local_addr().port()));
        match from.send_to(b"all", to).await {
            Err(Error::Io(error)) => assert_eq!(error.kind(), ErrorKind::PermissionDenied),
            other => panic!("{other:?}"),
        }
        from.set_broadcast(true).expect("set");
        from.send_to(b"all", to).await.expect("sent");
        assert_eq!(at.receive().await.expect("received").0, b"all");
        from.set_broadcast(false).expect("set");
        refused!(from.send_to(b"all", to).await, Error::Io(_));
    });
}

#[test]
fn hops_and_room_are_set() {
    run(async {
        let at = udp().await;
        let connected = create_connected_udp_socket("127.0.0.1", at.local_addr().port()).await;
        let connected = connected.expect("a socket");
        at.set_ttl(1).expect("set");
        connected.set_ttl(255).expect("set");
        invalid(connected.set_ttl(0), "a TTL of 1 to 255");
        let before = at.receive_buffer_size().expect("known");
        at.set_receive_buffer_size(before / 4).expect("set");
        assert!(at.receive_buffer_size().expect("known") < before);
        connected
            .set_receive_buffer_size(usize::MAX / 2)
            .unwrap_or(());
        assert!(connected.receive_buffer_size().expect("known") > 0);
        connected.send(b"x").await.expect("one hop is enough here");
        assert_eq!(at.receive().await.expect("received").0, b"x");
    });
}

#[test]
fn names_are_destinations() {
    run(async {
        let at = udp().await;
        let port = at.local_addr().port();
        for host in ["localhost", "127.0.0.1"] {
            at.send_to_host(host.as_bytes(), host, port)
                .await
                .expect("sent");
            assert_eq!(at.receive().await.expect("received").0, host.as_bytes());
        }
        for host in ["", "a\0b", "no.such.host.invalid"] {
            let error = at
                .send_to_host(b"x", host, port)
                .await
                .expect_err("no such host");
            assert!(matches!(error, Error::Resolve(_)), "{error}");
            assert_eq!(UdpFault::of(&error), UdpFault::Peer);
        }
        invalid(at.send_to_host(b"x", "localhost", 0).await, "port");
        invalid(
            at.send_to_host(b"x", "::1", port).await,
            "the socket is of IPv4",
        );
        let v6 = create_udp_socket()
            .family(Family::V6)
            .await
            .expect("a socket");
        v6.send_to_host(b"mapped", LOCAL, port).await.expect("sent");
        assert_eq!(at.receive().await.expect("received").0, b"mapped");
    });
}

#[test]
fn a_destination_of_the_other_family_is_refused_with_its_name() {
    run(async {
        let at = udp().await;
        let to: SocketAddr = "[::1]:9".parse().expect("a literal");
        let refused = at.send_to(b"x", to).await;
        let fault = refused.as_ref().map_err(UdpFault::of);
        assert_eq!(fault.expect_err("refused"), UdpFault::Peer);
        invalid(refused, "[::1]:9 is an IPv6 destination");
        let many = at.send_many(&mut [(&b"x"[..], to)].into_iter()).await;
        assert_eq!(UdpFault::of(&many.expect_err("refused")), UdpFault::Peer);
        // A server answers what its clients say: port 0, and a scope that is missing.
        let no_port = at.send_to(b"x", (LOCAL, 0).into()).await;
        assert_eq!(UdpFault::of(&no_port.expect_err("port 0")), UdpFault::Peer);
        let segments = at.send_segments(&mut &b"x"[..], 0, at.local_addr()).await;
        let segments = segments.expect_err("segments of 0 bytes");
        assert_eq!(UdpFault::of(&segments), UdpFault::Socket);
        at.send_to(b"x", at.local_addr())
            .await
            .expect("it is still good");
    });
}

#[test]
fn errors_say_what_they_are_about() {
    run(async {
        let (_nobody, port) = nobody::udp();
        let client = create_connected_udp_socket("127.0.0.1", port).await;
        let client = client.expect("a socket");
        client.send(b"anybody?").await.expect("sent");
        let refused = client.receive().await.expect_err("nobody");
        assert_eq!(UdpFault::of(&refused), UdpFault::Peer);
        let long = client.send(&[0; 70_000]).await.expect_err("too long");
        assert_eq!(UdpFault::of(&long), UdpFault::Datagram);
        client.abort();
        let closed = client.send(b"x").await.expect_err("closed");
        assert_eq!(UdpFault::of(&closed), UdpFault::Socket);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn what_the_kernel_drops_is_counted() {
    run(async {
        let at = udp().await;
        let sender = create_connected_udp_socket("127.0.0.1", at.local_addr().port()).await;
        let sender = sender.expect("a socket");
        at.set_receive_buffer_size(4_096).expect("set");
        assert_eq!(at.dropped().expect("known"), 0);
        let count = 100;
        for n in 0..count {
            sender.send(&[n; 500]).await.expect("sent");
        }
        let mut received = 0;
        while let Some(datagram) = polled(3, at.receive()).await {
            datagram.expect("received");
            received += 1;
        }
        let dropped = at.dropped().expect("known");
        assert!(received > 0 && dropped > 0, "{received} received");
        assert_eq!(received + dropped, u32::from(count));
        assert_eq!(sender.dropped().expect("known"), 0);
        at.abort();
        refused!(at.dropped(), Error::Closed);
    });
}
