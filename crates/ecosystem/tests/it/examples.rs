//! The examples, run as they stand, against curl.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::running::{Running, curl};
use crate::support::noise;

#[test]
fn tokio_host_drives_both() {
    let host = Running::start("tokio_host", &[]);
    assert_eq!(
        host.ended(),
        "Hello, Ada!\nHello, Grace!\nboth have ended\n"
    );
}

/// A message of gRPC.
fn message(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a short message");
    [&[0], &length.to_be_bytes()[..], bytes].concat()
}

#[test]
fn grpc_echo_gives_back_messages_and_a_status() {
    let mut server = Running::start("grpc_echo", &["127.0.0.1:0"]);
    let url = format!("http://{}/echo.Echo/Echo", server.address("grpc"));
    let folder = std::env::temp_dir().join(format!("soloio-grpc-{}", std::process::id()));
    fs::create_dir(&folder).expect("a new folder");
    let path = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    let both = [message(b"hello"), message(&noise(300_000))].concat();
    let half = &both[..100_000];
    let large = message(&noise(1 << 20));
    for (asked, answered, status) in [
        (&both[..], &both[..], "0"),
        (half, &half[..10], "13"),
        (&large[..10], &[], "8"),
    ] {
        fs::write(path("asked"), asked).expect("a file");
        let body = format!("@{}", path("asked"));
        let (got, heads) = (path("got"), path("heads"));
        let args = [
            "--http2-prior-knowledge",
            "-H",
            "content-type: application/grpc",
            "-H",
            "te: trailers",
            "--data-binary",
            &body,
            "-o",
            &got,
            "-D",
            &heads,
            &url,
        ];
        if curl(&args).is_none() {
            break;
        }
        assert!(fs::read(got).expect("an answer") == answered);
        let heads = fs::read_to_string(heads).expect("heads");
        let line = format!("grpc-status: {status}");
        assert!(heads.lines().any(|head| head == line), "{heads}");
    }
    fs::remove_dir_all(&folder).expect("it is there");
    server.terminate();
    server.ended();
}

#[test]
fn quinn_echo_gives_back_and_stops() {
    let file = std::env::temp_dir().join(format!("soloio-quinn-{}.der", std::process::id()));
    let path = file.to_str().expect("UTF-8");
    let mut server = Running::start("quinn_echo", &["serve", "127.0.0.1:0", path]);
    let address = server.address("quic");
    let large = "x".repeat(100_000);
    for text in ["", "hello", &large] {
        let client = Running::start("quinn_echo", &["ask", &address, path, text]);
        assert_eq!(client.ended(), format!("{text}\n"));
    }
    fs::remove_file(&file).expect("it is there");
    server.terminate();
    server.ended();
}

/// Answers as many requests of one connection as come; says what they asked.
fn upstream(stream: TcpStream, number: usize) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut length, mut line) = (String::new(), 0, String::new());
        while stream.read_line(&mut line).expect("a line") > 0 && line != "\r\n" {
            if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().expect("a number");
            }
            head.push_str(&std::mem::take(&mut line).to_lowercase());
        }
        if head.is_empty() {
            return;
        }
        if head.contains("transfer-encoding: chunked") {
            // It is cut before its end.
            drop(io::copy(&mut stream, &mut io::sink()));
            return;
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).expect("a body");
        let text = format!("connection {number}\n{head}{length} bytes\n");
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Hop: it\r\nConnection: x-hop\r\n\r\n{text}",
            text.len()
        );
        stream.get_mut().write_all(answer.as_bytes()).expect("sent");
    }
}

#[test]
fn reverse_proxy_keeps_connections_and_limits() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let behind = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            thread::spawn(move || upstream(stream.expect("a client"), number));
        }
    });
    let mut proxy = Running::start("reverse_proxy", &["127.0.0.1:0", &behind]);
    let url = format!("http://{}/path?query", proxy.address("http"));
    // Two clients, one after the other: the same connection behind the proxy.
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let post = [
            "-i",
            "-H",
            "x-own: 1",
            "-H",
            "x-mine: 2",
            "-H",
            "connection: x-mine",
            "-d",
            "abc",
        ];
        let Some(text) = curl(&[&[version], &post[..], &[&url]].concat()) else {
            return;
        };
        assert!(
            text.contains("connection 0\npost /path?query http/1.1\r\n"),
            "{text}"
        );
        let host = url.split('/').nth(2).expect("a host");
        for line in [
            &format!("host: {host}"),
            "x-own: 1",
            "x-forwarded-for: 127.0.0.1",
        ] {
            assert_eq!(
                text.lines().filter(|its| *its == line).count(),
                1,
                "{line}: {text}"
            );
        }
        assert!(!text.contains("x-mine") || version != "--http1.1", "{text}");
        assert!(!text.to_lowercase().contains("x-hop"), "{text}");
        assert!(text.ends_with("3 bytes\n"), "{text}");
        assert_eq!(proxy.line().split(" ms").count(), 2);
    }
    let large = std::env::temp_dir().join(format!("soloio-large-{}", std::process::id()));
    fs::write(&large, vec![0; (10 << 20) + 1]).expect("a file");
    let file = large.to_str().expect("UTF-8");
    for declared in ["content-length: 10485761", "transfer-encoding: chunked"] {
        let post = [
            "-H",
            declared,
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-T",
            file,
        ];
        let code = curl(&[&post[..], &["-X", "POST", "-H", "expect:", &url]].concat());
        assert_eq!(code.expect("curl"), "413", "{declared}");
        assert!(proxy.line().contains(" 413 "));
    }
    fs::remove_file(&large).expect("it is there");
    proxy.terminate();
    proxy.ended();
}

#[test]
fn reverse_proxy_says_that_nothing_is_behind_it() {
    // Bound, and it does not listen: so it refuses, and no other process gets the port.
    let nothing = tokio::net::TcpSocket::new_v4().expect("a socket");
    let any = "127.0.0.1:0".parse().expect("an address");
    nothing.bind(any).expect("a port");
    let behind = nothing.local_addr().expect("bound").to_string();
    let mut proxy = Running::start("reverse_proxy", &["127.0.0.1:0", &behind]);
    let url = format!("http://{}/", proxy.address("http"));
    let code = curl(&["-o", "/dev/null", "-w", "%{http_code}", &url]);
    assert!(code.is_none_or(|code| code == "502"));
    proxy.terminate();
    proxy.ended();
}
