//! Builders of TLS.

use std::sync::Arc;

use soloio::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use soloio::tls::{TlsListener, TlsStream, client_config, server_config};
use soloio::{connect_tcp, create_memory_byte_stream, join};

use super::{LONG, SHORT, SIZES, TIMES, ended, message, names, texts};
use crate::net_support::{run, tcp_listener, tcp_pair};
use crate::tls_support;

#[test]
fn names_of_servers() {
    run(async {
        let config = tls_support::client_config();
        for text in texts() {
            let (a, _b) = create_memory_byte_stream(10);
            let wrong = text.parse::<std::net::IpAddr>().is_err();
            if wrong && !matches!(&*text, "ä" | "-" | "*" | "::1%") && text.len() != 1 {
                let made = TlsStream::client(a, &*text, Arc::clone(&config));
                assert!(message(ended(made).await).contains("name has to be"));
                let port = tcp_listener().await.local_addr().port();
                let made = connect_tcp("127.0.0.1", port).tls_hostname(&*text);
                let made = made.tls_config(Arc::clone(&config));
                let refused = message(ended(made).await);
                assert!(names(&refused, &text), "{refused} of {text:?}");
            }
        }
    });
}

/// A path with what looks like the contents of a file is not shown: it may be a key.
fn names_file(message: &str, path: &str) -> bool {
    names(message, path) || message.contains("is not shown")
}

#[test]
fn files_and_protocols() {
    for text in texts() {
        let path = format!("/nowhere/{text}");
        let refused = message(client_config().ca_file(&path).build());
        assert!(names_file(&refused, &path), "{refused}");
        let refused = message(server_config().certificate_files(&path, &path).build());
        assert!(names_file(&refused, &path), "{refused}");
        let refused = message(server_config().client_ca_file(&path).build());
        assert!(!refused.is_empty());
        message(server_config().host_files(&text, &path, &path).build());
    }
    for protocols in [
        vec![vec![]],
        vec![vec![b'x'; 256]],
        vec![vec![b'x'; 70_000]],
    ] {
        let refused = message(client_config().alpn(&protocols).build());
        assert!(refused.to_lowercase().contains("alpn"), "{refused}");
    }
    for sessions in SIZES {
        client_config()
            .sessions(sessions)
            .build()
            .expect("any number");
    }
    message(client_config().versions([]).build());
    message(server_config().build());
    for time in TIMES {
        let made = server_config().certificate_files("/nowhere", "/nowhere");
        message(made.reload_files(time, |_| ()).build());
    }
    // A client's certificate cannot be optional where none is requested.
    let made = server_config().client_certificate_optional();
    message(made.client_ca_file("/nowhere").build());
}

/// A certificate for a name, and its key.
fn identity(name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    (vec![made.cert.der().clone()], key)
}

#[test]
fn certificates() {
    let (chain, key) = identity("localhost");
    let (other_chain, other_key) = identity("other.example");
    let good = || server_config().certificate(chain.clone(), key.clone_key());
    good().build().expect("a pair");
    message(
        server_config()
            .certificate(chain.clone(), other_key.clone_key())
            .build(),
    );
    message(
        server_config()
            .certificate(Vec::new(), key.clone_key())
            .build(),
    );
    message(
        client_config()
            .certificate(other_chain, key.clone_key())
            .build(),
    );
    for text in texts() {
        // The certificate is for another name.
        let refused = message(good().host(&text, chain.clone(), key.clone_key()).build());
        // A long one is not shown: it may be a key.
        let is_named = names(&refused, text.trim_end_matches('.'));
        assert!(is_named || text.len() > 253, "{refused} of {text:?}");
    }
}

#[test]
fn limits_of_a_listener() {
    run(async {
        for (n, limit) in TIMES.into_iter().enumerate() {
            for max in SIZES {
                let listener = TlsListener::new(tcp_listener().await, tls_support::server_config());
                let listener = listener.handshake_timeout(limit).max_handshakes(max);
                let port = listener.inner().local_addr().port();
                let connect = async {
                    let made = connect_tcp("127.0.0.1", port).tls_hostname(tls_support::NAME);
                    ended(made.tls_config(tls_support::client_config())).await
                };
                let (accepted, connected) = join((ended_or_late(&listener), connect)).await;
                assert!(accepted || n < SHORT, "no limit");
                assert!(connected.is_ok() || n < SHORT);
            }
        }
    });
}

/// Returns true for a handshake, false for its end by the limit.
async fn ended_or_late(listener: &TlsListener<'_, soloio::TcpListener>) -> bool {
    match soloio::fail_after(LONG, listener.accept()).await {
        Ok(_) => true,
        Err(soloio::Error::TimedOut(late)) => {
            assert_ne!(late.limit(), Some(LONG), "it hangs");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn lengths_of_key_material() {
    run(async {
        let (a, b) = tcp_pair().await;
        let client = TlsStream::client(a, tls_support::NAME, tls_support::client_config());
        let server = TlsStream::server(b, tls_support::server_config());
        let (client, server) = join((ended(client), ended(server))).await;
        let (client, _server) = (client.expect("a handshake"), server.expect("a handshake"));
        for length in [0, 1, 70_000, 1 << 24] {
            let mut room = vec![0; length];
            let label = b"x".repeat(length);
            let made = client.export_keying_material(&mut room, &label, &label);
            assert!(made.is_ok() || !message(made).is_empty());
        }
    });
}
