//! A pure machine: which scopes there are, which lies in which, and what a cancel reaches.
//!
//! A *scope* is a node of a forest. Explicit scopes, time limits and shields are nodes, each task
//! group is one, and a task becomes one when something below it has to know that it is there:
//!
//! ```text
//!   CancelScope ── group ─┬─ task ── time limit
//!                         ├─ task ── shield ── group ── ..
//!                         └─ (tasks that hold no scope have no node)
//! ```
//!
//! * *Up* leads the parent: is this operation cancelled? It is if a node above it is, with no
//!   live shield in between. Always valid.
//! * *Down* lead the links to the children: what has to be told of a cancel? Only what an ancestor
//!   could not reach by waking its own task is linked ([`Scopes::attach`]): groups, shields, and
//!   operations inside combinators with wakers of their own. So a time limit around one receive is
//!   an entry in a slab and nothing more.
//!
//! Every walk is a loop, not a recursion: scopes may be nested as deep as the stack allows.
//! Nobody is woken in here; [`Reached`] says who is to be.
//!
//! The file is long because every walk relies on the same few links.

use std::task::Waker;

use crate::executor::{SetKey, TaskId};
use crate::reactor::TimerKey;
use crate::room::Slab;
use crate::sys::clock::{NEVER, Nanos};

/// Names a scope: generation in the upper half, index in the lower; 0 is none. A stale key finds
/// nothing.
pub(crate) type ScopeKey = u64;

/// Names a waiter: the same form.
pub(crate) type WaiterKey = u64;

/// No node.
const NIL: u32 = u32::MAX;

/// What a node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A [`CancelScope`](crate::CancelScope) or a time limit.
    Scope,
    /// Protects what is below until a moment.
    Shield(Nanos),
    /// A shield whose time is over.
    Exposed,
    /// A task group, with the set of its tasks.
    Group(SetKey),
    /// A task.
    Task,
}

/// When a scope ends by the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// At a moment; [`NEVER`] for not at all.
    At(Nanos),
    /// So many nanoseconds after it first had to wait.
    After(Nanos),
}

#[derive(Debug)]
struct Node {
    generation: u32,
    kind: Kind,
    parent: ScopeKey,
    /// Those linked below, and the neighbours among its parent's.
    first_child: u32,
    previous: u32,
    next: u32,
    first_waiter: u32,
    linked: bool,
    cancelled: bool,
    /// The cancel came after its body was polled last.
    fresh: bool,
    /// An operation ended with `Cancelled` because of it.
    charged: bool,
    /// An operation below ended with `Cancelled` because of something above.
    told: bool,
    /// How often its body was polled since the cancel and did not end.
    polls: u8,
    /// Who polls it.
    task: TaskId,
    limit: Limit,
    /// Ends the wait for a shield.
    timer: TimerKey,
    /// What was left to be polled below when this was asked last.
    held: u64,
    /// Of a task: who told it last that it is cancelled, and how often it began something new
    /// all the same.
    deaf_to: ScopeKey,
    deaf: u32,
}

/// An operation (or a scope) whose waker is not a task's.
#[derive(Debug)]
struct Waiter {
    generation: u32,
    scope: u32,
    previous: u32,
    next: u32,
    waker: Waker,
}

/// Who has to hear of a cancel.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    pub(crate) tasks: Vec<TaskId>,
    pub(crate) sets: Vec<SetKey>,
    pub(crate) wakers: Vec<Waker>,
}

/// What a scope leaves behind at its end.
#[derive(Debug, Default)]
pub(crate) struct Left {
    pub(crate) cancelled: bool,
    pub(crate) charged: bool,
    pub(crate) timer: TimerKey,
    /// To be dropped when nothing is borrowed.
    pub(crate) wakers: Vec<Waker>,
}

/// What keeps a cancelled scope from dropping its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Nothing.
    None,
    /// A shield, until then.
    Shield(Nanos),
    /// So many tasks that have not been polled since the cancel.
    Tasks(u64),
}

/// All scopes of one runtime.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    nodes: Slab<Node>,
    waiters: Slab<Waiter>,
    generation: u32,
}

impl Scopes {
    fn next_generation(&mut self) -> u32 {
        // Never 0, so that no key is.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.generation
    }

    /// A new scope inside `parent`, which is linked to nothing yet.
    #[inline]
    pub(crate) fn enter(&mut self, parent: ScopeKey, kind: Kind, limit: Limit) -> ScopeKey {
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
            cancelled: false,
            fresh: false,
            charged: false,
            told: false,
            polls: 0,
            task: TaskId::NOBODY,
            limit,
            timer: 0,
            held: 0,
            deaf_to: 0,
            deaf: 0,
        });
        u64::from(generation) << 32 | index as u64
    }

    /// Forgets a scope. What is still linked below, because its future was leaked, has no parent
    /// from here on.
    pub(crate) fn leave(&mut self, key: ScopeKey) -> Left {
        let mut left = Left::default();
        if self.get(key).is_none() {
            return left;
        }
        self.cut(key, &mut left);
        let node = self.nodes.remove(place(key));
        (left.cancelled, left.charged, left.timer) = (node.cancelled, node.charged, node.timer);
        left
    }

    /// Forgets a scope if it concerns nobody else and was not cancelled; true if so.
    #[inline]
    pub(crate) fn leave_alone(&mut self, key: ScopeKey) -> bool {
        let alone = self.get(key).is_some_and(|node| {
            let linked = node.linked || node.first_child != NIL || node.first_waiter != NIL;
            !(linked || node.cancelled || node.charged || node.timer != 0)
        });
        if alone {
            self.nodes.remove(place(key));
        }
        alone
    }

    #[cold]
    fn cut(&mut self, key: ScopeKey, left: &mut Left) {
        self.unlink(key);
        let node = &mut self.nodes[place(key)];
        let mut child = std::mem::replace(&mut node.first_child, NIL);
        while child != NIL {
            let node = &mut self.nodes[child as usize];
            node.linked = false;
            child = node.next;
        }
        self.take_waiters(index(key), &mut left.wakers);
    }

    fn get(&self, key: ScopeKey) -> Option<&Node> {
        let node = self.nodes.get(place(key))?;
        (u64::from(node.generation) == key >> 32).then_some(node)
    }

    fn get_mut(&mut self, key: ScopeKey) -> Option<&mut Node> {
        let node = self.nodes.get_mut(place(key))?;
        (u64::from(node.generation) == key >> 32).then_some(node)
    }

    /// The scope is polled inside `parent` now, by `task`; true if that was another one before.
    pub(crate) fn moved(&mut self, key: ScopeKey, parent: ScopeKey, task: TaskId) -> bool {
        let Some(node) = self.get_mut(key) else {
            return false;
        };
        node.task = task;
        if node.parent == parent {
            return false;
        }
        let linked = node.linked;
        self.unlink(key);
        self.nodes[place(key)].parent = parent;
        if linked {
            self.attach(key);
        }
        true
    }

    /// Puts the scope of a task between the scopes that were entered in it and its group's: `from`
    /// is the innermost of those, `above` the group's. Nothing happens if it is there already.
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
    pub(crate) fn attach(&mut self, key: ScopeKey) {
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

    /// Adds the waker of something inside `key` that a task's wake would not reach.
    pub(crate) fn enlist(&mut self, key: ScopeKey, waker: Waker) -> WaiterKey {
        if self.get(key).is_none() {
            return 0;
        }
        self.attach(key);
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

    /// Takes a waiter out again.
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

    /// Cancels a scope; false if it was already, or is gone.
    pub(crate) fn cancel(&mut self, key: ScopeKey) -> bool {
        let Some(node) = self.get_mut(key) else {
            return false;
        };
        node.fresh = true;
        !std::mem::replace(&mut node.cancelled, true)
    }

    pub(crate) fn is_cancelled(&self, key: ScopeKey) -> bool {
        self.get(key).is_some_and(|node| node.cancelled)
    }

    /// The body of a scope is going to be polled.
    pub(crate) fn begin(&mut self, key: ScopeKey) {
        if let Some(node) = self.get_mut(key) {
            node.fresh = false;
        }
    }

    /// True if the scope was cancelled since [`begin`](Self::begin): not all that is below it may
    /// have heard, since scopes are linked at the end of a poll.
    pub(crate) fn is_fresh(&self, key: ScopeKey) -> bool {
        self.get(key).is_some_and(|node| node.fresh)
    }

    /// The outermost scope whose cancel is in effect at `from`.
    pub(crate) fn outermost(&self, from: ScopeKey, now: impl Fn() -> Nanos) -> Option<ScopeKey> {
        let (mut key, mut outermost) = (from, None);
        while let Some(node) = self.get(key) {
            if node.cancelled {
                outermost = Some(key);
            }
            match node.kind {
                Kind::Shield(until) if until > now() => break,
                _ => key = node.parent,
            }
        }
        outermost
    }

    /// The scope around `key`, if there is one.
    pub(crate) fn parent(&self, key: ScopeKey) -> ScopeKey {
        self.get(key).map_or(0, |node| node.parent)
    }

    /// An operation at `from` ends because of `by`, which is above it or the same. True if there
    /// was a shield in between.
    pub(crate) fn charge(&mut self, from: ScopeKey, by: ScopeKey) -> bool {
        let (mut key, mut shielded) = (from, false);
        while let Some(node) = self.get_mut(key) {
            if key == by {
                node.charged = true;
                break;
            }
            node.told = true;
            shielded |= matches!(node.kind, Kind::Shield(_) | Kind::Exposed);
            key = node.parent;
        }
        shielded
    }

    /// The task with the scope `key` began something new after `by` had told it to end.
    pub(crate) fn count_deaf(&mut self, key: ScopeKey, by: ScopeKey) {
        let Some(node) = self.get_mut(key) else {
            return;
        };
        if std::mem::replace(&mut node.deaf_to, by) != by {
            node.deaf = 0;
        }
        node.deaf = node.deaf.saturating_add(1);
    }

    /// How often that was.
    pub(crate) fn deaf(&self, key: ScopeKey, by: ScopeKey) -> u32 {
        let node = self.get(key).filter(|node| node.deaf_to == by);
        node.map_or(0, |node| node.deaf)
    }

    /// True if something in the scope, or the scope's task, was told to end because of a scope
    /// further up or because of this one.
    pub(crate) fn was_told(&self, key: ScopeKey) -> bool {
        self.get(key).is_some_and(|node| node.told || node.charged)
    }

    /// Says who has to hear that `key` is cancelled: everything linked below, but for what a live
    /// shield protects. Wakers are taken out: who is polled and still waits puts one in again.
    pub(crate) fn reach(&mut self, key: ScopeKey, now: Nanos) -> Reached {
        let mut reached = Reached::default();
        let mut waited_in = Vec::new();
        self.each_below(key, |at, node| {
            if at != key && matches!(node.kind, Kind::Shield(until) if until > now) {
                return false;
            }
            reached.tasks.push(node.task);
            if let Kind::Group(set) = node.kind {
                reached.sets.push(set);
            }
            if node.first_waiter != NIL {
                waited_in.push(index(at));
            }
            true
        });
        for at in waited_in {
            self.take_waiters(at, &mut reached.wakers);
        }
        reached
    }

    fn take_waiters(&mut self, at: u32, wakers: &mut Vec<Waker>) {
        let mut waiter = std::mem::replace(&mut self.nodes[at as usize].first_waiter, NIL);
        while waiter != NIL {
            let gone = self.waiters.remove(waiter as usize);
            wakers.push(gone.waker);
            waiter = gone.next;
        }
    }

    /// True if the waiter is still in, with a waker that does the same.
    pub(crate) fn is_enlisted(&self, key: WaiterKey, scope: ScopeKey, waker: &Waker) -> bool {
        self.waiters.get(place(key)).is_some_and(|waiter| {
            u64::from(waiter.generation) == key >> 32
                && waiter.scope == index(scope)
                && waiter.waker.will_wake(waker)
        })
    }

    /// What below `key` has a right to go on; `held` says how many tasks of a set have not been
    /// polled since the cancel.
    pub(crate) fn hold(&self, key: ScopeKey, now: Nanos, held: impl Fn(SetKey) -> u64) -> Hold {
        let (mut until, mut tasks) = (0, 0);
        self.each_below(key, |at, node| match node.kind {
            Kind::Shield(end) if at != key && end > now => {
                until = until.max(end);
                false
            }
            Kind::Group(set) => {
                tasks += held(set);
                true
            }
            _ => true,
        });
        match (until, tasks) {
            (0, 0) => Hold::None,
            (0, tasks) => Hold::Tasks(tasks),
            (until, _) => Hold::Shield(until),
        }
    }

    /// Calls `visit` for a node and those linked below it, as far down as it says.
    fn each_below(&self, key: ScopeKey, mut visit: impl FnMut(ScopeKey, &Node) -> bool) {
        if self.get(key).is_none() {
            return;
        }
        let mut left = vec![index(key)];
        while let Some(at) = left.pop() {
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

    /// Counts a poll since the cancel, after which `tasks` are left to be polled, unless it is `in
    /// order`; tells how many polls there were and whether that number of tasks has changed.
    pub(crate) fn count(&mut self, key: ScopeKey, tasks: u64, in_order: bool) -> (u8, bool) {
        let Some(node) = self.get_mut(key) else {
            return (u8::MAX, false);
        };
        let changed = std::mem::replace(&mut node.held, tasks) != tasks;
        if !in_order && (tasks == 0 || !changed) {
            node.polls = node.polls.saturating_add(1);
        }
        (node.polls, changed)
    }

    /// The timer that ends the wait for a shield.
    pub(crate) fn timer(&self, key: ScopeKey) -> TimerKey {
        self.get(key).map_or(0, |node| node.timer)
    }

    pub(crate) fn set_timer(&mut self, key: ScopeKey, timer: TimerKey) {
        if let Some(node) = self.get_mut(key) {
            node.timer = timer;
        }
    }

    pub(crate) fn set_limit(&mut self, key: ScopeKey, limit: Limit) {
        if let Some(node) = self.get_mut(key) {
            node.limit = limit;
        }
    }

    /// The moment at which a scope ends; one counted from the first wait is counted from `now` on.
    pub(crate) fn deadline(&mut self, key: ScopeKey, now: impl FnOnce() -> Nanos) -> Nanos {
        let Some(node) = self.get_mut(key) else {
            return NEVER;
        };
        let deadline = node.limit.deadline(now);
        node.limit = Limit::At(deadline);
        deadline
    }

    /// The earliest deadline in effect at `from`; `now` if it is cancelled there.
    pub(crate) fn effective_deadline(&mut self, from: ScopeKey, now: Nanos) -> Nanos {
        let (mut key, mut earliest) = (from, NEVER);
        loop {
            earliest = earliest.min(self.deadline(key, || now));
            let Some(node) = self.get(key) else {
                return earliest;
            };
            if node.cancelled {
                earliest = earliest.min(now);
            }
            match node.kind {
                Kind::Shield(until) if until > now => return earliest,
                _ => key = node.parent,
            }
        }
    }

    /// The shield of `key` ends now.
    pub(crate) fn expose(&mut self, key: ScopeKey) {
        if let Some(node) = self.get_mut(key) {
            node.kind = Kind::Exposed;
        }
    }

    /// How many scopes there are.
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is done to the machine and to its twin.
    #[derive(Clone, Copy, Debug)]
    enum Action {
        /// Inside the scope with that number, if it lives.
        Enter(usize, bool),
        Leave(usize),
        Attach(usize),
        Move(usize, usize),
        Cancel(usize),
        Enlist(usize),
        Delist(usize),
    }

    /// A scope of the twin: no links but the parent's name.
    struct Twin {
        key: ScopeKey,
        parent: Option<usize>,
        shield: bool,
        cancelled: bool,
        alive: bool,
        linked: bool,
    }

    struct Both {
        machine: Scopes,
        twins: Vec<Twin>,
        /// Where it waits, if it does.
        waiters: Vec<(WaiterKey, Option<usize>)>,
    }

    impl Both {
        fn alive(&self, name: usize) -> Option<usize> {
            let name = name % self.twins.len().max(1);
            self.twins.get(name)?.alive.then_some(name)
        }

        fn is_below(&self, name: usize, above: usize) -> bool {
            let mut at = Some(name);
            while let Some(name) = at.filter(|name| self.twins[*name].alive) {
                if name == above {
                    return true;
                }
                at = self.twins[name].parent;
            }
            false
        }

        fn link(&mut self, name: usize) {
            let mut at = Some(name);
            while let Some(name) = at {
                let parent = self.twins[name].parent;
                let rooted = parent.is_none_or(|parent| !self.twins[parent].alive);
                if std::mem::replace(&mut self.twins[name].linked, !rooted) || rooted {
                    return;
                }
                at = parent;
            }
        }

        /// Reached by links: a chain of linked scopes leads down to it, past no live shield.
        fn is_reached(&self, name: usize, from: usize) -> bool {
            let mut at = name;
            loop {
                if at == from {
                    return true;
                }
                let twin = &self.twins[at];
                let parent = twin.parent.filter(|parent| self.twins[*parent].alive);
                match parent {
                    Some(parent) if twin.linked && !twin.shield => at = parent,
                    _ => return false,
                }
            }
        }

        fn outermost(&self, from: usize) -> Option<ScopeKey> {
            let (mut at, mut found) = (Some(from), None);
            while let Some(name) = at.filter(|name| self.twins[*name].alive) {
                let twin = &self.twins[name];
                found = if twin.cancelled {
                    Some(twin.key)
                } else {
                    found
                };
                at = if twin.shield { None } else { twin.parent };
            }
            found
        }

        fn act(&mut self, action: Action) {
            match action {
                Action::Enter(inside, shield) => self.enter(inside, shield),
                Action::Leave(name) => {
                    let Some(name) = self.alive(name) else { return };
                    let left = self.machine.leave(self.twins[name].key);
                    assert_eq!(left.cancelled, self.twins[name].cancelled);
                    self.twins[name].alive = false;
                    for twin in 0..self.twins.len() {
                        let orphan = self.twins[twin].parent == Some(name);
                        self.twins[twin].linked &= !orphan;
                    }
                    let waited = self.waiters.iter().filter(|(_, at)| *at == Some(name));
                    assert_eq!(left.wakers.len(), waited.count());
                    self.waiters.retain(|(_, at)| *at != Some(name));
                }
                Action::Attach(name) => {
                    let Some(name) = self.alive(name) else { return };
                    self.machine.attach(self.twins[name].key);
                    self.link(name);
                }
                Action::Move(name, to) => self.moved(name, to),
                Action::Cancel(name) => self.cancel(name),
                Action::Enlist(name) => {
                    let Some(name) = self.alive(name) else { return };
                    let waker = Waker::noop().clone();
                    let key = self.machine.enlist(self.twins[name].key, waker);
                    self.link(name);
                    self.waiters.push((key, Some(name)));
                }
                Action::Delist(which) => {
                    if self.waiters.is_empty() {
                        return;
                    }
                    let at = which % self.waiters.len();
                    let (key, waits) = self.waiters.swap_remove(at);
                    assert_eq!(self.machine.delist(key).is_some(), waits.is_some());
                }
            }
        }

        fn enter(&mut self, inside: usize, shield: bool) {
            let parent = self.alive(inside);
            let above = parent.map_or(0, |parent| self.twins[parent].key);
            let kind = if shield {
                Kind::Shield(NEVER)
            } else {
                Kind::Scope
            };
            let key = self.machine.enter(above, kind, Limit::At(NEVER));
            self.twins.push(Twin {
                key,
                parent,
                shield,
                cancelled: false,
                alive: true,
                linked: false,
            });
        }

        fn moved(&mut self, name: usize, to: usize) {
            let (Some(name), Some(to)) = (self.alive(name), self.alive(to)) else {
                return;
            };
            if self.is_below(to, name) {
                return;
            }
            let (key, above) = (self.twins[name].key, self.twins[to].key);
            let moved = self.machine.moved(key, above, TaskId::NOBODY);
            assert_eq!(moved, self.twins[name].parent != Some(to));
            self.twins[name].parent = Some(to);
            if moved && std::mem::take(&mut self.twins[name].linked) {
                self.link(name);
            }
        }

        fn cancel(&mut self, name: usize) {
            let Some(name) = self.alive(name) else { return };
            let key = self.twins[name].key;
            let first = !std::mem::replace(&mut self.twins[name].cancelled, true);
            assert_eq!(self.machine.cancel(key), first);
            let below = (0..self.twins.len())
                .filter(|twin| self.twins[*twin].alive && self.is_reached(*twin, name));
            let below: Vec<usize> = below.collect();
            let waits = |at: &Option<usize>| at.is_some_and(|at| below.contains(&at));
            let waiting = self.waiters.iter().filter(|(_, at)| waits(at)).count();
            let reached = self.machine.reach(key, 0);
            assert_eq!(reached.tasks.len(), below.len());
            assert_eq!(reached.wakers.len(), waiting);
            for waiter in &mut self.waiters {
                if waits(&waiter.1) {
                    waiter.1 = None;
                }
            }
        }
    }

    fn actions() -> impl Strategy<Value = Vec<Action>> {
        let name = 0..40_usize;
        prop::collection::vec(
            prop_oneof![
                4 => (name.clone(), prop::bool::weighted(0.2))
                    .prop_map(|(at, shield)| Action::Enter(at, shield)),
                1 => name.clone().prop_map(Action::Leave),
                2 => name.clone().prop_map(Action::Attach),
                1 => (name.clone(), name.clone()).prop_map(|(at, to)| Action::Move(at, to)),
                1 => name.clone().prop_map(Action::Cancel),
                2 => name.clone().prop_map(Action::Enlist),
                1 => name.prop_map(Action::Delist),
            ],
            0..80,
        )
    }

    proptest! {
        /// The machine against a twin that has names and no links.
        #[test]
        fn scopes_do_what_a_list_of_parents_does(actions in actions()) {
            let mut both = Both {
                machine: Scopes::default(),
                twins: Vec::new(),
                waiters: Vec::new(),
            };
            for action in actions {
                both.act(action);
                for (name, twin) in both.twins.iter().enumerate() {
                    let expected = if twin.alive { both.outermost(name) } else { None };
                    assert_eq!(both.machine.outermost(twin.key, || 0), expected);
                }
                let alive = both.twins.iter().filter(|twin| twin.alive).count();
                let waiting = both.waiters.iter().filter(|(_, at)| at.is_some()).count();
                assert_eq!((both.machine.len(), both.machine.waiters.len()), (alive, waiting));
            }
        }
    }

    #[test]
    fn a_shield_ends_by_the_clock() {
        let mut scopes = Scopes::default();
        let outer = scopes.enter(0, Kind::Scope, Limit::At(NEVER));
        let shield = scopes.enter(outer, Kind::Shield(10), Limit::At(NEVER));
        let inner = scopes.enter(shield, Kind::Scope, Limit::At(NEVER));
        scopes.attach(shield);
        scopes.cancel(outer);
        assert_eq!(scopes.outermost(inner, || 9), None);
        assert_eq!(scopes.hold(outer, 9, |_| 0), Hold::Shield(10));
        assert_eq!(scopes.outermost(inner, || 10), Some(outer));
        assert_eq!(scopes.hold(outer, 10, |_| 0), Hold::None);
        scopes.charge(inner, outer);
        assert!(scopes.was_told(inner) && scopes.was_told(shield));
        assert!(scopes.leave(outer).charged);
    }

    #[test]
    fn a_limit_is_counted_from_the_first_look_at_it() {
        let mut scopes = Scopes::default();
        let outer = scopes.enter(0, Kind::Scope, Limit::At(500));
        let inner = scopes.enter(outer, Kind::Scope, Limit::After(100));
        assert_eq!(scopes.effective_deadline(inner, 50), 150);
        assert_eq!(scopes.deadline(inner, || 300), 150);
        scopes.set_limit(inner, Limit::At(NEVER));
        assert_eq!(scopes.effective_deadline(inner, 50), 500);
        scopes.cancel(outer);
        assert_eq!(scopes.effective_deadline(inner, 60), 60);
    }
}
