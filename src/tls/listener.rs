//! A listener that begins each connection with a TLS handshake.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

use super::failure;
use super::handshake::give_up;
use super::handshake_limiter::{HandshakeLimiter, HandshakePermit};
use super::machine::Machine;
use super::session::Session;
use super::stream::TlsStream;
use crate::error::{Error, Result};
use crate::runtime::place::Claim;
use crate::shown::shown;
use crate::stream::{ByteStream, Listener, Peer, serve_face};
use crate::task::fail_after;

/// The time limit of a handshake.
const HANDSHAKE: Duration = Duration::from_secs(30);

type Hook<'h, S> = Box<dyn Fn(&Error, &S) + 'h>;

/// TLS over the connections of any listener.
///
/// The handshake is the second step of an accept: [`serve`](Self::serve) runs it in the
/// connection's own task, so that a slow or hostile client delays no other. A failed handshake ends
/// only its own connection: the client gets an alert, and the error goes to the hook of
/// [`on_handshake_error`](Self::on_handshake_error) and to that of the server.
#[doc(alias = "TLSListener")]
pub struct TlsListener<'h, L: Listener> {
    listener: L,
    config: RefCell<Arc<ServerConfig>>,
    compatible: bool,
    timeout: Duration,
    handshakes: HandshakeLimiter,
    /// Claimed while a task accepts.
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
            handshakes: HandshakeLimiter::new(usize::MAX),
            accepting: Claim::default(),
            on_error: None,
        }
    }

    /// Sets whether both sides of a connection send `close_notify` at their end (true by default);
    /// see [`TlsHandshake::standard_compatible`](super::TlsHandshake::standard_compatible).
    #[must_use]
    pub fn standard_compatible(mut self, compatible: bool) -> Self {
        self.compatible = compatible;
        self
    }

    /// Sets the time limit of a handshake (30 seconds by default); its error is
    /// [`Error::TimedOut`].
    #[must_use]
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Sets the largest number of handshakes at a time (no limit by default, at least 1).
    ///
    /// While there are that many, no connection is accepted, and a slow handshake is ended to make
    /// room for the next connection. A handshake is slow if no message has come from its client in
    /// the first 100 ms, or if it takes more than a second. So a client that connects and sends
    /// nothing delays others no longer than that. Below that number only the time limit applies.
    #[must_use]
    pub fn max_handshakes(mut self, max: usize) -> Self {
        self.handshakes = HandshakeLimiter::new(max.max(1));
        self
    }

    /// Sets a hook that is called with the error of each failed handshake, and with the stream
    /// below, which has the peer's address. It is not called for handshakes that a cancelled scope
    /// has ended.
    #[doc(alias = "handle_handshake_error")]
    #[must_use]
    pub fn on_handshake_error(mut self, hook: impl Fn(&Error, &L::Stream) + 'h) -> Self {
        self.on_error = Some(Box::new(hook));
        self
    }

    /// Uses `config` for the handshakes that begin from now on, for example with a renewed
    /// certificate. Existing connections do not change. With
    /// [`reload_files`](super::ServerConfigBuilder::reload_files) no call is needed.
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

    /// Returns the listener below, for its address.
    #[must_use]
    pub fn inner(&self) -> &L {
        &self.listener
    }
}

impl<L: Listener<Stream: ByteStream>> TlsListener<'_, L> {
    /// Waits for a connection, and for its handshake. With [`serve`](Self::serve) other connections
    /// do not wait for the handshake.
    ///
    /// # Errors
    ///
    /// Those of the listener; [`Error::Busy`] while another task accepts; [`Error::Tls`],
    /// [`Error::Broken`] and [`Error::TimedOut`] of a handshake, after which the listener stays
    /// usable.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future while it waits loses nothing; during the handshake it ends that
    /// connection.
    pub async fn accept(&self) -> Result<TlsStream<L::Stream>> {
        Listener::accept(self).await
    }

    /// Stops listening at once, although other references to the listener exist.
    pub fn abort(&self) {
        self.listener.abort();
    }

    async fn shake(
        &self,
        stream: L::Stream,
        permit: HandshakePermit<'_>,
    ) -> Result<TlsStream<L::Stream>> {
        let report = |error: &Error, stream: &_| {
            if let Some(hook) = &self.on_error {
                hook(error, stream);
            }
        };
        let config = self.config.borrow().clone();
        let machine = Machine::server(&config)
            .map_err(|error| failure::in_handshake(error, false))
            .inspect_err(|error| report(error, &stream))?;
        let session = Session::new(stream, machine, self.compatible);
        let has_spoken = || session.state.borrow().machine.has_begun();
        let shaking = permit.keep_for(poll_fn(|cx| session.poll_shake(cx)), has_spoken);
        let shaken: Result<()> = fail_after(self.timeout, shaking).await;
        let Err(error) = shaken else {
            return Ok(TlsStream::new(session));
        };
        if error.is_cancelled() {
            // This side ends, and it is not the client's fault.
            return Err(error);
        }
        report(&error, &session.inner);
        // The close waits for a client that is no longer in a handshake.
        drop(permit);
        if !matches!(error, Error::TimedOut(_)) {
            give_up(session).await;
        }
        Err(error)
    }
}

shown!(
    [L: Listener + fmt::Debug] TlsListener<'_, L>, "TlsListener", this =>
    listener: this.listener,
    standard_compatible: this.compatible,
    handshake_timeout: this.timeout,
    ..
);

serve_face!(TlsListener, ['h, L: Listener<Stream: ByteStream>], ['h, L], TlsStream<L::Stream>);

impl<L: Listener<Stream: ByteStream>> Listener for TlsListener<'_, L> {
    type Stream = TlsStream<L::Stream>;

    async fn accept_begin(&self) -> Result<impl Future<Output = Result<Self::Stream>>> {
        Ok(self.accept_from().await?.0)
    }

    async fn accept_from(&self) -> Result<(impl Future<Output = Result<Self::Stream>>, Peer)> {
        // Also while no place is free, when the listener below is not polled.
        let _accepting = self.accepting.hold()?;
        let permit = self.handshakes.acquire().await?;
        let (begun, peer) = self.listener.accept_from().await?;
        // In a box, which is freed after the handshake: the future of a connection exists as long
        // as the connection is served.
        let shaken = Box::pin(async move {
            let stream = permit.keep_for(begun, || false).await?;
            self.shake(stream, permit).await
        });
        Ok((shaken, peer))
    }

    fn abort(&self) {
        self.listener.abort();
    }
}
