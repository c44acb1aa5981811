//! Time limits: `fail_after`, `move_on_after`, and the same with a point in time.

use std::future::{Future, IntoFuture};
use std::time::{Duration, Instant};

use crate::error::{Error, Failure, Result};
use crate::runtime::context;
use crate::runtime::scoped::{Ended, Unowned, scoped};
use crate::runtime::scopes::Limit;

/// Limits `future` to `limit`, counted from its first wait; then it is cancelled, and the error is
/// [`Error::TimedOut`]. One `?` is enough.
///
/// At the limit every operation inside ends with [`Error::Cancelled`], so that code unwinds
/// through `?`. It may send a last message in a [`shield`](crate::shield). If `future` is still
/// pending after that, it is dropped. A value that `future` ends with is returned even if it is too
/// late. So is an error that is not the cancel's, such as that of failed clean-up ([`Failure`]).
///
/// A future that is done at once costs no timer. So with a limit of zero ready data is still
/// returned, as far as it is in a buffer or a queue of this process. The loop learns in its next
/// turn if more has come to a socket; a limit of a nanosecond includes that turn. `Duration::MAX`
/// is no limit.
///
/// # Errors
///
/// Those of `future`; [`Error::TimedOut`] as `E` instead of the cancel's; [`Error::NoRuntime`] as
/// `E` outside a runtime.
///
/// # Cancel safety
///
/// That of `future`, which is dropped with it.
///
/// # Examples
///
/// ```
/// use soloio::{Error, fail_after, sleep};
/// use std::time::{Duration, Instant};
///
/// soloio::block_on(async {
///     let slow = sleep(Duration::from_secs(60));
///     let ended = fail_after(Duration::from_millis(1), slow).await;
///     assert!(matches!(ended, Err(Error::TimedOut(_))));
/// });
/// ```
#[doc(alias = "timeout")]
#[inline]
pub fn fail_after<F, T, E>(limit: Duration, future: F) -> impl Future<Output = Result<T, E>>
where
    F: IntoFuture<Output = Result<T, E>>,
    E: Failure,
{
    scoped(Limit::after(limit), Unowned, future.into_future(), fail)
}

/// Limits `future` to `limit`, counted from its first wait; then it is cancelled as by
/// [`fail_after`], and the result is `Ok(None)`.
///
/// A future that is done at once costs no timer. So with a limit of zero ready data is still
/// returned, as far as it is in a buffer or a queue of this process. The loop learns in its next
/// turn if more has come to a socket; a limit of a nanosecond includes that turn. `Duration::MAX`
/// is no limit.
///
/// # Errors
///
/// Those of `future`; [`Error::NoRuntime`] as `E` outside a runtime.
///
/// # Cancel safety
///
/// That of `future`, which is dropped with it.
///
/// # Examples
///
/// ```
/// use soloio::{move_on_after, sleep};
/// use std::time::{Duration, Instant};
///
/// soloio::block_on(async {
///     let slow = sleep(Duration::from_secs(60));
///     assert!(move_on_after(Duration::from_millis(1), slow).await?.is_none());
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[inline]
pub fn move_on_after<F, T, E>(
    limit: Duration,
    future: F,
) -> impl Future<Output = Result<Option<T>, E>>
where
    F: IntoFuture<Output = Result<T, E>>,
    E: Failure,
{
    scoped(Limit::after(limit), Unowned, future.into_future(), within)
}

/// The same as [`fail_after`], with a point in time instead of a duration.
///
/// If it has passed, ready operations still end with their value, and waiting ones are cancelled.
///
/// # Errors
///
/// Those of [`fail_after`].
///
/// # Cancel safety
///
/// That of `future`, which is dropped with it.
///
/// # Examples
///
/// ```
/// use soloio::{Error, fail_at, sleep};
/// use std::time::{Duration, Instant};
///
/// soloio::block_on(async {
///     let slow = sleep(Duration::from_secs(60));
///     let ended = fail_at(Instant::now(), slow).await;
///     assert!(matches!(ended, Err(Error::TimedOut(_))));
/// });
/// ```
#[inline]
pub fn fail_at<F, T, E>(deadline: Instant, future: F) -> impl Future<Output = Result<T, E>>
where
    F: IntoFuture<Output = Result<T, E>>,
    E: Failure,
{
    scoped(Limit::until(deadline), Unowned, future.into_future(), fail)
}

/// The same as [`move_on_after`], with a point in time instead of a duration.
///
/// If it has passed, ready operations still end with their value, and waiting ones are cancelled.
///
/// # Errors
///
/// Those of [`move_on_after`].
///
/// # Cancel safety
///
/// That of `future`, which is dropped with it.
///
/// # Examples
///
/// ```
/// use soloio::{move_on_at, sleep};
/// use std::time::{Duration, Instant};
///
/// soloio::block_on(async {
///     let slow = sleep(Duration::from_secs(60));
///     assert!(move_on_at(Instant::now(), slow).await?.is_none());
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[inline]
pub fn move_on_at<F, T, E>(
    deadline: Instant,
    future: F,
) -> impl Future<Output = Result<Option<T>, E>>
where
    F: IntoFuture<Output = Result<T, E>>,
    E: Failure,
{
    let limit = Limit::until(deadline);
    scoped(limit, Unowned, future.into_future(), within)
}

/// The end of a time limit that is an error.
#[inline]
fn fail<T, E: Failure>(ended: Ended<Result<T, E>>) -> Result<T, E> {
    match within(ended) {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(context::timed_out().into()),
        Err(error) => Err(error),
    }
}

/// Returns the output if it came in time, or is not the cancel's; else `None`.
#[inline]
fn within<T, E: Failure>(ended: Ended<Result<T, E>>) -> Result<Option<T>, E> {
    match ended {
        Ended::Done { output, caught } => match output {
            Err(error) if caught && error.is_cancelled() => Ok(None),
            output => output.map(Some),
        },
        Ended::Dropped { caught: true } => Ok(None),
        // A scope around it is cancelled, too.
        Ended::Dropped { caught: false } => Err(Error::Cancelled.into()),
        Ended::NoRuntime => Err(Error::NoRuntime.into()),
    }
}
