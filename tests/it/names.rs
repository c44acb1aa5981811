//! Connecting by name: which address is tried when (RFC 8305), against resolvers that are told what
//! to answer and real sockets; and the system's resolver, against a name server of the test's own.

use std::collections::BTreeSet;
use std::future::IntoFuture;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use socket2::{Domain, Socket, Type};
use soloio::net::{Resolver, Resolving, SystemResolver};
use soloio::{
    Error, Host, Runtime, block_on, connect_tcp, create_connected_udp_socket, create_tcp_listener,
    create_udp_socket, fail_after, sleep,
};

use crate::namespace::in_namespace;
use crate::net_support::{polled, refused, run, turns};
use crate::support::{alone, deadline, fds, threads};

const HOUR: Duration = Duration::from_secs(3600);

/// Answers every name with the same addresses, and notes what it was asked.
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

    /// A host with these addresses.
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

/// Never answers, and knows whether it is still asked.
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

/// A listener that takes no more connections: who connects waits, as behind a router that drops
/// everything.
struct Hole {
    _listener: Socket,
    _fillers: Vec<Socket>,
}

impl Hole {
    fn at(address: SocketAddr) -> Self {
        let socket = || Socket::new(Domain::for_address(address), Type::STREAM, None);
        let listener = socket().expect("a socket");
        listener.bind(&address.into()).expect("a free port");
        listener.listen(0).expect("listens");
        let fillers = (0..4).map(|_| {
            let filler = socket().expect("a socket");
            filler.set_nonblocking(true).expect("an option");
            drop(filler.connect(&address.into()));
            filler
        });
        let fillers = fillers.collect();
        Self {
            _listener: listener,
            _fillers: fillers,
        }
    }
}

/// A listener at this address, with a port that is free at all of `others`.
fn live(address: &str, others: &[&str]) -> (StdListener, u16) {
    loop {
        let listener = StdListener::bind((address, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        if others
            .iter()
            .all(|other| StdListener::bind((*other, port)).is_ok())
        {
            return (listener, port);
        }
    }
}

/// A port at which nobody listens.
fn free_port(addresses: &[&str]) -> u16 {
    live(addresses[0], &addresses[1..]).1
}

#[test]
fn b11_addresses_are_tried_with_the_families_in_turn() {
    run(async {
        let port = free_port(&["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
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
        let (_listener, port) = live("127.0.0.3", &["127.0.0.2"]);
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
            let (_listener, port) = live("127.0.0.3", &["127.0.0.2", "127.0.0.4"]);
            let _hole = Hole::at(([127, 0, 0, 2], port).into());
            let _second = Hole::at(([127, 0, 0, 4], port).into());
            let mut runtime = Runtime::new().expect("a runtime");
            // The loop makes its own descriptors when it first sleeps.
            let slept = runtime.block_on(sleep(Duration::from_micros(10)));
            slept.expect("slept");
            let before = fds();
            let begun = Instant::now();
            let delay = Duration::from_millis(30);
            let host = Fixed::host(&["127.0.0.2", "127.0.0.4", "127.0.0.3"]);
            let connect = connect_tcp(host, port).happy_eyeballs_delay(delay);
            let stream = runtime.block_on(async move { connect.await });
            let stream = stream.expect("the third one listens");
            assert!(begun.elapsed() >= delay * 2);
            assert_eq!(stream.peer_addr().ip().to_string(), "127.0.0.3");
            assert_eq!(fds(), before + 1, "the losers are closed");
            assert!(format!("{runtime:?}").contains("sources: "));
            assert_eq!(runtime.next_timeout(), None, "no timer is left");
            drop(stream);
            // Given up before anybody has answered: nothing is left either.
            let host = Fixed::host(&["127.0.0.2", "127.0.0.4"]);
            let connect = connect_tcp(host, port).happy_eyeballs_delay(Duration::ZERO);
            let given_up = runtime.block_on(fail_after(delay, connect));
            refused!(given_up, Error::TimedOut);
            assert_eq!(fds(), before);
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
        let (listener, port) = live("127.0.0.3", &[]);
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
        let (_listener, port) = live("127.0.0.3", &["127.0.0.2"]);
        let _hole = Hole::at(([127, 0, 0, 2], port).into());
        let local = free_port(&["127.0.0.1"]);
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
        // An address is not looked up, whoever would do it.
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
            || std::io::Error::new(ErrorKind::NotFound, "no such thing").into(),
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
        let cause = std::io::Error::from(connect(|| Error::TimedOut).await.expect_err("an error"));
        assert!(cause.to_string().contains("time limit"), "{cause}");
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
        refused!(given_up, Error::TimedOut);
        assert!(!silent.0.load(SeqCst), "dropped with who asked");
        sleep(Duration::from_millis(1)).await.expect("on time");
    });
}

#[test]
fn b10_an_address_starts_no_thread() {
    // In a namespace, where the numbers of threads are given out to nobody else.
    in_namespace("names::b10_an_address_starts_no_thread", "", || {
        let _guard = deadline();
        let number_of_a_thread = || {
            let own = || std::fs::read_link("/proc/thread-self").expect("procfs");
            let path = std::thread::spawn(own).join().expect("no panic");
            let number = path.file_name().expect("a number").to_string_lossy();
            number.parse::<u64>().expect("a number")
        };
        let before = number_of_a_thread();
        block_on(async {
            let listener = create_tcp_listener().local_host("127.0.0.1").await;
            let listener = listener.expect("listens");
            let port = listener.local_addr().port();
            for host in ["127.0.0.1", "::ffff:127.0.0.1"] {
                connect_tcp(host, port).await.expect("connects");
            }
            let scoped = connect_tcp("fe80::1%hole", port).happy_eyeballs_delay(HOUR);
            let scoped = fail_after(Duration::from_millis(1), scoped).await;
            assert!(scoped.is_err(), "nobody answers there");
            let udp = create_connected_udp_socket("127.0.0.1", port).await;
            udp.expect("a socket");
        });
        assert_eq!(number_of_a_thread(), before + 1, "no thread in between");
    });
}

/// A name server: answers 127.0.0.1 to every question for an IPv4 address once it is open.
struct NameServer {
    questions: Arc<Mutex<BTreeSet<Vec<u8>>>>,
    open: Arc<AtomicBool>,
}

impl NameServer {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:53").expect("a port of this namespace");
        let server = Self {
            questions: Arc::default(),
            open: Arc::default(),
        };
        let (questions, open) = (Arc::clone(&server.questions), Arc::clone(&server.open));
        std::thread::spawn(move || {
            let mut room = [0; 1500];
            loop {
                let (length, from) = socket.recv_from(&mut room).expect("a question");
                let question = &room[..length];
                questions
                    .lock()
                    .expect("no panic")
                    .insert(question.to_vec());
                while !open.load(SeqCst) {
                    std::thread::yield_now();
                }
                let sent = socket.send_to(&answer(question), from);
                sent.expect("an answer is sent");
            }
        });
        server
    }

    fn questions(&self) -> usize {
        self.questions.lock().expect("no panic").len()
    }
}

/// RFC 1035, 4.1: the question as it came, and one record that points back at its name.
fn answer(question: &[u8]) -> Vec<u8> {
    let name_ends = 12
        + question[12..]
            .iter()
            .position(|byte| *byte == 0)
            .expect("a name");
    let question = &question[..name_ends + 5];
    let is_v4 = question[name_ends + 1..name_ends + 3] == [0, 1];
    let mut answer = question.to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[4..12].copy_from_slice(&[0, 1, 0, u8::from(is_v4), 0, 0, 0, 0]);
    if is_v4 {
        answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    answer
}

#[test]
fn b7_a_hundred_connects_to_one_name_make_one_lookup() {
    let test = "names::b7_a_hundred_connects_to_one_name_make_one_lookup";
    in_namespace(test, "", || {
        let _guard = deadline();
        let server = NameServer::start();
        let before = threads();
        let connected = block_on(async {
            let listener = create_tcp_listener().local_host("127.0.0.1").await;
            let listener = listener.expect("listens");
            let port = listener.local_addr().port();
            let connects = (0..100).map(|_| connect_tcp("one.example", port).into_future());
            let open = async {
                while server.questions() == 0 {
                    turns(1).await;
                }
                assert_eq!(threads(), before + 1, "one thread");
                server.open.store(true, SeqCst);
            };
            join(join_all(connects), open).await.0
        });
        for stream in connected {
            assert!(stream.expect("connects").peer_addr().is_ipv4());
        }
        // One for IPv4 and one for IPv6; each may have been sent twice, with the same number.
        assert_eq!(server.questions(), 2);
        while threads() > before {
            std::thread::yield_now();
        }
    });
}

#[test]
fn b1_b2_a_name_server_that_never_answers() {
    let test = "names::b1_b2_a_name_server_that_never_answers";
    in_namespace(test, "", || {
        let _guard = deadline();
        let server = NameServer::start();
        let before = threads();
        let begun = Instant::now();
        let mut late = Duration::ZERO;
        block_on(async {
            let names: Vec<_> = (0..200).map(|n| format!("n{n}.example")).collect();
            let connects = names.iter().map(|name| connect_tcp(name, 1).into_future());
            let all = fail_after(Duration::from_millis(50), async {
                join_all(connects).await;
                Ok::<_, Error>(())
            });
            let others = async {
                for _ in 0..20 {
                    let due = Instant::now() + Duration::from_millis(1);
                    sleep(Duration::from_millis(1)).await.expect("slept");
                    late = late.max(due.elapsed());
                }
                let listener = StdListener::bind("127.0.0.1:0").expect("a port");
                let port = listener.local_addr().expect("bound").port();
                let stream = connect_tcp("127.0.0.1", port).await;
                stream.expect("an address needs no name server");
                assert!((before + 1..=before + 9).contains(&threads()));
            };
            let (given_up, ()) = join(all, others).await;
            refused!(given_up, Error::TimedOut);
        });
        let took = begun.elapsed();
        println!("200 names, no answer: block_on took {took:?}, timers at most {late:?} late");
        assert!(took < Duration::from_secs(4), "the resolver takes five");
        assert!(threads() <= before + 8, "what hung hangs on, and no more");
        assert!(server.questions() <= 16, "what nobody wants is not begun");
        // The process ends now, with eight threads inside the resolver.
    });
}

#[test]
fn b11_a_black_hole_of_the_first_family() {
    let test = "names::b11_a_black_hole_of_the_first_family";
    in_namespace(test, "", || {
        let _guard = deadline();
        block_on(async {
            let listener = create_tcp_listener().local_host("10.99.0.1").await;
            let listener = listener.expect("listens");
            let port = listener.local_addr().port();
            let begun = Instant::now();
            let host = Fixed::host(&["fd00::2", "10.99.0.1"]);
            let stream = connect_tcp(host, port).await.expect("by the other family");
            assert_eq!(stream.peer_addr(), listener.local_addr());
            let took = begun.elapsed();
            println!("IPv6 black hole: connected after {took:?}");
            assert!(took >= Duration::from_millis(250));
            // Unreachable is known at once; lost is not, and the limit is the caller's.
            let host = Fixed::host(&["10.98.0.1", "fd00::2", "10.99.0.2"]);
            let given_up = fail_after(Duration::from_millis(600), connect_tcp(host, port)).await;
            refused!(given_up, Error::TimedOut);
        });
        let half_open = std::fs::read_to_string("/proc/net/tcp").expect("procfs");
        let other = std::fs::read_to_string("/proc/net/tcp6").expect("procfs");
        let syn_sent = |line: &&str| line.split_whitespace().nth(3) == Some("02");
        let left = half_open.lines().chain(other.lines());
        assert_eq!(left.filter(syn_sent).count(), 0, "no attempt goes on");
    });
}

#[test]
fn c20_one_port_for_all_addresses_although_it_is_taken_on_one() {
    // anyio#857: with two ports to choose from, the first choice is taken on the other address.
    let test = "names::c20_one_port_for_all_addresses_although_it_is_taken_on_one";
    let two_ports = "sysctl -qw net.ipv4.ip_local_port_range='40000 40001'";
    in_namespace(test, two_ports, || {
        let _guard = deadline();
        let host = || Fixed::host(&["127.0.0.2", "127.0.0.3", "::1", "127.0.0.2"]);
        for taken in [40_000, 40_001] {
            let _taken = StdListener::bind(("127.0.0.3", taken)).expect("free");
            block_on(async {
                let listener = create_tcp_listener().local_host(host()).await;
                let listener = listener.expect("the other port is free everywhere");
                let free = 40_000 + (40_001 - taken);
                let told: Vec<_> = listener
                    .local_addrs()
                    .iter()
                    .map(SocketAddr::port)
                    .collect();
                assert_eq!(told, [free; 3]);
                let ip = |address: &SocketAddr| address.ip().to_string();
                let mut told: Vec<_> = listener.local_addrs().iter().map(ip).collect();
                told.sort();
                assert_eq!(
                    told,
                    ["127.0.0.2", "127.0.0.3", "::1"],
                    "all, and none twice"
                );
                for address in ["127.0.0.2", "127.0.0.3", "::1"] {
                    let client = connect_tcp(address, free).local_port(taken + 10_000);
                    client.await.expect("connects");
                    listener.accept().await.expect("accepts");
                }
            });
        }
        let _one = StdListener::bind("127.0.0.3:40000").expect("free");
        let _other = StdListener::bind("127.0.0.2:40001").expect("free");
        let refused = block_on(async { create_tcp_listener().local_host(host()).await });
        match refused {
            Err(Error::Io(error)) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn c20_without_ipv6_a_listener_has_ipv4() {
    let test = "names::c20_without_ipv6_a_listener_has_ipv4";
    let without = "ip -6 addr flush dev lo
sysctl -qw net.ipv6.conf.all.disable_ipv6=1
sysctl -qw net.ipv6.conf.lo.disable_ipv6=1";
    in_namespace(test, without, || {
        let _guard = deadline();
        block_on(async {
            let listener = create_tcp_listener().await.expect("listens");
            let port = listener.local_addr().port();
            connect_tcp("127.0.0.1", port).await.expect("connects");
            let accepted = listener.accept().await.expect("accepts");
            assert!(accepted.peer_addr().is_ipv4(), "shown as IPv4");
            let host = Fixed::host(&["::1", "127.0.0.1"]);
            connect_tcp(host, port).await.expect("connects");
        });
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
        let (_listener, port) = live("127.0.0.1", &[]);
        let host = Host::from("my-localhost").resolved_by(Arc::new(Cached));
        let stream = connect_tcp(host, port).await.expect("connects");
        assert_eq!(stream.peer_addr().port(), port);
        drop(StdStream::connect(stream.peer_addr()));
    });
}
