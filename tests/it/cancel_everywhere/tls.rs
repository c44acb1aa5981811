//! Cancels the ends of TLS streams, their server, and connects with TLS.
//!
//! The state after a cut at each of a stream's waits is checked in `tls_cancel.rs`.

use futures_util::future::join;
use soloio::tls::{TlsListener, TlsStream};
use soloio::{Error, MemoryStream, connect_tcp, create_memory_byte_stream};

use super::everywhere;
use super::faces::is_done;
use crate::net_support::{polled, tcp_listener, turns};
use crate::support::{Counter, forever};
use crate::tls_support::{NAME, client_config, server_config, tls};

pub(super) type Stream = TlsStream<MemoryStream>;

pub(super) async fn pair() -> (Stream, Stream) {
    tls(async { create_memory_byte_stream(20_000) }).await
}

/// Covers: TlsStream::send_eof, TlsStream::close.
#[test]
fn ends() {
    everywhere("cancel_everywhere::tls::ends", async |cut| {
        let (a, b): (Stream, Stream) = pair().await;
        let said = is_done(cut.apply(a.send_eof()).await);
        let partner = async {
            let end = b.next().await;
            drop(b);
            end
        };
        let (closed, end) = join(cut.apply(a.close()), partner).await;
        // A close_notify that was cut short is no orderly end.
        assert!(matches!(end, Ok(None) | Err(Error::Broken(_))));
        said & is_done(closed)
    });
}

/// Covers: TlsListener::serve, TlsListener::serve_with.
#[test]
fn servers() {
    everywhere("cancel_everywhere::tls::servers", async |cut| {
        let unused = TlsListener::new(tcp_listener().await, server_config());
        unused.abort();
        let handler = async |_| Ok::<_, Error>(());
        let refused = cut.apply(unused.serve_with(handler)).await;
        assert!(refused.is_none_or(|ended| matches!(ended, Err(Error::Closed))));
        let listener = TlsListener::new(tcp_listener().await, server_config());
        let port = listener.inner().local_addr().port();
        let handlers = Counter::new();
        let serve = listener.serve(async |client| {
            let _held = handlers.hold();
            client.send(b"hi").await?;
            forever().await;
            Ok(())
        });
        let partner = async {
            turns(2).await;
            let client = connect_tcp("127.0.0.1", port).await.expect("connects");
            let client = TlsStream::client(client, NAME, client_config());
            // A server that was cut before its accept leaves the client in the backlog.
            let client = polled(20, client).await;
            turns(3).await;
            listener.abort();
            client
        };
        let (served, client) = join(cut.apply(serve), partner).await;
        assert_eq!(handlers.get(), 0, "its connections end with the server");
        if let Some(Ok(client)) = client {
            while client.receive().await.is_ok() {}
        }
        if let Some(served) = &served {
            assert!(matches!(served, Err(Error::Closed)), "{served:?}");
        }
        served.is_some()
    });
}

/// Covers: ConnectTcp::tls, ConnectTcp::tls_config, ConnectTcp::tls_hostname,
/// ConnectTcp::tls_standard_compatible.
#[test]
fn connects() {
    everywhere("cancel_everywhere::tls::connects", async |cut| {
        let mut done = true;
        for how in 0..4 {
            let listener = TlsListener::new(tcp_listener().await, server_config());
            let port = listener.inner().local_addr().port();
            let connect = async {
                let tcp = connect_tcp("127.0.0.1", port);
                let tls = match how {
                    0 => tcp.tls(),
                    1 => tcp.tls_config(client_config()),
                    2 => tcp.tls_hostname(NAME),
                    _ => tcp.tls_standard_compatible(false),
                };
                let client = cut.apply(tls.tls_config(client_config())).await;
                // The client may not even have reached the server.
                listener.abort();
                client.map(|client| client.expect("a handshake"))
            };
            // The server may accept a connection that has ended, or none.
            let (client, _server) = join(connect, listener.accept()).await;
            done &= client.is_some();
        }
        done
    });
}
