//! The name that a server's certificate must be for, from a text.

use rustls::pki_types::ServerName;

use crate::error::{Result, TlsError};
use crate::sys::names;

/// Parses a host name, or an address: in brackets or not, and without its scope, which no
/// certificate has.
///
/// # Errors
///
/// [`Error::Tls`](crate::Error::Tls), which describes the fault of the text.
pub(crate) fn server_name(text: &str) -> Result<ServerName<'static>> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .filter(|inner| inner.contains(':'));
    let bare = bare.unwrap_or(text);
    let bare = match bare.split_once('%') {
        Some((address, _)) if address.contains(':') => address,
        _ => bare,
    };
    let name = names::ascii(bare).map(|name| ServerName::try_from(name.into_owned()));
    if let Ok(Ok(name)) = name {
        return Ok(name);
    }
    let why = if text.is_empty() {
        "it is empty: give the name that the server's certificate is for"
    } else if text.contains("://") {
        "it is a URL: give the host in it alone"
    } else if text.contains(':') {
        "it has a colon and is no IPv6 address: give the host without its port"
    } else if text.starts_with('[') {
        "brackets are for IPv6 addresses"
    } else if !text.is_ascii() {
        "it is not ASCII: give its ASCII form, with labels as xn--.., or enable the feature `idna`"
    } else if text.len() > 253 {
        "it is longer than the 253 bytes a name can have (RFC 1035)"
    } else if text.contains('*') {
        "a client asks for one name, without a wildcard"
    } else {
        "a label has 1 to 63 letters, digits, hyphens or underscores, with no hyphen at its ends"
    };
    Err(TlsError::new(format!("{text:?} cannot be a server's name for TLS: {why}")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_taken() {
        for (text, taken) in [
            ("example.org", "example.org"),
            ("EXAMPLE.org.", "EXAMPLE.org"),
            ("a_b.example", "a_b.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("fe80::1%2", "fe80::1"),
        ] {
            assert_eq!(server_name(text).expect(text).to_str(), taken);
        }
    }

    #[test]
    #[cfg(feature = "idna")]
    fn a_name_that_is_not_ascii_is_encoded() {
        let taken = server_name("B\u{fc}cher.example").expect("a name");
        assert_eq!(taken.to_str(), "xn--bcher-kva.example");
    }

    #[test]
    fn what_is_odd_is_said() {
        let long = "a.".repeat(127) + "org";
        for (text, why) in [
            ("", "it is empty"),
            ("https://example.org/", "it is a URL"),
            ("example.org:443", "without its port"),
            #[cfg(not(feature = "idna"))]
            ("bücher.example", "xn--"),
            #[cfg(feature = "idna")]
            ("\u{fffd}", "xn--"),
            (&long, "253 bytes"),
            ("*.example.org", "without a wildcard"),
            ("not a name", "a label has"),
            ("-a.example", "a label has"),
            ("a..b", "a label has"),
            ("1.2.3.256", "a label has"),
            ("[example.org]", "brackets are for IPv6 addresses"),
            ("[]", "brackets are for IPv6 addresses"),
        ] {
            let error = server_name(text).expect_err(text).to_string();
            assert!(
                error.contains(why) && error.contains(&format!("{text:?}")),
                "{error}"
            );
        }
    }
}
