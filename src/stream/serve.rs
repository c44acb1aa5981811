//! The server: its options, the group its connections are in, and its end.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::{Future, IntoFuture, poll_fn};
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::accepting::{Accept, accept_all, accept_waiting};
use super::listener::Listener;
use super::report::{Hook, Peer};
use super::served::{Served, Serves};
use super::serving::{ServeCounters, Serving};
use crate::error::{Error, Failure, Result};
use crate::records::record;
use crate::shown::shown;
use crate::task::{Outcome, TaskGroup, move_on_after, task_group};

/// A server that is about to run: await it.
///
/// Made by [`Listener::serve`] and the listeners' own `serve`. Each connection runs in a task of
/// its own, which borrows the handler. An error or a panic of a handler ends only its own
/// connection, and is reported to [`on_error`](Self::on_error), or else on standard error.
///
/// Errors of single connections do not end the accept loop. If descriptors or memory run out it
/// pauses, until one of its connections ends or 100 ms have passed. If there are still no
/// descriptors, every 100 ms one client is accepted on a spare descriptor and closed immediately.
///
/// A handler that returns need not close its stream. It may drop an accepted TCP stream (also
/// inside TLS or [`Buffered`](crate::Buffered)) while bytes are on their way: if the peer has not
/// acknowledged everything, or has sent data that was not received. Then its task continues and
/// closes the stream as `close` does, within the stream's [`CloseLimits`](crate::CloseLimits).
/// Until then the connection counts as active; bytes that did not arrive are an error of the
/// handler, by the rule of [`ByteStream::close`](crate::ByteStream::close). A stream closes at once
/// if the handler has moved it to another task, or if it is dropped because the handler panicked or
/// was dropped itself. The close also ends duplicates of its descriptor: to give the connection
/// away, a handler converts the stream (`OwnedFd::try_from`). A TLS stream sends no `close_notify`
/// when it is dropped. The peer of a plain stream cannot distinguish a handler that failed from one
/// that has ended. If half an answer could be taken for the whole, call
/// [`reset`](crate::ByteStream::reset).
///
/// The server ends
///
/// * with `Ok` after [`shutdown`](Self::shutdown);
/// * with an error of the listener itself, which drops all connections;
/// * when it is dropped, which drops all connections and leaves the listener unchanged.
///
/// # Errors
///
/// [`Error::Closed`] if the listener was aborted, [`Error::Busy`] if another task accepts from it,
/// [`Error::Io`] if it is broken.
///
/// # Examples
///
/// ```
/// use soloio::{connect_tcp, create_tcp_listener, task_group};
///
/// soloio::block_on(async {
///     let listener = create_tcp_listener().local_host("127.0.0.1").await?;
///     let port = listener.local_addr().port();
///     task_group(async |group| {
///         let server = group.spawn(listener.serve(async |client| {
///             let name = client.receive_max(1024).await?;
///             client.send(&[b"Hello, ", &name[..]].concat()).await
///         }));
///         let client = connect_tcp("127.0.0.1", port).await?;
///         client.send(b"world").await?;
///         assert_eq!(client.receive().await?, b"Hello, world");
///         server.cancel();
///         Ok(())
///     })
///     .await
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[must_use = "a server does nothing unless awaited"]
pub struct Serve<'a, L, H, E = Error> {
    listener: &'a L,
    handler: H,
    max_connections: usize,
    on_error: Option<Hook<'a>>,
    counters: ServeCounters,
    ending: Ending<'a>,
    error: PhantomData<fn() -> E>,
}

type Boxed = Box<dyn StdError + Send + Sync>;

/// The signal that ends the server, and the time that its connections may run after that.
#[derive(Default)]
struct Ending<'a> {
    signal: Option<Pin<Box<dyn Future<Output = ()> + 'a>>>,
    limit: Option<Duration>,
}

impl<'a, L, H, E> Serve<'a, L, H, E> {
    pub(super) fn new(listener: &'a L, handler: H) -> Self {
        Self {
            listener,
            handler,
            max_connections: usize::MAX,
            on_error: None,
            counters: ServeCounters::default(),
            ending: Ending::default(),
            error: PhantomData,
        }
    }

    /// Sets the number of connections that are served at a time (no limit by default, at least 1).
    /// Further ones wait in the kernel's backlog.
    pub fn max_connections(mut self, max: usize) -> Self {
        self.max_connections = max.max(1);
        self
    }

    /// Sets a hook for every error of a handler, with the [`Peer`] of its connection. A panic of a
    /// handler is [`Error::Panicked`]. The hook also gets the errors of accepts that do not end the
    /// server: at most one a second of single connections, and one a second of missing descriptors
    /// and memory. An error of a cancel, such as at the end of [`drain`](Self::drain), is not
    /// reported.
    ///
    /// A panic of the hook ends nothing, and is not given to the hook. The error is then written to
    /// standard error, as without a hook, followed by the panic. It is counted once.
    ///
    /// Without a hook each error is a line on standard error, with the peer and the causes. At most
    /// 10 lines a second are written for a server, and the next line, or one at the server's end,
    /// has the number of those left out. If standard error is a pipe that is full and not read, the
    /// loop blocks, as with `eprintln`. `.on_error(|_, _| {})` silences the server;
    /// [`counters`](Self::counters) counts in any case.
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::{Error, connect_tcp, create_tcp_listener, task_group};
    /// use std::cell::RefCell;
    ///
    /// let log = RefCell::new(Vec::new());
    /// soloio::block_on(async {
    ///     let listener = create_tcp_listener().local_host("127.0.0.1").await?;
    ///     let serve = listener
    ///         .serve(async |_| Err(Error::other("out of order")))
    ///         .on_error(|error, peer| log.borrow_mut().push(format!("{peer}: {error}")));
    ///     task_group(async |group| {
    ///         let server = group.spawn(serve);
    ///         let client = connect_tcp("127.0.0.1", listener.local_addr().port()).await?;
    ///         assert!(client.receive().await.is_err());
    ///         server.cancel();
    ///         Ok(client.local_addr())
    ///     })
    ///     .await
    ///     .map(|client| assert_eq!(log.take(), [format!("{client}: out of order")]))
    /// })?;
    /// # Ok::<_, Error>(())
    /// ```
    pub fn on_error(mut self, hook: impl Fn(&Error, &Peer) + 'a) -> Self {
        self.on_error = Some(Box::new(hook));
        self
    }

    /// Ends the server when `signal` is done, with any output. First the connections in the backlog
    /// are accepted (at most 4,096); those beyond [`max_connections`](Self::max_connections) have a
    /// descriptor now, and wait for their handlers until others end. Then the listener is aborted,
    /// and all these connections continue to their end, for as long as [`drain`](Self::drain)
    /// allows; [`stopping`](crate::stopping) notifies their handlers.
    ///
    /// Connections that are not accepted by then are reset, unless a duplicate of the socket still
    /// listens, for example in another process.
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::{create_tcp_listener, sleep};
    /// use std::time::Duration;
    ///
    /// soloio::block_on(async {
    ///     let listener = create_tcp_listener().local_host("127.0.0.1").await?;
    ///     listener
    ///         .serve(async |client| client.send(b"hello").await)
    ///         .shutdown(sleep(Duration::from_millis(1)))
    ///         .drain(Duration::from_secs(10))
    ///         .await
    /// })?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    #[doc(alias = "graceful")]
    pub fn shutdown<F>(mut self, signal: F) -> Self
    where
        F: IntoFuture<IntoFuture: 'a>,
    {
        // An async block would have the signal twice: as it is captured, and as it is awaited.
        let mut signal = Box::pin(signal.into_future());
        let done = poll_fn(move |cx| signal.as_mut().poll(cx).map(drop));
        self.ending.signal = Some(Box::pin(done));
        self
    }

    /// Limits the time that the running connections may continue after
    /// [`shutdown`](Self::shutdown); with 0 they end at once. Connections that are left at the
    /// limit are cancelled: their operations end with [`Error::Cancelled`]. A handler may then send
    /// a last message in a [`shield`](crate::shield); one that continues in spite of the errors is
    /// dropped. Without this option there is no limit.
    pub fn drain(mut self, limit: Duration) -> Self {
        self.ending.limit = Some(limit);
        self
    }

    /// Returns the counters of this server, which can be read while it runs.
    #[must_use]
    pub fn counters(&self) -> ServeCounters {
        self.counters.clone()
    }

    /// Serves with the connections as children of `group`, a group of the caller's.
    ///
    /// The future is only the accept loop: if it ends with an error or is dropped, the connections
    /// continue as long as the group does. After [`shutdown`](Self::shutdown) it returns when they
    /// have ended, or were cancelled at the limit of [`drain`](Self::drain).
    ///
    /// # Errors
    ///
    /// Those of a [`Serve`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops accepting; the listener stays usable, and so does each connection.
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::{connect_tcp, create_tcp_listener, fail_after, task_group, Error};
    /// use std::time::Duration;
    ///
    /// soloio::block_on(async {
    ///     let listener = create_tcp_listener().local_host("127.0.0.1").await?;
    ///     let client = connect_tcp("127.0.0.1", listener.local_addr().port()).await?;
    ///     task_group(async |group| {
    ///         let serve = listener.serve(async |client| {
    ///             let data = client.receive().await?;
    ///             client.send(&data).await
    ///         });
    ///         let accepting = serve.in_group(group);
    ///         let ended = fail_after(Duration::from_millis(50), accepting).await;
    ///         assert!(matches!(ended, Err(Error::TimedOut(_))));
    ///         // The server accepts no more; the connection continues.
    ///         client.send(b"still there?").await?;
    ///         assert_eq!(client.receive().await?, b"still there?");
    ///         Ok(())
    ///     })
    ///     .await
    /// })?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    #[doc(alias = "task_group")]
    pub async fn in_group<'s, G, O>(self, group: &'s TaskGroup<'s, '_, G>) -> Result<()>
    where
        'a: 's,
        G: Failure + 's,
        L: Listener,
        H: AsyncFn(L::Stream) -> O + 's,
        O: Outcome<E, Value = ()> + 's,
        E: Failure + Into<Boxed> + 's,
    {
        let (served, ending) = self.begin(true);
        let serving = Rc::clone(&served.serving);
        let served: Rc<dyn Serves<'s, G> + 's> = served;
        if !conduct(served.accept(group), &serving, ending).await? {
            serving.scope.cancel("the server has drained long enough");
        }
        serving.until(&|| serving.is_idle()).await
    }

    fn begin(self, is_apart: bool) -> (Rc<Served<'a, L, H, E>>, Ending<'a>) {
        let mut serving = Serving::new(self.max_connections, self.on_error, self.counters);
        serving.is_apart = is_apart;
        let served = Served {
            listener: self.listener,
            handler: self.handler,
            serving: Rc::new(serving),
            error: PhantomData,
        };
        (Rc::new(served), self.ending)
    }
}

shown!(
    [L, H, E] Serve<'_, L, H, E>, "Serve", this =>
    max_connections: this.max_connections,
    drain: this.ending.limit,
    counters: this.counters
);

impl<'a, L, H, O, E> IntoFuture for Serve<'a, L, H, E>
where
    L: Listener,
    H: AsyncFn(L::Stream) -> O + 'a,
    O: Outcome<E, Value = ()> + 'a,
    E: Failure + Into<Boxed> + 'a,
{
    type Output = Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        let (served, ending) = self.begin(false);
        run(Rc::clone(&served.serving), served, ending)
    }
}

/// Serves in a group of its own.
fn run<'a>(
    serving: Rc<Serving<'a>>,
    served: Rc<dyn Serves<'a, Error> + 'a>,
    ending: Ending<'a>,
) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>> {
    Box::pin(task_group(async move |group| -> Result<()> {
        if !conduct(served.accept(group), &serving, ending).await? {
            // The group ends with the last connection; it drops those that ignore the cancel.
            group.cancel();
        }
        Ok(())
    }))
}

/// Accepts until the server is stopped, then waits for the end of the connections; returns false if
/// those that are left have to be cancelled.
async fn conduct(
    mut accept: Pin<Box<dyn Accept + '_>>,
    serving: &Serving<'_>,
    ending: Ending<'_>,
) -> Result<bool> {
    until(ending.signal, accept_all(accept.as_mut(), serving)).await?;
    serving.stop.set();
    record!(Debug, "soloio::serve", "stops");
    accept.as_mut().leave();
    accept_waiting(accept.as_mut()).await;
    accept.as_mut().abort();
    drop(accept);
    drained(serving, ending.limit).await
}

/// Waits until all connections have ended; returns false if they have not at the limit.
async fn drained(serving: &Serving<'_>, limit: Option<Duration>) -> Result<bool> {
    let limit = limit.unwrap_or(Duration::MAX);
    let is_idle = || serving.is_idle();
    let drained = move_on_after(limit, serving.until(&is_idle)).await?;
    if drained.is_none() {
        record!(
            Debug,
            "soloio::serve",
            "cancels {} connections: drained long enough",
            serving.active()
        );
        return Ok(false);
    }
    record!(Debug, "soloio::serve", "drained");
    Ok(true)
}

/// Accepts until `signal` is done, or an accept ends with an error.
async fn until(
    mut signal: Option<Pin<Box<dyn Future<Output = ()> + '_>>>,
    accepting: impl Future<Output = Result<Infallible>>,
) -> Result<()> {
    let mut accepting = pin!(accepting);
    poll_fn(|cx| {
        // Polled first: in a cancelled scope both end, and that is no signal.
        if let Poll::Ready(ended) = accepting.as_mut().poll(cx) {
            return Poll::Ready(ended.map(|never| match never {}));
        }
        match &mut signal {
            Some(signal) => signal.as_mut().poll(cx).map(Ok),
            None => Poll::Pending,
        }
    })
    .await
}
