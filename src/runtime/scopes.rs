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
//! * A time limit gets its node when something in it looks for it, or its time is over
//!   ([`UNENTERED`]): usually it has none, around a single receive for example.
//! * *Down* lead lists of children: a cancel follows them to the tasks and wakers to wake. Only
//!   groups, shields and waiters are in such a list, with the nodes between them; everything else
//!   is reached by waking a task.
//!
//! The state of a node, apart from its place:
//!
//! | field | set by | cleared by | meaning, and exclusions |
//! |---|---|---|---|
//! | `linked` | `link` | `unlink`, the parent's `leave` | it is in its parent's list |
//! | `cancel` | `cancel` | never | it is cancelled; only then it has the fields below |
//! | `cancel.shields` | `cancel`, `count_shields` | `count_shields` | its live shields below |
//! | `cancel.allowance` | `allow` | never | the end of the delay by shields; it only grows |
//! | `cancel.timer` | `set_timer` | `begin`; `count_shields`, at 0 | ends the wait for shields |
//! | `cancel.progress` | `note_progress`, `notify` | `begin` | this poll notifies something |
//! | `cancel.left` | `cancel`, `notify` | `after_poll` | polls until its body is dropped |
//! | `cancel.caught` | `notify`, `blame` | never | something ended because of it |
//! | `cancel.report` | `ask`; `notify`, `doing` | never | the contents of the error it ends with |
//!
//! Every walk is a loop, not a recursion: scopes may be nested as deep as the stack allows.
//! Nothing is woken in here; [`Reached`] lists the tasks and wakers.
//!
//! The lists, and the walks along them, are in `scopes/nesting.rs`. The file is long because what
//! changes the state is beside the table of it.

mod nesting;

use std::mem::{replace, take};
use std::task::Waker;

use crate::error::{Content, TimedOut};
use crate::executor::{SetKey, TaskId};
use crate::reactor::TimerKey;
use crate::room::Slab;
use crate::sys::clock::{NEVER, Nanos};
use nesting::{index, place};

/// Identifies a node: generation in the upper half, index in the lower; 0 is none. A stale key
/// finds nothing.
pub(crate) type ScopeKey = u64;

/// Stands for a time limit that has no node yet. No node has this key: generations begin at 1.
pub(crate) const UNENTERED: ScopeKey = 1;

/// No node.
const NIL: u32 = u32::MAX;

/// The number of pending polls of its body after which a cancelled scope drops it, on top of one
/// for each task that the cancel has woken. It starts again when an operation that had begun to
/// wait before was notified: the number of those is limited.
const POLLS: u32 = 16;

/// Begins the description of an operation that only waits for the end of something else.
const END: &str = "waiting for the end of ";

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
pub(crate) struct Limit {
    /// [`NEVER`] means not at all; or not known yet, if there is a length.
    pub(crate) at: Nanos,
    /// Counted from the first wait; [`NEVER`] for a point in time.
    pub(crate) length: Nanos,
}

/// The next action of a scope after a pending poll of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterPoll {
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
    /// The task that polls it.
    task: TaskId,
    cancel: Option<Box<Cancel>>,
}

/// The state of a cancelled scope; see the table.
#[derive(Debug, Default)]
struct Cancel {
    at: Nanos,
    allowance: Nanos,
    shields: isize,
    timer: TimerKey,
    left: u32,
    progress: bool,
    caught: bool,
    report: Option<Content<TimedOut>>,
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
pub(crate) struct EndedScope {
    pub(crate) cancelled: bool,
    pub(crate) caught: bool,
    pub(crate) timer: TimerKey,
}

/// All scopes of one runtime.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    nodes: Slab<Node>,
    generation: u32,
    /// The number of nodes that are cancelled.
    cancelled: usize,
    /// A scope, and the task's that it is known to be inside of.
    spliced: (ScopeKey, ScopeKey),
    /// The timers of cancelled scopes that waited for shields and have none left below.
    unheld: Vec<TimerKey>,
    /// The scope with the report that describes the operation notified last; 0 if there is none.
    described: ScopeKey,
    /// Of the scope that has ended last.
    pub(crate) report: Option<Content<TimedOut>>,
    /// Counts the nodes that walks have visited.
    #[cfg(test)]
    pub(crate) visited: std::cell::Cell<usize>,
}

/// Cancelling.
impl Scopes {
    /// Cancels a scope; returns false if it was already cancelled, or is gone. The scopes around a
    /// body that is `polled` next hear of that poll: a walk to each of them here would make nested
    /// limits that end at once quadratic.
    pub(crate) fn cancel(&mut self, key: ScopeKey, now: Nanos, polled: bool) -> bool {
        if self.get(key).is_none_or(|node| node.cancel.is_some()) {
            return false;
        }
        let shields = self.shields_in(key);
        let mut cancel = Cancel {
            at: now,
            shields: isize::try_from(shields.len()).expect("they are in memory"),
            left: POLLS,
            ..Cancel::default()
        };
        cancel.allow(&shields);
        self.nodes[place(key)].cancel = Some(Box::new(cancel));
        self.cancelled += 1;
        if !polled {
            self.note_progress(key);
        }
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
    /// `waited` is what it was waiting for when the cancel came.
    pub(crate) fn notify(&mut self, from: ScopeKey, by: ScopeKey, waited: Option<&str>) {
        let mut at = from;
        while let Some(node) = self.get_mut(at) {
            if let Some(cancel) = &mut node.cancel {
                cancel.progress = true;
                // The poll in which that happens does not count.
                cancel.left = cancel.left.max(waited.map_or(0, |_| POLLS + 1));
                cancel.caught |= at == by;
            }
            at = if at == by { 0 } else { node.parent };
        }
        self.described = 0;
        let report = self.cancel_of(by).and_then(|cancel| cancel.report.as_mut());
        // What waits only for the end of something may have waited for another one of these.
        let open = report.filter(|it| it.doing().is_none_or(|it| it.starts_with(END)));
        if let (Some(what), Some(doing)) = (waited, open.and_then(Content::<TimedOut>::doing_mut)) {
            *doing = format!("waiting for {what}");
            self.described = by;
        }
    }

    /// Gives a report to a scope that ends because its time is over.
    pub(crate) fn ask(&mut self, key: ScopeKey, limit: Limit) {
        if let Some(cancel) = self.cancel_of(key) {
            cancel.report = Some(limit.report());
        }
    }

    /// Returns the description of the operation that was notified last, if it is in a report.
    pub(crate) fn doing(&mut self) -> Option<&mut String> {
        self.cancel_of(self.described)?.report.as_mut()?.doing_mut()
    }

    /// Records that the body of a scope is dropped because of `by`.
    pub(crate) fn blame(&mut self, by: ScopeKey) {
        if let Some(cancel) = self.cancel_of(by) {
            cancel.caught = true;
        }
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

    /// Called before the body of a scope is polled; returns the timer of a wait, which ends here,
    /// so that a shield that leaves in this poll does not cause another.
    pub(crate) fn begin(&mut self, key: ScopeKey) -> TimerKey {
        self.cancel_of(key).map_or(0, |cancel| {
            cancel.progress = false;
            take(&mut cancel.timer)
        })
    }

    /// Called after the body of a scope was polled and is pending; `spent` if the turn's budget is.
    pub(crate) fn after_poll(
        &mut self,
        key: ScopeKey,
        now: impl FnOnce() -> Nanos,
        spent: bool,
    ) -> AfterPoll {
        let Some(cancel) = self.cancel_of(key) else {
            return AfterPoll::Nothing;
        };
        if cancel.shields > 0 && cancel.allowance > now() {
            return AfterPoll::Wait(cancel.allowance);
        }
        cancel.left = cancel.left.saturating_sub(1);
        // What a shield has protected until now was not notified yet.
        match cancel.left > 0 && (cancel.progress || spent || cancel.shields > 0) {
            true => AfterPoll::Again,
            false => AfterPoll::Over,
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
        let (mut at, mut earliest) = (if self.cancelled == 0 { 0 } else { key }, NEVER);
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
        // Usually nothing is cancelled: a walk for each of nested shields would be quadratic.
        let none = more == 0 || self.cancelled == 0;
        let mut at = if none { 0 } else { key };
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

    /// Sets the timer that ends the wait for shields.
    pub(crate) fn set_timer(&mut self, key: ScopeKey, timer: TimerKey) {
        if let Some(cancel) = self.cancel_of(key) {
            cancel.timer = timer;
        }
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
                limit.at = limit.deadline(now);
                limit.at
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

#[cfg(test)]
mod tests;
