//! The handshakes of a listener: when one has to give its place to another, and when the hook is
//! called.

use std::cell::Cell;
use std::future::IntoFuture;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use soloio::tls::rustls::version::TLS13;
use soloio::tls::{TlsListener, TlsStream};
use soloio::{Error, Listener, TcpStream, connect_tcp, sleep};

use crate::net_support::{polled, refused, run, tcp_listener, tcp_pair, turns};
use crate::support::poll_once;
use crate::tls_support::{NAME, client_config, server_config, server_of};

/// The first message of a client.
async fn hello() -> Vec<u8> {
    let (near, far) = tcp_pair().await;
    let mut client = pin!(TlsStream::client(near, NAME, client_config()).into_future());
    assert!(poll_once(client.as_mut()).await.is_pending());
    far.receive().await.expect("a first message")
}

/// A place that was offered and then not needed any more stayed on offer: a later handshake that
/// took a second was ended for it, although no connection waited.
#[test]
fn a_handshake_keeps_a_place_that_no_other_waits_for() {
    run(async {
        let hello = hello().await;
        let listener = TlsListener::new(tcp_listener().await, server_config()).max_handshakes(1);
        let port = listener.inner().local_addr().port();
        let client = connect_tcp("127.0.0.1", port).await.expect("connects");
        let mut shaking = pin!(listener.accept_begin().await.expect("a connection"));
        for _ in 0..5 {
            assert!(poll_once(shaking.as_mut()).await.is_pending());
            turns(1).await;
        }
        // Silent for longer than 100 ms.
        sleep(Duration::from_millis(101)).await.expect("waited");
        assert!(poll_once(shaking.as_mut()).await.is_pending());
        for speaks in [true, false] {
            // Another accept begins to wait, and is dropped before the handshake notices.
            let mut accept = Box::pin(listener.accept_begin());
            assert!(poll_once(accept.as_mut()).await.is_pending());
            drop(accept);
            if speaks {
                client.send(&hello).await.expect("sent");
            }
            turns(5).await;
            assert!(poll_once(shaking.as_mut()).await.is_pending());
            if speaks {
                // Slow: longer than a second.
                sleep(Duration::from_millis(1_001)).await.expect("waited");
                assert!(poll_once(shaking.as_mut()).await.is_pending());
                assert!(poll_once(shaking.as_mut()).await.is_pending());
            }
        }
        // It has to leave when one does wait.
        let mut accept = pin!(listener.accept_begin());
        assert!(poll_once(accept.as_mut()).await.is_pending());
        let ended = shaking.await.map(drop).expect_err("it is slow").to_string();
        assert!(ended.contains("max_handshakes"), "{ended}");
        let next = connect_tcp("127.0.0.1", port).await.expect("connects");
        drop(accept.await.expect("there is a place"));
        drop(next);
    });
}

/// A client that sent anything but TLS kept its place for a second after its handshake had failed,
/// while its connection was closed.
#[test]
fn a_handshake_that_has_failed_gives_its_place_back() {
    run(async {
        let failed = Cell::new(0);
        let listener = TlsListener::new(tcp_listener().await, server_config())
            .max_handshakes(1)
            .on_handshake_error(|_, _: &TcpStream| failed.set(failed.get() + 1));
        let port = listener.inner().local_addr().port();
        let client = connect_tcp("127.0.0.1", port).await.expect("connects");
        let mut shaking = pin!(listener.accept_begin().await.expect("a connection"));
        client.send(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
        while failed.get() == 0 {
            assert!(poll_once(shaking.as_mut()).await.is_pending());
            turns(1).await;
        }
        // The client has not ended, so its connection is not closed yet.
        assert!(poll_once(shaking.as_mut()).await.is_pending());
        let next = connect_tcp("127.0.0.1", port).await.expect("connects");
        let begun = polled(100, listener.accept_begin()).await;
        drop(begun.expect("there is a place").expect("a connection"));
        drop((next, client));
        refused!(shaking.await.map(drop), Error::Tls(_));
    });
}

/// A handshake that cannot even begin has failed, too: with a configuration made with rustls.
#[test]
fn a_configuration_that_cannot_be_used_is_told_to_the_hook() {
    run(async {
        let mut config = server_of(&[&TLS13]);
        config.max_fragment_size = Some(1);
        let told = Cell::new(None);
        let listener = TlsListener::new(tcp_listener().await, Arc::new(config)).on_handshake_error(
            |error, below: &TcpStream| {
                told.set(Some((error.to_string(), below.peer_addr())));
            },
        );
        let port = listener.inner().local_addr().port();
        let client = connect_tcp("127.0.0.1", port).await.expect("connects");
        let ended = listener.accept().await.map(drop);
        refused!(ended, Error::Tls(_));
        let (text, peer) = told.take().expect("it is called");
        assert_eq!(text, ended.expect_err("as above").to_string());
        assert_eq!(peer, client.local_addr());
    });
}
