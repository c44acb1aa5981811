//! `LoopHandle`: runs closures of other threads on the loop.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, ThreadId};

use crossbeam_channel::bounded;

use crate::error::{Error, Panicked, Result};
use crate::executor::{Payload, TaskId, waker};
use crate::runtime::calls::{CallQueue, Calls};
use crate::runtime::context::{self, Errands};

/// Makes a handle of the runtime on this thread, through which other threads reach its loop.
///
/// # Errors
///
/// [`Error::NoRuntime`] if there is none.
///
/// # Examples
///
/// A thread of another library reports to a task:
///
/// ```
/// use soloio::{block_on, loop_handle, run_in_thread};
/// use std::cell::Cell;
///
/// thread_local!(static PROGRESS: Cell<u32> = const { Cell::new(0) });
///
/// block_on(async {
///     let on_loop = loop_handle()?;
///     run_in_thread(move || {
///         for percent in [25, 50, 100] {
///             on_loop.post(move || PROGRESS.set(percent))?; // returns at once
///         }
///         let last = on_loop.call(|| PROGRESS.get())?; // waits for the answer
///         assert_eq!(last, 100);
///         Ok::<_, soloio::Error>(())
///     })
///     .await??;
///     assert_eq!(PROGRESS.get(), 100);
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "from_thread")]
#[doc(alias = "BlockingPortal")]
pub fn loop_handle() -> Result<LoopHandle> {
    let core = context::current().ok_or(Error::NoRuntime)?;
    Ok(LoopHandle {
        runtime: core.serial(),
        thread: thread::current().id(),
        calls: core.errands::<CallQueue>().shared(),
    })
}

/// Runs closures on a loop, from any thread; made by [`loop_handle`].
///
/// Closures of one thread run in the order in which they were posted, between the tasks, within the
/// runtime. They may wake tasks and drop sockets, and must not block. A handle keeps nothing alive.
#[derive(Debug, Clone)]
pub struct LoopHandle {
    /// The serial number of the runtime.
    runtime: u64,
    /// The thread of the runtime, which never changes.
    thread: ThreadId,
    calls: Arc<Calls>,
}

impl LoopHandle {
    /// Runs `f` on the loop; returns at once.
    ///
    /// `Ok` means that it will run unless the loop ends first; then it is dropped. If it panics,
    /// the panic continues in the code that drives the loop, like that of a spawned task. A
    /// [`Runtime`](crate::Runtime) that exists but is not driven runs it when it is driven next.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the loop has ended.
    #[doc(alias = "call_soon_threadsafe")]
    pub fn post(&self, f: impl FnOnce() + Send + 'static) -> Result<()> {
        match self.calls.push(Box::new(f)) {
            Ok(is_first) => {
                // Through the table on the loop's own thread too: there is no task to list.
                if let Some(remote) = is_first.then(|| waker::by_serial(self.runtime)).flatten() {
                    remote.wake(TaskId::NONE.number());
                }
                Ok(())
            }
            Err(unused) => {
                drop(unused);
                Err(Error::Closed)
            }
        }
    }

    /// Runs `f` on the loop, and blocks this thread until it returns.
    ///
    /// # Errors
    ///
    /// * [`Error::Closed`] if the loop has ended, or ends before it runs `f`.
    /// * [`Error::Panicked`] if `f` panicked.
    /// * [`Error::Io`] of kind `InvalidInput` on a thread that runs a loop, this one or another: it
    ///   must not block, and two loops would wait for each other. The same between the turns of a
    ///   [`Runtime`](crate::Runtime), on its own thread: no other code would drive it.
    #[doc(alias = "run_sync")]
    pub fn call<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        if context::current().is_some() {
            let message = "this thread runs a loop, which must not block: use `post`";
            return Err(Error::invalid("call into a loop", message));
        }
        if thread::current().id() == self.thread && !self.is_closed() {
            let message = "this is the loop's own thread, which would wait for itself: use `post`";
            return Err(Error::invalid("call into a loop", message));
        }
        // Dropped with the closure if that never runs: then the wait below ends.
        let (sender, receiver) = bounded(1);
        self.post(move || {
            let output = catch_unwind(AssertUnwindSafe(f));
            // The receiver exists: its thread only waits for this.
            drop(sender.send(output));
        })?;
        let output = receiver.recv().map_err(|_| Error::Closed)?;
        output.map_err(|payload| Error::from(Panicked::new(payload)))
    }

    /// Returns true once the loop has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.calls.is_closed()
    }
}

impl Errands for CallQueue {
    fn has_left(&self) -> bool {
        self.has_left()
    }

    fn run(&self) -> Option<Payload> {
        self.run()
    }

    fn close(&self) -> Option<Payload> {
        self.close()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
