//! A report, not mended (src/net/unix_datagram.rs): "It does not receive datagrams from other
//! senders", but an adopted socket receives what was in its queue when it was connected. UDP leaves
//! that out (`UdpCore::accept`). Not part of a binary yet; it belongs to `adopted.rs`.

use std::os::unix::net::UnixDatagram as StdDatagram;

use soloio::ConnectedUnixDatagramSocket;

use crate::net_support::{TempDir, run};

#[test]
fn an_adopted_socket_leaves_out_what_strangers_sent_before() {
    run(async {
        let dir = TempDir::new();
        let (path, peer) = (dir.path("ours"), dir.path("peer"));
        let (ours, peer_socket) = (StdDatagram::bind(&path), StdDatagram::bind(&peer));
        let (ours, peer_socket) = (ours.expect("free"), peer_socket.expect("free"));
        let stranger = StdDatagram::unbound().expect("a socket");
        stranger.send_to(b"stranger", &path).expect("sent");
        ours.connect(&peer).expect("connected");
        peer_socket.send_to(b"peer", &path).expect("sent");
        let ours = ConnectedUnixDatagramSocket::try_from(ours).expect("adopted");
        assert_eq!(ours.receive().await.expect("a datagram"), b"peer");
    });
}
