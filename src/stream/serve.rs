//! The server loop, written once: accept, hand over, survive.
//!
//! Servers die in the accept loop. An error of one connection must not end it; running out of
//! descriptors must neither end it nor let it spin. So errors are sorted: those about one
//! connection are passed over, with a pause after [`GONE_IN_A_ROW`] of them; exhaustion waits
//! [`BACK_OFF`] for connections to end; and only a broken listener ends the loop. All are
//! reported, exhaustion at most once a second.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use super::listener::Listener;
use crate::error::{Error, Result};
use crate::runtime::context;
use crate::runtime::wait::Wait;
use crate::sys::clock::{self, Nanos};
use crate::sys::errno::{self, AcceptFailure};
use crate::task::{Outcome, task_group};
use crate::time::sleep;

/// How long accepting pauses: when descriptors or memory ran out, or nothing else comes.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How many connections in a row may be gone before they are accepted until accepting pauses: an
/// error that never ends, such as a filter's, must not keep a core busy.
const GONE_IN_A_ROW: u32 = 100;

/// How often exhaustion is reported at most.
const REPORT_EVERY: Nanos = 1_000_000_000;

/// A server that is about to run: await it.
///
/// Made by [`Listener::serve`] and the listeners' own `serve`. Each connection runs in a task of
/// its own, which borrows the handler. An error or a panic of a handler ends its own connection
/// and is told to [`on_error`](Self::on_error). Accepting goes on through the errors of single
/// connections, and pauses for 100 ms when descriptors run out.
///
/// It ends by an error of the listener itself, or by being dropped, which drops all connections.
///
/// # Errors
///
/// [`Error::Closed`] when the listener was aborted, [`Error::Busy`] if another task accepts from
/// it, [`Error::Io`] if it is broken.
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
pub struct Serve<'a, L, H> {
    listener: &'a L,
    handler: H,
    max_connections: usize,
    on_error: Option<Box<dyn Fn(Error) + 'a>>,
}

impl<'a, L, H> Serve<'a, L, H> {
    pub(super) fn new(listener: &'a L, handler: H) -> Self {
        Self {
            listener,
            handler,
            max_connections: usize::MAX,
            on_error: None,
        }
    }

    /// How many connections are served at a time (no limit by default, at least 1). Those beyond
    /// wait in the kernel's backlog.
    pub fn max_connections(mut self, max: usize) -> Self {
        self.max_connections = max.max(1);
        self
    }

    /// Is called with every error of a handler, its panic as [`Error::Other`], and with the errors
    /// of accepting that do not end the server. Without it they are dropped.
    pub fn on_error(mut self, hook: impl Fn(Error) + 'a) -> Self {
        self.on_error = Some(Box::new(hook));
        self
    }
}

impl<L, H> fmt::Debug for Serve<'_, L, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("max_connections", &self.max_connections)
            .finish()
    }
}

impl<'a, L, H, O> IntoFuture for Serve<'a, L, H>
where
    L: Listener,
    H: AsyncFn(L::Stream) -> O + 'a,
    O: Outcome<Error, Value = ()> + 'a,
{
    type Output = Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(run(self))
    }
}

async fn run<L, H, O>(serve: Serve<'_, L, H>) -> Result<()>
where
    L: Listener,
    H: AsyncFn(L::Stream) -> O,
    O: Outcome<Error, Value = ()>,
{
    let Serve {
        listener,
        handler,
        max_connections,
        on_error,
    } = serve;
    let report = Report {
        hook: on_error,
        exhausted: Cell::new(None),
        gone: Cell::new(0),
    };
    let places = Places {
        free: Cell::new(max_connections),
        waiting: RefCell::new(None),
    };
    task_group(async |group| -> Result<()> {
        loop {
            places.one_free().await?;
            let begun = match listener.accept_begin().await {
                Ok(begun) => {
                    report.gone.set(0);
                    begun
                }
                Err(error) => {
                    pass_over(error, &report).await?;
                    continue;
                }
            };
            let place = places.take();
            group.spawn(async {
                // Pinned where it is made: passed on to a function it would be in the task twice,
                // and an idle connection is mostly its task.
                let mut connection = pin!(async {
                    let stream = begun.await?;
                    handler(stream).await.into_result()
                });
                if let Err(error) = poll_fn(|cx| poll_caught(connection.as_mut(), cx)).await {
                    report.tell(error);
                }
                drop(place);
            });
        }
    })
    .await
}

/// Goes on after an error of accepting, or ends with it.
async fn pass_over(error: Error, report: &Report<'_>) -> Result<()> {
    let Error::Io(cause) = &error else {
        return Err(error);
    };
    match errno::accept_failure(cause) {
        AcceptFailure::Connection => {
            report.tell(error);
            report.gone.set(report.gone.get() + 1);
            if report.gone.get() == GONE_IN_A_ROW {
                report.gone.set(0);
                sleep(BACK_OFF).await?;
            }
        }
        AcceptFailure::Exhausted => {
            report.tell_exhausted(error);
            sleep(BACK_OFF).await?;
        }
        AcceptFailure::Listener => return Err(error),
    }
    Ok(())
}

/// Polls a connection, whose panic is its own error.
fn poll_caught(
    connection: Pin<&mut impl Future<Output = Result<()>>>,
    cx: &mut Context<'_>,
) -> Poll<Result<()>> {
    catch_unwind(AssertUnwindSafe(|| connection.poll(cx)))
        .unwrap_or_else(|payload| Poll::Ready(Err(panicked(&*payload))))
}

fn panicked(payload: &(dyn Any + Send)) -> Error {
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with a value that is no text");
    Error::other(format!("a connection's handler panicked: {message}"))
}

/// Tells the hook.
struct Report<'a> {
    hook: Option<Box<dyn Fn(Error) + 'a>>,
    /// When exhaustion was last told.
    exhausted: Cell<Option<Nanos>>,
    /// Errors about single connections since the last one that was accepted.
    gone: Cell<u32>,
}

impl Report<'_> {
    fn tell(&self, error: Error) {
        if let Error::Cancelled = error {
            // The server's own end, or that of who runs it.
            return;
        }
        if let Some(hook) = &self.hook {
            hook(error);
        }
    }

    fn tell_exhausted(&self, error: Error) {
        let told = self.exhausted.get();
        let now = clock::now();
        if told.is_none_or(|told| now - told >= REPORT_EVERY) {
            self.exhausted.set(Some(now));
            self.tell(error);
        }
    }
}

/// How many more connections may be served.
struct Places {
    free: Cell<usize>,
    waiting: RefCell<Option<Waker>>,
}

impl Places {
    async fn one_free(&self) -> Result<()> {
        let mut wait = Wait::new(&"the end of a connection");
        poll_fn(|cx| {
            context::poll_with(|core| {
                ready!(wait.admit_wait(core, cx))?;
                if self.free.get() > 0 {
                    return Poll::Ready(Ok(()));
                }
                let old = self.waiting.replace(Some(cx.waker().clone()));
                drop(old);
                wait.pend(core, cx)
            })
        })
        .await
    }

    fn take(&self) -> Place<'_> {
        self.free.set(self.free.get() - 1);
        Place(self)
    }
}

/// A connection's place, given back when the connection ends.
struct Place<'a>(&'a Places);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.free.set(self.0.free.get() + 1);
        let waiting = self.0.waiting.take();
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}
