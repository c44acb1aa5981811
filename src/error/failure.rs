//! Separates the errors of a cancel from all others, for any error type of a program.

use std::error::Error as StdError;
use std::io;

use super::Error;

/// An error type of tasks, time limits and handlers: it can hold an [`Error`], and reports whether
/// it is the error of a cancel.
///
/// Only an error that *is* a cancel's becomes `TimedOut` or `None` in a time limit, or is dropped
/// by a group, a handle or a server. Every other error is passed on, even if its task was
/// cancelled:
/// an error of the clean-up is not lost.
///
/// [`Error`], [`io::Error`] and boxes of [`std::error::Error`] implement it. They find an
/// [`Error::Cancelled`] that they hold, also as the [`source`](StdError::source) of another error
/// that adds context. `anyhow::Error` implements it with the cargo feature `anyhow`.
///
/// # Examples
///
/// An enum of a program needs one line more than the `From` that `?` uses:
///
/// ```
/// use soloio::{Error, Failure, block_on, fail_after, shield, sleep};
/// use std::time::Duration;
///
/// #[derive(Debug)]
/// enum StoreError {
///     Net(Error),
///     DiskFull,
/// }
///
/// impl From<Error> for StoreError {
///     fn from(error: Error) -> Self {
///         Self::Net(error)
///     }
/// }
///
/// impl Failure for StoreError {
///     fn is_cancelled(&self) -> bool {
///         matches!(self, Self::Net(error) if error.is_cancelled())
///     }
/// }
///
/// let ended = block_on(fail_after(Duration::from_millis(1), async {
///     let slept = sleep(Duration::from_secs(60)).await;
///     if slept.is_err() {
///         return Err(StoreError::DiskFull); // clean-up has failed
///     }
///     Ok(())
/// }));
/// assert!(matches!(ended, Err(StoreError::DiskFull)));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not report which of its values is a cancel's",
    label = "`soloio::Failure` is missing",
    note = "an enum with a `soloio::Error` in `Net`, and `From<soloio::Error>`, needs one line: \
            `impl soloio::Failure for {Self} {{ fn is_cancelled(&self) -> bool {{ \
            matches!(self, Self::Net(error) if error.is_cancelled()) }} }}`",
    note = "`soloio::Error`, `std::io::Error`, `Box<dyn std::error::Error + Send + Sync>` have it; \
            `anyhow::Error` with soloio's feature `anyhow`"
)]
pub trait Failure: From<Error> {
    /// Returns true if this is [`Error::Cancelled`], in any form that the type has for it.
    fn is_cancelled(&self) -> bool;

    /// The same as an [`Error`]: one that is an `Error` already needs no box on its way.
    #[doc(hidden)]
    fn into_own(self) -> Error
    where
        Self: Into<Box<dyn StdError + Send + Sync>>,
    {
        Error::from(self.into())
    }
}

impl Failure for Error {
    fn is_cancelled(&self) -> bool {
        self.is_cancelled()
    }

    fn into_own(self) -> Error {
        self
    }
}

impl Failure for io::Error {
    fn is_cancelled(&self) -> bool {
        holds_cancelled(self)
    }
}

impl Failure for Box<dyn StdError + Send + Sync> {
    fn is_cancelled(&self) -> bool {
        holds_cancelled(&**self)
    }
}

impl Failure for Box<dyn StdError> {
    fn is_cancelled(&self) -> bool {
        holds_cancelled(&**self)
    }
}

#[cfg(feature = "anyhow")]
impl Failure for anyhow::Error {
    fn is_cancelled(&self) -> bool {
        holds_cancelled(&**self)
    }
}

/// Returns true if `error`, or an error in its chain of sources, is [`Error::Cancelled`].
pub(super) fn holds_cancelled(error: &(dyn StdError + 'static)) -> bool {
    if let Some(own) = error.downcast_ref::<Error>() {
        return own.is_cancelled();
    }
    match error.downcast_ref::<io::Error>() {
        // Its `source` is not the error inside, but the source of that error.
        Some(error) => error.get_ref().is_some_and(|inner| holds_cancelled(inner)),
        None => error.source().is_some_and(holds_cancelled),
    }
}
