//! What rustls says, as errors that say what to do.

use rustls::{AlertDescription, CertificateError, InvalidMessage};

use crate::error::{Error, TlsError};

/// An error of an established connection.
pub(super) fn in_traffic(error: &rustls::Error) -> Error {
    let message = match error {
        rustls::Error::AlertReceived(_) => "the TLS peer ended the connection with an alert",
        rustls::Error::DecryptError => "what the TLS peer sent was changed on its way",
        _ => "the TLS connection failed",
    };
    TlsError::new(message).caused_by(error.clone()).into()
}

/// An error of a handshake.
pub(super) fn in_handshake(error: rustls::Error) -> Error {
    let message = match &error {
        rustls::Error::InvalidCertificate(reason) => certificate(reason),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "TLS handshake: the peer does not speak TLS, is this the right port?"
        }
        rustls::Error::NoApplicationProtocol => {
            "TLS handshake: the peer offers none of our ALPN protocols"
        }
        rustls::Error::AlertReceived(alert) => refusal(*alert),
        rustls::Error::PeerIncompatible(_) => {
            "TLS handshake: no version or cipher suite that both sides know"
        }
        _ => "TLS handshake failed",
    };
    TlsError::new(message).caused_by(error).into()
}

fn certificate(reason: &CertificateError) -> &'static str {
    use CertificateError as Bad;
    match reason {
        Bad::Expired | Bad::ExpiredContext { .. } => {
            "TLS handshake: the peer's certificate has expired (or our clock is wrong)"
        }
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
            "TLS handshake: the peer's certificate is not valid yet (or our clock is wrong)"
        }
        Bad::UnknownIssuer => {
            "TLS handshake: the peer's certificate is from an authority that is not trusted"
        }
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
            "TLS handshake: the peer's certificate is for another name"
        }
        Bad::Revoked => "TLS handshake: the peer's certificate was revoked",
        _ => "TLS handshake: the peer's certificate is not accepted",
    }
}

fn refusal(alert: AlertDescription) -> &'static str {
    use AlertDescription as Alert;
    match alert {
        Alert::UnknownCA => "TLS handshake: the peer does not trust our certificate's authority",
        Alert::CertificateExpired => "TLS handshake: the peer says our certificate has expired",
        Alert::CertificateRequired => "TLS handshake: the peer wants a client certificate",
        Alert::NoApplicationProtocol => "TLS handshake: the peer knows none of our ALPN protocols",
        Alert::UnrecognisedName => "TLS handshake: the peer has no certificate for this name",
        _ => "TLS handshake: the peer refused with an alert",
    }
}
