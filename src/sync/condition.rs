//! `Condition`: waiting until a locked value has changed.

use std::cell::RefCell;
use std::task::{Poll, ready};

use super::line::{InLine, Turn};
use super::lock::LockGuard;
use super::wait_queue::WaitQueue;
use crate::error::Result;
use crate::executor::wake_each;
use crate::runtime::context;
use crate::runtime::wait::Wait;

/// Lets tasks wait until another one has changed the value of a [`Lock`](super::Lock).
///
/// A wait releases the lock, and acquires it again before it returns. All waits on one condition
/// should use the same lock; if they don't, no invariant is violated.
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

/// The state of a [`Condition`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConditionStatistics {
    /// The number of waits for a notification; waits that acquire the lock again do not count.
    pub tasks_waiting: usize,
}

impl Condition {
    /// Makes a condition without waiters.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            line: RefCell::new(WaitQueue::new()),
        }
    }

    /// Releases the lock, waits for a notification, and acquires the lock again, in its turn.
    ///
    /// Another task may have had the lock in between: check the value again, or use
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
    /// The lock is released and not acquired again; a notification that had already come goes to
    /// the next waiter.
    pub async fn wait<'a, T>(&self, guard: LockGuard<'a, T>) -> Result<LockGuard<'a, T>> {
        let mut wait = Wait::new(&"a condition");
        let lock = guard.lock();
        let mut guard = Some(guard);
        let mut own = InLine::new(&self.line);
        context::in_runtime(|core, cx| {
            ready!(wait.admit(core, cx))?;
            if own.turn() == Turn::Called {
                return Poll::Ready(Ok(()));
            }
            own.stand(cx, || ());
            // In line before the release, so that the next holder of the lock can notify this
            // wait.
            guard = None;
            wait.pend(core, cx)
        })
        .await?;
        // Until the lock is acquired the notification can still be passed on.
        let guard = lock.acquire_as(wait).await?;
        own.leave();
        Ok(guard)
    }

    /// Waits, any number of times, until `holds` returns true for the locked value. Returns
    /// immediately if it is already true.
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

    /// Notifies the task that has waited longest. The caller need not hold the lock.
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Notifies up to `count` tasks, those first that have waited longest.
    #[inline]
    pub fn notify(&self, count: usize) {
        // A task that waits again because of this call is not notified twice.
        let count = count.min(self.line.borrow().len());
        let next = || self.line.borrow_mut().call().map(|(_, waker)| waker);
        wake_each(std::iter::from_fn(next).take(count).flatten());
    }

    /// Notifies all tasks that wait now.
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }

    /// Returns the number of waiting tasks.
    #[must_use]
    pub fn statistics(&self) -> ConditionStatistics {
        ConditionStatistics {
            tasks_waiting: self.line.borrow().len(),
        }
    }
}
