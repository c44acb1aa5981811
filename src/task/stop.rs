//! One bit that is set once, on any thread, and waited for on all of them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use crate::error::Result;
use crate::executor::wake_each;
use crate::room::Slab;
use crate::runtime::context;
use crate::runtime::wait::Wait;

/// Stops the loops of [`per_core`](crate::per_core) from anywhere; made by
/// [`Core::stop_handle`](crate::Core::stop_handle).
#[derive(Clone)]
pub struct StopHandle(pub(super) Arc<Stop>);

impl StopHandle {
    /// Asks all loops to stop, as [`Core::stop`](crate::Core::stop) does. Nothing happens if they
    /// have ended.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// True once they were asked to.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.is_set()
    }
}

impl fmt::Debug for StopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopHandle")
            .field("stopped", &self.is_stopped())
            .finish()
    }
}

/// A bit that is set once, and who waits for it.
#[derive(Default)]
pub(super) struct Stop {
    set: AtomicBool,
    waiting: Mutex<Slab<Waker>>,
}

impl Stop {
    pub(super) fn is_set(&self) -> bool {
        self.set.load(SeqCst)
    }

    pub(super) fn stop(&self) {
        self.set.store(true, SeqCst);
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        wake_each(waiting.into_values());
    }
}

/// Waits for the bit.
pub(super) struct Stopped {
    stop: Arc<Stop>,
    /// Where its waker is; stale once the bit is set.
    key: Option<usize>,
    wait: Wait,
}

impl Stopped {
    pub(super) fn new(stop: &Arc<Stop>) -> Self {
        Self {
            stop: Arc::clone(stop),
            key: None,
            wait: Wait::new(&"the cores to be stopped"),
        }
    }

    fn list(&mut self, waker: &Waker) {
        let waker = waker.clone();
        let mut waiting = lock(&self.stop.waiting);
        let old = match self.key.and_then(|key| waiting.get_mut(key)) {
            Some(place) => Some(std::mem::replace(place, waker)),
            None => {
                self.key = Some(waiting.insert(waker));
                None
            }
        };
        drop(waiting);
        drop(old);
    }
}

impl Future for Stopped {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        context::poll_with(|core| {
            ready!(this.wait.admit_wait(core, cx))?;
            if !this.stop.is_set() {
                this.list(cx.waker());
                // Once more, with the waker in its place.
                if !this.stop.is_set() {
                    return this.wait.pend(core, cx);
                }
            }
            this.wait.done(core);
            Poll::Ready(Ok(()))
        })
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        if !self.stop.is_set() {
            let old = lock(&self.stop.waiting).try_remove(key);
            drop(old);
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one is locked; and if so, what is in it is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
