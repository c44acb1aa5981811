//! An intermediary between a TLS client and a TLS server. `cargo test` runs the same body, with
//! generated inputs.

#![no_main]

use std::panic;
use std::sync::{Arc, Once, OnceLock};

use libfuzzer_sys::fuzz_target;
use soloio::tls::rustls::crypto::ring::default_provider;
use soloio::tls::rustls::version::{TLS12, TLS13};
use soloio::tls::rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

#[path = "../../tests/it/fuzzed/tls_chunks.rs"]
mod body;

fn configs_of(version: &'static SupportedProtocolVersion) -> body::Configs {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let certificate = made.cert.der().clone();
    let key = made.signing_key.serialize_der().try_into().expect("a key");
    let provider = Arc::new(default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .expect("a known version")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("they match");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a known version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(client), Arc::new(server))
}

fn configs(old: bool) -> body::Configs {
    static BOTH: OnceLock<[body::Configs; 2]> = OnceLock::new();
    BOTH.get_or_init(|| [configs_of(&TLS13), configs_of(&TLS12)])[usize::from(old)].clone()
}

/// libFuzzer ends the process at any panic. An assertion of rustls fails when a peer breaks the
/// protocol after our end; that panic is caught where it happens, and is not a finding.
fn bear_the_known_assertion() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map_or("", |location| location.file());
            if !(place.contains("rustls") && place.ends_with("common_state.rs")) {
                report(info);
            }
        }));
    });
}

fuzz_target!(|input: &[u8]| {
    bear_the_known_assertion();
    body::run(input, configs);
});
