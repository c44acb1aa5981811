//! `Condition`: waiting until a locked value has changed.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, ready};

use super::line::{InLine, Turn};
use super::lock::LockGuard;
use super::wait_queue::WaitQueue;
use crate::error::Result;
use crate::executor::wake_each;
use crate::runtime::context;
use crate::runtime::wait::Wait;

/// Where tasks wait until another one has changed what a [`Lock`](super::Lock) holds.
///
/// A wait gives the guard away, and gets it again before it returns. All who wait on one condition
/// are meant to use one lock; nothing breaks if they don't.
///
/// # Examples
///
/// ```
/// use soloio::{Condition, Lock, task_group};
///
/// soloio::block_on(async {
///     let (stock, delivered) = (Lock::new(0), Condition::new());
///     task_group(async |group| {
///         group.spawn(async {
///             let stock = stock.acquire().await?;
///             let mut stock = delivered.wait_for(stock, |stock| *stock >= 3).await?;
///             *stock -= 3;
///             Ok(())
///         });
///         for _ in 0..4 {
///             *stock.acquire().await? += 1;
///             delivered.notify_one();
///         }
///         Ok(())
///     })
///     .await?;
///     assert_eq!(stock.into_inner(), 1);
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "Condvar")]
#[derive(Debug, Default)]
pub struct Condition {
    line: RefCell<WaitQueue<()>>,
}

/// What a [`Condition`] says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConditionStatistics {
    /// How many wait to be notified; who waits for the lock again is not among them.
    pub tasks_waiting: usize,
}

impl Condition {
    /// A condition that nobody waits on.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            line: RefCell::new(WaitQueue::new()),
        }
    }

    /// Gives the lock back, waits to be notified, and takes the lock again, in its turn.
    ///
    /// Somebody else may have had the lock in between: look at the value again, or use
    /// [`wait_for`](Self::wait_for).
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`](crate::Error::Cancelled),
    /// [`Error::NoRuntime`](crate::Error::NoRuntime).
    /// The lock is not held after an error.
    ///
    /// # Cancel safety
    ///
    /// The lock is not held any more, not even for a moment; a notification that had come already
    /// goes to the next who waits.
    pub async fn wait<'a, T>(&self, guard: LockGuard<'a, T>) -> Result<LockGuard<'a, T>> {
        let mut wait = Wait::new(&"a condition");
        let lock = guard.lock();
        let mut guard = Some(guard);
        let mut own = InLine::new(&self.line);
        poll_fn(|cx| {
            context::poll_with(|core| {
                ready!(wait.admit(core, cx))?;
                if own.turn() == Turn::Called {
                    return Poll::Ready(Ok(()));
                }
                own.stand(cx, || ());
                // In line first, so that whoever gets the lock now can notify us.
                guard = None;
                wait.pend(core, cx)
            })
        })
        .await?;
        // Until the lock is ours the notification can still go to somebody else.
        let guard = lock.acquire_as(wait).await?;
        own.leave();
        Ok(guard)
    }

    /// Waits, in as many rounds as it takes, until `holds` says so of the locked value; not at all
    /// if that is so already.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Cancel safety
    ///
    /// As [`wait`](Self::wait).
    pub async fn wait_for<'a, T>(
        &self,
        mut guard: LockGuard<'a, T>,
        mut holds: impl FnMut(&mut T) -> bool,
    ) -> Result<LockGuard<'a, T>> {
        while !holds(&mut guard) {
            guard = self.wait(guard).await?;
        }
        Ok(guard)
    }

    /// Notifies who has waited longest. It need not hold the lock.
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Notifies up to `count`, who have waited longest.
    pub fn notify(&self, count: usize) {
        // Who waits again because of this is not notified twice.
        let count = count.min(self.line.borrow().len());
        let next = || self.line.borrow_mut().call().map(|(_, waker)| waker);
        wake_each(std::iter::from_fn(next).take(count).flatten());
    }

    /// Notifies everybody who waits now.
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }

    /// Who waits.
    #[must_use]
    pub fn statistics(&self) -> ConditionStatistics {
        ConditionStatistics {
            tasks_waiting: self.line.borrow().len(),
        }
    }
}
