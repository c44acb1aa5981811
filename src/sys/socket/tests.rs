//! The portable receive against that of Linux; a killed listener.

use super::*;
use std::os::fd::AsFd;

fn udp() -> (OwnedFd, SocketAddr) {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("a literal");
    let fd = internet(&any, Kind::Datagram).expect("a socket");
    bind(fd.as_fd(), &any).expect("a free port");
    let address = local_addr(fd.as_fd()).expect("bound");
    (fd, address)
}

/// The portable receive returns the same as Linux's, including truncation and empty datagrams.
#[test]
fn the_portable_receive_is_a_twin() {
    let (receiver, to) = udp();
    let (sender, from) = udp();
    type Receive = fn(BorrowedFd<'_>, &mut [u8], &mut Inet) -> io::Result<usize>;
    for receive in [recv_from as Receive, recv_from_portable] {
        for (data, cut) in [(&b"0123456789"[..], true), (b"0123", false), (b"", false)] {
            assert_eq!(
                send_to(sender.as_fd(), data, &Inet::new(&to)).expect("sent"),
                data.len()
            );
            let mut buf = [0; 4];
            let mut name = Inet::default();
            let got = receive(receiver.as_fd(), &mut buf, &mut name).expect("loopback is at once");
            assert_eq!(&buf[..got.min(4)], &data[..data.len().min(4)]);
            assert_eq!((got > 4, name.read()), (cut, Some(from)));
        }
        let nothing = receive(receiver.as_fd(), &mut [0; 4], &mut Inet::default())
            .expect_err("queue is empty");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn a_killed_listener_frees_its_port_and_keeps_its_number() {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("a literal");
    let fd = internet(&any, Kind::Stream).expect("a socket");
    bind(fd.as_fd(), &any).expect("a free port");
    listen(fd.as_fd(), 1).expect("listens");
    let address = local_addr(fd.as_fd()).expect("bound");
    kill(fd.as_fd(), false);
    let again = internet(&any, Kind::Stream).expect("a socket");
    bind(again.as_fd(), &address).expect("the port is free");
    assert!(local_addr(fd.as_fd()).is_err());
}
