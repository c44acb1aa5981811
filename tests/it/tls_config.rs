//! Configurations of clients and servers, tried with rustls alone, without a stream.
//!
//! Long because each option has a handshake that shows its effect.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use soloio::tls::rustls::crypto::CryptoProvider;
use soloio::tls::rustls::pki_types::{PrivateKeyDer, ServerName};
use soloio::tls::rustls::server::ProducesTickets;
use soloio::tls::rustls::version::{TLS12, TLS13};
use soloio::tls::rustls::{
    self, AlertDescription, CertificateError, ClientConfig, ClientConnection, HandshakeKind,
    RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
};
use soloio::tls::{ClientConfigBuilder, client_config, default_provider, server_config};
use soloio::{Error, Result};

use crate::certs::{Ca, Issued};
use crate::net_support::TempDir;

const BOTH_VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// Returns a CA and a server's certificate for `localhost`.
pub(crate) fn issued() -> (Ca, Issued) {
    let ca = Ca::new("a CA");
    let server = ca.server(&["localhost", "127.0.0.1"]);
    (ca, server)
}

pub(crate) fn trusting(ca: &Ca) -> ClientConfigBuilder {
    client_config().roots(ca.roots())
}

pub(crate) fn said<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::Tls(error)) => error.to_string(),
        other => panic!("not an error of TLS: {}", crate::net_support::shown(&other)),
    }
}

/// Both sides of a connection after the handshake, or the errors of both.
pub(crate) type Sides = std::result::Result<
    (ClientConnection, ServerConnection),
    (Option<rustls::Error>, Option<rustls::Error>),
>;

#[expect(clippy::result_large_err, reason = "tests look at both errors")]
pub(crate) fn handshake(
    client: &Arc<ClientConfig>,
    name: &str,
    server: &Arc<ServerConfig>,
) -> Sides {
    let name: ServerName<'static> = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(client.clone(), name).expect("a client");
    let mut server = ServerConnection::new(server.clone()).expect("a server");
    let (mut of_client, mut of_server) = (None, None);
    let mut bytes = Vec::new();
    for _ in 0..20 {
        bytes.clear();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("a Vec");
        }
        let mut rest = &bytes[..];
        while of_server.is_none() && !rest.is_empty() {
            server.read_tls(&mut rest).expect("a slice");
            of_server = server.process_new_packets().err();
        }
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("a Vec");
        }
        let mut rest = &bytes[..];
        while of_client.is_none() && !rest.is_empty() {
            client.read_tls(&mut rest).expect("a slice");
            of_client = client.process_new_packets().err();
        }
    }
    if of_client.is_none() && of_server.is_none() {
        assert!(!client.is_handshaking() && !server.is_handshaking());
        return Ok((client, server));
    }
    Err((of_client, of_server))
}

#[test]
fn a_server_is_verified_by_name_and_issuer() {
    let dir = TempDir::new();
    let (ca, issued) = issued();
    let (chain, key) = issued.write(dir.all(), "server");
    let server = server_config()
        .certificate_files(chain, key)
        .build()
        .expect("a server");
    let client = client_config()
        .ca_file(ca.write(dir.all(), "ca"))
        .build()
        .expect("a client");
    for name in ["localhost", "127.0.0.1"] {
        let (client, server) = handshake(&client, name, &server).expect("verified");
        assert_eq!(
            client.protocol_version(),
            Some(rustls::ProtocolVersion::TLSv1_3)
        );
        assert_eq!(
            server.server_name(),
            (name == "localhost").then_some("localhost")
        );
    }
    let (of_client, of_server) = handshake(&client, "other.host", &server).expect_err("another");
    assert!(matches!(
        of_client,
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForNameContext { .. }
        ))
    ));
    let alert = rustls::Error::AlertReceived(AlertDescription::BadCertificate);
    assert_eq!(of_server, Some(alert));

    let stranger = trusting(&Ca::new("a stranger")).build().expect("a client");
    let (of_client, _) = handshake(&stranger, "localhost", &server).expect_err("a stranger");
    let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
    assert_eq!(of_client, Some(unknown));
    // Several sources of roots add up.
    let both = client_config()
        .roots(Ca::new("a stranger").roots())
        .roots(ca.roots());
    handshake(&both.build().expect("a client"), "localhost", &server).expect("verified");

    let old = ca.expired(&["localhost"]);
    let server = server_config().certificate(old.chain.clone(), old.key());
    let server = server.build().expect("a server");
    let (of_client, _) = handshake(&client, "localhost", &server).expect_err("expired");
    assert!(matches!(
        of_client,
        Some(rustls::Error::InvalidCertificate(
            CertificateError::ExpiredContext { .. }
        ))
    ));
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let dir = TempDir::new();
    let (ca, one) = issued();
    let other = ca.server(&["localhost"]);
    let (chain, key) = one.write(dir.all(), "one");
    let (_, other_key) = other.write(dir.all(), "other");
    let text = said(
        server_config()
            .certificate_files(&chain, &other_key)
            .build(),
    );
    let start = format!(
        "{} is not the key of the certificate in {}",
        other_key.display(),
        chain.display()
    );
    assert!(text.starts_with(&start), "{text}");
    let text = said(server_config().certificate_files(&key, &chain).build());
    assert!(text.contains("were the two files swapped?"), "{text}");
    // The file has the issuer first.
    fs::write(&chain, format!("{}{}", ca.pem, one.chain_pem)).expect("a file");
    let text = said(server_config().certificate_files(&chain, &key).build());
    assert!(
        text.contains("belongs to certificate 2 of") && text.contains("first"),
        "{text}"
    );
    // The same for a client's certificate.
    let client = trusting(&ca).certificate(one.chain.clone(), other.key());
    let text = said(client.build());
    assert!(
        text.starts_with("the private key is not the key of the certificate in"),
        "{text}"
    );
    let text = said(server_config().certificate(Vec::new(), one.key()).build());
    assert!(text.contains("needs at least one certificate"), "{text}");
}

#[test]
fn what_is_no_certificate_or_no_key_is_refused() {
    let dir = TempDir::new();
    let (ca, one) = issued();
    let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let file = dir.path("roots.pem");
    fs::write(&file, format!("{}{broken}", ca.pem)).expect("a file");
    let text = said(client_config().ca_file(&file).build());
    assert!(text.starts_with(&file.display().to_string()), "{text}");
    assert!(text.contains("is no X.509 certificate"), "{text}");
    // An empty sequence is no certificate either.
    let empty = vec![vec![0x30, 0].into()];
    let text = said(server_config().certificate(empty, one.key()).build());
    assert!(text.starts_with("the first certificate of"), "{text}");
    assert!(text.contains("cannot be used: bad encoding"), "{text}");
    let key = PrivateKeyDer::Pkcs8(vec![0x30, 0].into());
    let text = said(server_config().certificate(one.chain.clone(), key).build());
    assert!(
        text.contains("of no kind that the crypto provider"),
        "{text}"
    );
}

/// The given ticketer makes the tickets that clients get.
#[test]
fn tickets_are_made_by_who_was_given() {
    #[derive(Debug)]
    struct Counts(AtomicUsize);

    impl ProducesTickets for Counts {
        fn enabled(&self) -> bool {
            true
        }

        fn lifetime(&self) -> u32 {
            60
        }

        fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Some(plain.to_vec())
        }

        fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
            Some(cipher.to_vec())
        }
    }

    let (ca, one) = issued();
    let tickets = Arc::new(Counts(AtomicUsize::new(0)));
    // Without stored sessions only a ticket can resume one.
    let server = server_config()
        .certificate(one.chain.clone(), one.key())
        .sessions(0)
        .ticketer(Arc::clone(&tickets) as Arc<dyn ProducesTickets>);
    let server = server.build().expect("a certificate");
    let client = trusting(&ca).build().expect("a client");
    let kinds = [(); 2].map(|()| {
        let (client, _) = handshake(&client, "localhost", &server).expect("verified");
        client.handshake_kind().expect("it is over")
    });
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
    assert!(tickets.0.load(Ordering::Relaxed) > 0);
}

#[test]
fn what_is_missing_is_said() {
    let (ca, one) = issued();
    let text = said(server_config().build());
    assert!(
        text.contains("call `certificate_files(chain, key)`"),
        "{text}"
    );
    let text = said(client_config().roots(RootCertStore::empty()).build());
    assert!(text.contains("trusts no issuer"), "{text}");
    let server = || server_config().certificate(one.chain.clone(), one.key());
    let text = said(server().client_certificate_optional().build());
    assert!(text.contains("call `client_ca_file(..)` too"), "{text}");
    let text = said(server().client_roots(RootCertStore::empty()).build());
    assert!(
        text.starts_with("client certificates cannot be verified"),
        "{text}"
    );
    for wrong in [String::new(), "x".repeat(256)] {
        let text = said(server().alpn([&wrong]).build());
        assert!(text.contains("1 to 255 bytes"), "{text}");
        let text = said(trusting(&ca).alpn([&wrong]).build());
        assert!(text.contains("1 to 255 bytes"), "{text}");
    }
    // More than a first message can hold: rustls would send half of it, or panic.
    let many = vec!["x".repeat(255); 300];
    for text in [
        said(server().alpn(&many).build()),
        said(trusting(&ca).alpn(&many).build()),
    ] {
        assert!(text.contains("76800 bytes together"), "{text}");
    }
    let text = said(server().versions([]).build());
    assert!(text.contains("no TLS version is left"), "{text}");
    let text = said(trusting(&ca).ca_file("/nowhere/ca.pem").build());
    assert!(text.starts_with("/nowhere/ca.pem cannot be read"), "{text}");
}

#[test]
fn clients_show_who_they_are() {
    let dir = TempDir::new();
    let (ca, one) = issued();
    let clients = Ca::new("a CA of clients");
    let server = || {
        server_config()
            .certificate(one.chain.clone(), one.key())
            .client_ca_file(clients.write(dir.all(), "clients"))
    };
    let (chain, key) = clients.client("somebody").write(dir.all(), "somebody");
    let somebody = || trusting(&ca).certificate_files(&chain, &key);
    // Roots from several calls add up.
    let both = server_config()
        .certificate(one.chain.clone(), one.key())
        .client_roots(clients.roots())
        .client_roots(Ca::new("a third CA").roots());
    let both = both.build().expect("a server");
    handshake(&somebody().build().expect("a client"), "localhost", &both).expect("let in");

    let fraud = Ca::new("another CA").client("somebody");
    let fraud = || trusting(&ca).certificate(fraud.chain.clone(), fraud.key());
    for version in BOTH_VERSIONS {
        let required = server().versions([version]).build().expect("a server");
        let optional = server().client_certificate_optional().versions([version]);
        let optional = optional.build().expect("a server");
        let known = somebody().build().expect("a client");
        for server in [&required, &optional] {
            let (_, server) = handshake(&known, "localhost", server).expect("let in");
            assert_eq!(server.peer_certificates().map(<[_]>::len), Some(1));
            drop(server);
        }
        let nobody = trusting(&ca).build().expect("a client");
        let (_, of_server) = handshake(&nobody, "localhost", &required).expect_err("required");
        assert_eq!(of_server, Some(rustls::Error::NoCertificatesPresented));
        let (_, server) = handshake(&nobody, "localhost", &optional).expect("optional");
        assert!(server.peer_certificates().is_none());
        let fraud = fraud().build().expect("a client");
        for server in [&required, &optional] {
            let (_, of_server) = handshake(&fraud, "localhost", server).expect_err("a fraud");
            assert!(matches!(
                of_server,
                Some(rustls::Error::InvalidCertificate(_))
            ));
        }
    }
}

#[test]
fn protocols_are_agreed_upon() {
    let (ca, one) = issued();
    let server = |protocols: &[&str]| {
        let server = server_config()
            .certificate(one.chain.clone(), one.key())
            .alpn(protocols);
        server.build().expect("a server")
    };
    let client = |protocols: &[&str]| trusting(&ca).alpn(protocols).build().expect("a client");
    // The server's order decides.
    let (a, b) = handshake(&client(&["h2", "x"]), "localhost", &server(&["x", "h2"])).expect("ok");
    assert_eq!(
        (a.alpn_protocol(), b.alpn_protocol()),
        (Some(&b"x"[..]), Some(&b"x"[..]))
    );
    for (offered, known) in [(&["h2"][..], &[][..]), (&[], &["h2"])] {
        let (a, b) = handshake(&client(offered), "localhost", &server(known)).expect("none");
        assert_eq!((a.alpn_protocol(), b.alpn_protocol()), (None, None));
    }
    let (of_client, of_server) =
        handshake(&client(&["h2"]), "localhost", &server(&["x"])).expect_err("a mismatch");
    assert_eq!(of_server, Some(rustls::Error::NoApplicationProtocol));
    let alert = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
    assert_eq!(of_client, Some(alert));
}

#[test]
fn sessions_are_resumed_unless_switched_off() {
    let (ca, one) = issued();
    let kinds = |of_client: Option<usize>, of_server: Option<usize>, version| {
        let server = server_config()
            .certificate(one.chain.clone(), one.key())
            .versions([version]);
        let server = of_server
            .into_iter()
            .fold(server, |server, n| server.sessions(n));
        let client = of_client
            .into_iter()
            .fold(trusting(&ca), |client, n| client.sessions(n));
        let (client, server) = (client.build().expect("ok"), server.build().expect("ok"));
        [(); 2].map(|()| {
            let (client, server) = handshake(&client, "localhost", &server).expect("verified");
            assert_eq!(client.handshake_kind(), server.handshake_kind());
            client.handshake_kind().expect("it is over")
        })
    };
    for version in BOTH_VERSIONS {
        let [first, second] = kinds(None, None, version);
        assert_eq!(
            (first, second),
            (HandshakeKind::Full, HandshakeKind::Resumed)
        );
        for (client, server) in [(Some(0), None), (None, Some(0))] {
            let [_, second] = kinds(client, server, version);
            assert_eq!(second, HandshakeKind::Full);
        }
    }
}

#[test]
fn sessions_are_kept_of_as_many_servers_as_asked_for() {
    let ca = Ca::new("a CA");
    let one = ca.server(&["one.example", "two.example"]);
    for version in BOTH_VERSIONS {
        let server = server_config().certificate(one.chain.clone(), one.key());
        let server = server.versions([version]).build().expect("a server");
        let client = trusting(&ca).sessions(2).build().expect("a client");
        let mut kinds = Vec::new();
        for name in ["one.example", "two.example", "one.example", "two.example"] {
            let (client, _) = handshake(&client, name, &server).expect("verified");
            kinds.push(client.handshake_kind().expect("it is over"));
        }
        let [full, resumed] = [HandshakeKind::Full, HandshakeKind::Resumed];
        assert_eq!(kinds, [full, full, resumed, resumed]);
    }
    // The memory for all sessions is reserved at once, so a huge number must be bounded.
    let server = server_config().certificate(one.chain.clone(), one.key());
    server.sessions(usize::MAX).build().expect("a server");
    trusting(&ca)
        .sessions(usize::MAX)
        .build()
        .expect("a client");
}

#[test]
fn the_provider_is_explicit() {
    let (ca, one) = issued();
    let mut provider: CryptoProvider = (*default_provider().expect("a feature")).clone();
    provider.cipher_suites.truncate(1);
    let suite = provider.cipher_suites[0].suite();
    let server = server_config()
        .certificate(one.chain.clone(), one.key())
        .provider(provider);
    let server = server.build().expect("a server");
    let client = trusting(&ca).build().expect("a client");
    let (client, _) = handshake(&client, "localhost", &server).expect("one suite in common");
    assert_eq!(
        client.negotiated_cipher_suite().map(|found| found.suite()),
        Some(suite)
    );
    assert!(
        CryptoProvider::get_default().is_none(),
        "rustls' process default was set"
    );
    // A provider without cipher suites for a version cannot speak it.
    let mut provider: CryptoProvider = (*default_provider().expect("a feature")).clone();
    provider
        .cipher_suites
        .retain(|suite| suite.tls13().is_some());
    let text = said(trusting(&ca).provider(provider).versions([&TLS12]).build());
    assert!(text.starts_with("no TLS version is left"), "{text}");
}
