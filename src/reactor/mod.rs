//! Waits for the kernel and for deadlines: who waits for what, and who is to be woken.
//!
//! | file | what it holds |
//! |---|---|
//! | `readiness.rs` | one source: what is known, who waits (a pure machine) |
//! | `sources.rs` | the sources' numbers |
//! | `timers.rs` | deadlines in order (a pure machine) |
//! | `lanes.rs` | those that came in order (a pure machine) |
//!
//! The reactor calls no waker: it hands them to the loop, which wakes those that may be somebody
//! else's code when no cell is borrowed.
//! The poller is made at the first need, so a runtime that never waits makes no system call.

mod lanes;
mod readiness;
mod sources;
mod timers;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::task::Waker;

pub(crate) use readiness::{After, Direction};
pub(crate) use sources::SourceKey;
pub(crate) use timers::{TimerKey, Timers};

use crate::sys::clock::{self, Nanos};
use crate::sys::poller::{Bell, Poller};
pub(crate) use sources::Source;
use sources::{Listening, Sources, token};

/// How late a timer may be met for the sake of others that are due so soon after it.
const SLACK: Nanos = 400_000;

/// What is to be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// Streams and datagrams: an event each time it becomes ready.
    Edge,
    /// Listeners: events as long as it is ready and somebody waits.
    Level,
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Awaited {
    /// A descriptor, in one direction; true for a listener.
    Socket(RawFd, Direction, bool),
    /// A deadline.
    Moment(Nanos),
}

/// What a look at a source has shown.
#[derive(Debug)]
#[must_use = "a foreign waker is dropped outside the borrow"]
pub(crate) enum Look {
    /// A call may succeed. A source that is gone says so too: the call will tell.
    Ready,
    /// It would have to wait, and nobody was stored.
    NotReady,
    /// It has to wait; who waited before.
    Parked(Option<Waker>),
}

/// The waiting half of a runtime.
#[derive(Debug, Default)]
pub(crate) struct Reactor {
    poller: Option<Rc<Poller>>,
    sources: Sources,
    pub(crate) timers: Timers,
}

impl Reactor {
    /// The poller, made now if there was none.
    #[inline]
    pub(crate) fn poller(&mut self, bell: &Bell) -> io::Result<&Rc<Poller>> {
        if self.poller.is_none() {
            self.poller = Some(Rc::new(Poller::new(bell)?));
        }
        Ok(self.poller.as_ref().expect("made above"))
    }

    /// Starts to watch `fd`. What it is ready for already is reported by the next wait.
    pub(crate) fn register(
        &mut self,
        fd: BorrowedFd<'_>,
        trigger: Trigger,
        bell: &Bell,
    ) -> io::Result<SourceKey> {
        self.poller(bell)?;
        let listener = (trigger == Trigger::Level).then_some(Listening { armed: true });
        let key = self.sources.insert(fd.as_raw_fd(), listener);
        let poller = self.poller(bell)?;
        let added = match trigger {
            Trigger::Edge => poller.add(fd, token(key)),
            Trigger::Level => poller.add_listener(fd, token(key)),
        };
        if let Err(error) = added {
            // Nobody waits there yet, so there is no waker to drop.
            self.sources.remove(key);
            return Err(error);
        }
        Ok(key)
    }

    /// Forgets a source; `fd` is taken out of the poller where closing it would not be enough.
    #[must_use = "its waiters are woken or dropped outside the borrow"]
    pub(crate) fn deregister(
        &mut self,
        key: SourceKey,
        fd: Option<BorrowedFd<'_>>,
    ) -> Option<Source> {
        if let (Some(fd), Some(poller)) = (fd, &self.poller) {
            poller.remove(fd);
        }
        self.sources.remove(key)
    }

    /// The call said `WouldBlock`.
    pub(crate) fn clear(&mut self, key: SourceKey, direction: Direction) {
        if let Some(source) = self.sources.get(key) {
            source.readiness.clear(direction);
        }
    }

    /// A call succeeded; gives back who was stored as waiting for it.
    #[inline]
    #[must_use = "a foreign waker is dropped outside the borrow"]
    pub(crate) fn done(
        &mut self,
        key: SourceKey,
        direction: Direction,
        after: After,
    ) -> Option<Waker> {
        self.sources.get(key)?.readiness.done(direction, after)
    }

    /// Lets a listener report, which stays quiet while nobody waits for it.
    pub(crate) fn arm(&mut self, key: SourceKey) -> io::Result<()> {
        let Some(source) = self.sources.get(key) else {
            return Ok(());
        };
        if let (Some(listener), Some(poller)) = (&mut source.listener, &self.poller) {
            if !listener.armed || !cfg!(any(target_os = "linux", target_os = "android")) {
                poller.arm(source.fd, token(key))?;
                listener.armed = true;
            }
        }
        Ok(())
    }

    /// Tells whether a call may succeed. If not, and there is an `own` waker, that is stored at
    /// once.
    #[inline]
    pub(crate) fn try_or_park(
        &mut self,
        key: SourceKey,
        direction: Direction,
        own: impl FnOnce() -> Option<Waker>,
    ) -> Look {
        let Some(source) = self.sources.get(key) else {
            return Look::Ready;
        };
        if source.readiness.is_ready(direction) {
            return Look::Ready;
        }
        match own() {
            Some(own) => Look::Parked(source.readiness.park(direction, own)),
            None => Look::NotReady,
        }
    }

    /// Stores who waits; gives back who waited before.
    #[must_use = "a foreign waker is dropped outside the borrow"]
    pub(crate) fn park(
        &mut self,
        key: SourceKey,
        direction: Direction,
        waker: Waker,
    ) -> Option<Waker> {
        match self.sources.get(key) {
            Some(source) => source.readiness.park(direction, waker),
            None => Some(waker),
        }
    }

    /// Nobody waits there any more.
    #[must_use = "a foreign waker is dropped outside the borrow"]
    #[inline]
    pub(crate) fn unpark(&mut self, key: SourceKey, direction: Direction) -> Option<Waker> {
        self.sources.get(key)?.readiness.unpark(direction)
    }

    /// Waits for events until `deadline`; 0 is not at all, `None` for ever. May be early.
    pub(crate) fn wait(&mut self, deadline: Option<Nanos>, bell: &Bell) -> io::Result<()> {
        if self.poller.is_none() && deadline == Some(0) {
            return Ok(());
        }
        let waited = self.poller(bell)?.wait(deadline);
        match waited {
            // A signal: the loop comes round and waits for what is left.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other,
        }
    }

    /// Marks what the last wait brought, and hands over who waited for it.
    #[inline]
    pub(crate) fn collect(&mut self, mut woken: impl FnMut(Waker)) {
        let Some(poller) = &self.poller else { return };
        let sources = &mut self.sources;
        poller.each_event(|token, bits| {
            let Some(source) = sources.by_token(token) else {
                return;
            };
            if let Some(listener) = &mut source.listener {
                if listener.armed && !source.readiness.is_waited_for(Direction::Read) {
                    // It would report for ever. If it cannot be silenced it is gone already.
                    listener.armed = poller.disarm(source.fd, token).is_err();
                }
            }
            source.readiness.event(bits, &mut woken);
        });
    }

    /// When the next wait has to end for the timers. A timer that has others near it is met
    /// together with them, up to [`SLACK`] late: a busy server would else wake for each of
    /// thousands; a lone one is met as exactly as the system can, and one that is due already,
    /// say of a sleep that only comes round the loop, waits for no other.
    pub(crate) fn wake_at(&self) -> Option<Nanos> {
        let (first, together) = (self.timers.earliest()?, self.timers.wake_at(SLACK)?);
        // The clock is read only where it matters.
        let due = together > first && first <= clock::now();
        Some(if due { first } else { together })
    }

    /// Hands over who waited for a deadline that has come, at most `limit` of them.
    #[inline]
    pub(crate) fn expire(&mut self, limit: usize, mut woken: impl FnMut(Waker)) {
        if self.timers.earliest().is_none() {
            return;
        }
        let now = clock::now();
        for _ in 0..limit {
            let Some(waker) = self.timers.pop_due(now) else {
                return;
            };
            woken(waker);
        }
    }

    /// Takes everybody who waits for anything.
    pub(crate) fn take_waiters(&mut self, waiters: &mut Vec<Waker>) {
        for source in self.sources.iter_mut() {
            for direction in [Direction::Read, Direction::Write] {
                waiters.extend(source.readiness.unpark(direction));
            }
        }
        self.timers.take_wakers(waiters);
    }

    /// Calls `visit` with everybody who waits for something.
    pub(crate) fn each_waiter<'a>(&'a self, mut visit: impl FnMut(&'a Waker, Awaited)) {
        for source in self.sources.iter() {
            for direction in [Direction::Read, Direction::Write] {
                if let Some(waker) = source.readiness.waiter(direction) {
                    let is_listener = source.listener.is_some();
                    visit(waker, Awaited::Socket(source.fd, direction, is_listener));
                }
            }
        }
        for (waker, deadline) in self.timers.iter() {
            visit(waker, Awaited::Moment(deadline));
        }
    }

    /// How many descriptors are registered.
    pub(crate) fn source_count(&self) -> usize {
        self.sources.len()
    }
}

impl Source {
    /// Who waited when the source was taken away.
    pub(crate) fn into_waiters(mut self) -> [Option<Waker>; 2] {
        [Direction::Read, Direction::Write].map(|direction| self.readiness.unpark(direction))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_waits_for_no_other() {
        let mut reactor = Reactor::default();
        let now = clock::now();
        for late in [10, 20] {
            let deadline = now + late * 1_000_000_000;
            for deadline in [deadline, deadline + SLACK] {
                reactor.timers.insert(deadline, Waker::noop().clone());
            }
        }
        let soon = now + 10_000_000_000;
        assert_eq!(reactor.wake_at(), Some(soon + SLACK), "both at once");
        for deadline in [now, now + 1] {
            reactor.timers.insert(deadline, Waker::noop().clone());
        }
        assert_eq!(reactor.wake_at(), Some(now), "it is due");
    }
}
