//! The runtime that runs on this thread, and the gate that every operation passes.
//!
//! The thread-local has the runtime while `block_on` or `turn` is active, and is empty between
//! turns. Operations read it when they are polled, never when they are made.
//!
//! The state that an operation checks at its gate (`wait.rs`) is here: whether all is calm, or else
//! whether the turn's budget is spent, the loop has failed, or a scope is cancelled.

use std::cell::{Cell, OnceCell, Ref, RefCell, RefMut};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use super::scopes::{Limit, ScopeKey, Scopes};
#[cfg(feature = "relay")]
use super::stores::Stores;
use super::wait::Wait;
use crate::error::{Error, Result, TimedOut};
use crate::executor::remote::Remote;
use crate::executor::{Executor, Payload, TaskId, waker};
use crate::reactor::{Reactor, Waiter};
use crate::sys::again;
#[cfg(feature = "udp-batch")]
use crate::sys::batch::Batch;
use crate::sys::clock::NEVER;
use crate::sys::current::Current;
use crate::sys::poller::Bell;

/// The largest number of bytes of a receive without a buffer of the caller's.
pub(crate) const SCRATCH: usize = 65_536;

/// Work that other threads post for the loop. A trait, so that a program that does not use it does
/// not contain its code.
pub(crate) trait Errands: 'static {
    /// Returns true if some is left from the last turn.
    fn has_left(&self) -> bool;
    /// Runs some of it; the rest runs after a panic, and the first panic is returned.
    fn run(&self) -> Option<Payload>;
    /// Called when the loop ends: drops work that was not run, and refuses further work.
    fn close(&self) -> Option<Payload>;
    #[cfg(feature = "threads")]
    fn as_any(&self) -> &dyn std::any::Any;
}

/// One runtime, from inside.
pub(crate) struct Core {
    serial: u64,
    pub(crate) executor: Rc<Executor>,
    reactor: RefCell<Reactor>,
    remote: Arc<Remote<Bell>>,
    scratch: RefCell<Vec<u8>>,
    #[cfg(feature = "relay")]
    pub(crate) stores: Stores,
    scopes: RefCell<Scopes>,
    /// The time limit that is being polled without a node of its own, and the scope around it.
    pub(super) unentered: Cell<(Limit, ScopeKey)>,
    /// The number of cancelled scopes, and one more if the loop has failed.
    cancels: Cell<u32>,
    /// Work that other threads post for the loop; made when it is first needed.
    errands: OnceCell<Box<dyn Errands>>,
    /// The loop has ended: errands that are made after this are closed.
    closed: Cell<bool>,
    /// Memory for many datagrams that no socket uses at the moment.
    #[cfg(feature = "udp-batch")]
    batch: RefCell<Option<Box<Batch>>>,
    /// Set if the kernel refused to let the loop wait: every operation ends with this.
    failure: RefCell<Option<io::Error>>,
    /// There is a poller, and its bell.
    has_poller: Cell<bool>,
}

impl Core {
    pub(super) fn new() -> io::Result<Self> {
        let (number, remote) = waker::open()?;
        Ok(Self {
            serial: remote.serial(),
            executor: Rc::new(Executor::new(number, remote.serial())),
            reactor: RefCell::default(),
            remote,
            scratch: RefCell::default(),
            #[cfg(feature = "relay")]
            stores: Stores::default(),
            scopes: RefCell::default(),
            unentered: Cell::new((Limit::at(NEVER), 0)),
            cancels: Cell::new(0),
            errands: OnceCell::new(),
            closed: Cell::new(false),
            #[cfg(feature = "udp-batch")]
            batch: RefCell::default(),
            failure: RefCell::default(),
            has_poller: Cell::new(false),
        })
    }

    /// Returns the number of this runtime, which is unique in the process.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    pub(crate) fn reactor(&self) -> RefMut<'_, Reactor> {
        self.reactor.borrow_mut()
    }

    pub(super) fn reactor_ref(&self) -> Ref<'_, Reactor> {
        self.reactor.borrow()
    }

    pub(super) fn remote(&self) -> &Remote<Bell> {
        &self.remote
    }

    /// Returns the errands, of which there is only one kind.
    #[cfg(feature = "threads")]
    pub(crate) fn errands<E: Errands + Default>(&self) -> &E {
        let made = self.errands.get_or_init(|| {
            let errands = E::default();
            if self.closed.get() {
                errands.close();
            }
            Box::new(errands)
        });
        made.as_any().downcast_ref().expect("the one kind")
    }

    /// Returns true if errands are left from the last turn.
    pub(super) fn has_errands(&self) -> bool {
        self.errands.get().is_some_and(|errands| errands.has_left())
    }

    /// Runs some of the errands; returns the first panic.
    pub(super) fn run_errands(&self) -> Option<Payload> {
        self.errands.get()?.run()
    }

    /// Called when the loop ends: drops the errands, and refuses further ones.
    pub(super) fn close_errands(&self) -> Option<Payload> {
        self.closed.set(true);
        self.errands.get()?.close()
    }

    pub(crate) fn bell(&self) -> &Bell {
        self.remote.bell()
    }

    /// Makes the poller and its bell, if there are none yet. Called before each sleep, because a
    /// sleep without a bell could not be ended; and when a runtime is made, because that must not
    /// fail later.
    #[inline(always)]
    pub(super) fn make_poller(&self) -> io::Result<()> {
        match self.has_poller.get() {
            true => Ok(()),
            false => self.add_poller(),
        }
    }

    #[cold]
    fn add_poller(&self) -> io::Result<()> {
        self.reactor().poller(self.bell())?.hang(self.bell())?;
        self.has_poller.set(true);
        Ok(())
    }

    /// The buffer shared by receives without a buffer of their own: [`SCRATCH`] bytes, made when it
    /// is first needed, so that an idle connection has none.
    pub(crate) fn scratch(&self) -> RefMut<'_, Vec<u8>> {
        let mut scratch = self.scratch.borrow_mut();
        if scratch.is_empty() {
            // `resize` takes 200 µs in a program that is not optimised.
            *scratch = vec![0; SCRATCH];
        }
        scratch
    }

    pub(super) fn scopes(&self) -> RefMut<'_, Scopes> {
        self.scopes.borrow_mut()
    }

    /// Takes memory for many datagrams, empty.
    #[cfg(feature = "udp-batch")]
    pub(crate) fn take_batch(&self) -> Box<Batch> {
        let spare = self.batch.take();
        spare.unwrap_or_else(|| Box::new(Batch::new()))
    }

    /// Returns the memory of [`take_batch`](Self::take_batch); one is stored for the next use.
    #[cfg(feature = "udp-batch")]
    pub(crate) fn put_batch(&self, mut batch: Box<Batch>) {
        batch.clear();
        self.batch.replace(Some(batch));
    }

    /// Returns true if every operation may try: the only check of the gate in the usual case.
    #[inline]
    pub(super) fn is_calm(&self) -> bool {
        self.cancels.get() == 0 && !self.executor.is_spent()
    }

    /// Returns true if the loop has failed or a scope is cancelled, so that an operation has to
    /// check more.
    #[inline]
    pub(crate) fn has_cancels(&self) -> bool {
        self.cancels.get() > 0
    }

    pub(super) fn add_cancel(&self) {
        self.cancels.set(self.cancels.get() + 1);
    }

    pub(super) fn remove_cancel(&self) {
        self.cancels.set(self.cancels.get() - 1);
    }

    /// Called when an operation is done: it consumes budget of the turn.
    pub(crate) fn finished(&self) {
        // The operation that consumes the last of it is still done; the next one yields.
        self.executor.charge();
    }

    /// Records that the loop can no longer wait; lists the waiting tasks, and adds foreign wakers
    /// to `woken`.
    #[cold]
    pub(super) fn fail(&self, cause: io::Error, woken: &mut Vec<Waker>) {
        if self.failure.replace(Some(cause)).is_none() {
            self.add_cancel();
        }
        self.executor.list_all(woken);
        // Their tasks may be inside combinators with their own wakers.
        self.reactor().take_waiters(woken);
    }

    /// Lists the tasks among the waiters of a source; returns the wakers of the others.
    #[must_use = "the wakers have to be called"]
    pub(super) fn list_waiters(&self, waiters: [Option<Waiter>; 2]) -> Vec<Waker> {
        let mut foreign = Vec::new();
        for waiter in waiters.into_iter().flatten() {
            foreign.extend(match waiter {
                Waiter::Task(number) => self.executor.list(TaskId::from_number(number)),
                Waiter::Foreign(waker) => Some(waker),
            });
        }
        foreign
    }

    /// The cause of the failure may have passed: the next wait will show it.
    pub(super) fn recover(&self) {
        if self.failure.take().is_some() {
            self.remove_cancel();
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_cancels() && self.failure.borrow().is_some()
    }

    /// The error of the kernel when the loop failed.
    #[cold]
    pub(crate) fn failure(&self) -> Error {
        Error::io(
            "wait for events in",
            "the runtime's loop",
            self.failure_cause(),
        )
    }

    #[cold]
    pub(super) fn failure_cause(&self) -> io::Error {
        match &*self.failure.borrow() {
            Some(cause) => again(cause),
            None => io::Error::other("the loop failed"),
        }
    }
}

thread_local! {
    /// Owns nothing, so it exists as long as its thread.
    static CURRENT: Current<Rc<Core>> = const { Current::new() };
}

/// Clones the runtime that runs on this thread, for rare calls.
pub(crate) fn current() -> Option<Rc<Core>> {
    Current::with(&CURRENT, Rc::clone)
}

/// Calls `f` with the runtime that runs on this thread, for an operation's poll; without one the
/// result is `NoRuntime`.
#[inline(always)]
pub(crate) fn poll_with<T>(f: impl FnOnce(&Rc<Core>) -> Poll<Result<T>>) -> Poll<Result<T>> {
    match Current::with(&CURRENT, f) {
        Some(polled) => polled,
        None => Poll::Ready(Err(Error::NoRuntime)),
    }
}

/// Called when an operation without a system call is done: it consumes budget of the turn.
#[cfg(feature = "tls")]
pub(crate) fn finished() {
    Current::with(&CURRENT, |core| core.finished()).unwrap_or_default();
}

/// A future that is polled with the runtime around it, and an error outside of one.
#[inline]
pub(crate) fn in_runtime<T>(
    mut poll: impl FnMut(&Rc<Core>, &mut Context<'_>) -> Poll<Result<T>>,
) -> impl Future<Output = Result<T>> {
    poll_fn(move |cx| poll_with(|core| poll(core, cx)))
}

/// Passes the gate once, for functions with system calls that never wait: repeated calls still let
/// other tasks run.
pub(crate) async fn checkpoint() -> Result<()> {
    let mut wait = Wait::unnamed();
    in_runtime(|core, cx| {
        ready!(wait.admit(core, cx))?;
        core.finished();
        Poll::Ready(Ok(()))
    })
    .await
}

/// Passes the gate as an operation that is done, if all is calm, with a single access of the
/// thread-local; else returns false, and the operation has to pass it by itself.
#[inline(always)]
pub(crate) fn pass_if_calm() -> bool {
    let done = |core: &Rc<Core>| core.is_calm().then(|| core.finished());
    Current::with(&CURRENT, done).flatten().is_some()
}

/// Returns the error of the time limit that has ended last.
#[cold]
pub(crate) fn timed_out() -> Error {
    let report = current().and_then(|core| core.scopes().report.take());
    Error::TimedOut(report.unwrap_or_else(|| TimedOut::new(None, String::new())))
}

/// Describes an operation by the description of its last part, if the error is its cancel.
#[cold]
pub(crate) fn describe(error: Error, text: &mut dyn FnMut(&str) -> String) -> Error {
    if let (Error::Cancelled, Some(core)) = (&error, current()) {
        core.describe(text);
    }
    error
}

/// Calls `f` if the runtime with this serial runs on this thread.
#[inline]
pub(crate) fn with_serial<R>(serial: u64, f: impl FnOnce(&Rc<Core>) -> R) -> Option<R> {
    let here = |core: &Rc<Core>| (core.serial() == serial).then(|| f(core));
    Current::with(&CURRENT, here)?
}

/// Returns true if a runtime runs on this thread; that of a fork's parent does not count.
pub(super) fn is_entered() -> bool {
    Current::with(&CURRENT, |core| core.bell().is_at_home()).unwrap_or(false)
}

/// Calls `f` with `core` as the runtime of this thread.
pub(super) fn enter<R>(core: &Rc<Core>, f: impl FnOnce() -> R) -> R {
    Current::set(&CURRENT, core, || waker::enter(&core.executor, f))
}
