//! A pure machine: the slot of each live task of one runtime, and the scope that it runs in.
//!
//! A *slot* names its task's set, and links the task into that set's list of woken tasks while it
//! is `queued` (`sets.rs`). The future is elsewhere, with the group. Every key has a generation: a
//! stale one is a silent no-op.

use std::rc::Rc;
use std::task::Waker;

use super::labels::CallSite;
#[cfg(feature = "dump")]
use super::labels::Note;
use super::sets::{NIL, Set, SetKey};
use super::waker::TaskId;
use crate::room::{self, Slab};

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) generation: u32,
    pub(super) set: u32,
    /// The index of this task in the set's owner.
    pub(super) member: u32,
    /// Its neighbours in the ready list while `queued`; the first one's `previous` is stale.
    pub(super) previous: u32,
    pub(super) next: u32,
    pub(super) queued: bool,
    /// It has its own scope, which is in `scopes`.
    pub(super) scoped: bool,
    /// It has a name, which is in `names`.
    pub(super) named: bool,
    /// The number of its polls, and the time of the last one: milliseconds of [`Slots::now`].
    #[cfg(feature = "dump")]
    pub(super) polls: u32,
    #[cfg(feature = "dump")]
    pub(super) polled_at: u32,
    /// The place where it was spawned.
    pub(super) site: Option<CallSite>,
}

/// The scopes of a task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base {
    /// Its own scope; 0 for none.
    pub(crate) own: u64,
    /// The scope of its set.
    pub(crate) set: u64,
}

/// All slots and sets of one runtime.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    pub(super) runtime: u16,
    generation: u32,
    pub(super) slots: Slab<Slot>,
    pub(super) sets: Slab<Set>,
    /// The scopes of the slots that are `scoped`; shorter than `slots` if the last ones have none.
    pub(super) scopes: Vec<u64>,
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
    /// Makes the slots of a runtime, with the generation before that of the first task.
    pub(crate) fn new(runtime: u16, generation: u32) -> Self {
        Self {
            runtime,
            generation,
            ..Self::default()
        }
    }

    pub(super) fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        if TaskId::new(0, self.generation, 0) == TaskId::NONE {
            self.generation = self.generation.wrapping_add(1);
        }
        self.generation
    }

    /// Adds a slot for a new task, woken; returns the foreign waker to call.
    #[must_use = "the waker has to be called"]
    pub(crate) fn add_woken(
        &mut self,
        set: SetKey,
        member: u32,
        site: Option<CallSite>,
    ) -> (TaskId, Option<Waker>) {
        let id = self.add_slot(set, member, site);
        (id, self.wake(id))
    }

    /// Adds a slot for a new task, not woken yet. The set must be alive.
    pub(super) fn add_slot(&mut self, set: SetKey, member: u32, site: Option<CallSite>) -> TaskId {
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
            site,
        });
        TaskId::new(self.runtime, generation, narrow(index))
    }

    /// Frees a slot; removes it from its set's list if it is there.
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
        let own = scoped.then(|| self.scopes[id.index() as usize]);
        Some(Base {
            own: own.unwrap_or(0),
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

    #[inline]
    pub(super) fn slot(&mut self, id: TaskId) -> Option<&mut Slot> {
        self.slots
            .get_mut(id.index() as usize)
            .filter(|slot| id.has_generation(slot.generation))
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
}

pub(super) fn narrow(index: usize) -> u32 {
    u32::try_from(index).expect("memory ends before four billion tasks")
}

#[cfg(test)]
mod tests;
