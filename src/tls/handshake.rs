//! The handshake: the future of [`TlsStream::client`](super::TlsStream::client) and
//! [`TlsStream::server`](super::TlsStream::server).

use std::future::{Future, IntoFuture, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::ProtocolVersion;

use super::failure;
use super::machine::Machine;
use super::session::Session;
use super::stream::TlsStream;
use crate::error::{Error, Result};
use crate::runtime::context::describe;
use crate::shown::shown;
use crate::stream::ByteStream;
use crate::task::fail_after;

/// The time limit of a failed handshake for sending the alert and closing, together.
const ALERT: Duration = Duration::from_secs(1);

/// A handshake that is about to begin: await it.
///
/// Made by [`TlsStream::client`] and [`TlsStream::server`].
#[must_use = "a handshake does nothing unless awaited"]
pub struct TlsHandshake<'a, S> {
    stream: S,
    machine: Result<Machine>,
    compatible: bool,
    bounds: PhantomData<&'a ()>,
}

impl<S> TlsHandshake<'_, S> {
    pub(super) fn new(stream: S, machine: Result<Machine>) -> Self {
        Self {
            stream,
            machine,
            compatible: true,
            bounds: PhantomData,
        }
    }

    /// Sets whether both sides send `close_notify` at their end, as the standard requires (true by
    /// default).
    ///
    /// With `false` no `close_notify` is sent, and the end of the stream below counts as the peer's
    /// end: an attacker between the two can cut data off unnoticed. That is safe only for HTTP and
    /// other protocols that have the length of all data.
    pub fn standard_compatible(mut self, compatible: bool) -> Self {
        self.compatible = compatible;
        self
    }
}

shown!([S] TlsHandshake<'_, S>, "TlsHandshake", this => standard_compatible: this.compatible, ..);

impl<'a, S: ByteStream + 'a> IntoFuture for TlsHandshake<'a, S> {
    type Output = Result<TlsStream<S>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<S: ByteStream> TlsHandshake<'_, S> {
    /// The future without a box, which is `Send` where the stream and its futures are: the session
    /// is borrowed mutably.
    pub(crate) async fn run(self) -> Result<TlsStream<S>> {
        let mut session = Session::new(self.stream, self.machine?, self.compatible);
        let shaken = poll_fn(|cx| {
            let session = &mut session;
            session.poll_shake(cx)
        });
        match shaken.await {
            Ok(()) => Ok(TlsStream::new(session)),
            // A cancel: it must end at once.
            Err(error) if error.is_cancelled() => Err(error),
            Err(error) => {
                give_up(session).await;
                Err(error)
            }
        }
    }
}

impl<S: ByteStream> Session<S> {
    /// Runs the handshake to its end; after an error the alert is not sent yet.
    pub(super) fn poll_shake(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = self.poll_messages(cx);
        polled.map_err(|error| describe(error, &mut |part| format!("in a TLS handshake, {part}")))
    }

    fn poll_messages(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while self.state.borrow().machine.common().is_handshaking() {
            let blocked = self.state.borrow_mut().shake();
            let blocked = blocked.map_err(|error| {
                failure::in_handshake(*error, self.state.borrow().machine.is_client())
            })?;
            // If not, it may be plaintext that came together with the end of the handshake.
            if blocked && self.state.borrow().truncated {
                ready!(self.poll_hand_over(cx))?;
                return Poll::Ready(Err(ended()));
            }
            if blocked {
                ready!(self.poll_while_handing_over(cx, |cx| self.poll_below(cx)))?;
            }
        }
        self.poll_finish(cx)
    }

    /// Ends the handshake. A server's session tickets wait for the first data: that saves a system
    /// call, and a client that only sends would never receive them.
    fn poll_finish(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        {
            let mut state = self.state.borrow_mut();
            // A connection that only sends from now on never settles it later.
            state.incoming.settle();
            let version = state.machine.common().protocol_version();
            if !state.machine.is_client() && version == Some(ProtocolVersion::TLSv1_3) {
                state.held_back = true;
                state.out.settle();
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_hand_over(cx)
    }
}

/// Sends the alert to the peer, if that is possible soon, and closes without losing the alert.
pub(super) async fn give_up<S: ByteStream>(mut session: Box<Session<S>>) {
    // The handshake's own error is the result. The wait for a peer that failed it is shorter than
    // for others.
    let alerted = fail_after(ALERT, async {
        let handed = poll_fn(|cx| {
            let session = &mut session;
            session.poll_hand_over(cx)
        });
        let sent = handed.await;
        sent.and(session.inner.close().await)
    });
    drop(alerted.await);
}

#[cold]
fn ended() -> Error {
    let message = "the peer ended the connection during the TLS handshake";
    let cause = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, message);
    Error::broken("receive from", "the TLS peer", cause)
}
