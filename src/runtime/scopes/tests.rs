//! Tests of the scopes that access their internals: against a twin, and step by step. Long because
//! the twin states each rule of the machine once more.

use super::*;
use proptest::prelude::*;

/// An action on the machine and its twin.
#[derive(Clone, Copy, Debug)]
enum Action {
    /// Inside the scope with that number, if it is alive.
    Enter(usize, bool),
    Leave(usize),
    Attach(usize),
    Move(usize, usize),
    Cancel(usize),
    Enlist(usize),
    Delist(usize),
}

/// A scope of the twin: only the parent's name, no links.
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
    /// The scopes that it waits in.
    waiters: Vec<(ScopeKey, Option<usize>)>,
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

    fn is_found(&self, name: usize) -> bool {
        let twin = &self.twins[name];
        let mut below = self.twins.iter();
        twin.linked
            || twin.shield
            || self.waiters.iter().any(|(_, at)| *at == Some(name))
            || below.any(|twin| twin.alive && twin.linked && twin.parent == Some(name))
    }

    fn shields_below(&self, name: usize) -> usize {
        let below = (0..self.twins.len()).filter(|at| *at != name && self.twins[*at].shield);
        let below = below.filter(|at| self.twins[*at].alive && self.is_below(*at, name));
        below.count()
    }

    fn link(&mut self, name: usize) {
        let mut at = Some(name);
        while let Some(name) = at {
            let parent = self.twins[name].parent;
            let rooted = parent.is_none_or(|parent| !self.twins[parent].alive);
            if replace(&mut self.twins[name].linked, !rooted) || rooted {
                return;
            }
            at = parent;
        }
    }

    /// Returns true if a chain of linked scopes leads down to it, without a live shield.
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
                let mut wakers = Vec::new();
                let left = self.machine.leave(self.twins[name].key, &mut wakers);
                assert_eq!(left.cancelled, self.twins[name].cancelled);
                self.twins[name].alive = false;
                for twin in 0..self.twins.len() {
                    let orphan = self.twins[twin].parent == Some(name);
                    self.twins[twin].linked &= !orphan;
                }
                let waited = self.waiters.iter().filter(|(_, at)| *at == Some(name));
                assert_eq!(wakers.len(), waited.count());
                self.waiters.retain(|(_, at)| *at != Some(name));
            }
            Action::Attach(name) => {
                let Some(name) = self.alive(name) else { return };
                self.machine.link(self.twins[name].key);
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
        let key = match shield {
            true => self.machine.enter_shield(TaskId::NONE, above, NEVER, 1).0,
            false => scope_in(&mut self.machine, above),
        };
        self.twins.push(Twin {
            key,
            parent,
            shield,
            cancelled: false,
            alive: true,
            linked: false,
        });
        if shield {
            self.link(self.twins.len() - 1);
        }
    }

    fn moved(&mut self, name: usize, to: usize) {
        let (Some(name), Some(to)) = (self.alive(name), self.alive(to)) else {
            return;
        };
        if self.is_below(to, name) {
            return;
        }
        let (key, above) = (self.twins[name].key, self.twins[to].key);
        let moved = self.machine.moved(key, above, TaskId::NONE);
        assert_eq!(moved, self.twins[name].parent != Some(to));
        let is_found = self.is_found(name);
        self.twins[name].parent = Some(to);
        if moved {
            self.twins[name].linked = false;
            if is_found {
                self.link(name);
            }
        }
    }

    fn cancel(&mut self, name: usize) {
        // A shield is never cancelled itself.
        let name = self.alive(name).filter(|name| !self.twins[*name].shield);
        let Some(name) = name else { return };
        let key = self.twins[name].key;
        let first = !replace(&mut self.twins[name].cancelled, true);
        assert_eq!(self.machine.cancel(key, 1, false), first);
        let below = (0..self.twins.len())
            .filter(|twin| self.twins[*twin].alive && self.is_reached(*twin, name));
        let below: Vec<usize> = below.collect();
        let waits = |at: &Option<usize>| at.is_some_and(|at| below.contains(&at));
        let waiting = self.waiters.iter().filter(|(_, at)| waits(at)).count();
        let reached = self.machine.reach(key, 0);
        assert_eq!(reached.tasks.len(), below.len());
        assert_eq!(reached.wakers.len(), waiting);
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
                // Shields are counted only in cancelled scopes.
                if let Some(cancel) = both.machine.cancel_of(twin.key) {
                    let count = usize::try_from(cancel.shields);
                    assert_eq!(count, Ok(both.shields_below(name)));
                }
                let expected = if twin.alive { both.outermost(name) } else { None };
                assert_eq!(both.machine.outermost(twin.key, || 0), expected);
            }
            let alive = both.twins.iter().filter(|twin| twin.alive).count();
            let waiting = both.waiters.iter().filter(|(_, at)| at.is_some()).count();
            assert_eq!(both.machine.len(), alive + waiting);
        }
    }
}

fn scope_in(scopes: &mut Scopes, parent: ScopeKey) -> ScopeKey {
    scopes.enter(TaskId::NONE, parent, Kind::Scope(Limit::at(NEVER)))
}

/// Begins a poll of the body of a cancelled scope.
fn begin(scopes: &mut Scopes, key: ScopeKey) {
    assert!(scopes.is_cancelled(key));
    assert_eq!(scopes.begin(key), 0, "it waits for nothing");
}

fn left(scopes: &mut Scopes, key: ScopeKey) -> EndedScope {
    let mut wakers = Vec::new();
    let left = scopes.leave(key, &mut wakers);
    assert!(wakers.is_empty());
    left
}

#[test]
fn a_waiter_and_a_timer_are_known_by_their_keys() {
    struct Nothing;
    impl std::task::Wake for Nothing {
        fn wake(self: std::sync::Arc<Self>) {}
    }
    let (mut scopes, waker) = (
        Scopes::default(),
        &Waker::from(std::sync::Arc::new(Nothing)),
    );
    let [outer, group] = [0, 1].map(|_| scope_in(&mut scopes, 0));
    let inner = scope_in(&mut scopes, outer);
    assert_eq!((scopes.parent(inner), scopes.parent(outer)), (outer, 0));
    assert!(scopes.leave_alone(group) && !scopes.leave_alone(group));
    let key = scopes.enlist(inner, waker.clone());
    assert!(scopes.is_enlisted(key, inner, waker));
    assert!(!scopes.is_enlisted(key, outer, waker), "another scope");
    assert!(!scopes.is_enlisted(key + (1 << 32), inner, waker), "stale");
    assert!(!scopes.is_enlisted(key + 1, inner, waker), "no waiter");
    assert!(!scopes.leave_alone(inner), "something waits in it");
    scopes.cancel(outer, 1, false);
    scopes.set_timer(outer, 7);
    assert_eq!(scopes.begin(outer), 7);
    assert_eq!(scopes.reach(outer, 1).wakers.len(), 1);
    assert!(!scopes.is_enlisted(key, inner, waker), "it was taken out");
    assert!(scopes.delist(key).is_some() && scopes.delist(key).is_none());
}

#[test]
fn a_tasks_scope_comes_between() {
    let mut scopes = Scopes::default();
    let group = scope_in(&mut scopes, 0);
    let inner = scope_in(&mut scopes, group);
    let task = scope_in(&mut scopes, group);
    scopes.splice(inner, group, task);
    assert_eq!((scopes.parent(inner), scopes.parent(task)), (task, group));
    scopes.splice(inner, group, task);
    assert_eq!((scopes.parent(inner), scopes.parent(task)), (task, group));
    assert!(scopes.cancel(task, 2, false));
    assert_eq!(scopes.outermost(inner, || 3), Some(task));
}

#[test]
fn a_shield_ends_by_the_clock() {
    let mut scopes = Scopes::default();
    let outer = scope_in(&mut scopes, 0);
    let (shield, until) = scopes.enter_shield(TaskId::NONE, outer, 10, 1);
    assert_eq!(until, 10);
    let inner = scope_in(&mut scopes, shield);
    assert!(scopes.cancel(outer, 2, false) && !scopes.cancel(outer, 3, false));
    assert_eq!(scopes.outermost(inner, || 9), None);
    assert_eq!(scopes.after_poll(outer, || 9, false), AfterPoll::Wait(10));
    assert_eq!(scopes.outermost(inner, || 10), Some(outer));
    scopes.notify(inner, outer, Some("it"));
    assert_eq!(scopes.after_poll(outer, || 10, false), AfterPoll::Again);
    begin(&mut scopes, outer);
    assert!(!scopes.is_cancelled(inner));
    // What it has protected hears of that first.
    assert_eq!(scopes.after_poll(outer, || 10, false), AfterPoll::Again);
    scopes.end_shield(shield);
    assert_eq!(scopes.after_poll(outer, || 10, false), AfterPoll::Over);
    assert!(left(&mut scopes, outer).caught);
    // A node that is left below counts for none.
    scopes.end_shield(shield);
    left(&mut scopes, shield);
}

#[test]
fn the_shields_of_a_cancelled_scope_share_the_longest() {
    let mut scopes = Scopes::default();
    let outer = scope_in(&mut scopes, 0);
    let inner = scope_in(&mut scopes, outer);
    scopes.cancel(outer, 100, false);
    begin(&mut scopes, outer);
    // Counted from the cancel, not from where it begins.
    let (first, until) = scopes.enter_shield(TaskId::NONE, inner, 108 + 10, 108);
    assert_eq!(until, 110);
    left(&mut scopes, first);
    assert_eq!(
        scopes.enter_shield(TaskId::NONE, inner, 110 + 10, 110).1,
        0,
        "used up"
    );
    assert_eq!(scopes.after_poll(outer, || 110, false), AfterPoll::Over);
    // A longer one has the rest of its own time, and a shorter one shares that.
    let (longer, until) = scopes.enter_shield(TaskId::NONE, inner, 110 + 50, 110);
    assert_eq!(until, 150);
    assert_eq!(
        scopes.after_poll(outer, || 110, false),
        AfterPoll::Wait(150)
    );
    let (nested, until) = scopes.enter_shield(TaskId::NONE, longer, 120 + 10, 120);
    assert_eq!(until, 130);
    // Each scope counts from its own cancel, and the first to be used up decides.
    scopes.cancel(inner, 140, false);
    assert_eq!(
        scopes.enter_shield(TaskId::NONE, inner, 140 + 5, 140).1,
        145
    );
    assert_eq!(
        scopes.enter_shield(TaskId::NONE, inner, 145 + 99, 145).1,
        199
    );
    for key in [nested, longer] {
        left(&mut scopes, key);
    }
    // Without end.
    assert_eq!(
        scopes.enter_shield(TaskId::NONE, inner, NEVER, 150).1,
        NEVER
    );
    assert_eq!(
        scopes.after_poll(inner, || 1 << 60, false),
        AfterPoll::Wait(NEVER)
    );
}

#[test]
fn a_loop_that_tells_nothing_in_order_ends() {
    let mut scopes = Scopes::default();
    let key = scope_in(&mut scopes, 0);
    scopes.cancel(key, 1, false);
    scopes.expect(key, 3);
    // Three tasks, and waiting operations, are notified in turn, in any number.
    for _ in 0..3 {
        begin(&mut scopes, key);
        scopes.notify(key, key, None);
        assert_eq!(scopes.after_poll(key, || 1, true), AfterPoll::Again);
    }
    for _ in 0..1_000 {
        begin(&mut scopes, key);
        scopes.notify(key, key, Some("it"));
        assert_eq!(scopes.after_poll(key, || 1, true), AfterPoll::Again);
    }
    // Further ones are not.
    for _ in 1..POLLS {
        begin(&mut scopes, key);
        scopes.notify(key, key, None);
        assert_eq!(scopes.after_poll(key, || 1, true), AfterPoll::Again);
    }
    begin(&mut scopes, key);
    scopes.notify(key, key, None);
    assert_eq!(scopes.after_poll(key, || 1, true), AfterPoll::Over);
}

#[test]
fn the_last_shield_that_leaves_gives_up_the_timer_of_the_wait() {
    let mut scopes = Scopes::default();
    let outer = scope_in(&mut scopes, 0);
    let inner = scope_in(&mut scopes, outer);
    let [first, second] = [0, 1].map(|_| scopes.enter_shield(TaskId::NONE, inner, 10, 1).0);
    scopes.cancel(outer, 2, false);
    assert_eq!(scopes.after_poll(outer, || 2, false), AfterPoll::Wait(10));
    scopes.set_timer(outer, 7);
    left(&mut scopes, first);
    // It is below the same scope all the time.
    assert!(scopes.moved(second, outer, TaskId::NONE));
    assert_eq!(scopes.take_unheld(), []);
    assert!(scopes.moved(second, 0, TaskId::NONE));
    assert_eq!(scopes.take_unheld(), [7]);
    assert_eq!(left(&mut scopes, outer).timer, 0);
}

#[test]
fn a_shield_that_leaves_in_the_poll_of_the_wait_causes_no_other_poll() {
    let mut scopes = Scopes::default();
    let outer = scope_in(&mut scopes, 0);
    let shield = scopes.enter_shield(TaskId::NONE, outer, 10, 1).0;
    scopes.cancel(outer, 2, false);
    scopes.set_timer(outer, 7);
    assert_eq!(scopes.begin(outer), 7, "the caller cancels it");
    left(&mut scopes, shield);
    assert_eq!(scopes.take_unheld(), []);
    assert_eq!(scopes.after_poll(outer, || 3, false), AfterPoll::Over);
}

#[test]
fn a_shield_that_ends_holds_nothing_up() {
    let mut scopes = Scopes::default();
    let outer = scope_in(&mut scopes, 0);
    let [first, second] = [0, 1].map(|_| scopes.enter_shield(TaskId::NONE, outer, 10, 1).0);
    let inner = scope_in(&mut scopes, first);
    scopes.cancel(outer, 2, false);
    begin(&mut scopes, outer);
    scopes.end_shield(first);
    assert_eq!(scopes.outermost(inner, || 3), Some(outer));
    assert_eq!(scopes.after_poll(outer, || 3, false), AfterPoll::Wait(10));
    // It counts once, even if it ends several times.
    scopes.end_shield(first);
    assert_eq!(scopes.after_poll(outer, || 3, false), AfterPoll::Wait(10));
    scopes.end_shield(second);
    assert_eq!(scopes.after_poll(outer, || 3, false), AfterPoll::Over);
    left(&mut scopes, first);
}

#[test]
fn a_shield_that_is_moved_in_holds_up_what_is_cancelled_there() {
    let mut scopes = Scopes::default();
    let outer = scope_in(&mut scopes, 0);
    let shield = scopes.enter_shield(TaskId::NONE, 0, 10, 1).0;
    scopes.cancel(outer, 2, false);
    assert!(scopes.moved(shield, outer, TaskId::NONE));
    assert_eq!(scopes.after_poll(outer, || 2, false), AfterPoll::Wait(10));
}

#[test]
fn what_a_cancel_further_down_tells_is_heard_above() {
    let mut scopes = Scopes::default();
    let outer = scope_in(&mut scopes, 0);
    let inner = scope_in(&mut scopes, outer);
    scopes.cancel(outer, 1, false);
    begin(&mut scopes, outer);
    assert!(scopes.cancel(inner, 2, false));
    assert_eq!(scopes.after_poll(outer, || 2, false), AfterPoll::Again);
    begin(&mut scopes, outer);
    let innermost = scope_in(&mut scopes, inner);
    assert!(scopes.cancel(innermost, 2, true), "what its poll tells is");
    assert_eq!(scopes.after_poll(outer, || 2, false), AfterPoll::Over);
    scopes.blame(outer);
    assert!(!left(&mut scopes, inner).caught && left(&mut scopes, outer).caught);
}

#[test]
fn what_something_has_to_find_does_not_leave_alone() {
    let mut scopes = Scopes::default();
    let outer = scope_in(&mut scopes, 0);
    let inner = scope_in(&mut scopes, outer);
    scopes.link(inner);
    assert!(!scopes.leave_alone(outer), "it has a child");
    assert!(!scopes.leave_alone(inner), "it is in a list");
    left(&mut scopes, inner);
    assert!(scopes.leave_alone(outer));
}

#[test]
fn a_limit_is_counted_from_the_first_look_at_it() {
    let mut scopes = Scopes::default();
    let outer = scopes.enter(TaskId::NONE, 0, Kind::Scope(Limit::at(500)));
    let inner = scopes.enter(
        TaskId::NONE,
        outer,
        Kind::Scope(Limit {
            at: NEVER,
            length: 100,
        }),
    );
    assert_eq!(scopes.effective_deadline(inner, 50), 150);
    assert_eq!(scopes.deadline(inner, || 300), 150);
    scopes.set_limit(inner, Limit::at(NEVER));
    assert_eq!(scopes.effective_deadline(inner, 50), 500);
    scopes.cancel(outer, 55, false);
    assert_eq!(scopes.effective_deadline(inner, 60), 60);
}
