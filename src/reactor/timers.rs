//! Keeps deadlines in order and hands out the wakers that are due; takes `now` as an argument.
//!
//! A 4-ary min-heap. Each timer knows its place in it, so a cancelled one is taken out at once
//! instead of waiting for its hour as a tombstone, and the earliest deadline is always exact: the
//! loop sleeps just so long and is not woken to find nothing due. Nothing allocates unless there
//! are more timers than lately; what a spike has taken is given back.
//!
//! A timer that is moved to a later deadline, as an idle limit is by each message, mostly stays
//! where it is in the heap. It goes to its right place when it comes to the top, which is never
//! left to one that has been moved: so it is once per time limit, not per message.
//!
//! Four children in the heap, because the tree is half as deep as a binary one and a family is one
//! cache line's worth; eight gained a little with random deadlines and lost it with equal ones.
//!
//! Against a hierarchical timing wheel (11 levels of 64 cells, linked lists), ns per operation,
//! 25,000 live timers:
//!
//! | made and cancelled, or re-armed          | heap | wheel |
//! |------------------------------------------|------|-------|
//! | newest cancelled, uniform deadlines      |   13 |    12 |
//! | oldest cancelled, uniform deadlines      |   21 |    12 |
//! | random one cancelled, uniform deadlines  |   37 |    24 |
//! | random one re-armed, uniform deadlines   |   25 |    17 |
//! | made, fired, freed, uniform deadlines    |   61 |    18 |
//! | oldest cancelled, all 30 s               |   48 |    11 |
//!
//! Where the wheel wins, it is by less than a tenth of what one `recv` costs. For that it knows
//! only a lower bound of the earliest deadline, so that the loop would wake for nothing, and moves
//! a whole cell at once, so one turn could take long. Lists of deadlines that come in order, beside
//! the heap, cost as many lines again and won nothing that the timer rows of `benches/` show.
//!
//! What always holds, and `check` in the tests asserts:
//! - no entry is smaller than its parent or later than its timer's deadline, and none has the
//!   deadline `NEVER`; the first entry has its timer's deadline;
//! - the entry at place `p` names a slot whose place is `p`; other slots are `FIRED` or `ASLEEP`;
//! - no waker is dropped, cloned or woken in here, because that runs foreign code, which may come
//!   back in. A waker leaves as a return value.

use std::task::Waker;

use crate::room::{self, Slab};

/// Names one timer: the generation in the upper half, the index of its slot in the lower.
///
/// The key of a timer that is gone is harmless: every operation on it does nothing.
pub(crate) type TimerKey = u64;

/// The deadline that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// All timers of one loop; deadlines are nanoseconds of one monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// Those that can still fire, smallest deadline first: a 4-ary heap.
    heap: Vec<Entry>,
    /// Every timer there is.
    slots: Slab<Slot>,
    /// Counts the timers ever made, modulo 2^32.
    generation: u32,
}

impl Timers {
    /// Makes a timer that wakes `waker` once `deadline` has come.
    pub(crate) fn insert(&mut self, deadline: u64, waker: Waker) -> TimerKey {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let slot = Slot {
            waker: Some(waker),
            generation,
            place: ASLEEP,
            deadline,
        };
        let index = narrow(self.slots.insert(slot));
        self.put_in(index, deadline);
        u64::from(generation) << 32 | u64::from(index)
    }

    /// Whether the timer wakes the same task as `waker` does, so that it needs no new one.
    #[inline]
    pub(crate) fn would_wake(&self, key: TimerKey, waker: &Waker) -> bool {
        self.see(key, waker) == Seen::Set
    }

    /// What somebody who waits for the timer with `waker` has to do.
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

    /// Gives the timer another waker.
    ///
    /// Returns the one that is no longer needed, which is `waker` itself if the key is stale:
    /// dropping a waker may run foreign code, so the caller drops it when nothing is borrowed.
    pub(crate) fn set_waker(&mut self, key: TimerKey, waker: Waker) -> Option<Waker> {
        match self.slot_mut(key) {
            Some(slot) => slot.waker.replace(waker),
            None => Some(waker),
        }
    }

    /// Moves the timer to another deadline, also if it has fired already; false if it is gone.
    ///
    /// Firing took the waker, so a timer that had fired needs a new one to wake somebody again.
    pub(crate) fn rearm(&mut self, key: TimerKey, deadline: u64) -> bool {
        let index = low(key);
        let Some(slot) = self.slot_mut(key) else {
            return false;
        };
        let place = slot.place;
        slot.deadline = deadline;
        if place < FIRED && deadline != NEVER {
            self.move_in_heap(place as usize, Entry { deadline, index });
        } else {
            slot.place = ASLEEP;
            self.take_out(place);
            self.put_in(index, deadline);
        }
        true
    }

    /// Removes the timer, fired or not, and returns its waker for the caller to drop.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<Waker> {
        self.slot(key)?;
        let slot = self.slots.remove(low(key) as usize);
        self.take_out(slot.place);
        slot.waker
    }

    /// Who waits for which deadline, in no order.
    #[cfg(feature = "dump")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Waker, u64)> {
        self.heap.iter().filter_map(|entry| {
            let slot = self.slots.get(entry.index as usize)?;
            Some((slot.waker.as_ref()?, slot.deadline))
        })
    }

    /// Whether the timer's deadline has come; it stays so until it is cancelled or re-armed.
    pub(crate) fn is_fired(&self, key: TimerKey) -> bool {
        self.slot(key).is_some_and(|slot| slot.place == FIRED)
    }

    /// The deadline of the timer that fires next, exactly; `None` if none ever will.
    #[inline]
    pub(crate) fn earliest(&self) -> Option<u64> {
        self.heap.first().map(|first| first.deadline)
    }

    /// Takes the wakers of all timers; whoever is polled then stores another.
    pub(crate) fn take_wakers(&mut self, wakers: &mut Vec<Waker>) {
        wakers.extend(
            self.slots
                .iter_mut()
                .filter_map(|(_, slot)| slot.waker.take()),
        );
    }

    /// When to look for due timers: at the earliest deadline, or `slack` after it if another one
    /// comes within that time.
    pub(crate) fn wake_at(&self, slack: u64) -> Option<u64> {
        let first = self.earliest()?;
        let limit = first.saturating_add(slack);
        // The second earliest is one of the first's children, or below one that was moved: then the
        // first is met alone.
        let family = self.heap.iter().take(1 + ARITY);
        let due = family.map(|entry| self.slots[entry.index as usize].deadline);
        let crowded = due.filter(|at| *at <= limit).nth(1).is_some();
        Some(if crowded { limit } else { first })
    }

    /// Fires the earliest timer if its deadline is not after `now`; the caller wakes the waker.
    ///
    /// One at a time, so that the caller decides how many a turn may take and wakes each with
    /// nothing borrowed. Which of equal deadlines comes first is not promised.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<Waker> {
        loop {
            let index = self.heap.first().filter(|top| top.deadline <= now)?.index;
            let slot = &mut self.slots[index as usize];
            slot.place = FIRED;
            let waker = slot.waker.take();
            self.take_out(0);
            // Without a waker it fires all the same, but `None` would say that none is due.
            if waker.is_some() {
                return waker;
            }
        }
    }

    /// How many timers there are, fired ones included.
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

    /// Puts a timer that is not in the heap there, if its deadline ever comes.
    #[inline]
    fn put_in(&mut self, index: u32, deadline: u64) {
        if deadline != NEVER {
            let entry = Entry { deadline, index };
            self.heap.push(entry);
            self.sift_up(self.heap.len() - 1, entry);
        }
    }

    /// Takes a timer that was there out of the heap.
    #[inline]
    fn take_out(&mut self, place: u32) {
        if place >= FIRED {
            return;
        }
        let at = place as usize;
        let last = self.heap.pop().expect("a place lies inside the heap");
        room::shrink(&mut self.heap);
        if at < self.heap.len() {
            self.settle(at, last);
        }
        if at == 0 {
            self.clear_top();
        }
    }

    /// A timer in the heap has a new deadline. To a later one it is moved when it comes to the top.
    #[inline]
    fn move_in_heap(&mut self, at: usize, entry: Entry) {
        if entry.deadline < self.heap[at].deadline {
            self.sift_up(at, entry);
        } else if at == 0 {
            self.clear_top();
        }
    }

    /// Puts what has come to the top of the heap, and has a later deadline by now, where it
    /// belongs.
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

    /// Fills the hole at `at` with `entry`, or with what has to move there to make room for it.
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
        // A full family, nearly always, is compared as in a tournament, without branches.
        if let Some(&[a, b, c, d]) = children.first_chunk::<ARITY>() {
            let ab = if b.deadline < a.deadline {
                (1, b)
            } else {
                (0, a)
            };
            let cd = if d.deadline < c.deadline {
                (3, d)
            } else {
                (2, c)
            };
            let (offset, least) = if cd.1.deadline < ab.1.deadline {
                cd
            } else {
                ab
            };
            return Some((first + offset, least));
        }
        let (offset, least) = children
            .iter()
            .enumerate()
            .min_by_key(|(_, c)| c.deadline)?;
        Some((first + offset, *least))
    }

    /// Writes the entry and tells its slot; every move in the heap goes through here.
    fn put(&mut self, at: usize, entry: Entry) {
        self.heap[at] = entry;
        self.slots[entry.index as usize].place = at as u32;
    }
}

/// What somebody who waits for a timer has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Its deadline has come: nothing more.
    Fired,
    /// It will wake them: wait.
    Set,
    /// It wakes another, or nobody: leave a waker.
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// That of the timer, or one that it had before and that was earlier.
    deadline: u64,
    index: u32,
}

#[derive(Debug)]
struct Slot {
    waker: Option<Waker>,
    generation: u32,
    /// Where in the heap its entry is, or `FIRED`, or `ASLEEP` if its deadline is `NEVER`.
    place: u32,
    deadline: u64,
}

fn low(key: TimerKey) -> u32 {
    key as u32
}

fn high(key: TimerKey) -> u32 {
    (key >> 32) as u32
}

fn narrow(index: usize) -> u32 {
    let index = u32::try_from(index).ok().filter(|index| *index < FIRED);
    index.expect("memory ends before the indices do")
}

const ARITY: usize = 4;
const ASLEEP: u32 = u32::MAX;
const FIRED: u32 = ASLEEP - 1;

#[cfg(test)]
mod tests;
