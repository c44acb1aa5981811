//! Turns errors of rustls into messages that name a remedy.

use std::time::Duration;

use rustls::{AlertDescription as Alert, CertificateError as Fault, InvalidMessage};

use crate::error::{Error, TlsError};

/// Makes the error of an established connection. In TLS 1.3 a client learns only here that it was
/// refused.
pub(super) fn in_traffic(error: &rustls::Error, is_client: bool) -> Error {
    let message = match error {
        rustls::Error::AlertReceived(alert) => refused(*alert, is_client),
        rustls::Error::DecryptError => "what the TLS peer sent was changed on its way".into(),
        _ => String::from("the TLS connection failed"),
    };
    TlsError::new(message).caused_by(error.clone()).into()
}

/// Makes the error of a handshake, on the client or the server.
pub(super) fn in_handshake(error: rustls::Error, is_client: bool) -> Error {
    use rustls::Error as Said;
    let message = match &error {
        Said::InvalidCertificate(fault) => {
            let message = certificate(fault, is_client);
            return TlsError::new(message).instead_of(error).into();
        }
        Said::AlertReceived(alert) => refused(*alert, is_client),
        Said::NoCertificatesPresented => {
            "the client showed no certificate, and this server lets in only those that do".into()
        }
        Said::NoApplicationProtocol => "the client speaks none of this server's protocols (ALPN): \
                                        set the same with `alpn(..)` on both sides"
            .into(),
        Said::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "what came is not TLS: is this the right port, and does the peer speak TLS there?"
                .into()
        }
        Said::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge) => {
            "the peer's chain of certificates is too long (a message may have 64 KiB)".into()
        }
        Said::PeerIncompatible(_) => {
            "the two sides have no TLS version or cipher suite in common".into()
        }
        // The error of rustls if the configuration has no certificate for a client.
        Said::General(text) if text == "no server certificate chain resolved" => {
            "this server has no certificate for the name that the client asks for: set one for all \
             other names with `certificate_files(..)`"
                .into()
        }
        _ => String::from("the TLS handshake failed"),
    };
    TlsError::new(message).caused_by(error).into()
}

/// Makes the error of a certificate that a configuration cannot use; `what` is the purpose.
pub(super) fn unusable(what: String, error: rustls::Error) -> Error {
    let why = match &error {
        rustls::Error::InvalidCertificate(Fault::NotValidForNameContext { presented, .. })
            if !presented.is_empty() =>
        {
            format!("it is for {}", names(presented))
        }
        rustls::Error::InvalidCertificate(fault) => words(fault),
        other => other.to_string(),
    };
    TlsError::new(format!("{what}: {why}"))
        .instead_of(error)
        .into()
}

/// Describes why the peer's certificate is not accepted.
fn certificate(fault: &Fault, of_server: bool) -> String {
    let subject = format!("the {} certificate", peers(of_server));
    let expired = |ago: String| {
        format!(
            "{subject} has expired{ago}: it must be renewed (or is this machine's clock wrong?)"
        )
    };
    let early = |ahead: String| {
        format!("{subject} is not valid yet{ahead}: is this machine's clock wrong?")
    };
    match fault {
        Fault::Expired => expired(String::new()),
        Fault::ExpiredContext { time, not_after } => {
            let ago = Duration::from_secs(time.as_secs().saturating_sub(not_after.as_secs()));
            expired(format!(" {} ago", rough(ago)))
        }
        Fault::NotValidYet => early(String::new()),
        Fault::NotValidYetContext { time, not_before } => {
            let ahead = Duration::from_secs(not_before.as_secs().saturating_sub(time.as_secs()));
            early(format!(", but in {}", rough(ahead)))
        }
        Fault::UnknownIssuer if of_server => format!(
            "{subject} is not trusted, since its issuer is not trusted here: name its CA with \
             `ca_file(..)` if it is a private one"
        ),
        Fault::UnknownIssuer => {
            format!(
                "{subject} is not trusted, since none of this server's client CAs has issued it"
            )
        }
        Fault::NotValidForName => format!("{subject} is not for that name"),
        Fault::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            format!(
                "{subject} has no name in its subjectAltName, and the common name does not count"
            )
        }
        Fault::NotValidForNameContext { presented, .. } => {
            format!(
                "{subject} is not for that name, but for {}: connect to a name it is for, or give \
                 that with `tls_hostname(..)`",
                names(presented)
            )
        }
        Fault::Revoked => format!("{subject} has been revoked"),
        // The issuer's name is among the roots, but with another key.
        Fault::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            format!("{subject} is not trusted: its issuer's name is known here, with another key")
        }
        // The verifier does not distinguish the two.
        Fault::BadSignature => format!(
            "{subject} is not trusted: a signature in its chain, or with its key, cannot be \
             verified. An issuer's name is known here with another key, or a key is RSA of less \
             than 2048 bits"
        ),
        Fault::UnsupportedSignatureAlgorithmContext { .. } => format!(
            "{subject}, or one of its chain, is signed in a way that is too weak or not known, \
             such as with SHA-1: have it issued anew, signed with SHA-256"
        ),
        Fault::UnhandledCriticalExtension => critical(&subject),
        Fault::Other(cause) => other(&subject, &cause.to_string()),
        Fault::InvalidPurpose | Fault::InvalidPurposeContext { .. } => format!(
            "{subject} may not be used for this: its extended key usage lacks {}",
            if of_server {
                "serverAuth"
            } else {
                "clientAuth"
            }
        ),
        _ => format!("{subject} cannot be accepted: {}", words(fault)),
    }
}

/// Describes faults that rustls reports only by the verifier's name for them.
fn other(subject: &str, fault: &str) -> String {
    match fault {
        "CaUsedAsEndEntity" => format!(
            "{subject} is that of a CA, which must not be used for a connection: make it with \
             basicConstraints CA:FALSE"
        ),
        "PathLenConstraintViolated" => format!(
            "{subject} is not trusted: a CA of its chain may not issue other CAs (the path length \
             in its basicConstraints)"
        ),
        "NameConstraintViolation" => format!(
            "{subject} is not trusted: a CA of its chain may not issue certificates for its names \
             (nameConstraints)"
        ),
        "UnsupportedCriticalExtension" => critical(subject),
        fault => format!("{subject} cannot be accepted: {}", spaced(fault)),
    }
}

fn critical(subject: &str) -> String {
    format!(
        "{subject}, or one of its chain, has an extension that is marked critical and is not known \
         here: have it issued without, or not as critical"
    )
}

/// Turns rustls' name of the fault into words.
fn words(fault: &Fault) -> String {
    match fault {
        Fault::Other(cause) => spaced(&cause.to_string()),
        // Fields in Rust syntax may follow.
        fault => spaced(format!("{fault:?}").split(' ').next().unwrap_or_default()),
    }
}

/// Turns `BadEncoding` into "bad encoding"; returns anything but such a name unchanged.
fn spaced(name: &str) -> String {
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return name.to_owned();
    }
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

fn names(presented: &[String]) -> String {
    let names: Vec<&str> = presented.iter().map(|name| plain(name)).collect();
    names.join(", ")
}

/// Returns the peer's role in the genitive.
fn peers(is_client: bool) -> &'static str {
    if is_client { "server's" } else { "client's" }
}

/// Strips the form in which rustls prints names: `DnsName("localhost")`, `IpAddress(127.0.0.1)`.
fn plain(name: &str) -> &str {
    let inner = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

/// Describes why the peer has refused. An alert comes from the peer: its own log has more details.
fn refused(alert: Alert, by_server: bool) -> String {
    let peer = if by_server {
        "the server"
    } else {
        "the client"
    };
    let why = match alert {
        Alert::CertificateRequired if by_server => {
            " it wants a client certificate: give one with `certificate_files(..)`"
        }
        Alert::UnknownCA => " it does not trust the issuer of our certificate",
        Alert::CertificateExpired => " our certificate has expired",
        Alert::CertificateRevoked => " our certificate has been revoked",
        Alert::BadCertificate | Alert::CertificateUnknown | Alert::UnsupportedCertificate => {
            " it does not accept our certificate (expired, for another name, or not trusted)"
        }
        Alert::NoApplicationProtocol => {
            " it speaks none of our protocols (ALPN): set the same with `alpn(..)` on both sides"
        }
        Alert::ProtocolVersion => " it speaks none of our TLS versions",
        Alert::HandshakeFailure => {
            " there is no common cipher, or it wants a certificate that we did not show"
        }
        Alert::UnrecognisedName | Alert::AccessDenied if by_server => {
            " it has no certificate for the name we asked for, or does not let us in"
        }
        _ => "",
    };
    let colon = if why.is_empty() { "" } else { ":" };
    format!("{peer} ended the connection{colon}{why}")
}

/// Formats a duration in rounded units.
fn rough(time: Duration) -> String {
    let seconds = time.as_secs();
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7200 => (seconds / 60, "minute"),
        7200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
