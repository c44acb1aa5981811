//! Idle connections: they give up their buffers and go on, and end at their limits.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response};
use soloio_hyper::{Http, RequestBody};

use crate::server::GET;
use crate::support::{GUARD, Server, exchange, rest};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(3600);

/// A server whose answers are as long as `/N` says, or as the request's body.
fn sizing(http: Http) -> Server {
    Server::start(async move |listener, stop, tell| {
        let size = async |request: Request<RequestBody>| -> soloio::Result<Response<Full<Bytes>>> {
            let asked = request.uri().path()[1..].parse().unwrap_or(0);
            let body = request.into_body().collect().await?.to_bytes();
            Ok(Response::new(Full::new(
                vec![b'x'; asked + body.len()].into(),
            )))
        };
        let serve = listener
            .serve(async |stream| http.serve_connection(stream, service_fn(size)).await)
            .on_error(|error, peer| panic!("{peer}: {error}"));
        tell(serve.counters());
        serve.shutdown(stop.wait()).await
    })
}

/// It gives them up in each pause that is as short as can be.
fn eager() -> Http {
    Http::new().buffer_timeout(Duration::ZERO)
}

fn body(answer: &str) -> usize {
    answer.split_once("\r\n\r\n").expect("a head").1.len()
}

#[test]
fn buffers_are_given_up_and_made_anew_and_nothing_is_lost() {
    let server = sizing(eager());
    let mut clients: Vec<TcpStream> = (0..5).map(|_| server.connect()).collect();
    for round in 0..8 {
        for client in &mut clients {
            let get = format!("GET /{round} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(body(&exchange(client, &get)), round);
            let post = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {round}\r\n\r\n");
            client.write_all(post.as_bytes()).expect("sent");
            let text = "y".repeat(round);
            assert_eq!(body(&exchange(client, &text)), round);
        }
    }
    // Pieces of heads come before and after the buffers are given up.
    let client = &mut clients[0];
    client.set_nodelay(true).expect("set");
    for byte in GET.repeat(2).bytes() {
        client.write_all(&[byte]).expect("sent");
        exchange(&mut server.connect(), GET);
    }
    client.shutdown(Shutdown::Write).expect("ended");
    let got = String::from_utf8(rest(client)).expect("text");
    assert_eq!(got.matches("200 OK").count(), 2);
    let counters = server.counters.clone();
    server.stopped();
    assert_eq!(counters.failed(), 0);
}

/// hyper's buffer is used up to its end again and again, by heads of all lengths.
#[test]
fn heads_of_all_lengths_are_read_whole() {
    let server = sizing(Http::new());
    let mut client = server.connect();
    for length in (0..9_000).step_by(23) {
        let pad = "p".repeat(length % 3_000);
        let head = format!("GET /{length} HTTP/1.1\r\nHost: a\r\nPad: {pad}\r\n\r\n");
        assert_eq!(body(&exchange(&mut client, &head)), length);
    }
    let pipelined: String = (0..300)
        .map(|size| format!("GET /{size} HTTP/1.1\r\nPad: {}\r\n\r\n", "p".repeat(size)))
        .collect();
    client.write_all(pipelined.as_bytes()).expect("sent");
    let sizes = 300 * 299 / 2;
    let mut got = Vec::new();
    while got.iter().filter(|byte| **byte == b'x').count() < sizes {
        let mut some = [0; 10_000];
        let count = client.read(&mut some).expect("answers");
        assert!(count > 0);
        got.extend(&some[..count]);
    }
    assert_eq!(String::from_utf8_lossy(&got).matches("200 OK").count(), 300);
    server.stopped();
}

#[test]
fn an_answer_that_waits_for_room_is_not_lost() {
    let server = sizing(eager());
    let mut client = server.connect();
    for last in [false, true] {
        let connection = if last { "close" } else { "keep-alive" };
        let get = format!("GET /16000000 HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n\r\n");
        client.write_all(get.as_bytes()).expect("sent");
        // The loop goes on meanwhile, and finds the first connection idle but for its answer.
        for _ in 0..10 {
            exchange(&mut server.connect(), GET);
        }
        if last {
            assert!(rest(&mut client).len() > 16_000_000);
            continue;
        }
        let (mut got, mut some) = (0, vec![0; 1 << 20]);
        while got < 16_000_000 {
            let count = client.read(&mut some).expect("the answer");
            assert!(count > 0, "an end in the middle");
            got += some[..count].iter().filter(|byte| **byte == b'x').count();
        }
    }
    server.stopped();
}

/// It takes longer than a head may.
#[test]
fn an_answer_that_is_read_slowly_is_no_idle_time() {
    let server = sizing(eager().header_timeout(SHORT));
    let mut client = server.connect();
    let get = "GET /16000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    client.write_all(get.as_bytes()).expect("sent");
    for _ in 0..3 {
        // One that is idle ends at the same limit.
        let mut other = server.connect();
        exchange(&mut other, GET);
        assert_eq!(rest(&mut other), b"");
    }
    assert!(rest(&mut client).len() > 16_000_000);
    server.stopped();
}

/// Each of its bytes comes in time, its head does not.
#[test]
fn the_limit_of_a_head_does_not_begin_again() {
    for http in [eager(), Http::new()] {
        let server = sizing(http.header_timeout(SHORT));
        let mut client = server.connect();
        exchange(&mut client, GET);
        let pause = Some(Duration::from_millis(1));
        client.set_read_timeout(pause).expect("set");
        let mut sent = 0_u32;
        loop {
            // After its end a write may fail.
            drop(client.write(b"G"));
            sent += 1;
            match client.read(&mut [0; 9]) {
                Ok(0) => break,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => panic!("{other:?}"),
            }
            assert!(sent < 60_000, "it does not end");
        }
        server.until(|counters| counters.active() == 0);
        server.stopped();
    }
}

#[test]
fn http2_connections_without_requests_are_told_to_end() {
    let server = sizing(Http::new().header_timeout(SHORT));
    let mut client = server.connect();
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    client.write_all(hello).expect("sent");
    let goodbye = [7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff];
    let (mut said, mut some) = (Vec::new(), [0; 1_000]);
    while !said.windows(10).any(|frame: &[u8]| frame == goodbye) {
        let count = client.read(&mut some).expect("frames");
        assert!(count > 0, "no goodbye: {said:?}");
        said.extend(&some[..count]);
    }
    drop(client);
    server.until(|counters| counters.active() == 0);
    server.stopped();
}

#[test]
fn idle_connections_end_when_the_server_stops_with_buffers_or_without() {
    for http in [eager(), Http::new()] {
        let server = sizing(http.header_timeout(LONG));
        let mut clients: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
        for client in &mut clients {
            exchange(client, GET);
        }
        let took = server.stopped();
        assert!(took < GUARD, "{took:?}");
        for mut client in clients {
            assert_eq!(rest(&mut client), b"");
        }
    }
}
