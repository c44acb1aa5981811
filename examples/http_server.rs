//! An HTTP/1.1 server on `httparse` alone, to copy from, together with `http_wire.rs`.
//!
//! ```text
//! cargo run --release --example http_server [PORT [CERT.pem KEY.pem]]     (8080, no TLS)
//! curl --data-binary @Cargo.toml http://127.0.0.1:8080/echo
//! ```
//!
//! It keeps connections alive, answers pipelined requests in one send, receives and sends bodies
//! with a length or in chunks, limits sizes and times, and shuts down gracefully on SIGTERM and
//! ctrl-c: idle connections are closed, open requests get their answers. `route` is the service.

#[path = "http_wire.rs"]
mod wire;

use std::cell::RefCell;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};
use std::{env, error, mem};

use httparse::{EMPTY_HEADER, Status};
use soloio::tls::{TlsListener, server_config};
use soloio::{
    ByteStream, Error, Event, Listener, Signal, SignalReceiver, Winner, block_on,
    create_tcp_listener, fail_after, open_signal_receiver, race, sleep,
};
use wire::{Body, Failed, HEAD_MAX, HEADERS_MAX, Wire, lists, values};

const BODY_MAX: usize = 64 << 20; // bytes
const UNREAD_MAX: usize = 256 << 10; // bytes of a body that are read only to keep the connection
const IDLE: Duration = Duration::from_secs(60); // between two requests
const REQUEST: Duration = Duration::from_secs(60); // for a request and its answer
const DRAIN: Duration = Duration::from_secs(5); // for requests under way when the server stops

fn main() -> Result<(), Box<dyn error::Error>> {
    let mut args = env::args().skip(1);
    let port = args.next().map_or(Ok(8080), |port| port.parse())?;
    let signals = open_signal_receiver(&[Signal::Terminate, Signal::Interrupt])?;
    block_on(async {
        let listen = create_tcp_listener().local_host("127.0.0.1");
        let tcp = listen.local_port(port).await?;
        if let (Some(cert), Some(key)) = (args.next(), args.next()) {
            let config = server_config().certificate_files(cert, key);
            let config = config.alpn(["http/1.1"]).build()?;
            println!("https {}", tcp.local_addr());
            // HTTP determines the end of a message by itself.
            let tls = TlsListener::new(tcp, config).standard_compatible(false);
            serve(&tls, signals).await
        } else {
            println!("http {}", tcp.local_addr());
            serve(&tcp, signals).await
        }
    })?;
    Ok(())
}

async fn serve<L>(listener: &L, signals: SignalReceiver) -> Result<(), Error>
where
    L: Listener<Stream: ByteStream>,
{
    let stop = Event::new(); // all connections borrow it
    let served = listener.serve(async |client| {
        Connection::new(&client, &stop).requests().await?;
        client.send_eof().await // bytes that are under way arrive: `serve` waits for them
    });
    let stopped = async {
        if signals.receive().await.is_ok() {
            stop.set();
        }
    };
    served.shutdown(stopped).drain(DRAIN).await
}

/// A request's head, and the effect of its answer on the connection.
struct Request {
    method: String,
    target: String,
    keep_alive: bool,
    /// The client accepts chunks, as all clients except those of HTTP/1.0 do.
    chunks: bool,
    /// The client waits for `100 Continue`.
    waits: bool,
    body: Body,
}

struct Connection<'a, S> {
    wire: Wire<&'a S>,
    stop: &'a Event,
    /// The answer to this request has begun.
    begun: bool,
}

impl<'a, S: ByteStream> Connection<'a, S> {
    fn new(stream: &'a S, stop: &'a Event) -> Self {
        let (wire, begun) = (Wire::new(stream), false);
        Self { wire, stop, begun }
    }

    /// The service.
    async fn route(&mut self, request: &mut Request) -> Result<(), Failed> {
        match (&*request.method, &*request.target) {
            ("GET" | "HEAD", "/") => self.answer(request, "200 OK", "Hello, world!\n"),
            ("POST", "/echo") => {
                self.ask_for_body(request);
                self.begin(request, "200 OK", None);
                let mut part = Vec::new();
                while self.part(request, &mut part).await? {
                    self.wire.send_part(&part, request.chunks).await?;
                }
                self.end(request);
            }
            ("POST", "/length") => {
                let mut part = Vec::new();
                while self.part(request, &mut part).await? {}
                let length = request.body.total;
                self.answer(request, "200 OK", &format!("{length}\n"));
            }
            _ => self.answer(request, "404 Not Found", "nothing is here\n"),
        }
        Ok(())
    }

    async fn requests(&mut self) -> Result<(), Error> {
        loop {
            if self.wire.input().is_empty() {
                self.flush().await?;
                match race((self.wire.fill(), self.stop.wait(), sleep(IDLE))).await {
                    Winner::First(Ok(true)) => {}
                    Winner::First(Err(error)) => return Err(error),
                    _ => return Ok(()), // the client has ended or is silent, or the server stops
                }
            }
            self.begun = false;
            let status = match fail_after(REQUEST, self.request()).await {
                Ok(true) => continue,
                Ok(false) => return self.flush().await,
                Err(Failed::Broken(Error::TimedOut(_))) if !self.begun => "408 Request Timeout",
                Err(Failed::Broken(error)) => return Err(error),
                Err(error) if self.begun => {
                    self.flush().await?;
                    return Err(Error::other(error));
                }
                Err(Failed::Malformed) => "400 Bad Request",
                Err(Failed::TooLarge) => "413 Content Too Large",
                Err(Failed::Unsupported) => "501 Not Implemented",
            };
            self.head(status, "content-length: 0\r\n", false);
            return self.flush().await;
        }
    }

    /// Sends the answers; a client that does not read them has as long as for a request.
    async fn flush(&mut self) -> Result<(), Error> {
        fail_after(REQUEST, self.wire.flush()).await
    }

    /// Serves one request; returns true if another one may follow.
    async fn request(&mut self) -> Result<bool, Failed> {
        let mut request = loop {
            if let Some((length, request)) = parse(self.wire.input())? {
                self.wire.consume(length);
                break request;
            }
            self.wire.more().await?;
        };
        request.keep_alive &= !self.stop.is_set();
        self.route(&mut request).await?;
        let (read, mut part) = (request.body.total, Vec::new());
        while request.keep_alive && !request.waits && self.part(&mut request, &mut part).await? {
            request.keep_alive = request.body.total - read <= UNREAD_MAX;
        }
        Ok(request.keep_alive && !request.waits)
    }

    /// Sends `100 Continue` to a client that waits for it, unless the answer has begun.
    fn ask_for_body(&mut self, request: &mut Request) {
        if !self.begun && mem::take(&mut request.waits) && self.wire.input().is_empty() {
            self.wire.output.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    /// Receives the next part of the request's body; returns false at its end.
    async fn part(&mut self, request: &mut Request, part: &mut Vec<u8>) -> Result<bool, Failed> {
        self.ask_for_body(request);
        self.wire.part(&mut request.body, part).await
    }

    fn answer(&mut self, request: &mut Request, status: &str, body: &str) {
        self.begin(request, status, Some(body.len()));
        if request.method != "HEAD" {
            self.wire.output.extend(body.as_bytes());
        }
    }

    /// Begins an answer of `length` bytes, or of parts up to `end`.
    fn begin(&mut self, request: &mut Request, status: &str, length: Option<usize>) {
        request.keep_alive &= length.is_some() || request.chunks;
        let framing = match length {
            Some(length) => &format!("content-length: {length}\r\n"),
            None if request.chunks => "transfer-encoding: chunked\r\n",
            None => "", // the end of the connection is the end of the body
        };
        self.head(status, framing, request.keep_alive);
    }

    fn end(&mut self, request: &Request) {
        if request.chunks {
            self.wire.output.extend(b"0\r\n\r\n");
        }
    }

    fn head(&mut self, status: &str, framing: &str, keep_alive: bool) {
        self.begun = true;
        let connection = if keep_alive { "keep-alive" } else { "close" };
        DATE.with_borrow_mut(|(of, text)| {
            let now = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
            if *of != Some(now) {
                (*of, *text) = (Some(now), date(now));
            }
            let head = format_args!(
                "HTTP/1.1 {status}\r\ndate: {text}\r\nconnection: {connection}\r\n{framing}\r\n"
            );
            let written = self.wire.output.write_fmt(head);
            written.expect("a vector takes it");
        });
    }
}

/// Returns a request's head and its length, or `None` if the head is not complete.
fn parse(input: &[u8]) -> Result<Option<(usize, Request)>, Failed> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let length = match head.parse(input)? {
        Status::Complete(length) if length <= HEAD_MAX => length,
        Status::Partial if input.len() <= HEAD_MAX => return Ok(None),
        _ => return Err(Failed::TooLarge),
    };
    let (headers, new) = (&*head.headers, head.version == Some(1));
    let hosts = values(headers, "host").count();
    let body = Body::of(headers, BODY_MAX, false)?;
    let chunked_by_old = !new && values(headers, "transfer-encoding").next().is_some();
    if hosts > 1 || hosts == 0 && new || chunked_by_old {
        return Err(Failed::Malformed);
    }
    let kept_by_old = lists(headers, "connection", "keep-alive");
    let request = Request {
        method: head.method.unwrap_or_default().to_owned(),
        target: head.path.unwrap_or_default().to_owned(),
        keep_alive: !lists(headers, "connection", "close") && (new || kept_by_old),
        chunks: new,
        waits: new && lists(headers, "expect", "100-continue"),
        body,
    };
    Ok(Some((length, request)))
}

thread_local! {
    /// The present second, and its date: it takes longer than the rest of a head.
    static DATE: RefCell<(Option<u64>, String)> = const { RefCell::new((None, String::new())) };
}

/// Formats seconds since 1970 as HTTP dates (RFC 9110, 5.6.7).
fn date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb",
    ];
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March here, so that a leap day is the last day of one.
    let day = days + 719_468; // since the March of the year 0
    let (era, day) = (day / 146_097, day % 146_097); // of 400 years
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let year = 400 * era + year + month / 10;
    format!(
        "{}, {:02} {} {year} {:02}:{:02}:{:02} GMT",
        DAYS[days as usize % 7],
        day - (153 * month + 2) / 5 + 1,
        MONTHS[month as usize],
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}
