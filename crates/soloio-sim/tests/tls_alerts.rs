//! Alerts: whatever one side cannot accept, the other one hears of, in the handshake and later.

mod certificate;

use std::cell::Cell;

use soloio::tls::TlsStream;
use soloio::{Error, Result, TcpStream, connect_tcp, create_tcp_listener, join, task_group};
use soloio_sim::run;

use crate::certificate::configurations;

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = create_tcp_listener().local_host("127.0.0.1").await;
    let listener = listener.expect("a port");
    let port = listener.local_addr().port();
    let (client, server) = join((connect_tcp("127.0.0.1", port), listener.accept())).await;
    (client.expect("connected"), server.expect("accepted"))
}

/// Passes bytes on, and changes the last one of those that come next if `spoil` is set.
async fn pass(from: &TcpStream, to: &TcpStream, spoil: &Cell<bool>) -> Result<()> {
    while let Some(mut bytes) = from.next().await? {
        if spoil.take() {
            *bytes.last_mut().expect("not empty") ^= 1;
        }
        to.send(&bytes).await?;
    }
    to.send_eof().await
}

/// The error has to be one of TLS: an alert has come. A break would have no reason.
#[track_caller]
fn expect_alert<T>(whose: &str, got: Result<T>) {
    match got {
        Err(Error::Tls(error)) => {
            let text = error.to_string();
            assert!(text.contains("alert"), "{whose}: no alert, but {text}");
        }
        Err(error) => panic!("{whose}: no alert, but {error}"),
        Ok(_) => panic!("{whose}: no error"),
    }
}

#[test]
fn a_refused_certificate_is_told() {
    run(async {
        let ((_, config), (trusts_another, _)) = (configurations(), configurations());
        let (near, far) = tcp().await;
        let server = async {
            let stream = TlsStream::server(far, config).await?;
            stream.receive().await
        };
        let client = TlsStream::client(near, "server", trusts_another);
        let (server, client) = join((server, client)).await;
        assert!(matches!(client, Err(Error::Tls(_))), "{client:?}");
        expect_alert("the server", server);
    });
}

/// A byte is changed on the way to one side, which stays open; the other one hears why.
async fn spoil(to_server: bool) -> Result<()> {
    let (client_config, server_config) = configurations();
    let ((a, near), (far, b)) = (tcp().await, tcp().await);
    let (there, back) = (Cell::new(false), Cell::new(false));
    task_group(async |group| {
        group.spawn(pass(&near, &far, &there));
        group.spawn(pass(&far, &near, &back));
        let client = TlsStream::client(a, "server", client_config).into_future();
        let server = TlsStream::server(b, server_config).into_future();
        let (client, server) = join((client, server)).await;
        let (client, server) = (client?, server?);
        // Both ways are in use: the server's tickets have come, too.
        client.send(b"a question").await?;
        assert_eq!(server.receive().await?, b"a question");
        server.send(b"an answer").await?;
        assert_eq!(client.receive().await?, b"an answer");
        let (sender, victim, spoils) = match to_server {
            true => (&client, &server, &there),
            false => (&server, &client, &back),
        };
        spoils.set(true);
        sender.send(b"spoilt").await?;
        let got = victim.receive().await;
        assert!(matches!(got, Err(Error::Tls(_))), "{got:?}");
        expect_alert("the sender", sender.receive().await);
        group.cancel();
        Ok(())
    })
    .await
}

#[test]
fn a_spoilt_record_is_told() {
    run(spoil(true)).expect("told");
    run(spoil(false)).expect("told");
}
