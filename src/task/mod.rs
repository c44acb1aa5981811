//! Tasks that borrow: groups that own their children, time limits, and giving way.
//!
//! | file | what it holds |
//! |---|---|
//! | `group.rs` | `task_group`: owns and polls the children; the one lifetime erasure |
//! | `handle.rs` | `TaskHandle`: a child's result |
//! | `outcome.rs` | what a child may end with |
//! | `rejected.rs` | programs that must not compile (documentation tests) |
//! | `timeout.rs` | `fail_after`, `move_on_after` |

mod group;
mod handle;
mod outcome;
#[cfg(doctest)]
mod rejected;
mod timeout;

use std::future::poll_fn;
use std::task::Poll;

pub use group::{TaskGroup, task_group, task_group_with};
pub use handle::TaskHandle;
pub use outcome::Outcome;
pub use timeout::{fail_after, move_on_after};

use crate::error::Result;
use crate::runtime::context;

/// Lets every other task that is ready run first.
///
/// # Errors
///
/// [`Error::NoRuntime`](crate::Error::NoRuntime) outside a runtime.
///
/// # Cancel safety
///
/// Nothing happens but the giving way.
///
/// # Examples
///
/// ```
/// soloio::block_on(async {
///     for _ in 0..3 {
///         soloio::yield_now().await?;
///     }
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "checkpoint")]
pub async fn yield_now() -> Result<()> {
    let mut yielded = false;
    poll_fn(|cx| {
        context::poll_with(|core| {
            core.admit_wait()?;
            if !std::mem::replace(&mut yielded, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            core.finished();
            Poll::Ready(Ok(()))
        })
    })
    .await
}
