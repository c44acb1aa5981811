//! Socket options: the kernel reports the value that was set, on each type that has the option; and
//! addresses that outlive the connection.

use std::time::Duration;

use soloio::{
    Error, Family, Keepalive, Result, connect_tcp, create_connected_udp_socket,
    create_tcp_listener, create_udp_socket,
};

use crate::net_support::{is_broken, refused, run, tcp_listener, tcp_pair, udp, unix_pair};

fn invalid<T: std::fmt::Debug>(result: Result<T>, part: &str) {
    match result {
        Err(Error::Io(cause)) => {
            assert_eq!(cause.kind(), std::io::ErrorKind::InvalidInput);
            assert!(cause.to_string().contains(part), "{cause}");
        }
        other => panic!("{other:?} for what is out of range"),
    }
}

/// Checks the options of internet sockets, for any type.
macro_rules! check_ip {
    ($socket:expr) => {
        let socket = &$socket;
        for ttl in [1, 64, 255] {
            socket.set_ttl(ttl).expect("set");
            assert_eq!(socket.ttl().expect("read"), ttl);
        }
        invalid(socket.set_ttl(0), "a TTL of 1 to 255");
        // 0x2E: expedited forwarding, no ECN.
        for tos in [0xB8, 0] {
            socket.set_tos(tos).expect("set");
            assert_eq!(socket.tos().expect("read"), tos);
        }
    };
}

macro_rules! check_buffers {
    ($socket:expr) => {
        let socket = &$socket;
        socket.set_receive_buffer_size(20_000).expect("set");
        socket.set_send_buffer_size(30_000).expect("set");
        // Linux reports twice the size, other systems the size itself.
        assert!((20_000..=40_000).contains(&socket.receive_buffer_size().expect("read")));
        assert!((30_000..=60_000).contains(&socket.send_buffer_size().expect("read")));
        for bytes in [0, 1 << 30, usize::MAX] {
            invalid(socket.set_receive_buffer_size(bytes), "a buffer of 1 to");
            invalid(socket.set_send_buffer_size(bytes), "a buffer of 1 to");
        }
        // Values below the kernel's minimum or above its maximum are clamped.
        socket.set_send_buffer_size(1).expect("set");
        assert!(socket.send_buffer_size().expect("read") > 1);
        socket.set_send_buffer_size(0x3FFF_FFFF).expect("set");
    };
}

macro_rules! check_tcp {
    ($socket:expr) => {
        let socket = &$socket;
        assert!(socket.nodelay().expect("read"), "on unless told otherwise");
        socket.set_nodelay(false).expect("set");
        assert!(!socket.nodelay().expect("read"));
        assert!(!socket.zero_linger().expect("read"));
        socket.set_zero_linger(true).expect("set");
        assert!(socket.zero_linger().expect("read"));
        socket.set_zero_linger(false).expect("set");
        assert!(!socket.zero_linger().expect("read"));
        assert_eq!(socket.keepalive().expect("read"), None);
        let keepalive = Keepalive {
            idle: Duration::from_millis(30_001),
            interval: Duration::from_secs(5),
            count: 4,
        };
        socket.set_keepalive(Some(keepalive)).expect("set");
        let rounded = Keepalive {
            idle: Duration::from_secs(31),
            ..keepalive
        };
        assert_eq!(socket.keepalive().expect("read"), Some(rounded));
        socket.set_keepalive(None).expect("set");
        assert_eq!(socket.keepalive().expect("read"), None);
    };
}

#[test]
fn tcp_streams_and_listeners_have_them_all() {
    run(async {
        let (a, b) = tcp_pair().await;
        check_buffers!(a);
        check_ip!(a);
        check_tcp!(a);
        let listener = tcp_listener().await;
        check_buffers!(listener);
        check_ip!(listener);
        check_tcp!(listener);
        drop(b);
    });
}

#[test]
fn ipv6_and_both_at_once() {
    run(async {
        let Ok(listener) = create_tcp_listener().local_host("::1").await else {
            eprintln!("no IPv6 here: not tested");
            return;
        };
        check_ip!(listener);
        let port = listener.local_addr().port();
        let client = connect_tcp("::1", port).await.expect("connects");
        check_ip!(client);
        check_ip!(listener.accept().await.expect("accepts"));
        // One socket for both families, with an IPv4 peer.
        let both = create_tcp_listener().await.expect("listens");
        let client = connect_tcp("127.0.0.1", both.local_addr().port()).await;
        let mapped = both.accept().await.expect("accepts");
        check_ip!(mapped);
        check_ip!(client.expect("connects"));
        let udp = create_udp_socket().family(Family::V6).await;
        check_ip!(udp.expect("a socket"));
    });
}

#[test]
fn options_of_a_listener_hold_for_all_its_sockets_and_their_connections() {
    run(async {
        let listener = create_tcp_listener().local_host("localhost").await;
        let listener = listener.expect("listens");
        let keepalive = Keepalive {
            idle: Duration::from_secs(77),
            ..Keepalive::default()
        };
        listener.set_keepalive(Some(keepalive)).expect("set");
        listener.set_nodelay(false).expect("set");
        for address in listener.local_addrs() {
            let client = connect_tcp(address.ip(), address.port()).await;
            let server = listener.accept().await.expect("accepts");
            if cfg!(target_os = "linux") {
                assert_eq!(server.keepalive().expect("read"), Some(keepalive));
                assert!(!server.nodelay().expect("read"));
            }
            drop(client);
        }
    });
}

#[test]
fn udp_and_unix_have_theirs() {
    run(async {
        let server = udp().await;
        check_buffers!(server);
        check_ip!(server);
        let port = server.local_addr().port();
        let client = create_connected_udp_socket("127.0.0.1", port).await;
        let client = client.expect("a socket");
        check_buffers!(client);
        check_ip!(client);
        let (a, b) = unix_pair().await;
        check_buffers!(a);
        check_buffers!(b);
    });
}

#[test]
fn values_out_of_range_are_refused_and_change_nothing() {
    run(async {
        let (a, _b) = tcp_pair().await;
        let good = Keepalive::default();
        a.set_keepalive(Some(good)).expect("set");
        let (zero, long) = (Duration::ZERO, Duration::from_secs(32_768));
        for idle in [zero, long, Duration::MAX] {
            invalid(
                a.set_keepalive(Some(Keepalive { idle, ..good })),
                "an idle time of 1 to",
            );
        }
        for interval in [zero, long] {
            invalid(
                a.set_keepalive(Some(Keepalive { interval, ..good })),
                "an interval of 1 to",
            );
        }
        for count in [0, 128, u32::MAX] {
            invalid(
                a.set_keepalive(Some(Keepalive { count, ..good })),
                "a count of 1 to 127",
            );
        }
        assert_eq!(a.keepalive().expect("read"), Some(good));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn the_user_timeout_of_linux() {
    run(async {
        let (a, _b) = tcp_pair().await;
        assert_eq!(a.user_timeout().expect("read"), None);
        a.set_user_timeout(Some(Duration::from_micros(1_500_001)))
            .expect("set");
        assert_eq!(
            a.user_timeout().expect("read"),
            Some(Duration::from_millis(1_501))
        );
        for timeout in [
            Duration::ZERO,
            Duration::from_millis(1 << 31),
            Duration::MAX,
        ] {
            invalid(a.set_user_timeout(Some(timeout)), "a user timeout of 1 ms");
        }
        a.set_user_timeout(None).expect("set");
        assert_eq!(a.user_timeout().expect("read"), None);
        let listener = tcp_listener().await;
        listener
            .set_user_timeout(Some(Duration::from_secs(9)))
            .expect("set");
        assert_eq!(
            listener.user_timeout().expect("read"),
            Some(Duration::from_secs(9))
        );
    });
}

#[test]
fn zero_linger_resets() {
    run(async {
        let (a, b) = tcp_pair().await;
        a.send(b"lost or not").await.expect("sent");
        a.set_zero_linger(true).expect("set");
        drop(a);
        while let Ok(data) = b.receive().await {
            assert_eq!(data, b"lost or not");
        }
        assert!(is_broken(&b.receive().await), "a reset is no end");
    });
}

#[test]
fn options_need_no_runtime_and_end_with_the_socket() {
    let (a, _b) = run(tcp_pair());
    a.set_ttl(9).expect("set");
    assert_eq!(a.ttl().expect("read"), 9);
    a.abort();
    refused!(a.ttl(), Error::Closed);
    refused!(a.set_ttl(9), Error::Closed);
    refused!(a.set_keepalive(None), Error::Closed);
    refused!(a.send_buffer_size(), Error::Closed);
    let listener = run(tcp_listener());
    listener.abort();
    refused!(listener.set_nodelay(true), Error::Closed);
    let socket = run(udp());
    socket.abort();
    refused!(socket.tos(), Error::Closed);
    let (unix, _other) = run(unix_pair());
    unix.abort();
    refused!(unix.set_send_buffer_size(1000), Error::Closed);
}

#[test]
fn addresses_outlive_the_connection() {
    run(async {
        let (a, b) = tcp_pair().await;
        // The addresses are read after the peer's reset, after an abort, and after the end.
        b.set_zero_linger(true).expect("set");
        let (b_local, b_peer) = (b.local_addr(), b.peer_addr());
        drop(b);
        assert!(a.receive().await.is_err());
        assert_eq!((a.local_addr(), a.peer_addr()), (b_peer, b_local));
        let (c, d) = tcp_pair().await;
        c.abort();
        assert!(d.receive().await.is_err());
        d.abort();
        assert_eq!(
            (c.local_addr(), c.peer_addr()),
            (d.peer_addr(), d.local_addr())
        );
        let (e, f) = tcp_pair().await;
        e.send_eof().await.expect("ended");
        refused!(f.receive().await, Error::EndOfStream);
        f.send_eof().await.expect("ended");
        refused!(e.receive().await, Error::EndOfStream);
        assert_eq!(
            (e.local_addr(), e.peer_addr()),
            (f.peer_addr(), f.local_addr())
        );
        let listener = tcp_listener().await;
        let address = listener.local_addr();
        listener.abort();
        assert_eq!(listener.local_addr(), address);
        let (near, far) = unix_pair().await;
        let name = far.local_name().to_string();
        far.abort();
        near.abort();
        assert_eq!(near.peer_name().to_string(), name);
        assert_eq!(far.local_name().to_string(), name);
    });
}
