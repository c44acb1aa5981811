//! TLS on `connect_tcp`: the options that enable it, and the connection that results.

#[cfg(feature = "options")]
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::connect::ConnectTcp;
use super::local::local_options;
use super::resolve::Host;
use super::tcp::TcpStream;
use crate::error::Result;
use crate::runtime::context::describe;
use crate::tls::{self, TlsStream};

/// TLS. Each of these options enables it; awaiting the builder then returns a
/// [`TlsStream<TcpStream>`](TlsStream).
impl ConnectTcp {
    /// Uses TLS: the server must have a certificate for the given host from an issuer that the
    /// system trusts.
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

    /// Uses TLS with a server that has a certificate for this name, or this address.
    ///
    /// # Cancel safety
    ///
    /// As [`connect_tcp`](crate::connect_tcp).
    pub fn tls_hostname(self, name: impl Into<String>) -> ConnectTls {
        self.tls().tls_hostname(name)
    }

    /// Uses TLS with this configuration: one of [`client_config`](tls::client_config), or of rustls
    /// itself.
    ///
    /// # Cancel safety
    ///
    /// As [`connect_tcp`](crate::connect_tcp).
    #[doc(alias = "ssl_context")]
    pub fn tls_config(self, config: impl Into<Arc<ClientConfig>>) -> ConnectTls {
        self.with(Config::Given(config.into()))
    }

    /// Uses TLS; with `false`, the peer may end the connection without close_notify, and this side
    /// does too. Then a regular end looks like a connection that was cut off: use it only for
    /// protocols that detect the end of a message by themselves.
    ///
    /// # Cancel safety
    ///
    /// As [`connect_tcp`](crate::connect_tcp).
    pub fn tls_standard_compatible(self, compatible: bool) -> ConnectTls {
        self.tls().tls_standard_compatible(compatible)
    }
}

/// A TCP connection with TLS that is about to be made: await it. Made by [`ConnectTcp::tls`] and
/// its variants.
///
/// # Errors
///
/// Those of [`connect_tcp`](crate::connect_tcp). [`Error::Tls`](crate::Error::Tls) if the name
/// cannot be a server's or the configuration cannot be made, both before anything is connected, or
/// if the handshake fails. [`Error::Broken`](crate::Error::Broken) if the peer leaves during the
/// handshake.
#[derive(Debug, Clone)]
#[must_use = "nothing is connected unless awaited"]
pub struct ConnectTls {
    tcp: ConnectTcp,
    hostname: Option<String>,
    config: Config,
    standard_compatible: bool,
}

/// rustls' configuration, or a function that makes one: a program that sets its own does not
/// contain the code that reads certificates.
#[derive(Debug, Clone)]
enum Config {
    Given(Arc<ClientConfig>),
    Made(fn() -> Result<Arc<ClientConfig>>),
}

impl ConnectTls {
    local_options!([tcp.local] "As [`ConnectTcp::local_host`].");

    /// As [`ConnectTcp::happy_eyeballs_delay`].
    pub fn happy_eyeballs_delay(mut self, delay: Duration) -> Self {
        self.tcp.delay = delay;
        self
    }

    /// As [`ConnectTcp::tls`]: it is already on.
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
            None => tls::server_name(&format!("{}", self.tcp.host))?,
        };
        let config = match self.config {
            Config::Given(config) => config,
            Config::Made(make) => make()?,
        };
        let to = format!("{} port {}", self.tcp.host, self.tcp.port);
        let stream = self.tcp.await?;
        let shaken = TlsStream::client(stream, name, config)
            .standard_compatible(self.standard_compatible)
            .run()
            .await;
        let mut whole = |part: &str| format!("connecting to {to}, {part}");
        shaken.map_err(|error| describe(error.of_tls_with(&to), &mut whole))
    }
}

awaited!(IntoFuture for ConnectTls, connect -> TlsStream<TcpStream>);
