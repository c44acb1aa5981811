//! The handshake: what [`TlsStream::client`](super::TlsStream::client) and
//! [`TlsStream::server`](super::TlsStream::server) give.

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use rustls::ProtocolVersion;

use super::failure;
use super::machine::Machine;
use super::session::Session;
use super::stream::TlsStream;
use crate::error::{Error, OsError, Result};
use crate::stream::ByteStream;
use crate::task::fail_after;

/// How long a failed handshake tries to tell the peer why, and to close, in all.
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

    /// Whether both sides announce their end, as the standard asks for (true by default).
    ///
    /// With `false` we send no `close_notify`, and take the end of the stream below for the
    /// peer's end: whoever sits between the two can cut data off unnoticed. HTTP and other
    /// protocols that know the length of everything bear that.
    pub fn standard_compatible(mut self, compatible: bool) -> Self {
        self.compatible = compatible;
        self
    }
}

impl<S> fmt::Debug for TlsHandshake<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsHandshake")
            .field("standard_compatible", &self.compatible)
            .finish_non_exhaustive()
    }
}

impl<'a, S: ByteStream + 'a> IntoFuture for TlsHandshake<'a, S> {
    type Output = Result<TlsStream<S>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let session = Session::new(self.stream, self.machine?, self.compatible);
            match shake(&session).await {
                Ok(()) => Ok(TlsStream::new(session)),
                // Told to end at once.
                Err(error) if error.is_cancelled() => Err(error),
                Err(error) => {
                    give_up(session).await;
                    Err(error)
                }
            }
        })
    }
}

/// Runs the handshake to its end; after an error the alert waits to be sent.
pub(super) async fn shake<S: ByteStream>(session: &Session<S>) -> Result<()> {
    loop {
        let blocked = session.state.borrow_mut().shake();
        let blocked = blocked.map_err(|error| {
            failure::in_handshake(error, session.state.borrow().machine.is_client())
        })?;
        if !blocked {
            // It may be plaintext that came with the end of the handshake.
            let done = !session.state.borrow().machine.common().is_handshaking();
            if done {
                return finish(session).await;
            }
            continue;
        }
        if session.state.borrow().truncated {
            poll_fn(|cx| session.poll_hand_over(cx)).await?;
            return Err(ended());
        }
        session
            .while_handing_over(|cx| session.poll_below(cx))
            .await?;
    }
}

/// Both sides know all that they need. A server's session tickets wait for the first data: that is
/// a system call less, and a client that only sends would never make room for them.
async fn finish<S: ByteStream>(session: &Session<S>) -> Result<()> {
    {
        let mut state = session.state.borrow_mut();
        // One that only sends from here on never comes back to it.
        state.incoming.settle();
        let version = state.machine.common().protocol_version();
        if !state.machine.is_client() && version == Some(ProtocolVersion::TLSv1_3) {
            state.held_back = true;
            state.out.settle();
            return Ok(());
        }
    }
    poll_fn(|cx| session.poll_hand_over(cx)).await
}

/// Tells the peer why, if that is possible soon, and closes without destroying what was told.
pub(super) async fn give_up<S: ByteStream>(session: Box<Session<S>>) {
    // The handshake's own error is what counts. A peer that failed it is not waited for as long as
    // others are.
    let told = fail_after(ALERT, async {
        let sent = poll_fn(|cx| session.poll_hand_over(cx)).await;
        sent.and(session.inner.close().await)
    });
    drop(told.await);
}

#[cold]
fn ended() -> Error {
    let message = "the peer ended the connection during the TLS handshake";
    let cause = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, message);
    Error::Broken(OsError::new("receive from", cause).at("the TLS peer"))
}
