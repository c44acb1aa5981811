//! A TCP port of a host: [`TcpConnectable`].

use soloio::net::ConnectTcp;
use soloio::{Host, Result, TcpStream, connect_tcp};

use super::Connectable;

/// A TCP port of a host.
///
/// With options it is made of the builder:
/// `TcpConnectable::from(connect_tcp(host, port).local_host("127.0.0.2"))`.
#[doc(alias = "TCPConnectable")]
#[derive(Debug, Clone)]
pub struct TcpConnectable(ConnectTcp);

impl TcpConnectable {
    /// A port of a host: a name, an address in a string, or an address.
    #[must_use]
    pub fn new(host: impl Into<Host>, port: u16) -> Self {
        Self(connect_tcp(host, port))
    }
}

impl From<ConnectTcp> for TcpConnectable {
    fn from(options: ConnectTcp) -> Self {
        Self(options)
    }
}

impl Connectable for TcpConnectable {
    type Stream = TcpStream;

    async fn connect(&self) -> Result<TcpStream> {
        self.0.clone().await
    }
}
