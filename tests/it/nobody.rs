//! Ports without a peer, which stay so.

#[cfg(feature = "udp-batch")]
use std::net::UdpSocket;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// Returns a TCP port without a listener: while the socket lives, no other test gets it.
pub(crate) fn tcp(address: &str) -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    // A connect from this very port sets it, too.
    socket.set_reuse_address(true).expect("an option");
    let address: IpAddr = address.parse().expect("an address");
    let bound = socket.bind(&SocketAddr::new(address, 0).into());
    bound.expect("a port");
    let address = socket.local_addr().expect("bound").as_socket();
    (socket, address.expect("IPv4").port())
}

/// The same for UDP: the socket is connected to itself, so it receives nothing else.
#[cfg(feature = "udp-batch")]
pub(crate) fn udp() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("bound");
    socket.connect(address).expect("connected");
    (socket, address.port())
}
