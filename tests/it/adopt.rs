//! Sockets that were made elsewhere, sockets that are given away, and several listeners as one.

use std::fmt::Debug;
use std::future::{Future, IntoFuture};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener as StdListener, TcpStream as StdStream, UdpSocket as StdUdp};
use std::os::fd::OwnedFd;
use std::os::unix::net::{
    UnixDatagram as StdDatagram, UnixListener as StdUnixListener, UnixStream as StdUnixStream,
};

use futures_util::future::join;
use socket2::{Domain, Socket, Type};
use soloio::net::adopt_listeners;
use soloio::{
    ConnectedUdpSocket, Error, MultiListener, Result, TcpListener, TcpStream, UdpSocket,
    UnixListener, UnixStream, connect_tcp, connect_unix, create_connected_unix_datagram_socket,
    create_memory_byte_stream, create_tcp_listener, create_unix_listener, task_group,
};

use crate::names::Fixed;
use crate::net_support::{
    TempDir, polled, refused, run, tcp_listener, tcp_pair, turns, udp, unix_pair,
};
use crate::support::{alone, deadline, fds};

pub(crate) fn std_pair() -> (StdStream, StdStream) {
    let listener = StdListener::bind("127.0.0.1:0").expect("a port");
    let client = StdStream::connect(listener.local_addr().expect("bound")).expect("connects");
    (client, listener.accept().expect("accepts").0)
}

#[test]
fn r10_blocking_streams_of_std_do_not_block_the_loop() {
    run(async {
        let (client, mut server) = std_pair();
        let client = TcpStream::try_from(client).expect("a TCP stream");
        assert_eq!(client.peer_addr(), server.local_addr().expect("bound"));
        let answer = async {
            turns(3).await;
            server.write_all(b"late").expect("sent");
        };
        let (received, ()) = join(client.receive(), answer).await;
        assert_eq!(received.expect("sent"), b"late");
        let (a, mut b) = StdUnixStream::pair().expect("a pair");
        let a = UnixStream::try_from(a).expect("a UNIX stream");
        assert!(a.peer_name().is_unnamed());
        let answer = async {
            turns(3).await;
            b.write_all(b"late").expect("sent");
        };
        let (received, ()) = join(a.receive(), answer).await;
        assert_eq!(received.expect("sent"), b"late");
    });
}

#[test]
fn streams_go_back_to_std_and_block() {
    run(async {
        let (client, server) = tcp_pair().await;
        client.send(b"x").await.expect("sent");
        assert_eq!(server.receive().await.expect("sent"), b"x");
        let mut std: StdStream = client.try_into().expect("a stream");
        let mut other: StdStream = server.try_into().expect("a stream");
        let reader = std::thread::spawn(move || {
            let mut got = [0; 3];
            std.read_exact(&mut got).expect("it blocks until then");
            got
        });
        other.write_all(b"yes").expect("sent");
        assert_eq!(&reader.join().expect("no panic"), b"yes");
        // The same through a bare descriptor, which stays as it was.
        let (client, server) = tcp_pair().await;
        let fd: OwnedFd = client.try_into().expect("a descriptor");
        let again = TcpStream::try_from(fd).expect("a TCP stream");
        again.send(b"x").await.expect("sent");
        assert_eq!(server.receive().await.expect("sent"), b"x");
    });
}

#[test]
fn listeners_and_datagram_sockets_travel_both_ways() {
    run(async {
        let listener = StdListener::bind("127.0.0.1:0").expect("a port");
        let listener = TcpListener::try_from(listener).expect("a listener");
        let port = listener.local_addr().port();
        let accepted = join(
            listener.accept(),
            connect_tcp("127.0.0.1", port).into_future(),
        );
        let (accepted, client) = accepted.await;
        drop((accepted.expect("accepts"), client.expect("connects")));
        let std: StdListener = listener.try_into().expect("one socket");
        let client = connect_tcp("127.0.0.1", port).await.expect("connects");
        let (_, from) = std.accept().expect("accepts");
        assert_eq!(client.local_addr(), from);

        let dir = TempDir::new();
        let listener = StdUnixListener::bind(dir.path("socket")).expect("listens");
        let listener = UnixListener::try_from(listener).expect("a listener");
        let path = dir.path("socket");
        assert_eq!(listener.local_name().as_path(), Some(&*path));
        let client = connect_unix(&path).await.expect("connects");
        listener.accept().await.expect("accepts");
        let std: StdUnixListener = listener.try_into().expect("a listener");
        std.set_nonblocking(true).expect("an option");
        drop(client);

        let socket = StdUdp::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("bound");
        let socket = UdpSocket::try_from(socket).expect("a UDP socket");
        let sender = udp().await;
        sender.send_to(b"x", address).await.expect("sent");
        let (data, from) = socket.receive().await.expect("a datagram");
        assert_eq!((&*data, from), (&b"x"[..], sender.local_addr()));
        let std: StdUdp = socket.try_into().expect("a socket");
        std.connect(from).expect("connects");
        let connected = ConnectedUdpSocket::try_from(std).expect("a connected one");
        assert_eq!(connected.peer_addr(), from);
        connected.send(b"y").await.expect("sent");
        assert_eq!(sender.receive().await.expect("a datagram").0, b"y");
        let std: StdUdp = connected.try_into().expect("a socket");
        assert_eq!(std.peer_addr().expect("connected"), from);
    });
}

/// Returns one descriptor of every kind, by name.
fn every_kind(dir: &TempDir) -> Vec<(&'static str, OwnedFd)> {
    let unbound = |domain, kind| OwnedFd::from(Socket::new(domain, kind, None).expect("made"));
    let (tcp, _) = std_pair();
    let (unix, _) = StdUnixStream::pair().expect("a pair");
    let udp = || StdUdp::bind("127.0.0.1:0").expect("a port");
    let connected = udp();
    let peer = udp();
    connected
        .connect(peer.local_addr().expect("bound"))
        .expect("connects");
    let path = dir.path("kind");
    drop(std::fs::remove_file(&path));
    vec![
        ("TcpStream", tcp.into()),
        (
            "TcpListener",
            StdListener::bind("[::]:0").expect("a port").into(),
        ),
        ("UnixStream", unix.into()),
        (
            "UnixListener",
            StdUnixListener::bind(path).expect("listens").into(),
        ),
        ("UdpSocket", udp().into()),
        ("ConnectedUdpSocket", connected.into()),
        ("unconnected TCP", unbound(Domain::IPV4, Type::STREAM)),
        ("unconnected UNIX", unbound(Domain::UNIX, Type::STREAM)),
        ("unbound UDP", unbound(Domain::IPV6, Type::DGRAM)),
        (
            "UNIX datagrams",
            StdDatagram::unbound().expect("made").into(),
        ),
        ("UNIX packets", unbound(Domain::UNIX, Type::SEQPACKET)),
        (
            "file",
            std::fs::File::open("/dev/null").expect("a file").into(),
        ),
        ("folder", std::fs::File::open("/").expect("a folder").into()),
    ]
}

/// Adopts each kind as `T`: an error that says why, except for the kinds in `fit`.
fn adopt_each<T: TryFrom<OwnedFd, Error = Error> + Debug>(dir: &TempDir, fit: &[&str]) {
    let before = fds();
    for (kind, fd) in every_kind(dir) {
        match T::try_from(fd) {
            Ok(_) => assert!(fit.contains(&kind), "{kind} is none"),
            Err(Error::Io(error)) => {
                assert!(!fit.contains(&kind), "{kind}: {error}");
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{kind}: {error}");
                let text = error.to_string();
                assert!(text.starts_with("adopt a"), "{text}");
                let why = [
                    "family",
                    "carries",
                    "listen",
                    "connected",
                    "bound",
                    "no socket",
                ];
                assert!(why.iter().any(|why| text.contains(why)), "{text}");
            }
            Err(other) => panic!("{kind}: {other:?}"),
        }
    }
    assert_eq!(fds(), before, "adopted or not, all is closed");
}

#[test]
fn only_what_fits_is_adopted() {
    alone("adopt::only_what_fits_is_adopted", || {
        let _guard = deadline();
        let dir = TempDir::new();
        adopt_each::<TcpStream>(&dir, &["TcpStream"]);
        adopt_each::<TcpListener>(&dir, &["TcpListener"]);
        adopt_each::<UnixStream>(&dir, &["UnixStream"]);
        adopt_each::<UnixListener>(&dir, &["UnixListener"]);
        adopt_each::<UdpSocket>(&dir, &["UdpSocket"]);
        adopt_each::<ConnectedUdpSocket>(&dir, &["ConnectedUdpSocket"]);
        for (kind, fd) in every_kind(&dir) {
            let adopted = adopt_listeners([fd]);
            assert_eq!(adopted.is_ok(), kind.contains("Listener"), "{kind}");
        }
        let none = TcpListener::try_from(Vec::new());
        refused!(none, Error::Io(_));
    });
}

#[test]
fn what_was_aborted_is_not_given_away() {
    run(async {
        let (client, _server) = tcp_pair().await;
        client.abort();
        refused!(StdStream::try_from(client), Error::Closed);
        let (a, b) = unix_pair().await;
        a.abort();
        refused!(StdUnixStream::try_from(a), Error::Closed);
        refused!(b.receive().await, Error::EndOfStream);
        let std = StdUnixStream::try_from(b).expect("it was connected");
        std.set_nonblocking(true).expect("an option");
        let listener = tcp_listener().await;
        listener.abort();
        refused!(Vec::<OwnedFd>::try_from(listener), Error::Closed);
        let listener = create_tcp_listener().local_host("localhost").await;
        let listener = listener.expect("listens");
        let count = listener.local_addrs().len();
        let all: Vec<OwnedFd> = listener.try_into().expect("descriptors");
        assert_eq!(all.len(), count);
        let again = TcpListener::try_from(all).expect("listeners");
        assert_eq!(again.as_fds().count(), count);
    });
}

#[test]
fn a_listener_of_many_kinds_takes_turns() {
    run(async {
        let dir = TempDir::new();
        let tcp = tcp_listener().await;
        let port = tcp.local_addr().port();
        let unix = create_unix_listener(dir.path("socket")).await;
        let listener = MultiListener::new().with(tcp).with(unix.expect("listens"));
        assert_eq!(listener.len(), 2);
        // Several clients wait at each listener: the two are served in turn.
        let mut clients = Vec::new();
        for _ in 0..3 {
            let client = connect_tcp("127.0.0.1", port).await.expect("connects");
            client.send(b"tcp ").await.expect("sent");
            clients.push(soloio::AnyByteStream::new(client));
            let client = connect_unix(dir.path("socket")).await.expect("connects");
            client.send(b"unix").await.expect("sent");
            clients.push(soloio::AnyByteStream::new(client));
        }
        let mut order = Vec::new();
        for _ in 0..6 {
            let stream = listener.accept().await.expect("accepts");
            order.push(stream.receive().await.expect("sent"));
        }
        assert_ne!(order[0], order[1]);
        assert!(
            order[..2] == order[2..4] && order[..2] == order[4..],
            "{order:?}"
        );
        // A dropped accept has taken no connection.
        let mut accept = std::pin::pin!(listener.accept());
        assert!(polled(3, &mut accept).await.is_none());
        let client = connect_tcp("127.0.0.1", port).await.expect("connects");
        client.send(b"x").await.expect("sent");
        assert_eq!(
            accept
                .await
                .expect("accepts")
                .receive()
                .await
                .expect("sent"),
            b"x"
        );
        listener.abort();
        refused!(listener.accept().await, Error::Closed);
        refused!(
            connect_tcp("127.0.0.1", port).await,
            Error::ConnectFailed(_)
        );
        refused!(MultiListener::new().accept().await, Error::Io(_));
    });
}

/// A listener of another kind: it returns ends of memory streams, which borrow nothing.
struct Handful(std::cell::RefCell<Vec<soloio::MemoryStream>>);

impl soloio::Listener for Handful {
    type Stream = soloio::MemoryStream;

    async fn accept_begin(&self) -> Result<impl Future<Output = Result<Self::Stream>>> {
        let next = self.0.borrow_mut().pop();
        match next {
            Some(stream) => Ok(std::future::ready(Ok(stream))),
            None => std::future::pending().await,
        }
    }

    fn abort(&self) {}
}

#[test]
fn a_listener_of_many_kinds_serves() {
    run(async {
        let tcp = tcp_listener().await;
        let port = tcp.local_addr().port();
        let (ours, theirs) = create_memory_byte_stream(9);
        let inner = MultiListener::new().with(&tcp);
        let handful = Handful(vec![theirs].into());
        let listener = MultiListener::new().with(&handful).with(&inner);
        let served = task_group(async |group| {
            let server = group.spawn(listener.serve(async |client| {
                let data = client.receive().await?;
                client.send(&data).await?;
                client.close().await
            }));
            let client = connect_tcp("127.0.0.1", port).await?;
            for stream in [
                soloio::AnyByteStream::new(client),
                soloio::AnyByteStream::new(ours),
            ] {
                stream.send(b"echo").await?;
                assert_eq!(stream.receive().await?, b"echo");
                refused!(stream.receive().await, Error::EndOfStream);
            }
            server.cancel();
            Ok(())
        });
        served.await.expect("served");
    });
}

/// A listener that is given away keeps its file, even with `unlink_on_close`.
#[test]
fn a_listener_that_is_given_away_keeps_its_file() {
    run(async {
        let dir = TempDir::new();
        let path = dir.path("given");
        let listener = create_unix_listener(&path).unlink_on_close(true);
        let listener = listener.await.expect("bound");
        let fd = OwnedFd::try_from(listener).expect("given away");
        assert!(path.exists());
        let again = UnixListener::try_from(fd).expect("adopted");
        let client = connect_unix(&path).await.expect("connected");
        drop((again, client));
    });
}

/// The conversion would lose one of the two sockets.
#[test]
fn a_listener_of_two_sockets_is_none_of_std() {
    run(async {
        let both = Fixed::host(&["127.0.0.1", "127.0.0.2"]);
        let listen = || create_tcp_listener().local_host(both.clone());
        let listener = listen().await.expect("two sockets");
        assert_eq!(listener.local_addrs().len(), 2);
        refused!(StdListener::try_from(listener), Error::Io(_));
        let listener = listen().await.expect("two sockets");
        let fds = Vec::<OwnedFd>::try_from(listener).expect("given away");
        assert_eq!(fds.len(), 2);
    });
}

#[test]
fn connected_datagram_sockets_keep_their_file() {
    run(async {
        let dir = TempDir::new();
        let (path, other) = (dir.path("ours"), dir.path("theirs"));
        let theirs = StdDatagram::bind(&other).expect("bound");
        let ours = create_connected_unix_datagram_socket(&other).local_path(&path);
        let ours = ours.await.expect("connected");
        let std: StdDatagram = ours.try_into().expect("given away");
        assert!(path.exists());
        theirs.send_to(b"here", &path).expect("it goes on");
        let mut room = [0; 8];
        assert_eq!(std.recv(&mut room).expect("a datagram"), 4);
        assert_eq!(&room[..4], b"here");
    });
}
