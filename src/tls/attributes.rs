//! The attributes of a TLS stream from its handshake: version, names, certificates, keying
//! material.

use rustls::pki_types::CertificateDer;
use rustls::{HandshakeKind, ProtocolVersion};

use super::stream::TlsStream;
#[cfg(doc)]
use crate::error::Error;
use crate::error::{Result, TlsError};

/// The results of the handshake.
impl<S> TlsStream<S> {
    /// Returns the stream below, for its addresses and options. Sending or receiving there breaks
    /// the connection.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.session.inner
    }

    /// Returns the version, `TLSv1.2` or `TLSv1.3`.
    #[doc(alias = "tls_version")]
    #[must_use]
    pub fn version(&self) -> &'static str {
        match self
            .session
            .state
            .borrow()
            .machine
            .common()
            .protocol_version()
        {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        }
    }

    /// Returns the cipher suite's name, such as `TLS13_AES_256_GCM_SHA384`.
    #[doc(alias = "cipher")]
    #[must_use]
    pub fn cipher_suite(&self) -> &'static str {
        let state = self.session.state.borrow();
        let suite = state.machine.common().negotiated_cipher_suite();
        // There is one after every handshake.
        suite.and_then(|suite| suite.suite().as_str()).unwrap_or("")
    }

    /// Returns the application protocol that ALPN has selected, such as `h2`.
    #[must_use]
    pub fn alpn_protocol(&self) -> Option<Vec<u8>> {
        let state = self.session.state.borrow();
        state.machine.common().alpn_protocol().map(<[u8]>::to_vec)
    }

    /// Returns the peer's certificates in DER, its own first. `None` if it sent none, as most
    /// clients do.
    #[doc(alias = "peer_certificate_binary")]
    #[must_use]
    pub fn peer_certificates(&self) -> Option<Vec<CertificateDer<'static>>> {
        let state = self.session.state.borrow();
        let certificates = state.machine.common().peer_certificates();
        certificates.map(<[CertificateDer<'static>]>::to_vec)
    }

    /// On a server: the name that the client has sent (SNI).
    #[must_use]
    pub fn server_name(&self) -> Option<String> {
        let state = self.session.state.borrow();
        state.machine.observer.server_name().map(str::to_owned)
    }

    /// Returns true on the server's side.
    #[must_use]
    pub fn is_server(&self) -> bool {
        !self.session.state.borrow().machine.is_client()
    }

    /// Returns true if an earlier session was resumed.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        let state = self.session.state.borrow();
        state.machine.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Returns whether both sides send `close_notify` at their end; see
    /// [`standard_compatible`](super::TlsHandshake::standard_compatible).
    #[must_use]
    pub fn is_standard_compatible(&self) -> bool {
        self.session.compatible
    }

    /// Fills `output` with key material that only the two sides can derive from the handshake (RFC
    /// 8446, section 7.5): to bind another protocol to this connection.
    ///
    /// The label `EXPORTER-Channel-Binding` with an empty context and 32 bytes is the channel
    /// binding `tls-exporter` of RFC 9266.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`] with TLS 1.2, if `output` is empty or longer than 255 hashes, or `label`
    /// longer than 249 bytes.
    #[doc(alias = "channel_binding")]
    pub fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<()> {
        let state = self.session.state.borrow();
        let suite = state.machine.common().negotiated_cipher_suite();
        let exported =
            suite.and_then(|suite| state.machine.observer.export(suite, label, context, output));
        exported.ok_or_else(|| {
            let needs = "keying material: needs TLS 1.3, a length of 1 to 255 hashes, and a label \
                         of at most 249 bytes";
            TlsError::new(needs).into()
        })
    }
}
