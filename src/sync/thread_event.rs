//! `ThreadEvent`: set once, on any thread; waited for on any loop.

use std::future::poll_fn;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker, ready};

use crate::error::Result;
use crate::executor::wake_each;
use crate::room::Slab;
use crate::runtime::context;
use crate::runtime::wait::Wait;

/// Something that happens once, on any thread, and that tasks of any loop wait for.
///
/// Its clones are the same event. For tasks of one loop an event without locks is cheaper.
///
/// # Examples
///
/// ```
/// use soloio::{ThreadEvent, block_on};
///
/// let ready = ThreadEvent::new();
/// let setter = ready.clone();
/// let thread = std::thread::spawn(move || setter.set());
/// block_on(ready.wait())?;
/// assert!(ready.is_set());
/// # thread.join().unwrap();
/// # Ok::<_, soloio::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ThreadEvent(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Set under the lock, so that no task begins to wait after all were woken; read without it.
    set: AtomicBool,
    waiters: Mutex<Slab<Waker>>,
}

impl Shared {
    fn waiters(&self) -> MutexGuard<'_, Slab<Waker>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ThreadEvent {
    /// An event that has not happened yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// It has happened: wakes all tasks that wait. A second call does nothing.
    pub fn set(&self) {
        let mut waiters = self.0.waiters();
        self.0.set.store(true, Ordering::Release);
        let woken = mem::take(&mut *waiters);
        drop(waiters);
        wake_each(woken.into_values());
    }

    /// True once it has happened. What happened before [`set`](Self::set) is seen then.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.set.load(Ordering::Acquire)
    }

    /// Waits until it has happened.
    ///
    /// # Errors
    ///
    /// None of its own.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn wait(&self) -> Result<()> {
        self.wait_as(&"an event of another thread").await
    }

    /// The same, as a wait for `what` in a dump.
    pub(crate) async fn wait_as(&self, what: &'static &'static str) -> Result<()> {
        let mut wait = Wait::new(what);
        let mut place = self.place();
        poll_fn(|cx| {
            context::poll_with(|core| {
                ready!(wait.admit(core, cx))?;
                if place.is_set_or_take(cx.waker()) {
                    wait.done(core);
                    return Poll::Ready(Ok(()));
                }
                wait.pend(core, cx)
            })
        })
        .await
    }

    /// A place among the waiters, for code that polls by hand.
    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            event: self,
            key: None,
        }
    }
}

/// One waiter's place in the list; given up when it is dropped.
pub(crate) struct Place<'a> {
    event: &'a ThreadEvent,
    key: Option<usize>,
}

impl Place<'_> {
    /// Leaves the waker to be called, unless it has happened.
    pub(crate) fn is_set_or_take(&mut self, waker: &Waker) -> bool {
        if self.event.is_set() {
            return true;
        }
        // Cloned and dropped without the lock: both may be the user's code.
        let mut waker = Some(waker.clone());
        let mut waiters = self.event.0.waiters();
        let is_set = self.event.is_set();
        match self.key {
            _ if is_set => {}
            Some(key) => waker = waker.map(|waker| mem::replace(&mut waiters[key], waker)),
            None => self.key = waker.take().map(|waker| waiters.insert(waker)),
        }
        drop(waiters);
        drop(waker);
        is_set
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(key) = self.key else {
            return;
        };
        // Once it is set the list is empty for good.
        let waker = self.event.0.waiters().try_remove(key);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    struct Nothing;

    impl Wake for Nothing {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn no_waker_is_left_behind() {
        let counted = Arc::new(Nothing);
        let waker = Waker::from(Arc::clone(&counted));
        let event = ThreadEvent::new();
        let (mut first, mut second, mut late) = (event.place(), event.place(), event.place());
        for _ in 0..3 {
            assert!(!first.is_set_or_take(&waker) && !second.is_set_or_take(&waker));
            assert_eq!(Arc::strong_count(&counted), 4);
        }
        drop(second);
        assert_eq!(Arc::strong_count(&counted), 3);
        event.set();
        assert!(first.is_set_or_take(&waker) && late.is_set_or_take(&waker));
        assert_eq!(Arc::strong_count(&counted), 2);
    }
}
