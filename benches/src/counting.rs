//! Counting allocator: the system's, and the number of calls that took memory from it.
#![allow(unsafe_code, reason = "the trait of global allocators is unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

/// Wraps the system's allocator.
pub struct Counting;

/// Returns how often memory was requested so far: allocations and reallocations.
pub fn allocations() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

static COUNT: AtomicU64 = AtomicU64::new(0);

/// A load and a store, not a locked addition: exact in the servers, which have one thread, and
/// almost free for the rows that do not need the count.
fn count() {
    COUNT.store(
        COUNT.load(Ordering::Relaxed).wrapping_add(1),
        Ordering::Relaxed,
    );
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(old, layout) }
    }
}
