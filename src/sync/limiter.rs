//! `CapacityLimiter`: a semaphore with a variable size, which records its borrowers.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::permits::{self, Permit, Permits};
use crate::error::{Error, Result};
use crate::runtime::wait::Wait;

/// Lends a number of tokens that can be changed at any time, and records the borrowers.
///
/// See [the module](super) for the order, and for the trap of a future that is not polled.
///
/// # Examples
///
/// ```
/// use soloio::CapacityLimiter;
///
/// soloio::block_on(async {
///     let limiter = CapacityLimiter::new(1);
///     let token = limiter.acquire_on_behalf_of(7).await?;
///     assert!(limiter.acquire_nowait().is_err());
///     assert_eq!(limiter.statistics().borrowers, [7]);
///     limiter.set_total_tokens(2);
///     let other = limiter.acquire().await?;
///     drop((token, other));
///     assert_eq!(limiter.borrowed_tokens(), 0);
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[derive(Debug)]
pub struct CapacityLimiter {
    permits: RefCell<Permits>,
    /// The named borrowers that hold a token.
    borrowers: RefCell<BTreeSet<u64>>,
}

/// The state of a [`CapacityLimiter`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CapacityLimiterStatistics {
    /// The number of lent tokens, with a named borrower or without.
    pub borrowed_tokens: usize,
    /// The number of all tokens.
    pub total_tokens: usize,
    /// The named borrowers, in order.
    pub borrowers: Vec<u64>,
    /// The number of waits for a token.
    pub tasks_waiting: usize,
}

impl CapacityLimiter {
    /// Makes a limiter with `total_tokens` tokens. With 0 all acquires wait until there are more;
    /// `usize::MAX` is no limit.
    #[must_use]
    pub const fn new(total_tokens: usize) -> Self {
        Self {
            permits: RefCell::new(Permits::new(total_tokens)),
            borrowers: RefCell::new(BTreeSet::new()),
        }
    }

    /// Waits until a token is free, and borrows it. One task may borrow several; a task that waits
    /// for more tokens than exist waits forever.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`], [`Error::NoRuntime`].
    ///
    /// # Cancel safety
    ///
    /// No token is borrowed, and the place in the line is given up; if one had already been handed
    /// over, the next waiter gets it.
    pub async fn acquire(&self) -> Result<LimiterToken<'_>> {
        let wait = Wait::new(&"a token of a capacity limiter");
        let permit = Permit::take(&self.permits, wait).await?;
        Ok(LimiterToken::new(self, permit))
    }

    /// Waits until a token is free, and borrows it for a borrower with a number. Each such borrower
    /// has one token at most.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire); `InvalidInput` if this borrower already has a token:
    /// immediately if it has one at the call, otherwise when its turn comes.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_on_behalf_of(&self, borrower: u64) -> Result<LimiterToken<'_>> {
        self.check(borrower)?;
        let token = self.acquire().await?;
        self.name(token, borrower)
    }

    /// Borrows a token if one is free and no task waits for it.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`].
    pub fn acquire_nowait(&self) -> Result<LimiterToken<'_>> {
        Permit::take_now(&self.permits).map(|permit| LimiterToken::new(self, permit))
    }

    /// Borrows a token for a borrower with a number, if one is free and no task waits for it. Each
    /// such borrower has one token at most.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`]; `InvalidInput` if this borrower has a token.
    pub fn acquire_on_behalf_of_nowait(&self, borrower: u64) -> Result<LimiterToken<'_>> {
        self.check(borrower)?;
        self.name(self.acquire_nowait()?, borrower)
    }

    /// Refuses a borrower that has a token.
    fn check(&self, borrower: u64) -> Result<()> {
        if self.borrowers.borrow().contains(&borrower) {
            let message = format!("borrower {borrower} has one of its tokens already");
            return Err(Error::invalid("acquire from a capacity limiter", message));
        }
        Ok(())
    }

    fn name<'a>(&'a self, mut token: LimiterToken<'a>, borrower: u64) -> Result<LimiterToken<'a>> {
        self.check(borrower)?;
        self.borrowers.borrow_mut().insert(borrower);
        token.borrower = Some(borrower);
        Ok(token)
    }

    /// Returns the number of all tokens, lent or not.
    #[must_use]
    pub fn total_tokens(&self) -> usize {
        self.permits.borrow().total()
    }

    /// Sets the number of all tokens. Additional ones go to waiting tasks; if there are fewer than
    /// are lent, no task gets one until enough have been returned.
    pub fn set_total_tokens(&self, total_tokens: usize) {
        permits::set_total(&self.permits, total_tokens);
    }

    /// Returns the number of tokens that are lent, or were handed to a waiting task.
    #[must_use]
    pub fn borrowed_tokens(&self) -> usize {
        self.permits.borrow().taken()
    }

    /// Returns the number of free tokens.
    #[must_use]
    pub fn available_tokens(&self) -> usize {
        self.permits.borrow().free()
    }

    /// Returns the borrowers, and the number of waiting tasks.
    #[must_use]
    pub fn statistics(&self) -> CapacityLimiterStatistics {
        let permits = self.permits.borrow();
        CapacityLimiterStatistics {
            borrowed_tokens: permits.taken(),
            total_tokens: permits.total(),
            borrowers: self.borrowers.borrow().iter().copied().collect(),
            tasks_waiting: permits.waiting(),
        }
    }
}

/// A token of a [`CapacityLimiter`], given back when dropped.
#[derive(Debug)]
#[must_use = "the token is given back when it is dropped"]
pub struct LimiterToken<'a> {
    limiter: &'a CapacityLimiter,
    borrower: Option<u64>,
    _permit: Permit<'a>,
}

impl<'a> LimiterToken<'a> {
    fn new(limiter: &'a CapacityLimiter, permit: Permit<'a>) -> Self {
        Self {
            limiter,
            borrower: None,
            _permit: permit,
        }
    }

    /// Returns the borrower that it was borrowed for.
    #[must_use]
    pub fn borrower(&self) -> Option<u64> {
        self.borrower
    }
}

impl Drop for LimiterToken<'_> {
    fn drop(&mut self) {
        if let Some(borrower) = self.borrower {
            self.limiter.borrowers.borrow_mut().remove(&borrower);
        }
    }
}
