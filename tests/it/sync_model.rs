//! Random use of a lock with a condition, and of a limiter, against naive twins.
//!
//! Everything is polled by hand, in any order, and dropped in any state. The twins are lists of
//! names; they compute the result of each poll, and the wakers that must have been called (W7: a
//! cancelled waiter swallows a wake that was meant for the next; tokio#8260, anyio#728).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use proptest::prelude::*;
use soloio::sync::LimiterToken;
use soloio::{CapacityLimiter, Condition, Lock, LockGuard, Result, block_on, yield_now};

use crate::support::{Wakes, deadline, poll_with};

/// A pending operation, with its name in the twin.
struct Operation<'a, T> {
    name: usize,
    future: Pin<Box<dyn Future<Output = Result<T>> + 'a>>,
    wakes: Arc<Wakes>,
    /// The number of wakes at its last poll.
    seen: usize,
}

impl<'a, T> Operation<'a, T> {
    fn new(name: usize, future: impl Future<Output = Result<T>> + 'a) -> Self {
        Self {
            name,
            future: Box::pin(future),
            wakes: Wakes::new(),
            seen: 0,
        }
    }

    fn poll(&mut self) -> Option<T> {
        self.seen = self.wakes.count();
        let waker = Waker::from(Arc::clone(&self.wakes));
        match poll_with(self.future.as_mut(), &waker) {
            Poll::Ready(ended) => Some(ended.expect("nothing here fails")),
            Poll::Pending => None,
        }
    }

    fn check(&self, ready: bool) {
        assert!(!ready || self.wakes.count() > self.seen, "a wake is lost");
    }
}

/// Removes entry `which` of a list, modulo its length.
fn pick<T>(list: &mut Vec<T>, which: usize) -> Option<T> {
    (!list.is_empty()).then(|| list.remove(which % list.len()))
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Acquire,
    /// Gives back one of those that are held.
    Release(usize),
    Poll(usize),
    Drop(usize),
    /// Limiter: the total of tokens. Condition: the number of notifications.
    Number(usize),
    /// Waits on the condition with the lock that is held.
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any = any::<usize>;
    let step = prop_oneof![
        5 => Just(Step::Acquire),
        4 => any().prop_map(Step::Release),
        5 => any().prop_map(Step::Poll),
        3 => any().prop_map(Step::Drop),
        2 => (0..4_usize).prop_map(Step::Number),
        5 => Just(Step::Wait),
    ];
    prop::collection::vec(step, 0..120)
}

/// A line for a number of permits: the operations that wait, and those that were handed one.
#[derive(Default)]
struct Line {
    total: usize,
    held: usize,
    waiting: Vec<usize>,
    called: Vec<usize>,
}

impl Line {
    fn settle(&mut self) {
        while self.held + self.called.len() < self.total && !self.waiting.is_empty() {
            self.called.push(self.waiting.remove(0));
        }
    }

    /// Polls: returns true if the operation has a permit now.
    fn poll(&mut self, name: usize) -> bool {
        if !self.called.contains(&name) && !self.waiting.contains(&name) {
            self.waiting.push(name);
            self.settle();
        }
        let got = self.called.contains(&name);
        self.called.retain(|other| *other != name);
        self.held += usize::from(got);
        got
    }

    fn leave(&mut self, name: usize) {
        self.waiting.retain(|other| *other != name);
        self.called.retain(|other| *other != name);
        self.settle();
    }

    fn release(&mut self) {
        self.held -= 1;
        self.settle();
    }
}

async fn limit(steps: Vec<Step>) {
    let limiter = CapacityLimiter::new(2);
    let mut twin = Line {
        total: 2,
        ..Line::default()
    };
    let mut under_way: Vec<Operation<'_, LimiterToken<'_>>> = Vec::new();
    let mut held = Vec::new();
    for (name, step) in steps.into_iter().enumerate() {
        let polled = match step {
            Step::Acquire => Some(Operation::new(name, limiter.acquire())),
            Step::Poll(which) => pick(&mut under_way, which),
            Step::Drop(which) => {
                if let Some(dropped) = pick(&mut under_way, which) {
                    twin.leave(dropped.name);
                }
                None
            }
            Step::Release(which) => {
                if pick(&mut held, which).is_some() {
                    twin.release();
                }
                None
            }
            Step::Number(total) => {
                limiter.set_total_tokens(total);
                twin.total = total;
                twin.settle();
                None
            }
            Step::Wait => None,
        };
        if let Some(mut operation) = polled {
            let got = operation.poll();
            assert_eq!(got.is_some(), twin.poll(operation.name));
            match got {
                Some(token) => held.push(token),
                None => under_way.push(operation),
            }
        }
        assert_eq!(limiter.borrowed_tokens(), twin.held + twin.called.len());
        assert_eq!(limiter.statistics().tasks_waiting, twin.waiting.len());
        for operation in &under_way {
            operation.check(twin.called.contains(&operation.name));
        }
        // Yields, so that the turn's budget never ends between two steps.
        yield_now().await.expect("inside a runtime");
    }
}

/// A lock, and a condition that releases it: the operations that wait there, and the notified ones.
#[derive(Default)]
struct Conditional {
    lock: Line,
    waiting: Vec<usize>,
    notified: Vec<usize>,
}

impl Conditional {
    fn notify(&mut self, count: usize) {
        let count = count.min(self.waiting.len());
        self.notified.extend(self.waiting.drain(..count));
    }

    /// Polls a wait: a notified one waits for the lock like all others, and leaves the condition
    /// only when it has the lock.
    fn poll(&mut self, name: usize) -> bool {
        if self.waiting.contains(&name) {
            return false;
        }
        let got = self.lock.poll(name);
        if got {
            self.notified.retain(|other| *other != name);
        }
        got
    }

    fn leave(&mut self, name: usize) {
        self.lock.leave(name);
        self.waiting.retain(|other| *other != name);
        if self.notified.contains(&name) {
            self.notified.retain(|other| *other != name);
            self.notify(1);
        }
    }

    /// True if a poll makes progress.
    fn is_called(&self, name: usize) -> bool {
        let looks = self.notified.contains(&name) && !self.lock.waiting.contains(&name);
        self.lock.called.contains(&name) || looks
    }
}

async fn condition(steps: Vec<Step>) {
    let (lock, condition) = (Lock::new(()), Condition::new());
    let mut twin = Conditional::default();
    twin.lock.total = 1;
    let mut under_way: Vec<Operation<'_, LockGuard<'_, ()>>> = Vec::new();
    let mut held = None;
    for (name, step) in steps.into_iter().enumerate() {
        let polled = match step {
            Step::Acquire => Some(Operation::new(name, lock.acquire())),
            Step::Poll(which) => pick(&mut under_way, which),
            Step::Drop(which) => {
                if let Some(dropped) = pick(&mut under_way, which) {
                    twin.leave(dropped.name);
                }
                None
            }
            Step::Release(_) => {
                if held.take().is_some() {
                    twin.lock.release();
                }
                None
            }
            Step::Number(count) => {
                condition.notify(count);
                twin.notify(count);
                None
            }
            Step::Wait => held.take().map(|guard| {
                twin.waiting.push(name);
                twin.lock.release();
                Operation::new(name, condition.wait(guard))
            }),
        };
        if let Some(mut operation) = polled {
            let got = operation.poll();
            assert_eq!(got.is_some(), twin.poll(operation.name));
            match got {
                Some(guard) => held = Some(guard),
                None => under_way.push(operation),
            }
        }
        assert_eq!(condition.statistics().tasks_waiting, twin.waiting.len());
        assert_eq!(lock.statistics().tasks_waiting, twin.lock.waiting.len());
        assert_eq!(
            lock.is_locked(),
            twin.lock.held + twin.lock.called.len() > 0
        );
        for operation in &under_way {
            operation.check(twin.is_called(operation.name));
        }
        yield_now().await.expect("inside a runtime");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_limiter_does_what_its_twin_does(steps in steps()) {
        let _guard = deadline();
        block_on(limit(steps));
    }

    #[test]
    fn a_condition_does_what_its_twin_does(steps in steps()) {
        let _guard = deadline();
        block_on(condition(steps));
    }
}
