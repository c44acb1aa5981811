//! PEM files that are missing, empty, swapped, encrypted, damaged or do not belong together: each
//! error names the file and says what to do.

use std::fs;
use std::path::PathBuf;

use soloio::Error;
use soloio::tls::{
    certificates_from_pem, private_key_from_pem, read_certificates, read_private_key,
};

use crate::certs::{Ca, Issued};
use crate::net_support::TempDir;

fn issued() -> (Ca, Issued) {
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
    // Both in one file, with the ends of lines of Windows and what its editors put first.
    let both = format!("\u{feff}{}{chain}", server.key_pem).replace('\n', "\r\n");
    let read = certificates_from_pem(&both).expect("two");
    assert_eq!(read, [server.chain[0].clone(), ca.der.clone()]);
    assert_eq!(private_key_from_pem(&both).expect("one"), server.key());
    // No newline at the end.
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
            "decrypt it with `openssl pkey -in ENCRYPTED -out PLAIN`",
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
