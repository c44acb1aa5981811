//! A pure machine: the woken tasks, their order, and the sets that each wake notifies.
//!
//! ```text
//!   set 0 (root)  ready: [main] ───────────── parent: none; the loop polls it
//!     slot main ── polls ── set 1   ready: [body, child 7]   parent: slot main
//!                             slot child 7 ── polls ── set 2   ready: []  parent: foreign waker
//! ```
//!
//! A *slot* is one task's entry: its set, and its links in that set's ready list. A *set* is the
//! list of woken slots of one task group (or of the root) and its *parent*: the task or waker that
//! polls the group, and so the list. The futures are elsewhere, with their group.
//!
//! Invariants:
//! * A slot is in its set's ready list exactly while `queued`; the list is first in, first out.
//! * `notified` of a set means that its list will be polled. It is set when the parent was woken
//!   and when the group begins to poll ([`Slots::begin_poll`]), and cleared when the group has
//!   found the list empty ([`Slots::next`]). So a wake walks up only to the first set that is
//!   notified.
//! * Every key has a generation: a stale one is a silent no-op.
//!
//! The file is long because every function relies on these.

use std::rc::Rc;
use std::task::Waker;

#[cfg(feature = "dump")]
use super::labels::Note;
use super::labels::Place;
use super::waker::TaskId;
use crate::room::{self, Slab};

/// No slot.
const NIL: u32 = u32::MAX;

/// Identifies a set: slab index and generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SetKey {
    index: u32,
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
pub(super) struct Slot {
    pub(super) generation: u32,
    pub(super) set: u32,
    /// The index of this task in the set's owner.
    pub(super) member: u32,
    /// Its neighbours in the ready list while `queued`; the first one's `previous` is stale.
    previous: u32,
    next: u32,
    pub(super) queued: bool,
    /// It has its own scope, which is in `scopes`.
    scoped: bool,
    /// It has a name, which is in `names`.
    pub(super) named: bool,
    /// The number of its polls, and the time of the last one: milliseconds of [`Slots::now`].
    #[cfg(feature = "dump")]
    pub(super) polls: u32,
    #[cfg(feature = "dump")]
    pub(super) polled_at: u32,
    /// The place where it was spawned.
    pub(super) place: Option<Place>,
}

#[derive(Debug)]
pub(super) struct Set {
    generation: u32,
    first: u32,
    last: u32,
    notified: bool,
    /// The number of its slots.
    len: u32,
    /// All its tasks have to be listed by the next poll.
    all: bool,
    /// The scope that its tasks are in.
    scope: u64,
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

/// The scopes of a task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base {
    /// Its own scope; 0 for none.
    pub(crate) own: u64,
    /// The scope of its set.
    pub(crate) set: u64,
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

/// All slots and sets of one runtime.
#[derive(Debug)]
pub(crate) struct Slots {
    pub(super) runtime: u16,
    generation: u32,
    pub(super) slots: Slab<Slot>,
    pub(super) sets: Slab<Set>,
    /// The scopes of the slots that are `scoped`; shorter than `slots` if the last ones have none.
    scopes: Vec<u64>,
    /// Scopes of tasks that have ended, to be removed.
    retired: Vec<u64>,
    /// By slot, up to the last slot with a note.
    #[cfg(feature = "dump")]
    pub(super) notes: Vec<Note>,
    pub(super) names: Vec<Option<Rc<str>>>,
    /// The turn's clock in milliseconds; wraps around after 49 days.
    #[cfg(feature = "dump")]
    pub(crate) now: u32,
}

impl Slots {
    pub(crate) fn new(runtime: u16) -> Self {
        Self {
            runtime,
            generation: 0,
            slots: Slab::new(),
            sets: Slab::new(),
            scopes: Vec::new(),
            retired: Vec::new(),
            #[cfg(feature = "dump")]
            notes: Vec::new(),
            names: Vec::new(),
            #[cfg(feature = "dump")]
            now: 0,
        }
    }

    fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        if TaskId::new(0, self.generation, 0) == TaskId::NONE {
            self.generation = self.generation.wrapping_add(1);
        }
        self.generation
    }

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

    fn set(&mut self, key: SetKey) -> Option<&mut Set> {
        self.sets
            .get_mut(key.index as usize)
            .filter(|set| set.generation == key.generation)
    }

    /// Adds a slot for a new task, woken; returns the foreign waker to call.
    #[must_use = "the waker has to be called"]
    pub(crate) fn add_woken(
        &mut self,
        set: SetKey,
        member: u32,
        place: Option<Place>,
    ) -> (TaskId, Option<Waker>) {
        let id = self.add_slot(set, member, place);
        (id, self.wake(id))
    }

    /// Adds a slot for a new task, not woken yet. The set must be alive.
    fn add_slot(&mut self, set: SetKey, member: u32, place: Option<Place>) -> TaskId {
        debug_assert!(
            self.set(set).is_some(),
            "a task is added to a set that is gone"
        );
        let room = self.slots.vacant_key() < TaskId::LIMIT;
        assert!(
            room,
            "soloio: more tasks at a time than {} cannot be numbered",
            TaskId::LIMIT
        );
        let generation = self.next_generation();
        self.sets[set.index as usize].len += 1;
        let index = self.slots.insert(Slot {
            generation,
            set: set.index,
            member,
            previous: NIL,
            next: NIL,
            queued: false,
            scoped: false,
            named: false,
            #[cfg(feature = "dump")]
            polls: 0,
            #[cfg(feature = "dump")]
            polled_at: self.now,
            place,
        });
        TaskId::new(self.runtime, generation, narrow(index))
    }

    /// Frees a slot; removes it from the ready list if it is there.
    pub(crate) fn remove_slot(&mut self, id: TaskId) {
        if self.slot(id).is_none() {
            return;
        }
        let slot = self.slots.remove(id.index() as usize);
        self.sets[slot.set as usize].len -= 1;
        if slot.queued {
            self.unlink(id.index(), &slot);
        }
        if slot.scoped {
            self.retired.push(self.scopes[id.index() as usize]);
        }
        if slot.named {
            self.names[id.index() as usize] = None;
        }
        if self.longest_list() / 4 > self.slots.room() {
            self.cut_lists();
        }
    }

    fn longest_list(&self) -> usize {
        let longest = self.scopes.len().max(self.names.len());
        #[cfg(feature = "dump")]
        let longest = longest.max(self.notes.len());
        longest
    }

    /// Shortens the lists that are indexed by slot.
    #[cold]
    fn cut_lists(&mut self) {
        let slots = self.slots.room();
        self.scopes.truncate(slots);
        room::shrink(&mut self.scopes);
        #[cfg(feature = "dump")]
        {
            self.notes.truncate(slots);
            room::shrink(&mut self.notes);
        }
        self.names.truncate(slots);
        room::shrink(&mut self.names);
    }

    /// Returns true if tasks with their own scope have ended.
    #[inline]
    pub(crate) fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Returns the scopes of tasks that have ended since the last call.
    #[inline]
    pub(crate) fn take_retired(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.retired)
    }

    /// Returns the scopes of a task; `None` if it is of another runtime, or gone.
    pub(crate) fn base(&mut self, id: TaskId) -> Option<Base> {
        if id.runtime() != self.runtime {
            return None;
        }
        let slot = self.slot(id)?;
        let (set, scoped) = (slot.set, slot.scoped);
        let own = if scoped {
            self.scopes[id.index() as usize]
        } else {
            0
        };
        Some(Base {
            own,
            set: self.sets[set as usize].scope,
        })
    }

    /// Sets a task's own scope.
    pub(crate) fn set_task_scope(&mut self, id: TaskId, scope: u64) {
        let Some(slot) = self.slot(id) else { return };
        slot.scoped = true;
        let index = id.index() as usize;
        if self.scopes.len() <= index {
            self.scopes.resize(index + 1, 0);
        }
        self.scopes[index] = scope;
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
        (self.notify_parent(key.index), tasks)
    }

    #[inline]
    pub(super) fn slot(&mut self, id: TaskId) -> Option<&mut Slot> {
        self.slots
            .get_mut(id.index() as usize)
            .filter(|slot| id.has_generation(slot.generation))
    }

    /// Wakes a task: lists it, and every task upwards that polls a set that is not notified.
    /// Returns a foreign waker to be called after the borrow.
    #[inline(always)]
    #[must_use = "the waker has to be called"]
    pub(crate) fn wake(&mut self, id: TaskId) -> Option<Waker> {
        match self.list(id)? {
            true => None,
            false => self.notify_parent(self.slots[id.index() as usize].set),
        }
    }

    /// Puts a task on its set's list. Returns `None` if it is gone or already there, else whether
    /// the set was notified.
    #[inline(always)]
    fn list(&mut self, id: TaskId) -> Option<bool> {
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
        Some(notified)
    }

    /// Wakes the parent of a set that has work and was not notified, and so on upwards. Iterative,
    /// since groups may be nested as deep as the stack allows.
    fn notify_parent(&mut self, set: u32) -> Option<Waker> {
        let mut set = set;
        loop {
            let parent = match &self.sets[set as usize].parent {
                Parent::Loop | Parent::Unknown => return None,
                Parent::Task(parent) => *parent,
                Parent::Foreign(_) => return self.sets[set as usize].take_foreign(),
            };
            if self.list(parent)? {
                return None;
            }
            set = self.slots[parent.index() as usize].set;
        }
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

    /// Returns every live task, for the loop's end.
    pub(crate) fn all(&self) -> Vec<TaskId> {
        self.slots
            .iter()
            .map(|(index, slot)| TaskId::new(self.runtime, slot.generation, narrow(index)))
            .collect()
    }

    /// The number of tasks and sets.
    #[cfg(test)]
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.slots.len(), self.sets.len())
    }

    fn unlink(&mut self, index: u32, slot: &Slot) {
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

pub(super) fn narrow(index: usize) -> u32 {
    u32::try_from(index).expect("memory ends before four billion tasks")
}

#[cfg(test)]
mod tests;
