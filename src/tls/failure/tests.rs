//! The texts, by errors of rustls.

use super::*;

fn said(error: rustls::Error, is_client: bool) -> String {
    let Error::Tls(said) = in_handshake(error.clone(), is_client) else {
        panic!("another kind of error")
    };
    let source = std::error::Error::source(&*said).expect("the cause is kept");
    assert_eq!(source.to_string(), error.to_string());
    said.to_string()
}

#[test]
fn what_to_do_is_said_and_the_cause_kept() {
    let unknown = rustls::Error::InvalidCertificate(Fault::UnknownIssuer);
    let text = said(unknown, true);
    assert!(
        text.starts_with("the server's certificate is not trusted"),
        "{text}"
    );
    assert!(text.ends_with("if it is a private one"), "{text}");

    let wrong = rustls::Error::InvalidCertificate(Fault::NotValidForNameContext {
        expected: "example.org".try_into().expect("a name"),
        presented: vec![
            "DnsName(\"localhost\")".into(),
            "IpAddress(127.0.0.1)".into(),
        ],
    });
    let text = said(wrong, true);
    assert!(
        text.contains("but for localhost, 127.0.0.1: connect"),
        "{text}"
    );

    let ca = std::io::Error::other("CaUsedAsEndEntity");
    let ca = Fault::Other(rustls::OtherError(std::sync::Arc::new(ca)));
    let text = said(rustls::Error::InvalidCertificate(ca), true);
    assert!(text.contains("basicConstraints CA:FALSE"), "{text}");

    let text = said(rustls::Error::AlertReceived(Alert::UnknownCA), false);
    assert!(
        text.starts_with("the client ended the connection: it does not"),
        "{text}"
    );
    let text = said(rustls::Error::AlertReceived(Alert::InternalError), false);
    assert!(
        text.starts_with("the client ended the connection: received"),
        "{text}"
    );
}

#[test]
fn each_fault_of_a_certificate_has_its_words() {
    use rustls::pki_types::UnixTime;
    let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let (time, before, after) = (at(1000), at(1000 - 119), at(1000 + 7200));
    let server = [
        (Fault::Expired, "has expired: it"),
        (
            Fault::ExpiredContext {
                time,
                not_after: before,
            },
            "has expired 119 seconds ago: it",
        ),
        (Fault::NotValidYet, "is not valid yet: is"),
        (
            Fault::NotValidYetContext {
                time,
                not_before: after,
            },
            "is not valid yet, but in 2 hours: is",
        ),
        (Fault::NotValidForName, "is not for that name"),
        (
            Fault::NotValidForNameContext {
                expected: "example.org".try_into().expect("a name"),
                presented: Vec::new(),
            },
            "has no name in its subjectAltName",
        ),
        (Fault::Revoked, "has been revoked"),
        (
            Fault::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: Vec::new(),
                public_key_algorithm_id: Vec::new(),
            },
            "name is known here, with another key",
        ),
        (Fault::UnhandledCriticalExtension, "marked critical"),
        (Fault::InvalidPurpose, "usage lacks serverAuth"),
        (Fault::BadEncoding, "cannot be accepted: bad encoding"),
    ];
    for (fault, words) in server {
        let text = certificate(&fault, true);
        assert!(text.starts_with("the server's certificate"), "{text}");
        assert!(text.contains(words), "{text}");
    }
    let client = certificate(&Fault::InvalidPurpose, false);
    assert!(client.starts_with("the client's certificate"), "{client}");
    assert!(client.ends_with("usage lacks clientAuth"), "{client}");
    let odd = other("its", "SomethingNew");
    assert_eq!(odd, "its cannot be accepted: something new");
    let odd = other("its", "of a verifier of one's own");
    assert_eq!(odd, "its cannot be accepted: of a verifier of one's own");
    assert_eq!(plain("localhost"), "localhost");
    let unused = unusable("x cannot be used".into(), rustls::Error::DecryptError);
    assert!(
        unused
            .to_string()
            .contains("x cannot be used: cannot decrypt")
    );
}

#[test]
fn alerts_that_say_why() {
    for (alert, why) in [
        (Alert::CertificateExpired, "our certificate has expired"),
        (
            Alert::CertificateRevoked,
            "our certificate has been revoked",
        ),
        (Alert::HandshakeFailure, "there is no common cipher"),
        (Alert::ProtocolVersion, "none of our TLS versions"),
        (Alert::NoApplicationProtocol, "`alpn(..)` on both sides"),
    ] {
        for (by_server, peer) in [(true, "the server"), (false, "the client")] {
            let text = refused(alert, by_server);
            assert!(text.starts_with(&format!("{peer} ended the connection: ")));
            assert!(text.contains(why), "{text}");
        }
    }
}

#[test]
fn times_are_rough() {
    let said: Vec<String> = [1, 119, 3600, 7200, 86_400, 172_800, 31_536_000]
        .map(|seconds| rough(Duration::from_secs(seconds)))
        .to_vec();
    assert_eq!(
        said,
        [
            "1 second",
            "119 seconds",
            "60 minutes",
            "2 hours",
            "24 hours",
            "2 days",
            "365 days"
        ]
    );
}
