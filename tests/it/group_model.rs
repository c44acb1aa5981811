//! Random programs of tasks against a naive twin: a queue of names and nothing else.
//!
//! A program gives each task a list of steps. The twin runs them with a `VecDeque` and computes the
//! order of polls and the end of each task; the group must do exactly the same.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use proptest::prelude::*;
use soloio::{
    CancelScope, Error, Result, Runtime, TaskGroup, TaskHandle, block_on, fail_after, shield,
    task_group,
};

use crate::support::{Counter, OnDrop, asked_rounds, deadline, give_way, poll_once};

const HOUR: Duration = Duration::from_secs(3_600);

/// A step of a task; true if it waits in a shield.
#[derive(Clone, Copy, Debug)]
enum Action {
    /// Wakes itself and waits.
    GiveWay(bool),
    /// Starts the next task.
    Spawn,
    /// Cancels a task that was started, perhaps itself.
    Cancel(usize),
    /// Waits for a task that was started later than itself, unless another task does.
    Join(usize, bool),
}

/// An event that can be seen from outside.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Polled(usize),
    Ended(usize),
    /// Dropped before its end.
    Dropped(usize),
    /// The task that waited, the task it waited for, and true if there was a value.
    Joined(usize, usize, bool),
}

type Program = Vec<Vec<Action>>;

fn programs() -> impl Strategy<Value = Program> {
    let number = || 0..12_usize;
    let shielded = || prop::bool::weighted(0.3);
    let action = prop_oneof![
        4 => shielded().prop_map(Action::GiveWay),
        3 => Just(Action::Spawn),
        1 => number().prop_map(Action::Cancel),
        3 => (number(), shielded()).prop_map(|(other, shielded)| Action::Join(other, shielded)),
    ];
    prop::collection::vec(prop::collection::vec(action, 0..7), 12)
}

/// The twin's task.
#[derive(Default)]
struct Twin {
    at: usize,
    queued: bool,
    cancelled: bool,
    ended: bool,
    /// Ended with a value that was not taken yet.
    value: bool,
    joiner: Option<usize>,
    /// A task waits for it, or did.
    awaited: bool,
    /// In the middle of a `GiveWay` or `Join`.
    waiting: bool,
    /// The cancel was delivered in this poll.
    told: bool,
    /// It waits in a shield.
    shielded: bool,
}

#[derive(Default)]
struct Oracle {
    tasks: Vec<Twin>,
    ready: VecDeque<usize>,
    events: Vec<Event>,
}

impl Oracle {
    fn spawn(&mut self) {
        let name = self.tasks.len();
        self.tasks.push(Twin::default());
        self.wake(name);
    }

    fn wake(&mut self, name: usize) {
        let task = &mut self.tasks[name];
        if !task.ended && !std::mem::replace(&mut task.queued, true) {
            self.ready.push_back(name);
        }
    }

    fn end(&mut self, name: usize, event: Event) {
        self.events.push(event);
        let task = &mut self.tasks[name];
        task.ended = true;
        task.value = matches!(event, Event::Ended(_));
        if let Some(joiner) = task.joiner.take() {
            self.wake(joiner);
        }
    }

    fn run(mut self, program: &Program) -> Vec<Event> {
        self.spawn();
        while let Some(name) = self.ready.pop_front() {
            self.tasks[name].queued = false;
            let cancelled = self.tasks[name].cancelled;
            self.tasks[name].told = false;
            self.events.push(Event::Polled(name));
            if self.poll(name, program) {
                self.end(name, Event::Ended(name));
            } else if !cancelled || self.tasks[name].shielded {
                continue;
            } else if self.tasks[name].told {
                // Its next wait is no operation of soloio, so the cancelled task is polled once
                // more.
                self.wake(name);
                continue;
            } else {
                self.end(name, Event::Dropped(name));
            }
            // An ended task leaves the queue, even if it woke itself.
            self.ready.retain(|other| *other != name);
        }
        self.events
    }

    /// Returns true when the task has come to its end.
    fn poll(&mut self, name: usize, program: &Program) -> bool {
        while let Some(&action) = program[name].get(self.tasks[name].at) {
            self.tasks[name].shielded =
                matches!(action, Action::GiveWay(true) | Action::Join(_, true));
            match action {
                Action::GiveWay(_) if !std::mem::replace(&mut self.tasks[name].waiting, true) => {
                    self.wake(name);
                    return false;
                }
                Action::Spawn if self.tasks.len() < program.len() => self.spawn(),
                Action::Cancel(other) if self.may_cancel(other) => {
                    self.tasks[other].cancelled = true;
                    self.wake(other);
                }
                Action::Join(other, shielded) if self.may_join(name, other) => {
                    let cancelled = self.tasks[name].cancelled && !shielded;
                    let begun = self.tasks[name].waiting;
                    let task = &mut self.tasks[other];
                    task.awaited = true;
                    let value = task.value;
                    if cancelled && (!begun || !task.ended) {
                        // Cancelled before it began, or while it waits.
                        self.tasks[name].told = true;
                        self.events.push(Event::Joined(name, other, false));
                    } else if !task.ended {
                        task.joiner = Some(name);
                        self.tasks[name].waiting = true;
                        return false;
                    } else {
                        self.events.push(Event::Joined(name, other, value));
                    }
                }
                _ => {}
            }
            self.tasks[name].waiting = false;
            self.tasks[name].at += 1;
        }
        true
    }

    fn may_cancel(&self, other: usize) -> bool {
        self.tasks
            .get(other)
            .is_some_and(|task| !task.ended && !task.cancelled)
    }

    fn may_join(&self, name: usize, other: usize) -> bool {
        self.tasks[name].waiting
            || name < other && other < self.tasks.len() && !self.tasks[other].awaited
    }
}

/// The state that the real tasks share. The handles are in cells, so that a task may be cancelled
/// while another one waits for it.
struct World<'s> {
    program: Program,
    handles: RefCell<Vec<Rc<RefCell<TaskHandle<'s, usize>>>>>,
    awaited: RefCell<Vec<bool>>,
    events: RefCell<Vec<Event>>,
    live: Counter,
}

type Boxed<'s> = Pin<Box<dyn Future<Output = Result<usize>> + 's>>;

fn spawn<'s>(world: &Rc<World<'s>>, group: &'s TaskGroup<'s, '_>) {
    let name = world.handles.borrow().len();
    if name == world.program.len() {
        return;
    }
    let (polls, last, held) = (Rc::clone(world), Rc::clone(world), world.live.hold());
    let ended = Rc::new(Cell::new(false));
    let done = Rc::clone(&ended);
    let guard = OnDrop(move || {
        let event = if done.get() {
            Event::Ended(name)
        } else {
            Event::Dropped(name)
        };
        last.events.borrow_mut().push(event);
    });
    let mut task: Boxed<'s> = Box::pin(task(name, Rc::clone(world), group));
    let handle = group.spawn(poll_fn(move |cx| {
        let _kept = (&guard, &held);
        polls.events.borrow_mut().push(Event::Polled(name));
        let polled = task.as_mut().poll(cx);
        ended.set(polled.is_ready());
        polled
    }));
    world.awaited.borrow_mut().push(false);
    world
        .handles
        .borrow_mut()
        .push(Rc::new(RefCell::new(handle)));
}

async fn task<'s>(
    name: usize,
    world: Rc<World<'s>>,
    group: &'s TaskGroup<'s, '_>,
) -> Result<usize> {
    for action in world.program[name].clone() {
        match action {
            Action::GiveWay(false) => give_way().await,
            Action::GiveWay(true) => shield(HOUR, give_way()).await,
            Action::Spawn => spawn(&world, group),
            Action::Cancel(other) => {
                let handle = world.handles.borrow().get(other).cloned();
                if let Some(handle) = handle {
                    handle.borrow().cancel();
                }
            }
            Action::Join(other, shielded) => {
                let handle = world.handles.borrow().get(other).cloned();
                let Some(handle) = handle.filter(|_| name < other) else {
                    continue;
                };
                if std::mem::replace(&mut world.awaited.borrow_mut()[other], true) {
                    continue;
                }
                let joined = poll_fn(|cx| match handle.try_borrow_mut() {
                    Ok(mut handle) => Pin::new(&mut *handle).poll(cx),
                    Err(_) => Poll::Pending,
                });
                let joined = match shielded {
                    true => shield(HOUR, joined).await,
                    false => joined.await,
                };
                assert!(
                    matches!(joined, Err(Error::Cancelled))
                        || joined.as_ref().is_ok_and(|n| *n == other)
                );
                world
                    .events
                    .borrow_mut()
                    .push(Event::Joined(name, other, joined.is_ok()));
            }
        }
    }
    Ok(name)
}

/// Polls a group in changing places, each time before the poll in its own place.
async fn moving(mut group: Pin<Box<impl Future<Output = Result<()>>>>) -> Result<()> {
    let mut polls = 0;
    poll_fn(|cx| {
        polls += 1;
        let mut once = Box::pin(async {
            let once = poll_once(group.as_mut());
            match polls % 4 {
                0 => fail_after(HOUR, once.map(Ok::<_, Error>))
                    .await
                    .expect("in time"),
                1 => CancelScope::new().run(once).await.expect("not dropped"),
                2 => {
                    let mut all: FuturesUnordered<_> = std::iter::once(once).collect();
                    all.next().await.expect("one")
                }
                _ => once.await,
            }
        });
        match once.as_mut().poll(cx) {
            Poll::Ready(Poll::Ready(ended)) => return Poll::Ready(ended),
            Poll::Ready(Poll::Pending) => {}
            Poll::Pending => unreachable!("it polls once"),
        }
        drop(once);
        group.as_mut().poll(cx)
    })
    .await
}

/// Polls a group once under each of several runtimes, and then to its end in changing places.
fn run_in_turns(mut group: Pin<Box<impl Future<Output = Result<()>>>>, turns: usize) -> Result<()> {
    let mut runtimes = [0, 1].map(|_| Runtime::new().expect("a runtime"));
    for turn in 0..turns {
        if let Poll::Ready(ended) = runtimes[turn % 2].block_on(poll_once(group.as_mut())) {
            return ended;
        }
    }
    block_on(moving(group))
}

/// `turns` is the number of polls under other runtimes.
fn run(program: &Program, turns: usize) -> Vec<Event> {
    let live = Counter::new();
    let events = RefCell::new(Vec::new());
    let group = task_group(async |group| {
        let world = Rc::new(World {
            program: program.clone(),
            handles: RefCell::default(),
            awaited: RefCell::default(),
            events: RefCell::default(),
            live: live.clone(),
        });
        spawn(&world, group);
        // The body yields until no more events come.
        let mut seen = usize::MAX;
        while std::mem::replace(&mut seen, world.events.borrow().len())
            != world.events.borrow().len()
        {
            give_way().await;
        }
        events.replace(world.events.take());
        Ok(())
    });
    run_in_turns(Box::pin(group), turns).expect("no child fails");
    assert_eq!(live.get(), 0, "all children are accounted for");
    events.into_inner()
}

/// The number of random programs; `SOLOIO_TEST_ROUNDS` sets another.
fn cases() -> u32 {
    asked_rounds().map_or(CASES, |all| (all / 10) as u32)
}

const CASES: u32 = if cfg!(debug_assertions) {
    2_000
} else {
    20_000
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn a_group_does_what_a_queue_of_names_does(program in programs(), turns in 0..5_usize) {
        let _deadline = deadline();
        let expected = Oracle::default().run(&program);
        prop_assert_eq!(run(&program, turns), expected);
    }
}
