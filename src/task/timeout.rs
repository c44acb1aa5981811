//! Time limits: `fail_after` and `move_on_after`.

use std::future::IntoFuture;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::runtime::sleep::{Within, within};

/// Gives `future` at most `limit`, counted from the moment it first has to wait; after that it is
/// dropped, and the error is [`Error::TimedOut`]. One `?` is enough.
///
/// A future that is done at once costs no timer. `Duration::MAX` is no limit.
///
/// # Errors
///
/// Those of `future`; [`Error::TimedOut`] as `E`; [`Error::NoRuntime`] as `E` outside a runtime.
///
/// # Cancel safety
///
/// That of `future`, which is dropped with it.
///
/// # Examples
///
/// ```
/// use soloio::{Error, fail_after, sleep};
/// use std::time::Duration;
///
/// soloio::block_on(async {
///     let slow = sleep(Duration::from_secs(60));
///     let ended = fail_after(Duration::from_millis(1), slow).await;
///     assert!(matches!(ended, Err(Error::TimedOut)));
/// });
/// ```
#[doc(alias = "timeout")]
pub async fn fail_after<F, T, E>(limit: Duration, future: F) -> Result<T, E>
where
    F: IntoFuture<Output = Result<T, E>>,
    E: From<Error>,
{
    match within(limit, future).await? {
        Within::Done(output) => output,
        Within::Over => Err(Error::TimedOut.into()),
    }
}

/// Gives `future` at most `limit`, counted from the moment it first has to wait; after that it is
/// dropped, and the result is `Ok(None)`.
///
/// A future that is done at once costs no timer. `Duration::MAX` is no limit.
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
/// use std::time::Duration;
///
/// soloio::block_on(async {
///     let slow = sleep(Duration::from_secs(60));
///     assert!(move_on_after(Duration::from_millis(1), slow).await?.is_none());
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
pub async fn move_on_after<F, T, E>(limit: Duration, future: F) -> Result<Option<T>, E>
where
    F: IntoFuture<Output = Result<T, E>>,
    E: From<Error>,
{
    match within(limit, future).await? {
        Within::Done(output) => output.map(Some),
        Within::Over => Ok(None),
    }
}
