//! Time limits: `fail_after`, `move_on_after`, and the same with a moment.

use std::future::{Future, IntoFuture};
use std::time::{Duration, Instant};

use crate::error::{Error, Failure, Result};
use crate::runtime::scoped::{End, Nobody, scoped};
use crate::runtime::sleep::When;

/// Gives `future` at most `limit`, counted from the moment it first has to wait; then it is
/// cancelled, and the error is [`Error::TimedOut`]. One `?` is enough.
///
/// Cancelled means that every operation inside ends with [`Error::Cancelled`], so that code
/// unwinds through `?` and may say goodbye in a [`shield`](crate::shield); what is still pending
/// then is dropped. A value that `future` ends with is handed on even if that was too late, and so
/// is an error that is not the cancel's ([`Failure`]): clean-up that failed.
///
/// A future that is done at once costs no timer, so a limit of zero takes what is there already.
/// `Duration::MAX` is no limit.
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
///     assert!(matches!(ended, Err(Error::TimedOut)));
/// });
/// ```
#[doc(alias = "timeout")]
#[inline]
pub fn fail_after<F, T, E>(limit: Duration, future: F) -> impl Future<Output = Result<T, E>>
where
    F: IntoFuture<Output = Result<T, E>>,
    E: Failure,
{
    fail_in(When::After(limit), future)
}

/// Gives `future` at most `limit`, counted from the moment it first has to wait; then it is
/// cancelled as by [`fail_after`], and the result is `Ok(None)`.
///
/// A future that is done at once costs no timer, so a limit of zero takes what is there already.
/// `Duration::MAX` is no limit.
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
    move_on_in(When::After(limit), future)
}

/// [`fail_after`] with a moment instead of a duration.
///
/// A moment that has passed lets through what is ready, and ends what has to wait.
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
///     assert!(matches!(ended, Err(Error::TimedOut)));
/// });
/// ```
#[inline]
pub fn fail_at<F, T, E>(deadline: Instant, future: F) -> impl Future<Output = Result<T, E>>
where
    F: IntoFuture<Output = Result<T, E>>,
    E: Failure,
{
    fail_in(When::At(deadline), future)
}

/// [`move_on_after`] with a moment instead of a duration.
///
/// A moment that has passed lets through what is ready, and ends what has to wait.
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
    move_on_in(When::At(deadline), future)
}

#[inline]
fn fail_in<F, T, E>(when: When, future: F) -> impl Future<Output = Result<T, E>>
where
    F: IntoFuture<Output = Result<T, E>>,
    E: Failure,
{
    scoped(when, Nobody, future.into_future(), Fail)
}

#[inline]
fn move_on_in<F, T, E>(when: When, future: F) -> impl Future<Output = Result<Option<T>, E>>
where
    F: IntoFuture<Output = Result<T, E>>,
    E: Failure,
{
    scoped(when, Nobody, future.into_future(), MoveOn)
}

/// A time limit that ends with an error.
struct Fail;

impl<T, E: Failure> End<Result<T, E>> for Fail {
    type Output = Result<T, E>;

    #[inline]
    fn done(&mut self, output: Result<T, E>, charged: bool) -> Result<T, E> {
        match output {
            Err(error) if charged && error.is_cancelled() => self.dropped(),
            output => output,
        }
    }

    #[cold]
    fn dropped(&mut self) -> Result<T, E> {
        Err(Error::TimedOut.into())
    }

    #[cold]
    fn no_runtime(&mut self) -> Result<T, E> {
        Err(Error::NoRuntime.into())
    }
}

/// A time limit that ends with `None`.
struct MoveOn;

impl<T, E: Failure> End<Result<T, E>> for MoveOn {
    type Output = Result<Option<T>, E>;

    #[inline]
    fn done(&mut self, output: Result<T, E>, charged: bool) -> Result<Option<T>, E> {
        match output {
            Err(error) if charged && error.is_cancelled() => Ok(None),
            output => output.map(Some),
        }
    }

    fn dropped(&mut self) -> Result<Option<T>, E> {
        Ok(None)
    }

    #[cold]
    fn no_runtime(&mut self) -> Result<Option<T>, E> {
        Err(Error::NoRuntime.into())
    }
}
