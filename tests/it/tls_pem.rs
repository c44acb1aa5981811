//! PEM files that are missing, empty, swapped, encrypted, damaged or do not match: each error names
//! the file and the remedy.

use std::fs;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_oneof, proptest};
use soloio::Error;
use soloio::tls::{
    certificates_from_pem, private_key_from_pem, read_certificates, read_private_key,
};

use crate::certs::{Ca, Issued};
use crate::net_support::TempDir;

pub(crate) fn issued() -> (Ca, Issued) {
    let ca = Ca::new("a CA");
    let server = ca.server(&["localhost"]);
    (ca, server)
}

fn said<T: std::fmt::Debug>(result: soloio::Result<T>) -> String {
    match result {
        Err(Error::Tls(error)) => error.to_string(),
        other => panic!("not an error of TLS: {other:?}"),
    }
}

#[test]
fn chains_and_keys_of_every_form_are_read() {
    let (ca, server) = issued();
    let chain = format!("some text before\n{}{}", server.chain_pem, ca.pem);
    assert_eq!(certificates_from_pem(&chain).expect("two").len(), 2);
    // Both in one file, with line ends of Windows and the byte order mark of its editors.
    let both = format!("\u{feff}{}{chain}", server.key_pem).replace('\n', "\r\n");
    let read = certificates_from_pem(&both).expect("two");
    assert_eq!(read, [server.chain[0].clone(), ca.der.clone()]);
    assert_eq!(private_key_from_pem(&both).expect("one"), server.key());
    // Without a newline at the end.
    let cut = server.chain_pem.trim_end();
    assert_eq!(certificates_from_pem(cut).expect("one").len(), 1);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let dir = TempDir::new();
    let missing = dir.path("cert.pem");
    for text in [
        said(read_certificates(&missing)),
        said(read_private_key(&missing)),
    ] {
        let start = format!("{} cannot be read: ", missing.display());
        assert!(
            text.starts_with(&start) && text.contains("No such file"),
            "{text}"
        );
    }
    let folder = said(read_certificates(dir.all()));
    assert!(
        folder.contains("cannot be read: Is a directory"),
        "{folder}"
    );
    let endless = said(read_certificates("/dev/zero"));
    assert!(
        endless.starts_with("/dev/zero is larger than 16 MiB"),
        "{endless}"
    );
}

#[test]
fn what_else_a_file_holds_is_said() {
    let dir = TempDir::new();
    let path: PathBuf = dir.path("given.pem");
    let (_, server) = issued();
    let damaged = server.chain_pem.replacen("MII", "M?I", 1);
    let cut_off = &server.chain_pem[..server.chain_pem.len() / 2];
    let two_cut = format!("{cut_off}\n{}", server.chain_pem);
    let hollow = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let request = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
    let der = server.chain[0].as_ref();
    let of_chains: &[(&[u8], &str)] = &[
        (b"", "is empty, but should hold a certificate in PEM"),
        (b" \n\n", "is empty, but should hold a certificate in PEM"),
        (
            server.key_pem.as_bytes(),
            "holds a private key and no certificate: were the two files sw",
        ),
        (
            request.as_bytes(),
            "holds no certificate, but: CERTIFICATE REQUEST",
        ),
        (
            der,
            "is not PEM, but looks like DER: convert it with `openssl x509 -inform DER`",
        ),
        (b"hello", "is not PEM: it has no line `-----BEGIN ...-----`"),
        (
            damaged.as_bytes(),
            "the section BEGIN CERTIFICATE in line 1 is damaged: ",
        ),
        (
            cut_off.as_bytes(),
            "BEGIN CERTIFICATE in line 1 has no END CERTIFICATE: it was cut off",
        ),
        (
            two_cut.as_bytes(),
            "BEGIN CERTIFICATE in line 1 has no END CERTIFICATE: it was cut off",
        ),
        (
            hollow.as_bytes(),
            "the certificate that begins in line 1 is PEM, but what it holds is no",
        ),
    ];
    for (bytes, expected) in of_chains {
        fs::write(&path, bytes).expect("a file");
        let text = said(read_certificates(&path));
        assert!(text.starts_with(&path.display().to_string()), "{text}");
        assert!(text.contains(expected), "{text}\nlacks: {expected}");
    }
    let text = said(certificates_from_pem(""));
    assert_eq!(
        text,
        "the PEM text is empty, but should hold a certificate in PEM"
    );
}

#[test]
fn what_else_is_there_in_place_of_a_key_is_said() {
    let dir = TempDir::new();
    let path: PathBuf = dir.path("given.pem");
    let (_, server) = issued();
    let der = server.chain[0].as_ref();
    let encrypted = server
        .key_pem
        .replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let older = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                 DEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let public = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    let of_keys: &[(&[u8], &str)] = &[
        (b"", "is empty, but should hold a private key in PEM"),
        (
            server.chain_pem.as_bytes(),
            "holds a certificate and no private key: were the two files",
        ),
        (encrypted.as_bytes(), "the private key is encrypted"),
        (
            older.as_bytes(),
            "decrypt it with `openssl pkey -in FILE -out PLAIN`",
        ),
        (public.as_bytes(), "holds no private key, but: PUBLIC KEY"),
        (
            der,
            "is not PEM, but looks like DER: convert it with `openssl pkey -inform DER`",
        ),
    ];
    for (bytes, expected) in of_keys {
        fs::write(&path, bytes).expect("a file");
        let text = said(read_private_key(&path));
        assert!(text.starts_with(&path.display().to_string()), "{text}");
        assert!(text.contains(expected), "{text}\nlacks: {expected}");
    }
}

#[test]
fn a_key_in_one_line_is_told_and_not_shown() {
    let (_, server) = issued();
    let dir = TempDir::new();
    for lost in [" ", "", "\\n", "\t"] {
        let line = server.key_pem.trim_end().replace('\n', lost);
        let path = dir.path("key.pem");
        fs::write(&path, &line).expect("a file");
        for text in [
            said(private_key_from_pem(&line)),
            said(certificates_from_pem(&line)),
            said(read_private_key(&path)),
        ] {
            let expected = "BEGIN and END stand in one line, line 1: the line breaks were lost";
            assert!(text.contains(expected), "{text}");
            assert_shows_nothing(&line, &text);
        }
    }
    let shell = format!("KEY={}", server.key_pem.replace('\n', " "));
    assert_shows_nothing(&shell, &said(private_key_from_pem(&shell)));
}

#[test]
fn a_key_given_as_a_path_is_not_shown() {
    let (_, server) = issued();
    let text = said(read_private_key(&server.key_pem));
    assert!(text.contains("in place of the path"), "{text}");
    assert_shows_nothing(&server.key_pem, &text);
}

/// The labels that an error may contain.
const LABELS: &[&str] = &[
    "CERTIFICATE",
    "ENCRYPTED PRIVATE KEY",
    "PRIVATE KEY",
    "PUBLIC KEY",
    "RSA PRIVATE KEY",
    "X509 CRL",
];

/// Expects no eight consecutive bytes of `input` in `text`, except the words of PEM.
#[track_caller]
pub(crate) fn assert_shows_nothing(input: &str, text: &str) {
    let lines = |label| {
        [
            format!("-----BEGIN {label}-----"),
            format!("-----END {label}-----"),
        ]
    };
    let mut public: Vec<String> = LABELS.iter().flat_map(lines).collect();
    public.push("it has no line `-----BEGIN ...-----`".to_owned());
    for run in input.as_bytes().windows(8) {
        let Ok(run) = std::str::from_utf8(run) else {
            continue;
        };
        let is_public = public.iter().any(|known| known.contains(run));
        assert!(
            is_public || !text.contains(run),
            "{run:?} stands in {text:?}"
        );
    }
}

/// Generates a piece of a file: parts of a key, valid or not, and text around it.
pub(crate) fn piece() -> impl Strategy<Value = String> {
    let label = prop_oneof![
        Just("PRIVATE KEY".to_owned()),
        Just("RSA PRIVATE KEY".to_owned()),
        Just("ENCRYPTED PRIVATE KEY".to_owned()),
        Just("CERTIFICATE".to_owned()),
        Just("X509 CRL".to_owned()),
        "[A-Za-z0-9+/= -]{0,80}",
    ];
    let line_end = prop_oneof![Just("\n"), Just("\r\n"), Just(" "), Just(""), Just("\\n")];
    let begin =
        (label.clone(), line_end.clone()).prop_map(|(l, e)| format!("-----BEGIN {l}-----{e}"));
    let end = (label, line_end.clone()).prop_map(|(l, e)| format!("-----END {l}-----{e}"));
    let body = ("[A-Za-z0-9+/]{8,64}={0,2}", line_end.clone()).prop_map(|(b, e)| format!("{b}{e}"));
    let header = (Just("Proc-Type: 4,ENCRYPTED"), line_end).prop_map(|(h, e)| format!("{h}{e}"));
    prop_oneof![begin, end, body, header, "[ -~]{0,40}", "\\PC{0,10}"]
}

proptest! {
    #[test]
    fn errors_show_nothing_of_a_file(pieces in vec(piece(), 0..12)) {
        let input = pieces.concat();
        let (chain, key) = (certificates_from_pem(&input), private_key_from_pem(&input));
        for error in [chain.err(), key.err()].into_iter().flatten() {
            assert_shows_nothing(&input, &error.to_string());
            assert_shows_nothing(&input, &format!("{error:?}"));
        }
    }
}
