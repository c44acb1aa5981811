//! `Event`: something that happens once, and who waits for it.

use std::cell::{Cell, RefCell};

use super::line::wait_in_line;
use super::wait_queue::WaitQueue;
use crate::error::Result;
use crate::executor::wake_each;
use crate::runtime::wait::Wait;

/// Something that happens once: whoever waits is woken, and nobody waits any more from then on.
///
/// It can't be taken back. Make a new one for what happens again, or use a
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

/// What an [`Event`] says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventStatistics {
    /// How many wait for it.
    pub tasks_waiting: usize,
}

impl Event {
    /// An event that has not happened.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            set: Cell::new(false),
            line: RefCell::new(WaitQueue::new()),
        }
    }

    /// It has happened; wakes everybody who waits. May be called again.
    pub fn set(&self) {
        if self.set.replace(true) {
            return;
        }
        let next = || Some(self.line.borrow_mut().call()?.1);
        wake_each(std::iter::from_fn(next).flatten());
    }

    /// True once it has happened.
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
    /// Nothing happens but the waiting.
    pub async fn wait(&self) -> Result<()> {
        let wait = Wait::new(&"an event");
        wait_in_line(&self.line, wait, |_, _| self.is_set().then_some(())).await
    }

    /// Who waits.
    #[must_use]
    pub fn statistics(&self) -> EventStatistics {
        EventStatistics {
            tasks_waiting: self.line.borrow().len(),
        }
    }
}
