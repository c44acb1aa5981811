//! What tasks of one thread need to talk and to take turns; object streams are in `stream`.
//!
//! Everything here but [`ThreadEvent`] is borrowed: tasks of a group use it through `&`, without
//! `Rc` or `Arc`. Nothing is atomic, and a wait allocates nothing once the line has been as long
//! before.
//!
//! | type | what it is for |
//! |---|---|
//! | [`Event`] | something has happened, once and for all |
//! | [`Lock`] | a value that one task at a time uses, also across its waits |
//! | [`Condition`] | waiting until a locked value has changed |
//! | [`Semaphore`] | at most so many at a time |
//! | [`CapacityLimiter`] | the same with a size that may change, and knows who borrows |
//! | [`RateLimiter`] | at most so many per time |
//! | [`ThreadEvent`] | something has happened, on any thread |
//!
//! # What always holds
//!
//! * First come, first served: nobody overtakes who waits.
//! * A turn is handed over. If it reaches somebody who no longer wants it (the future was dropped,
//!   or its scope cancelled), it goes to the next; it is never lost.
//! * Whoever is cancelled while waiting has taken nothing, and has lost the place in the line.
//! * What is ready wins: a turn that has come is taken also if a cancel came with it.
//!
//! # The trap: a future that is not polled keeps its turn
//!
//! A turn that was handed over belongs to a future. If that future is kept but not polled any more,
//! everybody behind it waits for ever, although no task holds the lock. It is known as *futurelock*
//! (Oxide's RFD 609). It takes a future that outlives the wait for it, such as a `select!` on
//! `&mut future`, or one that lies in a `FuturesUnordered` that nobody looks at:
//!
//! ```text
//!   let mut write = pin!(lock.acquire());
//!   select! { guard = &mut write => .., _ = tick() => lock.acquire().await }   // never
//! ```
//!
//! [`race`](crate::race) takes its futures by value and drops the losers before it returns, so the
//! turn goes to the next. Use that, or a task of a group, which is always polled. The same holds
//! for a future that is forgotten with [`std::mem::forget`].

mod condition;
mod event;
mod limiter;
pub(crate) mod line;
mod lock;
mod permits;
#[cfg(feature = "extras")]
mod rate;
#[cfg(debug_assertions)]
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
