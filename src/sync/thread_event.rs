//! `ThreadEvent`: set once, on any thread; waited for on any loop.

mod waiters;

/// The types that the model checker replaces.
mod sync {
    pub(crate) use std::sync::Mutex;
    pub(crate) use std::sync::atomic::AtomicBool;
}

use std::sync::Arc;
use std::task::{Poll, Waker, ready};

use self::waiters::Waiters;
use crate::error::Result;
use crate::executor::wake_each;
use crate::runtime::context;
use crate::runtime::wait::Wait;

/// An event that happens once, on any thread; tasks of any loop can wait for it.
///
/// Its clones are the same event. For tasks of one loop an [`Event`](super::Event) is cheaper,
/// because it has no lock.
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
pub struct ThreadEvent(Arc<Waiters>);

impl ThreadEvent {
    /// Makes an event that has not happened yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Marks it as happened, and wakes all waiting tasks. A second call has no effect.
    pub fn set(&self) {
        wake_each(self.0.set().into_values());
    }

    /// Returns true once it has happened. Everything before [`set`](Self::set) happens before that.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.is_set()
    }

    /// Waits until it has happened.
    ///
    /// # Errors
    ///
    /// None of its own.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no other effect than to end the wait.
    pub async fn wait(&self) -> Result<()> {
        self.wait_as(&"an event of another thread").await
    }

    /// The same, with `what` as its description in a dump.
    pub(crate) async fn wait_as(&self, what: &'static &'static str) -> Result<()> {
        let mut wait = Wait::new(what);
        let mut waiter = self.waiter();
        context::in_runtime(|core, cx| {
            ready!(wait.admit(core, cx))?;
            if waiter.is_set_or_take(cx.waker()) {
                core.finished();
                return Poll::Ready(Ok(()));
            }
            wait.pend(core, cx)
        })
        .await
    }

    /// Returns a waiter for code that polls by hand.
    pub(crate) fn waiter(&self) -> EventWaiter<'_> {
        EventWaiter {
            event: self,
            key: None,
        }
    }
}

/// One waiter, which leaves the list on drop.
pub(crate) struct EventWaiter<'a> {
    event: &'a ThreadEvent,
    key: Option<usize>,
}

impl EventWaiter<'_> {
    /// Stores the waker unless the event has happened.
    pub(crate) fn is_set_or_take(&mut self, waker: &Waker) -> bool {
        self.event.0.is_set_or_take(&mut self.key, waker)
    }

    /// The same beside other code that is polled often: it takes no lock if the waker is the one
    /// that is `known` from the last poll.
    pub(crate) fn is_set_or_take_new(&mut self, known: &mut Option<Waker>, waker: &Waker) -> bool {
        if known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            return self.event.is_set();
        }
        *known = Some(waker.clone());
        self.is_set_or_take(waker)
    }
}

impl Drop for EventWaiter<'_> {
    fn drop(&mut self) {
        self.event.0.leave(self.key);
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
        let (mut first, mut second, mut late) = (event.waiter(), event.waiter(), event.waiter());
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
