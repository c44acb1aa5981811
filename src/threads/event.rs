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
    /// Set under the lock, so that no one begins to wait after all were woken; read without it.
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

    /// It has happened: wakes all who wait. Once is as good as often.
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
        let mut wait = Wait::new(&"an event of another thread");
        let mut place = Place {
            event: self,
            key: None,
        };
        poll_fn(|cx| {
            context::poll_with(|core| {
                ready!(wait.admit(core, cx))?;
                if self.is_set() || place.is_set_or_take(cx.waker().clone()) {
                    wait.done(core);
                    return Poll::Ready(Ok(()));
                }
                wait.pend(core, cx)
            })
        })
        .await
    }
}

/// One waiter's place in the list.
struct Place<'a> {
    event: &'a ThreadEvent,
    key: Option<usize>,
}

impl Place<'_> {
    /// Leaves the waker to be called, unless it has happened.
    fn is_set_or_take(&mut self, waker: Waker) -> bool {
        let mut waiters = self.event.0.waiters();
        let is_set = self.event.is_set();
        let mut unused = None;
        match self.key {
            _ if is_set => unused = Some(waker),
            Some(key) => unused = Some(mem::replace(&mut waiters[key], waker)),
            None => self.key = Some(waiters.insert(waker)),
        }
        drop(waiters);
        // It may be the user's code.
        drop(unused);
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
