//! `Semaphore`: at most so many at a time.

use std::cell::RefCell;

use super::permits::{self, Permits};
use crate::error::{Error, Result};
use crate::executor::wake_each;
use crate::runtime::wait::Wait;

/// A number of permits: who acquires one waits until one is free, and gives it back by dropping it.
///
/// A permit can't be given back twice, nor by somebody else. To count what another task brings
/// about, [`add`](Self::add) permits and [`forget`](SemaphorePermit::forget) those acquired.
///
/// See [the module](super) for the order, and for the trap of a future that is not polled.
///
/// # Examples
///
/// ```
/// use soloio::{Semaphore, sleep, task_group};
/// use std::time::Duration;
///
/// soloio::block_on(async {
///     let few = Semaphore::new(2);
///     let work = async || {
///         let _permit = few.acquire().await?;
///         assert!(few.statistics().value < 2);
///         sleep(Duration::from_millis(1)).await
///     };
///     task_group(async |group| {
///         for _ in 0..5 {
///             group.spawn(work());
///         }
///         Ok(())
///     })
///     .await
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[derive(Debug)]
pub struct Semaphore {
    permits: RefCell<Permits>,
    max_value: usize,
}

/// What a [`Semaphore`] says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SemaphoreStatistics {
    /// How many permits are free.
    pub value: usize,
    /// How many wait for one.
    pub tasks_waiting: usize,
}

impl Semaphore {
    /// A semaphore with `value` permits. With 0 everybody waits until some are
    /// [added](Self::add); `usize::MAX` is no limit.
    #[must_use]
    pub const fn new(value: usize) -> Self {
        Self {
            permits: RefCell::new(Permits::new(value)),
            max_value: usize::MAX,
        }
    }

    /// A semaphore that can't be brought above `max_value` permits, those that are held included.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `value` is more than that.
    pub fn with_max_value(value: usize, max_value: usize) -> Result<Self> {
        if value > max_value {
            let message = "more permits than its max_value";
            return Err(Error::invalid("make a semaphore", message));
        }
        Ok(Self {
            max_value,
            ..Self::new(value)
        })
    }

    /// Waits until a permit is free, and takes it.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`], [`Error::NoRuntime`].
    ///
    /// # Cancel safety
    ///
    /// No permit is taken, and the place in the line is given up; if one had been handed over
    /// already, the next one gets it.
    pub async fn acquire(&self) -> Result<SemaphorePermit<'_>> {
        self.acquire_as(Wait::new(&"a semaphore")).await
    }

    /// The same with other words for a dump.
    pub(crate) async fn acquire_as(&self, wait: Wait) -> Result<SemaphorePermit<'_>> {
        permits::take(&self.permits, wait).await?;
        Ok(SemaphorePermit { semaphore: self })
    }

    /// Takes a permit if one is free and nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`].
    #[doc(alias = "try_acquire")]
    pub fn acquire_nowait(&self) -> Result<SemaphorePermit<'_>> {
        let taken = self.permits.borrow_mut().try_take();
        if taken {
            Ok(SemaphorePermit { semaphore: self })
        } else {
            Err(Error::WouldBlock)
        }
    }

    /// Makes `count` further permits, and wakes those who get them.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if there would be more than the `max_value` (or than a `usize` can count);
    /// then none is made.
    #[doc(alias = "release")]
    pub fn add(&self, count: usize) -> Result<()> {
        let total = self.permits.borrow().total().checked_add(count);
        let Some(total) = total.filter(|total| *total <= self.max_value) else {
            let message = "there would be more permits than its max_value";
            return Err(Error::invalid("add to a semaphore", message));
        };
        self.permits.borrow_mut().set_total(total);
        wake_each(std::iter::from_fn(|| self.permits.borrow_mut().call()));
        Ok(())
    }

    /// How many permits are free.
    #[must_use]
    pub fn value(&self) -> usize {
        self.permits.borrow().free()
    }

    /// How many may ever be there.
    #[must_use]
    pub fn max_value(&self) -> usize {
        self.max_value
    }

    /// How many are free, and who waits.
    #[must_use]
    pub fn statistics(&self) -> SemaphoreStatistics {
        SemaphoreStatistics {
            value: self.value(),
            tasks_waiting: self.permits.borrow().waiting(),
        }
    }
}

/// A permit of a [`Semaphore`], given back when dropped.
#[derive(Debug)]
#[must_use = "the permit is given back when it is dropped"]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
}

impl SemaphorePermit<'_> {
    /// Uses the permit up: the semaphore has one less from now on.
    pub fn forget(self) {
        self.semaphore.permits.borrow_mut().remove_taken();
        std::mem::forget(self);
    }
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        permits::give_back(&self.semaphore.permits);
    }
}
