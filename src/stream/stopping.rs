//! Notifies the handlers of a server that it stops: [`stopping`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use crate::error::Result;
use crate::runtime::context;
use crate::runtime::wait::Wait;
use crate::sync::ThreadEvent;
use crate::sys::current::Current;

thread_local! {
    /// The event of the server of the handler that is being polled.
    static OWN: Current<ThreadEvent> = const { Current::new() };
}

/// Polls a handler, and sets the event of its server during the poll.
pub(super) fn with_event<T>(stop: &ThreadEvent, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
    OWN.with(|own| own.set(stop, poll))
}

/// Waits until [`Serve::shutdown`](crate::Serve::shutdown) stops the server that this handler
/// belongs to. Outside of a handler it waits forever.
///
/// It is for long connections: a handler that waits for its peer's next request can then send its
/// last message, and one that is answering can end after the answer. At the limit of
/// [`Serve::drain`](crate::Serve::drain) the remaining connections are cancelled. Tasks of a group
/// inside the handler belong to the server; those of a group around the server do not.
///
/// # Errors
///
/// None of its own.
///
/// # Cancel safety
///
/// Dropping the future has no other effect than to end the wait.
///
/// # Examples
///
/// ```
/// use soloio::{Error, ThreadEvent, connect_tcp, create_tcp_listener, stopping, task_group};
///
/// soloio::block_on(async {
///     let listener = create_tcp_listener().local_host("127.0.0.1").await?;
///     let port = listener.local_addr().port();
///     let stop = ThreadEvent::new();
///     let serve = listener.serve(async |client| {
///         client.send(b"hello").await?;
///         stopping().await?;
///         client.send(b"goodbye").await
///     });
///     task_group(async |group| {
///         group.spawn(serve.shutdown(stop.wait()));
///         let client = connect_tcp("127.0.0.1", port).await?;
///         assert_eq!(client.receive().await?, b"hello");
///         stop.set();
///         assert_eq!(client.receive().await?, b"goodbye");
///         Ok(())
///     })
///     .await
/// })?;
/// # Ok::<_, Error>(())
/// ```
#[doc(alias = "graceful")]
pub async fn stopping() -> Result<()> {
    let stopping = Stopping {
        found: None,
        wait: Wait::new(&"its server to stop"),
    };
    stopping.await
}

/// The wait. A further poll with the same waker, as beside a busy connection, takes no lock.
struct Stopping {
    /// Set at the first poll: a future that was made in a handler may be polled elsewhere.
    found: Option<Found>,
    wait: Wait,
}

/// The server's event, and the place among its waiters.
struct Found {
    stop: ThreadEvent,
    key: Option<usize>,
    waker: Option<Waker>,
}

impl Future for Stopping {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { found, wait } = self.get_mut();
        let own = || Current::with(&OWN, |stop| stop.cloned());
        let found = found.get_or_insert_with(|| Found {
            stop: own().unwrap_or_default(),
            key: None,
            waker: None,
        });
        context::poll_with(|core| {
            ready!(wait.admit_wait(core, cx))?;
            let waits = |waker: &Waker| waker.will_wake(cx.waker());
            if !found.waker.as_ref().is_some_and(waits) {
                let old = found.waker.replace(cx.waker().clone());
                drop(old);
                if found.stop.is_set_or_take(&mut found.key, cx.waker()) {
                    return Poll::Ready(Ok(()));
                }
            } else if found.stop.is_set() {
                return Poll::Ready(Ok(()));
            }
            wait.pend(core, cx)
        })
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        self.stop.leave(self.key);
    }
}
