//! TLS on `connect_tcp`: the options that turn it on, and the connection that comes of them.

use std::future::{Future, IntoFuture};
#[cfg(feature = "options")]
use std::io;
#[cfg(feature = "options")]
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::connect::ConnectTcp;
use super::resolve::Host;
use super::tcp::TcpStream;
use crate::error::Result;
use crate::tls::{self, TlsStream};

/// TLS. Each of these options turns it on; what is awaited then gives a
/// [`TlsStream<TcpStream>`](TlsStream).
impl ConnectTcp {
    /// Speaks TLS: the server must show a certificate for the host that was given, issued by
    /// somebody whom the system trusts.
    ///
    /// # Cancel safety
    ///
    /// As [`connect_tcp`](crate::connect_tcp).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # soloio::block_on(async {
    /// let client = soloio::connect_tcp("example.org", 443).tls().await?;
    /// client.send(b"GET / HTTP/1.0\r\n\r\n").await?;
    /// # Ok::<_, soloio::Error>(())
    /// # })?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    pub fn tls(self) -> ConnectTls {
        self.with(Config::Made(tls::default_client_config))
    }

    fn with(self, config: Config) -> ConnectTls {
        ConnectTls {
            tcp: self,
            hostname: None,
            config,
            standard_compatible: true,
        }
    }

    /// Speaks TLS with a server whose certificate is for this name, or this address.
    ///
    /// # Cancel safety
    ///
    /// As [`connect_tcp`](crate::connect_tcp).
    pub fn tls_hostname(self, name: impl Into<String>) -> ConnectTls {
        self.tls().tls_hostname(name)
    }

    /// Speaks TLS as this configuration says: one of [`client_config`](tls::client_config), or of
    /// rustls itself.
    ///
    /// # Cancel safety
    ///
    /// As [`connect_tcp`](crate::connect_tcp).
    #[doc(alias = "ssl_context")]
    pub fn tls_config(self, config: impl Into<Arc<ClientConfig>>) -> ConnectTls {
        self.with(Config::Given(config.into()))
    }

    /// Speaks TLS; with `false`, the peer may end the connection without saying goodbye
    /// (close_notify), and we do too. Then nobody can tell an end from a connection that was cut
    /// off: only for protocols that know by themselves where a message ends.
    ///
    /// # Cancel safety
    ///
    /// As [`connect_tcp`](crate::connect_tcp).
    pub fn tls_standard_compatible(self, compatible: bool) -> ConnectTls {
        self.tls().tls_standard_compatible(compatible)
    }
}

/// A TCP connection with TLS that is about to be made: await it. Made by [`ConnectTcp::tls`] and
/// its kin.
///
/// # Errors
///
/// Those of [`connect_tcp`](crate::connect_tcp); [`Error::Tls`](crate::Error::Tls) if the name
/// cannot be a server's, the configuration cannot be made, both before anything is connected, or
/// if the handshake fails. [`Error::Broken`](crate::Error::Broken) if the peer leaves in the middle
/// of it.
#[derive(Debug, Clone)]
#[must_use = "nothing is connected unless awaited"]
pub struct ConnectTls {
    tcp: ConnectTcp,
    hostname: Option<String>,
    config: Config,
    standard_compatible: bool,
}

/// rustls' configuration, or what makes one: a program that hands its own in carries no readers of
/// certificates.
#[derive(Debug, Clone)]
enum Config {
    Given(Arc<ClientConfig>),
    Made(fn() -> Result<Arc<ClientConfig>>),
}

impl ConnectTls {
    /// As [`ConnectTcp::local_host`].
    pub fn local_host(mut self, host: impl Into<Host>) -> Self {
        self.tcp = self.tcp.local_host(host);
        self
    }

    /// As [`ConnectTcp::local_port`].
    pub fn local_port(mut self, port: u16) -> Self {
        self.tcp = self.tcp.local_port(port);
        self
    }

    /// As [`ConnectTcp::happy_eyeballs_delay`].
    pub fn happy_eyeballs_delay(mut self, delay: Duration) -> Self {
        self.tcp = self.tcp.happy_eyeballs_delay(delay);
        self
    }

    /// As [`ConnectTcp::prepare`].
    #[cfg(feature = "options")]
    pub fn prepare(
        mut self,
        prepare: impl Fn(BorrowedFd<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.tcp = self.tcp.prepare(prepare);
        self
    }

    /// As [`ConnectTcp::tls`]: it is on already.
    pub fn tls(self) -> Self {
        self
    }

    /// As [`ConnectTcp::tls_hostname`].
    pub fn tls_hostname(mut self, name: impl Into<String>) -> Self {
        self.hostname = Some(name.into());
        self
    }

    /// As [`ConnectTcp::tls_config`].
    #[doc(alias = "ssl_context")]
    pub fn tls_config(mut self, config: impl Into<Arc<ClientConfig>>) -> Self {
        self.config = Config::Given(config.into());
        self
    }

    /// As [`ConnectTcp::tls_standard_compatible`].
    pub fn tls_standard_compatible(mut self, compatible: bool) -> Self {
        self.standard_compatible = compatible;
        self
    }

    async fn connect(self) -> Result<TlsStream<TcpStream>> {
        let name = match &self.hostname {
            Some(name) => tls::server_name(name)?,
            None => tls::server_name(&self.tcp.host().to_string())?,
        };
        let config = match self.config {
            Config::Given(config) => config,
            Config::Made(make) => make()?,
        };
        let stream = self.tcp.await?;
        TlsStream::client(stream, name, config)
            .standard_compatible(self.standard_compatible)
            .await
    }
}

impl IntoFuture for ConnectTls {
    type Output = Result<TlsStream<TcpStream>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.connect())
    }
}
