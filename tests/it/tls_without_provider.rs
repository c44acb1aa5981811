//! TLS without a crypto provider: every configuration needs one, and its error says so.

use soloio::tls::rustls::RootCertStore;
use soloio::tls::{client_config, default_provider, server_config};

use crate::certs::Ca;

#[test]
fn the_error_names_the_features_and_the_way_out() {
    let ca = Ca::new("a CA");
    let mut roots = RootCertStore::empty();
    roots.add(ca.der.clone()).expect("a root");
    let issued = ca.server(&["localhost"]);
    let server = server_config().certificate(issued.chain.clone(), issued.key());
    let errors = [
        default_provider().expect_err("there is none").to_string(),
        client_config()
            .roots(roots)
            .build()
            .expect_err("there is none")
            .to_string(),
        server.build().expect_err("there is none").to_string(),
    ];
    for error in errors {
        for part in [
            "there is no crypto provider",
            "`ring`",
            "`aws-lc-rs`",
            "`provider(..)`",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}
