//! Tasks that borrow: groups that own their children, time limits, and yielding.
//!
//! | file | content |
//! |---|---|
//! | `children.rs` | a child's future in its cell; the one lifetime erasure |
//! | `cores.rs` | `per_core`: one loop on each of several threads |
//! | `group.rs` | `task_group`: children that borrow values outside the call |
//! | `ending.rs` | the cancel of a group, and the places of its errors |
//! | `handle.rs` | `TaskHandle`: a child's result |
//! | `join.rs` | `join`, `try_join`: several futures in one task, until all are done |
//! | `keeper.rs` | decides where a task's error goes, and whether its panic is resumed |
//! | `race.rs` | `race`: several futures in one task, until the first is done |
//! | `outcome.rs` | the types that a task may end with |
//! | `rejected.rs` | programs that must not compile (documentation tests) |
//! | `root.rs` | `Runtime::spawn` |
//! | `run.rs` | polls a group until all have ended, and drops the rest |
//! | `scope.rs` | `CancelScope`, `shield` |
//! | `start.rs` | `TaskGroup::start`: waits until a child is ready |
//! | `timeout.rs` | `fail_after`, `move_on_after`, and the same with a point in time |

mod children;
#[cfg(feature = "cores")]
mod cores;
mod ending;
mod group;
mod handle;
#[cfg(feature = "extras")]
mod join;
mod keeper;
mod outcome;
#[cfg(feature = "extras")]
mod race;
#[cfg(doctest)]
mod rejected;
mod root;
mod run;
mod scope;
mod start;
mod timeout;

use std::task::{Poll, ready};

#[cfg(feature = "cores")]
pub use cores::{Core, StopHandle, per_core, per_core_with};
pub use group::{TaskGroup, task_group, task_group_with};
pub use handle::TaskHandle;
#[cfg(feature = "extras")]
pub use join::{Join, TryJoin, join, try_join};
pub(crate) use keeper::Keeper;
pub use outcome::Outcome;
#[cfg(feature = "extras")]
pub use race::{Race, Winner, race};
pub use scope::{CancelScope, current_effective_deadline, shield};
pub use start::Ready;
pub use timeout::{fail_after, fail_at, move_on_after, move_on_at};

use crate::error::Result;
use crate::runtime::context;
use crate::runtime::wait::Wait;

/// Lets every other task that is ready run first.
///
/// # Errors
///
/// [`Error::NoRuntime`](crate::Error::NoRuntime) outside a runtime.
///
/// # Cancel safety
///
/// Dropping the future has no other effect than to end the wait.
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
    let mut wait = Wait::unnamed();
    context::in_runtime(|core, cx| {
        ready!(wait.admit_wait(core, cx))?;
        if !std::mem::replace(&mut yielded, true) {
            cx.waker().wake_by_ref();
            return wait.pend(core, cx);
        }
        core.finished();
        Poll::Ready(Ok(()))
    })
    .await
}
