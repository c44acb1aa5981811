//! Cancels the ends of TLS streams, their server, connects with TLS, and all operations over TLS in
//! TLS.
//!
//! The state after a cut at each of a stream's waits is checked in `tls_cancel.rs`.

use futures_util::future::join;
use soloio::tls::{TlsListener, TlsStream};
use soloio::{Error, MemoryStream, connect_tcp, create_memory_byte_stream};

use super::faces::is_done;
use super::{Cut, Send, cancelled_send_after, everywhere};
use crate::net_support::{check_numbered, numbered, polled, tcp_listener, turns};
use crate::support::{Counter, forever};
use crate::tls_support::{NAME, client_config, server_config, tls, tls_over};

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

/// TLS in TLS over a stream that takes very little at once: after a cut, bytes are left in each of
/// the layers.
async fn layers() -> (TlsStream<Stream>, TlsStream<Stream>) {
    let lower = tls(async { create_memory_byte_stream(16) }).await;
    tls_over(lower, true).await
}

/// The peer sends and ends; a cut receive loses nothing, and leaves the other direction usable.
async fn cut_receive(cut: Cut, into: bool) -> bool {
    let (a, b) = layers().await;
    let data = numbered(0, 100);
    let partner = async {
        b.send(&data).await.expect("sent");
        b.send_eof().await.expect("ended");
        b.receive().await.expect("the other direction")
    };
    let receive = async {
        let mut room = [0; 7];
        let got = match into {
            true => {
                let got = cut.apply(a.receive_into(&mut room)).await;
                got.map(|got| got.expect("bytes").to_vec())
            }
            false => cut.apply(a.receive()).await.map(|got| got.expect("bytes")),
        };
        let done = got.is_some();
        let mut all = got.unwrap_or_default();
        while let Some(more) = a.next().await.expect("an orderly end") {
            all.extend(more);
        }
        assert_eq!(all, data, "nothing lost, nothing doubled");
        a.send(b"!").await.expect("sent");
        done
    };
    let (done, answer) = join(receive, partner).await;
    assert_eq!(answer, b"!");
    done
}

/// D7.
///
/// Covers: ByteReceiveStream::receive, ByteReceiveStream::receive_into, ByteSendStream::send,
/// ByteSendStream::send_from, ByteSendStream::send_vectored.
#[test]
fn layers_receive_and_send() {
    everywhere(
        "cancel_everywhere::tls::layers_receive_and_send",
        async |cut| {
            let mut done = true;
            for into in [false, true] {
                done &= cut_receive(cut, into).await;
            }
            for how in [Send::Plain, Send::From, Send::Vectored] {
                done &= cancelled_send_after(0, cut, how, 100, layers().await).await;
            }
            done
        },
    );
}

/// A send that is cut at its first wait leaves bytes in both layers; then the end is cut.
async fn cut_end(cut: Cut, close: bool) -> bool {
    let (a, b) = layers().await;
    let data = numbered(0, 100);
    let mut rest = &data[..];
    drop(Cut::after(1, false).apply(a.send_from(&mut rest)).await);
    let sent = data.len() - rest.len();
    let partner = async move {
        let mut all = Vec::new();
        let ended = loop {
            match b.receive().await {
                Ok(bytes) => all.extend(bytes),
                Err(ended) => break ended,
            }
        };
        check_numbered(0, &all);
        // The other side may be gone.
        drop(b.send_eof().await);
        (all.len(), ended)
    };
    let end = async move {
        if close {
            return is_done(cut.apply(a.close()).await);
        }
        let done = is_done(cut.apply(a.send_eof()).await);
        if !done {
            a.send_eof().await.expect("ended now");
        }
        // Its partner ends as well.
        assert!(a.next().await.is_ok_and(|end| end.is_none()));
        done
    };
    let (done, (got, ended)) = join(end, partner).await;
    match ended {
        Error::EndOfStream => assert_eq!(got, sent, "{cut:?}"),
        Error::Broken(_) => assert!(got <= sent && close && !done, "{cut:?}"),
        other => panic!("{other}"),
    }
    done
}

/// D7.
///
/// Covers: ByteStream::send_eof, ByteStream::close.
#[test]
fn layers_end() {
    everywhere("cancel_everywhere::tls::layers_end", async |cut| {
        cut_end(cut, false).await & cut_end(cut, true).await
    });
}
