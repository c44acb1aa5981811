//! A bare epoll instance: the whole event loop of the load generator.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::check;

/// Level-triggered readability of any number of descriptors, each with a number that the caller
/// chose.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes an integer and touches no memory of ours.
        let raw = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: `raw` was just made, and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        Ok(Self {
            fd,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; 256],
        })
    }

    /// Reports `number` whenever `what` is readable, until `what` is closed.
    pub fn add(&self, what: &impl AsFd, number: usize) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: u64::try_from(number).map_err(io::Error::other)?,
        };
        let what = what.as_fd().as_raw_fd();
        let own = self.fd.as_raw_fd();
        // SAFETY: `event` is readable; both descriptors are open for the time of the call.
        check(unsafe { libc::epoll_ctl(own, libc::EPOLL_CTL_ADD, what, &raw mut event) })?;
        Ok(())
    }

    /// Waits for events and puts their numbers into `numbers`.
    pub fn wait(&mut self, limit: Duration, numbers: &mut Vec<usize>) -> io::Result<()> {
        numbers.clear();
        let millis = libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX);
        let room = libc::c_int::try_from(self.events.len()).unwrap_or(libc::c_int::MAX);
        let list = self.events.as_mut_ptr();
        // SAFETY: `list` has room for as many events as are asked for.
        let count = check(unsafe { libc::epoll_wait(self.fd.as_raw_fd(), list, room, millis) })?;
        let count = usize::try_from(count).map_err(io::Error::other)?;
        for event in &self.events[..count] {
            numbers.push(usize::try_from(event.u64).map_err(io::Error::other)?);
        }
        Ok(())
    }
}
