//! The HTTP examples: against each other, against curl, and against peers made of std's sockets.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use crate::running::{GUARD, Running, TempDir, start};
use crate::tls::Made;
use crate::{NONE, noise};

const HOST: &str = "host: a\r\n";

fn server() -> (Running, SocketAddr) {
    let mut server = start("http_server", &["0"]);
    let address = server.address("http");
    (server, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).expect("the server listens");
    client.set_read_timeout(Some(GUARD)).expect("a limit");
    client
}

/// Sends these bytes, and returns all answers until the server ends the connection.
fn exchange(address: SocketAddr, request: &str) -> String {
    let mut client = connect(address);
    client.write_all(request.as_bytes()).expect("sent");
    client.shutdown(Shutdown::Write).expect("connected");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an end in order");
    answer
}

/// Returns the status lines and bodies, without the other headers.
fn gist(answer: &str) -> String {
    let header = |line: &&str| !line.contains(": ") && !line.is_empty();
    answer.lines().filter(header).collect::<Vec<_>>().join("|")
}

#[test]
fn http_server_answers_pipelined_requests_in_order() {
    let (server, address) = server();
    let requests = format!(
        "GET / HTTP/1.1\r\n{HOST}\r\n\
         POST /length HTTP/1.1\r\n{HOST}content-length: 3\r\n\r\nabc\
         POST /length HTTP/1.1\r\n{HOST}transfer-encoding: chunked\r\n\r\n\
         3\r\nabc\r\na;x=y\r\n0123456789\r\n0\r\ntrailer: z\r\n\r\n\
         HEAD / HTTP/1.1\r\n{HOST}\r\n\
         POST /none HTTP/1.1\r\n{HOST}content-length: 4\r\n\r\nleft\
         POST /echo HTTP/1.1\r\n{HOST}content-length: 4\r\n\r\nback\
         GET / HTTP/1.1\r\n{HOST}connection: close\r\n\r\n\
         GET / HTTP/1.1\r\n{HOST}\r\n"
    );
    assert_eq!(
        gist(&exchange(address, &requests)),
        "HTTP/1.1 200 OK|Hello, world!|HTTP/1.1 200 OK|3|HTTP/1.1 200 OK|13|HTTP/1.1 200 OK|\
         HTTP/1.1 404 Not Found|nothing is here|HTTP/1.1 200 OK|4|back|0|\
         HTTP/1.1 200 OK|Hello, world!"
    );
    let old = exchange(
        address,
        "POST /echo HTTP/1.0\r\ncontent-length: 4\r\n\r\nback",
    );
    assert_eq!(gist(&old), "HTTP/1.1 200 OK|back");
    assert!(old.contains("connection: close\r\n"), "{old}");
    server.terminated();
}

#[test]
fn http_server_refuses_what_is_malformed_or_too_large() {
    let (server, address) = server();
    let post = format!("POST /length HTTP/1.1\r\n{HOST}");
    let long = "y".repeat(20_000);
    let many = "x: y\r\n".repeat(100);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\n{HOST}{HOST}\r\n"), "400"),
        ("\x16\x03\x01".to_owned(), "400"),
        ("GET / HTTP/3.0\r\n\r\n".to_owned(), "501"),
        (format!("GET / HTTP/1.1\r\n{HOST}x: {long}\r\n\r\n"), "413"),
        (format!("GET / HTTP/1.1\r\n{HOST}{many}\r\n"), "413"),
        (format!("{post}content-length: +3\r\n\r\nabc"), "400"),
        (format!("{post}content-length: 3, 3\r\n\r\nabc"), "400"),
        (
            format!("{post}content-length: 3\r\ncontent-length: 3\r\n\r\nabc"),
            "400",
        ),
        (
            format!("{post}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n"),
            "400",
        ),
        (format!("{post}content-length: 99999999999\r\n\r\n"), "413"),
        (
            format!("{post}content-length: 99999999999999999999999\r\n\r\n"),
            "400",
        ),
        (
            format!("{post}transfer-encoding: gzip, chunked\r\n\r\n"),
            "501",
        ),
        (
            "POST /length HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
            "400",
        ),
        (
            format!("{post}transfer-encoding: chunked\r\n\r\n3\r\nabcX"),
            "400",
        ),
        (
            format!("{post}transfer-encoding: chunked\r\n\r\nxyz\r\n"),
            "400",
        ),
        (
            format!("{post}transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n"),
            "413",
        ),
        (
            format!("{post}transfer-encoding: chunked\r\n\r\n1;{long}"),
            "413",
        ),
    ] {
        let answer = exchange(address, &request);
        let line = answer.lines().next().unwrap_or_default();
        assert!(
            line.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request:.80}: {line}"
        );
        assert!(
            answer.contains("connection: close\r\n"),
            "{request:.80}: {answer}"
        );
    }
    server.terminated();
}

#[test]
fn http_server_asks_for_a_body_that_it_reads() {
    let (server, address) = server();
    for (path, answers) in [
        ("/length", "200 OK"),
        ("/echo", "200 OK"),
        ("/none", "404 Not Found"),
    ] {
        let mut client = connect(address);
        let head = format!(
            "POST {path} HTTP/1.1\r\n{HOST}content-length: 4\r\nexpect: 100-continue\r\n\r\n"
        );
        client.write_all(head.as_bytes()).expect("sent");
        let mut line = [0; 13];
        client.read_exact(&mut line).expect("an answer");
        let asked = line == *b"HTTP/1.1 100 ";
        assert_eq!(asked, path != "/none");
        if asked {
            client.write_all(b"body").expect("sent");
        }
        client.shutdown(Shutdown::Write).expect("connected");
        let mut rest = String::from_utf8_lossy(&line).into_owned();
        client.read_to_string(&mut rest).expect("an end in order");
        assert!(rest.contains(answers), "{path}: {rest}");
    }
    server.terminated();
}

#[test]
fn http_server_lets_a_request_end_when_it_stops() {
    let (server, address) = server();
    let (mut idle, mut busy) = (connect(address), connect(address));
    let mut one = [0; 1];
    let request = format!("GET / HTTP/1.1\r\n{HOST}\r\n");
    idle.write_all(request.as_bytes()).expect("sent");
    idle.read_exact(&mut one).expect("an answer");
    let head = format!("POST /echo HTTP/1.1\r\n{HOST}content-length: 8\r\n\r\nhalf");
    busy.write_all(head.as_bytes()).expect("sent");
    busy.read_exact(&mut one).expect("the answer's beginning");
    server.terminate();
    idle.read_to_end(&mut Vec::new())
        .expect("the end of an idle connection");
    busy.write_all(b"half").expect("sent");
    let mut rest = String::new();
    busy.read_to_string(&mut rest)
        .expect("the rest, and the end");
    assert!(
        rest.ends_with("4\r\nhalf\r\n4\r\nhalf\r\n0\r\n\r\n"),
        "{rest}"
    );
    drop((idle, busy));
    server.ended().well();
}

#[test]
fn http_client_and_server_pass_files_in_chunks_over_tls() {
    let made = Made::new("http-tls");
    let (cert, key, ca) = (
        made.path("server.pem"),
        made.path("server.key"),
        made.path("ca.pem"),
    );
    let file = made.path("file");
    let data = noise(1 << 20);
    fs::write(&file, &data).expect("a file");
    let mut server = start("http_server", &["0", &cert, &key]);
    let port = server.address("https").port();
    let url = format!("https://localhost:{port}/echo");
    let client = start("http_client", &["--ca", &ca, "--post", &file, &url, &url]).ended();
    assert_eq!(client.stderr, "200, 1048576 bytes\n".repeat(2));
    assert!(
        client.stdout == [&data[..], &data].concat(),
        "something else came back"
    );
    server.terminated();
}

#[test]
fn curl_and_http_server_understand_each_other() {
    let (server, address) = server();
    let dir = TempDir::new("http-curl");
    let file = dir.0.join("file");
    let data = noise(3 << 20);
    fs::write(&file, &data).expect("a file");
    let upload = format!("@{}", file.display());
    for options in [&NONE[..], &["-0"], &["-H", "transfer-encoding: chunked"]] {
        let curl = Command::new("curl")
            .args(["-sS", "--noproxy", "*", "--data-binary", &upload])
            .args(options)
            .arg(format!("http://{address}/echo"))
            .output();
        let Ok(curl) = curl else {
            println!("there is no curl: not tried");
            return;
        };
        assert!(
            curl.status.success() && curl.stdout == data,
            "{options:?}: {curl:?}"
        );
    }
    server.terminated();
}

/// Starts a server that answers each connection's first bytes with the next of these, then closes
/// it.
fn scripted(answers: Vec<String>) -> (thread::JoinHandle<()>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    let serving = thread::spawn(move || {
        for answer in answers {
            let (mut client, _) = listener.accept().expect("a client");
            client.read_exact(&mut [0; 1]).expect("a request");
            client
                .write_all(answer.as_bytes())
                .expect("the client reads");
            client.shutdown(Shutdown::Write).expect("connected");
            client
                .read_to_end(&mut Vec::new())
                .expect("the client's end");
        }
    });
    (serving, url)
}

#[test]
fn http_client_takes_all_kinds_of_bodies() {
    for (answer, body) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and more",
            "ok",
        ),
        ("HTTP/1.1 200 OK\r\n\r\nto the end", "to the end"),
        ("HTTP/1.0 200 OK\r\n\r\n", ""),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", ""),
        (
            "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1",
            "1",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n",
            "1",
        ),
    ] {
        let (serving, url) = scripted(vec![answer.to_owned()]);
        let ended = start("http_client", &[url]).ended();
        assert_eq!(ended.code, Some(0), "{answer}: {}", ended.stderr);
        assert_eq!(ended.stdout, body.as_bytes(), "{answer}");
        serving.join().expect("served");
    }
    for (answer, said) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok",
            "the stream ended inside an item",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n1\r\n",
            "ended inside an item",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n1",
            "not speak HTTP/1.1",
        ),
        ("220 ready\r\n", "a version or coding that is not supported"),
        ("", "the stream ended inside an item"),
    ] {
        let (serving, url) = scripted(vec![answer.to_owned()]);
        let line = start("http_client", &[url]).ended().with_one_line(1);
        assert!(line.contains(said), "{answer}: {line}");
        serving.join().expect("served");
    }
}

#[test]
fn http_client_connects_again_when_a_kept_connection_was_closed() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1".to_owned();
    let (serving, url) = scripted(vec![answer.clone(), answer]);
    let ended = start("http_client", &[&url, &url]).ended();
    assert_eq!(ended.stderr, "200, 1 bytes\n".repeat(2));
    assert_eq!(ended.stdout, b"11");
    serving.join().expect("served");
}
