//! The state of the tasks for a dump: names, places, polls, and waits.

use std::rc::Rc;

use super::labels::CallSite;
use super::slots::{Slot, Slots, narrow};
use super::waker::TaskId;

/// The state of one task.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) id: TaskId,
    /// The task that polls it; `NONE` for the loop.
    pub(crate) owner: TaskId,
    pub(crate) polls: u32,
    /// Milliseconds since it was polled last, or spawned.
    pub(crate) idle: u32,
    pub(crate) woken: bool,
    pub(crate) site: Option<CallSite>,
    pub(crate) name: Option<Rc<str>>,
    pub(crate) note: Option<(&'static str, TaskId)>,
}

impl Slots {
    /// Returns every task, for a dump.
    pub(crate) fn survey(&self) -> Vec<Survey> {
        let survey = |(index, slot): (usize, &Slot)| {
            let set = &self.sets[slot.set as usize];
            let now = (slot.generation, slot.polls);
            let note = self.notes.get(index).filter(|note| note.good_for == now);
            let name = self.names.get(index).filter(|_| slot.named);
            Survey {
                id: TaskId::new(self.runtime, slot.generation, narrow(index)),
                owner: set.owner,
                polls: slot.polls,
                idle: self.now.wrapping_sub(slot.polled_at),
                woken: slot.queued,
                site: slot.site,
                name: name.cloned().flatten(),
                note: note.map(|note| (note.what, note.holder)),
            }
        };
        self.slots.iter().map(survey).collect()
    }
}
