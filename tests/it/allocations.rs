//! Counts each thread's allocations and the bytes it holds, for tests with bounds on them.

#![allow(unsafe_code, reason = "an allocator that counts is one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;

/// The bytes that all threads hold.
static ALL: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MADE: Cell<usize> = const { Cell::new(0) };
    static HELD: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts one more allocation, of `bytes` bytes.
fn count(bytes: usize) {
    // Fails only at the end of the thread, when no test reads the count any more.
    MADE.try_with(|made| made.set(made.get() + 1)).unwrap_or(());
    hold(bytes);
}

/// The sum is modulo 2^64: a thread may free what another one has allocated.
fn hold(bytes: usize) {
    let add = |held: &Cell<usize>| held.set(held.get().wrapping_add(bytes));
    HELD.try_with(add).unwrap_or(());
    ALL.fetch_add(bytes, Relaxed);
}

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the arguments are passed on unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        hold(layout.size().wrapping_neg());
        // SAFETY: the arguments are passed on unchanged.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.wrapping_sub(layout.size()));
        // SAFETY: the arguments are passed on unchanged.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Returns the number of allocations this thread has made so far.
pub(crate) fn made() -> usize {
    MADE.with(Cell::get)
}

/// Returns the number of bytes this thread has allocated and not freed.
pub(crate) fn held() -> usize {
    HELD.with(Cell::get)
}

/// Returns the number of bytes that all threads of the process have allocated and not freed.
#[cfg(feature = "threads")]
pub(crate) fn held_by_all() -> usize {
    ALL.load(Relaxed)
}
