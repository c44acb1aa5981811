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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::super::low;
    use super::*;

    #[test]
    fn long_limits_keep_no_short_one_out_of_the_line() {
        let mut timers = Timers::default();
        for deadline in [3_600, 7_200, 7_300] {
            timers.insert(deadline, Waker::noop().clone());
        }
        for now in 0..10 {
            timers.insert(now + 30, Waker::noop().clone());
        }
        // The first short one made two of the three give way, the second one the third.
        assert_eq!((timers.heap.len(), timers.in_line().count()), (4, 9));
        assert_eq!((timers.heap[0].deadline, timers.head_of_line()), (30, 31));
        timers.check();
    }

    #[test]
    fn an_early_deadline_moves_a_few_at_most() {
        let mut timers = Timers::default();
        let keys: Vec<_> = (10..20)
            .map(|at| timers.insert(at, Waker::noop().clone()))
            .collect();
        timers.insert(18, Waker::noop().clone());
        assert_eq!((timers.heap.len(), timers.in_line().count()), (1, 10));
        timers.insert(5, Waker::noop().clone());
        assert_eq!((timers.heap.len(), timers.in_line().count()), (4, 8));
        timers.check();
        assert_eq!(timers.wake_at(4), Some(5), "the next one is at 10");
        assert_eq!(timers.wake_at(5), Some(10), "the line's first one is near");
        assert!(timers.pop_due(5).is_some());
        assert_eq!(timers.wake_at(1), Some(11), "two in the line");
        // From the middle, the end and the beginning of the line.
        for (key, left) in [(keys[3], 7), (keys[7], 6), (keys[0], 5)] {
            assert!(timers.cancel(key).is_some() && timers.in_line().count() == left);
            timers.check();
        }
        assert!(timers.rearm(keys[1], 30) && timers.in_line().last() == Some(low(keys[1])));
        assert_eq!(timers.earliest(), Some(12));
        timers.check();
    }

    #[test]
    fn time_limits_of_one_length_do_not_touch_the_heap() {
        let mut timers = Timers::default();
        let mut keys: Vec<_> = (0..1_000)
            .map(|d| timers.insert(d + 30_000, Waker::noop().clone()))
            .collect();
        for now in 1_000..5_000_u64 {
            let at = now as usize % 1_000;
            assert!(timers.cancel(keys[at]).is_some());
            keys[at] = timers.insert(now + 30_000, Waker::noop().clone());
            assert!(timers.rearm(keys[at], now + 30_000));
            assert_eq!(
                (timers.heap.len(), timers.earliest()),
                (0, Some(now + 29_001))
            );
        }
        timers.check();
        assert!(timers.pop_due(34_000).is_some() && timers.is_fired(keys[0]));
    }
}
