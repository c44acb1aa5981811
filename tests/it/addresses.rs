//! Addresses of this host and of peers: missing ones, ones in another notation, and the side that
//! an error names.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener as StdUnixListener;

use soloio::{
    Error, Family, Host, Result, TcpListener, UdpFault, connect_tcp, create_connected_udp_socket,
    create_tcp_listener, create_udp_socket, create_unix_datagram_socket, create_unix_listener,
};

use crate::names::Fixed;
use crate::namespace::in_namespace;
use crate::net_support::{TempDir, run, tcp_listener, udp};

/// No host has this address: it is reserved for documentation (RFC 5737).
const ELSEWHERE: &str = "192.0.2.1";

fn text<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(error) => format!("{error}"),
        Ok(value) => panic!("{value:?} instead of an error"),
    }
}

/// Connects to the address in a string, and expects this listener.
async fn leads_to(listener: &TcpListener, host: &str) {
    let port = listener.local_addr().port();
    let client = connect_tcp(host, port).await.expect("connects");
    let peer = listener.accept().await.expect("accepts").peer_addr();
    assert_eq!(client.local_addr(), peer);
}

/// cpython#75128: a container's `localhost` resolves to `::1`, but its loopback lacks that address.
#[test]
fn an_address_that_is_not_there_is_passed_over_while_another_is() {
    run(async {
        for family in [None, Some(Family::V4)] {
            let host = || Fixed::host(&["2001:db8::1", ELSEWHERE, "127.0.0.1"]);
            let mut listener = create_tcp_listener().local_host(host());
            let mut socket = create_udp_socket().local_host(host());
            if let Some(family) = family {
                listener = listener.family(family);
                socket = socket.family(family);
            }
            let listener = listener.await.expect("one address is there");
            assert_eq!(listener.local_addrs().len(), 1);
            assert_eq!(listener.local_addr().ip().to_string(), "127.0.0.1");
            let socket = socket.await.expect("one address is there");
            assert_eq!(socket.local_addr().ip().to_string(), "127.0.0.1");
            let port = socket.local_addr().port();
            let peer = create_connected_udp_socket("127.0.0.1", port).local_host(host());
            let peer = peer.await.expect("one address is there");
            assert_eq!(peer.local_addr().ip().to_string(), "127.0.0.1");
            let port = listener.local_addr().port();
            let client = connect_tcp("127.0.0.1", port).local_host(host()).await;
            assert!(client.expect("one address is there").local_addr().is_ipv4());
        }
        // A port in use does not count as a missing address.
        let taken = tcp_listener().await;
        let listener = create_tcp_listener()
            .local_host(Fixed::host(&["127.0.0.1", "127.0.0.2"]))
            .local_port(taken.local_addr().port());
        assert!(text(listener.await).contains("127.0.0.1"));
        // If none is available, the error names the first.
        for host in [&[ELSEWHERE][..], &["2001:db8::1", ELSEWHERE]] {
            let first = host[0];
            let listener = create_tcp_listener().local_host(Fixed::host(host)).await;
            assert!(text(listener).contains(first));
            let socket = create_udp_socket().local_host(Fixed::host(host)).await;
            assert!(text(socket).contains(first));
        }
    });
}

#[test]
fn a_connected_udp_socket_passes_over_a_peer_of_a_family_that_is_not_there() {
    in_namespace(
        "addresses::a_connected_udp_socket_passes_over_a_peer_of_a_family_that_is_not_there",
        "ip -6 addr flush dev lo; ip -6 addr flush dev hole\n",
        || {
            run(async {
                let at = udp().await;
                let peers = Fixed::host(&["2001:db8::1", "::1", "127.0.0.1"]);
                let client = create_connected_udp_socket(peers, at.local_addr().port());
                let client = client.await.expect("one can be reached");
                assert_eq!(client.peer_addr(), at.local_addr());
            });
        },
    );
}

/// envoy#44747: each connection used up a port, and the error named the server.
#[test]
fn local_ports_are_shared_between_peers_and_their_want_is_named() {
    in_namespace(
        "addresses::local_ports_are_shared_between_peers_and_their_want_is_named",
        "echo 40000 40003 >/proc/sys/net/ipv4/ip_local_port_range\n",
        || {
            run(async {
                let local = Fixed::host(&[ELSEWHERE, "127.0.0.3"]);
                let mut kept = Vec::new();
                let mut ends = Vec::new();
                for port in [50_001, 50_002] {
                    let listener = create_tcp_listener().local_host("127.0.0.1");
                    let listener = listener.local_port(port).await.expect("listens");
                    let connect = || connect_tcp("127.0.0.1", port).local_host(local.clone());
                    for _ in 0..4 {
                        kept.push(connect().await.expect("four ports for each peer"));
                    }
                    let error = text(connect().await);
                    assert!(
                        error.contains("no local port left for 127.0.0.3"),
                        "{error}"
                    );
                    ends.push(listener);
                }
            });
        },
    );
}

#[test]
fn a_local_address_that_is_not_there_is_named() {
    run(async {
        let listener = tcp_listener().await;
        let port = listener.local_addr().port();
        let refused = connect_tcp("127.0.0.1", port).local_host(ELSEWHERE).await;
        assert!(text(refused).contains(ELSEWHERE));
    });
}

#[test]
fn a_mapped_address_is_the_ipv4_address() {
    const MAPPED: &str = "::ffff:127.0.0.1";
    run(async {
        assert_eq!(Host::from(MAPPED), Host::from("127.0.0.1"));
        let plain = tcp_listener().await;
        leads_to(&plain, MAPPED).await;
        let listener = create_tcp_listener().local_host(MAPPED).await;
        let listener = listener.expect("listens");
        assert_eq!(listener.local_addr().ip().to_string(), "127.0.0.1");
        leads_to(&listener, "127.0.0.1").await;
        for local in [MAPPED, "127.0.0.1"] {
            let port = plain.local_addr().port();
            let client = connect_tcp("127.0.0.1", port).local_host(local).await;
            client.expect("connects");
            // A resolver may answer with a mapped address too.
            let client = connect_tcp(Fixed::host(&[MAPPED]), port).local_host(local);
            client.await.expect("connects");
        }
        let socket = create_udp_socket().local_host(MAPPED).await;
        let socket = socket.expect("a socket");
        assert!(socket.local_addr().is_ipv4());
        let mapped = SocketAddr::new(
            MAPPED.parse().expect("a literal"),
            socket.local_addr().port(),
        );
        socket.send_to(b"one", mapped).await.expect("sent");
        let mut two = [(&b"two"[..], mapped)].into_iter();
        socket.send_many(&mut two).await.expect("sent");
        socket
            .send_segments(&mut &b"three"[..], 5, mapped)
            .await
            .expect("sent");
        for word in [&b"one"[..], b"two", b"three"] {
            assert_eq!(socket.receive().await.expect("received").0, word);
        }
        let client = create_connected_udp_socket(MAPPED, mapped.port()).local_host(MAPPED);
        let client = client.family(Family::V4).await.expect("a socket");
        assert_eq!(client.peer_addr(), socket.local_addr());
        let group: std::net::Ipv6Addr = "::ffff:239.255.81.10".parse().expect("a literal");
        socket
            .join_multicast(group, std::net::Ipv4Addr::LOCALHOST)
            .expect("joined");
    });
}

#[test]
fn an_ipv6_address_may_stand_in_brackets() {
    run(async {
        assert_eq!(Host::from("[::1]"), Host::from("::1"));
        assert_eq!(Host::from("[fe80::1%3]"), Host::from("fe80::1%3"));
        assert_eq!(Host::from("[fe80::1%lo]"), Host::from("fe80::1%lo"));
        for name in ["[127.0.0.1]", "[::1", "::1]", "[]", "[localhost]"] {
            assert_eq!(Host::from(name).to_string(), name, "no address");
        }
        if let Ok(listener) = create_tcp_listener().local_host("[::1]").await {
            leads_to(&listener, "[::1]").await;
        }
    });
}

#[test]
fn what_a_connected_socket_is_refused_names_the_peer() {
    // Runs in a namespace: elsewhere another test may get the freed port.
    in_namespace(
        "addresses::what_a_connected_socket_is_refused_names_the_peer",
        "",
        || {
            run(async {
                let gone = udp().await.local_addr();
                let socket = create_connected_udp_socket("127.0.0.1", gone.port()).await;
                let socket = socket.expect("a socket");
                socket.send(b"anybody?").await.expect("sent");
                let error = text(socket.receive().await);
                assert!(error.contains(&gone.to_string()), "{error}");
                assert!(!error.contains(&socket.local_addr().to_string()), "{error}");
            });
        },
    );
}

/// tailscale#3641: a firewall's rejection of one peer ended the socket for all.
#[test]
fn what_a_firewall_or_a_route_forbids_is_about_the_peer() {
    in_namespace(
        "addresses::what_a_firewall_or_a_route_forbids_is_about_the_peer",
        "ip route add prohibit 10.98.0.0/24\n",
        || {
            run(async {
                let socket = create_udp_socket().family(Family::V4).await;
                let socket = socket.expect("a socket");
                let forbidden = SocketAddr::from(([10, 98, 0, 1], 9));
                let error = socket
                    .send_to(b"x", forbidden)
                    .await
                    .expect_err("forbidden");
                assert_eq!(UdpFault::of(&error), UdpFault::Peer, "{error}");
                assert!(!error.to_string().contains("broadcast"), "{error}");
            });
        },
    );
}

/// A connected UDP socket takes the first address with a route, and one of type `unreachable`, as
/// it stands for a network that is down, counted as a route.
#[test]
fn an_address_without_a_route_is_passed_over() {
    in_namespace(
        "addresses::an_address_without_a_route_is_passed_over",
        "ip -6 route add unreachable default
        ip route add unreachable 10.98.0.0/24\n",
        || {
            run(async {
                let at = udp().await.local_addr();
                let host = || Fixed::host(&["2001:db8::1", "10.98.0.1", "10.97.0.1", "127.0.0.1"]);
                let client = create_connected_udp_socket(host(), at.port()).await;
                assert_eq!(client.expect("one has a route").peer_addr(), at);
                let client = create_connected_udp_socket(Fixed::host(&["10.98.0.1"]), 9).await;
                assert!(text(client).contains("10.98.0.1"));
            });
        },
    );
}

/// The error was taken for the socket's: one client with an IPv6 address ended a server.
#[test]
fn an_address_that_this_host_cannot_reach_is_about_the_peer() {
    in_namespace(
        "addresses::an_address_that_this_host_cannot_reach_is_about_the_peer",
        "ip route add blackhole 10.98.0.0/24
        echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6\n",
        || {
            run(async {
                let socket = create_udp_socket().family(Family::V6).await;
                let socket = socket.expect("a socket");
                for to in ["[::1]:9", "[fd00::2]:9", "[fe80::1]:9", "10.98.0.1:9"] {
                    let to = to.parse().expect("an address");
                    let error = socket.send_to(b"x", to).await.expect_err("no way there");
                    assert_eq!(UdpFault::of(&error), UdpFault::Peer, "{error}");
                }
                let nowhere = create_udp_socket().local_host("10.98.0.1").await;
                let nowhere = nowhere.expect_err("not local");
                assert_eq!(UdpFault::of(&nowhere), UdpFault::Socket, "{nowhere}");
            });
        },
    );
}

#[test]
fn a_broadcast_that_is_refused_names_the_option() {
    run(async {
        let socket = create_udp_socket().family(Family::V4).await;
        let socket = socket.expect("a socket");
        let to = SocketAddr::from(([127, 255, 255, 255], 9));
        let error = socket.send_to(b"x", to).await.expect_err("not asked for");
        assert_eq!(UdpFault::of(&error), UdpFault::Peer, "{error}");
        let error = error.to_string();
        assert!(
            error.contains("set_broadcast") && error.contains(&to.to_string()),
            "{error}"
        );
        let mut one = [(&b"x"[..], to)].into_iter();
        assert!(text(socket.send_many(&mut one).await).contains("set_broadcast"));
        socket.set_broadcast(true).expect("set");
        socket.send_to(b"x", to).await.expect("sent");
    });
}

#[test]
fn a_path_that_is_taken_says_by_what() {
    run(async {
        let dir = TempDir::new();
        let (file, live) = (dir.path("file"), dir.path("live"));
        std::fs::write(&file, "precious").expect("a file");
        let _owner = StdUnixListener::bind(&live).expect("listens");
        let no_socket = "a file that is no socket";
        for (path, said) in [(&file, true), (&live, false)] {
            let listener = create_unix_listener(path).await.expect_err("taken");
            let datagrams = create_unix_datagram_socket().local_path(path).await;
            for error in [listener, datagrams.expect_err("taken")] {
                assert_eq!(error.to_string().contains(no_socket), said, "{error}");
                match error {
                    Error::Io(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
                    other => panic!("{other}"),
                }
            }
        }
    });
}
