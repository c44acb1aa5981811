//! Control data that the kernel adds because of a socket option that was set elsewhere, in this
//! program or another: no data is lost, and no descriptor is left open (pesign#69, gvisor#14785).

use std::fs::File;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use soloio::{
    ConnectedUnixDatagramSocket, DatagramBuffer, Error, UdpSocket, UnixStream, create_udp_socket,
    unix_datagram_socket_pair, unix_socket_pair,
};

use crate::kernel;
use crate::net_support::run;
use crate::support::{alone, fds};

/// Since Linux 6.5; libc has no name for it yet.
const SO_PASSPIDFD: i32 = 76;

/// Makes the kernel add as much control data to each message as it can.
fn tell_all(fd: impl AsFd) {
    let options = [
        libc::SO_PASSCRED,
        libc::SO_PASSSEC,
        libc::SO_TIMESTAMPNS,
        SO_PASSPIDFD,
    ];
    for option in options {
        is_known(&fd, (libc::SOL_SOCKET, option, 1));
    }
}

/// Sets an option. Returns false, with a note, if the kernel does not have it; another error fails
/// the test.
fn is_known(fd: &impl AsFd, (level, name, value): (i32, i32, i32)) -> bool {
    let Err(error) = kernel::set_option(fd, level, name, value) else {
        return true;
    };
    let lacks = [libc::ENOPROTOOPT, libc::EOPNOTSUPP];
    let is_lacking = error
        .raw_os_error()
        .is_some_and(|errno| lacks.contains(&errno));
    assert!(is_lacking, "option {name} of level {level}: {error}");
    println!("not tested: this kernel has no option {name} of level {level}: {error}");
    false
}

fn null() -> File {
    File::open("/dev/null").expect("a descriptor")
}

async fn one_message(a: &UnixStream, b: &UnixStream, sent: usize, room: usize) {
    let null = null();
    let fds = vec![null.as_fd(); sent];
    match sent {
        0 => a.send(b"data").await.expect("sent"),
        _ => a.send_fds(b"data", &fds).await.expect("sent"),
    }
    match b.receive_fds(100, room).await {
        Ok((data, got)) => assert_eq!((&data[..], got.len()), (&b"data"[..], sent)),
        Err(Error::Io(error)) => {
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
            assert!(sent > room, "{error}");
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn descriptors_arrive_beside_all_that_the_kernel_tells_and_none_leaks() {
    alone(
        "control_data::descriptors_arrive_beside_all_that_the_kernel_tells_and_none_leaks",
        || {
            run(async {
                for told in [false, true] {
                    let (a, b) = unix_socket_pair().expect("two descriptors");
                    if told {
                        tell_all(&a);
                        tell_all(&b);
                    }
                    one_message(&a, &b, 1, 1).await;
                    let before = fds();
                    for round in 0..10_000 {
                        let (sent, room) =
                            [(0, 1), (1, 1), (2, 1), (3, 64), (253, 1), (253, 253)][round % 6];
                        one_message(&a, &b, sent, room).await;
                        assert_eq!(fds(), before, "{sent} sent, room for {room}");
                    }
                }
            });
        },
    );
}

/// Every option for control data except IPv6 extension headers; those of IPv6 for a socket of it.
fn options(is_v6: bool) -> impl Iterator<Item = (i32, i32, i32)> {
    const V4: [i32; 8] = [
        libc::IP_PKTINFO,
        libc::IP_RECVTTL,
        libc::IP_RECVTOS,
        libc::IP_RECVOPTS,
        libc::IP_RETOPTS,
        libc::IP_RECVORIGDSTADDR,
        libc::IP_RECVFRAGSIZE,
        23, // IP_CHECKSUM
    ];
    const V6: [i32; 6] = [
        libc::IPV6_RECVPKTINFO,
        libc::IPV6_RECVHOPLIMIT,
        libc::IPV6_RECVTCLASS,
        libc::IPV6_FLOWINFO,
        libc::IPV6_RECVORIGDSTADDR,
        libc::IPV6_RECVFRAGSIZE,
    ];
    const SOCKET: [(i32, i32); 6] = [
        (libc::SO_TIMESTAMPNS, 1),
        // Software and hardware times of received datagrams.
        (libc::SO_TIMESTAMPING, 0b101_1000),
        (libc::SO_RXQ_OVFL, 1),
        (libc::SO_PASSSEC, 1),
        (libc::SO_WIFI_STATUS, 1),
        (75, 1), // SO_RCVMARK
    ];
    let v4 = V4.map(|name| (libc::IPPROTO_IP, name, 1));
    let v6 = V6.map(|name| (libc::IPPROTO_IPV6, name, 1));
    let socket = SOCKET.map(|(name, value)| (libc::SOL_SOCKET, name, value));
    let v6 = v6.into_iter().filter(move |_| is_v6);
    v4.into_iter().chain(v6).chain(socket)
}

/// All control data beside the sizes of the datagrams in a message.
#[test]
fn datagrams_stay_apart_and_know_their_destination_beside_all_else() {
    run(async {
        for (bind, sender, to) in [
            ("0.0.0.0:0", "127.0.0.1", "127.0.0.9"),
            ("[::]:0", "127.0.0.1", "127.0.0.9"),
            ("[::]:0", "::1", "::1"),
        ] {
            let socket = std::net::UdpSocket::bind(bind).expect("a port");
            let known = options(bind.starts_with('[')).filter(|o| is_known(&socket, *o));
            let count = known.count();
            assert!(
                count > 8,
                "kernels have known most of them for long: {count}"
            );
            let server = UdpSocket::try_from(socket).expect("adopted");
            let sender = create_udp_socket()
                .local_host(sender)
                .await
                .expect("a socket");
            let to = SocketAddr::new(to.parse().expect("a literal"), server.local_addr().port());
            let mut buffer = DatagramBuffer::new();
            for _ in 0..4 {
                let mut rest = &[7; 1000][..];
                sender
                    .send_segments(&mut rest, 100, to)
                    .await
                    .expect("sent");
                let mut left = 10;
                while left > 0 {
                    let batch = server.receive_many(&mut buffer).await.expect("received");
                    for (data, from, came_to) in batch.with_destinations() {
                        let known = (data.len(), from, came_to);
                        assert_eq!(known, (100, sender.local_addr(), Some(to.ip())));
                        left -= 1;
                    }
                }
            }
        }
    });
}

#[test]
fn plain_receives_leave_no_descriptor_open() {
    alone(
        "control_data::plain_receives_leave_no_descriptor_open",
        || {
            run(async {
                let (a, b) = unix_socket_pair().expect("two descriptors");
                let pair: (ConnectedUnixDatagramSocket, ConnectedUnixDatagramSocket) =
                    unix_datagram_socket_pair().expect("two descriptors");
                let null = null();
                tell_all(&b);
                tell_all(&pair.1);
                a.send(b"warm").await.expect("sent");
                assert_eq!(b.receive().await.expect("received"), b"warm");
                let before = fds();
                for _ in 0..10_000 {
                    a.send_fds(b"data", &[null.as_fd()]).await.expect("sent");
                    assert_eq!(b.receive().await.expect("received"), b"data");
                    kernel::send_descriptors(&pair.0, b"data", &[null.as_fd()]);
                    assert_eq!(pair.1.receive().await.expect("received"), b"data");
                    assert_eq!(fds(), before);
                }
            });
        },
    );
}
