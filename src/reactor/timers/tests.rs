//! Tests of the timers that access their internals.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::line::NIL;
use super::*;

struct Inert;

impl Wake for Inert {
    fn wake(self: Arc<Self>) {}
}

/// A waker equal to no other.
fn waker() -> Waker {
    Waker::from(Arc::new(Inert))
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

    /// Mostly close to each other, often equal, sometimes extreme.
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
        self.heap.len() + self.in_line().count()
    }

    /// The deadline in the heap's entry of a timer.
    fn entry(&self, key: TimerKey) -> u64 {
        self.heap[self.slots[low(key) as usize].place as usize].deadline
    }

    pub(super) fn check(&self) {
        for (at, entry) in self.heap.iter().enumerate() {
            assert!(entry.deadline < NEVER);
            assert!(at == 0 || self.heap[(at - 1) / ARITY].deadline <= entry.deadline);
            let slot = &self.slots[entry.index as usize];
            assert_eq!(slot.place as usize, at);
            let (due, moved) = (slot.deadline, at > 0);
            assert!(due == entry.deadline || moved && due > entry.deadline);
        }
        let mut before = (NIL, 0);
        for index in self.in_line() {
            let slot = &self.slots[index as usize];
            assert!(slot.place == LINE && slot.deadline < NEVER);
            assert!(slot.link.previous == before.0 && slot.deadline >= before.1);
            before = (index, slot.deadline);
        }
        assert_eq!(self.line.previous, before.0);
        let armed = |(_, slot): &(usize, &Slot)| slot.place <= LINE;
        assert_eq!(self.slots.iter().filter(armed).count(), self.armed());
    }
}

/// The same in a form that is obviously correct.
#[derive(Default)]
struct Twin {
    /// The deadline, `None` once fired, and the waker.
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

    /// Follows one `pop_due`: among equal deadlines it takes those that `timers` has fired.
    fn fire(&mut self, timers: &Timers, now: u64) -> Option<Waker> {
        while let Some(first) = self.earliest().filter(|first| *first <= now) {
            let equal = self.queue.range((first, 0)..=(first, u64::MAX));
            let fired = equal
                .map(|(_, key)| *key)
                .filter(|key| timers.is_fired(*key));
            // Those without a waker fire first; one with a waker is the last.
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
    // Keys stay in the list when their timers are gone: stale ones are used as well.
    let key = if keys.is_empty() {
        0
    } else {
        keys[random.below(keys.len())]
    };
    match random.below(10) {
        0..=2 => {
            let (deadline, waker) = (random.deadline(), waker());
            let key = t.insert(deadline, waker.clone());
            assert_eq!(t.see(key, &waker), Seen::Set);
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
            // `None` means that nothing more is due.
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
        // Timers with keys that the list has lost are never cancelled; start again.
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
    let keys = [10, 20, 30, 40].map(|deadline| timers.insert(deadline, waker()));
    let [first, second, third, _] = keys;
    timers.all_to_heap();
    assert!(timers.rearm(second, 50) && timers.rearm(second, 60) && timers.rearm(third, 45));
    assert_eq!((timers.entry(second), timers.earliest()), (20, Some(10)));
    timers.check();
    // A move back to a deadline that is later than its entry changes nothing either.
    assert!(timers.rearm(second, 35) && timers.entry(second) == 20);
    // A lone one is met exactly, even if its neighbours were close before.
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
        assert!(timers.see(key, &fresh) != Seen::Set && timers.earliest() == Some(5));
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
    for _ in 0..100_000 {
        timers.insert(9, Waker::noop().clone());
        timers.all_to_heap();
        assert_eq!(timers.heap[0].index, 0, "no equal one is overtaken");
    }
    while let Some(last) = timers.heap.last().map(|entry| entry.index) {
        assert!(timers.pop_due(9).is_some());
        // One move per timer: the last entry took the root's place and stayed there.
        assert!(timers.heap.first().is_none_or(|first| first.index == last));
    }
    assert_eq!(timers.len(), 100_000);
    assert_eq!(timers.earliest(), None);
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
    // An old key names no new timer.
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
