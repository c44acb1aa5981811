//! Synchronization between tasks of one thread; memory object streams are in `stream`.
//!
//! All types here except [`ThreadEvent`] are borrowed: tasks of a group use them through `&`,
//! without `Rc` or `Arc`. Nothing is atomic. A wait allocates only if the line of waiters is longer
//! than before.
//!
//! | type | purpose |
//! |---|---|
//! | [`Event`] | something has happened, once |
//! | [`Lock`] | a value that one task at a time uses, also across its waits |
//! | [`Condition`] | waiting until a locked value has changed |
//! | [`Semaphore`] | a limited number at a time |
//! | [`CapacityLimiter`] | the same with a variable size, and a record of the borrowers |
//! | [`RateLimiter`] | a limited number per time |
//! | [`ThreadEvent`] | something has happened, on any thread |
//!
//! # Guarantees
//!
//! * First come, first served: no waiter is overtaken.
//! * A turn (a lock, a permit, a token) is handed over. If the waiter has left by then, because its
//!   future was dropped or its scope cancelled, the turn goes to the next one. It is never lost.
//! * An operation that is cancelled during its wait has taken nothing, and has lost its place in
//!   the line.
//! * A ready operation wins: a turn that comes together with a cancel is taken.
//!
//! # Futurelock: a future that is not polled keeps its turn
//!
//! A turn that was handed over belongs to a future. If that future still exists but is not polled
//! any more, all waiters behind it wait forever, although no task holds the lock. This is known as
//! *futurelock* (Oxide's RFD 609). It can happen when the future may outlive the wait for it, as in
//! a `select!` on `&mut future`, or in a `FuturesUnordered` that is not polled:
//!
//! ```text
//!   let mut write = pin!(lock.acquire());
//!   select! { guard = &mut write => .., _ = tick() => lock.acquire().await }   // never
//! ```
//!
//! [`race`](crate::race) takes its futures by value and drops the losers before it returns, so the
//! turn goes to the next waiter. Use that, or a task of a group, which is always polled. A future
//! that is forgotten with [`std::mem::forget`] keeps its turn, too.

mod condition;
mod event;
mod limiter;
pub(crate) mod line;
mod lock;
mod permits;
#[cfg(feature = "extras")]
mod rate;
#[cfg(all(feature = "dump", debug_assertions))]
mod self_wait;
mod semaphore;
mod thread_event;
pub(crate) mod wait_queue;

pub use condition::{Condition, ConditionStatistics};
pub use event::{Event, EventStatistics};
pub use limiter::{CapacityLimiter, CapacityLimiterStatistics, LimiterToken};
pub use lock::{Lock, LockGuard, LockStatistics};
#[cfg(feature = "extras")]
pub use rate::{RateLimiter, RateLimiterStatistics};
pub use semaphore::{Semaphore, SemaphorePermit, SemaphoreStatistics};
pub use thread_event::ThreadEvent;
