//! Several listeners, of any kinds, as one: [`MultiListener`].

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;

use super::any::{AnyByteStream, Boxed};
use super::{ByteStream, Listener, Peer, serve_face};
use crate::error::{Error, Result};
use crate::shown::shown;

/// Several listeners that are served as one: TCP, UNIX, TLS, in any combination.
///
/// Its connections are [`AnyByteStream`]s. Listeners take turns, so that a busy one does not starve
/// the others.
///
/// # Examples
///
/// ```
/// use soloio::{MultiListener, connect_tcp, connect_unix, create_tcp_listener, task_group};
/// use soloio::create_unix_listener;
///
/// let dir = std::env::temp_dir().join(format!("soloio-multi-{}", std::process::id()));
/// std::fs::create_dir_all(&dir)?;
/// let path = dir.join("socket");
/// soloio::block_on(async {
///     let tcp = create_tcp_listener().local_host("127.0.0.1").await?;
///     let port = tcp.local_addr().port();
///     let listener = MultiListener::new().with(tcp).with(create_unix_listener(&path).await?);
///     task_group(async |group| {
///         let server = group.spawn(listener.serve(async |client| client.send(b"hello").await));
///         assert_eq!(connect_tcp("127.0.0.1", port).await?.receive().await?, b"hello");
///         assert_eq!(connect_unix(&path).await?.receive().await?, b"hello");
///         server.cancel();
///         Ok(())
///     })
///     .await
/// })?;
/// std::fs::remove_dir_all(&dir)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct MultiListener<'a> {
    listeners: Vec<Box<dyn AnyListener<'a> + 'a>>,
    /// The listener to be polled first next time.
    first: Cell<usize>,
}

impl<'a> MultiListener<'a> {
    /// Makes a `MultiListener` without any listener.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a listener.
    #[must_use]
    pub fn with<L>(mut self, listener: L) -> Self
    where
        L: Listener + 'a,
        L::Stream: ByteStream + 'a,
    {
        self.push(listener);
        self
    }

    /// Adds a listener.
    pub fn push<L>(&mut self, listener: L)
    where
        L: Listener + 'a,
        L::Stream: ByteStream + 'a,
    {
        self.listeners.push(Box::new(listener));
    }

    /// Returns the number of listeners.
    #[must_use]
    pub fn len(&self) -> usize {
        self.listeners.len()
    }

    /// Returns true if there is no listener.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    /// Waits for a connection from any of the listeners.
    ///
    /// # Errors
    ///
    /// The first error of any of them; without any listener, `InvalidInput`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the connection with its listener, for the next accept; during
    /// the second step, a TLS handshake, it ends that connection.
    pub async fn accept(&self) -> Result<AnyByteStream<'a>> {
        Listener::accept(self).await
    }

    /// Stops listening at once, with all listeners, even if other references to this one exist.
    pub fn abort(&self) {
        for listener in &self.listeners {
            listener.abort();
        }
    }
}

serve_face!(MultiListener, ['a], ['a], AnyByteStream<'a>);

impl<'a> Listener for MultiListener<'a> {
    type Stream = AnyByteStream<'a>;

    async fn accept_begin(&self) -> Result<impl Future<Output = Result<AnyByteStream<'a>>>> {
        Ok(self.accept_from().await?.0)
    }

    async fn accept_from(&self) -> Result<(impl Future<Output = Result<Self::Stream>>, Peer)> {
        let count = self.listeners.len();
        if count == 0 {
            return Err(Error::invalid("accept", "there is no listener"));
        }
        let accepts = self
            .listeners
            .iter()
            .map(|listener| listener.accept_boxed());
        let mut accepts: Vec<_> = accepts.collect();
        poll_fn(|cx| {
            // Takes the first that is ready, and drops the other accepts, which have taken nothing.
            // Next time the listener after it is polled first.
            for n in (0..count).map(|n| (self.first.get() + n) % count) {
                if let Poll::Ready(begun) = accepts[n].as_mut().poll(cx) {
                    self.first.set((n + 1) % count);
                    return Poll::Ready(begun);
                }
            }
            Poll::Pending
        })
        .await
    }

    fn abort(&self) {
        self.abort();
    }
}

shown!([] MultiListener<'_>, "MultiListener", this => listeners: this.listeners.len());

/// The contract of a listener in a form that can be behind a `dyn`.
trait AnyListener<'a> {
    fn accept_boxed(&self) -> Boxed<'_, (Boxed<'_, AnyByteStream<'a>>, Peer)>;
    fn abort(&self);
}

impl<'a, L> AnyListener<'a> for L
where
    L: Listener + 'a,
    L::Stream: ByteStream + 'a,
{
    fn accept_boxed(&self) -> Boxed<'_, (Boxed<'_, AnyByteStream<'a>>, Peer)> {
        Box::pin(async move {
            let (begun, peer) = Listener::accept_from(self).await?;
            let stream: Boxed<'_, _> = Box::pin(async { Ok(AnyByteStream::new(begun.await?)) });
            Ok((stream, peer))
        })
    }

    fn abort(&self) {
        Listener::abort(self);
    }
}
