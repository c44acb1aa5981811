//! A pure machine: the scopes of one runtime, their nesting, and the reach of a cancel.
//!
//! A *scope* is a node of a forest. Each `CancelScope` that runs, each time limit, shield and task
//! group is a node; a task gets one when a node below it has to be found from above:
//!
//! ```text
//!   CancelScope ── group ─┬─ task ── time limit
//!                         ├─ task ── shield ── group ── ..
//!                         └─ (tasks without a scope have no node)
//! ```
//!
//! * *Up* leads the parent: an operation is cancelled if a node above it is, with no live shield in
//!   between. It is always valid.
//! * *Down* lead links: a cancel follows them to the nodes and wakers to wake. Only groups, shields
//!   and operations with a waker that is not a task's are linked ([`Scopes::link`]), with the nodes
//!   between them; everything else is reached by waking a task. So a time limit around one receive
//!   is a node without links.
//!
//! The state of a node:
//!
//! | field | set by | cleared by | meaning, and exclusions |
//! |---|---|---|---|
//! | `linked` | `link` | `unlink`, the parent's `leave` | it is in its parent's list |
//! | `cancelled_at` | `cancel` | never | the time of its cancel; [`NEVER`] before |
//! | `allowance` | `allow` | never | the end of the delay by shields below; only if cancelled |
//! | `shields` | `count_shields` | `count_shields` | number of shields below, not ended |
//! | `first_polls` | `expect` | `polled_first` | tasks below, not polled since its cancel |
//! | `polls` | `after_poll` | never | pending polls since the cancel that were not in order |
//! | `news` | `notify`, `cancel` | `begin` | the notifications during this poll of its body |
//! | `was_first` | `polled_first` | `begin` | this poll was the first of one of those tasks |
//! | `notified` | `notify` | never | an operation in it ended with `Cancelled` |
//! | `caught` | `notify`, `blame` | never | something ended because of it; only if cancelled |
//!
//! Every walk is a loop, not a recursion: scopes may be nested as deep as the stack allows.
//! Nothing is woken in here; [`Reached`] lists the tasks and wakers.
//!
//! The file is long because every walk relies on the same few links.

mod cancel;

use std::task::Waker;

use crate::executor::{SetKey, TaskId};
use crate::reactor::TimerKey;
use crate::room::Slab;
use crate::sys::clock::{NEVER, Nanos};

/// Identifies a scope: generation in the upper half, index in the lower; 0 is none. A stale key
/// finds nothing.
pub(crate) type ScopeKey = u64;

/// Identifies a waiter, in the same form.
pub(crate) type WaiterKey = u64;

/// No node.
const NIL: u32 = u32::MAX;

/// The number of pending polls of its body after which a cancelled scope drops it. A poll does not
/// count if a shield is alive, if an operation that waited was notified, or if a task was polled
/// for the first time since the cancel.
const POLLS: u8 = 16;

/// The kind of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A [`CancelScope`](crate::CancelScope) or a time limit.
    Scope,
    /// Protects the nodes below until a time; 0 when it has ended.
    Shield(Nanos),
    /// A task group, with the set of its tasks.
    Group(SetKey),
    /// A task.
    Task,
}

/// The time when a scope ends by the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// At a time; [`NEVER`] means not at all.
    At(Nanos),
    /// This number of nanoseconds after its first wait.
    After(Nanos),
}

/// The notifications during a poll of a cancelled body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    None,
    /// Operations that began after the cancel, or a scope further down, were notified: a loop can
    /// cause any number of these.
    Late,
    /// Operations that waited when the cancel came were notified: their number is limited.
    InOrder,
}

/// The next action of a cancelled scope after a pending poll of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It waits for a shield, at most until this time.
    Wait(Nanos),
    /// The body is polled again.
    Again,
    /// The body is dropped.
    Over,
}

#[derive(Debug)]
struct Node {
    generation: u32,
    kind: Kind,
    parent: ScopeKey,
    /// The first of the linked children, and the neighbours among the parent's.
    first_child: u32,
    previous: u32,
    next: u32,
    first_waiter: u32,
    linked: bool,
    notified: bool,
    caught: bool,
    news: News,
    was_first: bool,
    polls: u8,
    shields: i32,
    first_polls: u32,
    cancelled_at: Nanos,
    allowance: Nanos,
    /// The task that polls it.
    task: TaskId,
    /// For a shield: its limit.
    limit: Limit,
    /// The timer that ends the wait for shields.
    timer: TimerKey,
}

impl Node {
    fn is_cancelled(&self) -> bool {
        self.cancelled_at != NEVER
    }

    fn protects(&self, now: impl Fn() -> Nanos) -> bool {
        matches!(self.kind, Kind::Shield(until) if until != 0 && until > now())
    }

    /// The number of shields that it counts for further up.
    fn count(&self) -> i32 {
        let own = matches!(self.kind, Kind::Shield(until) if until != 0);
        self.shields + i32::from(own)
    }
}

/// An operation (or a scope) with a waker that is not a task's.
#[derive(Debug)]
struct Waiter {
    generation: u32,
    scope: u32,
    previous: u32,
    next: u32,
    waker: Waker,
}

/// The tasks, sets and wakers to notify of a cancel.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    pub(crate) tasks: Vec<TaskId>,
    pub(crate) sets: Vec<SetKey>,
    pub(crate) wakers: Vec<Waker>,
}

/// The state of a scope at its end.
#[derive(Debug, Default)]
pub(crate) struct Left {
    pub(crate) cancelled: bool,
    pub(crate) caught: bool,
    pub(crate) timer: TimerKey,
}

/// All scopes of one runtime.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    nodes: Slab<Node>,
    waiters: Slab<Waiter>,
    generation: u32,
    /// The timers of cancelled scopes that waited for shields and have none left below.
    unheld: Vec<TimerKey>,
    /// Counts the nodes that walks down have visited.
    #[cfg(test)]
    pub(crate) visited: std::cell::Cell<usize>,
}

impl Scopes {
    fn next_generation(&mut self) -> u32 {
        // Never 0, so that no key is 0.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.generation
    }

    /// Adds a scope inside `parent`, without links.
    #[inline]
    pub(crate) fn enter(&mut self, parent: ScopeKey, kind: Kind, limit: Limit) -> ScopeKey {
        self.enter_by(TaskId::NONE, parent, kind, limit)
    }

    /// The same, polled by `task`.
    #[inline]
    pub(crate) fn enter_by(
        &mut self,
        task: TaskId,
        parent: ScopeKey,
        kind: Kind,
        limit: Limit,
    ) -> ScopeKey {
        let generation = self.next_generation();
        let index = self.nodes.insert(Node {
            generation,
            kind,
            parent,
            first_child: NIL,
            previous: NIL,
            next: NIL,
            first_waiter: NIL,
            linked: false,
            notified: false,
            caught: false,
            news: News::None,
            was_first: false,
            polls: 0,
            shields: 0,
            first_polls: 0,
            cancelled_at: NEVER,
            allowance: 0,
            task,
            limit,
            timer: 0,
        });
        u64::from(generation) << 32 | index as u64
    }

    /// Removes a scope. Nodes that are still linked below, because their future was leaked, have no
    /// parent from now on. The wakers have to be dropped when nothing is borrowed.
    pub(crate) fn leave(&mut self, key: ScopeKey, wakers: &mut Vec<Waker>) -> Left {
        let Some(node) = self.get(key) else {
            return Left::default();
        };
        let (parent, count) = (node.parent, node.count());
        self.count_shields(parent, -count);
        self.unlink(key);
        let node = self.nodes.remove(place(key));
        let mut child = node.first_child;
        while child != NIL {
            let node = &mut self.nodes[child as usize];
            node.linked = false;
            child = node.next;
        }
        self.take_waiters(node.first_waiter, wakers);
        Left {
            cancelled: node.is_cancelled(),
            caught: node.caught,
            timer: node.timer,
        }
    }

    /// Removes a scope if it is not linked and was not cancelled; returns true if so.
    #[inline]
    pub(crate) fn leave_alone(&mut self, key: ScopeKey) -> bool {
        let alone = self.get(key).is_some_and(|node| {
            let linked = node.linked || node.first_child != NIL || node.first_waiter != NIL;
            !(linked || node.is_cancelled())
        });
        if alone {
            self.nodes.remove(place(key));
        }
        alone
    }

    fn get(&self, key: ScopeKey) -> Option<&Node> {
        let node = self.nodes.get(place(key))?;
        (u64::from(node.generation) == key >> 32).then_some(node)
    }

    fn get_mut(&mut self, key: ScopeKey) -> Option<&mut Node> {
        let node = self.nodes.get_mut(place(key))?;
        (u64::from(node.generation) == key >> 32).then_some(node)
    }

    /// Records that the scope is polled inside `parent` by `task`; returns true if its parent has
    /// changed.
    #[inline]
    pub(crate) fn moved(&mut self, key: ScopeKey, parent: ScopeKey, task: TaskId) -> bool {
        let Some(node) = self.get_mut(key) else {
            return false;
        };
        node.task = task;
        let moved = node.parent != parent;
        if moved {
            self.move_to(key, parent);
        }
        moved
    }

    #[cold]
    fn move_to(&mut self, key: ScopeKey, parent: ScopeKey) {
        let node = &self.nodes[place(key)];
        let (count, old) = (node.count(), node.parent);
        // Without a parent it had no link, even with nodes below.
        let is_found = node.linked
            || matches!(node.kind, Kind::Group(_) | Kind::Shield(_))
            || node.first_child != NIL
            || node.first_waiter != NIL;
        // The new parents first, so that the count of common ones never drops to 0 in between.
        self.count_shields(parent, count);
        self.count_shields(old, -count);
        self.unlink(key);
        self.nodes[place(key)].parent = parent;
        if is_found {
            self.link(key);
        }
        if count > 0 {
            self.allow(key);
        }
    }

    /// Inserts the scope of a task between the scopes that were entered in it and its group's:
    /// `from` is the innermost of those, `above` the group's. No effect if it is already there.
    pub(crate) fn splice(&mut self, from: ScopeKey, above: ScopeKey, task: ScopeKey) {
        let mut key = from;
        while let Some(node) = self.get(key) {
            if key == task {
                return;
            }
            if node.parent == above {
                let polled_by = node.task;
                self.moved(key, task, polled_by);
                return;
            }
            key = node.parent;
        }
    }

    /// Links a scope, and those above, so that a cancel further up finds it.
    pub(crate) fn link(&mut self, key: ScopeKey) {
        let mut key = key;
        while let Some(node) = self.get(key) {
            let parent = node.parent;
            if node.linked || self.get(parent).is_none() {
                return;
            }
            let (index, parent_index) = (index(key), index(parent));
            let next = std::mem::replace(&mut self.nodes[parent_index as usize].first_child, index);
            let node = &mut self.nodes[index as usize];
            node.linked = true;
            node.previous = NIL;
            node.next = next;
            if next != NIL {
                self.nodes[next as usize].previous = index;
            }
            key = parent;
        }
    }

    fn unlink(&mut self, key: ScopeKey) {
        let node = &mut self.nodes[place(key)];
        if !std::mem::replace(&mut node.linked, false) {
            return;
        }
        let (previous, next, parent) = (node.previous, node.next, node.parent);
        if next != NIL {
            self.nodes[next as usize].previous = previous;
        }
        match previous {
            NIL => {
                if let Some(parent) = self.get_mut(parent) {
                    parent.first_child = next;
                }
            }
            previous => self.nodes[previous as usize].next = next,
        }
    }

    /// Adds the waker of an operation inside `key` that a task's wake would not reach.
    pub(crate) fn enlist(&mut self, key: ScopeKey, waker: Waker) -> WaiterKey {
        if self.get(key).is_none() {
            return 0;
        }
        self.link(key);
        let generation = self.next_generation();
        let scope = index(key);
        let next = self.nodes[scope as usize].first_waiter;
        let waiter = narrow(self.waiters.insert(Waiter {
            generation,
            scope,
            previous: NIL,
            next,
            waker,
        }));
        self.nodes[scope as usize].first_waiter = waiter;
        if next != NIL {
            self.waiters[next as usize].previous = waiter;
        }
        u64::from(generation) << 32 | u64::from(waiter)
    }

    /// Removes a waiter.
    #[must_use = "a foreign waker is dropped outside the borrow"]
    pub(crate) fn delist(&mut self, key: WaiterKey) -> Option<Waker> {
        let waiter = self.waiters.get(place(key))?;
        if u64::from(waiter.generation) != key >> 32 {
            return None;
        }
        let gone = self.waiters.remove(place(key));
        if gone.next != NIL {
            self.waiters[gone.next as usize].previous = gone.previous;
        }
        match gone.previous {
            NIL => self.nodes[gone.scope as usize].first_waiter = gone.next,
            previous => self.waiters[previous as usize].next = gone.next,
        }
        Some(gone.waker)
    }

    pub(crate) fn is_cancelled(&self, key: ScopeKey) -> bool {
        self.get(key).is_some_and(Node::is_cancelled)
    }

    /// Returns the outermost scope that cancels operations at `from`.
    pub(crate) fn outermost(&self, from: ScopeKey, now: impl Fn() -> Nanos) -> Option<ScopeKey> {
        let (mut key, mut outermost) = (from, None);
        while let Some(node) = self.get(key) {
            if node.is_cancelled() {
                outermost = Some(key);
            }
            if node.protects(&now) {
                break;
            }
            key = node.parent;
        }
        outermost
    }

    /// Returns the scope around `key`, if there is one.
    pub(crate) fn parent(&self, key: ScopeKey) -> ScopeKey {
        self.get(key).map_or(0, |node| node.parent)
    }

    fn take_waiters(&mut self, first: u32, wakers: &mut Vec<Waker>) {
        let mut waiter = first;
        while waiter != NIL {
            let gone = self.waiters.remove(waiter as usize);
            wakers.push(gone.waker);
            waiter = gone.next;
        }
    }

    /// Returns true if the waiter is still there, with an equivalent waker.
    pub(crate) fn is_enlisted(&self, key: WaiterKey, scope: ScopeKey, waker: &Waker) -> bool {
        self.waiters.get(place(key)).is_some_and(|waiter| {
            u64::from(waiter.generation) == key >> 32
                && waiter.scope == index(scope)
                && waiter.waker.will_wake(waker)
        })
    }

    /// Calls `visit` for a node and those linked below it, further down only where it returns true.
    fn each_below(&self, key: ScopeKey, mut visit: impl FnMut(ScopeKey, &Node) -> bool) {
        if self.get(key).is_none() {
            return;
        }
        let mut left = vec![index(key)];
        while let Some(at) = left.pop() {
            #[cfg(test)]
            self.visited.set(self.visited.get() + 1);
            let node = &self.nodes[at as usize];
            if !visit(u64::from(node.generation) << 32 | u64::from(at), node) {
                continue;
            }
            let mut child = node.first_child;
            while child != NIL {
                left.push(child);
                child = self.nodes[child as usize].next;
            }
        }
    }

    /// Returns the set of a group.
    pub(crate) fn set_of(&self, key: ScopeKey) -> Option<SetKey> {
        match self.get(key)?.kind {
            Kind::Group(set) => Some(set),
            _ => None,
        }
    }

    /// Sets the timer that ends the wait for shields; returns the previous one.
    pub(crate) fn replace_timer(&mut self, key: ScopeKey, timer: TimerKey) -> TimerKey {
        let node = self.get_mut(key);
        node.map_or(0, |node| std::mem::replace(&mut node.timer, timer))
    }

    /// Returns the timers of the scopes that have lost their last shield since the last call.
    pub(crate) fn take_unheld(&mut self) -> Vec<TimerKey> {
        std::mem::take(&mut self.unheld)
    }

    pub(crate) fn set_limit(&mut self, key: ScopeKey, limit: Limit) {
        if let Some(node) = self.get_mut(key) {
            node.limit = limit;
        }
    }

    /// Returns the time when a scope ends; a limit from the first wait counts from `now`.
    pub(crate) fn deadline(&mut self, key: ScopeKey, now: impl FnOnce() -> Nanos) -> Nanos {
        let Some(node) = self.get_mut(key) else {
            return NEVER;
        };
        let deadline = node.limit.deadline(now);
        node.limit = Limit::At(deadline);
        deadline
    }

    /// Returns the earliest deadline that applies at `from`; `now` if it is cancelled there.
    pub(crate) fn effective_deadline(&mut self, from: ScopeKey, now: Nanos) -> Nanos {
        let (mut key, mut earliest) = (from, NEVER);
        while let Some(node) = self.get_mut(key) {
            if node.is_cancelled() {
                earliest = earliest.min(now);
            }
            if node.protects(|| now) {
                break;
            }
            let parent = node.parent;
            if node.kind == Kind::Scope {
                earliest = earliest.min(self.deadline(key, || now));
            }
            key = parent;
        }
        earliest
    }

    /// The number of scopes.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }
}

fn place(key: u64) -> usize {
    index(key) as usize
}

fn index(key: u64) -> u32 {
    narrow(usize::try_from(key & 0xFFFF_FFFF).expect("32 bits"))
}

fn narrow(index: usize) -> u32 {
    u32::try_from(index).expect("memory ends before four billion scopes")
}

#[cfg(test)]
mod tests;
