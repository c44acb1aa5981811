//! A line of timers beside the heap, for deadlines that come in order.
//!
//! Time limits of one length come in the order in which they end. A new deadline that is not before
//! the last one goes to the end of the line, and a timer leaves it from any place in a few steps;
//! at the top of the heap both move as many entries as the heap is deep.
//!
//! A deadline that is before the last one makes way for itself: the last few move to the heap. So
//! the line has the shortest of a program's limits, and no long one keeps the others out of it.

use super::{ASLEEP, Entry, LINE, NEVER, Timers};

/// No slot.
pub(super) const NIL: u32 = u32::MAX;

/// How many timers move to the heap for one that is earlier.
const MAKES_WAY: usize = 2;

/// The neighbours of a timer in the line; of the line itself its last one and its first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) previous: u32,
    pub(super) next: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            previous: NIL,
            next: NIL,
        }
    }
}

impl Timers {
    /// Adds a timer at the end of the line; returns false if its deadline is too early for that.
    #[inline]
    pub(super) fn line_up(&mut self, index: u32, deadline: u64) -> bool {
        let last = self.line.previous;
        match self.slots.get_mut(last as usize) {
            Some(end) if end.deadline > deadline => return self.make_way(index, deadline),
            Some(end) => end.link.next = index,
            None => self.line.next = index,
        }
        self.line.previous = index;
        let slot = &mut self.slots[index as usize];
        slot.place = LINE;
        slot.link.previous = last;
        true
    }

    /// Moves the last timers of the line to the heap, a few at most, and tries once more.
    #[inline(never)]
    fn make_way(&mut self, index: u32, deadline: u64) -> bool {
        for _ in 0..MAKES_WAY {
            self.last_to_heap();
            if self.end_of_line() <= deadline {
                return self.line_up(index, deadline);
            }
        }
        false
    }

    /// The last deadline in the line, 0 if there is none.
    fn end_of_line(&self) -> u64 {
        let last = self.slots.get(self.line.previous as usize);
        last.map_or(0, |slot| slot.deadline)
    }

    /// Moves the last timer of the line to the heap.
    fn last_to_heap(&mut self) {
        let index = self.line.previous;
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        slot.place = ASLEEP;
        let (deadline, link) = (slot.deadline, std::mem::take(&mut slot.link));
        self.leave_line(link);
        self.push(Entry { deadline, index });
    }

    /// Joins the neighbours of a timer that leaves the line.
    #[inline]
    pub(super) fn leave_line(&mut self, Link { previous, next }: Link) {
        match self.slots.get_mut(previous as usize) {
            Some(slot) => slot.link.next = next,
            None => self.line.next = next,
        }
        match self.slots.get_mut(next as usize) {
            Some(slot) => slot.link.previous = previous,
            None => self.line.previous = previous,
        }
    }

    /// The earliest deadline in the line; [`NEVER`] if there is none.
    #[inline]
    pub(super) fn head_of_line(&self) -> u64 {
        let first = self.slots.get(self.first_in_line() as usize);
        first.map_or(NEVER, |slot| slot.deadline)
    }

    /// The slot of the earliest deadline in the line.
    #[inline]
    pub(super) fn first_in_line(&self) -> u32 {
        self.line.next
    }

    /// Iterates over the slots in the line, the earliest deadline first.
    pub(super) fn in_line(&self) -> impl Iterator<Item = u32> {
        let there = |index: u32| (index != NIL).then_some(index);
        std::iter::successors(there(self.line.next), move |index| {
            there(self.slots[*index as usize].link.next)
        })
    }

    /// Moves all of the line to the heap, for tests of the heap.
    #[cfg(test)]
    pub(super) fn all_to_heap(&mut self) {
        while self.line.previous != NIL {
            self.last_to_heap();
        }
    }
}
