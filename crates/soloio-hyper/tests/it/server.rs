//! A server's connections: both versions, limits, clients that are slow or go away.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::pin::Pin;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::rt::{Executor, Read as _, ReadBuf, Write as _};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use soloio::{Error, task_group};
use soloio_hyper::{Http, RequestBody, Spawner};

use crate::support::{Server, answer, curl, exchange, rest};

const SHORT: Duration = Duration::from_millis(50);

pub(crate) const GET: &str = "GET / HTTP/1.1\r\nHost: here\r\n\r\n";

type Answer = Response<Full<Bytes>>;

fn said(status: StatusCode, text: impl Into<Bytes>) -> soloio::Result<Answer> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    Ok(response)
}

/// Answers with how long the body was, or what went wrong with it.
async fn measure(request: Request<RequestBody>) -> soloio::Result<Answer> {
    match request.into_body().collect().await {
        Ok(body) => said(StatusCode::OK, body.to_bytes().len().to_string()),
        Err(Error::TimedOut(_)) => said(StatusCode::REQUEST_TIMEOUT, "too slow"),
        Err(error) => Err(error),
    }
}

/// A server that measures, with these limits.
fn measuring(http: Http) -> Server {
    Server::start(async move |listener, stop, tell| {
        let serve = listener
            .serve(async |stream| http.serve_connection(stream, service_fn(measure)).await)
            .on_error(|_, _| {});
        tell(serve.counters());
        serve.shutdown(stop.wait()).await
    })
}

#[test]
fn a_connection_is_kept_alive_and_pipelined_requests_are_answered() {
    let server = measuring(Http::new());
    let mut client = server.connect();
    for length in [0, 3, 70_000] {
        let body = "x".repeat(length);
        let request =
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
        assert!(exchange(&mut client, &request).ends_with(&format!("\r\n\r\n{length}")));
    }
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert!(exchange(&mut client, chunked).ends_with("\r\n\r\n5"));
    client.write_all(GET.repeat(3).as_bytes()).expect("sent");
    let mut got = String::new();
    while got.matches("200 OK").count() < 3 {
        let mut some = [0; 1000];
        let count = client.read(&mut some).expect("answers");
        got += &String::from_utf8_lossy(&some[..count]);
    }
    drop(client);
    server.until(|counters| counters.active() == 0);
    assert_eq!(server.counters.accepted(), 1);
    server.stopped();
}

/// In pieces of one byte, which say late what is spoken.
#[test]
fn the_version_is_told_however_the_bytes_come() {
    let server = measuring(Http::new());
    for request in [
        GET,
        "PRI is not the preface\r\n\r\n",
        "P / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut client = server.connect();
        for byte in request.bytes() {
            client.write_all(&[byte]).expect("sent");
        }
        let expected = match request.starts_with("PRI") {
            true => "HTTP/1.1 400",
            false => "HTTP/1.1 200",
        };
        assert!(answer(&mut client).starts_with(expected));
    }
    let mut client = server.connect();
    for piece in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".chunks(5) {
        client.write_all(piece).expect("sent");
    }
    let mut settings = [0; 9];
    client.read_exact(&mut settings).expect("its settings");
    assert_eq!(settings[3], 4, "a frame of settings: {settings:?}");
    drop(client);
    server.stopped();
}

#[test]
fn slow_heads_and_idle_connections_end_at_the_limit() {
    let server = measuring(Http::new().header_timeout(SHORT));
    for sent in [
        "",
        "P",
        "GET / HT",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "PRI * HTTP",
    ] {
        let mut client = server.connect();
        client.write_all(sent.as_bytes()).expect("sent");
        let got = rest(&mut client);
        assert_eq!(String::from_utf8_lossy(&got), "", "after {sent:?}");
    }
    let mut client = server.connect();
    exchange(&mut client, GET);
    assert_eq!(rest(&mut client), b"", "idle between two requests");
    server.until(|counters| counters.active() == 0);
    assert_eq!(server.counters.failed(), 0, "that is no error");
    server.stopped();
}

#[test]
fn a_slow_body_is_an_error_of_the_body() {
    let server = measuring(Http::new().stall_timeout(SHORT));
    let mut client = server.connect();
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc";
    let got = exchange(&mut client, request);
    assert!(
        got.starts_with("HTTP/1.1 408") && got.ends_with("too slow"),
        "{got}"
    );
    assert_eq!(
        rest(&mut client),
        b"",
        "what is left of the body is not waited for"
    );
    server.stopped();
}

#[test]
fn a_client_that_does_not_read_ends_at_the_limit() {
    let server = Server::start(async |listener, stop, tell| {
        let http = Http::new().stall_timeout(SHORT);
        let big = async |_| said(StatusCode::OK, vec![0; 100 << 20]);
        let serve = listener
            .serve(async |stream| http.serve_connection(stream, service_fn(big)).await)
            .on_error(|_, _| {});
        tell(serve.counters());
        serve.shutdown(stop.wait()).await
    });
    let mut client = server.connect();
    client.write_all(GET.as_bytes()).expect("sent");
    server.until(|counters| counters.failed() == 1);
    drop(client);
    server.until(|counters| counters.active() == 0);
    server.stopped();
}

#[test]
fn clients_that_go_away_in_any_phase_do_no_harm() {
    let server = measuring(Http::new());
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc";
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for sent in [
        "",
        "GE",
        "GET / HTTP/1.1\r\n",
        post,
        GET,
        preface,
        &preface[..9],
    ] {
        let mut client = server.connect();
        client.write_all(sent.as_bytes()).expect("sent");
    }
    let all = |counters: &soloio::ServeCounters| counters.accepted() == 7 && counters.active() == 0;
    server.until(all);
    assert!(exchange(&mut server.connect(), GET).starts_with("HTTP/1.1 200"));
    server.stopped();
}

/// Requests of HTTP/2 run side by side; the service borrows, and is not `Send`.
#[test]
fn a_service_may_borrow_what_cannot_travel() {
    let server = Server::start(async |listener, stop, tell| {
        let (http, served) = (Http::new(), Cell::new(0));
        let count = async |_: Request<RequestBody>| {
            served.set(served.get() + 1);
            said(StatusCode::OK, served.get().to_string())
        };
        let service = service_fn(count);
        let serve = listener.serve(async |stream| http.serve_connection(stream, &service).await);
        tell(serve.counters());
        serve.shutdown(stop.wait()).await
    });
    let url = format!("http://127.0.0.1:{}/", server.port);
    for (number, version) in ["--http2-prior-knowledge", "--http1.1"].iter().enumerate() {
        let Some(text) = curl(&[version, &url]) else {
            break;
        };
        assert_eq!(text, (number + 1).to_string());
    }
    server.stopped();
}

#[test]
fn an_upgrade_gets_the_connection() {
    let server = Server::start(async |listener, stop, tell| {
        let (http, spawner) = (Http::new(), Spawner::new());
        let upgrade = async |request: Request<RequestBody>| {
            spawner.execute(async move {
                let mut io = hyper::upgrade::on(request).await.expect("upgraded");
                let mut memory = [0; 4];
                let mut buf = ReadBuf::new(&mut memory);
                while buf.filled().len() < 4 {
                    poll_fn(|cx| Pin::new(&mut io).poll_read(cx, buf.unfilled()))
                        .await
                        .expect("data");
                }
                let sent = poll_fn(|cx| Pin::new(&mut io).poll_write(cx, buf.filled())).await;
                assert_eq!(sent.expect("sent"), 4);
                poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx))
                    .await
                    .expect("ended");
            });
            let mut response = Response::new(Full::<Bytes>::default());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert("connection", "upgrade".parse().expect("a value"));
            headers.insert("upgrade", "echo".parse().expect("a value"));
            Ok::<_, Error>(response)
        };
        let service = service_fn(upgrade);
        let serve = listener.serve(async |stream| http.serve_connection(stream, &service).await);
        tell(serve.counters());
        task_group(async |group| {
            let running = group.spawn(spawner.clone().run());
            serve.shutdown(stop.wait()).await?;
            running.cancel();
            Ok(())
        })
        .await
    });
    let mut client = server.connect();
    // What comes behind the head at once is the upgraded protocol's.
    let head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\npi";
    let got = exchange(&mut client, head);
    assert!(got.starts_with("HTTP/1.1 101"), "{got}");
    client.write_all(b"ng").expect("sent");
    assert_eq!(rest(&mut client), b"ping");
    server.stopped();
}
