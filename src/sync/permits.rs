//! A number of permits and the operations that wait for one (a pure machine): the common part of
//! locks, semaphores and capacity limiters.
//!
//! A permit is handed over: when it is returned it goes to the first in line, and counts as taken
//! from then on. So no waiter is overtaken, and a waiter that is called always gets its permit.

use std::cell::RefCell;
use std::task::Waker;

use super::line::{Line, Turn, wait_in_line};
use super::wait_queue::WaitQueue;
use crate::error::{Error, Result};
use crate::executor::{TaskId, wake_each, wake_one};
use crate::runtime::context;
use crate::runtime::wait::Wait;

#[derive(Debug)]
pub(super) struct Permits {
    /// The number of permits, taken or not.
    total: usize,
    /// The number of permits that are taken, or were handed to a called waiter. It exceeds `total`
    /// only after `total` was lowered.
    taken: usize,
    queue: WaitQueue<()>,
    /// The task that took a permit last, for a dump.
    holder: TaskId,
}

impl Permits {
    pub(super) const fn new(total: usize) -> Self {
        Self {
            total,
            taken: 0,
            queue: WaitQueue::new(),
            holder: TaskId::NONE,
        }
    }

    /// Records the running task as the last one that took a permit.
    pub(super) fn note_holder(&mut self) {
        self.holder = running();
    }

    /// Returns true if all are taken, and the running task took one last.
    #[cfg(all(feature = "dump", debug_assertions))]
    pub(super) fn is_held_here(&self) -> bool {
        let here = running();
        self.free() == 0 && here != TaskId::NONE && here == self.holder
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Returns the number of free permits.
    pub(super) fn free(&self) -> usize {
        self.total.saturating_sub(self.taken)
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Takes a permit if one is free and no waiter would be overtaken.
    #[must_use = "a permit that was taken has to be given back"]
    pub(super) fn try_take(&mut self) -> bool {
        let free = self.free() > 0 && self.queue.is_empty();
        self.taken += usize::from(free);
        free
    }

    /// Returns a permit; it goes to the first in line if there is one.
    #[must_use = "the waker has to be called"]
    pub(super) fn give_back(&mut self) -> Option<Waker> {
        self.taken -= 1;
        self.call()
    }

    /// Removes a permit for good that the caller had taken.
    pub(super) fn remove_taken(&mut self) {
        self.total -= 1;
        self.taken -= 1;
    }

    /// Hands a free permit to the first in line.
    #[must_use = "the waker has to be called"]
    pub(super) fn call(&mut self) -> Option<Waker> {
        if self.queue.is_empty() || self.free() == 0 {
            return None;
        }
        let (_, waker) = self.queue.call()?;
        self.taken += 1;
        waker
    }
}

impl Line for Permits {
    type Value = ();

    fn queue(&mut self) -> &mut WaitQueue<()> {
        &mut self.queue
    }

    fn pass_on(&mut self, (): &()) -> Option<Waker> {
        self.give_back()
    }

    fn holder(&self) -> TaskId {
        self.holder
    }
}

/// Returns the task that is being polled.
fn running() -> TaskId {
    context::current().map_or(TaskId::NONE, |core| core.executor.task())
}

/// A permit, given back when dropped: the task that gets it is woken.
#[derive(Debug)]
pub(super) struct Permit<'a>(&'a RefCell<Permits>);

impl<'a> Permit<'a> {
    /// Waits for one and takes it.
    pub(super) fn take(
        permits: &'a RefCell<Permits>,
        wait: Wait,
    ) -> impl Future<Output = Result<Self>> {
        wait_in_line(permits, wait, move |line: &mut Permits, turn| match turn {
            Turn::Arrived => line.try_take().then(|| Self(permits)),
            Turn::Waiting => None,
            Turn::Called => Some(Self(permits)),
        })
    }

    /// Takes one if it is free and no task waits for it.
    pub(super) fn take_now(permits: &'a RefCell<Permits>) -> Result<Self> {
        let taken = permits.borrow_mut().try_take();
        taken.then(|| Self(permits)).ok_or(Error::WouldBlock)
    }

    /// Removes it for good.
    pub(super) fn forget(self) {
        self.0.borrow_mut().remove_taken();
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let next = self.0.borrow_mut().give_back();
        wake_one(next);
    }
}

/// Sets the number of permits; waiting tasks get those that are added.
pub(super) fn set_total(permits: &RefCell<Permits>, total: usize) {
    permits.borrow_mut().total = total;
    wake_each(std::iter::from_fn(|| permits.borrow_mut().call()));
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::super::wait_queue::WaiterId;
    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        /// Takes a permit or a place in line.
        Arrive,
        /// One that has a permit returns it.
        GiveBack(usize),
        /// A called waiter is polled.
        Poll(usize),
        /// One that is in line or was called leaves.
        Leave(usize),
        SetTotal(usize),
        /// A permit that is held is removed.
        Remove(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Arrive),
            3 => any::<usize>().prop_map(Step::GiveBack),
            3 => any::<usize>().prop_map(Step::Poll),
            2 => any::<usize>().prop_map(Step::Leave),
            1 => (0..5_usize).prop_map(Step::SetTotal),
            1 => any::<usize>().prop_map(Step::Remove),
        ];
        prop::collection::vec(step, 0..150)
    }

    /// The twin: the waiters, the called ones, the holders.
    #[derive(Default)]
    struct Twin {
        total: usize,
        line: VecDeque<usize>,
        called: Vec<usize>,
        holders: Vec<usize>,
    }

    impl Twin {
        fn taken(&self) -> usize {
            self.called.len() + self.holders.len()
        }

        fn check(&self, permits: &mut Permits, places: &[(usize, WaiterId)]) {
            let free = self.total.saturating_sub(self.taken());
            assert_eq!((permits.total(), permits.free()), (self.total, free));
            assert_eq!(
                (permits.taken(), permits.waiting()),
                (self.taken(), self.line.len())
            );
            for (name, place) in places {
                let called = self.called.contains(name);
                assert_eq!(permits.queue().is_called(*place), called);
            }
        }

        fn settle(&mut self) {
            while self.taken() < self.total && !self.line.is_empty() {
                self.called.extend(self.line.pop_front());
            }
        }
    }

    fn run(steps: &[Step]) {
        let mut permits = Permits::new(2);
        let mut twin = Twin {
            total: 2,
            ..Twin::default()
        };
        let mut places: Vec<(usize, WaiterId)> = Vec::new();
        let pick = |list: &[usize], which: usize| list.get(which % list.len().max(1)).copied();
        for (name, step) in steps.iter().enumerate() {
            match *step {
                Step::Arrive => {
                    let free = twin.line.is_empty() && twin.taken() < twin.total;
                    assert_eq!(permits.try_take(), free);
                    if free {
                        twin.holders.push(name);
                    } else {
                        let place = permits.queue().join((), Waker::noop().clone());
                        places.push((name, place));
                        twin.line.push_back(name);
                    }
                }
                Step::GiveBack(which) => {
                    if let Some(name) = pick(&twin.holders, which) {
                        twin.holders.retain(|other| *other != name);
                        let woken = permits.give_back().is_some();
                        let before = twin.called.len();
                        twin.settle();
                        assert_eq!(woken, twin.called.len() > before);
                    }
                }
                Step::Poll(which) => {
                    if let Some(name) = pick(&twin.called, which) {
                        let at = places.iter().position(|(other, _)| *other == name);
                        let (_, place) = places.remove(at.expect("it has a place"));
                        assert!(permits.queue().is_called(place), "{name} was called");
                        drop(permits.queue().leave(place));
                        twin.called.retain(|other| *other != name);
                        twin.holders.push(name);
                    }
                }
                Step::Leave(which) if !places.is_empty() => {
                    let (name, place) = places.remove(which % places.len());
                    let left = permits.queue().leave(place);
                    assert_eq!(left.called, twin.called.contains(&name));
                    let next = left.called.then(|| permits.pass_on(&())).flatten();
                    twin.line.retain(|other| *other != name);
                    twin.called.retain(|other| *other != name);
                    let before = twin.called.len();
                    twin.settle();
                    assert_eq!(next.is_some(), twin.called.len() > before);
                }
                Step::Leave(_) => {}
                Step::SetTotal(total) => {
                    permits.total = total;
                    while permits.call().is_some() {}
                    twin.total = total;
                    twin.settle();
                }
                Step::Remove(which) => {
                    if let Some(name) = pick(&twin.holders, which).filter(|_| twin.total > 0) {
                        twin.holders.retain(|other| *other != name);
                        permits.remove_taken();
                        twin.total -= 1;
                    }
                }
            }
            twin.check(&mut permits, &places);
        }
    }

    #[test]
    #[cfg(all(feature = "dump", debug_assertions))]
    fn outside_a_task_nothing_is_held_here() {
        let mut permits = Permits::new(2);
        assert!(permits.try_take() && permits.try_take());
        permits.note_holder();
        assert!(!permits.is_held_here());
        crate::runtime::block_on(async {
            assert!(!permits.is_held_here(), "no task is known to hold it");
            permits.note_holder();
            assert!(permits.is_held_here());
            assert!(permits.give_back().is_none());
            assert!(!permits.is_held_here(), "one is free");
        });
    }

    proptest! {
        #[test]
        fn nobody_overtakes_and_no_permit_is_lost(steps in steps()) {
            run(&steps);
        }
    }
}
