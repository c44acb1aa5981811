//! TLS over what another place connects to: [`TlsConnectable`].

use std::fmt;
use std::sync::Arc;

use soloio::Result;
use soloio::tls::TlsStream;
use soloio::tls::rustls::ClientConfig;

use super::Connectable;

/// TLS as a client, over the streams of another connectable: a TCP port, a path, the far side of a
/// proxy.
///
/// The peer has to prove that it is the given name; there is none by default, because a path and a
/// proxy have none.
#[doc(alias = "TLSConnectable")]
#[derive(Clone)]
pub struct TlsConnectable<C> {
    below: C,
    name: String,
    config: Arc<ClientConfig>,
    standard_compatible: bool,
}

impl<C> TlsConnectable<C> {
    /// TLS over the streams of `below` with `name`, a host name or an IP address;
    /// [`client_config`](soloio::tls::client_config) makes a configuration.
    #[must_use]
    pub fn new(below: C, name: impl Into<String>, config: impl Into<Arc<ClientConfig>>) -> Self {
        Self {
            below,
            name: name.into(),
            config: config.into(),
            standard_compatible: true,
        }
    }

    /// With `false` the peer may end without a `close_notify`; see
    /// [`TlsHandshake::standard_compatible`](soloio::tls::TlsHandshake::standard_compatible).
    #[must_use]
    pub fn standard_compatible(mut self, compatible: bool) -> Self {
        self.standard_compatible = compatible;
        self
    }
}

impl<C: Connectable> Connectable for TlsConnectable<C> {
    type Stream = TlsStream<C::Stream>;

    async fn connect(&self) -> Result<TlsStream<C::Stream>> {
        let stream = self.below.connect().await?;
        TlsStream::client(stream, &*self.name, Arc::clone(&self.config))
            .standard_compatible(self.standard_compatible)
            .await
    }
}

impl<C: fmt::Debug> fmt::Debug for TlsConnectable<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TlsConnectable");
        shown.field("below", &self.below).field("name", &self.name);
        shown.finish_non_exhaustive()
    }
}
