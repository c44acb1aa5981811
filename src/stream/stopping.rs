//! How a server tells its handlers that it stops: [`stopping`].

use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::error::Result;
use crate::sync::ThreadEvent;
use crate::sys::current::Current;

thread_local! {
    /// The event of the server whose handler is being polled.
    static OWN: Current<ThreadEvent> = const { Current::new() };
}

/// Polls a handler, which finds the event of its server meanwhile.
pub(super) fn told<T>(stop: &ThreadEvent, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
    OWN.with(|own| own.set(stop, poll))
}

/// Waits until the server that this handler belongs to is told to stop, by
/// [`Serve::shutdown`](crate::Serve::shutdown); outside of a handler that never happens.
///
/// For connections that live long: one that waits for its peer's next request says goodbye then,
/// one that answers ends after the answer. What the limit of [`Serve::drain`](crate::Serve::drain)
/// finds is cancelled. The tasks of a group in the handler belong to it; those of a group around
/// the server do not.
///
/// # Errors
///
/// None of its own.
///
/// # Cancel safety
///
/// Dropping the future changes nothing.
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
    let find = |_: &mut Context<'_>| Poll::Ready(OWN.with(|own| own.with(|stop| stop.cloned())));
    let stop: Option<ThreadEvent> = poll_fn(find).await;
    let stop = stop.unwrap_or_default();
    stop.wait_as(&"its server to stop").await
}
