//! A minimal foreign loop: poll(2) on one descriptor.

#![allow(unsafe_code, reason = "poll(2) has no safe face in std")]

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// Waits until the descriptor is readable, at most this long (rounded up to a millisecond).
pub(crate) fn readable(fd: impl AsFd, at_most: Duration) -> bool {
    let fd = fd.as_fd().as_raw_fd();
    let mut entry = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let millis = i32::try_from(at_most.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
    // SAFETY: one valid entry.
    let found = unsafe { libc::poll(&raw mut entry, 1, millis) };
    found == 1 && entry.revents & libc::POLLIN != 0
}
