//! One loop per core: the same body on several threads, each with a runtime of its own.
//!
//! The threads are scoped, so the body may borrow from around the call, and nothing outlives it.
//! They share one bit each way: "stop requested", which the bodies may wait for, and "one has
//! failed", which ends the others. Neither is accessed while a connection is served.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::outcome::Outcome;
use super::scope::CancelScope;
use crate::error::{Error, Failure, Result};
use crate::runtime::block_on;
use crate::shown::shown;
use crate::sync::ThreadEvent;

/// Runs `body` on each of `threads` threads, each with its own runtime, and returns the results in
/// the order of [`Core::index`].
///
/// It is for servers that need more than one core. Each loop listens on the same port
/// ([`reuse_port`](crate::net::CreateTcpListener::reuse_port)), and the kernel distributes the
/// connections. A connection stays on the loop that accepted it. Or each loop accepts on a
/// duplicate of one listener: on Linux a client then wakes one sleeping loop, in turn. Only values
/// that the body borrows are shared; they have to be `Sync`. One of the threads is the caller's.
/// They are not pinned to processors; `std::thread::available_parallelism` returns a useful number.
///
/// The first error cancels all others, as in a task group, and is the result (the first that is not
/// a cancel's, if there is one). For a regular end, [`Core::stop`] requests all to stop, and
/// [`Core::stopped`] waits for that.
///
/// # Errors
///
/// The first error of a body. `InvalidInput` for zero threads; [`Error::Io`] if a thread cannot be
/// started.
///
/// # Panics
///
/// With the panic of a body, when the others have ended, unless one has failed before; and inside a
/// task of a runtime.
///
/// # Examples
///
/// Two loops on one port. All listeners are made before any of them accepts, because a listener
/// that is bound but not served would still get its share of the connections.
///
/// ```
/// use soloio::{Result, block_on, connect_tcp, create_tcp_listener, per_core};
///
/// let local = || create_tcp_listener().local_host("127.0.0.1").reuse_port(true);
/// let listeners = block_on(async {
///     let first = local().await?;
///     let second = local().local_port(first.local_addr().port()).await?;
///     Ok::<_, soloio::Error>([first, second])
/// })?;
/// let port = listeners[0].local_addr().port();
/// let served = per_core(2, async |core| -> Result<u64> {
///     let serve = listeners[core.index()].serve(async |client| {
///         let name = client.receive().await?;
///         client.send(&[b"Hello, ", &name[..]].concat()).await
///     });
///     let counters = serve.counters();
///     let talk = async {
///         if core.index() == 0 {
///             for _ in 0..10 {
///                 let client = connect_tcp("127.0.0.1", port).await?;
///                 client.send(b"world").await?;
///                 assert_eq!(client.receive().await?, b"Hello, world");
///             }
///             core.stop();
///         }
///         Ok(())
///     };
///     soloio::task_group(async |group| {
///         group.spawn(serve.shutdown(core.stopped()));
///         talk.await
///     })
///     .await?;
///     Ok(counters.accepted())
/// })?;
/// assert_eq!(served.iter().sum::<u64>(), 10);
/// # Ok::<_, soloio::Error>(())
/// ```
pub fn per_core<T, O, B>(threads: usize, body: B) -> Result<Vec<T>>
where
    B: AsyncFn(&Core) -> O + Sync,
    O: Outcome<Error, Value = T>,
    T: Send,
{
    per_core_with::<_, _, _, Error>(threads, body)
}

/// The same as [`per_core`], with an error type of your own.
///
/// # Errors
///
/// Those of [`per_core`]; the crate's own as `E`.
///
/// # Panics
///
/// As [`per_core`].
///
/// # Examples
///
/// ```
/// type AnyError = Box<dyn std::error::Error + Send + Sync>;
///
/// let ended = soloio::per_core_with(2, async |core| -> Result<u32, AnyError> {
///     let number = ["7", "seven"][core.index()].parse()?;
///     Ok(number)
/// });
/// assert_eq!(ended.unwrap_err().to_string(), "invalid digit found in string");
/// ```
pub fn per_core_with<T, O, B, E>(threads: usize, body: B) -> Result<Vec<T>, E>
where
    B: AsyncFn(&Core) -> O + Sync,
    O: Outcome<E, Value = T>,
    T: Send,
    E: Failure + Send,
{
    if threads == 0 {
        let none = Error::invalid("start loops", "at least one thread is needed");
        return Err(none.into());
    }
    let shared = Shared {
        count: threads,
        ..Shared::default()
    };
    let loops = Loops {
        shared: Arc::new(shared),
        failure: Mutex::new(None),
    };
    let run = |index| loops.run(index, &body);
    let values = thread::scope(|scope| {
        let mut others = Vec::new();
        for index in 1..threads {
            let name = format!("soloio-core-{index}");
            match thread::Builder::new()
                .name(name)
                .spawn_scoped(scope, move || run(index))
            {
                Ok(thread) => others.push(thread),
                Err(cause) => {
                    loops.fail(Fault::Error(not_started(index, cause).into()));
                    break;
                }
            }
        }
        let first = run(0);
        // A panic of theirs is a failure, which they record themselves.
        let others = others
            .into_iter()
            .map(|thread| thread.join().ok().flatten());
        std::iter::once(first).chain(others).collect::<Vec<_>>()
    });
    let failure = loops.failure().take();
    match failure {
        None => Ok(values.into_iter().flatten().collect()),
        Some((_, Fault::Error(error))) => Err(error),
        Some((_, Fault::Panic(payload))) => resume_unwind(payload),
    }
}

#[cold]
fn not_started(index: usize, cause: io::Error) -> Error {
    Error::io("start", format_args!("the thread of core {index}"), cause)
}

/// The loops of one call.
struct Loops<E> {
    shared: Arc<Shared>,
    /// The failure that is the result; true if it is an error of a cancel.
    failure: Mutex<Option<(bool, Fault<E>)>>,
}

impl<E: Failure> Loops<E> {
    fn failure(&self) -> MutexGuard<'_, Option<(bool, Fault<E>)>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one loop from its start to its end; returns `None` if it, or another, failed.
    fn run<T, O, B>(&self, index: usize, body: &B) -> Option<T>
    where
        B: AsyncFn(&Core) -> O,
        O: Outcome<E, Value = T>,
    {
        let core = Core {
            index,
            shared: Arc::clone(&self.shared),
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            block_on(async { unless_failed(&core, body(&core)).await })
        }));
        match outcome {
            Ok(Some(outcome)) => match outcome.into_result() {
                Ok(value) => return Some(value),
                Err(error) => self.fail(Fault::Error(error)),
            },
            Ok(None) => {}
            Err(payload) => self.fail(Fault::Panic(payload)),
        }
        None
    }

    /// Records a failure, and ends the others. The first one is the result, but a cancel's is
    /// replaced by another.
    fn fail(&self, fault: Fault<E>) {
        let cancels = matches!(&fault, Fault::Error(error) if error.is_cancelled());
        let other = {
            let mut first = self.failure();
            match &*first {
                Some((of_cancel, _)) if cancels || !of_cancel => Some((cancels, fault)),
                _ => first.replace((cancels, fault)),
            }
        };
        self.shared.failed.set();
        drop(other);
    }
}

/// Polls `body` until it is done, and cancels it when another core has failed. Returns `None` if it
/// was dropped.
async fn unless_failed<F: Future>(core: &Core, body: F) -> Option<F::Output> {
    let scope = CancelScope::new();
    let mut body = pin!(scope.run(body));
    let (mut failed, mut known) = (core.shared.failed.waiter(), None);
    poll_fn(|cx| {
        if failed.is_set_or_take_new(&mut known, cx.waker()) {
            scope.cancel("another core has failed");
        }
        body.as_mut().poll(cx)
    })
    .await
}

/// The view of one loop of itself and the others; see [`per_core`].
pub struct Core {
    index: usize,
    shared: Arc<Shared>,
}

impl Core {
    /// Returns the index of this loop: 0 (the one on the caller's thread) and up.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns the number of loops.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.count
    }

    /// Requests all loops to stop: [`stopped`](Self::stopped) returns on all of them, permanently.
    pub fn stop(&self) {
        self.shared.stop.set();
    }

    /// Waits until a stop is requested; returns at once if that was before. It fits as an argument
    /// of [`Serve::shutdown`](crate::Serve::shutdown).
    ///
    /// # Errors
    ///
    /// [`Error::NoRuntime`] outside a runtime.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has had no effect.
    pub fn stopped(&self) -> impl Future<Output = Result<()>> + Send + use<> {
        let stop = self.shared.stop.clone();
        async move { stop.wait_as(&"the cores to be stopped").await }
    }

    /// Returns a handle with which another thread, such as one that waits for signals, can
    /// [`stop`](Self::stop) the loops.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.shared.stop.clone())
    }
}

shown!(
    [] Core, "Core", this =>
    index: this.index,
    count: this.count(),
    stopped: this.shared.stop.is_set()
);

/// Stops the loops of [`per_core`] from anywhere; made by [`Core::stop_handle`].
#[derive(Clone)]
pub struct StopHandle(ThreadEvent);

impl StopHandle {
    /// Requests all loops to stop, as [`Core::stop`] does. No effect if they have ended.
    pub fn stop(&self) {
        self.0.set();
    }

    /// Returns true once a stop was requested.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.is_set()
    }
}

shown!([] StopHandle, "StopHandle", this => stopped: this.is_stopped());

/// A failure of a loop, which ends the others.
enum Fault<E> {
    Error(E),
    Panic(Box<dyn Any + Send>),
}

/// The part that all loops of one call share, for any result type.
#[derive(Default)]
struct Shared {
    count: usize,
    stop: ThreadEvent,
    failed: ThreadEvent,
}
