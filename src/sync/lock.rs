//! `Lock`: a value that one task at a time uses, also across its waits.

use std::cell::{RefCell, RefMut};
use std::fmt;
use std::ops::{Deref, DerefMut};

use super::permits::{Permit, Permits};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::runtime::wait::Wait;

/// A value that one task at a time uses, also across its waits; `()` if there is none.
///
/// State that is only used between waits needs no lock on one thread: a `RefCell` that all tasks
/// borrow is enough.
///
/// The guard holds the lock, and releases it on drop. A panic releases it with the value as it is;
/// there is no poisoning.
///
/// A task that acquires the lock while it holds the guard waits for itself, forever. In AnyIO that
/// is an error. Here it is none, because it cannot be detected for certain: another future of the
/// task, or a task that the guard was moved to, may release the lock. A [`dump`](fn@crate::dump)
/// shows "held by itself", and a debug build writes a line to stderr when such a wait has taken a
/// second.
///
/// See [the module](super) for the order, and for the trap of a future that is not polled.
///
/// # Examples
///
/// ```
/// use soloio::{Lock, sleep, task_group};
/// use std::time::Duration;
///
/// soloio::block_on(async {
///     let total = Lock::new(0);
///     let add = async |n| {
///         let mut total = total.acquire().await?;
///         let before = *total;
///         sleep(Duration::from_millis(1)).await?;
///         *total = before + n;
///         Ok(())
///     };
///     task_group(async |group| {
///         for n in 1..=4 {
///             group.spawn(add(n));
///         }
///         Ok(())
///     })
///     .await?;
///     assert_eq!(total.into_inner(), 10);
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "Mutex")]
pub struct Lock<T = ()> {
    /// A single permit.
    permits: RefCell<Permits>,
    /// Borrowed by the guard.
    value: RefCell<T>,
}

/// The state of a [`Lock`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockStatistics {
    /// True if a task holds it, or was handed it.
    pub locked: bool,
    /// The number of waits for it.
    pub tasks_waiting: usize,
}

impl<T> Lock<T> {
    /// Makes a lock that is free.
    pub const fn new(value: T) -> Self {
        Self {
            permits: RefCell::new(Permits::new(1)),
            value: RefCell::new(value),
        }
    }

    /// Waits until the lock is free, and holds it until the guard is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`], [`Error::NoRuntime`].
    ///
    /// # Cancel safety
    ///
    /// The lock is not taken, and the place in the line is given up; if it had already been handed
    /// over, the next waiter gets it.
    #[doc(alias = "lock")]
    pub async fn acquire(&self) -> Result<LockGuard<'_, T>> {
        let taking = Permit::take(&self.permits, Wait::new(&"a lock"));
        #[cfg(all(feature = "dump", debug_assertions))]
        let taking = super::self_wait::watched(&self.permits, taking);
        Ok(self.guard(taking.await?))
    }

    /// The same as the last step of a longer operation.
    pub(super) async fn acquire_as(&self, wait: Wait) -> Result<LockGuard<'_, T>> {
        Ok(self.guard(Permit::take(&self.permits, wait).await?))
    }

    /// Takes it if it is free and no task waits for it.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`].
    #[doc(alias = "try_lock")]
    pub fn acquire_nowait(&self) -> Result<LockGuard<'_, T>> {
        Permit::take_now(&self.permits).map(|permit| self.guard(permit))
    }

    fn guard<'a>(&'a self, permit: Permit<'a>) -> LockGuard<'a, T> {
        self.permits.borrow_mut().note_holder();
        LockGuard {
            lock: self,
            value: self.value.borrow_mut(),
            _permit: permit,
        }
    }

    /// Returns the value; no task can hold the lock during the exclusive borrow.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Returns the value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }

    /// Returns true if a task holds it, or was handed it.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.permits.borrow().free() == 0
    }

    /// Returns whether it is held, and the number of waiting tasks.
    #[must_use]
    pub fn statistics(&self) -> LockStatistics {
        LockStatistics {
            locked: self.is_locked(),
            tasks_waiting: self.permits.borrow().waiting(),
        }
    }
}

impl<T: Default> Default for Lock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Lock");
        // As its holder: the value's own code may use the lock.
        match self.acquire_nowait() {
            Ok(guard) => shown.field("value", &*guard),
            Err(_) => shown.field("value", &format_args!("<locked>")),
        };
        shown
            .field("tasks_waiting", &self.permits.borrow().waiting())
            .finish()
    }
}

/// Holds a [`Lock`], and gives it to the next in line when dropped.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct LockGuard<'a, T> {
    lock: &'a Lock<T>,
    /// Dropped before the permit: the borrow ends before the lock is handed over.
    value: RefMut<'a, T>,
    _permit: Permit<'a>,
}

impl<'a, T> LockGuard<'a, T> {
    /// The lock that it holds.
    pub(super) fn lock(&self) -> &'a Lock<T> {
        self.lock
    }
}

impl<T> Deref for LockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for LockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for LockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LockGuard").field(&**self).finish()
    }
}
