//! The threads of a world: only the holder of the baton runs.
//!
//! A thread passes the baton on where it would block. The seed decides which thread gets it, among
//! those that no longer wait. If there is none, the clock jumps to the next moment at which one may
//! run; if there is no such moment either, nothing can ever happen.

use std::collections::BTreeMap;

use crate::world::descriptors::Id;
use crate::world::{Nanos, World};

/// The number of a thread; never reused in a process.
pub(crate) type ThreadId = u64;

/// The wait of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wait {
    /// One of these events of an object.
    Ready(Id, u32),
    /// A wake-up of a futex, by its address.
    Futex(usize),
    /// One of several objects: poll(2).
    Any(Vec<(Id, u32)>),
    /// The end of a thread.
    End(ThreadId),
    /// The end of all other threads.
    Alone,
    /// No event: only the time, or a turn.
    Time,
}

/// The end of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    Ready,
    TimedOut,
    /// Nothing can ever happen.
    Stuck,
}

#[derive(Debug)]
struct Thread {
    /// `None` while it runs, or could run.
    wait: Option<(Wait, Option<Nanos>)>,
    machine: usize,
    woken: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Threads {
    all: BTreeMap<ThreadId, Thread>,
    /// The thread that runs.
    pub(crate) holder: ThreadId,
}

impl Threads {
    pub(crate) fn begin(&mut self, id: ThreadId, machine: usize) {
        let thread = Thread {
            wait: None,
            machine,
            woken: false,
        };
        self.all.insert(id, thread);
    }

    pub(crate) fn end(&mut self, id: ThreadId) {
        self.all.remove(&id);
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn machine(&self, id: ThreadId) -> Option<usize> {
        self.all.get(&id).map(|thread| thread.machine)
    }

    /// True if a thread waits for a futex without a time limit.
    pub(crate) fn waits_for_futex(&self) -> bool {
        let mut waits = self.all.values().filter_map(|thread| thread.wait.as_ref());
        waits.any(|(wait, until)| matches!(wait, Wait::Futex(_)) && until.is_none())
    }

    pub(crate) fn set_wait(&mut self, id: ThreadId, wait: Option<(Wait, Option<Nanos>)>) {
        if let Some(thread) = self.all.get_mut(&id) {
            (thread.wait, thread.woken) = (wait, false);
        }
    }

    /// Wakes at most `count` threads that wait for a futex; returns the number.
    pub(crate) fn wake_futex(&mut self, address: usize, count: usize) -> usize {
        let waits = self.all.values_mut().filter(|thread| {
            !thread.woken
                && matches!(thread.wait, Some((Wait::Futex(other), _)) if other == address)
        });
        waits.take(count).map(|thread| thread.woken = true).count()
    }
}

impl World {
    fn is_over(&mut self, id: ThreadId) -> Option<Waited> {
        let first = self.threads.all.keys().next();
        if self.stuck && first == Some(&id) {
            return Some(Waited::Stuck);
        }
        let thread = &self.threads.all[&id];
        let Some((wait, until)) = thread.wait.clone() else {
            return Some(Waited::Ready);
        };
        let ready = match wait {
            Wait::Ready(object, events) => self.ready(object) & events != 0,
            Wait::Any(list) => list
                .into_iter()
                .any(|(object, events)| self.ready(object) & events != 0),
            Wait::Futex(_) => thread.woken,
            Wait::End(other) => !self.threads.all.contains_key(&other),
            Wait::Alone => self.threads.all.len() == 1,
            Wait::Time => false,
        };
        if ready {
            return Some(Waited::Ready);
        }
        let due = until.is_some_and(|until| until <= self.now);
        due.then_some(Waited::TimedOut)
    }

    /// Returns the end of a thread's wait, if it has ended.
    pub(crate) fn waited(&mut self, id: ThreadId) -> Option<Waited> {
        self.is_over(id)
    }

    /// Draws the next thread to run, among those that can, without `except`.
    pub(crate) fn next_thread(&mut self, except: Option<ThreadId>) -> Option<ThreadId> {
        let ids: Vec<ThreadId> = self.threads.all.keys().copied().collect();
        let mut can = Vec::new();
        for id in ids {
            if Some(id) != except && self.is_over(id).is_some() {
                can.push(id);
            }
        }
        match can.len() {
            0 => None,
            1 => Some(can[0]),
            _ => Some(*self.dice.nature.pick(&can)),
        }
    }

    /// Returns the next moment with an event: a packet, a timer, the end of a wait.
    pub(crate) fn next_moment(&self) -> Option<Nanos> {
        let waits = self.threads.all.values();
        let ends = waits.filter_map(|thread| thread.wait.as_ref()?.1);
        ends.chain(self.network.next()).min()
    }
}
