//! A pure machine: the sets of tasks, the order of their woken tasks, and what a wake notifies.
//!
//! ```text
//!   set 0 (root)  ready: [main] ───────────── parent: none; the loop polls it
//!     slot main ── polls ── set 1   ready: [body, child 7]   parent: slot main
//!                             slot child 7 ── polls ── set 2   ready: []  parent: foreign waker
//! ```
//!
//! A *set* is the list of woken slots of one task group (or of the root) and its *parent*: the task
//! or waker that polls the group, and so the list. The slots themselves are in `slots.rs`.
//!
//! Invariants:
//! * A slot is in its set's ready list exactly while `queued`; the list is first in, first out.
//! * `notified` of a set means that its list will be polled. It is set when the parent was woken
//!   and when the group begins to poll ([`Slots::begin_poll`]), and cleared when the group has
//!   found the list empty ([`Slots::next`]). So a wake walks up only to the first set that is
//!   notified.

use std::task::Waker;

use super::slots::{Slot, Slots, narrow};
use super::waker::TaskId;

/// No slot.
pub(super) const NIL: u32 = u32::MAX;

/// Identifies a set: slab index and generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SetKey {
    pub(super) index: u32,
    generation: u32,
}

/// The poller of a set.
#[derive(Debug)]
pub(crate) enum Parent {
    /// The loop, which polls without being woken.
    Loop,
    /// A task of the same runtime.
    Task(TaskId),
    /// A foreign waker, such as that of a combinator around the group.
    Foreign(Waker),
    /// Unknown until the next poll.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Set {
    generation: u32,
    first: u32,
    last: u32,
    notified: bool,
    /// The number of its slots.
    pub(super) len: u32,
    /// All its tasks have to be listed by the next poll.
    all: bool,
    /// The scope that its tasks are in.
    pub(super) scope: u64,
    parent: Parent,
    /// The task that polls it, with any waker, and the scope around that poll.
    pub(super) owner: TaskId,
    around: u64,
}

/// A woken task, removed from its list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Woken {
    pub(crate) id: TaskId,
    pub(crate) member: u32,
    /// The scope that it runs in: its own, else its set's.
    pub(crate) scope: u64,
}

impl Set {
    /// Takes the foreign waker, to be called once; the next poll of the group stores another.
    fn take_foreign(&mut self) -> Option<Waker> {
        match std::mem::replace(&mut self.parent, Parent::Unknown) {
            Parent::Foreign(waker) => Some(waker),
            other => {
                self.parent = other;
                None
            }
        }
    }
}

impl Slots {
    /// Adds an empty set.
    pub(crate) fn add_set(&mut self, parent: Parent) -> SetKey {
        let generation = self.next_generation();
        let set = Set {
            generation,
            first: NIL,
            last: NIL,
            notified: false,
            len: 0,
            all: false,
            scope: 0,
            parent,
            owner: TaskId::NONE,
            around: 0,
        };
        SetKey {
            index: narrow(self.sets.insert(set)),
            generation,
        }
    }

    /// Removes a set without slots; returns the parent, for the caller to drop.
    #[must_use = "a foreign waker is dropped outside the borrow"]
    pub(crate) fn remove_set(&mut self, key: SetKey) -> Option<Parent> {
        self.set(key)?;
        Some(self.sets.remove(key.index as usize).parent)
    }

    pub(super) fn set(&mut self, key: SetKey) -> Option<&mut Set> {
        self.sets
            .get_mut(key.index as usize)
            .filter(|set| set.generation == key.generation)
    }

    /// Sets the scope that the tasks of a set are in.
    pub(crate) fn set_scope(&mut self, key: SetKey, scope: u64) {
        if let Some(set) = self.set(key) {
            set.scope = scope;
        }
    }

    /// Marks all tasks of a set to be polled, and notifies its parent, as a task's wake does. Also
    /// returns their number.
    #[must_use = "the waker has to be called"]
    pub(crate) fn wake_set(&mut self, key: SetKey) -> (Option<Waker>, u32) {
        let Some(set) = self.set(key) else {
            return (None, 0);
        };
        set.all = true;
        // The parent is woken in any case: a poll in progress may be past its beginning.
        set.notified = true;
        let tasks = set.len;
        let foreign = match set.parent {
            Parent::Task(parent) => self.wake_upwards(parent),
            _ => set.take_foreign(),
        };
        (foreign, tasks)
    }

    /// Wakes a task: lists it, and every task upwards that polls a set that is not notified.
    /// Returns a foreign waker to be called after the borrow.
    #[inline(never)]
    #[must_use = "the waker has to be called"]
    pub(crate) fn wake(&mut self, id: TaskId) -> Option<Waker> {
        self.wake_inline(id)
    }

    /// The same for the few callers of each turn; a copy takes 300 bytes.
    #[inline(always)]
    #[must_use = "the waker has to be called"]
    pub(crate) fn wake_inline(&mut self, id: TaskId) -> Option<Waker> {
        let set = self.list(id)?;
        match set.parent {
            Parent::Task(parent) => self.wake_upwards(parent),
            _ => set.take_foreign(),
        }
    }

    /// The same from the task that polls a set. Iterative, since groups may be nested as deep as
    /// the stack allows. Inline: a call took 30 instructions of each turn of a server.
    #[inline(always)]
    fn wake_upwards(&mut self, parent: TaskId) -> Option<Waker> {
        let mut id = parent;
        loop {
            let set = self.list(id)?;
            match set.parent {
                Parent::Task(parent) => id = parent,
                _ => return set.take_foreign(),
            }
        }
    }

    /// Puts a task on its set's list, unless it is gone or already there. Returns the set if it was
    /// not notified.
    #[inline(always)]
    fn list(&mut self, id: TaskId) -> Option<&mut Set> {
        let index = id.index();
        let slot = self.slots.get_mut(index as usize)?;
        if slot.queued || !id.has_generation(slot.generation) {
            return None;
        }
        let set = &mut self.sets[slot.set as usize];
        let last = std::mem::replace(&mut set.last, index);
        slot.queued = true;
        slot.previous = last;
        slot.next = NIL;
        let notified = std::mem::replace(&mut set.notified, true);
        match last {
            NIL => set.first = index,
            last => self.slots[last as usize].next = index,
        }
        (!notified).then_some(set)
    }

    /// Begins a poll of the group's list that is like the last one: by the running task `parent`,
    /// in the scope `around`. Returns false, without effect, if it is not, or if all tasks have to
    /// be listed.
    #[inline]
    pub(crate) fn begin_again(&mut self, key: SetKey, parent: TaskId, around: u64) -> bool {
        let Some(set) = self.set(key) else {
            return false;
        };
        let same = matches!(set.parent, Parent::Task(task) if task == parent)
            && (set.owner, set.around, set.all) == (parent, around, false);
        set.notified |= same;
        same
    }

    /// Records the scope around the polls of a set.
    pub(crate) fn set_around(&mut self, key: SetKey, around: u64) {
        if let Some(set) = self.set(key) {
            set.around = around;
        }
    }

    /// Begins a poll of the group's list by `parent`; `None` means the foreign waker that is
    /// already stored. Returns the parent that the caller has to drop after the borrow, and whether
    /// all tasks have to be listed.
    #[must_use = "a foreign waker is dropped outside the borrow"]
    pub(crate) fn begin_poll(
        &mut self,
        key: SetKey,
        parent: Option<Parent>,
        owner: TaskId,
    ) -> (Option<Parent>, bool) {
        let Some(set) = self.set(key) else {
            return (None, false);
        };
        set.notified = true;
        set.owner = owner;
        let old = parent.map(|parent| std::mem::replace(&mut set.parent, parent));
        (old, std::mem::take(&mut set.all))
    }

    /// Returns true if the set's stored parent is a foreign waker that wakes the same task as
    /// `waker`.
    pub(crate) fn is_adopted(&self, key: SetKey, waker: &Waker) -> bool {
        matches!(
            self.sets.get(key.index as usize).map(|set| &set.parent),
            Some(Parent::Foreign(stored)) if stored.will_wake(waker)
        )
    }

    /// Removes the next woken task from the list; an empty list ends the poll. The set must be
    /// alive.
    #[inline(always)]
    pub(crate) fn next(&mut self, key: SetKey) -> Option<Woken> {
        let set = &mut self.sets[key.index as usize];
        debug_assert_eq!(
            set.generation, key.generation,
            "a group looks at its own set"
        );
        let index = set.first;
        if index == NIL {
            set.notified = false;
            return None;
        }
        // The next one becomes the first, and the `previous` of the first is stale.
        let slot = &mut self.slots[index as usize];
        slot.queued = false;
        #[cfg(feature = "dump")]
        {
            slot.polls = slot.polls.wrapping_add(1);
            slot.polled_at = self.now;
        }
        set.first = slot.next;
        if slot.next == NIL {
            set.last = NIL;
        }
        Some(Woken {
            id: TaskId::new(self.runtime, slot.generation, index),
            member: slot.member,
            scope: match slot.scoped {
                true => self.scopes[index as usize],
                false => set.scope,
            },
        })
    }

    /// Returns true if a task of the set is woken.
    pub(crate) fn has_ready(&self, key: SetKey) -> bool {
        self.sets
            .get(key.index as usize)
            .is_some_and(|set| set.first != NIL)
    }

    /// Removes a slot from its set's list.
    pub(super) fn unlink(&mut self, index: u32, slot: &Slot) {
        let set = &mut self.sets[slot.set as usize];
        let is_first = set.first == index;
        if is_first {
            set.first = slot.next;
        } else {
            self.slots[slot.previous as usize].next = slot.next;
        }
        match slot.next {
            NIL => set.last = if is_first { NIL } else { slot.previous },
            next => self.slots[next as usize].previous = slot.previous,
        }
    }
}

#[cfg(test)]
mod tests;
