//! Waits for the kernel and for deadlines: sources, timers, and the operations that wait for them.
//!
//! | file | content |
//! |---|---|
//! | `readiness.rs` | one source: its known readiness and its waiters (a pure machine) |
//! | `sources.rs` | the sources' numbers |
//! | `timers.rs` | deadlines in order (a pure machine) |
//! | `timers/` | the line of those that come in order |
//! | `waiters.rs` | what waits for a source; its wake |
//! | `awaited.rs` | the waits of tasks, for a dump |
//!
//! The reactor calls no waker: it passes them to the loop, which calls foreign wakers when no cell
//! is borrowed. The poller is made when it is first needed, so a runtime that never waits makes no
//! system call.

#[cfg(feature = "dump")]
mod awaited;
mod readiness;
mod sources;
mod timers;
mod waiters;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::task::Waker;

#[cfg(feature = "dump")]
pub(crate) use awaited::Awaited;
pub(crate) use readiness::{After, Direction};
pub(crate) use sources::SourceKey;
pub(crate) use timers::{Seen, TimerKey, Timers};
pub(crate) use waiters::{Tasks, Waiter};

use crate::sys::clock::{self, Nanos};
use crate::sys::poller::{Bell, Poller};
use readiness::Readiness;
use sources::{Source, Sources, token};
use waiters::{Foreign, waiters, wake, wake_rarely};

/// The largest delay of a timer for being met together with others that are due soon after it.
const SLACK: Nanos = 400_000;

/// An armed listener need not be armed again. On kqueue arming adds it again, at the end of the
/// queue of those that share it.
const STAYS_ARMED: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The kind of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// Streams and datagrams: one event each time it becomes ready.
    Edge,
    /// Listeners: events as long as it is ready and an accept waits.
    Level,
}

/// The result of checking a source.
#[derive(Debug)]
pub(crate) enum Check {
    /// A call may succeed. Also returned for a source that is gone: the call will fail.
    Ready,
    /// It would have to wait, and no waiter was stored.
    NotReady,
    /// It has to wait.
    Parked,
}

/// The part of a runtime that waits.
#[derive(Debug, Default)]
pub(crate) struct Reactor {
    poller: Option<Rc<Poller>>,
    sources: Sources,
    foreign: Foreign,
    pub(crate) timers: Timers,
}

impl Reactor {
    /// Returns the poller, which is made now if there was none.
    #[inline]
    pub(crate) fn poller(&mut self, bell: &Bell) -> io::Result<&Rc<Poller>> {
        if self.poller.is_none() {
            self.poller = Some(Rc::new(Poller::new(bell)?));
        }
        Ok(self.poller.as_ref().expect("made above"))
    }

    /// Starts to watch `fd`. If it is already ready, the next wait reports it. A listener is
    /// watched when it is armed.
    pub(crate) fn register(
        &mut self,
        fd: BorrowedFd<'_>,
        trigger: Trigger,
        bell: &Bell,
    ) -> io::Result<SourceKey> {
        let poller = Rc::clone(self.poller(bell)?);
        let (edge, raw) = (trigger == Trigger::Edge, fd.as_raw_fd());
        let readiness = match edge {
            true => Readiness::default(),
            false => Readiness::of_listener(),
        };
        let key = self.sources.insert(raw, readiness);
        if edge {
            if let Err(error) = poller.add(fd, token(key)) {
                // It has no waiter yet: there is no waker to drop.
                self.sources.remove(key);
                return Err(error);
            }
        }
        Ok(key)
    }

    /// Removes a source; `fd` is removed from the poller if closing it would not be enough. Returns
    /// the waiters.
    #[must_use = "they are woken or dropped outside the borrow"]
    pub(crate) fn deregister(
        &mut self,
        key: SourceKey,
        fd: Option<BorrowedFd<'_>>,
    ) -> [Option<Waiter>; 2] {
        if let (Some(fd), Some(poller)) = (fd, &self.poller) {
            poller.remove(fd);
        }
        match self.sources.remove(key) {
            Some(mut source) => waiters(&mut source, &mut self.foreign),
            None => [None, None],
        }
    }

    /// Records a `WouldBlock`.
    pub(crate) fn clear(&mut self, key: SourceKey, direction: Direction) {
        if let Some(source) = self.sources.get(key) {
            source.readiness.clear(direction);
        }
    }

    /// Returns true if an event has reported urgent data (or another priority event), which then
    /// counts as reported, or an end or an error, which is permanent.
    #[cfg(feature = "adopt")]
    pub(crate) fn take_prior(&mut self, key: SourceKey) -> bool {
        let source = self.sources.get(key);
        source.is_none_or(|source| source.readiness.take_prior())
    }

    /// Returns true if a call may succeed. Also true for a source that is gone: the call will fail.
    pub(crate) fn is_ready(&mut self, key: SourceKey, direction: Direction) -> bool {
        let source = self.sources.get(key);
        source.is_none_or(|source| source.readiness.is_ready(direction))
    }

    /// Records a successful call on a source that was ready and has no waiter.
    #[inline]
    pub(crate) fn drained(&mut self, key: SourceKey, direction: Direction, after: After) {
        if let Some(source) = self.sources.get(key) {
            debug_assert!(!source.readiness.is_waited_for(direction));
            source.readiness.settle(direction, after);
        }
    }

    /// Lets a listener report, until it is disarmed. `shared`: other loops may wait for it too.
    pub(crate) fn arm(&mut self, key: SourceKey, shared: bool) -> io::Result<()> {
        let Some(source) = self.sources.get(key) else {
            return Ok(());
        };
        if let (Some(listener), Some(poller)) = (&mut source.readiness.listener, &self.poller) {
            if !(listener.armed && STAYS_ARMED) {
                poller.arm(source.fd, token(key), shared)?;
                listener.armed = true;
            }
        }
        Ok(())
    }

    /// Disarms a listener without a waiting accept. Returns true if it has reported a connection
    /// that was not accepted.
    pub(crate) fn disarm(&mut self, key: SourceKey) -> bool {
        let Some(source) = self.sources.get(key) else {
            return false;
        };
        if let Some(poller) = &self.poller {
            silence(source, poller);
        }
        source.readiness.is_ready(Direction::Read)
    }

    /// Checks whether a call may succeed. If not, stores a task by its number, if there is one, and
    /// no foreign waker in its place.
    #[inline(always)]
    pub(crate) fn try_or_park(
        &mut self,
        key: SourceKey,
        direction: Direction,
        task: impl FnOnce() -> Option<usize>,
    ) -> Check {
        let Some(source) = self.sources.get(key) else {
            return Check::Ready;
        };
        if source.readiness.is_ready(direction) {
            return Check::Ready;
        }
        if source.readiness.is_unarmed() {
            return Check::NotReady;
        }
        let Some(number) = task() else {
            return Check::NotReady;
        };
        match source.readiness.park_task(direction, number) {
            true => Check::Parked,
            false => Check::NotReady,
        }
    }

    /// Stores a waiter; returns the previous one.
    #[must_use = "a foreign waker is dropped outside the borrow"]
    pub(crate) fn park(
        &mut self,
        key: SourceKey,
        direction: Direction,
        waiter: Waiter,
    ) -> Option<Waiter> {
        let Some(source) = self.sources.get(key) else {
            return Some(waiter);
        };
        let parked = self.foreign.keep(waiter);
        let before = source.readiness.park(direction, parked)?;
        Some(self.foreign.take(before))
    }

    /// Removes the waiter.
    #[must_use = "a foreign waker is dropped outside the borrow"]
    #[inline]
    pub(crate) fn unpark(&mut self, key: SourceKey, direction: Direction) -> Option<Waiter> {
        let parked = self.sources.get(key)?.readiness.unpark(direction)?;
        Some(self.foreign.take(parked))
    }

    /// Waits for events and timers until `limit`; with 0 not at all, with `None` forever. It may
    /// return early.
    pub(crate) fn wait(&mut self, limit: Option<Nanos>, bell: &Bell) -> io::Result<()> {
        let deadline = match limit {
            Some(0) => limit,
            limit => self.wake_at().into_iter().chain(limit).min(),
        };
        let waited = match &self.poller {
            Some(poller) => poller.wait(deadline),
            None if deadline == Some(0) => return Ok(()),
            None => self.poller(bell)?.wait(deadline),
        };
        match waited {
            // A signal: the loop makes another turn and waits for the rest.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other,
        }
    }

    /// Records the events of the last wait, and wakes the tasks that wait for them. Adds foreign
    /// wakers to `woken`, and those that waking returns.
    #[inline]
    pub(crate) fn collect(&mut self, woken: &mut Vec<Waker>, tasks: &mut impl Tasks) {
        let Some(poller) = &self.poller else { return };
        let (sources, foreign) = (&mut self.sources, &mut self.foreign);
        poller.each_event(|token, bits| {
            let Some(source) = sources.by_token(token) else {
                return;
            };
            if source.readiness.listener.is_some()
                && !source.readiness.is_waited_for(Direction::Read)
            {
                // The woken accept may not be polled: the listener would report again and again.
                silence(source, poller);
            }
            if let Some(parked) = source.readiness.event(bits, Direction::Write) {
                wake_rarely(foreign.take(parked), woken, tasks);
            }
            if let Some(parked) = source.readiness.event(bits, Direction::Read) {
                wake(foreign.take(parked), woken, tasks);
            }
        });
    }

    /// Returns the end of the next wait for the timers. A timer with others near it is met together
    /// with them, up to [`SLACK`] late: otherwise a busy server would wake for each of thousands. A
    /// lone one is met as exactly as the system can. One that is already due, for example of a zero
    /// sleep, waits for no other.
    fn wake_at(&self) -> Option<Nanos> {
        let (first, together) = (self.timers.earliest()?, self.timers.wake_at(SLACK)?);
        // The clock is read only if it matters.
        let due = together > first && first <= clock::now();
        Some(if due { first } else { together })
    }

    /// Passes on the wakers of deadlines that have passed, at most `limit` of them.
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

    /// Removes all waiters; returns the foreign wakers, because the caller wakes all tasks anyway.
    pub(crate) fn take_waiters(&mut self, wakers: &mut Vec<Waker>) {
        for source in self.sources.iter_mut() {
            let waiters = waiters(source, &mut self.foreign);
            for waiter in waiters.into_iter().flatten() {
                if let Waiter::Foreign(waker) = waiter {
                    wakers.push(waker);
                }
            }
        }
        self.timers.take_wakers(wakers);
    }

    /// The number of registered descriptors.
    pub(crate) fn source_count(&self) -> usize {
        self.sources.len()
    }
}

/// Disarms a listener that is armed.
#[cold]
fn silence(source: &mut Source, poller: &Poller) {
    let armed = source.readiness.listener.as_mut();
    if let Some(listener) = armed.filter(|listener| listener.armed) {
        // If it cannot be disarmed it is already gone.
        listener.armed = poller.disarm(source.fd).is_err();
    }
}

#[cfg(all(test, feature = "dump"))]
mod tests {
    use super::*;

    /// Under random operations a foreign waker is stored as long as it waits, and no longer; a task
    /// is returned under the number it was stored by.
    #[test]
    fn foreign_wakers_stay_as_long_as_they_wait() {
        struct Nothing;
        impl std::task::Wake for Nothing {
            fn wake(self: std::sync::Arc<Self>) {}
        }
        let shared = std::sync::Arc::new(Nothing);
        let foreign = Waker::from(std::sync::Arc::clone(&shared));
        let mut reactor = Reactor::default();
        let mut keys: Vec<SourceKey> = Vec::new();
        let mut seed = 0x2545_F491_4F6C_DD1D_u64;
        for n in 1..50_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let direction = match seed & 1 {
                0 => Direction::Read,
                _ => Direction::Write,
            };
            while keys.len() < 4 {
                keys.push(reactor.sources.insert(0, Readiness::default()));
            }
            // Stale keys are used, too.
            let key = keys[seed as usize >> 8 & 3];
            let back: Vec<Option<Waiter>> = match seed >> 16 & 15 {
                0..=3 => vec![reactor.park(key, direction, Waiter::Task(n))],
                4..=8 => {
                    let waiter = Waiter::Foreign(foreign.clone());
                    vec![reactor.park(key, direction, waiter)]
                }
                9 | 10 => vec![reactor.unpark(key, direction)],
                11 => {
                    reactor.try_or_park(key, direction, || Some(n));
                    vec![]
                }
                12 if seed >> 32 & 7 == 0 => {
                    let back = reactor.deregister(key, None).into();
                    if seed >> 40 & 1 == 0 {
                        keys.retain(|kept| *kept != key);
                    }
                    back
                }
                13 if seed >> 32 & 63 == 0 => {
                    let mut wakers = Vec::new();
                    reactor.take_waiters(&mut wakers);
                    wakers
                        .into_iter()
                        .map(|w| Some(Waiter::Foreign(w)))
                        .collect()
                }
                _ => vec![],
            };
            for waiter in back.into_iter().flatten() {
                match waiter {
                    Waiter::Task(number) => assert!(number <= n),
                    Waiter::Foreign(waker) => assert!(waker.will_wake(&foreign)),
                }
            }
            let mut waiting = 0;
            reactor.each_waiter(|task, _| waiting += usize::from(task.is_none()));
            assert_eq!(reactor.foreign.0.len(), waiting);
            assert_eq!(std::sync::Arc::strong_count(&shared), 2 + waiting);
        }
    }

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
