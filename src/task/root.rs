//! The tasks of the runtime itself, which are in no group.

use std::convert::Infallible;
use std::future::{Future, IntoFuture};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;

use super::children::TaskCell;
use super::handle::TaskHandle;
use crate::runtime::Runtime;
use crate::sys::beside::together;

impl Runtime {
    /// Starts a task that lives as long as the runtime; it runs in [`turn`](Runtime::turn) and
    /// [`block_on`](Runtime::block_on).
    ///
    /// It may end with any value. Its panic is resumed in the call that polled it; dropping the
    /// runtime drops it.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut runtime = soloio::Runtime::new()?;
    /// let task = runtime.spawn(async { 6 * 7 });
    /// assert_eq!(runtime.block_on(task)?, 42);
    /// # Ok::<_, soloio::Error>(())
    /// ```
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> TaskHandle<'static, F::Output>
    where
        F: IntoFuture,
        F::IntoFuture: 'static,
        F::Output: 'static,
    {
        let ended = |future: Pin<&mut F::IntoFuture>, cx: &mut Context<'_>| {
            future.poll(cx).map(Ok::<_, Infallible>)
        };
        let cell = TaskCell::new(together(future.into_future(), ended), ());
        let child = Rc::<TaskCell<_, _, _>>::clone(&cell);
        let site = Location::caller();
        self.root().insert(child, site);
        TaskHandle::new(cell, site)
    }
}
