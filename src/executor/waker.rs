//! A waker is a number: runtime, generation and slot of a task, packed into one pointer-sized word.
//!
//! ```text
//!   64 bits:  | runtime 16 | generation 20 | slot 28 |
//!   32 bits:  | runtime  6 | generation  8 | slot 18 |
//! ```
//!
//! Cloning copies it, dropping does nothing; there is no count, no allocation, and no dangling
//! pointer. Waking on the runtime's own thread lists the slot. On any other thread the wake looks
//! the runtime up in a process-wide table and goes through its [`Remote`]. A number is stale if its
//! task has ended. It wakes nothing, even if its runtime is gone and the index was reused: each
//! runtime counts generations from a number of its own. Only after a million generations (256 on 32
//! bits) a stale waker may cause a spurious poll, which every future has to tolerate anyway.
//!
//! The number names the task to wake. It never names the running one.

#![allow(unsafe_code, reason = "a RawWaker is made by hand")]

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::task::{RawWaker, RawWakerVTable, Waker};

use super::Executor;
use super::remote::{self, Entries, Remote, Table};
use super::slots::Slots;
use super::sync::Mutex;
use crate::sys::current::Current;
use crate::sys::poller;

#[cfg(target_pointer_width = "64")]
const BITS: (u32, u32) = (20, 28);
#[cfg(target_pointer_width = "32")]
const BITS: (u32, u32) = (8, 18);

const GENERATION_BITS: u32 = BITS.0;
const INDEX_BITS: u32 = BITS.1;
const GENERATION_MASK: usize = (1 << GENERATION_BITS) - 1;
const INDEX_MASK: usize = (1 << INDEX_BITS) - 1;

/// The largest number of live runtimes in one process.
#[cfg(target_pointer_width = "64")]
const MAX_RUNTIMES: u16 = u16::MAX;
#[cfg(target_pointer_width = "32")]
const MAX_RUNTIMES: u16 = 64;

/// A task of some runtime, which may be gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TaskId(usize);

/// For records: the same number again means another task, after a million of them.
#[cfg(feature = "log")]
impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "task {:#x}", self.0)
    }
}

impl TaskId {
    /// The number that no task has: generations begin at 1.
    pub(crate) const NONE: Self = Self(0);

    /// The largest number of tasks of one runtime.
    pub(super) const LIMIT: usize = INDEX_MASK + 1;

    pub(crate) fn new(runtime: u16, generation: u32, index: u32) -> Self {
        let generation = generation as usize & GENERATION_MASK;
        let high = usize::from(runtime) << GENERATION_BITS | generation;
        Self(high << INDEX_BITS | index as usize)
    }

    /// Makes an id of a number from another thread.
    pub(crate) fn from_number(number: usize) -> Self {
        Self(number)
    }

    /// Returns the number for another thread's queue.
    pub(crate) fn number(self) -> usize {
        self.0
    }

    #[inline]
    pub(super) fn runtime(self) -> u16 {
        u16::try_from(self.0 >> (GENERATION_BITS + INDEX_BITS)).expect("what is left: 16 bits")
    }

    #[inline]
    pub(crate) fn index(self) -> u32 {
        u32::try_from(self.0 & INDEX_MASK).expect("28 bits")
    }

    #[inline]
    pub(super) fn has_generation(self, generation: u32) -> bool {
        (self.0 >> INDEX_BITS) & GENERATION_MASK == generation as usize & GENERATION_MASK
    }

    /// Returns the waker of this task. It owns nothing, so it need not be dropped.
    #[inline]
    pub(crate) fn waker(self) -> ManuallyDrop<Waker> {
        let data = std::ptr::without_provenance(self.0);
        // SAFETY: the functions of the table treat the data as a number and never as a pointer;
        // they touch only thread-safe state, or the thread-local of the thread they run on.
        ManuallyDrop::new(unsafe { Waker::new(data, &VTABLE) })
    }

    /// Returns the task that `waker` wakes, if it is a waker of runtime number `runtime`.
    #[inline]
    pub(super) fn of(waker: &Waker, runtime: u16) -> Option<Self> {
        if !std::ptr::eq(waker.vtable(), &raw const VTABLE) {
            return None;
        }
        Some(Self(waker.data().addr())).filter(|id| id.runtime() == runtime)
    }

    /// Wakes the task, on any thread.
    #[inline]
    pub(crate) fn wake(self) {
        let listed = Current::with(&LOCAL, |executor| {
            (executor.number() == self.runtime()).then(|| executor.list(self))
        });
        match listed.flatten() {
            Some(Some(foreign)) => foreign.wake(),
            Some(None) => {}
            None => self.wake_elsewhere(),
        }
    }

    #[cold]
    fn wake_elsewhere(self) {
        if let Some(remote) = TABLE.by_index(self.runtime()) {
            remote.wake(self.0);
        }
    }
}

impl Slots {
    /// Calls `waker`, which comes from this executor's thread; returns it if it is foreign, because
    /// it may be the user's code.
    #[inline]
    #[must_use = "the waker has to be called"]
    pub(crate) fn wake_own(&mut self, waker: Waker) -> Option<Waker> {
        let Some(id) = TaskId::of(&waker, self.runtime) else {
            return Some(waker);
        };
        discard(Some(waker));
        self.wake(id)
    }
}

/// Drops a stored waker; for one of this crate there is nothing to do.
#[inline]
pub(crate) fn discard(waker: Option<Waker>) {
    match waker {
        Some(waker) if std::ptr::eq(waker.vtable(), &raw const VTABLE) => std::mem::forget(waker),
        other => drop(other),
    }
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, forget);

fn clone(data: *const ()) -> RawWaker {
    RawWaker::new(data, &VTABLE)
}

fn wake(data: *const ()) {
    TaskId(data.addr()).wake();
}

fn forget(_data: *const ()) {}

thread_local! {
    /// The executor that runs on this thread now. It owns nothing, so that wakers work as long as
    /// their thread exists.
    static LOCAL: Current<Executor> = const { Current::new() };
}

/// Calls `f` with `executor` as the current one of this thread.
pub(crate) fn enter<R>(executor: &Executor, f: impl FnOnce() -> R) -> R {
    Current::set(&LOCAL, executor, f)
}

/// Returns true if `executor` is the current one of this thread.
pub(super) fn is_entered(executor: &Executor) -> bool {
    Current::with(&LOCAL, |here| std::ptr::eq(here, executor)).unwrap_or(false)
}

/// Every live runtime of the process.
static TABLE: Table<poller::Bell> = Table::over(Mutex::new(Entries::new(MAX_RUNTIMES)));

impl remote::Bell for poller::Bell {
    fn ring(&self) {
        Self::ring(self);
    }
}

/// Returns the generation from which a runtime counts. The step is odd, so that none comes again
/// before all others, and 2^20 divided by the golden ratio, so that those of runtimes that follow
/// each other are far apart.
pub(super) fn first_generation(serial: u64) -> u32 {
    const STEP: u64 = 648_055;
    ((serial >> remote::INDEX_BITS).wrapping_mul(STEP) & GENERATION_MASK as u64) as u32
}

/// Opens a runtime: assigns its number and its shared part.
pub(crate) fn open() -> std::io::Result<(u16, Arc<Remote<poller::Bell>>)> {
    TABLE.open(|_serial| poller::Bell::new())
}

/// Closes a runtime for all other threads.
pub(crate) fn close(number: u16) {
    TABLE.close(number);
}

/// Returns the shared part of the runtime with this serial, while it lives. In a forked process the
/// parent's runtimes count as dead.
pub(crate) fn by_serial(serial: u64) -> Option<Arc<Remote<poller::Bell>>> {
    TABLE
        .by_serial(serial)
        .filter(|remote| remote.bell().is_at_home())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_id_holds_its_three_numbers() {
        let id = TaskId::new(9, 0xABCDE, 12345);
        assert_eq!((id.runtime(), id.index()), (9, 12345));
        assert!(id.has_generation(0xABCDE) && !id.has_generation(0xABCDF));
        let waker = id.waker();
        assert_eq!(TaskId::of(&waker, 9), Some(id));
        assert_eq!(TaskId::of(&waker, 8), None);
        assert_eq!(TaskId::of(Waker::noop(), 9), None);
    }

    #[test]
    fn runtimes_in_the_same_place_count_from_generations_of_their_own() {
        let mut seen = vec![false; GENERATION_MASK + 1];
        for opened in 0..=GENERATION_MASK as u64 {
            let first = first_generation(opened << remote::INDEX_BITS | 7) as usize;
            assert!(!std::mem::replace(&mut seen[first], true), "{first} twice");
        }
    }

    #[test]
    fn clones_wake_the_same_and_cost_nothing() {
        let waker = TaskId::new(60_000, 1, 1).waker();
        let clone = Waker::clone(&waker);
        assert!(clone.will_wake(&waker));
        clone.wake(); // There is no such runtime: no effect.
    }
}
