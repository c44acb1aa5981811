//! What a dump asks of the tasks: names, places, polls, and what they wait for.

use std::panic::Location;
use std::rc::Rc;

use super::slots::{Slot, Slots, narrow};
use super::waker::TaskId;

/// A place in a program.
pub(crate) type Place = &'static Location<'static>;

/// What a task waits for, in words; good as long as it is not polled again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Note {
    /// The generation of the task's slot, and how often it was polled.
    good_for: (u32, u32),
    what: &'static str,
    /// Who keeps it waiting.
    holder: TaskId,
}

/// What is known of one task.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) id: TaskId,
    /// The task that polls it; nobody for the loop.
    pub(crate) owner: TaskId,
    pub(crate) polls: u32,
    /// Milliseconds since it was polled last, or spawned.
    pub(crate) idle: u32,
    pub(crate) woken: bool,
    pub(crate) place: Option<Place>,
    pub(crate) name: Option<Rc<str>>,
    pub(crate) note: Option<(&'static str, TaskId)>,
}

impl Slots {
    /// Where a task was spawned, and its name.
    pub(crate) fn label(&mut self, id: TaskId) -> (Option<Place>, Option<Rc<str>>) {
        let place = self.slot(id).and_then(|slot| slot.place);
        let named = self.slot(id).is_some_and(|slot| slot.named);
        let name = named.then(|| self.names.get(&id.index()).cloned());
        (place, name.flatten())
    }

    /// Names a task, unless it is of another runtime.
    pub(crate) fn set_name(&mut self, id: TaskId, name: Rc<str>) {
        if self.base(id).is_none() {
            return;
        }
        if let Some(slot) = self.slot(id) {
            slot.named = true;
            self.names.insert(id.index(), name);
        }
    }

    /// Notes what a task waits for, until it is polled again.
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
            // Those in between are good for no other task: each slot has a generation of its own.
            None => self.notes.resize(index + 1, note),
        }
    }

    /// Every task, for a dump.
    pub(crate) fn survey(&self) -> Vec<Survey> {
        let survey = |(index, slot): (usize, &Slot)| {
            let set = &self.sets[slot.set as usize];
            let now = (slot.generation, slot.polls);
            let note = self.notes.get(index).filter(|note| note.good_for == now);
            Survey {
                id: TaskId::new(self.runtime, slot.generation, narrow(index)),
                owner: set.owner,
                polls: slot.polls,
                idle: self.now.wrapping_sub(slot.polled_at),
                woken: slot.queued,
                place: slot.place,
                name: self
                    .names
                    .get(&narrow(index))
                    .filter(|_| slot.named)
                    .cloned(),
                note: note.map(|note| (note.what, note.holder)),
            }
        };
        self.slots.iter().map(survey).collect()
    }
}
