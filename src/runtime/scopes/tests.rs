//! Tests of the scopes that access their internals, step by step.

use super::*;

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
    // The operations that it has protected are notified first.
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
