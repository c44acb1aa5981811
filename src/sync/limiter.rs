//! `CapacityLimiter`: a semaphore whose size may change, and that knows who borrows.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::permits::{self, Permits};
use crate::error::{Error, Result};
use crate::executor::wake_each;
use crate::runtime::wait::Wait;

/// Lends a number of tokens that can be changed at any time, and knows who borrows them.
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
    /// The named ones who hold a token.
    borrowers: RefCell<BTreeSet<u64>>,
}

/// What a [`CapacityLimiter`] says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CapacityLimiterStatistics {
    /// How many tokens are lent, to named borrowers or not.
    pub borrowed_tokens: usize,
    /// How many there are in all.
    pub total_tokens: usize,
    /// The named borrowers, in order.
    pub borrowers: Vec<u64>,
    /// How many wait for a token.
    pub tasks_waiting: usize,
}

impl CapacityLimiter {
    /// A limiter with so many tokens. With 0 everybody waits until there are more; `usize::MAX` is
    /// no limit.
    #[must_use]
    pub const fn new(total_tokens: usize) -> Self {
        Self {
            permits: RefCell::new(Permits::new(total_tokens)),
            borrowers: RefCell::new(BTreeSet::new()),
        }
    }

    /// Waits until a token is free, and borrows it. One task may borrow several; if it waits for
    /// more than there are, it waits for ever.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`], [`Error::NoRuntime`].
    ///
    /// # Cancel safety
    ///
    /// No token is borrowed, and the place in the line is given up; if one had been handed over
    /// already, the next one gets it.
    pub async fn acquire(&self) -> Result<LimiterToken<'_>> {
        let wait = Wait::new(&"a token of a capacity limiter");
        permits::take(&self.permits, wait).await?;
        Ok(LimiterToken::new(self, None))
    }

    /// The same for somebody who has a number, and borrows one token at most.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire); `InvalidInput` if this borrower has a token when it is its
    /// turn, at once if it has one now.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_on_behalf_of(&self, borrower: u64) -> Result<LimiterToken<'_>> {
        self.refuse_second(borrower)?;
        let token = self.acquire().await?;
        self.name(token, borrower)
    }

    /// Borrows a token if one is free and nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`].
    pub fn acquire_nowait(&self) -> Result<LimiterToken<'_>> {
        let taken = self.permits.borrow_mut().try_take();
        if taken {
            Ok(LimiterToken::new(self, None))
        } else {
            Err(Error::WouldBlock)
        }
    }

    /// The same for somebody who has a number, and borrows one token at most.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`]; `InvalidInput` if this borrower has a token.
    pub fn acquire_on_behalf_of_nowait(&self, borrower: u64) -> Result<LimiterToken<'_>> {
        self.refuse_second(borrower)?;
        self.name(self.acquire_nowait()?, borrower)
    }

    fn refuse_second(&self, borrower: u64) -> Result<()> {
        if self.borrowers.borrow().contains(&borrower) {
            let message = format!("borrower {borrower} has one of its tokens already");
            return Err(Error::invalid("acquire from a capacity limiter", message));
        }
        Ok(())
    }

    fn name<'a>(&'a self, mut token: LimiterToken<'a>, borrower: u64) -> Result<LimiterToken<'a>> {
        self.refuse_second(borrower)?;
        self.borrowers.borrow_mut().insert(borrower);
        token.borrower = Some(borrower);
        Ok(token)
    }

    /// How many tokens there are, lent or not.
    #[must_use]
    pub fn total_tokens(&self) -> usize {
        self.permits.borrow().total()
    }

    /// From now on there are so many. More of them go to those who wait; if there are less than are
    /// lent, nobody gets one until enough have come back.
    pub fn set_total_tokens(&self, total_tokens: usize) {
        self.permits.borrow_mut().set_total(total_tokens);
        wake_each(std::iter::from_fn(|| self.permits.borrow_mut().call()));
    }

    /// How many tokens are lent, or were handed to somebody who was waiting.
    #[must_use]
    pub fn borrowed_tokens(&self) -> usize {
        self.permits.borrow().taken()
    }

    /// How many tokens are free.
    #[must_use]
    pub fn available_tokens(&self) -> usize {
        self.permits.borrow().free()
    }

    /// Who borrows, and who waits.
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
}

impl<'a> LimiterToken<'a> {
    fn new(limiter: &'a CapacityLimiter, borrower: Option<u64>) -> Self {
        Self { limiter, borrower }
    }

    /// On whose behalf it was borrowed.
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
        permits::give_back(&self.limiter.permits);
    }
}
