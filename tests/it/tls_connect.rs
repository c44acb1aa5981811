//! TLS on `connect_tcp`: each of its options enables TLS; a wrong configuration is an error before
//! anything is connected.

use std::future::IntoFuture;
use std::net::TcpListener as StdListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join;
use soloio::tls::{TlsListener, TlsStream, client_config, server_config};
use soloio::{
    Error, Result, TcpListener, TcpStream, block_on, connect_tcp, create_tcp_listener, fail_after,
    task_group,
};

use crate::certs::{Ca, Issued};
use crate::net_support::TempDir;
use crate::support::deadline;

/// So that it may be awaited where futures have to be `Send`, as in the handlers of axum.
#[test]
fn the_future_can_travel() {
    fn travels(future: impl Future + Send) {
        drop(future);
    }
    travels(connect_tcp("localhost", 1).tls().into_future());
}

async fn listener(issued: &Issued) -> TlsListener<'static, TcpListener> {
    let tcp = create_tcp_listener()
        .local_host("127.0.0.1")
        .await
        .expect("a port");
    let config = server_config().certificate(issued.chain.clone(), issued.key());
    TlsListener::new(tcp, config.build().expect("a certificate"))
}

/// Connects to a new listener, and exchanges hello in both directions.
async fn hello<C>(issued: &Issued, connect: impl FnOnce(u16) -> C) -> Result<TlsStream<TcpStream>>
where
    C: IntoFuture<Output = Result<TlsStream<TcpStream>>>,
{
    let listener = listener(issued).await;
    let port = listener.inner().local_addr().port();
    let (server, client) = join(listener.accept(), connect(port).into_future()).await;
    let client = client?;
    let server = server?;
    server.send(b"hello").await?;
    assert_eq!(client.receive().await?, b"hello");
    client.send(b"there").await?;
    assert_eq!(server.receive().await?, b"there");
    Ok(client)
}

fn said<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::Tls(error)) => error.to_string(),
        other => panic!("not an error of TLS: {other:?}"),
    }
}

#[test]
fn a_configuration_is_enough() {
    let _guard = deadline();
    let ca = Ca::new("a CA");
    let issued = ca.server(&["127.0.0.1"]);
    block_on(async {
        let config = client_config().roots(ca.roots()).build().expect("a client");
        // The configuration may be owned or shared.
        let value = (*config).clone();
        let client = hello(&issued, |port| {
            connect_tcp("127.0.0.1", port).tls_config(value)
        });
        let client = client.await.expect("verified");
        assert_eq!(client.version(), "TLSv1.3");
        assert!(client.inner().peer_addr().ip().is_loopback());
        let client = hello(&issued, |port| {
            connect_tcp("127.0.0.1", port).tls_config(config)
        });
        client.await.expect("verified");
    });
}

#[test]
fn the_name_may_be_another_than_the_host() {
    let _guard = deadline();
    let ca = Ca::new("a CA");
    let issued = ca.server(&["example.org"]);
    block_on(async {
        let config = client_config().roots(ca.roots()).build().expect("a client");
        let named = hello(&issued, |port| {
            let tcp = connect_tcp("127.0.0.1", port).local_host("127.0.0.1");
            tcp.tls_hostname("example.org")
                .tls_config(config.clone())
                .local_port(0)
        });
        named.await.expect("verified");
        let connect = |port| connect_tcp("127.0.0.1", port).tls_config(config.clone());
        let text = said(hello(&issued, connect).await);
        assert!(
            text.contains("is not for that name, but for example.org"),
            "{text}"
        );
    });
}

#[test]
fn what_cannot_work_is_told_before_connecting() {
    let _guard = deadline();
    let nobody = StdListener::bind("127.0.0.1:0").expect("a port");
    nobody.set_nonblocking(true).expect("a socket");
    let port = nobody.local_addr().expect("bound").port();
    block_on(async {
        for (name, why) in [
            ("", "it is empty"),
            ("https://localhost/", "it is a URL"),
            ("localhost:443", "without its port"),
            #[cfg(not(feature = "idna"))]
            ("bücher.example", "xn--"),
            ("*.example.org", "without a wildcard"),
        ] {
            let text = said(connect_tcp("127.0.0.1", port).tls_hostname(name).await);
            assert!(text.contains(why) && text.contains(name), "{text}");
        }
        let error = connect_tcp("127.0.0.1", 0).tls().await.expect_err("port 0");
        assert!(!matches!(error, Error::ConnectFailed(_)), "{error}");
    });
    assert!(
        nobody.accept().is_err(),
        "something was connected all the same"
    );
}

/// The options of TCP may follow those of TLS.
#[test]
fn the_options_of_tcp_go_on() {
    let _guard = deadline();
    let ca = Ca::new("a CA");
    let issued = ca.server(&["127.0.0.1"]);
    let prepared = Arc::new(AtomicUsize::new(0));
    block_on(async {
        let config = client_config().roots(ca.roots()).build().expect("a client");
        let client = hello(&issued, |port| {
            let prepared = Arc::clone(&prepared);
            connect_tcp("127.0.0.1", port)
                .tls_config(config)
                .tls()
                .local_host("127.0.0.1")
                .local_port(0)
                .happy_eyeballs_delay(Duration::from_millis(1))
                .prepare(move |_| {
                    prepared.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                })
        });
        let client = client.await.expect("verified");
        assert!(client.inner().local_addr().ip().is_loopback());
        assert_eq!(prepared.load(Ordering::Relaxed), 1);
        // An address that is not this host's, and a refusal by the program.
        let port = client.inner().peer_addr().port();
        let connect = || connect_tcp("127.0.0.1", port).tls();
        let foreign = connect().local_host("192.0.2.1").await;
        let foreign = foreign.expect_err("no address of ours").to_string();
        assert!(foreign.contains("192.0.2.1"), "{foreign}");
        let refused = connect().prepare(|_| Err(std::io::Error::other("not this one")));
        let refused = refused.await.expect_err("refused").to_string();
        assert!(refused.contains("not this one"), "{refused}");
    });
}

#[test]
fn the_error_of_a_handshake_names_the_host() {
    let _guard = deadline();
    let ca = Ca::new("a CA");
    let issued = ca.server(&["another.example"]);
    block_on(async {
        let config = client_config().roots(ca.roots()).build().expect("a client");
        let listener = listener(&issued).await;
        let port = listener.inner().local_addr().port();
        let connect = connect_tcp("localhost", port).tls_config(config);
        let (_, client) = join(listener.accept(), connect.into_future()).await;
        let error = client.expect_err("the certificate is for another name");
        assert!(matches!(error, Error::Tls(_)));
        let expected = format!("TLS with localhost port {port}: the server's certificate is not");
        assert!(error.to_string().starts_with(&expected), "{error}");
    });
}

#[test]
fn an_end_without_a_goodbye_is_allowed_only_when_asked() {
    let _guard = deadline();
    let ca = Ca::new("a CA");
    let issued = ca.server(&["127.0.0.1"]);
    block_on(async {
        let config = client_config().roots(ca.roots()).build().expect("a client");
        for compatible in [true, false] {
            let listener = listener(&issued).await.standard_compatible(compatible);
            let port = listener.inner().local_addr().port();
            let connect = connect_tcp("127.0.0.1", port).tls_config(config.clone());
            let connect = connect.tls_standard_compatible(compatible).into_future();
            let (server, client) = join(listener.accept(), connect).await;
            let (server, client) = (server.expect("ok"), client.expect("ok"));
            assert_eq!(client.is_standard_compatible(), compatible);
            assert_eq!(server.is_standard_compatible(), compatible);
            server.send(b"all of it").await.expect("room");
            // Drops the stream without close_notify.
            drop(server);
            assert_eq!(client.receive().await.expect("data"), b"all of it");
            match client.receive().await {
                Err(Error::Broken(_)) if compatible => {}
                Err(Error::EndOfStream) if !compatible => {}
                other => panic!("compatible {compatible}: {other:?}"),
            }
        }
    });
}

/// Connects with `.tls()` and its variants to a server with the files in this folder.
fn connect_in_each_way(given: &Path) {
    let (chain, key) = (given.join("server.pem"), given.join("server.key"));
    block_on(async {
        for n in 0..4 {
            let tcp = create_tcp_listener()
                .local_host("127.0.0.1")
                .await
                .expect("a port");
            let port = tcp.local_addr().port();
            let config = server_config().certificate_files(&chain, &key).build();
            let listener = TlsListener::new(tcp, config.expect("a certificate"));
            let tcp = connect_tcp("127.0.0.1", port);
            let connect = match n {
                0 => tcp.tls(),
                1 => tcp.tls_hostname("localhost"),
                2 => {
                    // An additional root does not remove the system's roots.
                    let trusting = client_config().system_roots().roots(Ca::new("x").roots());
                    match trusting.build() {
                        Ok(config) => tcp.tls_config(config),
                        Err(error) => panic!("{error}"),
                    }
                }
                _ => tcp.tls_standard_compatible(true),
            };
            // The server's own error is ignored: the test is about the client's.
            let ended = task_group(async |group| {
                group.spawn(async {
                    if let Ok(server) = listener.accept().await {
                        server.send(b"x").await?;
                        server.receive().await.expect_err("nothing comes");
                    }
                    Ok(())
                });
                let client = connect.await?;
                assert_eq!(client.receive().await?, b"x");
                client.close().await
            });
            ended.await.expect("verified");
        }
    });
}

/// Without a configuration the system's roots apply, here those of `SSL_CERT_FILE`. Each of the
/// other options enables TLS by itself.
#[test]
fn the_system_is_asked_whom_to_trust() {
    const TEST: &str = "tls_connect::the_system_is_asked_whom_to_trust";
    const MARK: &str = "SOLOIO_TEST_SYSTEM";
    let _guard = deadline();
    if let Some(given) = std::env::var_os(MARK) {
        connect_in_each_way(Path::new(&given));
        return;
    }
    let dir = TempDir::new();
    let ca = Ca::new("a CA");
    let file = ca.write(dir.all(), "ca");
    ca.server(&["localhost", "127.0.0.1"])
        .write(dir.all(), "server");
    let run = |file: &Path| {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command
            .args(["--exact", TEST, "--nocapture"])
            .env_remove("SSL_CERT_DIR");
        command
            .env(MARK, dir.all())
            .env("SSL_CERT_FILE", file)
            .output()
            .expect("it starts")
    };
    let output = run(&file);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let stranger = Ca::new("a stranger").write(dir.all(), "stranger");
    let output = run(&stranger);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && text.contains("is not trusted"),
        "{text}"
    );
    let output = run(&dir.path("missing"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("SSL_CERT_FILE") && text.contains("cannot be read"),
        "{text}"
    );
}

#[test]
fn a_cancelled_connect_leaves_nothing() {
    let _guard = deadline();
    let ca = Ca::new("a CA");
    // The kernel accepts the connection into the backlog, and no data ever comes.
    let silent = StdListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("bound").port();
    block_on(async {
        let config = client_config().roots(ca.roots()).build().expect("a client");
        let connect = connect_tcp("127.0.0.1", port).tls_config(config);
        let limit = Duration::from_millis(20);
        let late = fail_after(limit, connect)
            .await
            .expect_err("nobody answers");
        assert!(matches!(late, Error::TimedOut(_)), "{late}");
        let (peer, _) = silent.accept().expect("it was connected");
        // Our side has ended: after the ClientHello comes the end, or a reset.
        let mut peer = peer;
        let mut hello = Vec::new();
        std::io::Read::read_to_end(&mut peer, &mut hello).unwrap_or_default();
        assert!(!hello.is_empty());
    });
}
