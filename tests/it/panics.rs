//! Panics of bodies, children, drops and wakers: where they are resumed, and what survives them
//! (E7).

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use soloio::{Error, Result, Runtime, block_on, sleep, task_group};

use crate::support::{Counter, OnDrop, deadline, forever, give_way, message, quiet_panic, rounds};

type Payload = Box<dyn std::any::Any + Send>;

/// Awaits a future, and catches its panic.
async fn caught<F: Future>(future: F) -> Result<F::Output, Payload> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::as_mut(&mut future).poll(cx)));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(payload) => Poll::Ready(Err(payload)),
        }
    })
    .await
}

async fn held(held: impl Sized) -> Result<()> {
    let _held = held;
    sleep(Duration::from_secs(3600)).await
}

/// E7, async-executor#78: a task's panic is resumed in its group; the loop survives.
#[test]
fn e7_the_loop_outlives_panicking_tasks() {
    let _deadline = deadline();
    let live = Counter::new();
    block_on(async {
        for round in 0..rounds(10_000) {
            let ended = caught(task_group(async |group| {
                group.spawn(held(live.hold()));
                group.spawn(async {
                    let _guard = OnDrop(|| {
                        if round % 2 == 1 {
                            quiet_panic("in drop");
                        }
                    });
                    give_way().await;
                    if round % 2 == 0 {
                        quiet_panic("in poll");
                    }
                });
                group.spawn(held(live.hold()));
                forever().await;
            }))
            .await;
            let payload = ended.expect_err("the panic goes on in the parent");
            assert_eq!(message(&*payload), ["in poll", "in drop"][round % 2]);
            assert_eq!(live.get(), 0, "its siblings are gone when it goes on");
        }
        sleep(Duration::from_millis(1)).await
    })
    .expect("the loop lives");
}

/// E7: a panic of the body is resumed in the group, after the children were dropped.
#[test]
fn e7_a_panic_in_the_body_drops_the_children_and_goes_on() {
    let live = Counter::new();
    block_on(async {
        let ended = caught(task_group(async |group| {
            group.spawn(held(live.hold()));
            give_way().await;
            assert_eq!(live.get(), 1);
            quiet_panic("in the body");
        }))
        .await;
        assert_eq!(message(&*ended.expect_err("it goes on")), "in the body");
        assert_eq!(live.get(), 0);
    });
}

/// E7, tokio's `test_abort_task_that_panics_on_drop`: a cancelled child that panics in its drop
/// ends the group with that panic. Its siblings are dropped, and its joiner gets an error.
#[test]
fn e7_a_panic_in_the_drop_of_a_cancelled_child_goes_on_in_the_parent() {
    let live = Counter::new();
    let joined = RefCell::new(None);
    block_on(async {
        let ended = caught(task_group(async |group| {
            let bad = group.spawn(held(OnDrop(|| quiet_panic("in drop"))));
            group.spawn(held(live.hold()));
            give_way().await;
            bad.cancel();
            *joined.borrow_mut() = Some(bad.await.is_err());
            Ok(())
        }))
        .await;
        assert_eq!(message(&*ended.expect_err("it goes on")), "in drop");
        assert_eq!(live.get(), 0);
    });
}

/// Dropping a group continues after a panic; the first panic is resumed at the end.
#[test]
fn e7_dropping_a_group_drops_every_child_whatever_they_do() {
    let dropped = Counter::new();
    block_on(async {
        let mut group = Box::pin(task_group(async |group| {
            for name in ["first", "second", "third"] {
                group.spawn(held(OnDrop(|| {
                    dropped.add();
                    quiet_panic(name);
                })));
            }
            let _body = OnDrop(|| {
                dropped.add();
                quiet_panic("body");
            });
            forever().await;
        }));
        assert!(
            poll_fn(|cx| Poll::Ready(group.as_mut().poll(cx)))
                .await
                .is_pending()
        );
        let payload = catch_unwind(AssertUnwindSafe(|| drop(group))).expect_err("a panic");
        assert_eq!(message(&*payload), "body", "the first one goes on");
        assert_eq!(dropped.get(), 4);
    });
}

/// A drop that panics during another panic must not abort the process.
#[test]
fn e7_a_panic_in_a_drop_during_a_panic_does_not_abort() {
    let dropped = Counter::new();
    block_on(async {
        let ended = caught(task_group(async |group| {
            for _ in 0..3 {
                group.spawn(held(OnDrop(|| {
                    dropped.add();
                    quiet_panic("again");
                })));
            }
            give_way().await;
            quiet_panic("first");
        }))
        .await;
        assert_eq!(message(&*ended.expect_err("a panic")), "first");
        assert_eq!(dropped.get(), 3);
    });
}

/// A group that runs to its end inside a drop, during a panic, still resumes its own panics.
#[test]
fn e7_panics_are_told_apart_in_a_drop_during_a_panic() {
    let inner = RefCell::new(None);
    let outer = catch_unwind(AssertUnwindSafe(|| {
        let _cleanup = OnDrop(|| {
            let ended = block_on(caught(task_group(async |group| {
                group.spawn(async {
                    quiet_panic("inner");
                });
                forever().await;
            })));
            *inner.borrow_mut() = ended.err();
        });
        quiet_panic("outer");
    }));
    assert_eq!(message(&*outer.expect_err("a panic")), "outer");
    assert_eq!(
        message(&**inner.borrow().as_ref().expect("a panic")),
        "inner"
    );
}

/// The panic of a task that the runtime owns is resumed by the turn that polled it. The runtime
/// survives, and other threads can wake it between turns.
#[test]
fn e7_a_runtime_outlives_the_panics_of_its_tasks() {
    let mut runtime = Runtime::new().expect("a runtime");
    let task = runtime.spawn(async { quiet_panic("in a task") });
    let other = runtime.spawn(async {
        sleep(Duration::from_micros(100)).await?;
        Ok::<_, Error>(5)
    });
    let turned = catch_unwind(AssertUnwindSafe(|| runtime.turn(Some(Duration::ZERO))));
    assert_eq!(message(&*turned.expect_err("a panic")), "in a task");
    assert!(task.is_finished());
    let blocked = catch_unwind(AssertUnwindSafe(|| {
        drop(runtime.spawn(async { quiet_panic("another") }));
        runtime.block_on(forever());
    }));
    assert_eq!(message(&*blocked.expect_err("a panic")), "another");
    let ended = runtime.block_on(async { (task.await, other.await) });
    let failed = ended.0.expect_err("it has no value");
    assert!(failed.to_string().ends_with(" panicked"), "{failed}");
    assert_eq!(ended.1.expect("not cancelled").expect("a sleep"), 5);
}

/// Dropping a runtime drops all its tasks, even if their drops panic.
#[test]
fn e7_dropping_a_runtime_drops_every_task_whatever_they_do() {
    let dropped = Counter::new();
    let mut runtime = Runtime::new().expect("a runtime");
    for _ in 0..3 {
        let dropped = dropped.clone();
        drop(runtime.spawn(held(OnDrop(move || {
            dropped.add();
            quiet_panic("in drop");
        }))));
    }
    runtime.turn(Some(Duration::ZERO)).expect("a turn");
    let ended = catch_unwind(AssertUnwindSafe(|| drop(runtime)));
    assert_eq!(
        message(&*ended.expect_err("the first panic goes on")),
        "in drop"
    );
    assert_eq!(dropped.get(), 3);
    block_on(sleep(Duration::ZERO)).expect("the thread is free for another runtime");
}
