//! Brings the executor and the reactor together: `block_on`, and a loop that can be a guest.
//!
//! ```text
//!    ┌─> run the woken tasks, within one budget                (executor)
//!    │   main future done? ──> return
//!    │   how long to sleep?  not at all / until the next deadline / forever
//!    │   wait for the kernel; mark, collect                    (reactor)
//!    │   take wakes and posts of other threads                 (remote)
//!    └── wake the tasks that waited for the kernel, or for a deadline
//! ```
//!
//! | file | content |
//! |---|---|
//! | `context.rs` | the runtime that runs on this thread; the gate that operations pass |
//! | `guest.rs` | a loop that is the guest of another one |
//! | `inbox.rs` | collects the tasks to wake in one turn |
//! | `calls.rs` | closures that other threads leave for the loop |
//! | `socket.rs` | a descriptor's place in a loop, and the claims of its directions |
//! | `operation.rs` | one operation on such a socket: the gate, the claim, the call, the wait |
//! | `place.rs`, `wait.rs` | the state of an operation between two polls; its wait |
//! | `sleep.rs`, `silence.rs` | one timer as a future; limits of a wait for a peer |
//! | `scopes.rs`, `scopes/` | the state of all scopes, and the effect of a cancel on it (pure) |
//! | `scope.rs` | scopes at run time: cancelling, notifying, ending |
//! | `control.rs` | the owner's view of a scope, and its control |
//! | `scoped.rs` | one body in a scope: a time limit, a shield, a run of an owned scope |
//! | `stores.rs`, `dump.rs` | buffers and pipes lent to relays; the wait of each task |
//!
//! Only this module uses both.

#[cfg(feature = "threads")]
pub(crate) mod calls;
pub(crate) mod context;
mod control;
#[cfg(feature = "dump")]
mod dump;
#[cfg(feature = "guest")]
mod guest;
mod inbox;
pub(crate) mod operation;
pub(crate) mod place;
pub(crate) mod scope;
pub(crate) mod scoped;
pub(crate) mod scopes;
pub(crate) mod silence;
pub(crate) mod sleep;
pub(crate) mod socket;
#[cfg(feature = "relay")]
pub(crate) mod stores;
pub(crate) mod wait;

#[cfg(feature = "dump")]
pub use dump::{Dump, TaskState, dump};

/// The lock of `calls.rs`; the model checker replaces it.
#[cfg(feature = "threads")]
mod sync {
    pub(crate) use std::sync::{Arc, Mutex};
}

use std::future::IntoFuture;
use std::io;
use std::panic::resume_unwind;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::error::{Error, Result};
use crate::executor::{SetKey, Step, TaskSet, waker};
use crate::shown::shown;
#[cfg(feature = "dump")]
use crate::sys::clock;
use crate::sys::clock::Nanos;
#[cfg(feature = "guest")]
use crate::sys::poller::Poller;
use context::Core;
use inbox::Inbox;

/// The largest number of timers fired in one turn; the rest is due in the next.
const TIMERS_PER_TURN: usize = 1024;

/// Makes a runtime on this thread, runs `future` and its tasks to their end, and drops the runtime.
///
/// When it returns, no descriptor or thread of the runtime is left, and no memory except its entry
/// in a table, which the next runtime reuses. There are two exceptions. A lookup of a host name and
/// a job on a thread may still run if no task waits for them any more; threads without a job end
/// after 10 seconds. A runtime that never waits makes no system call.
///
/// # Panics
///
/// * Inside a task of a runtime: `.await` the future there, or spawn it in a task group.
/// * If the kernel refuses to let the loop wait (for example out of descriptors) and `future` does
///   not end although every operation in it got that error.
///
/// # Examples
///
/// ```
/// use soloio::{block_on, sleep};
/// use std::time::Duration;
///
/// let answer = block_on(async {
///     sleep(Duration::from_millis(1)).await?;
///     Ok::<_, soloio::Error>(42)
/// });
/// assert_eq!(answer.unwrap(), 42);
/// ```
#[doc(alias = "run")]
#[doc(alias = "main")]
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    refuse_nesting();
    match Runtime::without_poller() {
        Ok(mut runtime) => runtime.block_on(future),
        Err(cause) => refuse("make a runtime", &cause),
    }
}

/// The same as [`block_on`](fn@block_on), but returns an error inside a task, where `block_on`
/// panics. It is for libraries that may be called there.
///
/// # Errors
///
/// [`Error::Other`] inside a task of a runtime; those of [`Runtime::new`]. The future is dropped
/// then.
///
/// # Panics
///
/// If the kernel refuses to let the loop wait after it was made, as `block_on`.
///
/// # Examples
///
/// ```
/// use soloio::{block_on, try_block_on};
///
/// assert_eq!(try_block_on(async { 42 })?, 42);
/// assert!(block_on(async { try_block_on(async { 42 }).is_err() }));
/// # Ok::<_, soloio::Error>(())
/// ```
pub fn try_block_on<F: IntoFuture>(future: F) -> Result<F::Output> {
    match context::is_entered() {
        true => Err(Error::other(NESTED)),
        false => Ok(Runtime::new()?.block_on(future)),
    }
}

/// Not formatted by [`Error`], so that a program that shows no error does not contain that code.
#[cold]
fn refuse(what: &str, cause: &io::Error) -> ! {
    panic!("soloio: {what}: {cause}")
}

const NESTED: &str = "block_on was called inside a task, which would stop all other tasks: \
                      `.await` the future instead, or spawn it in a task group";

fn refuse_nesting() {
    assert!(!context::is_entered(), "soloio: {NESTED}");
}

/// A runtime for several calls of [`block_on`](Self::block_on), or to be driven by another loop
/// with [`turn`](Self::turn). In a forked process make a new one (`docs/fork.md`).
///
/// # Examples
///
/// A foreign loop waits on the runtime's descriptor with [`next_timeout`](Self::next_timeout), and
/// calls `turn` when either is ready:
///
/// ```
/// use soloio::{Runtime, sleep};
/// use std::time::Duration;
///
/// let mut runtime = Runtime::new()?;
/// let task = runtime.spawn(async { sleep(Duration::from_millis(1)).await.is_ok() });
/// while !task.is_finished() {
///     runtime.turn(runtime.next_timeout())?;
/// }
/// assert!(runtime.block_on(task)?);
/// # Ok::<_, soloio::Error>(())
/// ```
pub struct Runtime {
    root: Rc<TaskSet>,
    root_key: SetKey,
    core: Rc<Core>,
    inbox: Inbox,
    /// The poller, for a foreign loop to watch.
    #[cfg(feature = "guest")]
    watch: Option<Rc<Poller>>,
}

impl Runtime {
    /// Makes a runtime with its poller.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if no descriptor is free, or if the largest number of runtimes are alive
    /// (65,535; 64 if pointers have 32 bits).
    pub fn new() -> Result<Self> {
        Self::with_poller().map_err(|cause| Error::io("make", "a runtime", cause))
    }

    fn with_poller() -> io::Result<Self> {
        #[cfg_attr(not(feature = "guest"), allow(unused_mut))]
        let mut runtime = Self::without_poller()?;
        runtime.core.make_poller()?;
        #[cfg(feature = "guest")]
        runtime.watch()?;
        Ok(runtime)
    }

    fn without_poller() -> io::Result<Self> {
        let core = Core::new()?;
        let (root, root_key) = TaskSet::root(&core.executor);
        Ok(Self {
            root: Rc::new(root),
            root_key,
            core: Rc::new(core),
            inbox: Inbox::default(),
            #[cfg(feature = "guest")]
            watch: None,
        })
    }

    pub(crate) fn root(&self) -> &TaskSet {
        &self.root
    }

    /// Runs `future` to its end, and the spawned tasks meanwhile.
    ///
    /// # Panics
    ///
    /// As [`block_on`](fn@block_on); and with the panic of a spawned task.
    pub fn block_on<F: IntoFuture>(&mut self, future: F) -> F::Output {
        refuse_nesting();
        self.core.recover();
        let core = Rc::clone(&self.core);
        context::enter(&core, || {
            #[cfg(feature = "guest")]
            let awake = guest::Awake(self);
            #[cfg(feature = "guest")]
            let this = &mut *awake.0;
            #[cfg(not(feature = "guest"))]
            let this = self;
            let mut main = pin!(future.into_future());
            let root = Rc::clone(&this.root);
            let _body = Body::new(&root);
            loop {
                if let Poll::Ready(output) = this.run(|cx| main.as_mut().poll(cx)) {
                    return output;
                }
                if this.core.has_failed() && !this.has_ready() {
                    refuse("wait for events", &this.core.failure_cause());
                }
                this.wait(None);
            }
        })
    }

    fn has_ready(&self) -> bool {
        self.core.executor.has_ready(self.root_key) || self.core.has_errands()
    }

    /// Polls woken tasks until none is left, the budget is spent, or `main` is done.
    fn run<T>(&self, mut main: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        let executor = &*self.core.executor;
        executor.refill();
        #[cfg(feature = "dump")]
        {
            executor.slots().now = clock::coarse_millis();
        }
        self.core.forget_scopes();
        // Nothing above the root has to be woken, so its list need not be found empty.
        loop {
            match self.root.step_caught(executor, self.root_key) {
                // A task of the runtime itself ends with a value.
                Step::Polled | Step::Failed(..) => {}
                Step::Idle | Step::Spent => return Poll::Pending,
                Step::Body(id, scope) => {
                    let before = executor.left();
                    let running = executor.run(id, scope);
                    let polled = main(&mut Context::from_waker(&id.waker()));
                    drop(running);
                    executor.settle(before);
                    if let Poll::Ready(output) = polled {
                        return Poll::Ready(output);
                    }
                }
                Step::Panicked(payload) => resume_unwind(payload),
            }
            if !executor.has_ready(self.root_key) {
                return Poll::Pending;
            }
        }
    }

    /// Polls the kernel, the clock and the other threads once.
    fn wait(&mut self, limit: Option<Nanos>) {
        let limit = if self.may_sleep() { limit } else { Some(0) };
        let (core, inbox) = (&*self.core, &mut self.inbox);
        let waited = core.reactor().wait(limit, core.bell());
        if let Err(cause) = waited {
            core.fail(cause, &mut inbox.woken);
        }
        inbox.gather(core, TIMERS_PER_TURN);
        let (woken, called) = (inbox.wake_all(core), core.run_errands());
        if let Some(payload) = woken.or(called) {
            resume_unwind(payload);
        }
    }

    /// Returns true if there is nothing to do; then other threads ring from now on.
    fn may_sleep(&mut self) -> bool {
        if self.has_ready() || self.core.has_failed() {
            return false;
        }
        let (core, inbox) = (&*self.core, &mut self.inbox);
        if let Err(cause) = core.make_poller() {
            core.fail(cause, &mut inbox.woken);
            return false;
        }
        inbox.try_sleep(core)
    }
}

/// The main future's slot in the root set, freed at the end of `block_on` in any case.
struct Body<'a>(&'a TaskSet);

impl<'a> Body<'a> {
    fn new(root: &'a TaskSet) -> Self {
        root.add_body();
        Self(root)
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        self.0.remove_body();
    }
}

impl Drop for Runtime {
    /// Drops the spawned tasks while the runtime is still entered, then closes it for all other
    /// threads.
    fn drop(&mut self) {
        let panic = context::enter(&self.core, || {
            // First, so that no thread waits for a call while a task waits for that thread.
            let left = self.core.close_errands();
            self.root.teardown().or(left)
        });
        waker::close(self.core.executor.number());
        if let Some(payload) = panic {
            if !std::thread::panicking() {
                resume_unwind(payload);
            }
        }
    }
}

shown!(
    [] Runtime, "Runtime", this =>
    serial: this.core.serial(),
    tasks: this.root,
    sources: this.core.reactor_ref().source_count(),
    scopes: this.core.scopes().len()
);
