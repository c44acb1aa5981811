//! Says which runtime runs on this thread, and is the gate that every operation passes.
//!
//! The thread-local holds the runtime while `block_on` or `turn` is active, and nothing between
//! turns. It is read by operations when they are polled, never when they are made.
//!
//! [`Core::admit`] is the one place where an operation is told to wait its turn, to fail because
//! the loop failed, or (with cancel scopes) to end because its scope was cancelled.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::error::{Error, Result};
use crate::executor::remote::Remote;
use crate::executor::{Executor, waker};
use crate::reactor::Reactor;
use crate::sys::poller::Bell;

/// How much one receive without a buffer of the caller's takes at most, in bytes.
pub(crate) const SCRATCH: usize = 65_536;

/// One runtime, seen from inside.
pub(crate) struct Core {
    pub(crate) executor: Rc<Executor>,
    reactor: RefCell<Reactor>,
    remote: Arc<Remote<Bell>>,
    scratch: RefCell<Vec<u8>>,
    /// Set when the kernel refused to let the loop wait: every operation ends with this.
    failure: RefCell<Option<io::Error>>,
    failed: Cell<bool>,
}

impl Core {
    pub(super) fn new() -> io::Result<Self> {
        let (number, remote) = waker::open()?;
        Ok(Self {
            executor: Rc::new(Executor::new(number)),
            reactor: RefCell::default(),
            remote,
            scratch: RefCell::default(),
            failure: RefCell::default(),
            failed: Cell::new(false),
        })
    }

    /// The number that no other runtime of this process ever has.
    pub(crate) fn serial(&self) -> u64 {
        self.remote.serial()
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

    pub(crate) fn bell(&self) -> &Bell {
        self.remote.bell()
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

    /// The gate: `Ready(Ok)` lets the operation try, `Pending` lets the loop look at the kernel
    /// first (the task is woken already), an error ends the operation.
    pub(crate) fn admit(&self, cx: &Context<'_>) -> Poll<Result<()>> {
        if self.failed.get() {
            return Poll::Ready(Err(self.failure()));
        }
        if self.executor.is_spent() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// An operation is done: it counts against the turn's budget.
    pub(crate) fn finished(&self) {
        // The operation that uses the last of it is done all the same; the next one yields.
        self.executor.charge();
    }

    /// The loop can wait no more.
    pub(super) fn fail(&self, cause: io::Error) {
        self.failure.replace(Some(cause));
        self.failed.set(true);
        self.executor.wake_all();
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// What the kernel said when the loop failed.
    #[cold]
    pub(super) fn failure(&self) -> Error {
        let cause = match &*self.failure.borrow() {
            Some(cause) => match cause.raw_os_error() {
                Some(number) => io::Error::from_raw_os_error(number),
                None => io::Error::new(cause.kind(), cause.to_string()),
            },
            None => io::Error::other("the loop failed"),
        };
        Error::io("wait for events in", "the runtime's loop", cause)
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// Calls `f` with the runtime that runs on this thread.
///
/// # Errors
///
/// [`Error::NoRuntime`] if none does.
#[inline]
pub(crate) fn with<R>(f: impl FnOnce(&Rc<Core>) -> R) -> Result<R> {
    // `try_with`: a socket may be dropped while the thread's locals are.
    match CURRENT.try_with(|current| current.borrow().as_ref().map(f)) {
        Ok(Some(value)) => Ok(value),
        _ => Err(Error::NoRuntime),
    }
}

/// The same for an operation's poll: the runtime's answer, or `NoRuntime`.
#[inline]
pub(crate) fn poll_with<T>(f: impl FnOnce(&Rc<Core>) -> Poll<Result<T>>) -> Poll<Result<T>> {
    with(f).unwrap_or_else(|error| Poll::Ready(Err(error)))
}

/// Calls `f` if the runtime with this serial runs on this thread.
pub(crate) fn with_serial<R>(serial: u64, f: impl FnOnce(&Rc<Core>) -> R) -> Option<R> {
    with(|core| (core.serial() == serial).then(|| f(core)))
        .ok()
        .flatten()
}

/// True if a runtime runs on this thread.
pub(super) fn is_entered() -> bool {
    with(|_| ()).is_ok()
}

/// Makes `core` the runtime of this thread until the guard is dropped.
pub(super) fn enter(core: &Rc<Core>) -> Entered {
    Entered {
        core: CURRENT.with(|current| current.replace(Some(Rc::clone(core)))),
        executor: waker::enter(Some(Rc::clone(&core.executor))),
    }
}

/// Restores what was current before, also when a panic passes by.
pub(super) struct Entered {
    core: Option<Rc<Core>>,
    executor: Option<Rc<Executor>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let executor = waker::enter(self.executor.take());
        let core = CURRENT.with(|current| current.replace(self.core.take()));
        // Dropped here, when neither thread-local is borrowed.
        drop((executor, core));
    }
}
