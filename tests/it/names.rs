//! Connecting by name: the order and the times of the attempts (RFC 8305), with resolvers that give
//! fixed answers and real sockets. Long because each rule has sockets of its own.

use std::future::IntoFuture;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join;
use socket2::{Domain, Socket, Type};
use soloio::net::{Resolver, Resolving, SystemResolver};
use soloio::{
    Error, Host, Runtime, connect_tcp, create_connected_udp_socket, create_tcp_listener,
    create_udp_socket, fail_after, sleep,
};

use crate::net_support::{polled, refused, run};
use crate::nobody;
use crate::support::{alone, deadline};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Answers every name with the same addresses, and notes the names.
#[derive(Default)]
pub(crate) struct Fixed {
    addresses: Vec<IpAddr>,
    asked: Mutex<Vec<String>>,
}

impl Fixed {
    pub(crate) fn new(addresses: &[&str]) -> Arc<Self> {
        let parse = |text: &&str| text.parse().expect("an address");
        Arc::new(Self {
            addresses: addresses.iter().map(parse).collect(),
            asked: Mutex::default(),
        })
    }

    /// Returns a host with these addresses.
    pub(crate) fn host(addresses: &[&str]) -> Host {
        Host::from("fixed.example").resolved_by(Self::new(addresses))
    }
}

impl Resolver for Fixed {
    fn resolve<'a>(&'a self, name: &'a str, port: u16) -> Resolving<'a> {
        self.asked.lock().expect("no panic").push(name.to_owned());
        let with_port = |ip: &IpAddr| SocketAddr::new(*ip, port);
        let found: Vec<_> = self.addresses.iter().map(with_port).collect();
        Box::pin(async move { Ok(found) })
    }
}

/// Never answers; true while a lookup waits.
#[derive(Default)]
struct Silent(AtomicBool);

impl Resolver for Silent {
    fn resolve<'a>(&'a self, _name: &'a str, _port: u16) -> Resolving<'a> {
        struct Asking<'a>(&'a AtomicBool);
        impl Drop for Asking<'_> {
            fn drop(&mut self) {
                self.0.store(false, SeqCst);
            }
        }
        Box::pin(async move {
            self.0.store(true, SeqCst);
            let _asking = Asking(&self.0);
            std::future::pending().await
        })
    }
}

/// A listener with a full backlog: connects to it wait, as behind a router that drops everything.
pub(crate) struct Hole {
    _listener: Socket,
    _fillers: Vec<Socket>,
}

impl Hole {
    /// Makes one of a socket that is bound.
    pub(crate) fn over(listener: Socket) -> Self {
        listener.listen(0).expect("listens");
        let address = listener.local_addr().expect("bound");
        let fillers = (0..4).map(|_| {
            let filler = Socket::new(address.domain(), Type::STREAM, None).expect("a socket");
            filler.set_nonblocking(true).expect("an option");
            drop(filler.connect(&address));
            filler
        });
        let fillers = fillers.collect();
        Self {
            _listener: listener,
            _fillers: fillers,
        }
    }
}

/// Returns sockets bound to this port at these IPv4 addresses: connects to them are refused.
pub(crate) fn refusing(addresses: &[&str], port: u16) -> io::Result<Vec<Socket>> {
    let bound = addresses.iter().map(|address| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let address: SocketAddr = format!("{address}:{port}").parse().expect("an address");
        socket.bind(&address.into())?;
        Ok(socket)
    });
    bound.collect()
}

/// Returns the number of open sockets of this process.
fn sockets() -> usize {
    let all = std::fs::read_dir("/proc/self/fd").expect("procfs");
    let links = all.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    links
        .filter(|link| link.to_string_lossy().starts_with("socket:"))
        .count()
}

/// Returns a listener at this address, and sockets bound to its port at `others`, which refuse.
fn live(address: &str, others: &[&str]) -> (StdListener, u16, Vec<Socket>) {
    loop {
        let listener = StdListener::bind((address, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        if let Ok(others) = refusing(others, port) {
            return (listener, port, others);
        }
    }
}

/// Returns a port without listeners at these addresses, while the sockets live.
fn nobody_at(addresses: &[&str]) -> (Vec<Socket>, u16) {
    loop {
        let (first, port) = nobody::tcp(addresses[0]);
        if let Ok(mut sockets) = refusing(&addresses[1..], port) {
            sockets.push(first);
            return (sockets, port);
        }
    }
}

#[test]
fn b11_addresses_are_tried_with_the_families_in_turn() {
    run(async {
        let (_nobody, port) = nobody_at(&["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
        let host = Fixed::host(&["127.0.0.2", "127.0.0.3", "::1", "127.0.0.4", "127.0.0.2"]);
        let connect = connect_tcp(host, port).happy_eyeballs_delay(HOUR);
        let Err(Error::ConnectFailed(failed)) = connect.await else {
            panic!("nobody listens there");
        };
        assert_eq!(
            (&*failed.host, failed.port),
            ("fixed.example", port),
            "an hour was not waited for"
        );
        let tried: Vec<_> = failed.attempts.iter().map(|one| one.address.ip()).collect();
        let expected = ["127.0.0.2", "::1", "127.0.0.3", "127.0.0.4"];
        let expected: Vec<IpAddr> = expected.map(|ip| ip.parse().expect("an address")).into();
        assert_eq!(tried, expected);
        let text = failed.to_string();
        for attempt in &failed.attempts {
            assert_eq!(attempt.address.port(), port);
            assert!(text.contains(&attempt.address.to_string()), "{text}");
            if attempt.address.is_ipv4() {
                assert_eq!(attempt.cause.kind(), ErrorKind::ConnectionRefused);
            }
        }
    });
}

#[test]
fn b11_a_refusal_does_not_wait_for_the_delay() {
    run(async {
        let (_listener, port, _refusing) = live("127.0.0.3", &["127.0.0.2"]);
        let host = Fixed::host(&["127.0.0.2", "127.0.0.3"]);
        let connect = connect_tcp(host, port).happy_eyeballs_delay(HOUR);
        let stream = connect.await.expect("the second one listens");
        assert_eq!(stream.peer_addr().ip().to_string(), "127.0.0.3");
    });
}

#[test]
fn b11_a_black_hole_costs_the_delay_and_leaves_nothing() {
    alone(
        "names::b11_a_black_hole_costs_the_delay_and_leaves_nothing",
        || {
            let _guard = deadline();
            let (_listener, port, others) = live("127.0.0.3", &["127.0.0.2", "127.0.0.4"]);
            let _holes: Vec<_> = others.into_iter().map(Hole::over).collect();
            let mut runtime = Runtime::new().expect("a runtime");
            let before = sockets();
            let begun = Instant::now();
            let delay = Duration::from_millis(30);
            let host = Fixed::host(&["127.0.0.2", "127.0.0.4", "127.0.0.3"]);
            let connect = connect_tcp(host, port).happy_eyeballs_delay(delay);
            let stream = runtime.block_on(async move { connect.await });
            let stream = stream.expect("the third one listens");
            assert!(begun.elapsed() >= delay * 2);
            assert_eq!(stream.peer_addr().ip().to_string(), "127.0.0.3");
            assert_eq!(sockets(), before + 1, "the losers are closed");
            assert!(format!("{runtime:?}").contains("sources: "));
            assert_eq!(runtime.next_timeout(), None, "no timer is left");
            drop(stream);
            // A connect that ends before an answer leaves nothing behind either.
            let host = Fixed::host(&["127.0.0.2", "127.0.0.4"]);
            let connect = connect_tcp(host, port).happy_eyeballs_delay(Duration::ZERO);
            let given_up = runtime.block_on(fail_after(delay, connect));
            refused!(given_up, Error::TimedOut(_));
            assert_eq!(sockets(), before);
        },
    );
}

#[test]
fn b11_of_two_that_answer_one_wins_and_the_other_is_closed() {
    run(async {
        let first = create_tcp_listener().local_host("127.0.0.2").await;
        let first = first.expect("listens");
        let port = first.local_addr().port();
        let second = create_tcp_listener()
            .local_host("127.0.0.3")
            .local_port(port)
            .await
            .expect("the port is free there too");
        let host = Fixed::host(&["127.0.0.2", "127.0.0.3"]);
        let connect = connect_tcp(host, port).happy_eyeballs_delay(Duration::ZERO);
        let (stream, accepted) = join(connect.into_future(), first.accept()).await;
        let stream = stream.expect("connects");
        assert_eq!(stream.peer_addr(), first.local_addr());
        stream.send(b"x").await.expect("sent");
        let accepted = accepted.expect("accepts");
        assert_eq!(accepted.receive().await.expect("sent"), b"x");
        let loser = second.accept().await.expect("it was connected as well");
        assert!(loser.receive().await.is_err(), "and is closed");
    });
}

#[test]
fn a_local_host_decides_on_the_families() {
    run(async {
        let (listener, port, _) = live("127.0.0.3", &[]);
        let host = || Fixed::host(&["::1", "127.0.0.3"]);
        let connect = connect_tcp(host(), port).local_host("127.0.0.9");
        let stream = connect.await.expect("connects");
        assert_eq!(stream.local_addr().ip().to_string(), "127.0.0.9");
        let local = Fixed::host(&["::1", "127.0.0.8"]);
        let connect = connect_tcp("127.0.0.3", port).local_host(local);
        let stream = connect.await.expect("connects");
        assert_eq!(stream.local_addr().ip().to_string(), "127.0.0.8");
        let none = connect_tcp("127.0.0.3", port).local_host("::1").await;
        match none {
            Err(Error::Io(error)) => {
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                assert!(error.to_string().contains("family"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        drop(listener);
    });
}

#[test]
fn a_local_port_serves_several_attempts_side_by_side() {
    run(async {
        let (_listener, port, others) = live("127.0.0.3", &["127.0.0.2"]);
        let _holes: Vec<_> = others.into_iter().map(Hole::over).collect();
        let (_nobody, local) = nobody::tcp("127.0.0.1");
        let host = Fixed::host(&["127.0.0.2", "127.0.0.3"]);
        let connect = connect_tcp(host, port)
            .local_port(local)
            .happy_eyeballs_delay(Duration::from_millis(1));
        let stream = connect.await.expect("the second one listens");
        assert_eq!(stream.local_addr().port(), local);
    });
}

#[test]
fn every_verb_asks_the_resolver_of_its_host() {
    run(async {
        let fixed = Fixed::new(&["127.0.0.1"]);
        let host = |name: &str| Host::from(name).resolved_by(fixed.clone());
        let listener = create_tcp_listener().local_host(host("a")).await;
        let listener = listener.expect("listens");
        let port = listener.local_addr().port();
        let client = connect_tcp(host("b"), port).local_host(host("c")).await;
        client.expect("connects");
        let udp = create_udp_socket().local_host(host("d")).await;
        let to = udp.expect("a socket").local_addr().port();
        let connected = create_connected_udp_socket(host("e"), to).await;
        connected.expect("a socket");
        // An address is not looked up, even with a resolver.
        connect_tcp(host("127.0.0.1"), port)
            .await
            .expect("connects");
        assert_eq!(
            *fixed.asked.lock().expect("no panic"),
            ["a", "c", "b", "d", "e"]
        );
    });
}

/// One resolver for each way to fail.
struct Failing(fn() -> Error);

impl Resolver for Failing {
    fn resolve<'a>(&'a self, _name: &'a str, _port: u16) -> Resolving<'a> {
        Box::pin(async move {
            sleep(Duration::ZERO).await?;
            Err((self.0)())
        })
    }
}

#[test]
fn what_a_resolver_says_is_told_with_the_name() {
    run(async {
        let connect = async |error: fn() -> Error| {
            let host = Host::from("some.name").resolved_by(Arc::new(Failing(error)));
            connect_tcp(host, 1).await
        };
        for error in [
            || Error::other("no such thing"),
            || io::Error::new(ErrorKind::NotFound, "no such thing").into(),
        ] {
            match connect(error).await {
                Err(Error::Resolve(error)) => {
                    let text = error.to_string();
                    assert!(text.contains("some.name"), "{text}");
                    assert!(text.contains("no such thing"), "{text}");
                }
                other => panic!("{other:?}"),
            }
        }
        refused!(connect(|| Error::Cancelled).await, Error::Cancelled);
        let nothing = connect_tcp(Fixed::host(&[]), 1).await;
        refused!(nothing, Error::Resolve(_));
        let late = || Error::timed_out(Duration::from_secs(5), "waiting for a name server");
        let cause = io::Error::from(connect(late).await.expect_err("an error"));
        let text = "timed out after 5 s, while waiting for a name server";
        assert!(cause.to_string().contains(text), "{cause}");
    });
}

#[test]
fn b1_a_resolver_that_never_answers_holds_up_nobody() {
    run(async {
        let silent = Arc::new(Silent::default());
        let host = Host::from("some.name").resolved_by(silent.clone());
        let mut lookup = std::pin::pin!(connect_tcp(host.clone(), 1).into_future());
        assert!(polled(3, &mut lookup).await.is_none());
        assert!(silent.0.load(SeqCst));
        let given_up = fail_after(Duration::from_millis(5), connect_tcp(host, 1)).await;
        refused!(given_up, Error::TimedOut(_));
        assert!(!silent.0.load(SeqCst), "dropped with who asked");
        sleep(Duration::from_millis(1)).await.expect("on time");
    });
}

#[test]
fn a_resolver_may_ask_the_systems() {
    struct Cached;
    impl Resolver for Cached {
        fn resolve<'a>(&'a self, name: &'a str, port: u16) -> Resolving<'a> {
            SystemResolver.resolve(name.trim_start_matches("my-"), port)
        }
    }
    run(async {
        let (_listener, port, _) = live("127.0.0.1", &[]);
        let host = Host::from("my-localhost").resolved_by(Arc::new(Cached));
        let stream = connect_tcp(host, port).await.expect("connects");
        assert_eq!(stream.peer_addr().port(), port);
        drop(StdStream::connect(stream.peer_addr()));
    });
}

#[test]
fn names_that_cannot_be_are_refused() {
    run(async {
        let label = format!("{}.example", "x".repeat(64));
        for (host, why) in [
            ("b\u{fffd}cher.example", "IDNA"),
            ("fe80::1%no-such-link", "fe80::1%no-such-link"),
            ("127.0.0.1%lo", "127.0.0.1%lo"),
            ("[127.0.0.1]", "[127.0.0.1]"),
            ("a b", "a b"),
            (&*label, &*label),
        ] {
            match connect_tcp(host, 9).await {
                Err(Error::Resolve(error)) => {
                    let text = error.to_string();
                    assert!(text.contains(why), "{text}");
                }
                other => panic!("{host}: {other:?}"),
            }
        }
        // A custom resolver may encode names itself: it gets the name unchanged.
        let resolver = Fixed::new(&["127.0.0.1"]);
        let host = Host::from("b\u{fc}cher.example").resolved_by(resolver.clone());
        let refused = connect_tcp(host, 9).await;
        refused!(refused, Error::ConnectFailed(_));
        assert_eq!(
            *resolver.asked.lock().expect("no panic"),
            ["b\u{fc}cher.example"]
        );
        // A resolver that returns port 0, to which no connect is possible.
        struct PortZero;
        impl Resolver for PortZero {
            fn resolve<'a>(&'a self, _name: &'a str, _port: u16) -> Resolving<'a> {
                Box::pin(async { Ok(vec![([127, 0, 0, 1], 0).into()]) })
            }
        }
        let host = Host::from("a").resolved_by(Arc::new(PortZero));
        refused!(connect_tcp(host, 9).await, Error::ConnectFailed(_));
    });
}

#[cfg(feature = "extras")]
#[test]
fn c20_several_listeners_share_a_port_if_each_asks_for_it() {
    run(async {
        let listen = |port, share| {
            let listener = create_tcp_listener().local_host("127.0.0.1");
            listener.local_port(port).reuse_port(share).into_future()
        };
        let first = listen(0, true).await.expect("listens");
        let port = first.local_addr().port();
        refused!(listen(port, false).await, Error::Io(_));
        let second = listen(port, true).await.expect("listens too");
        let both = soloio::MultiListener::new().with(first).with(second);
        for _ in 0..20 {
            connect_tcp("127.0.0.1", port).await.expect("connects");
            both.accept().await.expect("whichever it went to");
        }
        let alone = listen(0, false).await.expect("listens");
        let refused = listen(alone.local_addr().port(), true).await;
        refused!(refused, Error::Io(_));
    });
}
