//! Sockets that are prepared before they are bound or connected, and sockets that the program made
//! itself.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener, UdpSocket as StdSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use socket2::{Domain, SockRef, Socket, Type};
use soloio::net::connect_socket;
use soloio::{
    ConnectedUdpSocket, Error, TcpStream, UdpSocket, connect_tcp, create_connected_udp_socket,
    create_tcp_listener, create_udp_socket,
};

use crate::adopted::{closes_at_once, lingers};
use crate::cut::everywhere;
use crate::kernel;
use crate::names::Fixed;
use crate::namespace::in_namespace;
use crate::net_support::{clog, polled, run, tcp_listener, turns};
use crate::support::{alone, fds};

/// Counts the calls; each expects a socket that is neither bound nor connected.
fn counted(
    count: &Arc<AtomicUsize>,
) -> impl Fn(BorrowedFd<'_>) -> io::Result<()> + Send + Sync + 'static {
    let count = Arc::clone(count);
    move |fd| {
        count.fetch_add(1, SeqCst);
        let socket = SockRef::from(&fd);
        let local = socket.local_addr()?.as_socket().expect("an address");
        assert_eq!(local.port(), 0);
        assert!(socket.peer_addr().is_err());
        socket.set_recv_buffer_size(54_321)
    }
}

#[test]
fn every_kind_of_socket_is_prepared_once() {
    run(async {
        let count = Arc::new(AtomicUsize::new(0));
        let listener = create_tcp_listener().local_host(Fixed::host(&["127.0.0.1", "127.0.0.2"]));
        let listener = listener.prepare(counted(&count)).await.expect("listens");
        assert_eq!(count.swap(0, SeqCst), 2, "one for each address");
        let port = listener.local_addr().port();
        let client = connect_tcp("127.0.0.1", port).local_host("127.0.0.3");
        let client = client.prepare(counted(&count)).await.expect("connects");
        let udp = create_udp_socket().local_host("127.0.0.1");
        let udp = udp.prepare(counted(&count)).await.expect("a socket");
        let peer = create_connected_udp_socket("127.0.0.1", udp.local_addr().port());
        let peer = peer.prepare(counted(&count)).await.expect("a socket");
        assert_eq!(count.load(SeqCst), 3);
        for size in [
            listener.receive_buffer_size(),
            client.receive_buffer_size(),
            udp.receive_buffer_size(),
            peer.receive_buffer_size(),
        ] {
            assert_eq!(size.expect("open"), 2 * 54_321, "Linux doubles it");
        }
        assert!(
            listener
                .accept()
                .await
                .expect("accepts")
                .receive_buffer_size()
                .is_ok()
        );
    });
}

/// After an error for one address the next address is tried.
#[test]
fn an_error_of_the_preparation_is_that_of_its_attempt() {
    run(async {
        let listener = tcp_listener().await;
        let port = listener.local_addr().port();
        let only_v4 = |fd: BorrowedFd<'_>| {
            let local = SockRef::from(&fd).local_addr()?;
            match local.is_ipv4() {
                true => Ok(()),
                false => Err(io::Error::new(ErrorKind::PermissionDenied, "not this one")),
            }
        };
        let both = Fixed::host(&["::1", "127.0.0.1"]);
        let client = connect_tcp(both, port).prepare(only_v4).await;
        assert!(client.expect("the other one").local_addr().is_ipv4());
        match connect_tcp("::1", port).prepare(only_v4).await {
            Err(Error::ConnectFailed(failed)) => {
                assert!(failed.to_string().contains("not this one"), "{failed}");
            }
            other => panic!("{other:?}"),
        }
        for refused in [
            create_tcp_listener()
                .local_host("::1")
                .prepare(only_v4)
                .await
                .err(),
            create_udp_socket()
                .local_host("::1")
                .prepare(only_v4)
                .await
                .err(),
        ] {
            assert!(
                refused
                    .expect("refused")
                    .to_string()
                    .contains("not this one")
            );
        }
    });
}

/// The options that cannot be set later: the mark for routes and firewalls, the interface, and data
/// in the first packet, which is not sent before there is data.
#[cfg(target_os = "linux")]
#[test]
fn options_that_must_be_set_before_the_connect_hold() {
    in_namespace(
        "prepare::options_that_must_be_set_before_the_connect_hold",
        // 1: clients, 2: servers, 4 and 512: without a cookie (ip-sysctl).
        "echo 519 >/proc/sys/net/ipv4/tcp_fastopen\n",
        || {
            run(async {
                let listener = create_tcp_listener().local_host("127.0.0.1");
                let fast = |fd: BorrowedFd<'_>| {
                    kernel::set_option(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, 9)
                };
                let listener = listener.prepare(fast).await.expect("listens");
                let client = connect_tcp("127.0.0.1", listener.local_addr().port());
                let client = client.prepare(|fd| {
                    let socket = SockRef::from(&fd);
                    socket.set_mark(7)?;
                    socket.bind_device(Some(b"lo"))?;
                    kernel::set_option(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1)
                });
                let client = client.await.expect("connects");
                assert_eq!(SockRef::from(&client).mark().expect("open"), 7);
                assert_eq!(client.peer_addr(), listener.local_addr());
                assert!(
                    polled(3, listener.accept()).await.is_none(),
                    "no packet yet"
                );
                client.send(b"first").await.expect("sent");
                let server = listener.accept().await.expect("accepts");
                assert_eq!(server.receive().await.expect("received"), b"first");
                server.send(b"second").await.expect("sent");
                assert_eq!(client.receive().await.expect("received"), b"second");
                assert_eq!(client.local_addr(), server.peer_addr());
            });
        },
    );
}

fn unconnected() -> OwnedFd {
    Socket::new(Domain::IPV4, Type::STREAM, None)
        .expect("a socket")
        .into()
}

#[test]
fn a_socket_made_elsewhere_is_connected() {
    run(async {
        let listener = tcp_listener().await;
        let socket = Socket::from(unconnected());
        let local = SocketAddr::from(([127, 0, 0, 8], 0));
        socket.bind(&local.into()).expect("bound");
        let client = connect_socket(socket, listener.local_addr()).await;
        let client = client.expect("connects");
        assert_eq!(client.local_addr().ip(), Ipv4Addr::new(127, 0, 0, 8));
        assert_eq!(client.peer_addr(), listener.local_addr());
        assert!(client.nodelay().expect("open"));
        let server = listener.accept().await.expect("accepts");
        client.send(b"hello").await.expect("sent");
        assert_eq!(server.receive().await.expect("received"), b"hello");
        // Uses each family's form of the address.
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped().into();
        let mapped = SocketAddr::new(mapped, listener.local_addr().port());
        let v6 = Socket::new(Domain::IPV6, Type::STREAM, None).expect("a socket");
        v6.set_only_v6(false).expect("an option");
        let client = connect_socket(v6, listener.local_addr()).await;
        assert_eq!(client.expect("connects").peer_addr(), listener.local_addr());
        let client = connect_socket(unconnected(), mapped).await;
        assert_eq!(client.expect("connects").peer_addr(), listener.local_addr());
        // Bound to a mapped address, it was taken for an IPv4 socket.
        for to in [listener.local_addr(), mapped] {
            let v6 = Socket::new(Domain::IPV6, Type::STREAM, None).expect("a socket");
            v6.set_only_v6(false).expect("an option");
            let local = Ipv4Addr::new(127, 0, 0, 8).to_ipv6_mapped();
            v6.bind(&SocketAddr::from((local, 0)).into())
                .expect("bound");
            let client = connect_socket(v6, to).await.expect("connects");
            assert_eq!(client.peer_addr(), listener.local_addr());
            assert_eq!(client.local_addr().ip(), Ipv4Addr::new(127, 0, 0, 8));
        }
    });
}

#[test]
fn what_cannot_be_connected_is_refused_and_closed() {
    alone(
        "prepare::what_cannot_be_connected_is_refused_and_closed",
        || {
            run(async {
                let listener = tcp_listener().await;
                let to = listener.local_addr();
                let std = StdListener::bind("127.0.0.1:0").expect("a port");
                let gone = std.local_addr().expect("bound");
                drop(connect_socket(unconnected(), to).await.expect("connects"));
                drop(listener.accept().await.expect("accepts"));
                let before = fds();
                let refused = [
                    (OwnedFd::from(std), to, ErrorKind::InvalidInput),
                    (udp_fd(), to, ErrorKind::InvalidInput),
                    (
                        std::fs::File::open("/dev/null").expect("a file").into(),
                        to,
                        ErrorKind::InvalidInput,
                    ),
                    (
                        unconnected(),
                        SocketAddr::new(to.ip(), 0),
                        ErrorKind::InvalidInput,
                    ),
                    (unconnected(), gone, ErrorKind::ConnectionRefused),
                ];
                for (fd, to, kind) in refused {
                    match connect_socket(fd, to).await {
                        Err(Error::Io(error)) => assert_eq!(error.kind(), kind, "{error}"),
                        other => panic!("{other:?}"),
                    }
                }
                assert_eq!(fds(), before - 1, "the listener was here before");
            });
        },
    );
}

fn udp_fd() -> OwnedFd {
    StdSocket::bind("127.0.0.1:0").expect("a port").into()
}

/// Covers: connect_socket.
#[test]
fn cancelled() {
    everywhere("prepare::cancelled", async |cut| {
        let listener = tcp_listener().await;
        let to = listener.local_addr();
        let connected = cut.apply(connect_socket(unconnected(), to)).await;
        let done = connected.is_some();
        drop(connected.map(|stream| stream.expect("connects")));
        turns(2).await;
        let client = connect_socket(unconnected(), to).await.expect("connects");
        assert_eq!(client.peer_addr(), to);
        done
    });
}

/// The duplicates that a preparation has made of its sockets.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<OwnedFd>>>);

impl Kept {
    fn keep(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let duplicate = fd.try_clone_to_owned()?;
        self.0.lock().expect("whole").push(duplicate);
        Ok(())
    }

    fn step(&self) -> impl Fn(BorrowedFd<'_>) -> io::Result<()> + Send + Sync + 'static {
        let kept = self.clone();
        move |fd| kept.keep(fd)
    }

    /// Returns duplicates of the last socket: one of them gets the number of a descriptor that was
    /// closed just now.
    fn again<S: TryFrom<OwnedFd, Error = Error>>(&self) -> Vec<S> {
        let kept = self.0.lock().expect("whole").pop().expect("one");
        let duplicate = |_| kept.try_clone().expect("a duplicate");
        let duplicates: Vec<_> = (0..8).map(duplicate).collect();
        let adopt = |fd| S::try_from(fd).expect("adopted");
        duplicates.into_iter().map(adopt).collect()
    }
}

macro_rules! waits {
    ($socket:expr) => {
        let waited = polled(1, $socket.receive()).await;
        assert!(waited.is_none(), "{:?}", waited.map(|ended| ended.err()));
    };
}

/// A duplicate keeps the first socket in the poller, unless that is deregistered when it is closed.
#[test]
fn duplicates_that_the_program_keeps_are_adopted_in_the_same_runtime() {
    let test = "prepare::duplicates_that_the_program_keeps_are_adopted_in_the_same_runtime";
    alone(test, || {
        run(async {
            let (kept, listener) = (Kept::default(), tcp_listener().await);
            let to = listener.local_addr();
            let made = unconnected();
            kept.keep(made.as_fd()).expect("kept");
            let first = connect_socket(made, to).await.expect("connects");
            waits!(first);
            drop(first);
            for again in kept.again::<TcpStream>() {
                waits!(again);
            }
            let first = connect_tcp("127.0.0.1", to.port()).prepare(kept.step());
            let first = first.await.expect("connects");
            waits!(first);
            drop(first);
            for again in kept.again::<TcpStream>() {
                waits!(again);
            }
            let first = create_udp_socket().local_host("127.0.0.1");
            let first = first.prepare(kept.step()).await.expect("a socket");
            waits!(first);
            drop(first);
            for again in kept.again::<UdpSocket>() {
                waits!(again);
            }
            let first = create_connected_udp_socket("127.0.0.1", to.port());
            let first = first.prepare(kept.step()).await.expect("a socket");
            waits!(first);
            drop(first);
            for again in kept.again::<ConnectedUdpSocket>() {
                waits!(again);
            }
        });
    });
}

/// Otherwise the drop would block the loop for this time.
#[test]
fn a_linger_time_of_a_preparation_is_removed() {
    run(async {
        let listener = create_tcp_listener().local_host("127.0.0.1");
        let listener = listener.prepare(|fd| lingers(&fd)).await.expect("listens");
        // A close does not linger where something was not received, so only one side sends.
        let pair = async || {
            let client = connect_tcp("127.0.0.1", listener.local_addr().port());
            let client = client.prepare(|fd| lingers(&fd)).await.expect("connects");
            (client, listener.accept().await.expect("accepts"))
        };
        let (client, _server) = pair().await;
        clog(&client, 0).await;
        closes_at_once(client);
        let (_client, server) = pair().await;
        clog(&server, 0).await;
        closes_at_once(server);
        let made = unconnected();
        lingers(&made).expect("an option");
        let client = connect_socket(made, listener.local_addr()).await;
        let client = client.expect("connects");
        clog(&client, 0).await;
        closes_at_once(client);
    });
}
