//! The contract of a listener.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::serve::Serve;
use crate::error::{Error, Result};
use crate::task::Outcome;

/// Something that connections come from.
///
/// Accepting has two steps, so that the second, a TLS handshake for example, runs in the
/// connection's own task and a slow peer delays nobody.
#[allow(
    async_fn_in_trait,
    reason = "one thread: no caller needs the future to be Send"
)]
pub trait Listener {
    /// What a connection is.
    type Stream;

    /// Waits for a connection; the future it gives makes the stream of it.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after an abort, [`Error::Busy`] while another task accepts, else
    /// [`Error::Io`]; after most of them the listener is still good.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the connection with the kernel, for the next accept.
    async fn accept_begin(&self) -> Result<impl Future<Output = Result<Self::Stream>>>;

    /// Waits for a connection.
    ///
    /// # Errors
    ///
    /// As [`accept_begin`](Self::accept_begin), and those of the second step.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future while it waits loses nothing; during the second step, if there is one
    /// that takes time, it ends that connection.
    async fn accept(&self) -> Result<Self::Stream> {
        self.accept_begin().await?.await
    }

    /// Stops listening at once although others still hold the listener: the address is free, and
    /// an accept that waits gets [`Error::Closed`].
    fn abort(&self);

    /// Serves every connection with `handler`, each in a task of its own, until an error of the
    /// listener itself. See [`Serve`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the server drops all its connections; the listener is still good.
    fn serve<H, O>(&self, handler: H) -> Serve<'_, Self, H>
    where
        Self: Sized,
        H: AsyncFn(Self::Stream) -> O,
        O: Outcome<Error, Value = ()>,
    {
        Serve::new(self, handler)
    }
}

impl<L: Listener + ?Sized> Listener for &L {
    type Stream = L::Stream;

    async fn accept_begin(&self) -> Result<impl Future<Output = Result<Self::Stream>>> {
        (**self).accept_begin().await
    }

    fn abort(&self) {
        (**self).abort();
    }
}

/// The second step of a listener that has none. Smaller than a future made ready, as it knows of no
/// error: a connection's task keeps it for good.
#[derive(Debug)]
pub(crate) struct AtOnce<S>(Option<S>);

impl<S> AtOnce<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(Some(stream))
    }
}

impl<S: Unpin> Future for AtOnce<S> {
    type Output = Result<S>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<S>> {
        // Polled again after its end it says what any listener says then.
        Poll::Ready(self.0.take().ok_or(Error::Closed))
    }
}
