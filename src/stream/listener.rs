//! The contract of a listener.

use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::task::Poll;

use super::report::Peer;
use super::serve::Serve;
use crate::error::{Error, Failure, Result};
use crate::task::Outcome;

/// A source of connections.
///
/// Accepting has two steps. The second one, for example a TLS handshake, runs in the connection's
/// own task, so that a slow peer delays no other connection.
#[allow(
    async_fn_in_trait,
    reason = "one thread: no caller needs the future to be Send"
)]
pub trait Listener {
    /// The type of its connections.
    type Stream;

    /// Waits for a connection; the returned future makes a stream of it.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after an abort, [`Error::Busy`] while another task accepts, else
    /// [`Error::Io`]; after most of them the listener stays usable.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the connection with the kernel, for the next accept.
    async fn accept_begin(&self) -> Result<impl Future<Output = Result<Self::Stream>>>;

    /// The same as [`accept_begin`](Self::accept_begin), with the peer, for a server's reports
    /// about the connection. Without an implementation it is [`Peer::Unknown`].
    ///
    /// # Errors
    ///
    /// As [`accept_begin`](Self::accept_begin).
    ///
    /// # Cancel safety
    ///
    /// As `accept_begin`.
    async fn accept_from(&self) -> Result<(impl Future<Output = Result<Self::Stream>>, Peer)> {
        Ok((self.accept_begin().await?, Peer::Unknown))
    }

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

    /// Stops listening at once, even if other references to the listener exist. The address is
    /// free then, and a waiting accept ends with [`Error::Closed`].
    fn abort(&self);

    /// Serves every connection with `handler`, each in a task of its own, until the listener itself
    /// fails. See [`Serve`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the server drops all its connections; the listener stays usable.
    fn serve<H, O>(&self, handler: H) -> Serve<'_, Self, H>
    where
        Self: Sized,
        H: AsyncFn(Self::Stream) -> O,
        O: Outcome<Error, Value = ()>,
    {
        Serve::new(self, handler)
    }

    /// The same as [`serve`](Self::serve), with a handler that has an error type of its own. The
    /// handler's type must be written out, as `-> Result<(), E>`.
    ///
    /// # Cancel safety
    ///
    /// As `serve`.
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::{Listener, create_tcp_listener, sleep};
    /// use std::time::Duration;
    ///
    /// type AnyError = Box<dyn std::error::Error + Send + Sync>;
    ///
    /// soloio::block_on(async {
    ///     let listener = create_tcp_listener().local_host("127.0.0.1").await?;
    ///     let serve = listener.serve_with(async |client| -> Result<(), AnyError> {
    ///         let number: u32 = String::from_utf8(client.receive().await?)?.parse()?;
    ///         client.send(&number.to_be_bytes()).await?;
    ///         Ok(())
    ///     });
    ///     serve.shutdown(sleep(Duration::from_millis(1))).await
    /// })?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    fn serve_with<H, O, E>(&self, handler: H) -> Serve<'_, Self, H, E>
    where
        Self: Sized,
        H: AsyncFn(Self::Stream) -> O,
        O: Outcome<E, Value = ()>,
        E: Failure + Into<Box<dyn StdError + Send + Sync>>,
    {
        Serve::new(self, handler)
    }
}

/// Declares `serve` and `serve_with` for a listener itself, so that the trait need not be imported.
macro_rules! serve_face {
    ($listener:ident, [$($parameters:tt)*], [$($arguments:tt)*], $stream:ty) => {
        impl<$($parameters)*> $listener<$($arguments)*> {
            /// Serves every connection with `handler`, each in a task of its own; see
            /// [`Serve`](crate::stream::Serve).
            ///
            /// # Cancel safety
            ///
            /// Dropping the server drops all its connections; the listener stays usable.
            pub fn serve<H, O>(&self, handler: H) -> $crate::stream::Serve<'_, Self, H>
            where
                H: AsyncFn($stream) -> O,
                O: $crate::task::Outcome<$crate::error::Error, Value = ()>,
            {
                Listener::serve(self, handler)
            }

            /// The same as [`serve`](Self::serve), with a handler that has an error type of its
            /// own; see [`Listener::serve_with`].
            ///
            /// # Cancel safety
            ///
            /// As [`serve`](Self::serve).
            pub fn serve_with<H, O, E>(&self, handler: H) -> $crate::stream::Serve<'_, Self, H, E>
            where
                H: AsyncFn($stream) -> O,
                O: $crate::task::Outcome<E, Value = ()>,
                E: $crate::error::Failure + Into<Box<dyn std::error::Error + Send + Sync>>,
            {
                Listener::serve_with(self, handler)
            }
        }
    };
}
pub(crate) use serve_face;

impl<L: Listener + ?Sized> Listener for &L {
    type Stream = L::Stream;

    async fn accept_begin(&self) -> Result<impl Future<Output = Result<Self::Stream>>> {
        (**self).accept_begin().await
    }

    async fn accept_from(&self) -> Result<(impl Future<Output = Result<Self::Stream>>, Peer)> {
        (**self).accept_from().await
    }

    fn abort(&self) {
        (**self).abort();
    }
}

/// The second step of a listener that has only one. It is smaller than `future::ready`, because it
/// has no error, and a connection's task stores it until the end.
pub(crate) fn at_once<S>(stream: S) -> impl Future<Output = Result<S>> {
    let mut stream = Some(stream);
    // A second poll after the end has the error of a closed listener.
    poll_fn(move |_| Poll::Ready(stream.take().ok_or(Error::Closed)))
}
