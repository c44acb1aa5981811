//! Names and ports in a network of the test's own: a controlled name server, a black hole, two
//! ports to choose from, no IPv6.
//!
//! Long because each test sets up its network.

use std::collections::BTreeSet;
use std::future::IntoFuture;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener as StdListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use soloio::{
    Error, Result, block_on, connect_tcp, create_connected_udp_socket, create_tcp_listener,
    fail_after, sleep, thread_statistics,
};

use crate::names::{Fixed, HOUR};
use crate::namespace::in_namespace;
use crate::net_support::{refused, tcp_listener, turns};
use crate::support::{deadline, threads};

#[test]
fn b10_an_address_starts_no_thread() {
    // In a namespace, where no other process takes thread numbers.
    in_namespace("name_server::b10_an_address_starts_no_thread", "", || {
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

/// A name server that answers 127.0.0.1 to every question for an IPv4 address once it is open.
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

/// RFC 1035, 4.1: a copy of the question, and one record that refers back to its name.
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
    let test = "name_server::b7_a_hundred_connects_to_one_name_make_one_lookup";
    in_namespace(test, "", || {
        let _guard = deadline();
        let server = NameServer::start();
        let before = threads();
        let connected = block_on(async {
            let listener = tcp_listener().await;
            let port = listener.local_addr().port();
            let connects = (0..100).map(|_| connect_tcp("one.example", port).into_future());
            let open = async {
                while server.questions() == 0 {
                    turns(1).await;
                }
                assert!(threads() <= before + 2, "one may read the hosts file");
                // A turn polls 32 connects. Those that began late read the hosts file once more:
                // wait until those reads have ended.
                let mut calm = 0;
                while calm < 20 {
                    turns(1).await;
                    let now = thread_statistics();
                    let one_asks = (now.running, now.waiting, now.idle) == (1, 0, now.threads - 1);
                    calm = if one_asks { calm + 1 } else { 0 };
                }
                server.open.store(true, SeqCst);
            };
            join(join_all(connects), open).await.0
        });
        for stream in connected {
            assert!(stream.expect("connects").peer_addr().is_ipv4());
        }
        // One question for IPv4 and one for IPv6; each may have been sent twice, with the same
        // number.
        assert_eq!(server.questions(), 2);
        let statistics = thread_statistics();
        assert_eq!((statistics.running, statistics.waiting), (0, 0));
    });
}

#[test]
fn b1_b2_a_name_server_that_never_answers() {
    never_answered("name_server::b1_b2_a_name_server_that_never_answers", false);
}

#[test]
fn b2_the_program_ends_while_threads_hang_in_the_resolver() {
    let begun = Instant::now();
    never_answered(
        "name_server::b2_the_program_ends_while_threads_hang_in_the_resolver",
        true,
    );
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "the resolver takes five"
    );
}

/// Looks up 200 names without an answer. With `leave` the process ends while threads are inside the
/// resolver.
fn never_answered(test: &str, leave: bool) {
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
                // Every connect is cancelled; the first error is the time limit's.
                let all: Result<Vec<_>> = join_all(connects).await.into_iter().collect();
                all.map(drop)
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
                assert!((before + 1..=before + 16).contains(&threads()));
            };
            let (given_up, ()) = join(all, others).await;
            refused!(given_up, Error::TimedOut(_));
        });
        let took = begun.elapsed();
        println!("200 names, no answer: block_on took {took:?}, timers at most {late:?} late");
        assert!(took < Duration::from_secs(4), "the resolver takes five");
        let statistics = thread_statistics();
        assert!(statistics.running <= 8, "what hung hangs on, and no more");
        assert_eq!(statistics.waiting, 0);
        if leave {
            return;
        }
        server.open.store(true, SeqCst);
        while thread_statistics().running > 0 {
            std::thread::yield_now();
        }
        assert!(server.questions() <= 16, "what nobody wants is not begun");
    });
}

#[test]
fn b11_a_black_hole_of_the_first_family() {
    let test = "name_server::b11_a_black_hole_of_the_first_family";
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
            // An unreachable address fails immediately; for one that never answers the caller's
            // limit applies.
            let host = Fixed::host(&["10.98.0.1", "fd00::2", "10.99.0.2"]);
            let given_up = fail_after(Duration::from_millis(600), connect_tcp(host, port)).await;
            refused!(given_up, Error::TimedOut(_));
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
    // anyio#857: of two ports to choose from, the first one is in use on the other address.
    let test = "name_server::c20_one_port_for_all_addresses_although_it_is_taken_on_one";
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
fn c8_without_a_free_port_connecting_says_so_at_once() {
    // Without ephemeral ports there was a busy retry, or an error without an address.
    let test = "name_server::c8_without_a_free_port_connecting_says_so_at_once";
    let two_ports = "sysctl -qw net.ipv4.ip_local_port_range='40000 40001'";
    in_namespace(test, two_ports, || {
        let _guard = deadline();
        block_on(async {
            let listener = create_tcp_listener()
                .local_host("127.0.0.1")
                .local_port(999);
            let listener = listener.await.expect("listens");
            let mut clients = Vec::new();
            let refused = loop {
                match connect_tcp("127.0.0.1", 999).await {
                    Ok(client) => clients.push(client),
                    Err(error) => break error,
                }
            };
            assert_eq!(clients.len(), 2, "one for each port");
            let Error::ConnectFailed(failed) = &refused else {
                panic!("{refused:?}")
            };
            assert_eq!(failed.attempts.len(), 1, "{refused}");
            let cause = failed.attempts[0].cause.kind();
            assert_eq!(cause, ErrorKind::AddrNotAvailable);
            // The existing connections still work.
            let server = listener.accept().await.expect("accepts");
            server.send(b"hello").await.expect("sent");
            let first = clients.swap_remove(0);
            assert_eq!(first.receive().await.expect("received"), b"hello");
            first.abort();
        });
    });
}

#[test]
fn c20_without_ipv6_a_listener_has_ipv4() {
    let test = "name_server::c20_without_ipv6_a_listener_has_ipv4";
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
fn c20_a_link_local_address_has_its_scope() {
    let test = "name_server::c20_a_link_local_address_has_its_scope";
    in_namespace(test, "ip -6 addr add fe80::1/64 dev hole nodad", || {
        let _guard = deadline();
        block_on(async {
            let listener = create_tcp_listener().local_host("fe80::1%hole").await;
            let listener = listener.expect("listens");
            let local = listener.local_addr();
            let SocketAddr::V6(v6) = local else {
                panic!("{local}");
            };
            assert_ne!(v6.scope_id(), 0);
            for host in ["fe80::1%hole", &format!("fe80::1%{}", v6.scope_id())] {
                let client = connect_tcp(host, local.port()).await.expect("connects");
                assert_eq!(client.peer_addr(), local);
                let server = listener.accept().await.expect("accepts");
                assert_eq!(server.peer_addr(), client.local_addr());
            }
            // Without its scope a link-local address cannot be reached.
            let refused = connect_tcp("fe80::1", local.port()).await;
            refused!(refused, Error::ConnectFailed(_));
            let elsewhere = create_tcp_listener().local_host("fe80::1%lo").await;
            refused!(elsewhere, Error::Io(_));
        });
    });
}

#[test]
fn b5_without_a_thread_a_lookup_is_an_error() {
    const MARK: &str = "SOLOIO_TEST_NO_THREADS";
    if std::env::var_os(MARK).is_none() {
        let _guard = deadline();
        let own = std::env::current_exe().expect("the path of the test binary");
        let test = "name_server::b5_without_a_thread_a_lookup_is_an_error";
        let output = std::process::Command::new(own)
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            // A stack size that no system can allocate.
            .env("RUST_MIN_STACK", (1_u64 << 46).to_string())
            .env(MARK, "1")
            .output();
        let output = output.expect("the test binary starts");
        let text = String::from_utf8_lossy(&output.stdout);
        return assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
    }
    let spawned = std::thread::Builder::new().spawn(|| ());
    assert!(spawned.is_err(), "there is no room for a thread");
    block_on(async {
        for _ in 0..3 {
            let looked = join_all(
                ["a.example", "b.example", "a.example"]
                    .map(|name| connect_tcp(name, 1).into_future()),
            );
            for looked in looked.await {
                refused!(looked, Error::Resolve(_));
            }
        }
        let listener = create_tcp_listener().local_host("127.0.0.1").await;
        let port = listener.expect("listens").local_addr().port();
        let refused = connect_tcp("127.0.0.1", port).await;
        refused!(refused, Error::ConnectFailed(_));
    });
}
