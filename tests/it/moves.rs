//! Futures that are polled in one scope and continue in another: the cancels that reach them there,
//! and the time that shields hold one up.

use std::cell::Cell;
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use soloio::{
    CancelScope, Error, Result, Runtime, block_on, create_memory_byte_stream, fail_after, fail_at,
    join, move_on_after, race, shield, sleep, task_group, yield_now,
};

use crate::support::{Counter, counted, deadline, forever, poll_once};

const HOUR: Duration = Duration::from_secs(3_600);
const SOON: Duration = Duration::from_millis(1);

async fn long() -> Result<()> {
    sleep(HOUR).await
}

fn is_cancelled<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Cancelled))
}

type Boxed<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

async fn waits(told: &Cell<u32>) -> Result<()> {
    let ended = long().await;
    told.set(told.get() + u32::from(is_cancelled(&ended)));
    ended
}

/// A group with a child that waits, a child that is a group, and operations in a combinator.
fn group(told: &Cell<u32>) -> Boxed<'_> {
    Box::pin(task_group(async move |group| {
        group.spawn(waits(told));
        group.spawn(task_group(async move |group| {
            group.spawn(waits(told));
            Ok(())
        }));
        group.spawn(async move {
            let all: FuturesUnordered<_> = (0..3).map(|_| waits(told).boxed_local()).collect();
            all.for_each(async |_| {}).await;
            Ok(())
        });
        Ok(())
    }))
}

/// The places a group is polled in.
const PLACES: [fn(Boxed<'_>) -> Boxed<'_>; 6] = [
    |group| Box::pin(fail_after(HOUR, group)),
    |group| Box::pin(fail_after(HOUR, fail_after(HOUR, group))),
    |group| Box::pin(shield(HOUR, group)),
    |group| Box::pin(async { CancelScope::new().run(group).await.expect("it ends") }),
    |group| {
        Box::pin(async {
            let mut all: FuturesUnordered<_> = std::iter::once(group).collect();
            all.next().await.expect("one")
        })
    },
    |group| Box::pin(task_group(async |outer| outer.spawn(group).await)),
];

/// Polls a group in one place, then in another that did not surround it before, then to its end.
#[test]
fn a_group_goes_on_under_a_limit_that_did_not_surround_it() {
    let _deadline = deadline();
    block_on(async {
        let mut group = Box::pin(task_group(async |group| {
            group.spawn(sleep(SOON));
            Ok(())
        }));
        drop(race((&mut group, yield_now())).await);
        fail_after(HOUR, group).await.expect("in time");
    });
    for before in PLACES {
        for place in PLACES {
            for runtimes in [1, 2] {
                wander(before, place, runtimes);
            }
        }
    }
}

/// A future that lends the group it polls, to be polled in one place after the other.
struct Lent<'a, 'g>(&'a std::cell::RefCell<Boxed<'g>>);

impl Future for Lent<'_, '_> {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Result<()>> {
        self.0.borrow_mut().as_mut().poll(cx)
    }
}

fn wander(before: fn(Boxed<'_>) -> Boxed<'_>, place: fn(Boxed<'_>) -> Boxed<'_>, runtimes: usize) {
    let told = Cell::new(0);
    let inner = std::cell::RefCell::new(group(&told));
    let mut first = Runtime::new().expect("a runtime");
    let mut second = (runtimes == 2).then(|| Runtime::new().expect("a runtime"));
    let mut earlier = before(Box::pin(Lent(&inner)));
    for _ in 0..3 {
        let polled = first.block_on(poll_once(earlier.as_mut()));
        assert!(polled.is_pending());
    }
    let next = second.as_mut().unwrap_or(&mut first);
    // Polls the group there while the future of the earlier place still exists.
    let scope = CancelScope::new();
    let mut later = Box::pin(scope.run(place(Box::pin(Lent(&inner)))));
    let polled = next.block_on(poll_once(later.as_mut()));
    assert!(polled.is_pending());
    drop(earlier);
    scope.cancel("where it is now");
    let shielded = std::ptr::fn_addr_eq(place, PLACES[2]);
    if shielded {
        let polled = next.block_on(poll_once(later.as_mut()));
        assert!(polled.is_pending());
        assert_eq!(told.get(), 0, "protected");
    } else {
        let ended = next.block_on(later);
        assert!(
            ended
                .as_ref()
                .is_none_or(|ended| is_cancelled(ended) || ended.is_ok()),
            "{ended:?}"
        );
        // In a combinator that has moved to another runtime the waits have wakers of the first one:
        // they are dropped.
        let all = if runtimes == 1 { 5 } else { 2 };
        assert_eq!(told.get(), all, "each of its operations");
        assert!(ended.is_some() || runtimes == 2);
    }
}

/// A cancelled scope somewhere else is no reason to poll what moves, or what a shield protected.
#[test]
fn a_cancel_elsewhere_wakes_nothing_here() {
    let _deadline = deadline();
    block_on(async {
        let scope = CancelScope::new();
        scope.cancel("before it runs");
        let mut held = Box::pin(scope.run(shield(HOUR, long())));
        assert!(poll_once(held.as_mut()).await.is_pending());
        let polls = Counter::new();
        let mut group = Box::pin(task_group(async |group| {
            group.spawn(counted(polls.clone(), long()));
            Ok(())
        }));
        assert!(poll_once(group.as_mut()).await.is_pending());
        let mut moved = Box::pin(shield(SOON, group));
        for _ in 0..2 {
            // What the first poll wakes is polled by the second.
            assert!(poll_once(moved.as_mut()).await.is_pending());
            assert!(poll_once(moved.as_mut()).await.is_pending());
            assert_eq!(polls.get(), 1);
            sleep(2 * SOON).await.expect("slept");
        }
    });
}

/// A wake of its task reaches neither a group nor a combinator inside.
#[test]
fn a_shield_notifies_all_that_waits_in_it_at_its_limit() {
    let _deadline = deadline();
    block_on(async {
        let (scope, told) = (CancelScope::new(), Cell::new(0));
        let waits = async || {
            let ended = long().await;
            told.set(told.get() + i32::from(is_cancelled(&ended)));
            Ok(())
        };
        let ended = scope.run(async {
            scope.cancel("now");
            let all: FuturesUnordered<_> = (0..3).map(|_| waits()).collect();
            let group: Boxed<'_> = Box::pin(task_group(async |group| {
                group.spawn(waits());
                Ok(())
            }));
            shield(SOON, join((all.collect::<Vec<_>>(), group))).await
        });
        assert!(ended.await.is_some(), "not dropped");
        assert_eq!(told.get(), 4);
    });
}

/// A shield that begins after the cancel has its time; a longer one after it has the rest.
#[test]
fn a_shield_after_the_cancel_has_its_time_and_a_longer_one_the_rest() {
    let _deadline = deadline();
    block_on(async {
        let (cleaned, again) = (Cell::new(false), Cell::new(false));
        let scope = CancelScope::new();
        let body = scope.run(async {
            scope.cancel("now");
            assert!(is_cancelled(&long().await));
            shield(HOUR, sleep(20 * SOON)).await.expect("protected");
            cleaned.set(true);
            // This one lies within the hour of the first.
            shield(HOUR / 2, sleep(SOON)).await.expect("protected");
            again.set(true);
            // A shield in a shield, and a scope inside both.
            let nested = shield(HOUR, shield(HOUR, fail_after(HOUR, sleep(SOON))));
            nested.await.expect("protected");
            assert!(is_cancelled(&yield_now().await));
            forever().await;
        });
        assert!(body.await.is_none(), "dropped when no shield is left");
        assert!(cleaned.get() && again.get());
    });
}

/// A shield that has ended holds nothing up any more, however long its time was.
#[test]
fn what_is_left_of_an_allowance_holds_nothing() {
    let _deadline = deadline();
    block_on(async {
        let ended = move_on_after(SOON, async {
            drop(long().await);
            shield(HOUR, sleep(SOON)).await.expect("protected");
            forever().await;
            Ok::<_, Error>(())
        });
        assert!(ended.await.expect("no error").is_none());
        // A shield that began earlier, and a group that moved with one inside.
        let mut moves = Box::pin(task_group(async |group| {
            group.spawn(shield(HOUR, long()));
            Ok(())
        }));
        assert!(poll_once(moves.as_mut()).await.is_pending());
        let ended = move_on_after(SOON, async {
            assert!(poll_once(moves.as_mut()).await.is_pending());
            drop(long().await);
            drop(moves);
            forever().await;
            Ok::<_, Error>(())
        });
        assert!(ended.await.expect("no error").is_none());
    });
}

/// `TaskHandle::cancel` of a task that the runtime owns reaches the waits in a combinator.
#[test]
fn a_handle_of_the_runtime_reaches_into_combinators() {
    let _deadline = deadline();
    let told = Rc::new(Cell::new(0));
    let mut runtime = Runtime::new().expect("a runtime");
    let seen = Rc::clone(&told);
    let task = runtime.spawn(async move {
        let mut all: FuturesUnordered<_> = (0..3).map(|_| long().boxed_local()).collect();
        while let Some(ended) = all.next().await {
            seen.set(seen.get() + i32::from(is_cancelled(&ended)));
        }
    });
    runtime.turn(Some(Duration::ZERO)).expect("a turn");
    runtime.block_on(async {
        task.cancel();
        task.await.expect("its value is handed on");
    });
    assert_eq!(told.get(), 3);
    // The same between the turns of a guest.
    let seen = Rc::clone(&told);
    let task = runtime.spawn(async move {
        let all: FuturesUnordered<_> = (0..3).map(|_| long().boxed_local()).collect();
        all.for_each(async |ended| seen.set(seen.get() + i32::from(is_cancelled(&ended))))
            .await;
    });
    runtime.turn(Some(Duration::ZERO)).expect("a turn");
    task.cancel();
    while !task.is_finished() {
        runtime.turn(None).expect("a turn");
    }
    assert_eq!(told.get(), 6);
}

/// A task that has not run yet runs to its first wait, even if it was cancelled before.
#[test]
fn a_task_cancelled_before_it_runs_begins_all_the_same() {
    let _deadline = deadline();
    for by_handle in [true, false] {
        let (begun, told) = (Cell::new(0), Cell::new(0));
        let ended: Result<()> = block_on(task_group(async |group| {
            let tasks: Vec<_> = (0..3)
                .map(|_| {
                    group.spawn(async {
                        begun.set(begun.get() + 1);
                        let ended = yield_now().await;
                        told.set(told.get() + u32::from(is_cancelled(&ended)));
                        forever().await;
                        Ok(())
                    })
                })
                .collect();
            match by_handle {
                true => tasks.iter().for_each(|task| task.cancel()),
                false => group.cancel(),
            }
            for task in tasks {
                assert!(is_cancelled(&task.await));
            }
            Ok(())
        }));
        assert!(ended.is_ok(), "{ended:?}");
        assert_eq!((begun.get(), told.get()), (3, 3), "by handle: {by_handle}");
    }
    let begun = Rc::new(Cell::new(false));
    let mut runtime = Runtime::new().expect("a runtime");
    let seen = Rc::clone(&begun);
    let task = runtime.spawn(async move {
        seen.set(true);
        yield_now().await
    });
    task.cancel();
    let ended = runtime.block_on(task).expect("its value is handed on");
    assert!(begun.get() && is_cancelled(&ended));
}

/// Only the outermost of the cancelled scopes has caught the cancel.
#[test]
fn only_the_outermost_has_caught_it() {
    let _deadline = deadline();
    block_on(async {
        for (operation, foreign) in [(true, true), (false, true), (true, false)] {
            let (outer, inner) = (CancelScope::new(), CancelScope::new());
            let ended = outer.run(inner.run(async {
                inner.cancel("first");
                outer.cancel("second");
                if operation {
                    drop(long().await);
                }
                if foreign {
                    forever().await;
                }
            }));
            assert!(ended.await.flatten().is_none() || !foreign);
            assert!(outer.cancelled_caught(), "{operation} {foreign}");
            assert!(!inner.cancelled_caught(), "{operation} {foreign}");
        }
        // The outer scope's cancel drops the body of an inner limit: that is not `TimedOut`.
        let scope = CancelScope::new();
        let ended = scope.run(fail_at(Instant::now(), async {
            scope.cancel("the outer one");
            pending::<()>().await;
            Ok::<_, Error>(())
        }));
        let ended = ended.await.expect("handed on");
        assert!(is_cancelled(&ended), "{ended:?}");
        assert!(scope.cancelled_caught());
    });
}

/// A leaked operation's waker is dropped with its task's scope; if it panics, no other is lost.
#[test]
fn forgotten_wakers_that_panic_when_dropped_leave_no_scope_behind() {
    let _deadline = deadline();
    let mut runtime = Runtime::new().expect("a runtime");
    for _ in 0..3 {
        runtime.spawn(async {
            let waker = std::sync::Arc::new(PanicsOnDrop);
            let waker = futures_util::task::waker(waker);
            // The stream is dropped before the task's scope is.
            let (a, _b) = create_memory_byte_stream(8);
            let mut inner = Box::pin(a.receive());
            let mut cx = std::task::Context::from_waker(&waker);
            assert!(inner.as_mut().poll(&mut cx).is_pending());
            std::mem::forget(inner);
            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(
                || drop(waker),
            )));
        });
    }
    let mut panics = 0;
    for _ in 0..3 {
        let turn = std::panic::AssertUnwindSafe(|| runtime.turn(Some(Duration::ZERO)));
        panics += u32::from(std::panic::catch_unwind(turn).is_err());
    }
    assert!(panics <= 1, "{panics}");
    assert!(format!("{runtime:?}").contains("scopes: 0"), "{runtime:?}");
    std::mem::forget(runtime);
}

struct PanicsOnDrop;

impl futures_util::task::ArcWake for PanicsOnDrop {
    fn wake_by_ref(_: &std::sync::Arc<Self>) {}
}

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        let first = !std::thread::panicking();
        first.then(|| crate::support::quiet_panic("a waker's drop"));
    }
}
