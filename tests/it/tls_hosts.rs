//! Servers of several names: the certificate that a client gets, and the names that are possible.

use soloio::tls::rustls::AlertDescription;
use soloio::tls::{rustls, server_config};

use crate::certs::Ca;
use crate::net_support::TempDir;
use crate::tls_config::{handshake, said, trusting};

#[test]
fn the_name_asked_for_chooses_the_certificate() {
    let dir = TempDir::new();
    let ca = Ca::new("a CA");
    let everybody = ca.server(&["everybody.example"]);
    let one = ca.server(&["one.example.org"]);
    let wild = ca.server(&["*.example.org"]);
    let (chain, key) = wild.write(dir.all(), "wild");
    let hosts = || {
        server_config()
            .host("One.example.org", one.chain.clone(), one.key())
            .host_files("*.example.org", &chain, &key)
    };
    let server = hosts().certificate(everybody.chain.clone(), everybody.key());
    let server = server.build().expect("a server");
    let client = trusting(&ca).build().expect("a client");
    for (name, shown) in [
        ("one.example.org", &one),
        ("ONE.example.org", &one),
        ("two.example.org", &wild),
        ("everybody.example", &everybody),
    ] {
        let (client, _) = handshake(&client, name, &server).expect(name);
        assert_eq!(
            client.peer_certificates().expect("shown")[0],
            shown.chain[0],
            "{name}"
        );
    }
    // The star stands for one label only. All other names get the default certificate, which does
    // not name them.
    for name in ["a.two.example.org", "example.org", "127.0.0.1"] {
        handshake(&client, name, &server).expect_err(name);
    }
    let hosts_only = hosts().build().expect("a server");
    let (of_client, of_server) =
        handshake(&client, "example.com", &hosts_only).expect_err("no certificate");
    assert!(
        of_server
            .expect("told")
            .to_string()
            .contains("no server certificate chain resolved")
    );
    let alert = rustls::Error::AlertReceived(AlertDescription::AccessDenied);
    assert_eq!(of_client, Some(alert));

    let wrong = server_config().host("other.org", one.chain.clone(), one.key());
    let text = said(wrong.build());
    assert!(
        text.starts_with("the certificate in the chain is not for the host other.org"),
        "{text}"
    );
    // The certificate names one of the hosts that the star stands for, but not the star.
    let any = ca.server(&["any.example.org"]);
    let text = said(
        server_config()
            .host("*.example.org", any.chain.clone(), any.key())
            .build(),
    );
    assert!(text.contains("is not for the host *.example.org"), "{text}");
    // Clients do not send the dot of the root.
    let dot = server_config().host("one.example.org.", one.chain.clone(), one.key());
    let dot = dot.build().expect("a server");
    handshake(&client, "one.example.org", &dot).expect("verified");
    let address = ca.server(&["127.0.0.1"]);
    let address = server_config().host("127.0.0.1", address.chain.clone(), address.key());
    let text = said(address.build());
    assert!(text.contains("asks for no name"), "{text}");

    let odd = server_config().host("not a name", one.chain.clone(), one.key());
    assert!(said(odd.build()).starts_with("\"not a name\" is no host name"));
    let twice = hosts().host("one.example.org", one.chain.clone(), one.key());
    assert_eq!(
        said(twice.build()),
        "the host one.example.org has two certificates"
    );
}
