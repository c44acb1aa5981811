//! Certificates that are refused for reasons other than name, time and issuer: the message names
//! the reason, and shows no value in Rust's debug format.

use std::sync::Arc;

use futures_util::future::join;
use rcgen::{BasicConstraints, CustomExtension, GeneralSubtree, IsCa, KeyPair, NameConstraints};
use soloio::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use soloio::tls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use soloio::tls::rustls::{RootCertStore, ServerConfig};
use soloio::tls::{TlsStream, certificates_from_pem, client_config};
use soloio::{block_on, create_memory_byte_stream};

use crate::certs::{Ca, Issued};
use crate::support::deadline;
use crate::tls_support::provider;

/// Returns the error of a client that trusts `roots`, with a server that presents `chain`. Any key
/// will do: the chain is verified before the signature made with the key.
fn said(chain: Vec<CertificateDer<'static>>, roots: RootCertStore) -> String {
    let key = KeyPair::generate().expect("a key").serialize_der();
    let key = PrivateKeyDer::try_from(key).expect("a key");
    let key = provider()
        .key_provider
        .load_private_key(key)
        .expect("a key");
    let shown = SingleCertAndKey::from(CertifiedKey::new(chain, key));
    let server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    let client = client_config().roots(roots).build().expect("a client");
    let (ours, theirs) = create_memory_byte_stream(100_000);
    let (client, _) = block_on(async {
        join(
            TlsStream::client(ours, "localhost", client).into_future(),
            TlsStream::server(theirs, Arc::new(server)).into_future(),
        )
        .await
    });
    let text = client.expect_err("refused").to_string();
    assert!(!shows_rust(&text), "{text}");
    text
}

/// True if a text contains a name in Rust's spelling, except those of X.509.
fn shows_rust(text: &str) -> bool {
    let known = ["basicConstraints", "nameConstraints"];
    let text = known
        .iter()
        .fold(text.to_owned(), |text, name| text.replace(name, ""));
    let humps = |pair: &[u8]| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase();
    text.contains(['{', '"']) || text.as_bytes().windows(2).any(humps)
}

fn roots_of(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for root in certificates_from_pem(pem).expect("PEM") {
        roots.add(root).expect("a CA");
    }
    roots
}

#[test]
fn weak_keys_and_signatures_are_named() {
    let _guard = deadline();
    let chain = certificates_from_pem(OF_SHORT_KEY).expect("PEM");
    let text = said(chain, roots_of(SHORT_KEY));
    assert!(text.contains("RSA of less than 2048 bits"), "{text}");
    let chain = certificates_from_pem(BY_SHA_1).expect("PEM");
    let text = said(chain, roots_of(LONG_KEY));
    assert!(text.contains("such as with SHA-1"), "{text}");
}

#[test]
fn what_a_ca_may_not_do_is_named() {
    let _guard = deadline();
    // The limits of a root are not checked: it is trusted.
    let root = Ca::new("a root");
    let last = Ca::made("a CA below", Some(&root), |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let lower = Ca::made("a CA below that", Some(&last), |_| {});
    let leaf: Issued = lower.server(&["localhost"]);
    let chain = vec![leaf.chain[0].clone(), lower.der.clone(), last.der.clone()];
    let text = said(chain, root.roots());
    assert!(text.contains("may not issue other CAs"), "{text}");

    let narrow = Ca::made("a narrow CA", None, |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("example.org".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    });
    let text = said(narrow.server(&["localhost"]).chain.clone(), narrow.roots());
    assert!(text.contains("(nameConstraints)"), "{text}");
}

#[test]
fn what_a_certificate_has_too_much_is_named() {
    let _guard = deadline();
    let ca = Ca::new("a CA");
    let odd = ca.issue(&["localhost"], |params| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    });
    let text = said(odd.chain.clone(), ca.roots());
    assert!(text.contains("marked critical"), "{text}");

    // An error without a text of our own.
    let text = said(vec![CertificateDer::from(vec![1, 2, 3])], ca.roots());
    assert_eq!(
        text,
        "the server's certificate cannot be accepted: bad encoding"
    );
}

/// A CA with a key of 1024 bits.
const SHORT_KEY: &str = "\
-----BEGIN CERTIFICATE-----
MIIB7jCCAVegAwIBAgIULoTmODa7WXbZYNzK0Nybvtvv8w0wDQYJKoZIhvcNAQEL
BQAwEjEQMA4GA1UEAwwHd2VhayBDQTAgFw0yNjExMjkxNTIyNDZaGA8yMTI2MTEw
NTE1MjI0NlowEjEQMA4GA1UEAwwHd2VhayBDQTCBnzANBgkqhkiG9w0BAQEFAAOB
jQAwgYkCgYEAusy7kg5XMlNZFtrMU3B2G/B0Bv7KCVxfxYC+EPPHK1UBL+eu/TiU
53JnVcGsCwgiREuHFiz6KCV1I2DhRaezl3zoNpyuGJflBPsBd0PG1edxOBs06YU3
UcPNMZkgM3fWQ4l0y9mWKkcSrFuUw0ttQScmBgD+LC0gR60fiRIXkf8CAwEAAaM/
MD0wDwYDVR0TAQH/BAUwAwEB/zALBgNVHQ8EBAMCAgQwHQYDVR0OBBYEFAYvEgYw
NGnyj5bBvQNOcy07bIhsMA0GCSqGSIb3DQEBCwUAA4GBAAtSLpJDhgS5uEmzCvLi
ggFhzTE5nkoAp31i3QmHIsztQ8bh3uoar74ni5hayT82RPPxLEXa7hGLkNP64OO4
jbq35mB46Sur3UY23j+nqoLBjA0TFojLTTf+9CDmbMPz7vxvYnzlr2/51AJW1nUi
tf9uSEZC6JQZzuBUu1gDRF3D
-----END CERTIFICATE-----
";

/// A certificate that this CA has issued.
const OF_SHORT_KEY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBtTCCAR6gAwIBAgIBAjANBgkqhkiG9w0BAQsFADASMRAwDgYDVQQDDAd3ZWFr
IENBMCAXDTI2MTEyOTE1MjI0N1oYDzIxMjYxMTA1MTUyMjQ3WjAPMQ0wCwYDVQQD
DARsZWFmMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9f5JjVpbR7qsPqUgURZY
u3EwT364T69bEajFAosl0iqyqB0H4KVfSnnp3py5ZDhc6rCBvMEl1c6hWt3ScKco
laNjMGEwFAYDVR0RBA0wC4IJbG9jYWxob3N0MAkGA1UdEwQCMAAwHQYDVR0OBBYE
FKGL9CyS9PuPO5x5yRzJxQYCiIm3MB8GA1UdIwQYMBaAFAYvEgYwNGnyj5bBvQNO
cy07bIhsMA0GCSqGSIb3DQEBCwUAA4GBADseTHcv9kR8wLx3Kvq0sFsfWRMaUZ/o
pZbrYUUAIoIJ+jxG7SkykaVTgUBPuNvYiwH2we0gLwOaigTl5uEN+w0j+LDMG2+v
bTpkXR2ylWUx9Z3oOS+/p568gK/ESKHME5Rql99ytqzuiUZjsqqMK95MeKQAqKmB
6RWs+M/5E9Y9
-----END CERTIFICATE-----
";

/// A CA with a key of 2048 bits.
const LONG_KEY: &str = "\
-----BEGIN CERTIFICATE-----
MIIC8zCCAdugAwIBAgIUcc7eTTLp+OKN97JIQ+5APSt4Ac0wDQYJKoZIhvcNAQEL
BQAwEjEQMA4GA1UEAwwHd2VhayBDQTAgFw0yNjExMjkxNTIyNDZaGA8yMTI2MTEw
NTE1MjI0NlowEjEQMA4GA1UEAwwHd2VhayBDQTCCASIwDQYJKoZIhvcNAQEBBQAD
ggEPADCCAQoCggEBAMzF6SPuM0ZV5XwOaE21LIQYVhtbwatG8cDIAMYUWilwejRV
3fBwpvKFdqm7FEthd3TtJyTM7a4el29ON5SpKL1rhld02Ydv+fm7T3LL+b/iVUTG
HGZbHRv25kD+YZP7d0HiR7BpKGoqx6CLYH4gMZYjfxTnnx8OPn59lpS/o6P0SgpK
tJEI3MC7FyKdVXBaQ6XJfjjNqUmGGt/5Gsiz/wwLXqEvHu7sxSP+xMWlt4om3gPl
0hLu2NhoXn+6KDeM/l8Qryw/m7QdoXA0W8YFnvzOe3vmhsNlAavUnOMEmToQn00S
t4vNaYsQV6d84lxH25pTjJpHdug6tme2fuvwlY0CAwEAAaM/MD0wDwYDVR0TAQH/
BAUwAwEB/zALBgNVHQ8EBAMCAgQwHQYDVR0OBBYEFPDO2A95Q1aKOi8x00l82piE
45sjMA0GCSqGSIb3DQEBCwUAA4IBAQC8tiwDEqV8PCbmHKzlO9+f1/bVpaQU/lAv
93aldkNvKjbxyRYW3YlrGwZ4ONDgZFMUbU1eVbIwq5ONYLTb+1r1kjzfU3SQ20r5
/GggKsLCq4Mjf9Bn7JqWMjMkfSJJFChaGfPhtlBhpA/Mnk0pnMYsUcmDU3xloZwD
6fUnElLJWt1SKJKTYxnoPOHMrsA3DLLHFrS8Yufp9KpYZ7e/+24748oz7GLPmPu4
8oSg9yKWGuA0Euu3yXftGaupcIpM4fT268js+xcB7zbSFMT3LStuEDL5/fb0//o1
hthUCzB5mfbjEXUecmu7wgtGJtwMwcrPCJiONT5KFuqib3JEUJH/
-----END CERTIFICATE-----
";

/// A certificate that this CA has signed with SHA-1.
const BY_SHA_1: &str = "\
-----BEGIN CERTIFICATE-----
MIICNjCCAR6gAwIBAgIBAjANBgkqhkiG9w0BAQUFADASMRAwDgYDVQQDDAd3ZWFr
IENBMCAXDTI2MTEyOTE1MjI0N1oYDzIxMjYxMTA1MTUyMjQ3WjAPMQ0wCwYDVQQD
DARsZWFmMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9f5JjVpbR7qsPqUgURZY
u3EwT364T69bEajFAosl0iqyqB0H4KVfSnnp3py5ZDhc6rCBvMEl1c6hWt3ScKco
laNjMGEwFAYDVR0RBA0wC4IJbG9jYWxob3N0MAkGA1UdEwQCMAAwHQYDVR0OBBYE
FKGL9CyS9PuPO5x5yRzJxQYCiIm3MB8GA1UdIwQYMBaAFPDO2A95Q1aKOi8x00l8
2piE45sjMA0GCSqGSIb3DQEBBQUAA4IBAQCzuz/JeciD2jzYUvh6ZwTbe4moP6eg
/W5zBoyd4Uuq/LVY9qUl228eRo4VJTRJ4Ooz7lqMCvcSVF+eNLL0C203sEPfeA/m
t4wBh15PH7WEgefNPAZyuR8U5c/H1JLeaWWhFFBUSyYWyPm1RkZcjh7mKE6IKPaE
wZKPLhe/fwu60C/bWGZljtZPtvHdWLfhkQl4vTHrMOGiRwkVp65qhZml1i8434ws
99XW8xmz9AK8a/2TYv1wX3LdTSF60iFw+3hzmUozVemJeBTbCc834y6E1H1WvzV+
0+EBUtwamtdEnzspt4eDAFGCd0VLkJFLNWVjUb7KAEUIChE7qpYBDVh8
-----END CERTIFICATE-----
";
