//! Says which runtime runs on this thread, and is the gate that every operation passes.
//!
//! The thread-local holds the runtime while `block_on` or `turn` is active, and nothing between
//! turns. It is read by operations when they are polled, never when they are made.
//!
//! What an operation meets at its gate (`wait.rs`) is said here: whether all is calm, else whether
//! the turn's budget is used, the loop failed, or some scope is cancelled.

use std::cell::{Cell, OnceCell, Ref, RefCell, RefMut};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker, ready};

use super::scopes::Scopes;
#[cfg(feature = "relay")]
use super::stores::Stores;
use super::wait::Wait;
use crate::error::{Error, Result};
use crate::executor::remote::Remote;
use crate::executor::{Executor, Payload, TaskId, waker};
use crate::reactor::{Reactor, Waiter};
use crate::sys::again;
#[cfg(feature = "udp-batch")]
use crate::sys::batch::Batch;
use crate::sys::current::Current;
use crate::sys::poller::Bell;

/// How much one receive without a buffer of the caller's takes at most, in bytes.
pub(crate) const SCRATCH: usize = 65_536;

/// What other threads leave for the loop to run. A trait, so that a program whose threads leave
/// nothing carries none of it.
pub(crate) trait Errands: 'static {
    /// True if there are some that the last turn had no time for.
    fn has_left(&self) -> bool;
    /// Runs some; the others go on after a panic of one, and the first panic is given back.
    fn run(&self) -> Option<Payload>;
    /// The loop ends: drops what was not run, and refuses what comes.
    fn close(&self) -> Option<Payload>;
    #[cfg(feature = "threads")]
    fn as_any(&self) -> &dyn std::any::Any;
}

/// One runtime, seen from inside.
pub(crate) struct Core {
    serial: u64,
    pub(crate) executor: Rc<Executor>,
    reactor: RefCell<Reactor>,
    remote: Arc<Remote<Bell>>,
    scratch: RefCell<Vec<u8>>,
    #[cfg(feature = "relay")]
    pub(crate) stores: Stores,
    scopes: RefCell<Scopes>,
    /// How many scopes are cancelled, and one more if the loop failed.
    cancels: Cell<u32>,
    /// What other threads leave for the loop to run; made when it is first asked for.
    errands: OnceCell<Box<dyn Errands>>,
    /// The loop ends: what asks for errands from here on gets closed ones.
    closed: Cell<bool>,
    /// Room for many datagrams that no socket uses at the moment.
    #[cfg(feature = "udp-batch")]
    batch: RefCell<Option<Box<Batch>>>,
    /// Set when the kernel refused to let the loop wait: every operation ends with this.
    failure: RefCell<Option<io::Error>>,
    failed: Cell<bool>,
}

impl Core {
    pub(super) fn new() -> io::Result<Self> {
        let (number, remote) = waker::open()?;
        Ok(Self {
            serial: remote.serial(),
            executor: Rc::new(Executor::new(number)),
            reactor: RefCell::default(),
            remote,
            scratch: RefCell::default(),
            #[cfg(feature = "relay")]
            stores: Stores::default(),
            scopes: RefCell::default(),
            cancels: Cell::new(0),
            errands: OnceCell::new(),
            closed: Cell::new(false),
            #[cfg(feature = "udp-batch")]
            batch: RefCell::default(),
            failure: RefCell::default(),
            failed: Cell::new(false),
        })
    }

    /// The number that no other runtime of this process ever has.
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

    /// The one kind of errands that there is.
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

    /// True if there are errands that the last turn had no time for.
    pub(super) fn has_errands(&self) -> bool {
        self.errands.get().is_some_and(|errands| errands.has_left())
    }

    /// Runs some of the errands; gives back what the first of them panicked with.
    pub(super) fn run_errands(&self) -> Option<Payload> {
        self.errands.get()?.run()
    }

    /// The loop ends: drops the errands, and refuses what comes.
    pub(super) fn close_errands(&self) -> Option<Payload> {
        self.closed.set(true);
        self.errands.get()?.close()
    }

    pub(crate) fn bell(&self) -> &Bell {
        self.remote.bell()
    }

    /// Makes the poller and its bell, if there are none yet. Called before each sleep, as one that
    /// nobody can end would be too long; and by who makes a runtime, which must not fail later.
    pub(super) fn make_poller(&self) -> io::Result<()> {
        self.reactor().poller(self.bell())?.hang(self.bell())
    }

    /// The buffer that receives without a buffer of their own share: [`SCRATCH`] bytes, made at
    /// the first need, so that an idle connection holds none.
    pub(crate) fn scratch(&self) -> RefMut<'_, Vec<u8>> {
        let mut scratch = self.scratch.borrow_mut();
        if scratch.is_empty() {
            scratch.resize(SCRATCH, 0);
        }
        scratch
    }

    pub(super) fn scopes(&self) -> RefMut<'_, Scopes> {
        self.scopes.borrow_mut()
    }

    /// Room for many datagrams, empty.
    #[cfg(feature = "udp-batch")]
    pub(crate) fn take_batch(&self) -> Box<Batch> {
        let spare = self.batch.take();
        spare.unwrap_or_else(|| Box::new(Batch::new()))
    }

    /// Takes back what [`take_batch`](Self::take_batch) gave; one is kept for the next who asks.
    #[cfg(feature = "udp-batch")]
    pub(crate) fn put_batch(&self, mut batch: Box<Batch>) {
        batch.clear();
        self.batch.replace(Some(batch));
    }

    /// True if every operation may try: the gate's one look in the usual case.
    #[inline]
    pub(super) fn is_calm(&self) -> bool {
        self.cancels.get() == 0 && !self.executor.is_spent()
    }

    /// True if operations should let the loop look at the kernel first.
    pub(super) fn is_spent(&self) -> bool {
        self.executor.is_spent()
    }

    /// True if the loop failed or a scope is cancelled, so that an operation has to look closer.
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

    /// An operation is done: it counts against the turn's budget.
    pub(crate) fn finished(&self) {
        // The operation that uses the last of it is done all the same; the next one yields.
        self.executor.charge();
    }

    /// The loop can wait no more; what has to hear of it is listed, or added to `woken`.
    #[cold]
    pub(super) fn fail(&self, cause: io::Error, woken: &mut Vec<Waker>) {
        self.failure.replace(Some(cause));
        if !self.failed.replace(true) {
            self.add_cancel();
        }
        self.executor.list_all(woken);
        // Their tasks may be inside combinators with wakers of their own.
        self.reactor().take_waiters(woken);
    }

    /// Lists the tasks among those who waited for a source; the wakers of others are given back.
    #[must_use = "the wakers have to be called"]
    pub(super) fn list_waiters(&self, waiters: [Option<Waiter>; 2]) -> [Option<Waker>; 2] {
        waiters.map(|waiter| match waiter? {
            Waiter::Task(number) => self.executor.list(TaskId::from_number(number)),
            Waiter::Foreign(waker) => Some(waker),
        })
    }

    /// What made the loop fail may have passed: the next wait will tell.
    pub(super) fn recover(&self) {
        if self.failed.replace(false) {
            self.remove_cancel();
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// What the kernel said when the loop failed.
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
    /// Holds nothing itself, so it is there as long as its thread.
    static CURRENT: Current<Rc<Core>> = const { Current::new() };
}

/// Calls `f` with the runtime that runs on this thread, if one does.
#[inline]
pub(crate) fn with<R>(f: impl FnOnce(Option<&Rc<Core>>) -> R) -> R {
    CURRENT.with(|current| current.with(f))
}

/// A clone of the runtime that runs on this thread, for what is not called often.
pub(crate) fn current() -> Option<Rc<Core>> {
    with(|core| core.cloned())
}

/// Calls `f` with the runtime that runs on this thread, for an operation's poll; without one it is
/// `NoRuntime`.
#[inline]
pub(crate) fn poll_with<T>(f: impl FnOnce(&Rc<Core>) -> Poll<Result<T>>) -> Poll<Result<T>> {
    with(|core| match core {
        Some(core) => f(core),
        None => Poll::Ready(Err(Error::NoRuntime)),
    })
}

/// An operation is done that made no system call: it counts against the turn's budget.
#[cfg(feature = "tls")]
pub(crate) fn finished() {
    with(|core| {
        if let Some(core) = core {
            core.finished();
        }
    });
}

/// One pass through the gate, for verbs whose system calls never have to wait: called over and
/// over they leave room for others all the same.
pub(crate) async fn checkpoint() -> Result<()> {
    let mut wait = Wait::unnamed();
    poll_fn(|cx| {
        poll_with(|core| {
            ready!(wait.admit(core, cx))?;
            wait.done(core);
            Poll::Ready(Ok(()))
        })
    })
    .await
}

/// Calls `f` if the runtime with this serial runs on this thread.
#[inline]
pub(crate) fn with_serial<R>(serial: u64, f: impl FnOnce(&Rc<Core>) -> R) -> Option<R> {
    with(|core| core.filter(|core| core.serial() == serial).map(f))
}

/// True if a runtime runs on this thread; one that a fork has from its parent does not.
pub(super) fn is_entered() -> bool {
    with(|core| core.is_some_and(|core| core.bell().is_at_home()))
}

/// Calls `f` with `core` as the runtime of this thread.
pub(super) fn enter<R>(core: &Rc<Core>, f: impl FnOnce() -> R) -> R {
    CURRENT.with(|current| current.set(core, || waker::enter(&core.executor, f)))
}
