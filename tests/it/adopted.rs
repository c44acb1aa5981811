//! Sockets that were adopted: their clones, their linger time, UNIX datagram sockets.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram as StdDatagram, UnixStream as StdUnixStream};
use std::time::{Duration, Instant};

use futures_util::future::join;
use socket2::SockRef;
use soloio::net::Watched;
use soloio::{
    ConnectedUnixDatagramSocket, Error, TcpListener, TcpStream, UdpSocket, UnixDatagramSocket,
    UnixStream, connect_tcp, create_unix_datagram_socket,
};

use crate::adopt::std_pair;
use crate::net_support::{
    TempDir, clog, polled, refused, run, tcp_listener, tcp_pair, turns, udp, unix_pair,
};
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
        lingers(&client).expect("an option");
        let client = TcpStream::try_from(client).expect("a TCP stream");
        // Sends until the buffers are full; the peer does not read.
        clog(&client, 0).await;
        closes_at_once(client);
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

/// Asks for a linger time for which a close would block.
pub(crate) fn lingers(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::from_secs(3)))
}

#[track_caller]
pub(crate) fn closes_at_once<T>(socket: T) {
    let start = Instant::now();
    drop(socket);
    assert!(start.elapsed() < Duration::from_secs(1));
}

/// On Linux a connection has the linger time of its listener since its handshake.
#[test]
fn accepted_sockets_inherit_no_linger_time() {
    run(async {
        let std = StdListener::bind("127.0.0.1:0").expect("a port");
        lingers(&std).expect("an option");
        let early = StdStream::connect(std.local_addr().expect("bound")).expect("connects");
        let adopted = TcpListener::try_from(std).expect("a listener");
        let server = adopted.accept().await.expect("accepts");
        clog(&server, 0).await;
        closes_at_once(server);
        // The program sets it on a listener of ours.
        let listener = tcp_listener().await;
        lingers(&listener.as_fds().next().expect("one")).expect("an option");
        let late = StdStream::connect(listener.local_addr()).expect("connects");
        let server = listener.accept().await.expect("accepts");
        clog(&server, 0).await;
        closes_at_once(server);
        drop((early, late));
    });
}

#[test]
fn a_socket_that_is_refused_is_closed_at_once() {
    run(async {
        let (client, server) = std_pair();
        lingers(&client).expect("an option");
        client.set_nonblocking(true).expect("an option");
        while (&client).write(&[0; 65_536]).is_ok() {}
        let client = OwnedFd::from(client);
        let start = Instant::now();
        refused!(UnixStream::try_from(client), Error::Io(_));
        assert!(start.elapsed() < Duration::from_secs(1));
        drop(server);
    });
}

/// The stream that a handler has dropped is closed through a duplicate, beside those of the
/// program.
#[test]
fn what_a_handler_has_left_is_not_in_the_poller_any_more() {
    let test = "adopted::what_a_handler_has_left_is_not_in_the_poller_any_more";
    alone(test, || {
        run(async {
            let (listener, kept) = (tcp_listener().await, RefCell::new(None));
            let port = listener.local_addr().port();
            let talk = async {
                let client = connect_tcp("127.0.0.1", port).await.expect("connects");
                client.send(b"some").await.expect("sent");
                assert_eq!(client.next().await.expect("an orderly end"), None);
            };
            let serve = listener.serve(async |client: TcpStream| {
                let duplicate = client.as_fd().try_clone_to_owned().map_err(Error::from)?;
                kept.replace(Some(duplicate));
                // The rest is unread, so the handler's task goes on to close the stream.
                client.receive_max(1).await.map(drop)
            });
            let serve = async { serve.shutdown(talk).await };
            serve.await.expect("as it was told");
            let kept = kept.take().expect("one");
            let watch = |_| Watched::new(kept.try_clone().expect("a duplicate")).expect("watched");
            for watched in (0..8).map(watch).collect::<Vec<_>>() {
                let again = |_: &_| Err::<(), _>(io::ErrorKind::WouldBlock.into());
                let waited = polled(1, watched.read_with(again)).await;
                assert!(waited.is_none(), "{waited:?}");
            }
        });
    });
}

/// Without a descriptor for a dead socket in its place, an aborted one is only shut down, and was
/// given away as if it were good.
#[test]
fn what_was_aborted_without_a_free_descriptor_is_not_given_away() {
    alone(
        "adopted::what_was_aborted_without_a_free_descriptor_is_not_given_away",
        || {
            run(async {
                let (tcp, _peer) = tcp_pair().await;
                let (unix, _other) = unix_pair().await;
                let (std, udp) = (udp().await, udp().await);
                let null = || std::fs::File::open("/dev/null");
                let all: Vec<_> = std::iter::from_fn(|| null().ok()).collect();
                tcp.abort();
                unix.abort();
                std.abort();
                udp.abort();
                drop(all);
                refused!(OwnedFd::try_from(tcp), Error::Closed);
                refused!(OwnedFd::try_from(unix), Error::Closed);
                refused!(std::net::UdpSocket::try_from(std), Error::Closed);
                refused!(OwnedFd::try_from(udp), Error::Closed);
            });
        },
    );
}

/// A server closes a stream that its handler drops, and took one that was given away for that.
#[test]
fn a_handler_may_give_its_connection_away() {
    run(async {
        let listener = tcp_listener().await;
        let port = listener.local_addr().port();
        let given = RefCell::new(None);
        let server = async {
            let served = listener.serve(async |client| {
                client.receive_max(5).await?;
                client.send(b"answer").await?;
                let fd = OwnedFd::try_from(client)?;
                *given.borrow_mut() = Some(StdStream::from(fd));
                Ok(())
            });
            served.await
        };
        let client = async {
            let client = connect_tcp("127.0.0.1", port).await.expect("connects");
            client.send(b"helloworld").await.expect("sent");
            assert_eq!(client.receive().await.expect("sent"), b"answer");
            turns(9).await;
            let mut given = given.borrow_mut().take().expect("given away");
            given.set_nonblocking(false).expect("an option");
            let limit = Some(Duration::from_secs(20));
            given.set_read_timeout(limit).expect("an option");
            let mut got = [0; 5];
            given.read_exact(&mut got).expect("it goes on");
            assert_eq!(&got, b"world");
            given.write_all(b"bye").expect("it goes on");
            assert_eq!(client.receive().await.expect("it goes on"), b"bye");
            listener.abort();
        };
        let (served, ()) = join(server, client).await;
        refused!(served, Error::Closed);
    });
}
