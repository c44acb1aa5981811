//! eventfd and timerfd: objects that count.

use super::descriptors::{Fd, Id, Object};
use super::network::Due;
use super::readiness::bits::{IN, OUT, when};
use super::{Nanos, Result, World};

/// eventfd(2).
#[derive(Debug)]
pub(crate) struct EventFd {
    pub(crate) count: u64,
    pub(crate) semaphore: bool,
}

impl EventFd {
    pub(super) fn ready(&self) -> u32 {
        let readable = when(self.count > 0, IN);
        readable | when(self.count < u64::MAX - 1, OUT)
    }
}

/// timerfd_create(2).
#[derive(Debug, Default)]
pub(crate) struct TimerFd {
    /// Its next expiry, in true time.
    at: Option<Nanos>,
    interval: Nanos,
    expired: u64,
}

impl TimerFd {
    pub(super) fn ready(&self) -> u32 {
        when(self.expired > 0, IN)
    }
}

impl World {
    /// Reads a counter: eight bytes.
    pub(crate) fn read_counter(&mut self, id: Id) -> Result<u64> {
        let count = match self.descriptors.get_mut(id) {
            Some(Object::Event(event)) if event.count == 0 => return Err(libc::EAGAIN),
            Some(Object::Event(event)) if event.semaphore => {
                event.count -= 1;
                1
            }
            Some(Object::Event(event)) => std::mem::take(&mut event.count),
            Some(Object::Timer(timer)) => match std::mem::take(&mut timer.expired) {
                0 => return Err(libc::EAGAIN),
                count => count,
            },
            _ => return Err(libc::EINVAL),
        };
        self.wake(id, OUT);
        Ok(count)
    }

    /// Adds to an eventfd.
    pub(crate) fn write_counter(&mut self, id: Id, number: u64) -> Result<()> {
        let Some(Object::Event(event)) = self.descriptors.get_mut(id) else {
            return Err(libc::EINVAL);
        };
        if number == u64::MAX {
            return Err(libc::EINVAL);
        }
        if number > u64::MAX - 1 - event.count {
            return Err(libc::EAGAIN);
        }
        event.count += number;
        self.wake(id, IN);
        Ok(())
    }

    /// timerfd_settime(2): times of the machine's own clock; `value` 0 disarms.
    pub(crate) fn set_timer(
        &mut self,
        fd: Fd,
        absolute: bool,
        value: Nanos,
        interval: Nanos,
    ) -> Result<()> {
        let id = self.descriptors.id(fd)?;
        let at = match (value, absolute) {
            (0, _) => None,
            (value, true) => Some(self.true_time(value).max(self.now)),
            (value, false) => Some(self.now.saturating_add(value)),
        };
        let Some(Object::Timer(timer)) = self.descriptors.get_mut(id) else {
            return Err(libc::EINVAL);
        };
        (timer.at, timer.interval, timer.expired) = (at, interval, 0);
        if let Some(at) = at {
            self.network.post(at, Due::Expire(id, at));
        }
        self.advance();
        Ok(())
    }

    /// Handles the time of a timer, unless it was set anew since.
    pub(super) fn expire(&mut self, id: Id, at: Nanos) {
        let Some(Object::Timer(timer)) = self.descriptors.get_mut(id) else {
            return;
        };
        if timer.at != Some(at) {
            return;
        }
        timer.expired += 1;
        timer.at = match timer.interval {
            0 => None,
            interval => Some(at + interval),
        };
        if let Some(next) = timer.at {
            self.network.post(next, Due::Expire(id, next));
        }
        self.wake(id, IN);
    }
}
