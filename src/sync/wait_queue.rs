//! A line of waiters, first come, first served (a pure machine).
//!
//! Each waiter has a place: a slab entry with a waker and a value. Places are linked in the order
//! in which they were taken, so that leaving from the middle costs no more than leaving from the
//! front. A free place is reused: in a steady state a wait allocates nothing.
//!
//! ```text
//!   join ──> in line ──call──> called ──leave──> gone
//!                └──────────────leave─────────────^
//! ```
//!
//! A waiter that was *called* is out of the line, but has its place until it leaves. If it leaves
//! without taking what it was called for, the next waiter must be called: `line.rs` does that.
//! Nothing here calls, clones or drops a waker: the caller does, after it has released the cell
//! that this is in.

use std::task::Waker;

use crate::room::Slab;

/// Identifies a waiter. Invalid after [`WaitQueue::leave`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaiterId(usize);

/// The end of the line, in both directions.
const END: usize = usize::MAX;

#[derive(Debug)]
struct Node<T> {
    value: T,
    /// `None` once it was called.
    waker: Option<Waker>,
    called: bool,
    before: usize,
    after: usize,
}

/// A waiter that has left the line. Drop it when no cell is borrowed.
#[derive(Debug)]
#[must_use = "the waker is dropped with it"]
pub(crate) struct Removed<T> {
    pub(crate) value: T,
    /// True if it had been called.
    pub(crate) called: bool,
    /// Stored so that it is dropped where that may run the user's code.
    _waker: Option<Waker>,
}

/// A line of waiters.
#[derive(Debug)]
pub(crate) struct WaitQueue<T> {
    nodes: Slab<Node<T>>,
    first: usize,
    last: usize,
    /// The number of waiters in line, without those called.
    waiting: usize,
}

impl<T> Default for WaitQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> WaitQueue<T> {
    pub(crate) const fn new() -> Self {
        Self {
            nodes: Slab::new(),
            first: END,
            last: END,
            waiting: 0,
        }
    }

    /// Returns the number of waiters in line; called ones do not count.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Takes a place at the end of the line.
    pub(crate) fn join(&mut self, value: T, waker: Waker) -> WaiterId {
        let key = self.nodes.insert(Node {
            value,
            waker: Some(waker),
            called: false,
            before: self.last,
            after: END,
        });
        match self.last {
            END => self.first = key,
            last => self.nodes[last].after = key,
        }
        self.last = key;
        self.waiting += 1;
        WaiterId(key)
    }

    /// Calls the first in line: returns its value, and the waker that the caller must call.
    pub(crate) fn call(&mut self) -> Option<(&mut T, Option<Waker>)> {
        if self.first == END {
            return None;
        }
        Some(self.call_at(self.first))
    }

    fn call_at(&mut self, key: usize) -> (&mut T, Option<Waker>) {
        self.unlink(key);
        let node = &mut self.nodes[key];
        node.called = true;
        (&mut node.value, node.waker.take())
    }

    pub(crate) fn is_called(&self, id: WaiterId) -> bool {
        self.nodes[id.0].called
    }

    /// Gives up a place, in line or called.
    pub(crate) fn leave(&mut self, id: WaiterId) -> Removed<T> {
        if !self.nodes[id.0].called {
            self.unlink(id.0);
        }
        let node = self.nodes.remove(id.0);
        Removed {
            value: node.value,
            called: node.called,
            _waker: node.waker,
        }
    }

    /// Returns true if `waker` would wake the same task as the waker at the place.
    pub(crate) fn would_wake(&self, id: WaiterId, waker: &Waker) -> bool {
        let own = self.nodes[id.0].waker.as_ref();
        own.is_some_and(|own| own.will_wake(waker))
    }

    /// Replaces the waker at the place; returns the one before.
    pub(crate) fn set_waker(&mut self, id: WaiterId, waker: Waker) -> Option<Waker> {
        self.nodes[id.0].waker.replace(waker)
    }

    /// Calls all in line with a value that `which` accepts. The caller must call their wakers. It
    /// allocates, so it is for rare events.
    #[must_use = "the wakers have to be called"]
    pub(crate) fn call_all(&mut self, which: impl Fn(&T) -> bool) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let mut at = self.first;
        while at != END {
            let (key, node) = (at, &self.nodes[at]);
            at = node.after;
            if which(&node.value) {
                wakers.extend(self.call_at(key).1);
            }
        }
        wakers
    }

    fn unlink(&mut self, key: usize) {
        let (before, after) = (self.nodes[key].before, self.nodes[key].after);
        match before {
            END => self.first = after,
            before => self.nodes[before].after = after,
        }
        match after {
            END => self.last = before,
            after => self.nodes[after].before = before,
        }
        self.waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::executor::TaskId;

    /// A waker that differs from others.
    fn waker(name: usize) -> Waker {
        let index = u32::try_from(name).expect("few names");
        Waker::clone(&TaskId::new(1, 1, index).waker())
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Join,
        Call,
        /// One of the waiters with a place, called or not.
        Leave(usize),
        CallEven,
        SetWaker(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Join),
            2 => Just(Step::Call),
            3 => any::<usize>().prop_map(Step::Leave),
            1 => Just(Step::CallEven),
            1 => any::<usize>().prop_map(Step::SetWaker),
        ];
        prop::collection::vec(step, 0..200)
    }

    /// The twin: names in a deque, and the names of called waiters.
    #[derive(Default)]
    struct Twin {
        line: VecDeque<usize>,
        called: Vec<usize>,
    }

    fn run(steps: &[Step]) {
        let (mut queue, mut twin) = (WaitQueue::new(), Twin::default());
        let mut places: Vec<(usize, WaiterId)> = Vec::new();
        for (name, step) in steps.iter().enumerate() {
            match *step {
                Step::Join => {
                    places.push((name, queue.join(name, waker(name))));
                    twin.line.push_back(name);
                }
                Step::Call => {
                    let called = queue.call().map(|(name, woken)| {
                        let woken = woken.expect("it is called once");
                        assert!(woken.will_wake(&waker(*name)), "another's waker");
                        *name
                    });
                    assert_eq!(called, twin.line.pop_front());
                    twin.called.extend(called);
                }
                Step::Leave(which) if !places.is_empty() => {
                    let (name, place) = places.remove(which % places.len());
                    assert_eq!(queue.is_called(place), twin.called.contains(&name));
                    let left = queue.leave(place);
                    assert_eq!(
                        (left.value, left.called),
                        (name, twin.called.contains(&name))
                    );
                    twin.line.retain(|other| *other != name);
                    twin.called.retain(|other| *other != name);
                }
                Step::CallEven => {
                    let woken = queue.call_all(|name| name % 2 == 0);
                    let (even, odd) = twin.line.drain(..).partition(|name| name % 2 == 0);
                    twin.line = odd;
                    assert_eq!(woken.len(), VecDeque::len(&even));
                    let right = |(woken, name): (&Waker, &usize)| woken.will_wake(&waker(*name));
                    assert!(woken.iter().zip(&even).all(right), "in order");
                    twin.called.extend(even);
                }
                Step::SetWaker(which) if !places.is_empty() => {
                    let (name, place) = places[which % places.len()];
                    if !queue.is_called(place) {
                        assert!(!queue.would_wake(place, &waker(name + 1)));
                        let old = queue.set_waker(place, waker(name));
                        assert!(old.is_some() && queue.would_wake(place, &waker(name)));
                    }
                }
                Step::Leave(_) | Step::SetWaker(_) => {}
            }
            assert_eq!(
                (queue.len(), queue.is_empty()),
                (twin.line.len(), twin.line.is_empty())
            );
            assert_eq!(queue.nodes.len(), twin.line.len() + twin.called.len());
        }
    }

    proptest! {
        #[test]
        fn does_what_a_deque_does(steps in steps()) {
            run(&steps);
        }
    }

    #[test]
    fn places_are_used_again() {
        let mut queue = WaitQueue::new();
        let first = queue.join((), Waker::noop().clone());
        assert!(queue.call().is_some());
        drop(queue.leave(first));
        let again = queue.join((), Waker::noop().clone());
        assert_eq!(first, again);
    }
}
