//! A listener whose connections begin with a TLS handshake.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

use super::failure;
use super::handshake::{give_up, shake};
use super::machine::Machine;
use super::places::{Place, Places};
use super::session::Session;
use super::stream::TlsStream;
use crate::error::{Error, Result};
use crate::runtime::place::Claim;
use crate::stream::{ByteStream, Listener, Peer, serve_face};
use crate::task::fail_after;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(30);

type Hook<'h, S> = Box<dyn Fn(&Error, &S) + 'h>;

/// TLS over the connections of any listener.
///
/// The handshake is the second step of accepting: [`serve`](Self::serve) runs it in the
/// connection's own task, so that a slow or hostile client delays nobody. One that fails ends its
/// own connection only: the client is told by an alert, the hook of
/// [`on_handshake_error`](Self::on_handshake_error) and that of the server hear of it.
#[doc(alias = "TLSListener")]
pub struct TlsListener<'h, L: Listener> {
    listener: L,
    config: RefCell<Arc<ServerConfig>>,
    compatible: bool,
    timeout: Duration,
    places: Places,
    /// A task accepts.
    accepting: Claim,
    on_error: Option<Hook<'h, L::Stream>>,
}

impl<'h, L: Listener> TlsListener<'h, L> {
    /// Wraps `listener`; `config` has the certificate.
    pub fn new(listener: L, config: Arc<ServerConfig>) -> Self {
        Self {
            listener,
            config: RefCell::new(config),
            compatible: true,
            timeout: HANDSHAKE,
            places: Places::new(usize::MAX),
            accepting: Claim::default(),
            on_error: None,
        }
    }

    /// Whether both sides of a connection announce their end (true by default);
    /// see [`TlsHandshake::standard_compatible`](super::TlsHandshake::standard_compatible).
    #[must_use]
    pub fn standard_compatible(mut self, compatible: bool) -> Self {
        self.compatible = compatible;
        self
    }

    /// How long a handshake may take (30 seconds by default); its error is [`Error::TimedOut`].
    #[must_use]
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// How many handshakes may be under way at a time (no limit by default, at least 1).
    ///
    /// While they are, no connection is accepted, and a slow handshake has to leave its place to
    /// the next connection: one whose client had sent no message in the first 100 ms, or one that
    /// takes more than a second. So a client that connects and sends nothing delays others no
    /// longer than that. Below the number only the limit of time counts.
    #[must_use]
    pub fn max_handshakes(mut self, max: usize) -> Self {
        self.places = Places::new(max.max(1));
        self
    }

    /// Is called with the error of each handshake that failed, and with the stream below, which
    /// knows the peer's address. Not for those that a cancelled scope of ours has ended.
    #[doc(alias = "handle_handshake_error")]
    #[must_use]
    pub fn on_handshake_error(mut self, hook: impl Fn(&Error, &L::Stream) + 'h) -> Self {
        self.on_error = Some(Box::new(hook));
        self
    }

    /// Uses `config` for the handshakes that begin from now on, such as with a renewed certificate.
    /// Connections that are there stay as they are.
    /// [`reload_files`](super::ServerConfigBuilder::reload_files) does without a call.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use soloio::tls::{TlsListener, server_config};
    /// use soloio::{Signal, create_tcp_listener, open_signal_receiver, task_group};
    ///
    /// # async fn example() -> soloio::Result<()> {
    /// let config = || server_config().certificate_files("server.pem", "server.key").build();
    /// let listener = TlsListener::new(create_tcp_listener().await?, config()?);
    /// task_group(async |group| -> soloio::Result<()> {
    ///     group.spawn(async { listener.serve(async |client| client.close().await).await });
    ///     let hangups = open_signal_receiver(&[Signal::Hangup])?;
    ///     loop {
    ///         hangups.receive().await?;
    ///         match config() {
    ///             Ok(renewed) => listener.set_config(renewed),
    ///             Err(error) => eprintln!("the certificate stays as it is: {error}"),
    ///         }
    ///     }
    /// })
    /// .await
    /// # }
    /// ```
    #[doc(alias = "load_cert_chain")]
    pub fn set_config(&self, config: Arc<ServerConfig>) {
        let old = self.config.replace(config);
        drop(old);
    }

    /// The listener below, for its address.
    #[must_use]
    pub fn inner(&self) -> &L {
        &self.listener
    }
}

impl<L: Listener<Stream: ByteStream>> TlsListener<'_, L> {
    /// Waits for a connection, and for its handshake: [`serve`](Self::serve) does not let others
    /// wait for that.
    ///
    /// # Errors
    ///
    /// Those of the listener; [`Error::Busy`] while another task accepts; [`Error::Tls`],
    /// [`Error::Broken`] and [`Error::TimedOut`] of a handshake, after which the listener is still
    /// good.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future while it waits loses nothing; during the handshake it ends that
    /// connection.
    pub async fn accept(&self) -> Result<TlsStream<L::Stream>> {
        Listener::accept(self).await
    }

    /// Stops listening at once although others still hold the listener.
    pub fn abort(&self) {
        self.listener.abort();
    }

    async fn shake(&self, stream: L::Stream, place: Place<'_>) -> Result<TlsStream<L::Stream>> {
        let config = self.config.borrow().clone();
        let machine =
            Machine::server(&config).map_err(|error| failure::in_handshake(error, false))?;
        let session = Session::new(stream, machine, self.compatible);
        let has_spoken = || session.state.borrow().machine.has_begun();
        let shaking = place.keep_for(shake(&session), has_spoken);
        let shaken: Result<()> = fail_after(self.timeout, shaking).await;
        let Err(error) = shaken else {
            return Ok(TlsStream::new(session));
        };
        if error.is_cancelled() {
            // We end, and the client has done nothing.
            return Err(error);
        }
        if let Some(hook) = &self.on_error {
            hook(&error, &session.inner);
        }
        if !matches!(error, Error::TimedOut) {
            give_up(session).await;
        }
        Err(error)
    }
}

impl<L: Listener + fmt::Debug> fmt::Debug for TlsListener<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsListener")
            .field("listener", &self.listener)
            .field("standard_compatible", &self.compatible)
            .field("handshake_timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

serve_face!(TlsListener, ['h, L: Listener<Stream: ByteStream>], ['h, L], TlsStream<L::Stream>);

impl<L: Listener<Stream: ByteStream>> Listener for TlsListener<'_, L> {
    type Stream = TlsStream<L::Stream>;

    async fn accept_begin(&self) -> Result<impl Future<Output = Result<Self::Stream>>> {
        Ok(self.accept_from().await?.0)
    }

    async fn accept_from(&self) -> Result<(impl Future<Output = Result<Self::Stream>>, Peer)> {
        // Also while no place is free, where the listener below is not asked.
        let _accepting = self.accepting.hold()?;
        let place = self.places.take().await?;
        let (begun, peer) = self.listener.accept_from().await?;
        // In a box, which is gone after the handshake: the future of a connection is kept for as
        // long as that is served.
        let shaken = Box::pin(async move {
            let stream = place.keep_for(begun, || false).await?;
            self.shake(stream, place).await
        });
        Ok((shaken, peer))
    }

    fn abort(&self) {
        self.listener.abort();
    }
}
