//! The pooled client: against itself over TCP and TLS, and against Python's server.

use std::cell::Cell;
use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri, Version};
use hyper_util::client::legacy::Client;
use soloio::tls::{TlsListener, client_config, rustls, server_config};
use soloio::{
    Error, Result, ThreadEvent, block_on, create_tcp_listener, fail_after, task_group, yield_now,
};
use soloio_hyper::{Connector, Http, RequestBody, Spawner, client_builder};

type Pooled = Client<Connector, Full<Bytes>>;

async fn echo(
    request: Request<RequestBody>,
) -> std::result::Result<Response<RequestBody>, Infallible> {
    Ok(Response::new(request.into_body()))
}

/// Runs `body` with a client, within a minute.
fn with_client<T>(
    connector: impl FnOnce(Connector) -> Connector,
    body: impl AsyncFnOnce(Pooled) -> Result<T>,
) -> Result<T> {
    let all = task_group(async |group| {
        let spawner = Spawner::new();
        let running = group.spawn(spawner.clone().run());
        let connector = connector(Connector::new(&spawner));
        let done = body(client_builder(&spawner).build(connector)).await?;
        running.cancel();
        Ok(done)
    });
    block_on(fail_after(Duration::from_secs(60), all))
}

async fn whole(body: Incoming) -> Result<Bytes> {
    let collected = body.collect().await.map_err(Error::other)?;
    Ok(collected.to_bytes())
}

fn uri(text: &str) -> Uri {
    text.parse().expect("a URI")
}

/// Its connections would live there, so no request is possible.
#[test]
fn a_spawner_that_does_not_run_is_an_error_of_the_connect() {
    let asked: Result<()> = block_on(async {
        let listener = create_tcp_listener().local_host("127.0.0.1").await?;
        let to = uri(&format!("http://{}/", listener.local_addr()));
        let spawner = Spawner::new();
        let connector = Connector::new(&spawner).connect_timeout(Duration::from_millis(1));
        let client: Pooled = client_builder(&spawner).build(connector);
        let failed = client.get(to).await.expect_err("it cannot connect");
        let mut text = String::new();
        let mut cause: Option<&dyn std::error::Error> = Some(&failed);
        while let Some(error) = cause {
            text += &format!("{error}; ");
            cause = error.source();
        }
        assert!(text.contains("`Spawner::run` does not run"), "{text}");
        Ok(())
    });
    asked.expect("all went well");
}

#[test]
fn a_connection_is_used_again() {
    let fetched = with_client(
        |connector| connector,
        async |client| {
            let listener = create_tcp_listener().local_host("127.0.0.1").await?;
            let to = uri(&format!("http://{}/", listener.local_addr()));
            let http = Http::new();
            let serve = listener
                .serve(async |stream| http.serve_connection(stream, service_fn(echo)).await)
                .on_error(|_, _| {});
            let counters = serve.counters();
            task_group(async |group| {
                let server = group.spawn(serve);
                for length in [0, 5, 1_000_000] {
                    let body = Bytes::from(vec![b'x'; length]);
                    let request = Request::post(to.clone()).body(Full::new(body.clone()));
                    let request = request.expect("a request");
                    let answer = client.request(request).await.map_err(Error::other)?;
                    assert!(whole(answer.into_body()).await? == body);
                }
                server.cancel();
                Ok(())
            })
            .await?;
            Ok(counters.accepted())
        },
    );
    assert_eq!(fetched.expect("all went well"), 1);
}

#[test]
fn https_agrees_on_http2_and_shares_one_connection() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let key = made.signing_key.serialize_der().try_into().expect("a key");
    let config = server_config().certificate(vec![made.cert.der().clone()], key);
    let config = config
        .alpn(["h2", "http/1.1"])
        .build()
        .expect("a configuration");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let trust = client_config()
        .roots(roots)
        .alpn(["h2", "http/1.1"])
        .build();
    let trust = trust.expect("a configuration");
    let fetched = with_client(
        |connector| connector.tls_config(Arc::clone(&trust)),
        async |client| {
            let tcp = create_tcp_listener().local_host("127.0.0.1").await?;
            let to = uri(&format!("https://localhost:{}/", tcp.local_addr().port()));
            let listener = TlsListener::new(tcp, config);
            let http = Http::new();
            let serve = listener
                .serve(async |stream| http.serve_connection(stream, service_fn(echo)).await)
                .on_error(|_, _| {});
            let counters = serve.counters();
            let fetch = async |length: usize| -> Result<()> {
                let body = Bytes::from(vec![b'x'; length]);
                let request = Request::post(to.clone()).body(Full::new(body.clone()));
                let request = request.expect("a request");
                let answer = client.request(request).await.map_err(Error::other)?;
                assert_eq!(answer.version(), Version::HTTP_2);
                assert!(whole(answer.into_body()).await? == body);
                Ok(())
            };
            task_group(async |group| {
                let server = group.spawn(serve);
                fetch(1).await?;
                task_group(async |group| {
                    for number in 0..100 {
                        group.spawn(fetch(number * 1_000));
                    }
                    Ok(())
                })
                .await?;
                server.cancel();
                Ok(())
            })
            .await?;
            Ok(counters.accepted())
        },
    );
    assert_eq!(fetched.expect("all went well"), 1);
}

#[test]
fn what_cannot_be_reached_is_an_error_and_what_is_slow_is_cut() {
    let done = with_client(
        |connector| connector.connect_timeout(Duration::from_millis(20)),
        async |client| {
            let closed = std::net::TcpListener::bind("127.0.0.1:0")?;
            let address = closed.local_addr()?;
            drop(closed);
            let refused = client.get(uri(&format!("http://{address}/"))).await;
            assert!(refused.expect_err("nobody listens").is_connect());
            // It accepts, and never says a word: not even to a handshake.
            let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
            let address = silent.local_addr()?;
            let tls = client.get(uri(&format!("https://{address}/"))).await;
            assert!(tls.expect_err("no handshake").is_connect());
            let get = async {
                let answer = client.get(uri(&format!("http://{address}/"))).await;
                answer.map_err(Error::other)
            };
            let cut = fail_after(Duration::from_millis(20), get).await;
            assert!(matches!(cut, Err(Error::TimedOut(_))));
            Ok(())
        },
    );
    done.expect("all went well");
}

#[test]
fn python_serves_it() {
    let folder = env!("CARGO_MANIFEST_DIR");
    let python = Command::new("python3")
        .args([
            "-u",
            "-m",
            "http.server",
            "0",
            "--bind",
            "127.0.0.1",
            "--directory",
            folder,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut python) = python else {
        eprintln!("there is no python3: not tested against it");
        return;
    };
    let mut line = String::new();
    let stdout = python.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let url = line
        .split(['(', ')'])
        .nth(1)
        .expect("its address")
        .to_owned();
    let fetched = with_client(
        |connector| connector,
        async |client| {
            let answer = client.get(uri(&format!("{url}Cargo.toml"))).await;
            whole(answer.map_err(Error::other)?.into_body()).await
        },
    );
    python.kill().expect("it runs");
    python.wait().expect("it ends");
    let own = std::fs::read(format!("{folder}/Cargo.toml")).expect("a file");
    assert!(fetched.expect("all went well") == own);
}

/// By HTTP/2 and prior knowledge: all run side by side on one connection.
#[test]
fn requests_that_run_have_their_answers_when_the_server_stops() {
    let done = block_on(fail_after(Duration::from_secs(60), async {
        let (begun, stop, go) = (Cell::new(0), ThreadEvent::new(), ThreadEvent::new());
        let all_begun = ThreadEvent::new();
        let slow = async |request: Request<RequestBody>| {
            begun.set(begun.get() + 1);
            if begun.get() == 10 {
                all_begun.set();
            }
            go.wait().await?;
            Ok::<_, Error>(Response::new(request.into_body()))
        };
        let listener = create_tcp_listener().local_host("127.0.0.1").await?;
        let to = uri(&format!("http://{}/", listener.local_addr()));
        let (http, service) = (Http::new(), service_fn(slow));
        // The client may be gone before it has read the last goodbye, which is told.
        let serve = listener
            .serve(async |stream| http.serve_connection(stream, &service).await)
            .on_error(|_, _| {});
        let counters = serve.counters();
        task_group(async |group| {
            let spawner = Spawner::new();
            let running = group.spawn(spawner.clone().run());
            let server = group.spawn(serve.shutdown(stop.wait()));
            let client: Pooled = client_builder(&spawner)
                .http2_only(true)
                .build(Connector::new(&spawner));
            let fetch = async || -> Result<()> {
                let answer = client.get(to.clone()).await.map_err(Error::other)?;
                whole(answer.into_body()).await.map(drop)
            };
            task_group(async |group| {
                for _ in 0..10 {
                    group.spawn(fetch());
                }
                all_begun.wait().await?;
                stop.set();
                // The server has told the client, and the client has answered.
                for _ in 0..10 {
                    yield_now().await?;
                }
                go.set();
                Ok(())
            })
            .await?;
            server.await?;
            running.cancel();
            Ok(())
        })
        .await?;
        assert_eq!(counters.accepted(), 1);
        Ok::<_, Error>(())
    }));
    done.expect("all went well");
}
