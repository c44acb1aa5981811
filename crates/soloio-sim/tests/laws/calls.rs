//! The system calls of each transport, counted exactly: a needless one fails here.

use std::collections::BTreeMap;

use soloio::{
    ConnectedUdpSocket, TcpStream, connect_tcp, create_connected_udp_socket, create_tcp_listener,
    relay, task_group, unix_socket_pair,
};
use soloio_sim::{calls, run};

const ROUNDS: usize = 50;

/// Checks the number of calls in one of many equal rounds.
async fn expect(what: &str, expected: &[(&str, usize)], mut round: impl AsyncFnMut()) {
    // The first ones register sockets and make what later ones keep.
    for _ in 0..3 {
        round().await;
    }
    let before = calls();
    for _ in 0..ROUNDS {
        round().await;
    }
    let made: BTreeMap<&str, usize> = calls()
        .into_iter()
        .map(|(name, count)| (name, count - before.get(name).copied().unwrap_or(0)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let expected = expected.iter().map(|(name, count)| (*name, count * ROUNDS));
    assert_eq!(made, expected.collect(), "{what}, {ROUNDS} rounds");
}

/// A message there and back, between two ends in one task.
macro_rules! echo {
    ($a:expr, $b:expr) => {
        async || {
            for (from, to) in [(&$a, &$b), (&$b, &$a)] {
                from.send(b"message").await.expect("sent");
                assert_eq!(to.receive().await.expect("received"), b"message");
            }
        }
    };
}

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = create_tcp_listener().local_host("127.0.0.1").await;
    let listener = listener.expect("a port");
    let port = listener.local_addr().port();
    let (client, server) = soloio::join((connect_tcp("127.0.0.1", port), listener.accept())).await;
    (client.expect("connected"), server.expect("accepted"))
}

#[test]
fn an_echo_takes_one_receive_one_send_and_one_wait_on_each_side() {
    run(async {
        let (a, b) = tcp().await;
        let tcp = [("recv", 2), ("send", 2), ("epoll_wait", 2)];
        expect("TCP", &tcp, echo!(a, b)).await;
        let (a, b) = unix_socket_pair().expect("a pair");
        let unix = [("recvmsg", 2), ("send", 2), ("epoll_wait", 2)];
        expect("UNIX", &unix, echo!(a, b)).await;
    });
}

async fn udp(local: u16, remote: u16) -> ConnectedUdpSocket {
    let made = create_connected_udp_socket("127.0.0.1", remote);
    made.local_host("127.0.0.1")
        .local_port(local)
        .await
        .expect("a port")
}

#[test]
fn a_connection_takes_no_call_beside_its_own() {
    run(async {
        let listener = create_tcp_listener()
            .local_host("127.0.0.1")
            .await
            .expect("a port");
        let port = listener.local_addr().port();
        // The client's: socket, connect and its result, an option, its address; one registration on
        // each side, none removed.
        let calls = [
            ("accept4", 1),
            ("close", 2),
            ("connect", 1),
            ("epoll_ctl", 2),
            ("epoll_wait", 3),
            ("getpeername", 1),
            ("getsockname", 1),
            ("getsockopt", 1),
            ("recv", 2),
            ("send", 2),
            ("setsockopt", 1),
            ("socket", 1),
        ];
        expect("a connection", &calls, async || {
            let ends = soloio::join((connect_tcp("127.0.0.1", port), listener.accept())).await;
            let (client, server) = (ends.0.expect("connected"), ends.1.expect("accepted"));
            client.send(b"request").await.expect("sent");
            assert_eq!(server.receive().await.expect("received"), b"request");
            server.send(b"answer").await.expect("sent");
            assert_eq!(client.receive().await.expect("received"), b"answer");
        })
        .await;
    });
}

#[test]
fn a_datagram_takes_one_receive_and_one_send() {
    run(async {
        let (a, b) = (udp(5000, 6000).await, udp(6000, 5000).await);
        // What has come is known to be there, so that nothing waits for it.
        let udp = [("recvfrom", 2), ("send", 2)];
        expect("UDP", &udp, echo!(a, b)).await;
    });
}

#[test]
fn a_relay_takes_one_receive_and_one_send_of_each_message() {
    run(async {
        let ((a, near), (far, b)) = (unix_socket_pair().unwrap(), unix_socket_pair().unwrap());
        let relayed = task_group(async |group| {
            group.spawn(async { relay(near, far).await.map(drop) });
            let unix = [("recvmsg", 4), ("send", 4), ("epoll_wait", 4)];
            expect("two UNIX streams", &unix, echo!(a, b)).await;
            group.cancel();
            Ok(())
        });
        relayed.await.expect("cancelled");
    });
}
