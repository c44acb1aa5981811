//! epoll: registrations, the ready list, both triggers, one-shot.
//!
//! As in Linux: a wake-up puts a registration on the ready list if it asks for that event. A wait
//! takes registrations from the list and asks each object for its present readiness. A ready one is
//! reported; a level-triggered one goes to the end of the list again, a one-shot one is disarmed
//! until it is modified.

use std::collections::{BTreeMap, VecDeque};

use super::descriptors::{Fd, Id, Object};
use super::readiness::bits::{EDGE, ERR, HUP, IN, ONESHOT, OUT};
use super::{Result, World};
use crate::faults::Fault;

/// The key of a registration.
type Key = (Fd, Id);

#[derive(Debug)]
struct Entry {
    events: u32,
    data: u64,
    /// On the ready list.
    queued: bool,
}

/// One epoll set.
#[derive(Debug, Default)]
pub(crate) struct Epoll {
    entries: BTreeMap<Key, Entry>,
    list: VecDeque<Key>,
}

/// The bits of `events` that are options, not events.
const OPTIONS: u32 = EDGE | ONESHOT | 1 << 28 | 1 << 29;

impl Epoll {
    /// Puts a registration on the ready list if it asks for one of the bits; returns true if so.
    pub(super) fn queue(&mut self, fd: Fd, id: Id, key: u32) -> bool {
        let Some(entry) = self.entries.get_mut(&(fd, id)) else {
            return false;
        };
        let asked = entry.events & !OPTIONS & key != 0;
        if asked && !entry.queued {
            entry.queued = true;
            self.list.push_back((fd, id));
        }
        asked
    }

    pub(super) fn remove(&mut self, fd: Fd, id: Id) {
        self.entries.remove(&(fd, id));
        self.list.retain(|key| *key != (fd, id));
    }

    /// Returns the watched numbers, with the requested events.
    pub(crate) fn watched(&self) -> impl Iterator<Item = (Fd, Id, u32)> + '_ {
        let entries = self.entries.iter();
        entries.map(|((fd, id), entry)| (*fd, *id, entry.events & !OPTIONS))
    }
}

impl World {
    fn epoll(&mut self, id: Id) -> Result<&mut Epoll> {
        match self.descriptors.get_mut(id) {
            Some(Object::Epoll(epoll)) => Ok(epoll),
            _ => Err(libc::EINVAL),
        }
    }

    /// epoll_ctl(2).
    pub(crate) fn epoll_ctl(
        &mut self,
        epfd: Fd,
        operation: i32,
        fd: Fd,
        event: Option<(u32, u64)>,
    ) -> Result<()> {
        let (set, id) = (self.descriptors.id(epfd)?, self.descriptors.id(fd)?);
        if set == id {
            return Err(libc::EINVAL);
        }
        let known = self.epoll(set)?.entries.contains_key(&(fd, id));
        match (operation, known) {
            (libc::EPOLL_CTL_ADD, false) => self.watch(set, fd, id, event),
            (libc::EPOLL_CTL_MOD, true) => self.watch(set, fd, id, event),
            (libc::EPOLL_CTL_DEL, true) => {
                self.epoll(set)?.remove(fd, id);
                if let Some(description) = self.descriptors.objects.get_mut(&id) {
                    description.watchers.retain(|watcher| *watcher != (set, fd));
                }
                Ok(())
            }
            (libc::EPOLL_CTL_ADD, true) => Err(libc::EEXIST),
            (libc::EPOLL_CTL_MOD | libc::EPOLL_CTL_DEL, false) => Err(libc::ENOENT),
            _ => Err(libc::EINVAL),
        }
    }

    fn watch(&mut self, set: Id, fd: Fd, id: Id, event: Option<(u32, u64)>) -> Result<()> {
        let (events, data) = event.ok_or(libc::EFAULT)?;
        let events = events | ERR | HUP;
        let ready = self.ready(id) & events & !OPTIONS != 0;
        let epoll = self.epoll(set)?;
        let entry = epoll.entries.entry((fd, id)).or_insert(Entry {
            events: 0,
            data: 0,
            queued: false,
        });
        (entry.events, entry.data) = (events, data);
        let queues = ready && !entry.queued;
        if queues {
            entry.queued = true;
            epoll.list.push_back((fd, id));
        }
        if let Some(description) = self.descriptors.objects.get_mut(&id) {
            if !description.watchers.contains(&(set, fd)) {
                description.watchers.push((set, fd));
            }
        }
        if queues {
            self.wake(set, super::readiness::bits::READABLE);
        }
        Ok(())
    }

    /// Returns true if a wait on the set would return events. Leaves the set unchanged.
    pub(crate) fn has_events(&mut self, set: Id) -> bool {
        // By place, not by reference: to ask an object changes the world.
        for at in 0.. {
            let Ok(epoll) = self.epoll(set) else {
                break;
            };
            let Some(key) = epoll.list.get(at).copied() else {
                break;
            };
            let events = epoll.entries[&key].events & !OPTIONS;
            if self.ready(key.1) & events != 0 {
                return true;
            }
        }
        false
    }

    /// Takes at most `most` events from a set.
    pub(crate) fn take_events(&mut self, set: Id, most: usize) -> Result<Vec<(u32, u64)>> {
        self.add_spurious(set)?;
        let mut most = most;
        let mut list = std::mem::take(&mut self.epoll(set)?.list);
        if list.len() > 1 && self.strikes(Fault::EventOrder) {
            let order = list.make_contiguous();
            for last in (1..order.len()).rev() {
                order.swap(last, self.dice.detail(Fault::EventOrder, last + 1));
            }
            most = most.min(1 + self.dice.detail(Fault::EventOrder, list.len()));
        }
        let (mut events, mut again) = (Vec::new(), Vec::new());
        while let Some(key) = list.pop_front() {
            if events.len() == most {
                list.push_front(key);
                break;
            }
            let now = self.ready(key.1);
            let entry = self.epoll(set)?.entries.get_mut(&key);
            let entry = entry.expect("what is on the list is registered");
            let reported = now & entry.events & !OPTIONS;
            entry.queued = false;
            if reported == 0 {
                continue;
            }
            events.push((reported, entry.data));
            if entry.events & ONESHOT != 0 {
                entry.events &= OPTIONS;
            } else if entry.events & EDGE == 0 {
                entry.queued = true;
                again.push(key);
            }
        }
        list.extend(again);
        self.epoll(set)?.list = list;
        Ok(events)
    }

    /// The fault of a spurious event: an edge-triggered registration is checked although nothing
    /// happened. Its readiness is reported correctly.
    fn add_spurious(&mut self, set: Id) -> Result<()> {
        if !self.dice.may_strike(Fault::SpuriousEvent) {
            return Ok(());
        }
        let entries = &self.epoll(set)?.entries;
        let edge = entries.iter().filter(|(_, entry)| {
            !entry.queued && entry.events & EDGE != 0 && entry.events & (IN | OUT) != 0
        });
        let keys: Vec<Key> = edge.map(|(key, _)| *key).collect();
        if keys.is_empty() || !self.strikes(Fault::SpuriousEvent) {
            return Ok(());
        }
        let key = keys[self.dice.detail(Fault::SpuriousEvent, keys.len())];
        self.epoll(set)?.queue(key.0, key.1, IN | OUT);
        Ok(())
    }
}
