//! TLS streams: the negotiated parameters, the ways they end, and the behaviour of peers that they
//! must bear.

use std::sync::Arc;

use futures_util::future::{join, join3};
use soloio::tls::rustls::version::{TLS12, TLS13};
use soloio::tls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use soloio::tls::{TlsListener, TlsStream};
use soloio::{ByteStream, Error, MemoryStream, connect_tcp, create_memory_byte_stream};

use crate::net_support::{
    check_numbered, is_broken, numbered, polled, receive_numbered, refused, run, tcp_listener,
    tcp_pair, turns,
};
use crate::support::rounds;
use crate::tls_support::{
    NAME, certificate, client_config, client_of, loose_tls, old_tls, server_config, server_of, tls,
};

async fn memory() -> (MemoryStream, MemoryStream) {
    create_memory_byte_stream(100_000)
}

async fn pair_of<S: ByteStream>(
    (a, b): (S, S),
    client: ClientConfig,
    server: ServerConfig,
) -> soloio::Result<(TlsStream<S>, TlsStream<S>)> {
    let client = TlsStream::client(a, NAME, Arc::new(client)).into_future();
    let server = TlsStream::server(b, Arc::new(server)).into_future();
    let (client, server) = join(client, server).await;
    Ok((client?, server?))
}

#[test]
fn both_sides_know_what_was_agreed_on() {
    run(async {
        for (versions, name) in [(&[&TLS13], "TLSv1.3"), (&[&TLS12], "TLSv1.2")] {
            let mut client = client_of(versions);
            client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            let mut server = server_of(versions);
            server.alpn_protocols = vec![b"http/1.1".to_vec()];
            let (client, server) = pair_of(tcp_pair().await, client, server)
                .await
                .expect("a handshake");
            for side in [&client, &server] {
                assert_eq!(side.version(), name);
                assert_eq!(side.alpn_protocol().as_deref(), Some(&b"http/1.1"[..]));
                assert!(side.is_standard_compatible());
                assert!(!side.is_resumed());
            }
            assert_eq!(client.cipher_suite(), server.cipher_suite());
            assert!(
                client.cipher_suite().contains("AES"),
                "{}",
                client.cipher_suite()
            );
            assert!(!client.is_server() && server.is_server());
            assert_eq!(server.server_name().as_deref(), Some(NAME));
            assert_eq!(client.server_name(), None);
            assert_eq!(client.peer_certificates(), Some(vec![certificate()]));
            assert_eq!(server.peer_certificates(), None);
            assert_eq!(client.inner().peer_addr(), server.inner().local_addr());
        }
    });
}

#[test]
fn key_material_is_the_same_on_both_sides() {
    run(async {
        let (client, server) = tls(memory()).await;
        let export = |side: &TlsStream<MemoryStream>, label: &[u8], context: &[u8]| {
            let mut output = [0; 32];
            side.export_keying_material(&mut output, label, context)
                .expect("TLS 1.3");
            output
        };
        let ours = export(&client, b"EXPORTER-Channel-Binding", b"");
        assert_eq!(ours, export(&server, b"EXPORTER-Channel-Binding", b""));
        assert_ne!(ours, export(&client, b"EXPORTER-Channel-Binding", b"x"));
        assert_ne!(ours, export(&client, b"EXPORTER-other", b""));
        assert_ne!(ours, [0; 32]);
        refused!(
            client.export_keying_material(&mut [], b"x", b""),
            Error::Tls(_)
        );
        refused!(
            client.export_keying_material(&mut [0; 100_000], b"x", b""),
            Error::Tls(_)
        );
        export(&client, &[b'x'; 249], &[b'x'; 1_000]);
        refused!(
            client.export_keying_material(&mut [0; 32], &[b'x'; 250], b""),
            Error::Tls(_)
        );
        let (old, _server) = pair_of(memory().await, client_of(&[&TLS12]), server_of(&[&TLS12]))
            .await
            .expect("a handshake");
        refused!(
            old.export_keying_material(&mut [0; 32], b"x", b""),
            Error::Tls(_)
        );
    });
}

#[test]
fn a_session_is_resumed() {
    run(async {
        for versions in [&[&TLS13], &[&TLS12]] {
            let client = Arc::new(client_of(versions));
            let server = Arc::new(server_of(versions));
            for resumed in [false, true] {
                let (a, b) = memory().await;
                let a = TlsStream::client(a, NAME, Arc::clone(&client)).into_future();
                let b = TlsStream::server(b, Arc::clone(&server)).into_future();
                let (a, b) = join(a, b).await;
                let (a, b) = (a.expect("a handshake"), b.expect("a handshake"));
                assert_eq!(a.is_resumed(), resumed);
                assert_eq!(b.is_resumed(), resumed);
                assert_eq!(b.server_name().as_deref(), Some(NAME));
                // The ticket comes with the first data.
                b.send(b"x").await.expect("sent");
                assert_eq!(a.receive().await.expect("sent"), b"x");
            }
        }
    });
}

#[test]
fn a_bare_end_is_no_end() {
    run(async {
        // L1: an end without close_notify hides missing data.
        let (a, b) = tls(tcp_pair()).await;
        b.send(b"the first half").await.expect("sent");
        drop(b);
        assert_eq!(a.receive().await.expect("sent"), b"the first half");
        for _ in 0..3 {
            let received = a.receive().await;
            assert!(is_broken(&received), "{received:?}");
        }
        let said = a.receive().await.expect_err("the same").to_string();
        assert!(said.contains("close_notify"), "{said}");

        let (a, b) = loose_tls(tcp_pair()).await;
        b.send(b"the first half").await.expect("sent");
        drop(b);
        assert_eq!(a.receive().await.expect("sent"), b"the first half");
        refused!(a.receive().await, Error::EndOfStream);
        refused!(a.receive().await, Error::EndOfStream);
    });
}

#[test]
fn an_end_inside_a_record_is_broken_in_any_case() {
    run(async {
        let (a, b) = loose_tls(async { create_memory_byte_stream(3000) }).await;
        let mut rest = &[1; 5000][..];
        assert!(polled(2, b.send_from(&mut rest)).await.is_none());
        drop(b);
        let received = a.receive().await;
        assert!(is_broken(&received), "{received:?}");
    });
}

#[test]
fn close_says_goodbye_and_waits_for_nobody() {
    run(async {
        // L14: a peer that never answers does not hold `close`.
        let (a, b) = tls(tcp_pair()).await;
        let close = async {
            a.send(b"last words").await.expect("sent");
            a.close().await.expect("closed although the peer stays");
        };
        let receive = async {
            assert_eq!(b.receive().await.expect("sent"), b"last words");
            refused!(b.receive().await, Error::EndOfStream);
        };
        join(close, receive).await;
        drop(b);
        let (a, b) = tls(memory()).await;
        a.close().await.expect("closed");
        refused!(b.receive().await, Error::EndOfStream);
        b.close().await.expect("closed, although nobody hears it");
    });
}

#[test]
fn unwrap_gives_back_the_stream_and_what_came_behind() {
    run(async {
        let (a, b) = tls(memory()).await;
        a.send(b"inside").await.expect("sent");
        assert_eq!(b.receive().await.expect("sent"), b"inside");
        let one = async {
            let (plain, rest) = a.unwrap().await.expect("unwrapped");
            assert_eq!(rest, b"");
            plain.send(b"outside").await.expect("sent");
            plain
        };
        let two = async {
            turns(3).await;
            // Its own close_notify goes first, and both have arrived when it checks.
            let (plain, mut rest) = b.unwrap().await.expect("unwrapped");
            while rest.len() < 7 {
                rest.extend(plain.receive().await.expect("sent"));
            }
            assert_eq!(rest, b"outside");
            plain
        };
        let (one, two) = join(one, two).await;
        two.send(b"and on").await.expect("sent");
        assert_eq!(one.receive().await.expect("sent"), b"and on");

        // Data that comes in one piece with the close_notify is returned too.
        let (a, b) = tls(memory()).await;
        b.send_eof().await.expect("ended");
        b.inner().send(b"plain").await.expect("sent below");
        let (_plain, rest) = a.unwrap().await.expect("unwrapped");
        assert_eq!(rest, b"plain");

        // The same where no close_notify is required: only it shows where TLS ends.
        let (a, b) = loose_tls(memory()).await;
        let (a, b) = join(a.unwrap(), b.unwrap()).await;
        let ((a, _), (b, rest)) = (a.expect("unwrapped"), b.expect("unwrapped"));
        a.send(b"plain").await.expect("sent");
        assert_eq!(
            (rest, b.receive().await.expect("sent")),
            (vec![], b"plain".to_vec())
        );

        let (a, b) = tls(memory()).await;
        b.send(b"unread").await.expect("sent");
        refused!(a.unwrap().await, Error::Tls(_));
        refused!(b.unwrap().await, Error::Broken(_));
    });
}

#[test]
fn what_is_no_name_is_refused() {
    run(async {
        for name in [
            "",
            "b\u{fffd}cher.example",
            "a..b",
            "two words",
            "x:443",
            "[::1]",
        ] {
            let (a, _b) = memory().await;
            let refused = TlsStream::client(a, name, client_config()).await;
            refused!(refused, Error::Tls(_));
        }
        let (a, b) = memory().await;
        let client = TlsStream::client(a, "127.0.0.1", client_config()).into_future();
        let server = TlsStream::server(b, server_config()).into_future();
        let (client, server) = join(client, server).await;
        client.expect("an address is a name");
        let server = server.expect("a handshake");
        assert_eq!(server.server_name(), None, "an address is not asked for");
    });
}

#[test]
fn both_sides_hear_why_a_handshake_failed() {
    run(async {
        // L9: the peer got an end without a reason.
        let nobody = ClientConfig::builder_with_provider(crate::tls_support::provider())
            .with_safe_default_protocol_versions()
            .expect("known versions")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        for (client, name, word, answer) in [
            (nobody, NAME, "is not trusted", "UnknownCA"),
            (
                client_of(&[&TLS13]),
                "other.example",
                "is not for that name",
                "alert",
            ),
        ] {
            let (a, b) = tcp_pair().await;
            let client = TlsStream::client(a, name, Arc::new(client)).into_future();
            let server = TlsStream::server(b, server_config()).into_future();
            let (client, server) = join(client, server).await;
            let said = client.expect_err("no handshake").to_string();
            assert!(said.contains(word), "{said}");
            // With TLS 1.3 the server may be done before the alert comes.
            let heard = match server {
                Ok(server) => server.receive().await.expect_err("an alert"),
                Err(error) => error,
            };
            assert!(matches!(heard, Error::Tls(_)), "{heard}");
            assert!(heard.to_string().contains(answer), "{heard}");
        }
        let (a, b) = tcp_pair().await;
        let mut client = client_of(&[&TLS13]);
        client.alpn_protocols = vec![b"one".to_vec()];
        let mut server = server_of(&[&TLS13]);
        server.alpn_protocols = vec![b"other".to_vec()];
        let failed = pair_of((a, b), client, server).await;
        refused!(failed, Error::Tls(_));
    });
}

#[test]
fn a_client_that_never_reads_gets_all_of_its_data_through() {
    // L8: unread session tickets make the kernel reset the connection.
    run(async {
        let listener = TlsListener::new(tcp_listener().await, server_config());
        let port = listener.inner().local_addr().port();
        let total = rounds(1000);
        let data = numbered(0, 4096);
        let serve = async {
            for _ in 0..total {
                let client = listener.accept().await.expect("a handshake");
                let mut all = Vec::new();
                while let Some(bytes) = client.next().await.expect("an orderly end") {
                    all.extend(bytes);
                }
                assert_eq!(all.len(), 4096);
                check_numbered(0, &all);
                drop(client);
            }
        };
        let send = async {
            for _ in 0..total {
                let stream = connect_tcp("127.0.0.1", port).await.expect("connects");
                let client = TlsStream::client(stream, NAME, client_config())
                    .await
                    .expect("a handshake");
                client.send(&data).await.expect("sent");
                client.send_eof().await.expect("ended");
                client.close().await.expect("closed");
            }
        };
        join(serve, send).await;
    });
}

#[test]
fn no_more_is_taken_than_is_received() {
    run(async {
        // L3, X1: one side sends without end, the other does not receive.
        let (a, b) = tls(tcp_pair()).await;
        assert!(polled(2, b.receive()).await.is_none());
        let taken = crate::net_support::clog(&a, 0).await;
        let again = crate::net_support::clog(&a, taken).await;
        assert!(again <= 32_768, "{again}");
        let all = taken + again;
        let (one, (), two) = join3(a.send(b""), receive_numbered(&b, 0, all), async {
            b.send(b"x").await
        })
        .await;
        one.and(two).expect("sent");
        assert_eq!(a.receive_max(9).await.expect("sent"), b"x");
    });
}

#[test]
fn two_that_send_before_they_read_do_not_wait_for_each_other() {
    run(async {
        // The client of TLS 1.3 answers the first of many messages; both ends send close_notify
        // together.
        for capacity in [1, 3, 5, 20] {
            let pair = async { create_memory_byte_stream(capacity) };
            let (a, b) = tls(pair).await;
            let (a, b) = join(a.unwrap(), b.unwrap()).await;
            let ((a, _), (b, rest)) = (a.expect("unwrapped"), b.expect("unwrapped"));
            a.send(b"x").await.expect("sent");
            assert_eq!(
                (rest, b.receive().await.expect("sent")),
                (vec![], vec![b'x'])
            );
            old_tls(async { create_memory_byte_stream(capacity) }).await;
        }
    });
}
