//! Keeps deadlines in order and hands out the wakers that are due; takes `now` as an argument.
//!
//! Two structures share the timers. Those that come in order, as time limits of one length do, are
//! in the lists of `lanes.rs`: made, moved and cancelled in a few steps however many there are. The
//! others are in a 4-ary min-heap. Each timer knows where it is, so a cancelled one is taken out
//! at once instead of waiting for its hour as a tombstone, and the earliest deadline is always
//! exact: the loop sleeps just so long and is not woken to find nothing due. Nothing allocates
//! unless there are more timers than lately; what a spike has taken is given back.
//!
//! A timer that is moved to a later deadline, as an idle limit is by each message, mostly stays
//! where it is in the heap. It goes to its right place when it comes to the top, which is never
//! left to one that has been moved: so it is once per time limit, not per message.
//!
//! Four children in the heap, because the tree is half as deep as a binary one and a family is one
//! cache line's worth; eight gained a little with random deadlines and lost it with equal ones.
//!
//! Measured before there were lanes: the heap alone against a hierarchical timing wheel (11 levels
//! of 64 cells, linked lists). ns per operation, 25,000 live timers:
//!
//! | made and cancelled, or re-armed          | heap | wheel |
//! |------------------------------------------|------|-------|
//! | newest cancelled, uniform deadlines      |   13 |    12 |
//! | oldest cancelled, uniform deadlines      |   21 |    12 |
//! | random one cancelled, uniform deadlines  |   37 |    24 |
//! | random one re-armed, uniform deadlines   |   25 |    17 |
//! | made, fired, freed, uniform deadlines    |   61 |    18 |
//! | oldest cancelled, all 30 s               |   48 |    11 |
//! | oldest re-armed, all 30 s                |   40 |     5 |
//!
//! For the last two, a server's time-outs, there are the lanes now. Where the wheel still wins, it
//! is by less than a tenth of what one `recv` costs. For that it knows only a lower bound of the
//! earliest deadline, so that the loop would wake for nothing, and moves a whole cell at once, so
//! one turn could take long.
//!
//! The file is long because half of it is the tests, which see its inside.
//!
//! What always holds, and `check` in the tests asserts:
//! - no entry is smaller than its parent or later than its timer's deadline, and none has the
//!   deadline `NEVER`; the first entry has its timer's deadline;
//! - the entry at place `p` names a slot whose place is `p`; one in a lane has the lane's place;
//!   other slots are `FIRED` or `ASLEEP`;
//! - no waker is dropped, cloned or woken in here, because that runs foreign code, which may come
//!   back in. A waker leaves as a return value.

use std::mem;
use std::task::Waker;

use super::lanes::{LANES, Lanes, Link, Linked, NIL};
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
    /// Those that can still fire and came in order.
    lanes: Lanes,
    /// The others, smallest deadline first: a 4-ary heap.
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
        let (place, link) = self.place_for(deadline);
        let slot = Slot {
            waker: Some(waker),
            generation,
            place,
            link,
        };
        let index = narrow(self.slots.insert(slot));
        self.put_in(index, place, deadline);
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
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return false;
        };
        if slot.generation != high(key) {
            return false;
        }
        let place = slot.place;
        let stays = match place {
            FIRED | ASLEEP => false,
            _ if deadline == NEVER => false,
            0..LANE => {
                slot.link.deadline = deadline;
                self.move_in_heap(place as usize, Entry { deadline, index });
                true
            }
            lane => {
                let lane = (lane - LANE) as usize;
                self.lanes.stretch(lane, &mut slot.link, deadline)
            }
        };
        stays || {
            self.place_anew(index, deadline);
            true
        }
    }

    /// Takes a timer from where it is to where it belongs.
    fn place_anew(&mut self, index: u32, deadline: u64) {
        let Slot { place, link, .. } = self.slots[index as usize];
        self.take_out(place, link);
        let (place, link) = self.place_for(deadline);
        let slot = &mut self.slots[index as usize];
        (slot.place, slot.link) = (place, link);
        self.put_in(index, place, deadline);
    }

    /// Removes the timer, fired or not, and returns its waker for the caller to drop.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<Waker> {
        self.slot(key)?;
        let slot = self.slots.remove(low(key) as usize);
        self.take_out(slot.place, slot.link);
        slot.waker
    }

    /// Who waits for which deadline, in no order.
    #[cfg(feature = "dump")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Waker, u64)> {
        let heap = self.heap.iter().map(|entry| entry.index);
        let all = self.lanes.iter(&self.slots).chain(heap);
        all.filter_map(|index| {
            let slot = self.slots.get(index as usize)?;
            Some((slot.waker.as_ref()?, slot.link.deadline))
        })
    }

    /// Whether the timer's deadline has come; it stays so until it is cancelled or re-armed.
    pub(crate) fn is_fired(&self, key: TimerKey) -> bool {
        self.slot(key).is_some_and(|slot| slot.place == FIRED)
    }

    /// The deadline of the timer that fires next, exactly; `None` if none ever will.
    #[inline]
    pub(crate) fn earliest(&self) -> Option<u64> {
        let (mut earliest, _) = self.lanes.earliest();
        if let Some(first) = self.heap.first() {
            earliest = earliest.min(first.deadline);
        }
        (earliest != NEVER).then_some(earliest)
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
        // The second earliest is the second of a list, or one of the first's children, or below
        // one that was moved: then the first is met alone.
        let heap = self.heap.iter().take(1 + ARITY);
        let heap = heap.map(|entry| self.slots[entry.index as usize].link.deadline);
        let mut near = self
            .lanes
            .heads(&self.slots)
            .chain(heap)
            .filter(|at| *at <= limit);
        let crowded = near.nth(1).is_some();
        Some(if crowded { limit } else { first })
    }

    /// Fires the earliest timer if its deadline is not after `now`; the caller wakes the waker.
    ///
    /// One at a time, so that the caller decides how many a turn may take and wakes each with
    /// nothing borrowed. Which of equal deadlines comes first is not promised.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<Waker> {
        loop {
            let (first, lane) = self.lanes.earliest();
            let (deadline, index) = match self.heap.first() {
                Some(top) if top.deadline <= first => (top.deadline, top.index),
                _ => (first, self.lanes.first(lane)),
            };
            if deadline > now || deadline == NEVER {
                return None;
            }
            let slot = &mut self.slots[index as usize];
            let (place, link) = (mem::replace(&mut slot.place, FIRED), slot.link);
            let waker = slot.waker.take();
            self.take_out(place, link);
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

    /// Where a timer belongs by its deadline, and its link there.
    #[inline]
    fn place_for(&self, deadline: u64) -> (u32, Link) {
        let mut link = Link {
            deadline,
            previous: NIL,
            next: NIL,
        };
        if deadline == NEVER {
            return (ASLEEP, link);
        }
        match self.lanes.choose(deadline) {
            None => (0, link),
            Some(lane) => {
                link.previous = self.lanes.last(lane);
                (LANE + lane as u32, link)
            }
        }
    }

    /// Puts a timer where [`place_for`](Self::place_for) said.
    #[inline]
    fn put_in(&mut self, index: u32, place: u32, deadline: u64) {
        match place {
            ASLEEP => {}
            0..LANE => {
                let entry = Entry { deadline, index };
                self.heap.push(entry);
                self.sift_up(self.heap.len() - 1, entry);
            }
            lane => {
                let lane = (lane - LANE) as usize;
                self.lanes.add(lane, index, deadline, &mut self.slots);
            }
        }
    }

    /// Takes a timer that was there out of where it is, if that is one of the two.
    #[inline]
    fn take_out(&mut self, place: u32, link: Link) {
        match place {
            FIRED | ASLEEP => {}
            0..LANE => self.remove_from_heap(place as usize),
            lane => {
                let lane = (lane - LANE) as usize;
                self.lanes.remove(lane, link, &mut self.slots);
            }
        }
    }

    fn remove_from_heap(&mut self, at: usize) {
        let last = self
            .heap
            .pop()
            .expect("the place of an entry lies inside the heap");
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
            let due = self.slots[index as usize].link.deadline;
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
    /// Where in the heap its entry is, or `LANE` plus its lane, or `FIRED`, or `ASLEEP` if its
    /// deadline is `NEVER`.
    place: u32,
    link: Link,
}

impl Linked for Slot {
    #[inline]
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    #[inline]
    fn deadline(&self) -> u64 {
        self.link.deadline
    }

    #[inline]
    fn next(&self) -> u32 {
        self.link.next
    }
}

fn low(key: TimerKey) -> u32 {
    key as u32
}

fn high(key: TimerKey) -> u32 {
    (key >> 32) as u32
}

fn narrow(index: usize) -> u32 {
    let index = u32::try_from(index).ok().filter(|index| *index < LANE);
    index.expect("memory ends before the indices do")
}

const ARITY: usize = 4;
const ASLEEP: u32 = u32::MAX;
const FIRED: u32 = ASLEEP - 1;
/// The place of the timers in lane 0.
const LANE: u32 = FIRED - LANES as u32;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    /// A waker equal to no other.
    fn waker() -> Waker {
        Waker::from(Arc::new(Nobody))
    }

    /// Reproducible random numbers: xorshift64.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, end: usize) -> usize {
            (self.next() % end as u64) as usize
        }

        /// Mostly near each other, often equal, now and then extreme.
        fn deadline(&mut self) -> u64 {
            match self.below(16) {
                0 => [0, 1, NEVER - 1, NEVER][self.below(4)],
                1 => self.next(),
                _ => 1_000 + self.next() % 500,
            }
        }
    }

    impl Timers {
        fn armed(&self) -> usize {
            self.heap.len() + self.lanes.iter(&self.slots).count()
        }

        fn check(&self) {
            for (at, entry) in self.heap.iter().enumerate() {
                assert!(entry.deadline < NEVER);
                assert!(at == 0 || self.heap[(at - 1) / ARITY].deadline <= entry.deadline);
                let slot = &self.slots[entry.index as usize];
                assert_eq!(slot.place as usize, at);
                let (due, moved) = (slot.link.deadline, at > 0);
                assert!(due == entry.deadline || moved && due > entry.deadline);
            }
            let mut before = 0;
            for index in self.lanes.iter(&self.slots) {
                let slot = &self.slots[index as usize];
                let deadline = slot.link.deadline;
                assert!((LANE..FIRED).contains(&slot.place) && deadline < NEVER);
                let is_first = self.lanes.first((slot.place - LANE) as usize) == index;
                assert!(is_first || before <= deadline);
                before = deadline;
            }
            let armed = |(_, slot): &(usize, &Slot)| slot.place < FIRED;
            assert_eq!(self.slots.iter().filter(armed).count(), self.armed());
        }
    }

    #[cfg(feature = "dump")]
    #[test]
    fn all_that_something_waits_for_are_listed() {
        let mut timers = Timers::default();
        for deadline in [5, NEVER, 3] {
            timers.insert(deadline, waker());
        }
        let mut listed: Vec<u64> = timers.iter().map(|(_, deadline)| deadline).collect();
        listed.sort_unstable();
        assert_eq!(listed, [3, 5]);
        assert!(timers.pop_due(3).is_some());
        assert_eq!(timers.iter().count(), 1);
    }

    /// The same thing, done so simply that it is right by inspection.
    #[derive(Default)]
    struct Twin {
        /// Deadline, `None` once fired, and waker.
        timers: BTreeMap<TimerKey, (Option<u64>, Option<Waker>)>,
        queue: BTreeSet<(u64, TimerKey)>,
    }

    impl Twin {
        fn earliest(&self) -> Option<u64> {
            self.queue
                .first()
                .map(|(deadline, _)| *deadline)
                .filter(|first| *first != NEVER)
        }

        fn arm(&mut self, key: TimerKey, deadline: u64) -> bool {
            let Some((old, _)) = self.timers.get_mut(&key) else {
                return false;
            };
            if let Some(old) = old.replace(deadline) {
                self.queue.remove(&(old, key));
            }
            self.queue.insert((deadline, key))
        }

        fn cancel(&mut self, key: TimerKey) -> Option<Waker> {
            let (deadline, waker) = self.timers.remove(&key)?;
            deadline.map(|deadline| self.queue.remove(&(deadline, key)));
            waker
        }

        /// Follows one `pop_due`: of equal deadlines it takes those that `timers` has fired.
        fn fire(&mut self, timers: &Timers, now: u64) -> Option<Waker> {
            while let Some(first) = self.earliest().filter(|first| *first <= now) {
                let equal = self.queue.range((first, 0)..=(first, u64::MAX));
                let fired = equal
                    .map(|(_, key)| *key)
                    .filter(|key| timers.is_fired(*key));
                // Those without a waker fire by the way; one with a waker is the last.
                let last = fired.min_by_key(|key| self.timers[key].1.is_some());
                let Some(key) = last else { break };
                self.queue.remove(&(first, key));
                let (deadline, waker) = self.timers.get_mut(&key).expect("queued");
                *deadline = None;
                if waker.is_some() {
                    return waker.take();
                }
            }
            None
        }
    }

    fn same(one: Option<&Waker>, other: Option<&Waker>) -> bool {
        match (one, other) {
            (Some(one), Some(other)) => one.will_wake(other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }

    fn random_step(random: &mut Random, keys: &mut Vec<TimerKey>, t: &mut Timers, twin: &mut Twin) {
        // Keys stay in the list when their timers are gone: stale ones are tried as well.
        let key = if keys.is_empty() {
            0
        } else {
            keys[random.below(keys.len())]
        };
        match random.below(10) {
            0..=2 => {
                let (deadline, waker) = (random.deadline(), waker());
                let key = t.insert(deadline, waker.clone());
                assert!(t.would_wake(key, &waker));
                assert!(twin.timers.insert(key, (None, Some(waker))).is_none());
                twin.arm(key, deadline);
                if keys.len() < 400 {
                    keys.push(key)
                } else {
                    keys[random.below(400)] = key
                }
            }
            3 | 4 => assert!(same(t.cancel(key).as_ref(), twin.cancel(key).as_ref())),
            5 | 6 => {
                let deadline = random.deadline();
                assert_eq!(t.rearm(key, deadline), twin.arm(key, deadline));
            }
            7 => {
                let waker = waker();
                let old = t.set_waker(key, waker.clone());
                let expected = match twin.timers.get_mut(&key) {
                    Some((_, slot)) => slot.replace(waker),
                    None => Some(waker),
                };
                assert!(same(old.as_ref(), expected.as_ref()));
            }
            _ => {
                let now = t.earliest().unwrap_or(0).saturating_sub(random.next() % 2);
                let early = t.earliest().is_none_or(|first| first > now);
                let waker = t.pop_due(now);
                assert!(!early || waker.is_none());
                // `None` says that nothing more is due.
                assert!(waker.is_some() || t.earliest().is_none_or(|first| first > now));
                assert!(same(waker.as_ref(), twin.fire(t, now).as_ref()));
            }
        }
        let fired = twin
            .timers
            .get(&key)
            .is_some_and(|(deadline, _)| deadline.is_none());
        assert_eq!(t.is_fired(key), fired);
        assert_eq!(
            (t.earliest(), t.len()),
            (twin.earliest(), twin.timers.len())
        );
    }

    #[test]
    fn what_waits_for_a_timer_knows_what_to_do() {
        let (mut timers, ours, mut taken) = (Timers::default(), waker(), Vec::new());
        let key = timers.insert(5, ours.clone());
        assert_eq!(timers.see(key, &ours), Seen::Set);
        assert_eq!(timers.see(key, &waker()), Seen::Other);
        timers.take_wakers(&mut taken);
        assert!(taken.len() == 1 && taken[0].will_wake(&ours));
        assert_eq!(timers.see(key, &ours), Seen::Other);
        assert!(timers.pop_due(5).is_none(), "its waker was taken");
        assert_eq!(timers.see(key, &ours), Seen::Fired);
        assert_eq!(timers.see(key + 1, &ours), Seen::Other);
    }

    #[test]
    fn agrees_with_its_naive_twin() {
        let steps = if cfg!(debug_assertions) {
            30_000
        } else {
            1_000_000
        };
        let (mut timers, mut twin) = (Timers::default(), Twin::default());
        let (mut random, mut keys) = (Random(0x9E37_79B9_7F4A_7C15), Vec::new());
        for step in 0..steps {
            random_step(&mut random, &mut keys, &mut timers, &mut twin);
            if step % 64 == 0 {
                timers.check();
            }
            // Timers whose keys the list has lost are never cancelled; start afresh.
            if step % 5_000 == 0 {
                twin.timers.keys().for_each(|key| drop(timers.cancel(*key)));
                twin = Twin::default();
                assert_eq!((timers.len(), timers.earliest()), (0, None));
            }
        }
    }

    #[test]
    fn what_is_moved_to_a_later_deadline_stays_until_it_is_on_top() {
        let mut timers = Timers::default();
        // One that is later in each lane, so that the others are in the heap.
        for at in 0..LANES as u64 {
            timers.insert(9_000 - at, waker());
        }
        let keys = [10, 20, 30, 40].map(|deadline| timers.insert(deadline, waker()));
        let [first, second, third, _] = keys;
        assert!(timers.rearm(second, 50) && timers.rearm(second, 60) && timers.rearm(third, 45));
        assert_eq!((timers.heap[1].deadline, timers.earliest()), (20, Some(10)));
        timers.check();
        // Back to a deadline that is later than its place says is nothing to do either.
        assert!(timers.rearm(second, 35) && timers.heap[1].deadline == 20);
        // A lone one is met exactly, whatever its neighbours once were.
        assert_eq!(timers.wake_at(15), Some(10));
        assert!(timers.rearm(first, 41));
        assert_eq!(timers.earliest(), Some(35), "the top knows its time");
        timers.check();
        let fired = [35, 40, 41, 45].map(|now| {
            assert!(timers.pop_due(now - 1).is_none(), "never early");
            timers.pop_due(now).is_some()
        });
        assert_eq!(fired, [true; 4]);
        timers.check();
        assert!(timers.rearm(first, 7) && timers.earliest() == Some(7));
    }

    #[test]
    fn extreme_deadlines() {
        let mut timers = Timers::default();
        let never = timers.insert(u64::MAX, waker());
        assert_eq!(timers.earliest(), None);
        assert!(timers.pop_due(u64::MAX).is_none());
        let last = timers.insert(u64::MAX - 1, waker());
        let first = timers.insert(0, waker());
        assert!(timers.pop_due(0).is_some() && timers.is_fired(first));
        assert!(timers.pop_due(u64::MAX - 2).is_none());
        assert!(timers.pop_due(u64::MAX - 1).is_some() && timers.is_fired(last));
        assert!(timers.rearm(never, 7) && timers.earliest() == Some(7));
        assert!(timers.rearm(never, u64::MAX) && timers.earliest().is_none());
        assert!(!timers.is_fired(never) && timers.cancel(never).is_some());
        assert!(timers.cancel(first).is_none() && timers.cancel(last).is_none());
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn stale_keys_do_nothing_also_when_generations_wrap() {
        let mut timers = Timers {
            generation: u32::MAX - 1,
            ..Timers::default()
        };
        let mut stale = Vec::new();
        for _ in 0..4 {
            let key = timers.insert(5, waker());
            let fresh = waker();
            for old in &stale {
                assert!(timers.cancel(*old).is_none() && !timers.rearm(*old, 1));
                assert!(
                    timers
                        .set_waker(*old, fresh.clone())
                        .is_some_and(|w| w.will_wake(&fresh))
                );
            }
            assert!(!timers.would_wake(key, &fresh) && timers.earliest() == Some(5));
            assert!(timers.cancel(key).is_some());
            stale.push(key);
        }
        assert!(
            stale.iter().all(|key| *key as u32 == 0),
            "all had the same slot"
        );
    }

    #[test]
    fn many_timers_at_one_instant_fire_in_linear_time() {
        let mut timers = Timers::default();
        // One that is later in each lane, so that the others are in the heap.
        let later: Vec<_> = (0..LANES as u64)
            .map(|at| timers.insert(99 - at, waker()))
            .collect();
        for _ in 0..100_000 {
            timers.insert(9, Waker::noop().clone());
            assert_eq!(
                timers.heap[0].index, LANES as u32,
                "no equal one is overtaken"
            );
        }
        while let Some(last) = timers.heap.last().map(|entry| entry.index) {
            assert!(timers.pop_due(9).is_some());
            // One move per timer: the last entry took the root's place and stayed there.
            assert!(timers.heap.first().is_none_or(|first| first.index == last));
        }
        assert_eq!(
            (timers.len(), timers.earliest()),
            (100_000 + LANES, Some(96))
        );
        assert!(later.into_iter().all(|key| timers.cancel(key).is_some()));
        assert_eq!(timers.earliest(), None);
    }

    #[test]
    fn time_limits_of_one_length_do_not_touch_the_heap() {
        let mut timers = Timers::default();
        let mut keys: Vec<_> = (0..1_000)
            .map(|d| timers.insert(d + 30_000, waker()))
            .collect();
        for now in 1_000..5_000_u64 {
            let at = now as usize % 1_000;
            assert!(timers.cancel(keys[at]).is_some());
            keys[at] = timers.insert(now + 30_000, waker());
            assert!(timers.rearm(keys[at], now + 30_000));
            assert_eq!(
                (timers.heap.len(), timers.earliest()),
                (0, Some(now + 29_001))
            );
        }
        timers.check();
        assert!(timers.pop_due(34_000).is_some() && timers.is_fired(keys[0]));
    }

    #[test]
    fn nothing_is_allocated_or_left_behind_in_steady_state() {
        let mut timers = Timers::default();
        let mut keys: Vec<_> = (0..1_000).map(|d| timers.insert(d, waker())).collect();
        let places = timers.slots.room();
        let mut random = Random(1);
        for now in 0..20_000 {
            let at = random.below(keys.len());
            assert!(timers.cancel(keys[at]).is_some());
            assert_eq!((timers.len(), timers.armed()), (999, 999));
            keys[at] = timers.insert(now + random.next() % 5_000, waker());
            assert!(timers.rearm(keys[random.below(1_000)], now + 5_000));
        }
        assert_eq!(places, timers.slots.room());
        assert!(timers.heap.capacity() <= 1_024);
    }

    #[test]
    fn what_a_spike_has_taken_is_given_back() {
        let mut timers = Timers::default();
        let lasting = timers.insert(7, waker());
        let mut random = Random(3);
        let mut keys: Vec<_> = (0..100_000)
            .map(|now| timers.insert(10 + now * (now % 3) + random.next() % 99, waker()))
            .collect();
        assert!(timers.heap.len() > 10_000, "some are in no order");
        while !keys.is_empty() {
            let key = keys.swap_remove(random.below(keys.len()));
            assert!(timers.cancel(key).is_some());
        }
        timers.check();
        assert!(timers.len() == 1 && timers.slots.room() <= 128);
        assert!(timers.heap.capacity() <= 1_024);
        // A key of then names none of now.
        let again: Vec<_> = (0..1_000).map(|d| timers.insert(d, waker())).collect();
        assert!(timers.cancel(lasting).is_some() && timers.cancel(lasting).is_none());
        assert_eq!(timers.len(), again.len());
    }

    #[test]
    fn a_waker_that_comes_back_in_when_dropped_finds_nothing_borrowed() {
        thread_local!(static TIMERS: RefCell<Timers> = RefCell::default());
        static DROPPED: AtomicUsize = AtomicUsize::new(0);
        struct Hostile;
        impl Wake for Hostile {
            fn wake(self: Arc<Self>) {}
        }
        impl Drop for Hostile {
            fn drop(&mut self) {
                TIMERS.with_borrow_mut(|timers| timers.insert(NEVER, Waker::noop().clone()));
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
        }
        let hostile = || Waker::from(Arc::new(Hostile));
        let [key, due] = [5, 3].map(|d| TIMERS.with_borrow_mut(|t| t.insert(d, hostile())));
        drop(TIMERS.with_borrow_mut(|t| t.set_waker(key, hostile())));
        drop(TIMERS.with_borrow_mut(|t| t.pop_due(3)));
        assert!(TIMERS.with_borrow_mut(|t| t.rearm(key, 8)));
        drop(TIMERS.with_borrow_mut(|t| t.cancel(key)));
        drop(TIMERS.with_borrow_mut(|t| t.set_waker(key, hostile())));
        assert!(TIMERS.with_borrow_mut(|t| t.cancel(due)).is_none());
        assert_eq!(DROPPED.load(Ordering::Relaxed), 4);
    }
}
