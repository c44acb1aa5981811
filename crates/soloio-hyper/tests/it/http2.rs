//! What RFC 9113 forbids, frame by frame: each violation ends with the error that its section
//! names, and ends nothing but its connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Request, Response};
use soloio_hyper::{Http, RequestBody};

use crate::server::GET;
use crate::support::{Server, exchange};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// The types of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const ACK: u8 = 1;

// The error codes (section 7).
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

/// `GET http / ` from HPACK's static table, and the authority `a`.
const REQUEST: &[u8] = &[0x82, 0x86, 0x84, 0x01, 0x01, b'a'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    let head = [&length.to_be_bytes()[1..], &[kind, flags]].concat();
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

fn request(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, REQUEST)
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

/// A client that has sent its preface.
struct Client(TcpStream);

impl Client {
    fn open(server: &Server) -> Self {
        let mut client = Self(server.connect());
        client.send(PREFACE);
        client.send(&frame(SETTINGS, 0, 0, &[]));
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("sent");
    }

    /// The next frame: its type, its flags and its payload; `None` at the end, be it a reset.
    fn next(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("a length")];
        self.0.read_exact(&mut payload).ok()?;
        Some((head[3], head[4], payload))
    }

    /// The payload of the next frame of a type.
    fn until(&mut self, wanted: u8) -> Vec<u8> {
        loop {
            let (kind, flags, payload) = self.next().expect("it is answered");
            let is_ack = kind == PING && flags & ACK != 0;
            if kind == wanted && (is_ack || kind != PING) {
                return payload;
            }
        }
    }

    /// The code of the first error of a stream or the connection.
    fn error(&mut self) -> Option<u32> {
        loop {
            let code = match self.next()? {
                (RST_STREAM, _, payload) => payload,
                (GOAWAY, _, payload) => payload[4..8].to_vec(),
                _ => continue,
            };
            let code = u32::from_be_bytes(code.try_into().expect("4 bytes"));
            // That of a graceful end.
            if code != 0 {
                return Some(code);
            }
        }
    }
}

fn greeting() -> Server {
    answering(Http::new(), "hello".into())
}

fn answering(http: Http, body: Bytes) -> Server {
    Server::start(async move |listener, stop, tell| {
        let hello = async |_: Request<RequestBody>| -> soloio::Result<Response<Full<Bytes>>> {
            Ok(Response::new(Full::new(body.clone())))
        };
        let serve = listener
            .serve(async |stream| http.serve_connection(stream, service_fn(hello)).await)
            .on_error(|_, _| {});
        tell(serve.counters());
        serve.shutdown(stop.wait()).await
    })
}

/// Sends what is forbidden, and expects one of the codes.
fn check(server: &Server, section: &str, bytes: &[u8], codes: &[u32]) {
    let mut client = Client::open(server);
    client.send(bytes);
    let code = client.error();
    assert!(
        code.is_some_and(|code| codes.contains(&code)),
        "{section}: {code:?}"
    );
    // The next client is served.
    assert!(
        exchange(&mut server.connect(), GET).ends_with("hello"),
        "{section}"
    );
}

#[test]
fn frames_on_wrong_streams_are_refused() {
    let server = greeting();
    let protocol = &[PROTOCOL_ERROR];
    for (section, bytes) in [
        ("6.1 data on stream 0", frame(DATA, 0, 0, b"x")),
        (
            "5.1 data on an idle stream",
            frame(DATA, END_STREAM, 1, b"x"),
        ),
        ("6.2 headers on stream 0", request(0)),
        ("5.1.1 headers on an even stream", request(2)),
        (
            "5.1.1 headers on a lower stream",
            [request(5), request(3)].concat(),
        ),
        ("6.4 a reset of stream 0", frame(RST_STREAM, 0, 0, &[0; 4])),
        (
            "6.4 a reset of an idle stream",
            frame(RST_STREAM, 0, 1, &[0; 4]),
        ),
        ("6.5 settings on a stream", frame(SETTINGS, 0, 1, &[])),
        ("6.7 a ping on a stream", frame(PING, 0, 1, &[0; 8])),
        ("6.8 a goaway on a stream", frame(GOAWAY, 0, 1, &[0; 8])),
        (
            "6.9 an update of an idle stream",
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        ),
        (
            "6.10 a continuation of nothing",
            frame(CONTINUATION, END_HEADERS, 1, REQUEST),
        ),
        (
            "8.4 a promise by a client",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
        ),
    ] {
        // 5.1: headers of a stream that is closed may be an error of that kind.
        let codes = if section.contains("lower") {
            &[PROTOCOL_ERROR, STREAM_CLOSED][..]
        } else {
            protocol
        };
        check(&server, section, &bytes, codes);
    }
    server.stopped();
}

#[test]
fn frames_of_wrong_lengths_are_refused() {
    let server = greeting();
    for (section, bytes) in [
        (
            "4.2 a frame above the maximum",
            frame(DATA, 0, 1, &[0; 16_385]),
        ),
        (
            "6.3 a short priority",
            [request(1), frame(PRIORITY, 0, 3, &[0; 4])].concat(),
        ),
        (
            "6.4 a short reset",
            [request(1), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
        ),
        (
            "6.5 an acknowledgement with settings",
            frame(SETTINGS, ACK, 0, &[0; 6]),
        ),
        ("6.5 half a setting", frame(SETTINGS, 0, 0, &[0; 3])),
        ("6.7 a short ping", frame(PING, 0, 0, &[0; 6])),
        ("6.9 a short update", frame(WINDOW_UPDATE, 0, 0, &[0; 3])),
    ] {
        // As the connection cannot go on, some of them are errors of the protocol.
        check(
            &server,
            section,
            &bytes,
            &[FRAME_SIZE_ERROR, PROTOCOL_ERROR],
        );
    }
    server.stopped();
}

#[test]
fn wrong_values_are_refused() {
    let server = greeting();
    let padded = frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, &[200, 0x82]);
    let interrupted = [frame(HEADERS, 0, 1, REQUEST), frame(PING, 0, 0, &[0; 8])].concat();
    let largest = (1_u32 << 31) - 1;
    let overflow = frame(WINDOW_UPDATE, 0, 0, &largest.to_be_bytes());
    for (section, bytes, code) in [
        ("6.2 more padding than the frame", padded, PROTOCOL_ERROR),
        ("6.2 a frame between headers", interrupted, PROTOCOL_ERROR),
        ("6.5.2 push neither 0 nor 1", setting(2, 2), PROTOCOL_ERROR),
        (
            "6.5.2 a window above the maximum",
            setting(4, 1 << 31),
            FLOW_CONTROL_ERROR,
        ),
        (
            "6.5.2 a maximum below the least",
            setting(5, 16_383),
            PROTOCOL_ERROR,
        ),
        (
            "6.9 an update by 0",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            PROTOCOL_ERROR,
        ),
        (
            "6.9.1 a window that overflows",
            overflow,
            FLOW_CONTROL_ERROR,
        ),
        (
            "4.3 headers that no table has",
            frame(HEADERS, 5, 1, &[0xff; 9]),
            COMPRESSION_ERROR,
        ),
        (
            "8.3 headers without a method",
            frame(HEADERS, 5, 1, &[0x84, 0x86]),
            PROTOCOL_ERROR,
        ),
        (
            "8.2 a name in capitals",
            frame(HEADERS, 5, 1, &[0x82, 0x86, 0x84, 0, 1, b'A', 0]),
            PROTOCOL_ERROR,
        ),
    ] {
        // h2 has no closer code for settings and for HPACK.
        check(&server, section, &bytes, &[code, PROTOCOL_ERROR]);
    }
    server.stopped();
}

#[test]
fn what_is_not_known_is_ignored_and_a_ping_is_answered() {
    let server = greeting();
    let mut client = Client::open(&server);
    client.send(&frame(0x16, 0xff, 0, b"of no type"));
    client.send(&setting(0xff, 1));
    client.send(&frame(PRIORITY, 0, 9, &[0, 0, 0, 0, 1]));
    client.send(&frame(PING, 0, 0, b"8 octets"));
    assert_eq!(client.until(PING), b"8 octets");
    client.send(&request(1));
    assert_eq!(client.until(DATA), b"hello");
    drop(client);
    server.stopped();
}

/// A client that was told to end, because the server stops or after an idle time, and answers that,
/// gets all of its answer, however long it takes; one that says nothing is gone.
#[test]
fn a_client_that_answers_the_goodbye_gets_the_rest_and_a_silent_one_is_gone() {
    const LIMIT: Duration = Duration::from_millis(100);
    const LENGTH: usize = 200_000;
    for (stops, answers) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut http = Http::new().goodbye_timeout(LIMIT);
        if !stops {
            http = http.header_timeout(LIMIT);
        }
        let server = answering(http, vec![b'x'; LENGTH].into());
        let mut client = Client::open(&server);
        client.send(&request(1));
        let (mut got, mut ping) = (0, None);
        // The answer fills the window of flow control, and the rest waits.
        while got < 65_535 || ping.is_none() {
            if got == 65_535 && stops {
                server.stop.set();
            }
            match client.next().expect("a frame") {
                (DATA, _, payload) => got += payload.len(),
                (PING, 0, payload) => ping = Some(payload),
                _ => {}
            }
        }
        if !answers {
            while client.next().is_some() {}
            server.stopped();
            continue;
        }
        client.send(&frame(PING, ACK, 0, &ping.expect("it came")));
        std::thread::sleep(3 * LIMIT);
        let more = 1_000_000_u32.to_be_bytes();
        for stream in [0, 1] {
            client.send(&frame(WINDOW_UPDATE, 0, stream, &more));
        }
        while let Some((kind, _, payload)) = client.next() {
            got += if kind == DATA { payload.len() } else { 0 };
        }
        assert_eq!(got, LENGTH);
        server.stopped();
    }
}

/// Section 3.4: a preface that breaks off ends the connection.
#[test]
fn a_wrong_preface_ends_the_connection() {
    let server = greeting();
    let mut client = server.connect();
    client
        .write_all(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
        .expect("sent");
    let mut client = Client(client);
    while client.next().is_some() {}
    assert!(exchange(&mut server.connect(), GET).ends_with("hello"));
    server.stopped();
}
