//! The laws of datagrams on a machine: each that was sent is received, whole, once, in order.

use std::net::SocketAddr;

use soloio::{
    DatagramBuffer, create_connected_udp_socket, create_udp_socket, unix_datagram_socket_pair,
};
use soloio_sim::run;

/// Different lengths, some of no bytes; more of them than one call takes.
fn datagrams() -> Vec<Vec<u8>> {
    let lengths = [1, 300, 0, 1200, 1200, 7, 1].iter().cycle().take(70);
    let numbered = lengths.zip(b'!'..);
    numbered.map(|(length, byte)| vec![byte; *length]).collect()
}

/// Sends all, then receives all: no event comes between two of them.
async fn expect_all(
    what: &str,
    send: impl AsyncFn(&[u8]),
    receive: impl AsyncFn(usize) -> Vec<Vec<u8>>,
) {
    for round in 0..3 {
        let sent = datagrams();
        for datagram in &sent {
            send(datagram).await;
        }
        let got = receive(sent.len()).await;
        assert!(got == sent, "{what}, round {round}: each once, in order");
    }
}

#[test]
fn several_that_have_come_are_all_received() {
    run(async {
        let server = create_udp_socket().local_host("127.0.0.1").await;
        let server = server.expect("a socket");
        let to = server.local_addr();
        let client = create_connected_udp_socket("127.0.0.1", to.port()).await;
        let client = client.expect("a socket");
        let from: SocketAddr = client.local_addr();
        let send = async |data: &[u8]| client.send(data).await.expect("sent");
        let one = async |count| {
            let mut got = Vec::new();
            for _ in 0..count {
                let (data, sender) = server.receive().await.expect("received");
                assert_eq!(sender, from);
                got.push(data);
            }
            got
        };
        expect_all("UDP", send, one).await;
        let many = async |count| {
            let (mut buffer, mut got) = (DatagramBuffer::new(), Vec::new());
            while got.len() < count {
                let batch = server.receive_many(&mut buffer).await.expect("received");
                got.extend(batch.map(|(data, _)| data.to_vec()));
            }
            got
        };
        expect_all("UDP, many at a time", send, many).await;
        let back = async |data: &[u8]| server.send_to(data, from).await.expect("sent");
        let connected = async |count| {
            let mut got = Vec::new();
            for _ in 0..count {
                got.push(client.receive().await.expect("received"));
            }
            got
        };
        expect_all("UDP, connected", back, connected).await;
        let (a, b) = unix_datagram_socket_pair().expect("a pair");
        let send = async |data: &[u8]| a.send(data).await.expect("sent");
        let receive = async |count| {
            let mut got = Vec::new();
            for _ in 0..count {
                got.push(b.receive().await.expect("received"));
            }
            got
        };
        expect_all("UNIX", send, receive).await;
    });
}
