//! Keys given in place of the path of a file, and files of configurations: no error shows a byte of
//! them.

use std::error::Error as _;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, prop_oneof, proptest};
use soloio::Error;
use soloio::tls::rustls::ServerConfig;
use soloio::tls::{client_config, read_certificates, read_private_key, server_config};

use crate::net_support::TempDir;
use crate::tls_config::{handshake, trusting};
use crate::tls_pem::{assert_shows_nothing, issued, piece};

/// Only the body of a key, of one line or several, with and without the line ends.
#[test]
fn a_body_given_as_a_path_is_not_shown() {
    let (_, server) = issued();
    let mut lines = server.key_pem.lines();
    let body: Vec<&str> = lines
        .by_ref()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let mut given: Vec<String> = ["\n", "", " ", "\\n", "\r\n"]
        .map(|end| body.join(end))
        .into();
    given.push(body[0].to_owned());
    given.push(format!("KEY={}", body[0]));
    given.push(server.key_pem.replace("-----", ""));
    for path in given {
        for text in told_about_paths(&path) {
            assert!(text.contains("its path is not shown"), "{text}");
            assert_shows_nothing(&path, &text);
        }
    }
    // Paths of files that are missing, long ones too, are shown.
    let long = format!("/nowhere/{}/server.pem", "Directory1".repeat(20));
    for path in ["key", "/nowhere/cert", "a b.pem", &long] {
        for text in told_about_paths(path) {
            assert!(text.contains(&format!("{path} cannot be read")), "{text}");
        }
    }
}

/// Returns the errors of all that reads the file, which has no usable contents.
fn told_about_paths(path: &str) -> Vec<String> {
    let of = |config: soloio::Result<_>| shown_all(config.map(|_: Arc<ServerConfig>| ()));
    let chain_and_key = server_config().certificate_files(path, path);
    let host = server_config().host_files("localhost", path, path);
    let client = client_config().ca_file(path).build();
    vec![
        shown_all(read_certificates(path).map(drop)),
        shown_all(read_private_key(path).map(drop)),
        of(chain_and_key.build()),
        of(host.build()),
        shown_all(client.map(drop)),
    ]
}

/// Returns an error in each of its forms, with its causes; without one nothing.
fn shown_all(result: soloio::Result<()>) -> String {
    let Err(error) = result else {
        return String::new();
    };
    let mut shown = format!("{error} {error:?} {error:#?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        shown += &format!(" {error} {error:?}");
        cause = error.source();
    }
    shown
}

/// Files that change to something else: the errors that the hook gets.
#[test]
fn a_reload_shows_nothing_of_a_file() {
    let (ca, server) = issued();
    let dir = TempDir::new();
    let (chain, key) = server.write(dir.all(), "server");
    let told = Arc::new(Mutex::new(Vec::new()));
    let hook = Arc::clone(&told);
    let config = server_config()
        .certificate_files(&chain, &key)
        .reload_files(Duration::ZERO, move |error| {
            let shown = shown_all(Err(Error::other(error.to_string()))) + &format!("{error:?}");
            hook.lock().expect("whole").push(shown);
        })
        .build()
        .expect("a server");
    let client = trusting(&ca).sessions(0).build().expect("a client");
    let one_line = server.key_pem.replace('\n', " ");
    let damaged = server
        .key_pem
        .replacen("MI", "M?I", 1)
        .replacen("MC", "M?C", 1);
    let cut_off = &server.key_pem[..server.key_pem.len() / 2];
    let relabelled = server
        .key_pem
        .replace("PRIVATE KEY", "MIIEvQIBADANBgkqhkiG");
    let swapped = &server.chain_pem;
    for contents in [&one_line[..], &damaged, cut_off, &relabelled, swapped] {
        fs::write(&key, contents).expect("a file");
        handshake(&client, "localhost", &config).expect("with the former one");
        let shown = told.lock().expect("whole").pop().expect("an error");
        assert_shows_nothing(contents, &shown);
        fs::write(&key, &server.key_pem).expect("a file");
        handshake(&client, "localhost", &config).expect("verified");
    }
}

proptest! {
    #[test]
    fn errors_of_configurations_show_nothing_of_a_file(pieces in vec(piece(), 0..12)) {
        let (dir, input) = (TempDir::new(), pieces.concat());
        let path = dir.path("any");
        fs::write(&path, &input).expect("a file");
        for text in told_about_paths(path.to_str().expect("UTF-8")) {
            assert_shows_nothing(&input, &text);
        }
    }

    #[test]
    fn errors_show_no_body_in_place_of_a_path(
        body in vec("[A-Za-z0-9+/]{40,64}", 1..30),
        end in prop_oneof![Just("\n"), Just("\r\n"), Just(" "), Just(""), Just("\\n")],
    ) {
        // The first bytes of every PKCS #8 key of its kind.
        let input = ["MC4CAQAwBQYDK2VwBCIEI", &body.join(end), "="].concat();
        for text in told_about_paths(&input) {
            assert_shows_nothing(&input, &text);
        }
    }
}
