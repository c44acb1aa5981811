//! One closure in the pool, and the tasks that wait for its result.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lane::Lane;
use super::pool::{POOL, Ticket, Work};
use crate::error::{Error, Panicked, Result};
use crate::sync::ThreadEvent;

/// A closure in the pool, for the tasks that wait for it. On drop it is withdrawn if it has not
/// started, and abandoned if it runs.
pub(crate) struct Given<T> {
    ticket: Ticket,
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    /// Set after `ended`.
    is_over: ThreadEvent,
    ended: Mutex<Option<Result<T>>>,
}

impl<T: Send + 'static> Given<T> {
    pub(crate) fn new(lane: Lane, job: impl FnOnce() -> T + Send + 'static) -> Self {
        let shared = Arc::new(Shared {
            is_over: ThreadEvent::new(),
            ended: Mutex::new(None),
        });
        let work = Box::new(Begun {
            job: Some(job),
            ended: None,
            shared: Arc::clone(&shared),
        });
        let ticket = POOL.submit(work, lane);
        Self { ticket, shared }
    }
}

impl<T> Given<T> {
    /// Waits until it has ended; `what` is the description for a dump.
    pub(crate) async fn wait(&self, what: &'static &'static str) -> Result<()> {
        self.shared.is_over.wait_as(what).await
    }

    pub(crate) fn is_over(&self) -> bool {
        self.shared.is_over.is_set()
    }

    /// Returns false if it has not started; then it never will.
    #[cfg(feature = "threads")]
    pub(crate) fn has_started(&self) -> bool {
        POOL.withdraw(self.ticket).is_none()
    }

    /// Returns the result, after [`wait`](Self::wait) has returned: an error if it panicked, or was
    /// refused.
    pub(crate) fn ended(&self) -> MutexGuard<'_, Option<Result<T>>> {
        self.shared.lock()
    }
}

impl<T> Drop for Given<T> {
    fn drop(&mut self) {
        if !self.is_over() {
            POOL.leave(self.ticket);
        }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Option<Result<T>>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The closure, in the form for the thread that runs it.
struct Begun<F, T> {
    job: Option<F>,
    ended: Option<Result<T>>,
    shared: Arc<Shared<T>>,
}

impl<F, T> Work for Begun<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn run(&mut self) {
        let job = self.job.take().expect("run once");
        let ended = catch_unwind(AssertUnwindSafe(job));
        self.ended = Some(ended.map_err(|payload| Error::from(Panicked::new(payload))));
    }

    fn deliver(&mut self, refused: Option<io::Error>) {
        let refused = refused.map(|cause| Err(Error::io("start", "a thread", cause)));
        *self.shared.lock() = refused.or_else(|| self.ended.take());
        self.shared.is_over.set();
    }
}
