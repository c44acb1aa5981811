//! Notifies the handlers of a server that it stops: [`stopping`].

use std::task::{Poll, ready};

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
#[inline]
pub(super) fn with_event<T>(stop: &ThreadEvent, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
    Current::set(&OWN, stop, poll)
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
    // At the first poll: a future that was made in a handler may be polled elsewhere.
    let stop = Current::with(&OWN, ThreadEvent::clone).unwrap_or_default();
    let (mut waiter, mut known) = (stop.waiter(), None);
    let mut wait = Wait::new(&"its server to stop");
    context::in_runtime(|core, cx| {
        ready!(wait.admit_wait(core, cx))?;
        match waiter.is_set_or_take_new(&mut known, cx.waker()) {
            true => Poll::Ready(Ok(())),
            false => wait.pend(core, cx),
        }
    })
    .await
}
