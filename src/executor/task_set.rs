//! Owns the tasks of one group (or the root's) and polls exactly those that were woken.
//!
//! A group's future polls its set: [`TaskSet::register`] registers the waker of the poll, then
//! [`TaskSet::step`] polls one woken task at a time until the list is empty or the turn's budget is
//! spent. The *body* is a task like the others, but its future is the caller's: `step` returns when
//! it is its turn.
//!
//! ```text
//!             spawn ──> [slot, woken] ──step──> poll ──┬─ pending: waits for its waker
//!                                                      ├─ done: future dropped, result handed
//!                                                      │  over, joiner woken, slot freed
//!                                                      └─ error or panic: given to the group
//!   close: no spawn from here on; each future is dropped in place, then its slot is freed
//! ```
//!
//! No cell is borrowed while a future is polled or dropped: both are the user's code, and may
//! spawn, wake, cancel, or panic. The file is long because its parts are one task's life.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::child::{self, Child, Failed, Payload};
use super::sets::Woken;
use super::slots::narrow;
use super::waker::{self, TaskId};
use super::{CallSite, Executor, Parent, SetKey, wake_one};
use crate::records::record;
use crate::room::Slab;
use crate::shown::shown;

/// The result of one step.
pub(crate) enum Step {
    /// A task was polled.
    Polled,
    /// The list is empty.
    Idle,
    /// The budget of this turn is spent; the list is not empty.
    Spent,
    /// It is the turn of the body, which has this number and runs in this scope; the code that
    /// polls it has to call [`settle`](Executor::settle).
    Body(TaskId, u64),
    /// A task has ended with an error, which it has given to its group; with its own scope, if it
    /// had one.
    Failed(Failed, u64),
    /// A task panicked.
    Panicked(Payload),
}

type Member = Rc<dyn Child>;

/// The index of the body among the members.
pub(super) const BODY: u32 = u32::MAX;

/// The tasks of one group, and the executor with their slots.
#[derive(Default)]
pub(crate) struct TaskSet {
    home: RefCell<Option<Home>>,
    members: RefCell<Slab<Member>>,
    closed: Cell<bool>,
}

struct Home {
    executor: Rc<Executor>,
    set: SetKey,
    body: Option<TaskId>,
}

impl TaskSet {
    /// Makes a set that the loop itself polls.
    pub(crate) fn root(executor: &Rc<Executor>) -> (Self, SetKey) {
        let set = Self::default();
        let key = executor.slots().add_set(Parent::Loop);
        let home = Home {
            executor: Rc::clone(executor),
            set: key,
            body: None,
        };
        set.home.replace(Some(home));
        (set, key)
    }

    /// Begins a poll of the group that is like its last one: returns `None` if it is not, and then
    /// has no effect.
    #[inline]
    pub(crate) fn register_again(&self, executor: &Rc<Executor>, waker: &Waker) -> Option<SetKey> {
        let key = self.key_in(executor)?;
        let (task, around) = (executor.running(waker), executor.scope());
        let same = executor.slots().begin_again(key, task, around);
        same.then_some(key)
    }

    /// Returns the key of the set in `executor`, if that is where its slots are.
    #[inline]
    fn key_in(&self, executor: &Rc<Executor>) -> Option<SetKey> {
        match &*self.home.borrow() {
            Some(home) if Rc::ptr_eq(&home.executor, executor) => Some(home.set),
            _ => None,
        }
    }

    /// Called when the group is polled with `waker`: stores the task or waker to wake, and moves to
    /// `executor` if it had its slots in another one. The body counts as woken after a move.
    pub(crate) fn register(&self, executor: &Rc<Executor>, waker: &Waker) -> SetKey {
        let key = self.key_in(executor);
        let key = key.unwrap_or_else(|| self.move_to(executor));
        let parent = match TaskId::of(waker, executor.number()) {
            Some(task) => Some(Parent::Task(task)),
            None if executor.slots().is_adopted(key, waker) => None,
            None => Some(Parent::Foreign(waker.clone())),
        };
        let (old, all) = executor.slots().begin_poll(key, parent, executor.task());
        drop(old);
        if all {
            self.list_all(executor);
        }
        key
    }

    /// Lists every task, including the body.
    #[cold]
    fn list_all(&self, executor: &Executor) {
        let mut slots = executor.slots();
        let body = self.home.borrow().as_ref().and_then(|home| home.body);
        let members = self.members.borrow();
        for id in body
            .into_iter()
            .chain(members.iter().map(|(_, m)| m.head().id()))
        {
            // The set is being polled, so no parent has to be woken.
            let foreign = slots.wake(id);
            debug_assert!(foreign.is_none(), "the set is being polled");
        }
    }

    /// Gives every member a slot in `executor` and wakes it there.
    #[cold]
    fn move_to(&self, executor: &Rc<Executor>) -> SetKey {
        let mut labels = self.labels().into_iter();
        self.leave();
        let set = executor.slots().add_set(Parent::Unknown);
        let body = executor.add(set, BODY, None);
        let home = Home {
            executor: Rc::clone(executor),
            set,
            body: Some(body),
        };
        self.home.replace(Some(home));
        for (key, member) in self.members.borrow().iter() {
            let (site, name) = labels.next().unwrap_or_default();
            let id = executor.add(set, narrow(key), site);
            member.head().set_id(id);
            if let Some(name) = name {
                executor.slots().set_name(id, name);
            }
        }
        set
    }

    /// Returns the places where the members were spawned, and their names.
    fn labels(&self) -> Vec<(Option<CallSite>, Option<Rc<str>>)> {
        let mut labels = Vec::new();
        if let Some(home) = &*self.home.borrow() {
            let mut slots = home.executor.slots();
            for (_, member) in self.members.borrow().iter() {
                labels.push(slots.label(member.head().id()));
            }
        }
        labels
    }

    /// Frees the slots, but not the futures.
    fn leave(&self) {
        let Some(home) = self.home.take() else { return };
        for (_, member) in self.members.borrow().iter() {
            home.executor.slots().remove_slot(member.head().id());
        }
        if let Some(body) = home.body {
            home.executor.slots().remove_slot(body);
        }
        let parent = home.executor.slots().remove_set(home.set);
        drop(parent);
    }

    /// Adds the body as a task of a root set, woken.
    pub(crate) fn add_body(&self) {
        if let Some(home) = &mut *self.home.borrow_mut() {
            home.body = Some(home.executor.add(home.set, BODY, None));
        }
    }

    /// Removes the body's slot.
    pub(crate) fn remove_body(&self) {
        if let Some(home) = &mut *self.home.borrow_mut() {
            if let Some(body) = home.body.take() {
                home.executor.slots().remove_slot(body);
            }
        }
    }

    /// Wakes the body, on any thread.
    pub(crate) fn wake_body(&self) {
        let body = self.home.borrow().as_ref().and_then(|home| home.body);
        if let Some(body) = body {
            body.wake();
        }
    }

    /// Adds a task, woken; or cancels it at once if the set is closed.
    pub(crate) fn insert(&self, child: Rc<dyn Child>, site: CallSite) {
        if self.closed.get() {
            child::cancel(&*child, false);
            return;
        }
        let mut members = self.members.borrow_mut();
        let member = narrow(members.vacant_key());
        // Without a home the next `register` assigns the numbers.
        let mut foreign = None;
        if let Some(home) = &*self.home.borrow() {
            let mut slots = home.executor.slots();
            let (id, parent) = slots.add_woken(home.set, member, Some(site));
            child.head().set_id(id);
            foreign = parent;
        }
        #[cfg(feature = "log")]
        let id = child.head().id();
        members.insert(child);
        drop(members);
        record!(Trace, "soloio::task", "{id} begins, spawned at {site}");
        wake_one(foreign);
    }

    /// Returns true if no task is left, not counting the body.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.borrow().is_empty()
    }

    /// Polls woken tasks of `set`, which is this set's key in `executor`, until the group has to
    /// act. Panics are not caught: they end the group.
    pub(crate) fn step(&self, executor: &Executor, set: SetKey) -> Step {
        loop {
            if executor.is_spent() && executor.has_ready(set) {
                return Step::Spent;
            }
            let Some(woken) = executor.slots().next(set) else {
                return Step::Idle;
            };
            if woken.member == BODY {
                return Step::Body(woken.id, woken.scope);
            }
            if let Some(step) = self.poll(executor, &woken) {
                return step;
            }
        }
    }

    /// Polls the next woken task of a set that survives a task's panic.
    ///
    /// Taking from the list is repeated here from [`step`](Self::step): a shared function cost 25
    /// of the about 900 instructions of a TCP echo (`instructions tcp-echo` of the benchmarks).
    #[inline(always)]
    pub(crate) fn step_caught(&self, executor: &Executor, set: SetKey) -> Step {
        if executor.is_spent() && executor.has_ready(set) {
            return Step::Spent;
        }
        let next = executor.slots().next(set);
        match next {
            None => Step::Idle,
            Some(task) if task.member == BODY => Step::Body(task.id, task.scope),
            Some(task) => self.poll_caught(executor, &task),
        }
    }

    fn poll_caught(&self, executor: &Executor, task: &Woken) -> Step {
        match catch_unwind(AssertUnwindSafe(|| self.poll(executor, task))) {
            Ok(step) => step.unwrap_or(Step::Polled),
            Err(payload) => {
                let member = self.forget(executor, task);
                // A second panic, from the future's drop, is dropped.
                drop(catch_unwind(AssertUnwindSafe(|| {
                    if let Some(member) = member {
                        child::cancel(&*member, true);
                    }
                })));
                Step::Panicked(payload)
            }
        }
    }

    /// Polls a task. It may be a group, and so recurse: parts that are not needed for that are in
    /// functions of their own, since in debug builds each value of a frame takes stack at each
    /// level.
    #[inline(always)]
    fn poll(&self, executor: &Executor, task: &Woken) -> Option<Step> {
        let child = self.child(task);
        let before = executor.left();
        let waker = task.id.waker();
        let running = executor.run(task.id, task.scope);
        let polled = child.poll(&mut Context::from_waker(&waker), false);
        drop(running);
        if polled.is_pending() {
            executor.settle(before);
            return None;
        }
        self.ended(executor, task, child, polled)
    }

    #[inline]
    fn child(&self, task: &Woken) -> Rc<dyn Child> {
        Rc::clone(&self.members.borrow()[task.member as usize])
    }

    fn ended(
        &self,
        executor: &Executor,
        task: &Woken,
        child: Rc<dyn Child>,
        polled: Poll<Result<(), Failed>>,
    ) -> Option<Step> {
        executor.charge();
        let scope = match polled {
            Poll::Ready(Err(_)) => executor.scope_of(task.id),
            _ => 0,
        };
        let member = self.forget(executor, task);
        // The last owner drops a value that was not taken.
        match (caught(|| drop((member, child))), polled) {
            (Step::Polled, Poll::Ready(Err(failed))) => Some(Step::Failed(failed, scope)),
            (Step::Polled, _) => None,
            (step, _) => Some(step),
        }
    }

    /// Frees the slot and the place of a task that has ended.
    fn forget(&self, executor: &Executor, task: &Woken) -> Option<Member> {
        let mut members = self.members.borrow_mut();
        let member = members.try_remove(task.member as usize)?;
        executor.slots().remove_slot(task.id);
        Some(member)
    }

    /// Closes the set: no task is added from now on, and none is polled.
    ///
    /// If a group is dropped under another runtime than the one that polled it last, its tasks may
    /// be cancelled meanwhile by their numbers, which there would belong to other tasks.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        let home = self.home.borrow();
        if home
            .as_ref()
            .is_some_and(|home| !waker::is_entered(&home.executor))
        {
            for (_, member) in self.members.borrow().iter() {
                member.head().strand();
            }
        }
    }

    /// Drops every future in place, one at a time, continuing after a panic; then frees the slots.
    /// Returns the first panic.
    pub(crate) fn teardown(&self) -> Option<Payload> {
        self.close();
        let mut first = None;
        // No task is added any more: a spawn from a future's drop finds the set closed.
        let members = self.members.take();
        for child in members.into_values() {
            if let Some(home) = &*self.home.borrow() {
                home.executor.slots().remove_slot(child.head().id());
            }
            for step in [
                caught(|| child::cancel(&*child, false)),
                caught(|| drop(child)),
            ] {
                if let Step::Panicked(payload) = step {
                    first.get_or_insert(payload);
                }
            }
        }
        if let Step::Panicked(payload) = caught(|| self.leave()) {
            first.get_or_insert(payload);
        }
        first
    }
}

shown!(
    [] TaskSet, "TaskSet", this =>
    tasks: this.members.borrow().len(),
    closed: this.closed.get()
);

/// Runs code of the user that may panic.
fn caught(f: impl FnOnce()) -> Step {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(()) => Step::Polled,
        Err(payload) => Step::Panicked(payload),
    }
}
