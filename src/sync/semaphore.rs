//! `Semaphore`: a limited number at a time.

use std::cell::RefCell;

use super::permits::{self, Permit, Permits};
use crate::error::{Error, Result};
use crate::runtime::wait::Wait;

/// A number of permits: an acquire waits until one is free; dropping the permit returns it.
///
/// A permit can be returned only once, and only by its owner. To count events of another task,
/// [`add`](Self::add) permits and [`forget`](SemaphorePermit::forget) those acquired.
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

/// The state of a [`Semaphore`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SemaphoreStatistics {
    /// The number of free permits.
    pub value: usize,
    /// The number of waits for one.
    pub tasks_waiting: usize,
}

impl Semaphore {
    /// Makes a semaphore with `value` permits. With 0 all acquires wait until some are
    /// [added](Self::add); `usize::MAX` is no limit.
    #[must_use]
    pub const fn new(value: usize) -> Self {
        Self {
            permits: RefCell::new(Permits::new(value)),
            max_value: usize::MAX,
        }
    }

    /// Makes a semaphore that never has more than `max_value` permits, including those that are
    /// held.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `value` is more than that.
    pub fn with_max_value(value: usize, max_value: usize) -> Result<Self> {
        if value > max_value {
            let message = format!("{value} permits are more than its max_value, {max_value}");
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
    /// No permit is taken, and the place in the line is given up; if one had already been handed
    /// over, the next waiter gets it.
    pub async fn acquire(&self) -> Result<SemaphorePermit<'_>> {
        self.acquire_as(Wait::new(&"a semaphore")).await
    }

    /// The same with another description for a dump.
    pub(crate) async fn acquire_as(&self, wait: Wait) -> Result<SemaphorePermit<'_>> {
        let permit = Permit::take(&self.permits, wait).await?;
        Ok(SemaphorePermit(permit))
    }

    /// Takes a permit if one is free and no task waits for it.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`].
    #[doc(alias = "try_acquire")]
    pub fn acquire_nowait(&self) -> Result<SemaphorePermit<'_>> {
        Permit::take_now(&self.permits).map(SemaphorePermit)
    }

    /// Adds `count` permits, and wakes the tasks that get them.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if there would be more than the `max_value` (or than a `usize` can count);
    /// then none is added.
    #[doc(alias = "release")]
    #[inline]
    pub fn add(&self, count: usize) -> Result<()> {
        let total = self.permits.borrow().total().checked_add(count);
        let Some(total) = total.filter(|total| *total <= self.max_value) else {
            let message = format!("{count} more permits than its max_value has room for");
            return Err(Error::invalid("add to a semaphore", message));
        };
        permits::set_total(&self.permits, total);
        Ok(())
    }

    /// Returns the number of free permits.
    #[must_use]
    pub fn value(&self) -> usize {
        self.permits.borrow().free()
    }

    /// Returns the largest number of permits.
    #[must_use]
    pub fn max_value(&self) -> usize {
        self.max_value
    }

    /// Returns the number of free permits, and of waiting tasks.
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
pub struct SemaphorePermit<'a>(Permit<'a>);

impl SemaphorePermit<'_> {
    /// Removes the permit for good: the semaphore has one less from now on.
    pub fn forget(self) {
        self.0.forget();
    }
}
