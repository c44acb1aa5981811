//! The laws of datagrams on a machine: each that was sent is received, whole, once, in order.

use std::net::SocketAddr;
use std::time::Duration;

use soloio::{
    DatagramBuffer, UdpSocket, create_connected_udp_socket, create_udp_socket,
    unix_datagram_socket_pair,
};
use soloio_sim::{Fault, Faults, Sim, calls, check, run, sometimes};

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
        let into = async |count| {
            let (mut buffer, mut got) = ([0; 1_500], Vec::new());
            for _ in 0..count {
                let datagram = server.receive_into(&mut buffer).await.expect("received");
                assert_eq!(datagram.from, from);
                got.push(datagram.data.to_vec());
            }
            got
        };
        expect_all("UDP, into a buffer", send, into).await;
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

/// The number of a datagram is its first byte; all have the same length but the last.
fn pieces(count: u8) -> Vec<u8> {
    let whole = (0..count).flat_map(|number| [number; 1000]);
    whole.chain([count; 300]).collect()
}

async fn socket() -> UdpSocket {
    let socket = create_udp_socket().local_host("0.0.0.0").local_port(7000);
    socket.await.expect("a socket")
}

#[test]
fn a_burst_is_one_call_of_the_sender_and_one_of_the_receiver() {
    run(async {
        let (server, client) = (socket().await, create_udp_socket().local_host("127.0.0.1"));
        let client = client.await.expect("a socket");
        let to = SocketAddr::from(([127, 0, 0, 1], 7000));
        let mut buffer = DatagramBuffer::new();
        // From the first such receive on, the kernel hands several over as one message.
        client.send_to(b"first", to).await.expect("sent");
        server.receive_many(&mut buffer).await.expect("received");
        let data = pieces(40);
        let before = calls();
        let mut rest = &data[..];
        client
            .send_segments(&mut rest, 1000, to)
            .await
            .expect("sent");
        let batch = server.receive_many(&mut buffer).await.expect("received");
        let made = |name| calls().get(name).copied().unwrap_or(0) - before.get(name).unwrap_or(&0);
        let [sent, many, single] = ["sendmmsg", "recvmmsg", "recvmsg"].map(made);
        assert_eq!((sent, many, single), (1, 1, 0));
        let got: Vec<(Vec<u8>, SocketAddr)> =
            batch.map(|(data, from)| (data.to_vec(), from)).collect();
        assert!(got.iter().map(|(data, _)| &data[..]).eq(data.chunks(1000)));
        assert!(got.iter().all(|(_, from)| *from == client.local_addr()));
        // Another receive of such a socket takes them one by one.
        let mut rest = &data[..];
        client
            .send_segments(&mut rest, 1000, to)
            .await
            .expect("sent");
        for piece in data.chunks(1000) {
            assert_eq!(server.receive().await.expect("received").0, piece);
        }
    });
}

/// What arrives is what was sent, whole, whatever the network loses, doubles and reorders.
#[test]
fn datagrams_of_a_burst_are_lost_and_doubled_one_by_one() {
    check(30, |seed| {
        let faults = Faults::none()
            .with(Fault::Loss, 0.05)
            .with(Fault::Double, 0.05)
            .with(Fault::Reorder, 0.05)
            .with(Fault::SpuriousEvent, 0.05)
            .with_latency(Duration::from_micros(10), Duration::from_millis(3));
        let mut sim = Sim::new(seed, faults);
        let server = sim.host("server", || async {
            let (server, mut buffer) = (socket().await, DatagramBuffer::new());
            let (mut last, mut count) = (0, 0);
            loop {
                for (data, from) in server.receive_many(&mut buffer).await? {
                    let length = if data[0] == 40 { 300 } else { 1000 };
                    assert!(data == vec![data[0]; length], "one of those that were sent");
                    assert_eq!(from.port(), 7000);
                    sometimes(data[0] < last, "the order differs");
                    sometimes(data[0] == last && count > 0, "one came twice");
                    sometimes(data[0] > last + 1, "one is missing");
                    (last, count) = (data[0], count + 1);
                }
            }
            #[allow(unreachable_code, reason = "the type of the future")]
            Ok::<(), soloio::Error>(())
        });
        let to = SocketAddr::new(server.ip(), 7000);
        sim.client("client", move || async move {
            let client = socket().await;
            for _ in 0..5 {
                let data = pieces(40);
                client.send_segments(&mut &data[..], 1000, to).await?;
                soloio::sleep(Duration::from_millis(50)).await?;
            }
            Ok::<(), soloio::Error>(())
        });
        sim.run_until_done(Duration::from_secs(10))
    });
}
