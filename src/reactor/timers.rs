//! Keeps deadlines in order and returns the wakers that are due; takes `now` as an argument.
//!
//! A 4-ary min-heap, and beside it a line of deadlines that come in order (`line.rs`). Each timer
//! knows its place, so a cancelled one is removed at once instead of staying until its deadline,
//! and the earliest deadline is always exact: the loop sleeps exactly that long and never wakes
//! without a due timer. Nothing is allocated unless there are more timers than lately; memory of a
//! spike is given back.
//!
//! A timer that is moved to a later deadline, as an idle limit is by each message, usually stays in
//! its place in the heap. It moves when it reaches the top, where no moved timer may stay: so it
//! moves once per time limit, not per message.
//!
//! Four children in the heap, because the tree is half as deep as a binary one and a family fits
//! into one cache line; eight gain a little with random deadlines and lose it with equal ones.
//!
//! A hierarchical timing wheel makes, cancels and re-arms timers faster, but by much less than the
//! cost of one `recv`. On the other hand it knows only a lower bound of the earliest deadline, so
//! that the loop would wake without a due timer, and it moves a whole cell at once, so one turn
//! could take long.
//!
//! The line saves 270 instructions of a time limit (row `tcp-echo-timeout` of the benchmarks).
//!
//! Invariants, asserted by `check` in the tests:
//! - no entry is smaller than its parent or later than its timer's deadline, and none has the
//!   deadline `NEVER`; the first entry has its timer's deadline;
//! - the entry at place `p` names a slot with the place `p`; other slots are `FIRED`, `ASLEEP`, or
//!   in the `LINE`, where no deadline is `NEVER` or later than the next one's;
//! - no waker is dropped, cloned or woken in here, because that runs foreign code, which may call
//!   back. Wakers are returned instead.

mod line;

use std::task::Waker;

use self::line::Link;
use crate::room::{self, Slab};

/// Identifies one timer: the generation in the upper half, the index of its slot in the lower.
///
/// The key of a timer that is gone is harmless: every operation on it has no effect.
pub(crate) type TimerKey = u64;

/// The deadline that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// All timers of one loop; deadlines are nanoseconds of one monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// The other timers that can still fire, smallest deadline first: a 4-ary heap.
    heap: Vec<Entry>,
    /// The ends of the line.
    line: Link,
    /// All timers.
    slots: Slab<Slot>,
    /// The number of timers ever made, modulo 2^32.
    generation: u32,
    /// The number of timers that have fired and are still there.
    fired: u32,
}

impl Timers {
    /// Makes a timer that wakes `waker` at `deadline`.
    pub(crate) fn insert(&mut self, deadline: u64, waker: Waker) -> TimerKey {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let slot = Slot {
            waker: Some(waker),
            generation,
            place: ASLEEP,
            deadline,
            link: Link::default(),
        };
        let index = narrow(self.slots.insert(slot));
        self.put_in(index, deadline);
        u64::from(generation) << 32 | u64::from(index)
    }

    /// Returns the next action of a task that waits for the timer with `waker`.
    #[inline]
    pub(crate) fn see(&self, key: TimerKey, waker: &Waker) -> Seen {
        let Some(slot) = self.slot(key) else {
            return Seen::Other;
        };
        match &slot.waker {
            _ if slot.place == FIRED => Seen::Fired,
            Some(present) if present.will_wake(waker) => Seen::Set,
            _ => Seen::Other,
        }
    }

    /// Sets another waker.
    ///
    /// Returns the waker that is no longer needed, which is `waker` itself if the key is stale:
    /// dropping a waker may run foreign code, so the caller drops it when nothing is borrowed.
    pub(crate) fn set_waker(&mut self, key: TimerKey, waker: Waker) -> Option<Waker> {
        match self.slot_mut(key) {
            Some(slot) => slot.waker.replace(waker),
            None => Some(waker),
        }
    }

    /// Moves the timer to another deadline, also if it has already fired; returns false if it is
    /// gone.
    ///
    /// Firing takes the waker, so a timer that has fired needs a new one to wake a task again.
    pub(crate) fn rearm(&mut self, key: TimerKey, deadline: u64) -> bool {
        let index = low(key);
        let Some(slot) = self.slot_mut(key) else {
            return false;
        };
        let place = slot.place;
        slot.deadline = deadline;
        if place < LINE && deadline != NEVER {
            self.move_in_heap(place as usize, Entry { deadline, index });
        } else {
            slot.place = ASLEEP;
            let link = std::mem::take(&mut slot.link);
            self.take_out(place, link);
            self.put_in(index, deadline);
        }
        true
    }

    /// Removes the timer, fired or not, and returns its waker for the caller to drop.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<Waker> {
        self.slot(key)?;
        let slot = self.slots.remove(low(key) as usize);
        self.take_out(slot.place, slot.link);
        slot.waker
    }

    /// Iterates over wakers and deadlines, in no order.
    #[cfg(feature = "dump")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Waker, u64)> {
        let heap = self.heap.iter().map(|entry| entry.index);
        heap.chain(self.in_line()).filter_map(|index| {
            let slot = self.slots.get(index as usize)?;
            Some((slot.waker.as_ref()?, slot.deadline))
        })
    }

    /// Returns whether the timer has fired; it stays so until it is cancelled or re-armed.
    #[inline]
    pub(crate) fn is_fired(&self, key: TimerKey) -> bool {
        self.fired > 0 && self.slot(key).is_some_and(|slot| slot.place == FIRED)
    }

    /// Returns the deadline of the timer that fires next, exactly; `None` if none will fire.
    #[inline]
    pub(crate) fn earliest(&self) -> Option<u64> {
        let top = self.heap.first().map_or(NEVER, |top| top.deadline);
        let first = top.min(self.head_of_line());
        (first != NEVER).then_some(first)
    }

    /// Takes the wakers of all timers; tasks that are polled then store new ones.
    pub(crate) fn take_wakers(&mut self, wakers: &mut Vec<Waker>) {
        let slots = self.slots.iter_mut();
        wakers.extend(slots.filter_map(|(_, slot)| slot.waker.take()));
    }

    /// Returns the time to check for due timers: the earliest deadline, or `slack` after it if
    /// another one is due within that time.
    pub(crate) fn wake_at(&self, slack: u64) -> Option<u64> {
        let first = self.earliest()?;
        let limit = first.saturating_add(slack);
        // The second earliest is one of the line's first two, one of the first's children in the
        // heap, or below one that was moved: in that case the first is met alone.
        let family = self.heap.iter().take(1 + ARITY).map(|entry| entry.index);
        let near = family.chain(self.in_line().take(2));
        let due = near.map(|index| self.slots[index as usize].deadline);
        let crowded = due.filter(|at| *at <= limit).nth(1).is_some();
        Some(if crowded { limit } else { first })
    }

    /// Fires the earliest timer if its deadline is not after `now`, and returns its waker.
    ///
    /// It fires one at a time, so that the caller limits the number in a turn and wakes each while
    /// nothing is borrowed. The order of equal deadlines is not guaranteed.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<Waker> {
        loop {
            let index = match self.heap.first() {
                Some(top) if top.deadline <= self.head_of_line() => top.index,
                _ => self.first_in_line(),
            };
            let slot = self.slots.get_mut(index as usize)?;
            if slot.deadline > now {
                return None;
            }
            let (place, waker) = (std::mem::replace(&mut slot.place, FIRED), slot.waker.take());
            let link = std::mem::take(&mut slot.link);
            self.take_out(place, link);
            self.fired += 1;
            // Without a waker it fires too, but `None` would mean that none is due.
            if waker.is_some() {
                return waker;
            }
        }
    }

    /// The number of timers, including fired ones.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    fn slot(&self, key: TimerKey) -> Option<&Slot> {
        let slot = self.slots.get(low(key) as usize)?;
        (slot.generation == high(key)).then_some(slot)
    }

    fn slot_mut(&mut self, key: TimerKey) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(low(key) as usize)?;
        (slot.generation == high(key)).then_some(slot)
    }

    /// Adds a timer to the line or the heap if its deadline is finite.
    #[inline]
    fn put_in(&mut self, index: u32, deadline: u64) {
        if deadline != NEVER && !self.line_up(index, deadline) {
            self.push(Entry { deadline, index });
        }
    }

    /// Removes a timer from where it is, which may be nowhere.
    #[inline(always)]
    fn take_out(&mut self, place: u32, link: Link) {
        match place {
            LINE => self.leave_line(link),
            FIRED => self.fired -= 1,
            ASLEEP => {}
            at => self.remove_from_heap(at as usize),
        }
    }

    /// Adds a timer to the heap.
    fn push(&mut self, entry: Entry) {
        self.heap.push(entry);
        self.sift_up(self.heap.len() - 1, entry);
    }

    fn remove_from_heap(&mut self, at: usize) {
        let last = self.heap.pop().expect("a place lies inside the heap");
        room::shrink(&mut self.heap);
        if at < self.heap.len() {
            self.settle(at, last);
        }
        if at == 0 {
            self.clear_top();
        }
    }

    /// Applies a new deadline of a timer in the heap. For a later one it moves only when it reaches
    /// the top.
    #[inline]
    fn move_in_heap(&mut self, at: usize, entry: Entry) {
        if entry.deadline < self.heap[at].deadline {
            self.sift_up(at, entry);
        } else if at == 0 {
            self.clear_top();
        }
    }

    /// Moves timers at the top of the heap that have a later deadline by now to their right places.
    fn clear_top(&mut self) {
        while let Some(&Entry { deadline, index }) = self.heap.first() {
            let due = self.slots[index as usize].deadline;
            if due == deadline {
                return;
            }
            let entry = Entry {
                deadline: due,
                index,
            };
            self.sift_down(0, entry);
        }
    }

    /// Fills the hole at `at` with `entry`, or with an entry that has to move to make room for it.
    fn settle(&mut self, at: usize, entry: Entry) {
        if at > 0 && entry.deadline < self.heap[(at - 1) / ARITY].deadline {
            self.sift_up(at, entry);
        } else {
            self.sift_down(at, entry);
        }
    }

    fn sift_up(&mut self, mut at: usize, entry: Entry) {
        while at > 0 {
            let parent = (at - 1) / ARITY;
            let above = self.heap[parent];
            if above.deadline <= entry.deadline {
                break;
            }
            self.put(at, above);
            at = parent;
        }
        self.put(at, entry);
    }

    fn sift_down(&mut self, mut at: usize, entry: Entry) {
        while let Some((child, below)) = self.smallest_child(at) {
            if entry.deadline <= below.deadline {
                break;
            }
            self.put(at, below);
            at = child;
        }
        self.put(at, entry);
    }

    fn smallest_child(&self, at: usize) -> Option<(usize, Entry)> {
        let first = at * ARITY + 1;
        let children = self.heap.get(first..)?;
        // A family, which is nearly always full, is compared in pairs, without branches.
        if let Some(&[a, b, c, d]) = children.first_chunk::<ARITY>() {
            type Child = (usize, Entry);
            let least = |x: Child, y: Child| if y.1.deadline < x.1.deadline { y } else { x };
            let (offset, least) = least(least((0, a), (1, b)), least((2, c), (3, d)));
            return Some((first + offset, least));
        }
        let (offset, least) = children
            .iter()
            .enumerate()
            .min_by_key(|(_, c)| c.deadline)?;
        Some((first + offset, *least))
    }

    /// Writes the entry and updates its slot; every move in the heap goes through here.
    fn put(&mut self, at: usize, entry: Entry) {
        self.heap[at] = entry;
        self.slots[entry.index as usize].place = at as u32;
    }
}

/// The next action of a task that waits for a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Its deadline has passed: nothing more.
    Fired,
    /// It will wake the task: wait.
    Set,
    /// It wakes another task, or none: store a waker.
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The deadline of the timer, or an earlier one that it had before.
    deadline: u64,
    index: u32,
}

#[derive(Debug)]
struct Slot {
    waker: Option<Waker>,
    generation: u32,
    /// The index of its entry in the heap; `LINE`, `FIRED`, or `ASLEEP` if its deadline is `NEVER`.
    place: u32,
    deadline: u64,
    /// Its neighbours in the line, only there.
    link: Link,
}

fn low(key: TimerKey) -> u32 {
    key as u32
}

fn high(key: TimerKey) -> u32 {
    (key >> 32) as u32
}

fn narrow(index: usize) -> u32 {
    let index = u32::try_from(index).ok().filter(|index| *index < LINE);
    index.expect("memory ends before the indices do")
}

const ARITY: usize = 4;
const ASLEEP: u32 = u32::MAX;
const FIRED: u32 = ASLEEP - 1;
const LINE: u32 = FIRED - 1;

#[cfg(test)]
mod tests;
