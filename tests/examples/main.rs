//! Runs the built examples as users do: against each other, with files, pipes, signals.
//!
//! `cargo test` builds the examples; to run this file alone, `cargo build --examples` first.
//!
//! Long because each example has its tests here.

#[path = "../it/certs.rs"]
#[expect(dead_code, reason = "only files are needed here")]
mod certs;
mod chat;
mod daemon;
mod http;
mod reconnect;
mod running;
mod tls;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::Instant;

use crate::running::{GUARD, TempDir, start, start_with};

/// Returns bytes without a pattern, so that a shuffled or doubled chunk is noticed.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

fn nc_tcp(address: SocketAddr) -> [String; 2] {
    [address.ip().to_string(), address.port().to_string()]
}

fn nc_udp(address: SocketAddr) -> [String; 3] {
    let [host, port] = nc_tcp(address);
    ["--udp".into(), host, port]
}

const NONE: [&str; 0] = [];

#[test]
fn tour_tells_every_exchange() {
    let text = start("tour", &NONE).ended().said();
    let exchanges: Vec<&str> = text.lines().filter(|line| line.contains("->")).collect();
    for (kind, name) in [
        ("tcp", "Ada"),
        ("tcp", "Grace"),
        ("unix", "Barbara"),
        ("unix", "Frances"),
        ("udp", "Margaret"),
        ("udp", "Radia"),
        ("tcp", "client 100"),
        ("tls", "Hedy"),
        ("tls", "Joan"),
    ] {
        let tells = |line: &&&str| {
            line.trim_start().starts_with(kind)
                && line.contains(&format!("->  Hello, {name} "))
                && line.ends_with(" ms")
        };
        assert_eq!(
            exchanges.iter().filter(tells).count(),
            1,
            "{kind} {name}: {text}"
        );
    }
    let path = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("unix  /"));
    let path = PathBuf::from(format!("/{}", path.expect("the socket's path").trim()));
    assert!(
        !path.parent().expect("a directory").exists(),
        "{} is left",
        path.display()
    );
}

#[test]
fn timeouts_tells_what_was_late() {
    let said = start("timeouts", &NONE).ended().said();
    let lines: Vec<&str> = said.lines().collect();
    let expected = [
        "no answer within 20 ms",
        "then: here I am",
        "done within 100 ms: quick, fair",
        "no answer, so goodbye",
        "the server heard: sorry, no time left",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn lines_and_bodies_are_told_apart() {
    let said = start("lines", &NONE).ended().said();
    let expected = "\"stored\"\n\"hello\\nworld\"\n\"\"\n\
                    server: the stream ended inside an item, after 5 bytes\n";
    assert_eq!(said, expected);
}

#[test]
fn workers_do_each_job_once() {
    let said = start("worker", &NONE).ended().said();
    let expected = (1..=12).map(|number| format!("{number} squared is {}", number * number));
    assert!(said.lines().eq(expected), "{said}");
}

#[test]
fn foreign_loop_serves_both() {
    let said = start("foreign_loop", &NONE).ended().said();
    assert!(said.contains("the loop's own socket: ding\n"), "{said}");
    let turns = said
        .split_once("the runtime: Hello, foreign loop (")
        .expect("an answer")
        .1;
    let turns: u32 = turns
        .split(' ')
        .next()
        .expect("a number")
        .parse()
        .expect("a number");
    assert!((2..100).contains(&turns), "the loop spins: {turns} turns");
}

#[test]
fn hello_over_tcp() {
    let mut server = start("hello_tcp_server", &["0"]);
    let port = server.address("tcp").port().to_string();
    for host in ["127.0.0.1", "localhost"] {
        let client = start("hello_tcp_client", &[host, &port]);
        assert_eq!(client.ended().well(), b"Hello, Client\n");
    }
}

#[test]
fn hello_over_unix() {
    let dir = TempDir::new("hello");
    let path = [dir.0.join("socket")];
    let mut server = start("hello_unix_server", &path);
    assert_eq!(server.line(), format!("unix {}", path[0].display()));
    assert_eq!(
        start("hello_unix_client", &path).ended().well(),
        b"Hello, Client\n"
    );
}

#[test]
fn hello_over_udp() {
    let mut server = start("udp_hello", &["0"]);
    let port = server.address("udp").port().to_string();
    for _ in 0..2 {
        let client = start("udp_connected", &["127.0.0.1", &port]);
        assert_eq!(client.ended().well(), b"Hello, Hi there!\n");
    }
}

#[test]
fn a_file_goes_round_over_tcp_and_unix() {
    let dir = TempDir::new("file");
    let (file, path) = (dir.0.join("file"), dir.0.join("socket"));
    let data = noise(8 << 20);
    fs::write(&file, &data).expect("a file");
    let unix = path.to_str().expect("UTF-8");
    let mut echo = start("echo", &["--tcp", "127.0.0.1:0", "--unix", unix]);
    let tcp = echo.address("tcp");
    assert_eq!(echo.line(), format!("unix {unix}"));

    let input = || Stdio::from(File::open(&file).expect("the file"));
    let over_tcp = start_with("nc", &nc_tcp(tcp), input());
    let over_unix = start_with("nc", &["--unix", unix], input());
    assert!(over_tcp.ended().well() == data, "something else came back");
    assert!(over_unix.ended().well() == data, "something else came back");
    echo.terminated();
    assert!(!path.exists(), "the socket file is left");
}

#[test]
fn a_pipe_and_an_empty_input_over_all_kinds() {
    let dir = TempDir::new("pipe");
    let unix = dir.0.join("socket");
    let unix = unix.to_str().expect("UTF-8");
    let every = [
        "--udp",
        "127.0.0.1:0",
        "--unix",
        unix,
        "--tcp",
        "127.0.0.1:0",
        "--tcp",
        "[::1]:0",
    ];
    // The last address is left out where there is no IPv6.
    let every = &every[..if TcpListener::bind("[::1]:0").is_ok() {
        8
    } else {
        6
    }];
    let mut echo = start("echo", every);
    let udp = echo.address("udp");
    assert_eq!(echo.line(), format!("unix {unix}"));
    let mut ways = vec![
        nc_udp(udp).to_vec(),
        vec!["--unix".to_owned(), unix.to_owned()],
    ];
    for _ in 0..every.len() / 2 - 2 {
        ways.push(nc_tcp(echo.address("tcp")).to_vec());
    }
    let runs = ways
        .iter()
        .flat_map(|way| [(way, &b"one\ntwo\n"[..]), (way, b"")]);
    let runs: Vec<_> = runs
        .map(|(way, data)| {
            let mut nc = start("nc", way);
            nc.feed(data);
            (nc, data)
        })
        .collect();
    for (nc, data) in runs {
        assert_eq!(nc.ended().well(), data);
    }
    echo.terminated();
}

#[test]
fn nc_prints_while_its_input_is_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut nc = start("nc", &nc_tcp(listener.local_addr().expect("bound")));
    let (mut peer, _) = listener.accept().expect("nc connects");
    peer.write_all(b"first\n").expect("nc reads");
    assert_eq!(nc.line(), "first");
    // A line typed at a terminal is sent before the next one.
    let stdin = nc.stdin.as_mut().expect("piped");
    stdin.write_all(b"typed\n").expect("nc reads");
    let mut typed = [0; 6];
    peer.read_exact(&mut typed).expect("nc sends");
    assert_eq!(&typed, b"typed\n");
    // The peer's end ends nc, although nc's input is still open.
    drop(peer);
    assert_eq!(nc.ended().well(), b"");
}

#[test]
fn a_proxy_passes_on_and_tells() {
    let data = noise(3 << 20);
    let mut echo = start("echo", &["--tcp", "127.0.0.1:0"]);
    let target = echo.address("tcp").to_string();
    let mut proxy = start("proxy", &["127.0.0.1:0", &target]);
    let address = proxy.address("tcp");
    for _ in 0..2 {
        let mut nc = start("nc", &nc_tcp(address));
        nc.feed(&data);
        assert!(nc.ended().well() == data, "something else came back");
        let told = proxy.line();
        let length = data.len();
        let expected = format!(": {length} bytes there, {length} back, client ended first");
        assert!(told.ends_with(&expected), "{told}");
    }
    // With no server at the target, the client's connection is reset and the proxy goes on.
    echo.terminated();
    for _ in 0..2 {
        let mut nc = start("nc", &nc_tcp(address));
        nc.feed(b"");
        nc.ended().with_one_line(1);
    }
    let usage = start("proxy", &["127.0.0.1"]).ended();
    assert!(usage.with_one_line(2).starts_with("usage: proxy"));
}

#[test]
fn a_proxy_passes_a_reset_on() {
    // A reset must not be passed on as an orderly end (envoy#44148, ztunnel#1483).
    let target = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = target.local_addr().expect("bound").to_string();
    let mut proxy = start("proxy", &["127.0.0.1:0", &address]);
    let mut client = TcpStream::connect(proxy.address("tcp")).expect("connects");
    let (mut server, _) = target.accept().expect("accepts");
    let (sent, mut got) = ([7; 1000], [0; 1000]);
    server.write_all(&sent).expect("sent");
    client.read_exact(&mut got).expect("passed on");
    assert_eq!(got, sent);
    // Unread bytes make the kernel reset the connection when it is closed.
    client.write_all(b"unread").expect("sent");
    server.peek(&mut [0]).expect("passed on");
    drop(server);
    let end = client.read(&mut got).expect_err("it is no end");
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn nc_goes_on_receiving_after_its_own_end() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut nc = start("nc", &nc_tcp(listener.local_addr().expect("bound")));
    nc.feed(b"question");
    let (mut peer, _) = listener.accept().expect("nc connects");
    let mut question = String::new();
    peer.read_to_string(&mut question)
        .expect("nc ends its direction");
    assert_eq!(question, "question");
    peer.write_all(b"answer").expect("nc reads");
    drop(peer);
    assert_eq!(nc.ended().well(), b"answer");
}

#[test]
fn nc_names_host_and_port_when_it_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let named = format!("{} port {}", address.ip(), address.port());

    // A peer that closes with unread data resets the connection.
    let mut nc = start("nc", &nc_tcp(address));
    nc.feed(b"unread");
    let (peer, _) = listener.accept().expect("nc connects");
    peer.peek(&mut [0]).expect("nc sends");
    drop(peer);
    let line = nc.ended().with_one_line(1);
    assert!(line.contains(&named) && line.contains("broken"), "{line}");

    // It listens no more, and keeps its port.
    let shut = socket2::SockRef::from(&listener).shutdown(Shutdown::Both);
    shut.expect("listens no more");
    let line = start("nc", &nc_tcp(address)).ended().with_one_line(1);
    assert!(line.contains(&named) && line.contains("refused"), "{line}");

    let line = start("nc", &["127.0.0.1", "0"]).ended().with_one_line(1);
    assert!(line.matches("127.0.0.1 port 0").count() == 1, "{line}");
    let line = start("nc", &["", "80"]).ended().with_one_line(1);
    assert!(
        line.contains(" port 80: ") && line.contains("empty"),
        "{line}"
    );
    let line = start("nc", &["--unix", "/nowhere/socket"])
        .ended()
        .with_one_line(1);
    assert!(line.matches("/nowhere/socket: ").count() == 1, "{line}");

    // Nothing is bound to the UDP port: the kernel reports that after the first datagram.
    let free = UdpSocket::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("bound");
    let mut nc = start("nc", &nc_udp(free));
    nc.feed(b"anybody?");
    let line = nc.ended().with_one_line(1);
    assert!(
        line.contains(&format!("127.0.0.1 UDP port {}: ", free.port())),
        "{line}"
    );
}

#[test]
fn what_cannot_be_used_is_told() {
    for args in [
        &["--tcp"][..],
        &["--tcp", "1234"],
        &["--what", "x"],
        &["127.0.0.1:0"],
        &["--tls", "127.0.0.1:0"],
        &["--tls", "127.0.0.1:0", "--cert", "a.pem"],
        &["--tcp", "127.0.0.1:0", "--cert", "a.pem", "--key", "b.pem"],
        &["--cert", "a.pem", "--key", "b.pem"],
        &[],
    ] {
        let ended = start("echo", args).ended();
        assert_eq!(ended.code, Some(2), "{args:?}");
        for option in ["--tcp", "--unix", "--udp", "--tls"] {
            assert!(ended.stderr.contains(option), "{}", ended.stderr);
        }
    }
    for args in [
        &["--udp", "host"][..],
        &["host"],
        &["host", "port"],
        &["host", "70000"],
        &["--tls", "host"],
        &["--tls", "--ca", "host", "443"],
        &["--ca", "ca.pem", "host", "443"],
        &[],
    ] {
        let line = start("nc", args).ended().with_one_line(2);
        assert!(line.starts_with("usage: nc HOST PORT | "), "{line}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let line = start("echo", &["--tcp", &address]).ended().with_one_line(1);
    assert!(
        line.starts_with(&format!("echo: listen on {address}: ")),
        "{line}"
    );
    let dir = TempDir::new("told");
    let line = start("echo", &["--unix", dir.0.to_str().expect("UTF-8")]).ended();
    assert!(
        line.with_one_line(1)
            .starts_with(&format!("echo: listen on {}", dir.0.display()))
    );
}

#[test]
fn echo_stops_accepting_and_lets_connections_finish() {
    let mut echo = start("echo", &["--tcp", "127.0.0.1:0"]);
    let address = echo.address("tcp");
    let mut client = TcpStream::connect(address).expect("it listens");
    client.set_read_timeout(Some(GUARD)).expect("a timeout");
    let mut answer = [0; 6];
    client.write_all(b"before").expect("it reads");
    client.read_exact(&mut answer).expect("it answers");
    assert_eq!(&answer, b"before");

    echo.terminate();
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < echo.deadline, "it goes on accepting");
        thread::yield_now();
    }
    client.write_all(b"after!").expect("it reads");
    client.read_exact(&mut answer).expect("it answers");
    assert_eq!(&answer, b"after!");
    client.shutdown(Shutdown::Write).expect("connected");
    assert_eq!(client.read(&mut answer).expect("an orderly end"), 0);
    echo.ended().well();
}

#[test]
fn echo_ends_at_once_at_the_second_signal() {
    let mut echo = start("echo", &["--tcp", "127.0.0.1:0"]);
    let address = echo.address("tcp");
    let mut client = TcpStream::connect(address).expect("it listens");
    // Waits until it is accepted: the kernel's queue would go with the listener.
    client.write_all(b"x").expect("written");
    client.read_exact(&mut [0]).expect("echoed");
    echo.terminate();
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < echo.deadline, "it goes on accepting");
        thread::yield_now();
    }
    echo.terminate();
    let ended = echo.ended();
    assert_eq!(
        (ended.code, &*ended.stderr),
        (None, ""),
        "not by the signal"
    );
}

#[test]
fn a_server_that_ends_in_order_answers_what_was_begun() {
    let mut server = start("graceful_shutdown", &["0"]);
    let address = server.address("tcp");
    let mut client = TcpStream::connect(address).expect("it listens");
    client.set_read_timeout(Some(GUARD)).expect("a timeout");
    let mut answer = [0; 33];
    client.write_all(b"10\nten\n1000").expect("it reads");
    client.read_exact(&mut answer[..3]).expect("it answers");
    assert_eq!(&answer[..3], b"29\n");
    client.read_exact(&mut answer).expect("it answers");
    assert_eq!(&answer, b"a number from 1 to 10000, please\n");

    server.terminate();
    assert_eq!(server.line(), "SIGTERM: no more connections");
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < server.deadline, "it goes on accepting");
        thread::yield_now();
    }
    // Sends the rest of a request that was begun before the signal.
    client.write_all(b"\n").expect("it reads");
    client.read_exact(&mut answer[..5]).expect("it answers");
    assert_eq!(&answer[..5], b"7919\n");
    client.shutdown(Shutdown::Write).expect("connected");
    assert_eq!(client.read(&mut answer).expect("an orderly end"), 0);
    assert_eq!(server.ended().said(), "3 answers\n");
}

#[test]
fn cores_share_a_port_and_stop_in_order() {
    let mut server = start("cores", &["2"]);
    let address = server.address("tcp");
    let mut served = [0; 2];
    for _ in 0..32 {
        let mut client = TcpStream::connect(address).expect("connects");
        client.write_all(b"hello").expect("written");
        client.shutdown(Shutdown::Write).expect("ended");
        let mut said = String::new();
        client.read_to_string(&mut said).expect("an answer");
        let (greeting, echoed) = said.split_once('\n').expect("a line");
        assert_eq!(echoed, "hello");
        let core = greeting
            .strip_prefix("served by core ")
            .expect("a greeting");
        served[core.parse::<usize>().expect("a number")] += 1;
    }
    let under_way = TcpStream::connect(address).expect("connects");
    let mut line = [0; 17];
    (&under_way).read_exact(&mut line).expect("a greeting");
    let core = usize::from(line[15] - b'0');
    served[core] += 1;
    server.terminate();
    // The connection that was accepted before the signal is still served.
    while let Ok(mut client) = TcpStream::connect(address) {
        assert!(Instant::now() < server.deadline, "it goes on listening");
        // A client that leaves before it has the greeting is an error of the server's.
        let ended = client.shutdown(Shutdown::Write);
        if ended.is_ok() {
            let mut said = String::new();
            // The client may have connected too late; then it is reset.
            client.read_to_string(&mut said).ok();
        }
    }
    (&under_way).write_all(b"late").expect("written");
    (&under_way).read_exact(&mut line[..4]).expect("an answer");
    assert_eq!(&line[..4], b"late");
    drop(under_way);
    // A core may have served more: clients that connected before it noticed the signal.
    let said = server.ended().said();
    for (core, (line, least)) in said.lines().zip(served).enumerate() {
        let told = line
            .strip_prefix(&format!("core {core}: "))
            .expect("a line a core");
        assert!(told.parse::<u32>().expect("a number") >= least, "{said}");
    }
    assert_eq!(said.lines().count(), 2);
}
