//! A loop in a thread, and calls into it from others: [`LoopThread`].

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::thread::{self, JoinHandle, ThreadId};

use crossbeam_channel::bounded;
use soloio::{
    Error, LoopHandle, Panicked, Result, ThreadEvent, Winner, loop_handle, race, task_group,
    try_block_on,
};

use super::channel::{ThreadReceiver, ThreadSender, channel};

/// The calls that wait for the loop to begin them; further callers wait for room.
const WAITING: usize = 64;

type Payload = Box<dyn Any + Send>;

/// A call on its way to the loop: makes the future that runs there.
type Call<S> = Box<dyn FnOnce(Rc<S>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// A loop in a thread of its own, for programs and libraries that are not asynchronous: other
/// threads run async closures on it, and block until these have ended.
///
/// The loop has a state of type `S`, which is made on it, stays there, and is lent to each call: it
/// need not be `Send`. Calls run at once, each as a task. It is shared by reference or in an
/// [`Arc`](std::sync::Arc).
///
/// It ends when it is [stopped](Self::stop) or dropped: calls in progress are cancelled, further
/// ones are refused, the state is dropped on the loop, and the thread is joined. On a loop's own
/// thread that blocks the loop meanwhile.
///
/// # Examples
///
/// ```
/// use soloio::{TcpStream, connect_tcp};
/// use soloio_streams::LoopThread;
///
/// # let listener = soloio::block_on(soloio::create_tcp_listener().local_host("127.0.0.1"))?;
/// # let port = listener.local_addr().port();
/// # let server = std::thread::spawn(move || {
/// #     soloio::block_on(async {
/// #         let client = listener.accept().await?;
/// #         client.send(&client.receive().await?).await
/// #     })
/// # });
/// let client = LoopThread::start(async move || connect_tcp("127.0.0.1", port).await)?;
/// let answer = client.call_async(async |stream: &TcpStream| {
///     stream.send(b"hello").await?;
///     stream.receive().await
/// })??;
/// assert_eq!(answer, b"hello");
/// client.stop()?;
/// # server.join().expect("it does not panic")?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias("start_blocking_portal", "BlockingPortal", "BlockingPortalProvider"))]
pub struct LoopThread<S = ()> {
    calls: ThreadSender<Call<S>>,
    stop: ThreadEvent,
    handle: LoopHandle,
    thread_id: ThreadId,
    /// `None` when it was joined.
    thread: Mutex<Option<JoinHandle<Result<()>>>>,
}

impl<S: 'static> LoopThread<S> {
    /// Starts a thread with a loop, and makes the loop's state there: returns when it is made.
    ///
    /// # Errors
    ///
    /// That of `state`; [`Error::Panicked`] if it panicked; [`Error::Io`] if no thread can be
    /// started, and of kind `InvalidInput` on a thread that runs a loop, which must not block.
    pub fn start(state: impl AsyncFnOnce() -> Result<S> + Send + 'static) -> Result<Self> {
        refuse_on_a_loop()?;
        let (calls, waiting) = channel(WAITING);
        let (started, begun) = bounded(1);
        let stop = ThreadEvent::new();
        let until = stop.clone();
        let run = move || {
            try_block_on(async {
                let state = caught(async { state().await }).await;
                let state = state.unwrap_or_else(|payload| Err(panicked(payload)))?;
                // The other side waits for it.
                drop(started.send(loop_handle()?));
                serve(state, waiting, until).await
            })?
        };
        let thread = thread::Builder::new().name("soloio-loop".to_owned());
        let thread = thread.spawn(run)?;
        let Ok(handle) = begun.recv() else {
            return Err(joined(thread).err().unwrap_or(Error::Closed));
        };
        Ok(Self {
            calls,
            stop,
            handle,
            thread_id: thread.thread().id(),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Runs an async closure on the loop, and blocks this thread until it has ended.
    ///
    /// # Errors
    ///
    /// * [`Error::Panicked`] if it panicked; the loop goes on.
    /// * [`Error::Closed`] if the loop has ended, or ends before the closure has.
    /// * [`Error::Io`] of kind `InvalidInput` on a thread that runs a loop, this one or another: it
    ///   must not block, and two loops would wait for each other.
    #[doc(alias("from_thread", "run"))]
    pub fn call_async<T, F>(&self, f: F) -> Result<T>
    where
        F: AsyncFnOnce(&S) -> T + Send + 'static,
        T: Send + 'static,
    {
        refuse_on_a_loop()?;
        // Dropped with the call if that never ends: then the wait below ends.
        let (answer, answered) = bounded(1);
        let call = move |state: Rc<S>| -> Pin<Box<dyn Future<Output = ()>>> {
            Box::pin(async move {
                let output = caught(async { f(&state).await }).await;
                drop(state);
                // Its caller waits for it.
                drop(answer.send(output));
            })
        };
        let sent = self.calls.send_blocking(Box::new(call));
        sent.map_err(|_| Error::Closed)?;
        let output = answered.recv().map_err(|_| Error::Closed)?;
        output.map_err(panicked)
    }

    /// The handle of the loop, for closures that are not asynchronous.
    #[must_use]
    pub fn handle(&self) -> &LoopHandle {
        &self.handle
    }
}

impl<S> LoopThread<S> {
    /// Ends the loop: cancels the calls in progress, and blocks until they have ended, the state is
    /// dropped and the thread has ended. In a call on the loop it does not block.
    ///
    /// # Errors
    ///
    /// An error of the loop itself; [`Error::Panicked`] if dropping the state panicked. A second
    /// stop has none.
    pub fn stop(&self) -> Result<()> {
        self.stop.set();
        if self.thread_id == thread::current().id() {
            return Ok(());
        }
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.take().map_or(Ok(()), joined)
    }
}

impl<S> Drop for LoopThread<S> {
    fn drop(&mut self) {
        // An error is for those that stop it.
        drop(self.stop());
    }
}

/// The loop: begins each call as a task, until it is stopped.
async fn serve<S>(state: S, calls: ThreadReceiver<Call<S>>, stop: ThreadEvent) -> Result<()> {
    let state = Rc::new(state);
    task_group(async move |group| {
        let begin = async {
            while let Some(call) = calls.next().await? {
                let call = call(Rc::clone(&state));
                group.spawn(async {
                    call.await;
                    Ok(())
                });
            }
            Ok(())
        };
        let (Winner::First(ended) | Winner::Second(ended)) = race((stop.wait(), begin)).await;
        // Refused before anything is waited for.
        drop(calls);
        group.cancel();
        ended
    })
    .await
}

fn panicked(payload: Payload) -> Error {
    Error::from(Panicked::new(payload))
}

/// Waits for the end of the thread.
fn joined(thread: JoinHandle<Result<()>>) -> Result<()> {
    (thread.join()).unwrap_or_else(|payload| Err(panicked(payload)))
}

fn refuse_on_a_loop() -> Result<()> {
    if loop_handle().is_err() {
        return Ok(());
    }
    let message = "this thread runs a loop, which must not block";
    Err(io::Error::new(io::ErrorKind::InvalidInput, message).into())
}

/// Runs a future; a panic in it is the error.
async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Payload> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        // The future is not polled again after a panic.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(payload) => Poll::Ready(Err(payload)),
        }
    })
    .await
}

impl<S> fmt::Debug for LoopThread<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("LoopThread");
        shown.field("closed", &self.handle.is_closed());
        shown.finish_non_exhaustive()
    }
}
