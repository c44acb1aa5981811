//! A pure machine: the scopes of one runtime, their nesting, and the effect of a cancel.
//!
//! A *scope* is a node of a forest. Each `CancelScope` that runs, each time limit, shield and task
//! group is a node, and so is an operation with a waker that is not a task's. A task gets a node
//! when one below it has to be found from above:
//!
//! ```text
//!   CancelScope ── group ─┬─ task ── time limit ── waiter
//!                         ├─ task ── shield ── group ── ..
//!                         └─ (tasks without a scope have no node)
//! ```
//!
//! * *Up* leads the parent: an operation is cancelled if a node above it is, with no live shield in
//!   between. It is always valid.
//! * *Down* lead lists of children: a cancel follows them to the tasks and wakers to wake. Only
//!   groups, shields and waiters are in such a list, with the nodes between them; everything else
//!   is reached by waking a task. So a time limit around one receive is in no list.
//!
//! The state of a node, apart from its place:
//!
//! | field | set by | cleared by | meaning, and exclusions |
//! |---|---|---|---|
//! | `linked` | `link` | `unlink`, the parent's `leave` | it is in its parent's list |
//! | `notified` | `notify` | never | an operation in it ended with `Cancelled` |
//! | `cancel` | `cancel` | never | it is cancelled; only then it has the fields below |
//! | `cancel.shields` | `cancel`, `count_shields` | `count_shields` | number of live shields below |
//! | `cancel.allowance` | `allow` | never | the end of the delay by shields; it only grows |
//! | `cancel.timer` | `set_timer` | `count_shields`, at 0 | ends the wait for shields |
//! | `cancel.progress` | `note_progress`, `notify` | `begin` | this poll notified something, or has to |
//! | `cancel.left` | `cancel`, `notify` | `after_poll` | pending polls until its body is dropped |
//! | `cancel.caught` | `notify`, `blame` | never | something ended because of it |
//!
//! Every walk is a loop, not a recursion: scopes may be nested as deep as the stack allows.
//! Nothing is woken in here; [`Reached`] lists the tasks and wakers.
//!
//! The file is long because every walk relies on the same few links.

use std::mem::{replace, take};
use std::task::Waker;

use crate::executor::{SetKey, TaskId};
use crate::reactor::TimerKey;
use crate::room::Slab;
use crate::sys::clock::{NEVER, Nanos};

/// Identifies a node: generation in the upper half, index in the lower; 0 is none. A stale key
/// finds nothing.
pub(crate) type ScopeKey = u64;

/// No node.
const NIL: u32 = u32::MAX;

/// The number of pending polls of its body after which a cancelled scope drops it, on top of one
/// for each task that the cancel has woken. It starts again when an operation that had begun to
/// wait before was notified: the number of those is limited.
const POLLS: u32 = 16;

/// The kind of a node.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A [`CancelScope`](crate::CancelScope) or a time limit, with the time when it ends.
    Scope(Limit),
    /// Protects the nodes below.
    Shield(Shield),
    /// A task group, with the set of its tasks.
    Group(SetKey),
    /// A task.
    Task,
    /// An operation with a waker that is not a task's.
    Waiter(Waker),
}

/// The time that a shield protects.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shield {
    /// 0 when it has ended.
    until: Nanos,
    /// The whole time, from its beginning.
    length: Nanos,
}

/// The time when a scope ends by the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// At a time; [`NEVER`] means not at all.
    At(Nanos),
    /// This number of nanoseconds after its first wait.
    After(Nanos),
}

/// The next action of a scope after a pending poll of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is not cancelled: nothing.
    Nothing,
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
    /// The first in its list of children, and its neighbours in its parent's.
    first_child: u32,
    previous: u32,
    next: u32,
    linked: bool,
    notified: bool,
    /// The task that polls it.
    task: TaskId,
    cancel: Option<Box<Cancel>>,
}

/// The state of a cancelled scope; see the table.
#[derive(Debug)]
struct Cancel {
    at: Nanos,
    allowance: Nanos,
    shields: isize,
    timer: TimerKey,
    left: u32,
    progress: bool,
    caught: bool,
}

impl Kind {
    /// Returns true if a cancel further up has to find it.
    fn is_found(&self) -> bool {
        matches!(self, Self::Shield(_) | Self::Group(_) | Self::Waiter(_))
    }

    fn live_shield(&self) -> Option<Shield> {
        match self {
            Self::Shield(shield) if shield.until != 0 => Some(*shield),
            _ => None,
        }
    }
}

impl Node {
    fn protects(&self, now: impl Fn() -> Nanos) -> bool {
        let shield = self.kind.live_shield();
        shield.is_some_and(|shield| shield.until > now())
    }
}

impl Cancel {
    /// Lets shields delay it for as long as their limits, counted from the cancel at the earliest.
    fn allow(&mut self, shields: &[Shield]) -> Nanos {
        for shield in shields {
            let end = self.at.saturating_add(shield.length).min(shield.until);
            self.allowance = self.allowance.max(end);
        }
        self.allowance
    }
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
    generation: u32,
    /// The timers of cancelled scopes that waited for shields and have none left below.
    unheld: Vec<TimerKey>,
    /// Counts the nodes that walks down have visited.
    #[cfg(test)]
    pub(crate) visited: std::cell::Cell<usize>,
}

/// Places: entering, moving, leaving.
impl Scopes {
    /// Adds a node inside `parent`, polled by `task`.
    #[inline]
    pub(crate) fn enter(&mut self, task: TaskId, parent: ScopeKey, kind: Kind) -> ScopeKey {
        // Never 0, so that no key is 0.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let is_found = kind.is_found();
        let index = self.nodes.insert(Node {
            generation: self.generation,
            kind,
            parent,
            first_child: NIL,
            previous: NIL,
            next: NIL,
            linked: false,
            notified: false,
            task,
            cancel: None,
        });
        let key = u64::from(self.generation) << 32 | index as u64;
        if is_found {
            self.link(key);
        }
        key
    }

    /// Adds a shield inside `parent`, which protects until a time, or until the first cancelled
    /// scope above has used up its allowance. Returns its key and that time.
    pub(crate) fn enter_shield(
        &mut self,
        task: TaskId,
        parent: ScopeKey,
        until: Nanos,
        now: Nanos,
    ) -> (ScopeKey, Nanos) {
        let length = match until {
            NEVER => NEVER,
            until => until.saturating_sub(now),
        };
        let until = until.min(self.allow(parent, &[Shield { until, length }]));
        // A shield that begins without any time left has ended.
        let until = if until > now { until } else { 0 };
        self.count_shields(parent, isize::from(until != 0));
        let key = self.enter(task, parent, Kind::Shield(Shield { until, length }));
        (key, until)
    }

    /// Adds the waker of an operation inside `parent` that a task's wake would not reach.
    pub(crate) fn enlist(&mut self, parent: ScopeKey, waker: Waker) -> ScopeKey {
        match self.get(parent) {
            Some(_) => self.enter(TaskId::NONE, parent, Kind::Waiter(waker)),
            None => 0,
        }
    }

    /// Removes a waiter.
    #[must_use = "a foreign waker is dropped outside the borrow"]
    pub(crate) fn delist(&mut self, key: ScopeKey) -> Option<Waker> {
        self.get(key)?;
        self.unlink(key);
        match self.nodes.remove(place(key)).kind {
            Kind::Waiter(waker) => Some(waker),
            _ => None,
        }
    }

    /// Returns true if the waiter is still there, with an equivalent waker.
    pub(crate) fn is_enlisted(&self, key: ScopeKey, parent: ScopeKey, waker: &Waker) -> bool {
        self.get(key).is_some_and(|node| match &node.kind {
            Kind::Waiter(present) => node.parent == parent && present.will_wake(waker),
            _ => false,
        })
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

    /// Moves a node, with those below.
    #[cold]
    fn move_to(&mut self, key: ScopeKey, parent: ScopeKey) {
        let shields = self.shields_in(key);
        let count = isize::try_from(shields.len()).expect("they are in memory");
        let node = &self.nodes[place(key)];
        let (old, is_found) = (
            node.parent,
            // Without a parent it was in no list, even with nodes below.
            node.linked || node.kind.is_found() || node.first_child != NIL,
        );
        // The new parents first, so that the count of common ones never drops to 0 in between.
        self.count_shields(parent, count);
        self.count_shields(old, -count);
        self.allow(parent, &shields);
        self.unlink(key);
        self.nodes[place(key)].parent = parent;
        if is_found {
            self.link(key);
        }
    }

    /// Inserts the scope of a task between the scopes that were entered in it and its group's:
    /// `from` is the innermost of those, `above` the group's. No effect if it is already there.
    pub(crate) fn splice(&mut self, from: ScopeKey, above: ScopeKey, task: ScopeKey) {
        let mut key = from;
        while let Some(node) = self.get(key).filter(|_| key != task) {
            if node.parent == above {
                return self.move_to(key, task);
            }
            key = node.parent;
        }
    }

    /// Removes a scope. Nodes that are still in its list, because their future was leaked, have no
    /// parent from now on. The wakers have to be dropped when nothing is borrowed.
    pub(crate) fn leave(&mut self, key: ScopeKey, wakers: &mut Vec<Waker>) -> Left {
        if self.get(key).is_none() {
            return Left::default();
        }
        self.move_to(key, 0);
        let node = self.nodes.remove(place(key));
        let mut child = node.first_child;
        while child != NIL {
            let below = &mut self.nodes[child as usize];
            below.linked = false;
            let next = below.next;
            if matches!(below.kind, Kind::Waiter(_)) {
                let key = key_of(child, below);
                wakers.extend(self.delist(key));
            }
            child = next;
        }
        let cancel = node.cancel.as_ref();
        Left {
            cancelled: cancel.is_some(),
            caught: cancel.is_some_and(|cancel| cancel.caught),
            timer: cancel.map_or(0, |cancel| cancel.timer),
        }
    }

    /// Removes a scope if it is in no list, has none, and was not cancelled; returns true if so.
    #[inline]
    pub(crate) fn leave_alone(&mut self, key: ScopeKey) -> bool {
        let alone = self
            .get(key)
            .is_some_and(|node| !node.linked && node.first_child == NIL && node.cancel.is_none());
        if alone {
            self.nodes.remove(place(key));
        }
        alone
    }

    /// Puts a node into its parent's list, and so on upwards, so that a cancel finds it.
    fn link(&mut self, key: ScopeKey) {
        let mut key = key;
        while let Some(node) = self.get(key) {
            let parent = node.parent;
            if node.linked || self.get(parent).is_none() {
                return;
            }
            let next = replace(&mut self.nodes[place(parent)].first_child, index(key));
            let node = &mut self.nodes[place(key)];
            (node.linked, node.previous, node.next) = (true, NIL, next);
            if next != NIL {
                self.nodes[next as usize].previous = index(key);
            }
            key = parent;
        }
    }

    fn unlink(&mut self, key: ScopeKey) {
        let node = &mut self.nodes[place(key)];
        if !take(&mut node.linked) {
            return;
        }
        let (previous, next, parent) = (node.previous, node.next, node.parent);
        if next != NIL {
            self.nodes[next as usize].previous = previous;
        }
        match previous {
            // The parent of a linked node is there.
            NIL => self.nodes[place(parent)].first_child = next,
            previous => self.nodes[previous as usize].next = next,
        }
    }

    fn get(&self, key: ScopeKey) -> Option<&Node> {
        let node = self.nodes.get(place(key))?;
        (u64::from(node.generation) == key >> 32).then_some(node)
    }

    fn get_mut(&mut self, key: ScopeKey) -> Option<&mut Node> {
        let node = self.nodes.get_mut(place(key))?;
        (u64::from(node.generation) == key >> 32).then_some(node)
    }

    /// Calls `visit` for a node and those listed below it, further down only where it returns true.
    fn each_below(&self, key: ScopeKey, mut visit: impl FnMut(u32, &Node) -> bool) {
        let root = index(key);
        let mut at = match self.get(key) {
            Some(_) => root,
            None => return,
        };
        loop {
            #[cfg(test)]
            self.visited.set(self.visited.get() + 1);
            let mut node = &self.nodes[at as usize];
            if visit(at, node) && node.first_child != NIL {
                at = node.first_child;
                continue;
            }
            while at != root && node.next == NIL {
                at = index(node.parent);
                node = &self.nodes[at as usize];
            }
            if at == root {
                return;
            }
            at = node.next;
        }
    }

    /// Returns the scope around `key`, if there is one.
    pub(crate) fn parent(&self, key: ScopeKey) -> ScopeKey {
        self.get(key).map_or(0, |node| node.parent)
    }

    /// The number of nodes.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }
}

/// Cancelling.
impl Scopes {
    /// Cancels a scope; returns false if it was already cancelled, or is gone.
    pub(crate) fn cancel(&mut self, key: ScopeKey, now: Nanos) -> bool {
        if self.get(key).is_none_or(|node| node.cancel.is_some()) {
            return false;
        }
        let shields = self.shields_in(key);
        let mut cancel = Cancel {
            at: now,
            allowance: 0,
            shields: isize::try_from(shields.len()).expect("they are in memory"),
            timer: 0,
            left: POLLS,
            progress: false,
            caught: false,
        };
        cancel.allow(&shields);
        self.nodes[place(key)].cancel = Some(Box::new(cancel));
        self.note_progress(key);
        true
    }

    /// Returns all that has to be notified that `key` is cancelled: everything listed below it,
    /// except below a live shield. Wakers are taken out: an operation that is polled and still
    /// waits stores another.
    pub(crate) fn reach(&mut self, key: ScopeKey, now: Nanos) -> Reached {
        let (mut reached, mut waiters) = (Reached::default(), Vec::new());
        self.each_below(key, |at, node| {
            if at != index(key) && node.protects(|| now) {
                return false;
            }
            match node.kind {
                Kind::Waiter(_) => waiters.push(at),
                Kind::Group(set) => {
                    reached.sets.push(set);
                    reached.tasks.push(node.task);
                }
                _ => reached.tasks.push(node.task),
            }
            true
        });
        for at in waiters {
            if let Kind::Waiter(waker) = &mut self.nodes[at as usize].kind {
                reached.wakers.push(replace(waker, Waker::noop().clone()));
            }
        }
        reached
    }

    /// Lets the body of the cancelled `key` be polled for each of `tasks` that were woken.
    pub(crate) fn expect(&mut self, key: ScopeKey, tasks: u32) {
        if let Some(cancel) = self.cancel_of(key) {
            cancel.left = cancel.left.saturating_add(tasks);
        }
    }

    /// Records, for all cancelled scopes around, that something in `key` has to be notified.
    pub(crate) fn note_progress(&mut self, key: ScopeKey) {
        let mut at = key;
        while let Some(node) = self.get_mut(at) {
            if let Some(cancel) = &mut node.cancel {
                cancel.progress = true;
            }
            at = node.parent;
        }
    }

    /// Records that an operation at `from` ends because of `by`, which is above it or the same;
    /// `waited` if it was waiting when the cancel came.
    pub(crate) fn notify(&mut self, from: ScopeKey, by: ScopeKey, waited: bool) {
        let mut at = from;
        while let Some(node) = self.get_mut(at) {
            node.notified = true;
            if let Some(cancel) = &mut node.cancel {
                cancel.progress = true;
                // The poll in which that happens does not count.
                cancel.left = cancel.left.max(if waited { POLLS + 1 } else { 0 });
                cancel.caught |= at == by;
            }
            at = if at == by { 0 } else { node.parent };
        }
    }

    /// Records that the body of a scope is dropped because of `by`.
    pub(crate) fn blame(&mut self, by: ScopeKey) {
        if let Some(cancel) = self.cancel_of(by) {
            cancel.caught = true;
        }
    }

    /// Returns true if an operation in the scope was notified, because of this scope or one above.
    pub(crate) fn was_notified(&self, key: ScopeKey) -> bool {
        self.get(key).is_some_and(|node| node.notified)
    }

    pub(crate) fn is_cancelled(&self, key: ScopeKey) -> bool {
        self.get(key).is_some_and(|node| node.cancel.is_some())
    }

    /// Returns the outermost scope that cancels operations at `from`.
    pub(crate) fn outermost(&self, from: ScopeKey, now: impl Fn() -> Nanos) -> Option<ScopeKey> {
        let (mut key, mut outermost) = (from, None);
        while let Some(node) = self.get(key) {
            if node.cancel.is_some() {
                outermost = Some(key);
            }
            if node.protects(&now) {
                break;
            }
            key = node.parent;
        }
        outermost
    }

    /// Called before the body of a scope is polled.
    pub(crate) fn begin(&mut self, key: ScopeKey) {
        if let Some(cancel) = self.cancel_of(key) {
            cancel.progress = false;
        }
    }

    /// Called after the body of a scope was polled and is pending; `spent` if the turn's budget is.
    pub(crate) fn after_poll(
        &mut self,
        key: ScopeKey,
        now: impl FnOnce() -> Nanos,
        spent: bool,
    ) -> Next {
        let Some(cancel) = self.cancel_of(key) else {
            return Next::Nothing;
        };
        if cancel.shields > 0 && cancel.allowance > now() {
            return Next::Wait(cancel.allowance);
        }
        cancel.left = cancel.left.saturating_sub(1);
        match cancel.left > 0 && (cancel.progress || spent) {
            true => Next::Again,
            false => Next::Over,
        }
    }

    fn cancel_of(&mut self, key: ScopeKey) -> Option<&mut Cancel> {
        self.get_mut(key)?.cancel.as_deref_mut()
    }
}

/// Time: shields and deadlines.
impl Scopes {
    /// Returns the live shields among a node and those below.
    fn shields_in(&self, key: ScopeKey) -> Vec<Shield> {
        let mut shields = Vec::new();
        self.each_below(key, |_, node| {
            shields.extend(node.kind.live_shield());
            true
        });
        shields
    }

    /// Lets shields in `key` delay each cancelled scope from there on upwards. Returns the time
    /// when the first of those is past its allowance.
    fn allow(&mut self, key: ScopeKey, shields: &[Shield]) -> Nanos {
        let (mut at, mut earliest) = (key, NEVER);
        while let Some(node) = self.get_mut(at) {
            if let Some(cancel) = &mut node.cancel {
                earliest = earliest.min(cancel.allow(shields));
            }
            at = node.parent;
        }
        earliest
    }

    /// Adds `more` to the number of shields in the cancelled scopes from `key` on upwards.
    fn count_shields(&mut self, key: ScopeKey, more: isize) {
        let mut at = if more == 0 { 0 } else { key };
        while let Some(node) = self.get_mut(at) {
            at = node.parent;
            let Some(cancel) = &mut node.cancel else {
                continue;
            };
            cancel.shields += more;
            debug_assert!(cancel.shields >= 0, "no more shields end than have begun");
            if cancel.shields == 0 && cancel.timer != 0 {
                let timer = take(&mut cancel.timer);
                self.unheld.push(timer);
            }
        }
    }

    /// Ends the protection of a shield.
    pub(crate) fn end_shield(&mut self, key: ScopeKey) {
        let Some(node) = self.get_mut(key) else {
            return;
        };
        if let Kind::Shield(shield) = &mut node.kind {
            let (was_alive, parent) = (shield.until != 0, node.parent);
            shield.until = 0;
            self.count_shields(parent, -isize::from(was_alive));
        }
    }

    /// Sets the timer that ends the wait for shields; returns the previous one.
    pub(crate) fn set_timer(&mut self, key: ScopeKey, timer: TimerKey) -> TimerKey {
        let cancel = self.cancel_of(key);
        cancel.map_or(0, |cancel| replace(&mut cancel.timer, timer))
    }

    /// Returns the timers of the scopes that have lost their last shield since the last call.
    pub(crate) fn take_unheld(&mut self) -> Vec<TimerKey> {
        take(&mut self.unheld)
    }

    pub(crate) fn set_limit(&mut self, key: ScopeKey, new: Limit) {
        if let Some(Kind::Scope(limit)) = self.get_mut(key).map(|node| &mut node.kind) {
            *limit = new;
        }
    }

    /// Returns the time when a scope ends; a limit from the first wait counts from `now`.
    pub(crate) fn deadline(&mut self, key: ScopeKey, now: impl FnOnce() -> Nanos) -> Nanos {
        match self.get_mut(key).map(|node| &mut node.kind) {
            Some(Kind::Scope(limit)) => {
                let deadline = limit.deadline(now);
                *limit = Limit::At(deadline);
                deadline
            }
            _ => NEVER,
        }
    }

    /// Returns the earliest deadline that applies at `from`; `now` if it is cancelled there.
    pub(crate) fn effective_deadline(&mut self, from: ScopeKey, now: Nanos) -> Nanos {
        let (mut key, mut earliest) = (from, NEVER);
        while let Some(node) = self.get(key) {
            if node.cancel.is_some() {
                earliest = earliest.min(now);
            }
            if node.protects(|| now) {
                break;
            }
            let parent = node.parent;
            earliest = earliest.min(self.deadline(key, || now));
            key = parent;
        }
        earliest
    }
}

fn place(key: ScopeKey) -> usize {
    index(key) as usize
}

#[allow(clippy::cast_possible_truncation, reason = "the lower half")]
fn index(key: ScopeKey) -> u32 {
    key as u32
}

fn key_of(index: u32, node: &Node) -> ScopeKey {
    u64::from(node.generation) << 32 | u64::from(index)
}

#[cfg(test)]
mod tests;
