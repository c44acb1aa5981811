//! The end of a server: idle connections at once, others after their answers, or cancelled.

use std::cell::Cell;
use std::convert::Infallible;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use hyper::service::service_fn;
use hyper::{Request, Response};
use soloio::{ThreadEvent, sleep};
use soloio_hyper::{Http, RequestBody};

use crate::server::GET;
use crate::support::{Server, answer, exchange, rest};

/// The time that this thread has used of a processor, if the system tells.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// A server whose answers to `/slow` wait for the event; its end may take that much of a processor.
fn waiting_for(slow: &ThreadEvent, drain: Duration, most: Duration) -> Server {
    let slow = slow.clone();
    Server::start(async move |listener, stop, tell| {
        let http = Http::new().goodbye_timeout(Duration::from_millis(100));
        let answer = async |request: Request<RequestBody>| {
            let mut text = "done";
            if request.uri().path() == "/slow" && slow.wait().await.is_err() {
                text = "cancelled";
            }
            Ok::<_, Infallible>(Response::new(String::from(text)))
        };
        let service = service_fn(answer);
        let serve = listener.serve(async |stream| http.serve_connection(stream, &service).await);
        tell(serve.counters());
        let begun = Cell::new(Duration::ZERO);
        let stopped = async {
            stop.wait().await.expect("it runs");
            begun.set(cpu());
        };
        let served = serve.shutdown(stopped).drain(drain).await;
        let took = cpu() - begun.get();
        assert!(took <= most, "the end took {took:?} of a processor");
        served
    })
}

fn waiting(slow: &ThreadEvent, drain: Duration) -> Server {
    waiting_for(slow, drain, Duration::MAX)
}

const LONG: Duration = Duration::from_secs(3600);
const SLOW: &str = "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn idle_connections_end_at_once() {
    // In time to spare: 0.5 ms for each in this build; an optimised one takes 0.02 ms.
    let most = Duration::from_millis(150);
    let server = waiting_for(&ThreadEvent::new(), LONG, most);
    let mut clients: Vec<TcpStream> = (0..300).map(|_| server.connect()).collect();
    for client in &mut clients {
        exchange(client, GET);
    }
    let silent = server.connect();
    server.until(|counters| counters.active() == 301);
    let counters = server.counters.clone();
    let took = server.stopped();
    println!("300 idle connections, and one that said nothing, ended within {took:?}");
    // A machine that is busy with other tests may take its time; a limit would take 30 s.
    assert!(took < Duration::from_secs(10), "{took:?}");
    for mut client in clients.into_iter().chain([silent]) {
        assert_eq!(rest(&mut client), b"");
    }
    assert_eq!(counters.failed(), 0);
}

#[test]
fn a_request_that_runs_has_its_answer_and_then_the_connection_ends() {
    let slow = ThreadEvent::new();
    let server = waiting(&slow, LONG);
    let mut client = server.connect();
    client.write_all(SLOW.as_bytes()).expect("sent");
    let mut idle = server.connect();
    exchange(&mut idle, GET);
    server.stop.set();
    // The idle one has ended, so the server has told all of them.
    assert_eq!(rest(&mut idle), b"");
    slow.set();
    let got = answer(&mut client);
    assert!(
        got.contains("connection: close\r\n") && got.ends_with("done"),
        "{got}"
    );
    assert_eq!(rest(&mut client), b"");
    server.ended();
}

/// It came before the stop, and was accepted after it.
#[test]
fn what_waits_in_the_backlog_is_answered() {
    let server = Server::start(async |listener, stop, tell| {
        let hello = async |_: Request<RequestBody>| {
            Ok::<_, Infallible>(Response::new(String::from("hello")))
        };
        let http = Http::new();
        let service = service_fn(hello);
        let serve = listener.serve(async |stream| http.serve_connection(stream, &service).await);
        tell(serve.counters());
        stop.wait().await?;
        serve.shutdown(std::future::ready(())).await
    });
    let mut clients: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(GET.as_bytes()).expect("sent");
    }
    server.stop.set();
    for client in &mut clients {
        let got = answer(client);
        assert!(got.ends_with("hello"), "{got}");
        assert_eq!(rest(client), b"");
    }
    server.stopped();
}

#[test]
fn what_outstays_the_limit_is_told_so() {
    let server = waiting(&ThreadEvent::new(), Duration::from_millis(20));
    let mut client = server.connect();
    client.write_all(SLOW.as_bytes()).expect("sent");
    let mut idle = server.connect();
    exchange(&mut idle, GET);
    let counters = server.counters.clone();
    server.stopped();
    rest(&mut client);
    assert_eq!(counters.failed(), 0, "a cancel is no failure");
}

/// With the connection inside the tasks of a group, as HTTP/2 has it.
#[test]
fn http2_connections_end_too() {
    let server = waiting(&ThreadEvent::new(), LONG);
    let mut client = server.connect();
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    client.write_all(hello).expect("sent");
    let mut settings = [0; 9];
    std::io::Read::read_exact(&mut client, &mut settings).expect("its settings");
    server.stop.set();
    // It says goodbye (a frame of type 7), and asks by a ping whether that has come.
    let mut got = Vec::new();
    while !frames(&got).contains(&7) {
        let mut some = [0; 1000];
        let count = std::io::Read::read(&mut client, &mut some).expect("frames");
        assert!(count > 0, "an end without a goodbye: {got:?}");
        got.extend(&some[..count]);
    }
    drop(client);
    server.ended();
}

/// The goodbye asks by a ping whether it has come: a client that says nothing at all held the
/// server for 50 s, until hyper's own pings ended it.
#[test]
fn an_http2_client_that_never_answers_a_ping_holds_nothing() {
    let server = waiting(&ThreadEvent::new(), LONG);
    let mut client = server.connect();
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    client.write_all(hello).expect("sent");
    let mut settings = [0; 9];
    std::io::Read::read_exact(&mut client, &mut settings).expect("its settings");
    let counters = server.counters.clone();
    let took = server.stopped();
    println!("a silent client of HTTP/2 was waited for {took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(frames(&rest(&mut client)).contains(&7), "a goodbye");
    assert_eq!(counters.failed(), 0);
}

/// The types of the frames that are there in full, behind those of the first `SETTINGS`' payload.
fn frames(bytes: &[u8]) -> Vec<u8> {
    // The payload of the settings came without its head, which was read before.
    let mut types = Vec::new();
    for skip in (0..bytes.len()).step_by(6) {
        let mut at = skip;
        types.clear();
        while let Some(head) = bytes.get(at..at + 9) {
            let length =
                usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            types.push(head[3]);
            at += 9 + length;
        }
        if at == bytes.len() && types.iter().all(|kind| *kind < 10) {
            return types;
        }
    }
    types.clear();
    types
}

/// The future of a connection holds nothing of the loop: a server may also be dropped.
#[test]
fn a_server_that_is_dropped_drops_its_connections() {
    let server = Server::start(async |listener, stop, tell| {
        let http = Http::new();
        let slow = async |_: Request<RequestBody>| {
            sleep(LONG).await.map_err(|error| error.to_string())?;
            Ok::<_, String>(Response::new(String::new()))
        };
        let service = service_fn(slow);
        let serve = listener.serve(async |stream| http.serve_connection(stream, &service).await);
        tell(serve.counters());
        let mut serve = std::pin::pin!(serve.into_future());
        let mut stop = std::pin::pin!(stop.wait());
        std::future::poll_fn(|cx| match stop.as_mut().poll(cx) {
            std::task::Poll::Ready(stopped) => std::task::Poll::Ready(stopped),
            std::task::Poll::Pending => serve.as_mut().poll(cx),
        })
        .await
    });
    let mut client = server.connect();
    client.write_all(GET.as_bytes()).expect("sent");
    let mut second = server.connect();
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    second.write_all(hello).expect("sent");
    server.until(|counters| counters.active() == 2);
    server.stopped();
    rest(&mut client);
    rest(&mut second);
}
