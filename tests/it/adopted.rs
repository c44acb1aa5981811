//! Sockets that were adopted: their clones, their linger time, UNIX datagram sockets.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram as StdDatagram, UnixStream as StdUnixStream};
use std::time::{Duration, Instant};

use socket2::SockRef;
use soloio::{
    ConnectedUnixDatagramSocket, Error, TcpStream, UdpSocket, UnixDatagramSocket, UnixStream,
    create_unix_datagram_socket,
};

use crate::adopt::std_pair;
use crate::net_support::{TempDir, clog, polled, refused, run};
use crate::support::alone;

#[test]
fn unix_datagram_sockets_travel_both_ways() {
    run(async {
        let dir = TempDir::new();
        let path = dir.path("bound");
        let std = StdDatagram::bind(&path).expect("a free path");
        let socket = UnixDatagramSocket::try_from(std).expect("a UNIX datagram socket");
        assert_eq!(socket.local_name().as_path(), Some(&*path));
        let (a, b) = StdDatagram::pair().expect("a pair");
        let a = ConnectedUnixDatagramSocket::try_from(a).expect("a connected one");
        b.send(b"to a").expect("sent");
        assert_eq!(a.receive().await.expect("sent"), b"to a");
        let free = StdDatagram::unbound().expect("a socket");
        free.send_to(b"to the path", &path).expect("sent");
        assert_eq!(socket.receive().await.expect("sent").0, b"to the path");
        // The conversion back to std keeps the file and makes the socket blocking again.
        let std: StdDatagram = socket.try_into().expect("it was not aborted");
        assert!(path.exists());
        let reader = std::thread::spawn(move || std.recv(&mut [0; 9]).expect("it blocks"));
        free.send_to(b"again", &path).expect("sent");
        assert_eq!(reader.join().expect("no panic"), 5);
        // A socket with `unlink_on_close` leaves its file when it is given away.
        let path = dir.path("ours");
        let ours = create_unix_datagram_socket()
            .local_path(&path)
            .unlink_on_close(true);
        let ours = ours.await.expect("a free path");
        let given: OwnedFd = ours.try_into().expect("it was not aborted");
        assert!(path.exists());
        drop(given);
        a.abort();
        refused!(OwnedFd::try_from(a), Error::Closed);
        // The two types accept only what fits: an unconnected or a connected socket.
        let (a, b) = StdDatagram::pair().expect("a pair");
        let error = UnixDatagramSocket::try_from(a).expect_err("connected");
        assert!(error.to_string().contains("connected"), "{error}");
        let error = UdpSocket::try_from(OwnedFd::from(b)).expect_err("a UNIX one");
        assert!(error.to_string().contains("family"), "{error}");
        let error = ConnectedUnixDatagramSocket::try_from(free).expect_err("not connected");
        assert!(error.to_string().contains("not connected"), "{error}");
    });
}

/// A clone keeps the first socket in the poller, unless that is deregistered when it is closed.
#[test]
fn clones_are_adopted_one_after_the_other_in_one_runtime() {
    let test = "adopted::clones_are_adopted_one_after_the_other_in_one_runtime";
    alone(test, || {
        run(async {
            let (client, mut server) = std_pair();
            let unix = StdUnixStream::pair().expect("a pair");
            let mut unix_server = unix.1;
            for _ in 0..3 {
                let clone = client.try_clone().expect("a clone");
                let clone = TcpStream::try_from(clone).expect("a TCP stream");
                assert!(polled(1, clone.receive()).await.is_none(), "it waits");
                server.write_all(b"x").expect("sent");
                assert_eq!(clone.receive().await.expect("not broken"), b"x");
                drop(clone);
                let clone = unix.0.try_clone().expect("a clone");
                let clone = UnixStream::try_from(clone).expect("a UNIX stream");
                assert!(polled(1, clone.receive()).await.is_none(), "it waits");
                unix_server.write_all(b"x").expect("sent");
                assert_eq!(clone.receive().await.expect("not broken"), b"x");
            }
        });
    });
}

#[test]
fn an_adopted_socket_never_blocks_the_loop_when_it_is_dropped() {
    run(async {
        let (client, server) = std_pair();
        SockRef::from(&client)
            .set_linger(Some(Duration::from_secs(3)))
            .expect("an option");
        let client = TcpStream::try_from(client).expect("a TCP stream");
        // Sends until the buffers are full; the peer does not read.
        clog(&client, 0).await;
        let start = Instant::now();
        drop(client);
        assert!(start.elapsed() < Duration::from_secs(1));
        drop(server);
        // A linger time of zero blocks nothing, and the program asked for it.
        let (client, _server) = std_pair();
        SockRef::from(&client)
            .set_linger(Some(Duration::ZERO))
            .expect("an option");
        let client = TcpStream::try_from(client).expect("a TCP stream");
        assert!(client.zero_linger().expect("an option"));
    });
}
