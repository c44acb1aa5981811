//! The names of tasks, and the notes of operations about their waits.

use std::panic::Location;
use std::rc::Rc;

use super::slots::Slots;
use super::waker::TaskId;

/// The place in a program where a task was spawned.
pub(crate) type CallSite = &'static Location<'static>;

/// A description of a task's wait; valid until the task is polled again.
#[cfg(feature = "dump")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Note {
    /// The generation of the task's slot, and the number of its polls.
    pub(super) good_for: (u32, u32),
    pub(super) what: &'static str,
    /// The task that it waits for.
    pub(super) holder: TaskId,
}

impl Slots {
    /// Returns the place where a task was spawned, and its name.
    pub(crate) fn label(&mut self, id: TaskId) -> (Option<CallSite>, Option<Rc<str>>) {
        let site = self.slot(id).and_then(|slot| slot.site);
        let named = self.slot(id).is_some_and(|slot| slot.named);
        let name = named.then(|| self.names[id.index() as usize].clone());
        (site, name.flatten())
    }

    /// Names a task, unless it is of another runtime.
    pub(crate) fn set_name(&mut self, id: TaskId, name: Rc<str>) {
        if self.base(id).is_none() {
            return;
        }
        if let Some(slot) = self.slot(id) {
            slot.named = true;
            let index = id.index() as usize;
            let names = self.names.len().max(index + 1);
            self.names.resize(names, None);
            self.names[index] = Some(name);
        }
    }

    /// Stores a description of a task's wait, valid until it is polled again.
    #[cfg(feature = "dump")]
    #[inline]
    pub(crate) fn note(&mut self, id: TaskId, what: &'static str, holder: TaskId) {
        let Some(slot) = self.slot(id) else {
            return;
        };
        let note = Note {
            good_for: (slot.generation, slot.polls),
            what,
            holder,
        };
        let index = id.index() as usize;
        match self.notes.get_mut(index) {
            Some(place) => *place = note,
            // Those in between are valid for no other task: each slot has a generation of its own.
            None => self.notes.resize(index + 1, note),
        }
    }
}
