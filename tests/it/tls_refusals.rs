//! Handshakes that cannot succeed, over sockets: both sides name the reason and the remedy.

use futures_util::future::join;
use soloio::tls::{
    ClientConfigBuilder, ServerConfigBuilder, TlsListener, client_config, server_config,
};
use soloio::{Error, block_on, connect_tcp, create_tcp_listener};

use crate::certs::{Ca, Issued};
use crate::support::deadline;

/// Returns the errors of both sides of a connection; the client's comes at its first receive at the
/// latest.
fn said(client: ClientConfigBuilder, server: ServerConfigBuilder) -> (String, String) {
    let (client, server) = (client.build().expect("good"), server.build().expect("good"));
    block_on(async {
        let tcp = create_tcp_listener()
            .local_host("127.0.0.1")
            .await
            .expect("a port");
        let port = tcp.local_addr().port();
        let listener = TlsListener::new(tcp, server);
        let of_client = async {
            let connect = connect_tcp("127.0.0.1", port).tls_config(client);
            match connect.tls_hostname("localhost").await {
                Ok(client) => client.receive().await.expect_err("nobody sends"),
                Err(error) => error,
            }
        };
        let of_server = async { listener.accept().await.expect_err("a refusal") };
        let (of_client, of_server) = join(of_client, of_server).await;
        for error in [&of_client, &of_server] {
            assert!(matches!(error, Error::Tls(_)), "{error:?}");
            assert!(
                std::error::Error::source(error).is_some(),
                "{error:?} has no cause"
            );
        }
        (of_client.to_string(), of_server.to_string())
    })
}

fn has(text: &str, words: &[&str]) {
    assert!(
        words.iter().all(|word| text.contains(word)),
        "{text}\nlacks one of {words:?}"
    );
}

#[test]
fn nothing_in_common_is_said_on_both_sides() {
    let _guard = deadline();
    let ca = Ca::new("a CA");
    let issued: Issued = ca.server(&["localhost"]);
    let client = || client_config().roots(ca.roots());
    let server = || server_config().certificate(issued.chain.clone(), issued.key());

    let (c, s) = said(client().alpn(["h2"]), server().alpn(["http/1.1"]));
    has(
        &c,
        &[
            "the server ended the connection: it speaks none of our protocols",
            "`alpn(..)`",
        ],
    );
    has(
        &s,
        &[
            "the client speaks none of this server's protocols (ALPN)",
            "`alpn(..)`",
        ],
    );

    let other = ca.server(&["other.example"]);
    let hosts = server_config().host("other.example", other.chain.clone(), other.key());
    let (c, s) = said(client(), hosts);
    has(
        &c,
        &["the server ended the connection: it has no certificate for the name we asked for"],
    );
    has(
        &s,
        &[
            "no certificate for the name that the client asks for",
            "`certificate_files(..)`",
        ],
    );

    use soloio::tls::rustls::version::{TLS12, TLS13};
    let (c, s) = said(client().versions([&TLS12]), server().versions([&TLS13]));
    has(
        &c,
        &["the server ended the connection: it speaks none of our TLS versions"],
    );
    has(
        &s,
        &["the two sides have no TLS version or cipher suite in common"],
    );
}

#[test]
fn a_certificate_that_is_refused_is_told_on_both_sides() {
    let _guard = deadline();
    let ca = Ca::new("a CA");
    let issued: Issued = ca.server(&["localhost"]);
    let client = || client_config().roots(ca.roots());
    let server = || server_config().certificate(issued.chain.clone(), issued.key());

    let picky = server().client_roots(ca.roots());
    let (c, s) = said(client(), picky);
    has(
        &c,
        &["it wants a client certificate: give one with `certificate_files(..)`"],
    );
    has(&s, &["the client showed no certificate"]);

    let fraud = Ca::new("another CA").client("somebody");
    let picky = server().client_roots(ca.roots());
    let (c, s) = said(
        client().certificate(fraud.chain.clone(), fraud.key()),
        picky,
    );
    has(
        &c,
        &["the server ended the connection: it does not trust the issuer of our certificate"],
    );
    has(
        &s,
        &["the client's certificate is not trusted", "client CAs"],
    );

    let (c, s) = said(
        client_config().roots(Ca::new("a stranger").roots()),
        server(),
    );
    has(
        &c,
        &["the server's certificate is not trusted", "`ca_file(..)`"],
    );
    has(
        &s,
        &["the client ended the connection: it does not trust the issuer of our certificate"],
    );
}
