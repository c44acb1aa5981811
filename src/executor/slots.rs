//! A pure machine: which tasks are woken, in which order, and whom that concerns further up.
//!
//! ```text
//!   set 0 (root)  ready: [main] ───────────── parent: none; the loop looks
//!     slot main ── polls ── set 1   ready: [body, child 7]   parent: slot main
//!                             slot child 7 ── polls ── set 2   ready: []  parent: foreign waker
//! ```
//!
//! A *slot* is one task's entry: which set it belongs to, and its links in that set's ready list.
//! A *set* is the list of woken slots of one task group (or of the root) and its *parent*: who has
//! to poll the group so that it looks at the list. The futures are elsewhere, with their group.
//!
//! Invariants:
//! * A slot is in its set's ready list exactly while `queued`; the list is first in, first out.
//! * `notified` of a set means: somebody will look at its list. It is set when the parent was
//!   told and when the group starts to look ([`Slots::look`]), cleared when the group found the
//!   list empty ([`Slots::next`]). So a wake walks up only as far as nobody looks yet.
//! * Every key carries a generation: a stale one is a silent no-op.
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

/// Which set: slab index and generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SetKey {
    index: u32,
    generation: u32,
}

/// Who polls a set.
#[derive(Debug)]
pub(crate) enum Parent {
    /// Nobody to tell: the loop looks by itself.
    Loop,
    /// A task of the same runtime.
    Task(TaskId),
    /// A waker that is not ours, such as that of a combinator around the group.
    Foreign(Waker),
    /// Nobody, until the next poll says who.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) generation: u32,
    pub(super) set: u32,
    /// What the set's owner calls this task.
    pub(super) member: u32,
    /// Its neighbours in the ready list while `queued`; the first one's `previous` is stale.
    previous: u32,
    next: u32,
    pub(super) queued: bool,
    /// It has a scope of its own, which stands in `scopes`.
    scoped: bool,
    /// It has a name, which stands in `names`.
    pub(super) named: bool,
    /// How often it was polled, and when last: milliseconds of [`Slots::now`].
    #[cfg(feature = "dump")]
    pub(super) polls: u32,
    #[cfg(feature = "dump")]
    pub(super) polled_at: u32,
    /// Where it was spawned.
    pub(super) place: Option<Place>,
}

#[derive(Debug)]
pub(super) struct Set {
    generation: u32,
    first: u32,
    last: u32,
    notified: bool,
    /// How many slots it has.
    len: u32,
    /// All its tasks are to be listed by the next look.
    all: bool,
    /// How many polls are left until each of those has been polled once, and how many there were
    /// when this was asked last.
    unpolled: u32,
    unpolled_before: u32,
    /// The scope its tasks are in.
    scope: u64,
    parent: Parent,
    /// The task that polls it, whatever waker it comes with.
    pub(super) owner: TaskId,
}

/// A woken task, taken off its list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Woken {
    pub(crate) id: TaskId,
    pub(crate) member: u32,
    /// The scope it runs in: its own, else its set's.
    pub(crate) scope: u64,
}

/// Where a task stands among the scopes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base {
    /// Its own scope; 0 for none.
    pub(crate) own: u64,
    /// That of its set.
    pub(crate) set: u64,
}

impl Set {
    /// The foreign waker, to be called once; the next poll of the group brings another.
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
    /// The scopes of the slots that are `scoped`; shorter than `slots` where none are.
    scopes: Vec<u64>,
    /// Scopes of tasks that have ended, to be forgotten.
    retired: Vec<u64>,
    /// By slot, as far as there are any.
    #[cfg(feature = "dump")]
    pub(super) notes: Vec<Note>,
    pub(super) names: Vec<Option<Rc<str>>>,
    /// The turn's clock in milliseconds; comes round after 49 days.
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
        if TaskId::new(0, self.generation, 0) == TaskId::NOBODY {
            self.generation = self.generation.wrapping_add(1);
        }
        self.generation
    }

    /// A new, empty set.
    pub(crate) fn add_set(&mut self, parent: Parent) -> SetKey {
        let generation = self.next_generation();
        let set = Set {
            generation,
            first: NIL,
            last: NIL,
            notified: false,
            len: 0,
            all: false,
            unpolled: 0,
            unpolled_before: 0,
            scope: 0,
            parent,
            owner: TaskId::NOBODY,
        };
        SetKey {
            index: narrow(self.sets.insert(set)),
            generation,
        }
    }

    /// Forgets a set whose slots are gone; gives back what its owner has to drop.
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

    /// A slot for a new task, woken; who has to be called is given back.
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

    /// A slot for a new task, not woken yet. The set must be alive.
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

    /// Frees a slot; it leaves the ready list if it was there.
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

    /// What is listed by slot goes with the slots.
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

    /// True if tasks have ended that had a scope of their own.
    #[inline]
    pub(crate) fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// The scopes of tasks that have ended since this was asked last.
    #[inline]
    pub(crate) fn take_retired(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.retired)
    }

    /// Where a task stands among the scopes; `None` if it is of another runtime, or gone.
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

    /// Gives a task a scope of its own.
    pub(crate) fn set_task_scope(&mut self, id: TaskId, scope: u64) {
        let Some(slot) = self.slot(id) else { return };
        slot.scoped = true;
        let index = id.index() as usize;
        if self.scopes.len() <= index {
            self.scopes.resize(index + 1, 0);
        }
        self.scopes[index] = scope;
    }

    /// Tells the scope that the tasks of a set are in.
    pub(crate) fn set_scope(&mut self, key: SetKey, scope: u64) {
        if let Some(set) = self.set(key) {
            set.scope = scope;
        }
    }

    /// All tasks of a set are to be polled: tells its parent, as a task's wake does. Gives their
    /// number, too.
    #[must_use = "the waker has to be called"]
    pub(crate) fn wake_set(&mut self, key: SetKey) -> (Option<Waker>, u32) {
        let Some(set) = self.set(key) else {
            return (None, 0);
        };
        set.all = true;
        // The parent is told in any case: a look that is under way may be past its beginning.
        set.notified = true;
        (set.unpolled, set.unpolled_before) = (set.len, set.len);
        let tasks = set.len;
        (self.tell(key.index), tasks)
    }

    /// How many tasks of a set were polled for the first time since all were to be, and since this
    /// was asked last. A task that is polled twice comes after all that were listed, so it counts
    /// only when they have been polled.
    pub(crate) fn take_first_polls(&mut self, key: SetKey) -> u32 {
        let Some(set) = self.set(key) else {
            return 0;
        };
        let before = std::mem::replace(&mut set.unpolled_before, set.unpolled);
        before - set.unpolled
    }

    #[inline]
    pub(super) fn slot(&mut self, id: TaskId) -> Option<&mut Slot> {
        self.slots
            .get_mut(id.index() as usize)
            .filter(|slot| id.has_generation(slot.generation))
    }

    /// Wakes a task: lists it, and every task upwards that polls a set nobody looks at yet. Gives
    /// back a foreign waker to be called once the borrow is over.
    #[inline(always)]
    #[must_use = "the waker has to be called"]
    pub(crate) fn wake(&mut self, id: TaskId) -> Option<Waker> {
        match self.list(id)? {
            true => None,
            false => self.tell(self.slots[id.index() as usize].set),
        }
    }

    /// Puts a task on its set's list; `None` if it is gone or there already, else whether somebody
    /// will look at the list.
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

    /// A set has work that nobody looks at: tells its parent, and so on upwards. Iterative, since
    /// groups may be nested as deep as the stack allows.
    fn tell(&mut self, set: u32) -> Option<Waker> {
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

    /// The group starts to look at its list, polled by `parent`. `None` for a foreign waker that
    /// is stored already. Gives back what the caller has to drop outside the borrow, and whether
    /// it has to list all its tasks.
    #[must_use = "a foreign waker is dropped outside the borrow"]
    pub(crate) fn look(
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

    /// True if the set's stored parent is a foreign waker that wakes the same as `waker`.
    pub(crate) fn is_adopted(&self, key: SetKey, waker: &Waker) -> bool {
        matches!(
            self.sets.get(key.index as usize).map(|set| &set.parent),
            Some(Parent::Foreign(stored)) if stored.will_wake(waker)
        )
    }

    /// Takes the next woken task off the list; an empty list ends the look. The set must be alive.
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
        // The next one becomes the first, whose `previous` means nothing.
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
        set.unpolled = set.unpolled.saturating_sub(1);
        Some(Woken {
            id: TaskId::new(self.runtime, slot.generation, index),
            member: slot.member,
            scope: match slot.scoped {
                true => self.scopes[index as usize],
                false => set.scope,
            },
        })
    }

    /// True if a task of the set is woken.
    pub(crate) fn has_ready(&self, key: SetKey) -> bool {
        self.sets
            .get(key.index as usize)
            .is_some_and(|set| set.first != NIL)
    }

    /// Every live task, for the loop's end.
    pub(crate) fn all(&self) -> Vec<TaskId> {
        self.slots
            .iter()
            .map(|(index, slot)| TaskId::new(self.runtime, slot.generation, narrow(index)))
            .collect()
    }

    /// How many tasks and sets there are.
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
