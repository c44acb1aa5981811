//! `Event`: happens once, and wakes the tasks that wait for it.

use std::cell::{Cell, RefCell};

use super::line::wait_in_line;
use super::wait_queue::WaitQueue;
use crate::error::Result;
use crate::executor::wake_each;
use crate::runtime::wait::Wait;

/// An event that happens once: it wakes all waiting tasks, and later waits return immediately.
///
/// It cannot be reset. Make a new one for an event that happens again, or use a
/// [`Condition`](super::Condition).
///
/// # Examples
///
/// ```
/// use soloio::{Event, task_group};
///
/// soloio::block_on(async {
///     let ready = Event::new();
///     task_group(async |group| {
///         group.spawn(ready.wait());
///         ready.set();
///         Ok(())
///     })
///     .await
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Event {
    set: Cell<bool>,
    line: RefCell<WaitQueue<()>>,
}

/// The state of an [`Event`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventStatistics {
    /// The number of waits.
    pub tasks_waiting: usize,
}

impl Event {
    /// Makes an event that has not happened.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            set: Cell::new(false),
            line: RefCell::new(WaitQueue::new()),
        }
    }

    /// Marks it as happened, and wakes all waiting tasks. It may be called again.
    #[inline]
    pub fn set(&self) {
        if self.set.replace(true) {
            return;
        }
        let next = || Some(self.line.borrow_mut().call()?.1);
        wake_each(std::iter::from_fn(next).flatten());
    }

    /// Returns true once it has happened.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Waits until it has happened.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`](crate::Error::Cancelled),
    /// [`Error::NoRuntime`](crate::Error::NoRuntime).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no other effect than to end the wait.
    pub async fn wait(&self) -> Result<()> {
        let wait = Wait::new(&"an event");
        wait_in_line(&self.line, wait, |_, _| self.is_set().then_some(())).await
    }

    /// Returns the number of waiting tasks.
    #[must_use]
    pub fn statistics(&self) -> EventStatistics {
        EventStatistics {
            tasks_waiting: self.line.borrow().len(),
        }
    }
}
