//! Task groups: children that borrow values outside the call, and cannot outlive it.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::{Pin, pin};

use super::ending::{Ending, Errors};
use super::handle::TaskHandle;
use super::outcome::Outcome;
use super::run::{Run, Value};
use crate::error::{Error, Failure, Result};
use crate::executor::TaskSet;
use crate::sys::beside::Beside;

/// Spawns tasks, its children; see [`task_group`].
///
/// `'env` is the lifetime of the values that children may borrow, `'s` that of the group itself. A
/// group is not `Send`: it stays on its thread.
pub struct TaskGroup<'s, 'env: 's, E = Error> {
    pub(super) set: TaskSet,
    pub(super) ending: Ending,
    pub(super) errors: Errors<'env, E>,
    scope: PhantomData<Cell<&'s ()>>,
    env: PhantomData<Cell<&'env ()>>,
}

impl<'s, 'env, E> TaskGroup<'s, 'env, E> {
    fn new() -> Self {
        Self {
            set: TaskSet::default(),
            ending: Ending::default(),
            errors: Errors::new(),
            scope: PhantomData,
            env: PhantomData,
        }
    }

    /// Starts a child; it runs when the group is polled next, and may spawn further ones.
    ///
    /// If the child ends with an error, the group is cancelled. In a group that is already
    /// cancelled the child runs, but each of its operations ends at once with [`Error::Cancelled`].
    /// If the group is being dropped, the future is dropped too, and its handle ends with
    /// `Cancelled`.
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::task_group;
    ///
    /// soloio::block_on(async {
    ///     let words = ["tasks", "may", "borrow"];
    ///     let count = task_group(async |group| {
    ///         let lengths = words.each_ref().map(|word| group.spawn(async { Ok(word.len()) }));
    ///         let mut sum = 0;
    ///         for length in lengths {
    ///             sum += length.await?;
    ///         }
    ///         Ok(sum)
    ///     });
    ///     assert_eq!(count.await?, 14);
    ///     Ok::<_, soloio::Error>(())
    /// })?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    #[doc(alias = "start_soon")]
    #[doc(alias = "create_task")]
    #[track_caller]
    pub fn spawn<F>(&'s self, future: F) -> TaskHandle<'s, <F::Output as Outcome<E>>::Value>
    where
        F: IntoFuture<Output: Outcome<E>>,
        F::IntoFuture: 's,
        <F::Output as Outcome<E>>::Value: 's,
        E: Failure + 's,
    {
        self.spawn_kept(
            future.into_future(),
            &self.errors.latest,
            Location::caller(),
        )
    }
}

impl<E> fmt::Debug for TaskGroup<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskGroup({:?})", self.set)
    }
}

/// Runs `body` and the children it spawns; returns when all have ended.
///
/// Children may borrow values *outside* this call, such as locals of the async fn around it: no
/// `Arc`, no `'static`, no `Send`. They cannot borrow locals of the body. So connect, bind and
/// allocate before the group, or move values into a child with `async move`.
///
/// The first error, of the body or of a child, cancels everything else in the group, and is the
/// result. An error that is not a cancel's takes precedence over one that is (see [`Failure`]). A
/// panic of one drops all others immediately, and is resumed in the caller. Dropping the returned
/// future drops all children before the drop returns.
///
/// The children are polled inside this future, so nested groups need stack: a thousand nested
/// groups run in 2 MB (a test in `growth.rs`).
///
/// # Errors
///
/// The first error of the body or of a child. [`Error::NoRuntime`] outside a runtime.
///
/// # Panics
///
/// With the panic of the body or of a child.
///
/// # Cancel safety
///
/// Dropping the future drops the body and every child; the loss of each is its own.
///
/// # Examples
///
/// ```
/// use soloio::{sleep, task_group};
/// use std::{cell::Cell, time::Duration};
///
/// soloio::block_on(async {
///     let done = Cell::new(0); // borrowed by all children
///     task_group(async |group| {
///         for _ in 0..10 {
///             group.spawn(async {
///                 sleep(Duration::from_millis(1)).await?;
///                 done.set(done.get() + 1);
///                 Ok(())
///             });
///         }
///     })
///     .await?;
///     assert_eq!(done.get(), 10);
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "create_task_group")]
#[doc(alias = "nursery")]
#[doc(alias = "scope")]
pub fn task_group<'env, B, O>(body: B) -> impl Future<Output = Result<O::Value>>
where
    B: for<'s> AsyncFnOnce(&'s TaskGroup<'s, 'env>) -> O,
    O: Outcome<Error>,
{
    // No async fn around the other one: its frame would take stack, too, at each level.
    task_group_with::<Error, _, _>(body)
}

/// The same as [`task_group`], with an error type of your own.
///
/// # Errors
///
/// The first error of the body or of a child. [`Error::NoRuntime`] as `E` outside a runtime.
///
/// # Panics
///
/// With the panic of the body or of a child.
///
/// # Cancel safety
///
/// As [`task_group`].
///
/// # Examples
///
/// ```
/// type AnyError = Box<dyn std::error::Error + Send + Sync>;
///
/// let ended: Result<(), AnyError> = soloio::block_on(async {
///     soloio::task_group_with(async |group| -> Result<(), AnyError> {
///         group.spawn(async { Err::<(), AnyError>("no luck".into()) });
///         Ok(())
///     })
///     .await
/// });
/// assert_eq!(ended.unwrap_err().to_string(), "no luck");
/// ```
pub async fn task_group_with<'env, E, B, O>(body: B) -> Result<O::Value, E>
where
    E: Failure + 'env,
    B: for<'s> AsyncFnOnce(&'s TaskGroup<'s, 'env, E>) -> O,
    O: Outcome<E>,
{
    let group = TaskGroup::new();
    let mut body_place = pin!(Beside::new(None, Value::new(&group.errors)));
    {
        // Made before the body, which may spawn and panic before its future exists: from here on
        // `Run` tears the children down in any case.
        let mut run = Run::new(&group.set, &group.ending, &group.errors);
        start(body_place.as_mut(), || body(&group));
        run.set_body(body_place.as_mut());
        // By reference: moved into the await it would be on the stack twice.
        (&mut run).await;
    }
    let (_, value) = body_place.as_mut().parts();
    value.result()
}

/// Makes the body's future. A function of its own, because copies of the future take stack.
fn start<B, D>(place: Pin<&mut Beside<Option<B>, D>>, body: impl FnOnce() -> B) {
    place.parts().0.set(Some(body()));
}
