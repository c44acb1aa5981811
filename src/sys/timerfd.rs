//! A timerfd: lets an epoll wait end with nanosecond precision (Linux).
//!
//! It is registered edge-triggered and never read: each expiry is a new edge, and setting it again
//! clears an old expiry.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::check;
use super::clock::{NO_TIME, Nanos};

/// The descriptor and the deadline that it was last set to.
#[derive(Debug)]
pub(super) struct TimerFd {
    fd: OwnedFd,
    set_to: Nanos,
}

impl TimerFd {
    pub(super) fn new() -> io::Result<Self> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: no memory is passed.
        let fd = check(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) })?;
        let fd = RawFd::try_from(fd).expect("a descriptor is a small number");
        // SAFETY: the call above just made this descriptor, and no other code has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, set_to: 0 })
    }

    /// Sets it to expire at `deadline`; no system call if it is already set to that.
    pub(super) fn set(&mut self, deadline: Nanos) -> io::Result<()> {
        if self.set_to == deadline {
            return Ok(());
        }
        // An all-zero value would disarm it, hence at least 1 ns; seconds are split off because
        // a tv_nsec of 10^9 or more is EINVAL.
        let at = deadline.max(1);
        let (seconds, nanos) = (at / 1_000_000_000, at % 1_000_000_000);
        let value = libc::itimerspec {
            it_interval: NO_TIME,
            it_value: libc::timespec {
                tv_sec: seconds.try_into().unwrap_or(libc::time_t::MAX),
                tv_nsec: nanos.try_into().expect("less than 10^9 fits"),
            },
        };
        let (fd, absolute) = (self.fd.as_raw_fd(), libc::TFD_TIMER_ABSTIME);
        // SAFETY: `value` is a valid itimerspec; the old value is not requested.
        check(unsafe {
            libc::timerfd_settime(fd, absolute, &raw const value, std::ptr::null_mut())
        })?;
        self.set_to = deadline;
        Ok(())
    }

    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
